"""A network at several taus against another one on smaller images, at equal FLOPs.

Whoever wants to spend less may show a network smaller images, which takes no training.
Halting must beat that; how far it is ahead at what it spends is told here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.evaluate.sizes import Curve, save_plot, sizes_table
from sact_core.evaluate.taus import TauCurve
from sact_core.measures.metrics import ACCURACY, Metrics

FLOPS = "Total Flops/mean"


def ahead(curve: TauCurve, rival: Curve) -> dict[float, float | None]:
    """Say how much more is right than the rival has at the same FLOPs, by tau.

    Between two sizes, the rival's accuracy is on the line between theirs; None where it
    was measured at no size so cheap, or none so dear.
    """
    points = sorted(
        (row[FLOPS], row[ACCURACY]) for row in (m.summary() for m in rival.metrics.values())
    )
    x, y = np.array(points).T
    found: dict[float, float | None] = {}
    for tau, metrics in curve.metrics.items():
        row = metrics.summary()
        within = x[0] <= row[FLOPS] <= x[-1]
        found[tau] = float(row[ACCURACY] - np.interp(row[FLOPS], x, y)) if within else None
    return found


def as_json(curve: TauCurve, rival: Curve) -> dict[str, Any]:
    """The rival's numbers, and how far behind it is, as plain JSON values."""
    rows = [{"tau": tau, "ahead": value} for tau, value in ahead(curve, rival).items()]
    return {"rival": rival.as_json(), "ahead_of_rival": rows}


def rival_table(curve: TauCurve, rival: Curve) -> str:
    """Lay out for people what the rival does, and how far behind it is."""
    lines = [f"The rival, {rival.job.net.config.name}, {rival.file}:", "", sizes_table(rival), ""]
    for tau, value in ahead(curve, rival).items():
        what = "the rival was measured at no such FLOPs"
        if value is not None:
            what = f"{100 * value:+.2f} points against the rival at the same FLOPs"
        lines.append(f"tau {tau:.4g}: {what}")
    return "\n".join(lines)


def plot_rival(
    path: str | Path,
    curve: TauCurve,
    rival: Curve,
    file: str,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Draw accuracy against FLOPs: one network by tau, the rival by size.

    Parameters
    ----------
    path : str or Path
        As in `sact_core.evaluate.sizes.plot_sizes`.
    curve, rival : TauCurve, Curve
        What was measured.
    file : str
        The first network's.
    about : mapping, optional
        As in `sact_core.evaluate.sizes.plot_sizes`.

    Raises
    ------
    OSError
        As `sact_core.files.written_beside`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    side = curve.job.net.preprocessing.image_size
    name = curve.job.net.config.name
    ours = f"{name} ({Path(file).name}) at {side} pixels, by tau"
    theirs = f"{rival.job.net.config.name} ({Path(rival.file).name}), by pixels"
    drawn: list[tuple[str, Mapping[Any, Metrics], str]] = [
        (ours, curve.metrics, "o-"),
        (theirs, rival.metrics, "s--"),
    ]
    for label, metrics, style in drawn:
        found = {each: measured.summary() for each, measured in metrics.items()}
        x = [row[FLOPS] / 1e6 for row in found.values()]
        y = [100 * row[ACCURACY] for row in found.values()]
        axes.plot(x, y, style, lw=1, label=label)
        for each, at_x, at_y in zip(found, x, y, strict=True):
            text = f"{each:.3g}"
            axes.annotate(text, (at_x, at_y), (4, 5), textcoords="offset points", fontsize=8)
    source, count = curve.job.source, next(iter(curve.metrics.values())).count
    axes.set_xlabel("MFLOPs per image (mean; 2 per multiply-add)")
    axes.set_ylabel(f"accuracy on {count:,} images of {source.name} {source.split}, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    figure.tight_layout()
    save_plot(path, figure, about or {})
