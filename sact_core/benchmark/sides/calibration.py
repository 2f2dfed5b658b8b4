"""What sides in int8 have in common: the images that their scales are found on."""

from __future__ import annotations

import numpy as np


def calibration_images(x: np.ndarray) -> list[np.ndarray]:
    """The images that are measured, and the same mirrored: those of every side.

    Parameters
    ----------
    x : np.ndarray [shape=(n, h, w, 3), float32]

    Returns
    -------
    list of np.ndarray [shape=(n, h, w, 3), float32]
    """
    return [x, np.ascontiguousarray(x[:, :, ::-1])]
