"""Terms explained where they are used."""

from __future__ import annotations

import streamlit as st

from app.lecture.glossary import TERMS


def explain(*names: str) -> None:
    """Offer what the terms of a page mean.

    Parameters
    ----------
    *names : str
        Keys of `app.lecture.glossary.TERMS`.
    """
    with st.popover("Words", icon=":material/dictionary:", type="tertiary"):
        for name in names:
            st.markdown(f"**{TERMS[name].name}**: {TERMS[name].meaning}")
