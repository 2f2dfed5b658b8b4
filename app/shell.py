"""What surrounds every page: its style, and its steps in the browser's history."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).parent


def surround() -> None:
    """Draw what every page needs and nobody sees."""
    st.html(f"<style>{_text('shell.css')}</style>")
    with st.container(key="shell"):
        _component()(key="shell_history")


@cache
def _component() -> Any:
    return st.components.v2.component("sact_shell", html="", js=_text("shell.js"))


@cache
def _text(file: str) -> str:
    return (FOLDER / file).read_text(encoding="utf-8")
