"""A grid of images and their maps, under one scale of colours."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sact_core.config import NetworkConfig
    from sact_core.result import Result

#: Rows and columns of maps that a page has room for.
MOST_ROWS, MOST_COLUMNS = 24, 12
LABELS = {"ponder_cost": "ponder cost, units", "num_units": "units run"}
#: Inches and points.
WIDTH, FONT_SIZE = 6.9, 8


@dataclass(frozen=True)
class Colours:
    """What colours stand for.

    Attributes
    ----------
    limits : tuple of float
        Values of the first and last colour.
    name : str
        One of `sact_core.viewer.colours.STOPS`.
    label : str
        Beside the bar of colours.
    """

    limits: tuple[float, float]
    name: str
    label: str


@dataclass(frozen=True, eq=False)
class Cell:
    """One map of the grid.

    Attributes
    ----------
    values : np.ndarray [shape=(h, w), float32]
        In units, one for each position that the network tells apart.
    note : str
        Below the map.
    opacity : float
        Of the map over the grey image, in [0, 1].
    colours : Colours, optional
        Its own, where they are not those of the figure.
    """

    values: np.ndarray
    note: str = ""
    opacity: float = 1.0
    colours: Colours | None = None


def share_note(flops: int, dense: int) -> str:
    """What stands below a map: what it cost, by what all units would have."""
    return f"{flops / dense:.0%} of dense"


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
    shapes = [getattr(block, metric).shape[1:] for block in result.blocks]
    return smallest(values, max((shape for shape in shapes if len(shape) == 2), default=(1, 1)))


def values_of(config: NetworkConfig, result: Result, metric: str) -> np.ndarray:
    """As `positions`; of a network that does not halt one value, all of its units."""
    if config.halts:
        return positions(result, metric)
    return np.full((1, 1), sum(config.units_per_block), np.float32)


def smallest(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Give a map with one value for each position, if that is all it has; else as it is.

    Parameters
    ----------
    values : np.ndarray [shape=(H, W)]
        One for each pixel.
    shape : tuple of int
        Height and width in positions.
    """
    (height, width), (h, w) = values.shape, shape
    if height % h or width % w:
        return values
    small: np.ndarray = values[:: height // h, :: width // w]
    same = np.kron(small, np.ones((height // h, width // w), np.float32))
    return small if np.array_equal(same, values) else values


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Second map minus first, at the positions of the larger one.

    Parameters
    ----------
    first, second : np.ndarray [shape=(h, w)]
        Of one image; each may have positions of its own.
    """
    height, width = max(first.shape, second.shape)
    one, other = (
        values[np.arange(height) * values.shape[0] // height][
            :, np.arange(width) * values.shape[1] // width
        ]
        for values in (first, second)
    )
    found: np.ndarray = other - one
    return found


def beside(
    columns: Sequence[str], cells: Sequence[Sequence[Cell]], opacity: float | None
) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows with each map over the grey image beside it; as they are where None."""
    if opacity is None:
        return list(columns), [list(row) for row in cells]
    titles = [title for column in columns for title in (column, "over the image")]
    rows = [
        [each for c in row for each in (c, replace(c, note="", opacity=opacity))] for row in cells
    ]
    return titles, rows


def with_difference(
    columns: Sequence[str], cells: Sequence[Sequence[Cell]]
) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows with the second map minus the first as the last one."""
    found = [difference(row[0].values, row[1].values) for row in cells]
    most = max(1.0, *(float(np.abs(values).max()) for values in found))
    colours = Colours((-most, most), "difference", "difference, units")
    notes = [f"mean {row[1].values.mean() - row[0].values.mean():+.2f}" for row in cells]
    last = [Cell(*each, colours=colours) for each in zip(found, notes, strict=True)]
    rows = [[*row, cell] for row, cell in zip(cells, last, strict=True)]
    return [*columns, "second − first"], rows


def least_width(num_maps: int, font_size: float, num_bars: int = 1) -> float:
    """Inches that an image needs with so many maps beside it, for what stands below each."""
    # Below a map "100% of dense", 7.5 times the size of type; beside all, the bar of colours.
    return math.ceil(10 * font_size / 72 * (7 * num_bars + 7.8 * (1 + num_maps))) / 10


def draw(
    images: Sequence[np.ndarray],
    columns: Sequence[str],
    cells: Sequence[Sequence[Cell]],
    colours: Colours,
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
    colours : Colours
        Of all that have none of their own.
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

    font_size = matplotlib.rcParams["font.size"]
    num_bars = len({cell.colours or colours for row in cells for cell in row})
    line, least = font_size / 72, least_width(len(columns), font_size, num_bars)
    if width < least:
        raise ValueError(
            f"a width of {width:.3g} inches has no room for {len(columns)} maps in a row beside "
            f"their image: give at least {least:g}, or a smaller font size"
        )
    tall = [image.shape[0] / image.shape[1] for image in images]
    across = max(
        (width - 7 * num_bars * line) / (1 + len(columns)) - line, 0.1
    )  # inches of one picture
    # What stands above a column is no wider than it; a letter takes about half its size.
    most = max(int(across / line / 0.55), 8)
    titles = [
        [part for text in title.split("\n") for part in textwrap.wrap(text, most) or [""]]
        for title in columns
    ]
    above = max(map(len, titles), default=1)
    height = sum(across * each + 2.2 * line for each in tall) + (0.7 + 1.3 * above) * line
    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(images), 1 + len(columns), squeeze=False, height_ratios=tall)
    bars: dict[Colours, Any] = {}
    for axes, image, row in zip(grid, images, cells, strict=True):
        for place in axes:
            place.set_axis_off()
        axes[0].imshow(image, interpolation="none")
        for place, cell in zip(axes[1:], row, strict=True):
            shown = cell.colours or colours
            if cell.opacity < 1:
                # Over the grey image: its own colours would mix with those of the map.
                grey = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
                place.imshow(np.stack([grey] * 3, -1), interpolation="none")
            drawn = place.imshow(
                cell.values,
                cmap=_colour_map(shown.name),
                vmin=shown.limits[0],
                vmax=shown.limits[1],
                interpolation="none",  # each position one sharp square, at any dpi
                extent=(0, image.shape[1], image.shape[0], 0),
                alpha=cell.opacity if cell.opacity < 1 else None,
            )
            place.text(0.5, -0.03, cell.note, transform=place.transAxes, ha="center", va="top")
            if cell.opacity == 1 or shown not in bars:
                bars[shown] = drawn
    for place, words in zip(grid[0], [["image"], *titles], strict=True):
        place.set_title("\n".join(words))
    for shown, drawn in reversed(bars.items()):  # the first one beside the maps
        bar = figure.colorbar(drawn, ax=grid, label=shown.label, aspect=30)
        if bar.solids is not None:
            bar.solids.set_alpha(1)
    return figure


def _colour_map(name: str) -> Any:
    if name != "difference":
        return name
    from matplotlib.colors import ListedColormap

    from sact_core.viewer import colour_table

    return ListedColormap(colour_table(name) / 255, name)
