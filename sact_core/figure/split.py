"""A test split: what its images cost, and how often the network is right on cheap and dear ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sact_core.figure.curve import COLOURS, require_room

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 40


def tenths(flops: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images in ten parts, from the cheapest to the dearest.

    Parameters
    ----------
    flops : np.ndarray [shape=(n,)]
    right : np.ndarray [shape=(n,), bool]

    Returns
    -------
    mean : np.ndarray [shape=(parts,)]
        FLOPs of each part.
    share : np.ndarray [shape=(parts,)]
        How many of it are right, in [0, 1].
    count : np.ndarray [shape=(parts,)]
        Images.
    """
    order = np.argsort(flops, kind="stable")
    parts = [part for part in np.array_split(order, min(10, len(order))) if len(part)]
    mean = np.array([flops[part].mean() for part in parts])
    share = np.array([right[part].mean() for part in parts])
    return mean, share, np.array([len(part) for part in parts])


def draw(flops: np.ndarray, right: np.ndarray, dense: float, width: float, height: float) -> Figure:
    """Draw both beside one another; within `sact_core.figure.saving.style`.

    Parameters
    ----------
    flops : np.ndarray [shape=(n,), int64]
    right : np.ndarray [shape=(n,), bool]
    dense : float
        FLOPs if every unit ran.
    width, height : float
        In inches.

    Raises
    ------
    ValueError
        If what stands beside the axes and in them has no room.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    left, other = figure.subplots(1, 2)
    ends = np.histogram_bin_edges(flops, BINS) / 1e6
    kinds = [flops[right] / 1e6, flops[~right] / 1e6]
    left.hist(
        kinds, list(ends), stacked=True, color=[COLOURS[0], COLOURS[5]], label=["right", "wrong"]
    )
    left.set_xlabel(f"MFLOPs (dense: {dense / 1e6:,.0f})")
    left.set_ylabel("images")
    legends = [left.legend()]
    mean, share, count = tenths(flops, right)
    error = np.sqrt(share * (1 - share) / count)
    other.errorbar(mean / 1e6, 100 * share, 100 * error, color=COLOURS[0], marker="o", capsize=2)
    other.set_xlabel("MFLOPs, tenths of the images")
    other.set_ylabel("right, %")
    for axes in (left, other):
        axes.grid(alpha=0.3, linewidth=0.5)
    require_room(figure, legends, width, height)
    return figure
