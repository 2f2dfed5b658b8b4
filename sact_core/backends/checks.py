"""What callers hand to a network, checked once, before any work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sact_core.backends.memory import available_memory, estimate_memory, too_little_memory
from sact_core.network import Plan, check_input_size
from sact_core.preprocess import check_image
from sact_core.result import Result

#: Of a batch as it is fitted: below, whether there is memory is asked once, before the run.
MANY_PIXELS = 1 << 20


class NotFinite(ValueError):
    """A network's results hold NaN or infinite numbers: it is broken, not the image."""


def image_batches(images: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays of images of one size, each to be run at once [shape=(n, h, w, 3)].

    Parameters
    ----------
    images : np.ndarray [shape=(n, h, w, 3), uint8] or list of [shape=(h, w, 3), uint8]
        RGB. A list becomes one array for each image.

    Raises
    ------
    ValueError
        If there is no image, or what there is has another shape.
    """
    if isinstance(images, np.ndarray):
        if images.ndim == 3:
            raise ValueError(
                f"images must have shape (n, h, w, 3), got {images.shape}; "
                f"for a single image pass images[None]"
            )
        if images.ndim != 4:
            raise ValueError(f"images must have shape (n, h, w, 3), got {images.shape}")
        if not len(images):
            raise ValueError("images holds no image")
        return [images]
    if not isinstance(images, Sequence) or isinstance(images, str | bytes):
        raise ValueError(
            "images must be an array of shape (n, h, w, 3) or a list of arrays of shape "
            f"(h, w, 3), got {type(images).__name__}"
        )
    if not len(images):
        raise ValueError("images holds no image")
    for image in images:
        check_image(image)
    return [image[None] for image in images]


def check_input(plan: Plan, x: np.ndarray, keep_outputs: bool) -> None:
    """Refuse what a network cannot take.

    Parameters
    ----------
    plan : Plan
        The network.
    x : np.ndarray [shape=(n, H, W, 3), float32]
        Preprocessed images.
    keep_outputs : bool
        Whether every block's output is to be kept.

    Raises
    ------
    ValueError
        As `sact_core.backends.Net.forward`.
    """
    if not isinstance(x, np.ndarray):
        raise ValueError(f"x must be a NumPy array, got {type(x).__name__}")
    if x.dtype != np.float32:
        raise ValueError(
            f"x must be float32, got {x.dtype}; images as they are, in uint8, go through run"
        )
    if x.ndim != 4 or x.shape[3] != 3:
        raise ValueError(f"x must have shape (n, height, width, 3), got {x.shape}")
    if not len(x):
        raise ValueError("x is an empty batch")
    check_room(plan, len(x), (x.shape[1], x.shape[2]), keep_outputs)
    if not np.isfinite(x).all():
        raise ValueError("x holds NaN or infinite values")


def check_room(plan: Plan, n: int, size: tuple[int, int], keep_outputs: bool = False) -> None:
    """Refuse a batch that a network cannot take, or for which there is no memory.

    Parameters
    ----------
    plan : Plan
        The network.
    n : int
        Images that are run at once.
    size : tuple of int
        Height and width of the network's input.
    keep_outputs : bool
        Whether every block's output is to be kept.

    Raises
    ------
    ValueError
        If it cannot, or there is not.
    """
    check_input_size(plan, size)
    needed, there = estimate_memory(plan, (n, *size, 3), keep_outputs), available_memory()
    if there is not None and needed > there:
        raise ValueError(too_little_memory(n, size, needed, there))


def check_before_fitting(plan: Plan, n: int, size: tuple[int, int]) -> None:
    """As `check_room`, before a batch is made of photographs.

    What fits anywhere is let through: asking the machine for its memory takes as long
    as fitting a small photograph, and the network asks before it runs.
    """
    if n * size[0] * size[1] > MANY_PIXELS:
        check_room(plan, n, size)
    else:
        check_input_size(plan, size)


def check_result(plan: Plan, result: Result) -> None:
    """Refuse results that mean nothing, whichever backend they come from.

    Parameters
    ----------
    plan : Plan
        The network.
    result : Result
        What it did. Logits and ponder costs are looked at: a halting score that is
        NaN makes the cost of its position NaN, see `sact_core.halting`.

    Raises
    ------
    NotFinite
        If one of them is NaN or infinite; the message names the first block.
    """
    broken = [
        f"the ponder cost of {block.name}"
        for block in result.blocks
        if block.ponder_cost is not None and not np.isfinite(block.ponder_cost).all()
    ]
    if not broken and np.isfinite(result.logits).all():
        return
    what = broken[0] if broken else "its logits"
    raise NotFinite(
        f"the results of {plan.config.name} are not finite: {what} came out as NaN or infinite, "
        f"so its weights overflow on this input"
    )
