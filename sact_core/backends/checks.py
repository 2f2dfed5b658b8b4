"""What callers hand to a network, checked once, before any work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sact_core.backends.memory import available_memory, estimate_memory
from sact_core.network import Plan, check_input_size
from sact_core.preprocess import check_image


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
    check_input_size(plan, (x.shape[1], x.shape[2]))
    needed, there = estimate_memory(plan, x.shape, keep_outputs), available_memory()
    if there is not None and needed > there:
        raise ValueError(
            f"{len(x)} images of {x.shape[1]} x {x.shape[2]} pixels need about "
            f"{needed / 2**30:.1f} GiB of memory, but {there / 2**30:.1f} GiB are free; "
            f"run fewer or smaller images at once"
        )
    if not np.isfinite(x).all():
        raise ValueError("x holds NaN or infinite values")
