"""The bar below a page that is a step of the guided path, or that is presented."""

from __future__ import annotations

import contextlib
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from app import loaders
from app.folders import InputError
from app.lecture import steps
from app.links import RULES
from app.records import Model

#: Settings of the address that hold on any page.
STEP, PRESENT = "lecture", "present"
_AT, _PRESENTING = "lecture_at", "lecture_presenting"


def show(page: Any, pages: list[Any]) -> str:
    """Draw the bar, where there is one to draw; the page is drawn after it.

    Parameters
    ----------
    page : st.Page
        That is asked for.
    pages : list of st.Page
        All of them.

    Returns
    -------
    str
        Key of the part of the page that the step is about; empty where there is none.
    """
    name = page.url_path or "explore"
    number = steps.asked(st.query_params.get(STEP), name)
    if number is None:
        st.query_params.pop(STEP, None)
    _arrive(number, name)
    presented = presenting()
    if number is None and not presented:
        return ""
    key = "lecture_bar_presenting" if presented else "lecture_bar"
    with st.bottom.container(
        key=key, horizontal=True, vertical_alignment="center", gap="small", border=False
    ):
        if number is None:
            st.markdown(f"**{page.title}**", width="stretch")
            with st.popover("Pages", icon=":material/menu:", key="lecture_pages"):
                for other in pages:
                    st.page_link(other)
            _stop_presenting()
        else:
            _step(number, presented, pages)
    return "" if number is None else steps.STEPS[number - 1].look_at


def presenting() -> bool:
    """Whether the app is on a wall; kept over pages, and in the address for a reload."""
    told = st.query_params.get(PRESENT)
    if told is not None:
        st.session_state[_PRESENTING] = told.lower() == "true"
    on = bool(st.session_state.get(_PRESENTING))
    if on and told is None:
        st.query_params[PRESENT] = "true"
    return on


def present(on: bool) -> None:
    """Begin to present, or stop."""
    st.session_state[_PRESENTING] = on
    if on:
        st.query_params[PRESENT] = "true"
    else:
        st.query_params.pop(PRESENT, None)


def link(number: int, label: str, icon: str = "", icon_position: Any = "left") -> None:
    """Link to a step, where this page is part of the whole app."""
    step = steps.STEPS[number - 1]
    with contextlib.suppress(StreamlitAPIException, KeyError):
        st.page_link(
            f"app/pages/{step.page}.py",
            label=label,
            icon=icon,
            icon_position=icon_position,
            help="",
            query_params=steps.query(number, network(), presenting()),
        )


def network() -> Model | None:
    """The network that the path shows: the one that the app opens on."""
    name = loaders.first_checkpoint(("sact",))
    try:
        return None if name is None else loaders.model(name)
    except InputError:
        return None


# --- parts ---


def _arrive(number: int | None, page: str) -> None:
    """A step begins as its link has it, whatever the page was left at before."""
    before = st.session_state.get(_AT)
    st.session_state[_AT] = number
    if number is None or number == before:
        return
    own = {f"{page}_{setting}" for setting in RULES.get(page, {})}
    for key in list(st.session_state):
        if key in own or str(key).startswith("chosen_"):
            del st.session_state[key]


def _step(number: int, presented: bool, pages: list[Any]) -> None:
    step, last = steps.STEPS[number - 1], len(steps.STEPS)
    st.markdown(f"**{number} of {last} · {step.title}.** {step.do} {step.see}", width="stretch")
    with st.container(
        horizontal=True, vertical_alignment="center", gap="xsmall", width="content",
        key="lecture_ways",
    ):  # fmt: skip
        if number > 1:
            with st.container(key="lecture_back", width="content"):
                link(number - 1, "Back", ":material/arrow_back:")
        with st.popover("More", icon=":material/school:", key="lecture_more"):
            st.markdown(step.more)
            st.divider()
            for i, other in enumerate(steps.STEPS, 1):
                link(i, f"{i} · {other.title}")
            st.divider()
            if presented:
                _stop_presenting()
            else:
                st.button(
                    "Present", icon=":material/co_present:", key="lecture_present",
                    on_click=present, args=(True,), type="tertiary",
                )  # fmt: skip
            st.button(
                "Leave the path", icon=":material/close:", key="lecture_leave", on_click=_leave,
                type="tertiary",
            )  # fmt: skip
        with st.container(key="lecture_next", width="content"):
            if number < last:
                link(number + 1, "Next", ":material/arrow_forward:", "right")
            else:
                st.page_link(
                    "app/pages/start.py", label="The end", icon=":material/flag:",
                    icon_position="right", help="",
                )  # fmt: skip


def _stop_presenting() -> None:
    st.button(
        "Stop presenting", icon=":material/close_fullscreen:", key="lecture_stop",
        on_click=present, args=(False,), type="tertiary",
    )  # fmt: skip


def _leave() -> None:
    st.query_params.pop(STEP, None)
