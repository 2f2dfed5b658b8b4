"""A grid of images and their maps, under one scale of colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sact_core.result import Result

#: Rows and columns of maps that a page has room for.
MOST_ROWS, MOST_COLUMNS = 24, 12
LABELS = {"ponder_cost": "ponder cost, units", "num_units": "units run"}


@dataclass(frozen=True, eq=False)
class Cell:
    """One map of the grid.

    Attributes
    ----------
    values : np.ndarray [shape=(h, w), float32]
        In units, one for each position that the network tells apart.
    flops, dense : int
        Of the image, and if every unit had run.
    """

    values: np.ndarray
    flops: int
    dense: int


def positions(result: Result, metric: str) -> np.ndarray:
    """Give the map of one image with one value for each position of the first block.

    Where an input does not divide into these positions, it has a value for each pixel.

    Parameters
    ----------
    result : Result
        Of one image.
    metric : str
        One of `LABELS`.

    Returns
    -------
    np.ndarray [shape=(h, w), float32]
        In units, summed over the blocks.
    """
    values: np.ndarray = result.map(metric)[0]
    height, width = values.shape
    shapes = [getattr(block, metric).shape[1:] for block in result.blocks]
    h, w = max((shape for shape in shapes if len(shape) == 2), default=(1, 1))
    if height % h or width % w:
        return values
    small: np.ndarray = values[:: height // h, :: width // w]
    same = np.kron(small, np.ones((height // h, width // w), np.float32))
    return small if np.array_equal(same, values) else values


def draw(
    images: Sequence[np.ndarray],
    columns: Sequence[str],
    cells: Sequence[Sequence[Cell]],
    limits: tuple[float, float],
    metric: str,
    colour_map: str,
    width: float,
) -> Figure:
    """Draw the grid; within `sact_core.figure.saving.style`.

    Parameters
    ----------
    images : sequence of np.ndarray [shape=(H, W, 3), uint8]
        One for each row, as the network saw it.
    columns : sequence of str
        What is above each column of maps.
    cells : sequence of sequence of Cell
        For each row its maps, one for each column.
    limits : tuple of float
        Values of the first and last colour.
    metric, colour_map : str
        As on the command line.
    width : float
        In inches.

    Raises
    ------
    ValueError
        If the columns have no room for what stands below each map.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    line = matplotlib.rcParams["font.size"] / 72
    # Below a map "100% of dense", 7.5 times the size of type; beside all, the bar of colours.
    least = math.ceil(10 * line * (7 + 7.8 * (1 + len(columns)))) / 10
    if width < least:
        raise ValueError(
            f"a width of {width:.3g} inches has no room for {len(columns)} maps in a row beside "
            f"their image: give at least {least:g}, or a smaller font size"
        )
    tall = [image.shape[0] / image.shape[1] for image in images]
    across = max((width - 7 * line) / (1 + len(columns)) - line, 0.1)  # inches of one picture
    height = sum(across * each + 2.2 * line for each in tall) + 2 * line
    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(images), 1 + len(columns), squeeze=False, height_ratios=tall)
    for axes, image, row in zip(grid, images, cells, strict=True):
        for place in axes:
            place.set_axis_off()
        axes[0].imshow(image, interpolation="none")
        for place, cell in zip(axes[1:], row, strict=True):
            drawn = place.imshow(
                cell.values,
                cmap=colour_map,
                vmin=limits[0],
                vmax=limits[1],
                interpolation="none",  # each position one sharp square, at any dpi
                extent=(0, image.shape[1], image.shape[0], 0),
            )
            share = f"{cell.flops / cell.dense:.0%} of dense"
            place.text(0.5, -0.03, share, transform=place.transAxes, ha="center", va="top")
    for place, title in zip(grid[0], ["image", *columns], strict=True):
        place.set_title(title)
    figure.colorbar(drawn, ax=grid, label=LABELS[metric], aspect=30)
    return figure
