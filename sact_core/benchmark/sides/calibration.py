"""What sides in int8 have in common: the images that their scales are found on."""

from __future__ import annotations

import numpy as np

#: Most images of a batch that is measured that scales are found on; and mirrored.
MOST_IMAGES = 32

#: Images of a trained network's own that scales are found on instead, where there are some.
_given: list[np.ndarray] = []


def use(images: np.ndarray) -> None:
    """Find scales on these images from now on, and not on those that are measured.

    Parameters
    ----------
    images : np.ndarray [shape=(n, h, w, 3), float32]
        Whole batches of `MOST_IMAGES` and what is left over.
    """
    _given[:] = [images[i : i + MOST_IMAGES] for i in range(0, len(images), MOST_IMAGES)]


def calibration_images(x: np.ndarray) -> list[np.ndarray]:
    """The first images that are measured, and the same mirrored: those of every side.

    Parameters
    ----------
    x : np.ndarray [shape=(n, h, w, 3), float32]

    Returns
    -------
    list of np.ndarray [shape=(at most MOST_IMAGES, h, w, 3), float32]
    """
    if _given:
        return list(_given)
    x = x[:MOST_IMAGES]
    return [x, np.ascontiguousarray(x[:, :, ::-1])]
