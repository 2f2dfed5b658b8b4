"""The button that gives what a page shows as one HTML file."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import handing


def hand_on(page: str, file: str, make: Callable[[], bytes]) -> None:
    """Offer the file.

    Parameters
    ----------
    page : str
        The page's name.
    file : str
        The file's.
    make : callable
        Makes it, when it is asked for.
    """
    st.download_button(
        "Interactive page (.html)",
        make,
        file,
        key=f"{page}_download_page",
        on_click="ignore",
        icon=":material/download:",
        help=handing.HELP,
    )
