"""The picture of an image that was made dear: before, after, the change, and both maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sact_core.result import Result


def draw_to(
    path: Path,
    images: tuple[np.ndarray, np.ndarray],
    results: tuple[Result, Result],
    dense: int,
    width: float,
    about: Mapping[str, Any],
) -> None:
    """Write the picture.

    Parameters
    ----------
    path : Path
        Its ending is one of `sact_core.figure.saving.FIGURES`.
    images : tuple of np.ndarray [shape=(H, W, 3), uint8]
        Before and after.
    results : tuple of Result
        What the network did with each.
    dense : int
        FLOPs if every unit ran.
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

    from sact_core.figure.maps import positions
    from sact_core.figure.saving import style, write_figure

    maps = [positions(result, "ponder_cost") for result in results]
    low, high = min(m.min() for m in maps), max(m.max() for m in maps)
    change = images[1].astype(np.int16) - images[0]
    grey = np.clip(128 + 127 * change / max(1, np.abs(change).max()), 0, 255).astype(np.uint8)
    titles = ("image", "ponder cost", "changed", "ponder cost", "the change")
    tall = images[0].shape[0] / images[0].shape[1]
    with style(8):
        figure = Figure((width, 0.19 * width * tall + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 5)
        pictures = (images[0], maps[0], images[1], maps[1], grey)
        for place, title, picture in zip(axes, titles, pictures, strict=True):
            place.imshow(picture, interpolation="none", vmin=low, vmax=high)
            place.set_title(title)
            place.set_xticks([])
            place.set_yticks([])
        for place, result in zip(axes[1:4:2], results, strict=True):
            share = int(result.flops[0]) / dense
            place.set_xlabel(f"{share:.1%} of dense")
        axes[4].set_xlabel(f"at most {np.abs(change).max()} of 255")
        figure.colorbar(axes[3].images[0], ax=axes, label="units", fraction=0.03, pad=0.01)
        write_figure(path, figure, about)
