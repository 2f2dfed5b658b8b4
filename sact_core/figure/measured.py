"""What was measured of networks: accuracy and FLOPs, by tau, and on which images."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sact_core.checkpoint import read_header
from sact_core.checkpoint.records import trained_at
from sact_core.files import read_small
from sact_core.shipped import find_network
from sact_core.texts import shown
from sact_core.untrusted_json import from_json

MAX_BYTES = 16 << 20


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
    """A network and its points, from the cheapest to the dearest.

    Attributes
    ----------
    name : str
        With the width where that is not the authors'.
    file, content_hash : str
        What was read, and of which network it is.
    data_set, split : str or None
        What was counted on; None where nothing says.
    note : str or None
        What is said of the images that the network was trained on, such as that they are
        JPEG copies.
    image_size : int or None
        Side of the input in pixels.
    fit : str or None
        How images were made to fit it.
    trained_at : float or None
        The price of a network that was trained for one.
    points : tuple of Point
        The cheapest first.
    """

    name: str
    file: str
    content_hash: str
    data_set: str | None
    split: str | None
    note: str | None
    image_size: int | None
    fit: str | None
    trained_at: float | None
    points: tuple[Point, ...]

    @property
    def images(self) -> str:
        """What was counted on, in words."""
        words = [self.data_set or "unknown data set", f"({self.note})" if self.note else ""]
        return " ".join(filter(None, (*words, self.split)))

    @property
    def comparable(self) -> tuple[str | None, ...]:
        """What networks have in common whose accuracies compare."""
        # Behind a colon it is told which version, or which of the images.
        name = None if self.data_set is None else self.data_set.partition(":")[0].lower()
        return name, self.note, self.split


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
        return _read_curve(Path(source))
    path = Path(os.fspath(find_network(source)))  # type: ignore[arg-type]
    header = read_header(path)
    name, record = header.config.title, header.provenance
    data = record.get("data_set")
    data = data if isinstance(data, dict) else {}
    note = _text(data.get("note"))
    tau = trained_at(header)
    beside = path.with_suffix(".curve.json")
    if beside.exists():
        found = _read_curve(beside)
        if found.content_hash != header.content_hash:
            raise ValueError(
                f"{shown(beside.name)} belongs to another network: measure the curve again"
            )
        fit = found.fit or header.preprocessing.fit
        return replace(found, name=name, note=note, fit=fit, trained_at=tau)
    metrics = record.get("metrics")
    if not isinstance(metrics, dict):
        raise ValueError(
            f"{shown(path.name)} carries no metrics: measure it with "
            "python -m sact_core.evaluate … --taus 9 --json > NAME.curve.json"
        )
    data_set = ": ".join(filter(None, (_text(data.get("name")), _text(metrics.get("note")))))
    return Measured(
        name,
        shown(path.name),
        header.content_hash,
        data_set or None,
        _text(metrics.get("split")),
        note,
        _size(metrics.get("image_size")) or header.preprocessing.image_size,
        _text(metrics.get("fit")) or header.preprocessing.fit,
        tau,
        (_point(metrics | {"tau": record.get("tau")}, path.name),),
    )


def _read_curve(path: Path) -> Measured:
    name = shown(path.name)
    data = read_small(path, MAX_BYTES, "a curve")
    try:
        values = from_json(data)
        network, of, rows = values["network"], values["content_hash"], values["rows"]
        data_set, split, size = (values.get(key) for key in ("dataset", "split", "image_size"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{name} is no curve, as evaluate --taus … --json prints it") from None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{name} holds no points")
    points = sorted((_point(row, path.name) for row in rows), key=lambda point: point.flops)
    return Measured(
        shown(str(network)),
        name,
        shown(str(of)),
        _text(data_set),
        _text(split),
        None,
        _size(size),
        _text(values.get("fit")),
        None,
        tuple(points),
    )


def _text(value: object) -> str | None:
    return shown(value) if isinstance(value, str) and value else None


def _size(value: object) -> int | None:
    return value if isinstance(value, int) else None


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
