"""Accuracy and FLOPs against strength, as plain JSON values, a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.damage.kinds import KINDS, STRENGTHS
from sact_core.figure.curve import COLOURS, MARKS
from sact_core.measures.passes import Pass
from sact_core.measures.ranks import RESAMPLES, Estimate

HEADER = (
    *("damage", "strength", "network", "accuracy, %", "MFLOPs"),
    *("MFLOPs, more than undamaged", "points ahead of the last network"),
)


def point(one: Pass, whole: Pass, rival: Pass | None, seed: int = 0) -> dict[str, Any]:
    """Sum up a pass over damaged images.

    Parameters
    ----------
    one, whole : Pass
        Of the same images, damaged and not.
    rival : Pass, optional
        Another network's, of the same damaged images.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``accuracy``, ``flops`` and their ``spread``, and as ``[value, low, high]`` over images
        ``flops_risen`` and ``ahead`` of the rival in accuracy.
    """
    drawn = np.random.default_rng(seed).integers(0, len(one), (RESAMPLES, len(one)))

    def mean(values: np.ndarray) -> list[float | None]:
        return Estimate.of(float(values.mean()), values[drawn].mean(1)).as_json()

    right = one.right.astype(np.float64)
    found = {
        "accuracy": float(right.mean()),
        "flops": float(one.flops.mean()),
        "spread": float(one.flops.std()),
        "share_of_dense": float((one.flops / one.dense).mean()),
        "flops_risen": mean(one.flops.astype(np.float64) - whole.flops),
    }
    if rival is not None:
        found["ahead"] = mean(right - rival.right)
    return found


def rows(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The table's cells; see `HEADER`."""
    cells = []
    for kind in (None, *KINDS):
        for strength in (0,) if kind is None else STRENGTHS:
            for one in found:
                at = one["undamaged"] if kind is None else one[kind][strength - 1]
                cells.append(
                    [
                        kind or "none",
                        str(strength or ""),
                        label(one),
                        f"{at['accuracy']:.2%}".rstrip("%"),
                        f"{at['flops'] / 1e6:.2f}",
                        _told(at["flops_risen"], 1e-6),
                        _told(at.get("ahead"), 100),
                    ]
                )
    return cells


def label(one: Mapping[str, Any]) -> str:
    """A network's name, with its tau where it has one."""
    name = str(one["network"]).removesuffix(" any tau")
    return name if one["tau"] is None else f"{name}, τ = {one['tau']:.3g}"


def text(found: Sequence[Mapping[str, Any]]) -> str:
    """The table for people."""
    table = [list(HEADER), *rows(found)]
    wide = [max(len(row[i]) for row in table) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)).rstrip()
        for row in table
    )


def draw_to(
    path: Path, found: Sequence[Mapping[str, Any]], width: float, about: Mapping[str, Any]
) -> None:
    """Write the figure: accuracy above, FLOPs below, one column for each kind.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from sact_core.figure.saving import style, write_figure

    with style(7.5):
        figure = Figure((width, 0.42 * width), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(2, len(KINDS), sharey="row", sharex=True)
        for column, kind in zip(grid.T, KINDS, strict=True):
            for i, one in enumerate(found):
                points = [one["undamaged"], *one[kind]]
                for axes, (name, factor) in zip(
                    column, (("accuracy", 100), ("flops", 1e-6)), strict=True
                ):
                    axes.plot(
                        (0, *STRENGTHS),
                        [factor * each[name] for each in points],
                        color=COLOURS[i % len(COLOURS)],
                        marker=MARKS[i % len(MARKS)],
                        markersize=3,
                        linewidth=1,
                        label=label(one),
                    )
                    axes.grid(alpha=0.3, linewidth=0.5)
            column[0].set_title(kind)
            column[1].set_xlabel("strength")
            column[1].set_xticks((0, *STRENGTHS))
        grid[0, 0].set_ylabel("accuracy, %")
        grid[1, 0].set_ylabel("MFLOPs, mean")
        lines, names = grid[0, 0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside upper center", ncols=len(names))
        write_figure(path, figure, about)


def _told(numbers: Sequence[float | None] | None, factor: float) -> str:
    if numbers is None or None in numbers:
        return ""
    value, low, high = (f"{factor * (number or 0):+.2f}" for number in numbers)
    return f"{value} ({low} to {high})"
