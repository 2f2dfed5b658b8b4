"""What sides in int8 have in common: the images that their scales are found on."""

from __future__ import annotations

import numpy as np

#: Most images of a batch that is measured that scales are found on; and mirrored.
MOST_IMAGES = 32


def calibration_images(x: np.ndarray) -> list[np.ndarray]:
    """The first images that are measured, and the same mirrored: those of every side.

    Parameters
    ----------
    x : np.ndarray [shape=(n, h, w, 3), float32]

    Returns
    -------
    list of np.ndarray [shape=(at most MOST_IMAGES, h, w, 3), float32]
    """
    x = x[:MOST_IMAGES]
    return [x, np.ascontiguousarray(x[:, :, ::-1])]
