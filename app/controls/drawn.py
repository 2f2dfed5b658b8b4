"""The buttons that give what a page shows as figures and tables for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import streamlit as st

from app import drawn
from app.controls.basics import say_error
from app.drawn import Drawing
from app.tabled import Table
from sact_core.extras import MissingPackage, need
from sact_core.figure.maps import FONT_SIZE, WIDTH
from sact_core.figure.saving import FIGURES
from sact_core.tables import TABLES

Offered = TypeVar("Offered", Drawing, Table)
KINDS = {".csv": "CSV", ".tex": "LaTeX", ".md": "Markdown"}


@st.fragment
def figures(key: str, stem: str, drawings: Sequence[Drawing]) -> None:
    """Offer figures as SVG, PDF and PNG, at a width and font size of one's choice.

    Parameters
    ----------
    key : str
        Begins with the page's name.
    stem : str
        Beginning of the files' names.
    drawings : sequence of Drawing
        At least one.
    """
    button = st.popover(
        "Figure",
        icon=":material/imagesmode:",
        key=f"{key}_figure",
        on_change="rerun",  # it is drawn when it is looked at
        help="For a paper: SVG, PDF or PNG.",
    )
    with button:
        if not button.open:
            return
        drawing = _choose(f"{key}_figure_which", drawings)
        left, right = st.columns(2)
        width = left.number_input(
            "Width, inches", 1.0, 20.0, WIDTH, 0.1, "%.1f", key=f"{key}_figure_width"
        )
        font_size = right.number_input(
            "Font size, points", 4.0, 24.0, float(FONT_SIZE), 0.5, "%.1f", key=f"{key}_figure_font"
        )
        try:
            need("plots", "a figure", "matplotlib")
            seen = drawn.preview(drawing, width, font_size)
        except (ValueError, MissingPackage) as error:
            say_error(f"{str(error)[:1].upper()}{str(error)[1:]}.")
            return
        with st.container(horizontal=True):
            for ending in FIGURES:
                file = f"{stem}{ending}"
                st.download_button(
                    ending[1:].upper(),
                    partial(drawn.figure_file, drawing, ending, width, font_size, file),
                    file,
                    key=f"{key}_figure{ending}",
                    on_click="ignore",
                    icon=":material/download:",
                )
        st.image(seen, width="content", alt=f"The figure: {drawing.about['title']}")


@st.fragment
def tables(key: str, stem: str, found: Sequence[Table]) -> None:
    """Offer tables as CSV, LaTeX and Markdown.

    Parameters
    ----------
    key, stem : str
        As in `figures`.
    found : sequence of Table
        At least one.
    """
    with st.popover(
        "Table", icon=":material/table:", key=f"{key}_table", help="CSV, LaTeX or Markdown."
    ):
        table = _choose(f"{key}_table_which", found)
        with st.container(horizontal=True):
            for ending in TABLES:
                st.download_button(
                    KINDS[ending],
                    partial(table.text, ending),
                    f"{stem}{ending}",
                    key=f"{key}_table{ending}",
                    on_click="ignore",
                    icon=":material/download:",
                )


def _choose(key: str, offered: Sequence[Offered]) -> Offered:
    labels = [each.label for each in offered]
    if len(labels) == 1:
        return offered[0]
    chosen = st.segmented_control("Of", labels, default=labels[0], required=True, key=key)
    return offered[labels.index(chosen) if chosen in labels else 0]
