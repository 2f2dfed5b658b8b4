"""Maps over an image: ponder cost, units, and the picture itself."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app.figures.style import colour_scale, lay_out
from sact_core.viewer import image_url


def ponder_map(
    values: np.ndarray,
    unit: str = "units",
    limits: tuple[float, float] | None = None,
    colour_map: str = "viridis",
    picture: np.ndarray | None = None,
    opacity: float = 1.0,
    mark: tuple[int, int] | None = None,
    height: int = 330,
    size: tuple[int, int] | None = None,
) -> go.Figure:
    """Draw a map with a colour bar and the value of every position on hover.

    Parameters
    ----------
    values : np.ndarray [shape=(h, w)]
        A block's map, or the sum over the blocks.
    unit : str
        What the values count.
    limits : tuple of float, optional
        Values of the first and last colour; the map's own range where left out.
    colour_map : str
        As `style.colour_scale` takes it.
    picture : np.ndarray [shape=(H, W, 3), uint8], optional
        Drawn beneath.
    opacity : float
        Of the map, in [0, 1].
    mark : tuple of int, optional
        Row and column of ``values`` to frame.
    height : int
        In pixels.
    size : tuple of int, optional
        Height and width of the network's input, for the aspect; that of the map
        where left out.
    """
    h, w = values.shape
    low, high = limits if limits is not None else (float(values.min()), float(values.max()))
    if high <= low:
        low, high = low - 0.5, low + 0.5
    figure = go.Figure()
    if picture is not None:
        figure.add_layout_image(
            source=image_url(picture),
            x=-0.5,
            y=-0.5,
            sizex=w,
            sizey=h,
            xref="x",
            yref="y",
            yanchor="top",
            sizing="stretch",
            layer="below",
        )
    figure.add_heatmap(
        z=np.asarray(values, np.float32),
        zmin=low,
        zmax=high,
        colorscale=colour_scale(colour_map),
        opacity=opacity,
        hovertemplate=f"row %{{y}}, column %{{x}}<br><b>%{{z:.2f}}</b> {unit}<extra></extra>",
        colorbar={
            "orientation": "h",
            "title": {"text": unit, "side": "top"},  # below, it would stand among the numbers
            "thickness": 10,
            "y": -0.02,
            "yanchor": "top",
            "len": 0.9,
            "outlinewidth": 0,
        },
    )
    if mark is not None:
        frame_position(figure, mark)
    rows, columns = size or (h, w)
    hide_axes(figure, (rows / h) / (columns / w))
    return lay_out(figure, height, margin={"l": 4, "r": 4, "t": 4, "b": 4})


def picture(image: np.ndarray, height: int = 330) -> go.Figure:
    """Draw an image, every pixel a square.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, 3), uint8]
    height : int
        In pixels.
    """
    figure = go.Figure()
    figure.add_image(
        source=image_url(image),
        hovertemplate="row %{y}, column %{x}<extra></extra>",
    )
    hide_axes(figure, 1.0)
    return lay_out(figure, height, margin={"l": 4, "r": 4, "t": 4, "b": 4})


def frame_position(figure: go.Figure, position: tuple[int, int]) -> None:
    """Frame a row and column of a map, seen on light and dark colours."""
    row, column = position
    for colour, width in (("black", 4), ("white", 2)):
        figure.add_shape(
            type="rect",
            x0=column - 0.5,
            x1=column + 0.5,
            y0=row - 0.5,
            y1=row + 0.5,
            line={"color": colour, "width": width},
        )


def hide_axes(figure: go.Figure, aspect: float) -> None:
    """Row 0 on top, no ticks, and ``aspect`` as the height of a cell over its width."""
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(
        visible=False,
        autorange="reversed",
        scaleanchor="x",
        scaleratio=aspect,
        constrain="domain",
    )
