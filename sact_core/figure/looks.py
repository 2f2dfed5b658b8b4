"""Photographs, where people looked at them, and where a network thinks, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: Photographs that a figure has room for.
MOST = 6
#: Pixels of the longer side that a photograph is drawn with, at the most: a third of a page.
SIDE = 1200
#: How opaque the map lies over the photograph.
OPACITY = 0.6


@dataclass(frozen=True, eq=False)
class Look:
    """One photograph.

    Attributes
    ----------
    image : np.ndarray [shape=(h', w', 3), uint8]
        Made smaller where it is large, see `smaller`.
    size : tuple of int
        Height and width of the photograph itself.
    fixations : np.ndarray [shape=(n, 2), int]
        Rows and columns of that where people looked.
    values, blurred : np.ndarray [shape=(h, w)]
        The ponder map, and blurred as it was scored.
    auc : float
        AUC-Judd of the map as it is.
    """

    image: np.ndarray
    size: tuple[int, int]
    fixations: np.ndarray
    values: np.ndarray
    blurred: np.ndarray
    auc: float


def smaller(image: np.ndarray) -> np.ndarray:
    """A photograph [shape=(H, W, 3), uint8] as it is drawn, its longer side `SIDE` at the most."""
    from PIL import Image

    made = Image.fromarray(image)
    made.thumbnail((SIDE, SIDE))
    return np.asarray(made)


def draw_to(path: Path, looks: Sequence[Look], width: float, about: Mapping[str, Any]) -> None:
    """Write the figure: a row for each photograph, with its fixations, its map, and both.

    Parameters
    ----------
    path : Path
        Its ending is one of `sact_core.figure.saving.FIGURES`.
    looks : sequence of Look
        At most `MOST`.
    width : float
        In inches.
    about : mapping
        As of `sact_core.figure.saving.write_figure`.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from sact_core.figure.saving import style, write_figure

    titles = ("where people looked", "ponder map", "blurred, with fixations")
    tall = [look.size[0] / look.size[1] for look in looks]
    with style(8):
        figure = Figure((width, width / 3 * sum(tall) + 0.25 * len(looks)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(looks), 3, squeeze=False, height_ratios=tall)
        for row, look in zip(grid, looks, strict=True):
            extent = (0, look.size[1], look.size[0], 0)
            for axes in row:
                axes.set_xticks([])
                axes.set_yticks([])
            row[0].imshow(look.image, extent=extent)
            row[1].imshow(look.values, extent=extent, interpolation="none")
            row[2].imshow(look.image.mean(-1), extent=extent, cmap="gray")
            row[2].imshow(look.blurred, extent=extent, alpha=OPACITY)
            down, right = look.fixations.T
            for axes in row[::2]:
                axes.scatter(
                    right, down, s=0.8 * width, c="#ffffff", edgecolors="#d00000", linewidths=0.7
                )
            row[1].set_xlabel(f"AUC-Judd {look.auc:.3f}")
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title)
        write_figure(path, figure, about)
