"""What surrounds every page: its steps in the browser's history, and uploads."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import streamlit as st

from app import links
from app.texts import MAX_NAME, plain

#: What can become of an upload, as ``shell.js`` tells it.
UPLOADS = {
    "lost": "The upload was given up, because “Add” was closed while it went on: add the file "
    "again and wait until it is listed.",
    "refused": "The browser sent this app's cookie with no upload, as in a frame of another "
    "site: open the app in a tab of its own.",
}


def surround(look_at: str = "") -> None:
    """Draw what every page needs and nobody sees; say what became of an upload.

    Parameters
    ----------
    look_at : str
        Key of the part of the page that a step of the guided path is about.
    """
    with st.container(key="shell"):
        told = _component()(
            key="shell_history",
            # The step too, so that its script hears of it.
            data={"look_at": look_at, "step": st.query_params.get("lecture")},
            on_upload_change=_nothing,
        )
    sentence = UPLOADS.get(str(told.get("upload")))
    if sentence:
        st.toast(sentence, icon=":material/upload_file:", duration="infinite")


def _nothing() -> None:
    """The page is drawn again."""


def check_link(page: Any) -> None:
    """Go on without what cannot be in a link, and say so on the page."""
    name = page.url_path or "explore"
    values = {key: st.query_params.get_all(key) for key in st.query_params}
    kept, said = links.check(name, values)
    if said:
        st.session_state["shell_said"] = said
        st.switch_page(page, query_params=kept)
    said = st.session_state.pop("shell_said", [])
    missing = _missing_page(page)
    if missing:
        said = [*said, f"There is no page {plain(missing, MAX_NAME)}: this is {page.title}."]
    for sentence in said:
        st.warning(sentence, icon=":material/link_off:")


def _missing_page(page: Any) -> str:
    """What the address asks for, where there is no such page."""
    if page.url_path:
        return ""
    path = urlsplit(st.context.url or "").path.strip("/")
    path = path.removeprefix((st.get_option("server.baseUrlPath") or "").strip("/")).strip("/")
    return "" if path in ("", "explore") else unquote(path)


@cache
def _component() -> Any:
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return st.components.v2.component("sact_shell", html="", js=script)
