"""What a checkpoint states of itself: accuracy, cost, its curve over tau; no Streamlit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeGuard

import numpy as np

from app.records import Model
from app.texts import short
from sact_core.data.imagenet import imagenet_classes
from sact_core.files import read_small
from sact_core.flops import dense_flops
from sact_core.shipped import SHORT_NAMES
from sact_core.untrusted_json import from_json

MAX_BYTES = 16 << 20  # of a file beside a checkpoint

#: Data sets by the name that checkpoints record, as people write them.
TITLES = {
    "imagenet2012": "ImageNet",
    "caltech101": "Caltech-101",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
}


def knows(model: Model) -> str:
    """What a network can name, and where that comes from, in a few words."""
    record, names = model.header.provenance, model.header.class_names
    data = record.get("data_set")
    title = TITLES.get(str(data.get("name"))) if isinstance(data, dict) else None
    if names == tuple(imagenet_classes().values()):  # whatever it was taught on
        title = "ImageNet"
    said = " ".join(filter(None, (f"knows {model.config.num_classes:,}", title, "classes")))
    shipped = isinstance(model.source, Path) and model.source.stem in SHORT_NAMES.values()
    if shipped and title != "ImageNet" and "recipe" in record:
        said += ", trained here from nothing"
    return said


def accuracy(model: Model, tau: float | None = None) -> str | None:
    """What is known of how often the network is right, with split and count.

    What the checkpoint states holds at its default tau. At another one it is read off
    the measured curve of a network that takes any, between two measured taus on a
    straight line over the logarithm, which is said; None where there is no curve.
    """
    if model.tau_range is not None and tau not in (None, model.config.tau_default):
        return _accuracy_at(model, tau or 0.0)
    metrics = model.header.provenance.get("metrics")
    if not isinstance(metrics, dict):
        return None
    value, split, count = (metrics.get(k) for k in ("eval/Accuracy", "split", "count"))
    if not _is_share(value):
        return None
    of = f" of {count:,} {short(split)} images" if isinstance(count, int) and split else ""
    of += f", {short(metrics['note'])}" if isinstance(metrics.get("note"), str) else ""
    return f"{value:.1%} right{of}{_five(metrics.get('eval/Recall@5'))}"


def _accuracy_at(model: Model, tau: float) -> str | None:
    rows = [row for row in curve(model) if _is_share(row.get("eval/Accuracy"))]
    value = _at(rows, "eval/Accuracy", tau)
    if value is None:
        return None
    count = min(row.get("count", 0) for row in rows)
    of = f" of {count:,.0f} images" if count else ""
    five = _at([row for row in rows if _is_share(row.get("eval/Recall@5"))], "eval/Recall@5", tau)
    if any(math.isclose(row["tau"], tau, rel_tol=1e-4) for row in rows):
        return f"{value:.1%} right{of}{_five(five)}"
    low = max(row["tau"] for row in rows if row["tau"] < tau)
    high = min(row["tau"] for row in rows if row["tau"] > tau)
    between = f"interpolated between τ = {low:.3g} and {high:.3g}"
    return f"about {value:.1%} right{of}{_five(five)}, {between}"


def _five(among: object) -> str:
    return f", {among:.1%} among the first five" if _is_share(among) else ""


def _at(rows: list[dict[str, float]], name: str, tau: float) -> float | None:
    """A value of the curve at a tau; None beyond its ends."""
    if not rows or not rows[0]["tau"] * 0.9999 <= tau <= rows[-1]["tau"] * 1.0001:
        return None
    taus = np.log([row["tau"] for row in rows])
    return float(np.interp(np.log(tau), taus, [row[name] for row in rows]))


def curve(model: Model) -> list[dict[str, float]]:
    """What a network that takes any tau was measured to do, tau rising; empty where unknown.

    From ``NAME.curve.json`` beside the checkpoint, where it was measured on these
    very parameters: rows with ``tau`` and the authors' metrics.
    """
    if not isinstance(model.source, Path):
        return []
    try:
        stored = from_json(_beside(model.source, ".curve.json"))
        if stored["content_hash"] != model.digest:
            return []
        rows = [{k: float(v) for k, v in row.items() if _is_number(v)} for row in stored["rows"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return sorted((row for row in rows if row.get("tau", 0) > 0), key=lambda row: row["tau"])


def _beside(source: Path, ending: str) -> bytes:
    return read_small(source.with_suffix(ending), MAX_BYTES, "what was measured")


def sizes(model: Model) -> list[dict[str, float]]:
    """What a network was measured to do on images of other sizes; empty where unknown.

    From ``NAME.sizes.json`` beside the checkpoint, where it was measured on these very
    parameters: rows with ``image_size`` and the authors' metrics.
    """
    if not isinstance(model.source, Path):
        return []
    try:
        [stored] = from_json(_beside(model.source, ".sizes.json"))["networks"]
        if stored["content_hash"] != model.digest:
            return []
        rows = [{k: float(v) for k, v in row.items() if _is_number(v)} for row in stored["sizes"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    found = [row for row in rows if row.get("image_size", 0) > 0]
    return sorted(found, key=lambda row: row["image_size"])


def mean_share(model: Model, tau: float | None = None) -> float | None:
    """Mean share of dense FLOPs on the test images, where the checkpoint says.

    At another tau than its default it is read off the curve of a network that takes
    any, between two measured taus on a straight line over the logarithm.
    """
    if not model.config.halts:
        return 1.0
    if model.tau_range is not None and tau not in (None, model.config.tau_default):
        rows = [row for row in curve(model) if row.get("Total Flops/mean", 0) > 0]
        spent = _at(rows, "Total Flops/mean", tau or 0.0)
        if spent is None:
            return None
        side = model.header.preprocessing.image_size
        dense = dense_flops(model.plan, (side, side)).total[0]
        return float(min(spent / dense, 1.0))
    metrics = model.header.provenance.get("metrics")
    share = metrics.get("flops_share") if isinstance(metrics, dict) else None
    return float(share) if _is_share(share) and share else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and abs(value) < 1e300


def _is_share(value: object) -> TypeGuard[float]:
    """Whether a checkpoint states a number from 0 to 1 there; anybody may have written it."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
