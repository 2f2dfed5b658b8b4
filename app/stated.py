"""What a checkpoint states of itself: accuracy, cost, its curve over tau; no Streamlit."""

from __future__ import annotations

from pathlib import Path
from typing import TypeGuard

import numpy as np

from app.records import Model
from app.texts import short
from sact_core.flops import dense_flops
from sact_core.untrusted_json import from_json


def accuracy(model: Model) -> str | None:
    """What the checkpoint says of its accuracy, with split and count."""
    metrics = model.header.provenance.get("metrics")
    if not isinstance(metrics, dict):
        return None
    value, split, count = (metrics.get(k) for k in ("eval/Accuracy", "split", "count"))
    if not _is_share(value):
        return None
    of = f" of {count:,} {short(split)} images" if isinstance(count, int) and split else ""
    among = metrics.get("eval/Recall@5")
    five = f", {among:.1%} among the first five" if _is_share(among) else ""
    return f"{value:.1%} right{of}{five}"


def curve(model: Model) -> list[dict[str, float]]:
    """What a network that takes any tau was measured to do, tau rising; empty where unknown.

    From ``NAME.curve.json`` beside the checkpoint, where it was measured on these
    very parameters: rows with ``tau`` and the authors' metrics.
    """
    if not isinstance(model.source, Path):
        return []
    try:
        stored = from_json(model.source.with_suffix(".curve.json").read_text(encoding="utf-8"))
        if stored["content_hash"] != model.digest:
            return []
        rows = [
            {k: float(v) for k, v in row.items() if isinstance(v, int | float)}
            for row in stored["rows"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return sorted((row for row in rows if "tau" in row), key=lambda row: row["tau"])


def mean_share(model: Model, tau: float | None = None) -> float | None:
    """Mean share of dense FLOPs on the test images, where the checkpoint says.

    At another tau than its default it is read off the curve of a network that takes
    any, between two measured taus on a straight line over the logarithm.
    """
    if not model.config.halts:
        return 1.0
    if model.tau_range is not None and tau not in (None, model.config.tau_default):
        rows = [row for row in curve(model) if row.get("Total Flops/mean", 0) > 0]
        if not rows or not rows[0]["tau"] <= (tau or 0) <= rows[-1]["tau"]:
            return None
        side = model.header.preprocessing.image_size
        dense = dense_flops(model.plan, (side, side)).total[0]
        taus = np.log([row["tau"] for row in rows])
        spent = np.interp(np.log(tau or 1), taus, [row["Total Flops/mean"] for row in rows])
        return float(min(spent / dense, 1.0))
    metrics = model.header.provenance.get("metrics")
    share = metrics.get("flops_share") if isinstance(metrics, dict) else None
    return float(share) if _is_share(share) and share else None


def _is_share(value: object) -> TypeGuard[float]:
    """Whether a checkpoint states a number from 0 to 1 there; anybody may have written it."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
