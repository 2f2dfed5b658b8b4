"""Accuracy against FLOPs: what was measured of networks, as a figure or a table."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core.checkpoint import read_header
from sact_core.shipped import find_network
from sact_core.texts import shown
from sact_core.untrusted_json import from_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_BYTES = 16 << 20
HEADER = ("network", "tau", "accuracy, %", "MFLOPs, mean", "MFLOPs, std", "images")
#: Okabe and Ito's colours, and marks, so that networks are told apart without colour too.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
MARKS = "osD^vP"


@dataclass(frozen=True)
class Point:
    """What a network reaches at one price.

    Attributes
    ----------
    tau : float or None
        The price; None of a network that has none.
    accuracy : float
        Share of the images, in [0, 1].
    flops, spread : float
        Mean and standard deviation over images.
    count : int
        Images.
    """

    tau: float | None
    accuracy: float
    flops: float
    spread: float
    count: int


@dataclass(frozen=True)
class Measured:
    """A network and its points, from the cheapest to the dearest."""

    name: str
    file: str
    content_hash: str
    image_size: int | None
    points: tuple[Point, ...]


def read_measured(source: str) -> Measured:
    """Read what was measured of a network.

    Parameters
    ----------
    source : str
        What ``evaluate --taus … --json`` printed (``NAME.curve.json``), or a checkpoint or
        its name: then the curve beside it, else the metrics that it carries.

    Raises
    ------
    ValueError
        If nothing was measured, or it is damaged or of another network.
    OSError
        If there is no such file.
    """
    if source.endswith(".json"):
        return _read_curve(Path(source), None)
    path = Path(os.fspath(find_network(source)))  # type: ignore[arg-type]
    header = read_header(path)
    beside = path.with_suffix(".curve.json")
    if beside.exists():
        return _read_curve(beside, header.content_hash)
    metrics = header.provenance.get("metrics")
    if not isinstance(metrics, dict):
        raise ValueError(
            f"{shown(path.name)} carries no metrics: measure it with "
            "python -m sact_core.evaluate … --taus 9 --json > NAME.curve.json"
        )
    tau = header.provenance.get("tau")
    point = _point(metrics | {"tau": tau}, path.name)
    size = header.preprocessing.image_size
    return Measured(header.config.name, shown(path.name), header.content_hash, size, (point,))


def _read_curve(path: Path, content_hash: str | None) -> Measured:
    name = shown(path.name)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{name} is too large for a curve")
    try:
        values = from_json(path.read_bytes())
        network, of, rows = values["network"], values["content_hash"], values["rows"]
        size = values.get("image_size")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{name} is no curve, as evaluate --taus … --json prints it") from None
    if content_hash not in (None, of):
        raise ValueError(f"{name} belongs to another network: measure the curve again")
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{name} holds no points")
    points = sorted((_point(row, path.name) for row in rows), key=lambda point: point.flops)
    size = size if isinstance(size, int) else None
    return Measured(shown(str(network)), name, shown(str(of)), size, tuple(points))


def _point(row: Any, name: str) -> Point:
    try:
        tau = row.get("tau")
        point = Point(
            None if tau is None else float(tau),
            float(row["eval/Accuracy"]),
            float(row["Total Flops/mean"]),
            float(row.get("Total Flops/std", 0.0)),
            int(row["count"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise ValueError(f"{shown(name)} says no accuracy and FLOPs of a point") from None
    numbers = [point.accuracy, point.flops, point.spread, point.tau or 0.0]
    if not all(map(math.isfinite, numbers)) or not 0 <= point.accuracy <= 1 or point.flops <= 0:
        raise ValueError(f"{shown(name)} says an accuracy or FLOPs that cannot be")
    return point


def rows(networks: Sequence[Measured]) -> list[list[str]]:
    """The table's cells, one row for each point; see `HEADER`."""
    return [
        [
            network.name,
            "" if point.tau is None else f"{point.tau:.4g}",
            f"{point.accuracy:.2%}".rstrip("%"),
            f"{point.flops / 1e6:.1f}",
            f"{point.spread / 1e6:.1f}",
            str(point.count),
        ]
        for network in networks
        for point in network.points
    ]


def draw(networks: Sequence[Measured], width: float, height: float) -> Figure:
    """Draw the networks; within `sact_core.figure.saving.style`.

    Parameters
    ----------
    networks : sequence of Measured
        Each a line, or a mark where it has one point.
    width, height : float
        In inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for i, network in enumerate(networks):
        axes.plot(
            [point.flops / 1e6 for point in network.points],
            [100 * point.accuracy for point in network.points],
            color=COLOURS[i % len(COLOURS)],
            marker=MARKS[i % len(MARKS)],
            markersize=4,
            linewidth=1,
            label=network.name,
        )
    axes.set_xlabel("MFLOPs per image, mean")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.legend()
    return figure


def about(networks: Sequence[Measured]) -> list[Mapping[str, Any]]:
    """What the files of a figure say of its networks."""
    return [
        {
            "name": network.name,
            "file": network.file,
            "content_hash": network.content_hash,
            "image_size": network.image_size,
            "tau": [point.tau for point in network.points],
        }
        for network in networks
    ]
