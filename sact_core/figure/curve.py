"""Accuracy against FLOPs: what was measured of networks, as a figure or a table."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

    from sact_core.figure.measured import Measured

HEADER = (
    *("network", "tau", "accuracy, %", "MFLOPs, mean", "MFLOPs, std"),
    *("data set", "split", "images", "image size"),
)
#: Okabe and Ito's colours, and marks, so that networks are told apart without colour too.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
MARKS = "osD^vP"


@dataclass(frozen=True)
class Mark:
    """A network at one price.

    Attributes
    ----------
    flops, spread : float
        Mean and standard deviation over images.
    accuracy : float
        In [0, 1].
    label : str
        Above the mark.
    """

    flops: float
    accuracy: float
    spread: float = 0.0
    label: str = ""


@dataclass(frozen=True)
class Line:
    """Networks that are told as one, from the cheapest to the dearest, joined or not."""

    name: str
    marks: Sequence[Mark]
    joined: bool = True


def refuse_others(networks: Sequence[Measured]) -> None:
    """Refuse networks whose accuracies do not compare.

    Raises
    ------
    ValueError
        If they were counted on different data sets or splits, or some were trained on other
        images of it, such as JPEG copies.
    """
    found = {network.comparable: network for network in reversed(networks)}
    if len(found) > 1:
        first, other = networks[0], next(n for k, n in found.items() if k != networks[0].comparable)
        raise ValueError(
            f"accuracies on different images do not compare: {first.file} is of {first.images}, "
            f"{other.file} of {other.images}; draw each by itself"
        )


def labels(networks: Sequence[Measured], with_tau: bool = True) -> list[str]:
    """Names that tell networks apart: with width and tau, and the file where that is not enough.

    Parameters
    ----------
    networks : sequence of Measured
        All that stand together.
    with_tau : bool
        Whether a tau is part of a name, or stands beside it.
    """
    full = [n.name if n.trained_at is None else f"{n.name}, τ = {n.trained_at:g}" for n in networks]
    return [
        (title if with_tau else network.name) + f" ({network.file})" * (full.count(title) > 1)
        for title, network in zip(full, networks, strict=True)
    ]


def rows(networks: Sequence[Measured]) -> list[list[str]]:
    """The table's cells, one row for each point; see `HEADER`."""
    return [
        [
            name,
            "" if point.tau is None else f"{point.tau:.4g}",
            f"{point.accuracy:.2%}".rstrip("%"),
            f"{point.flops / 1e6:.1f}",
            f"{point.spread / 1e6:.1f}",
            (network.data_set or "") + f" ({network.note})" * bool(network.note),
            network.split or "",
            str(point.count),
            "" if network.image_size is None else str(network.image_size),
        ]
        for name, network in zip(labels(networks, with_tau=False), networks, strict=True)
        for point in network.points
    ]


def lines(networks: Sequence[Measured]) -> list[Line]:
    """Networks as lines of the figure."""
    return [
        Line(name, [Mark(point.flops, point.accuracy) for point in network.points])
        for name, network in zip(labels(networks), networks, strict=True)
    ]


def draw(shown: Sequence[Line], width: float, height: float) -> Figure:
    """Draw accuracy against FLOPs; within `sact_core.figure.saving.style`.

    Parameters
    ----------
    shown : sequence of Line
        Each a line, or marks.
    width, height : float
        In inches.

    Raises
    ------
    ValueError
        If what stands beside the axes and in them has no room.
    """
    from matplotlib import rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for i, line in enumerate(shown):
        colour = COLOURS[i % len(COLOURS)]
        x, y = [m.flops / 1e6 for m in line.marks], [100 * m.accuracy for m in line.marks]
        if any(mark.spread for mark in line.marks):
            spread = [mark.spread / 1e6 for mark in line.marks]
            axes.errorbar(x, y, xerr=spread, fmt="none", ecolor=colour, alpha=0.35, capsize=2)
        axes.plot(
            x,
            y,
            color=colour,
            marker=MARKS[i % len(MARKS)],
            markersize=4,
            linewidth=1 if line.joined else 0,
            label=line.name,
        )
        for mark, at_x, at_y in zip(line.marks, x, y, strict=True):
            if not mark.label:
                continue
            axes.annotate(
                mark.label,
                (at_x, at_y),
                (0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=0.8 * rcParams["font.size"],
                annotation_clip=False,
            )
    axes.set_xlabel("MFLOPs per image, mean")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3, linewidth=0.5)
    require_room(figure, [axes.legend()], width, height)
    return figure


def require_room(figure: Figure, legends: Sequence[Legend], width: float, height: float) -> None:
    """Refuse a figure in which a legend or the name of an axis is larger than the axes.

    Parameters
    ----------
    figure : Figure
        With axes side by side.
    legends : sequence of Legend
        Those within the axes.
    width, height : float
        Of the figure, in inches.

    Raises
    ------
    ValueError
        Which says how large it must be.
    """
    from matplotlib import rcParams

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing has room, which is what is asked here
        figure.draw_without_rendering()
    line, across = rcParams["font.size"] / 72, len(figure.axes)
    shrink = figure.dpi_scale_trans.inverted()
    inside = [each.get_window_extent().transformed(shrink) for each in legends]
    below = [axes.xaxis.label.get_window_extent().transformed(shrink) for axes in figure.axes]
    beside = [axes.yaxis.label.get_window_extent().transformed(shrink) for axes in figure.axes]
    # Beside the axes their name and numbers of three digits, below them those of one line.
    wide = max(each.width for each in (*inside, *below)) + 6 * line
    tall = max(each.height for each in (*inside, *beside)) + 5 * line
    for name, given, needed in (("width", width, across * wide), ("height", height, tall)):
        if given < needed:
            raise ValueError(
                f"a {name} of {given:.3g} inches has no room for the names in the figure: give at "
                f"least {math.ceil(10 * needed) / 10:g}, or a smaller font size"
            )


def about(networks: Sequence[Measured]) -> list[Mapping[str, Any]]:
    """What the files of a figure say of its networks."""
    return [
        {
            "name": network.name,
            "file": network.file,
            "content_hash": network.content_hash,
            "data_set": network.data_set,
            "note": network.note,
            "split": network.split,
            "images": [point.count for point in network.points],
            "image_size": network.image_size,
            "fit": network.fit,
            "tau": [point.tau for point in network.points],
        }
        for network in networks
    ]
