"""One look for every figure: colours, colour maps, type and margins.

The same colours stand in ``.streamlit/config.toml``; a test compares them.
Figures leave paper and text colours to the theme of the page, so that they are
right in light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from sact_core.viewer import colour_stops

#: Okabe and Ito's colours: told apart with any kind of colour vision.
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
BLUE, ORANGE, GREEN, PINK, SKY, RED = CATEGORIES
#: Of blocks: up to eight side by side, none of them the orange that frames what is chosen.
BLOCKS = (BLUE, GREEN, PINK, SKY, RED, "#999933", "#8f6bd6", "#8a979d")
#: For what did not run and for baselines; seen on white and on near-black.
GREY = "#8a979d"

#: Perceptually uniform, from little to much. The first is the default.
COLOUR_MAPS = ("viridis", "cividis", "inferno", "magma")
#: For signed differences: blue is less, orange is more.
DIVERGING = tuple(colour_stops("difference"))


def colour_scale(name: str) -> list[list[Any]]:
    """Give a colour map as Plotly takes it: pairs of a share and a colour.

    Parameters
    ----------
    name : str
        One of `COLOUR_MAPS`, or ``"difference"``.

    Raises
    ------
    ValueError
        If there is no such colour map.
    """
    stops = colour_stops(name)
    return [[i / (len(stops) - 1), _unlike_placeholders(colour)] for i, colour in enumerate(stops)]


def price_axis(figure: go.Figure, ticks: Sequence[float]) -> None:
    """Make the x axis one of tau, on a logarithmic scale, with labels at these prices alone."""
    figure.update_xaxes(
        type="log",
        title="τ",
        fixedrange=True,
        tickmode="array",
        tickvals=list(ticks),
        ticktext=[f"{tau:.2g}" for tau in ticks],
        tickangle=0,
    )


def lay_out(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    """Give a figure the common margins; nothing in it is dragged by accident.

    Parameters
    ----------
    figure : go.Figure
        Changed in place.
    height : int
        In pixels.
    **layout
        More of Plotly's layout.
    """
    values: dict[str, Any] = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 34 if figure.layout.title.text else 12, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "title": None},
        "colorway": list(CATEGORIES),
    }
    figure.update_layout(**(values | layout))
    figure.update_xaxes(automargin=True, exponentformat="SI")
    figure.update_yaxes(automargin=True, exponentformat="SI")
    return figure


def si(value: float) -> str:
    """Write a large number shortly: ``138 M``, ``15.6 G``."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            scaled = value / factor
            digits = 0 if abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2
            return f"{scaled:.{digits}f} {letter}"
    return f"{value:.0f}"


def _unlike_placeholders(colour: str) -> str:
    """A colour, one level redder where Streamlit's theme for Plotly would replace it.

    The theme takes #000001 to #000040 for places that it puts its own colours into:
    the lowest colour of inferno and of magma, #000004, came out pink.
    """
    near_black = colour.startswith("#0000") and int(colour[5:], 16) <= 0x40
    return f"#01{colour[3:]}" if near_black else colour
