"""Five ways in which images are damaged, at five strengths.

Source: Hendrycks and Dietterich 2019, arXiv:1903.12261; strengths are theirs, those of
CIFAR-10-C for small images and those of ImageNet-C for others.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np

STRENGTHS = (1, 2, 3, 4, 5)
#: Images whose longer side is at most so many pixels take the strengths of CIFAR-10-C.
SMALL = 64
#: By kind, for small images and for others: deviation of the noise, that of the blur in
#: pixels, what is left of contrast, JPEG's quality, and what is left of each side.
_LEVELS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "noise": ((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "blur": ((0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6)),
    "contrast": ((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "jpeg": ((80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
    "pixelation": ((0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
}
KINDS = tuple(_LEVELS)


def damage(image: np.ndarray, kind: str, strength: int, seed: int = 0) -> np.ndarray:
    """Damage an image.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, 3), uint8]
        RGB.
    kind : str
        One of `KINDS`.
    strength : int
        From 1 to 5.
    seed : int
        Of the noise.

    Returns
    -------
    np.ndarray [shape=(h, w, 3), uint8]

    Raises
    ------
    ValueError
        If there is no such kind or strength.
    """
    if kind not in _LEVELS:
        raise ValueError(f"damage must be one of {', '.join(KINDS)}; got {kind!r}")
    if strength not in STRENGTHS:
        raise ValueError(f"the strength of damage must be from 1 to 5, got {strength!r}")
    level = _LEVELS[kind][max(image.shape[:2]) > SMALL][strength - 1]
    return _WAYS[kind](image, level, seed)


def _noise(image: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(0, 255 * deviation, image.shape)
    return _whole(image + drawn)


def _blur(image: np.ndarray, deviation: float, _: int) -> np.ndarray:
    from sact_core.measures.gaze import blur

    width = deviation / max(image.shape[:2])
    planes = [blur(image[..., c].astype(np.float64), width) for c in range(image.shape[2])]
    return _whole(np.stack(planes, -1))


def _contrast(image: np.ndarray, left: float, _: int) -> np.ndarray:
    mean = image.mean((0, 1))
    return _whole((image - mean) * left + mean)


def _jpeg(image: np.ndarray, quality: float, _: int) -> np.ndarray:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(quality))
    with Image.open(file) as read:
        return np.array(read)


def _pixelation(image: np.ndarray, left: float, _: int) -> np.ndarray:
    from PIL import Image

    height, width = image.shape[:2]
    small = max(1, int(width * left)), max(1, int(height * left))
    picture = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.array(picture.resize((width, height), Image.Resampling.NEAREST))


def _whole(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.rint(values).clip(0, 255).astype(np.uint8)
    return found


_WAYS: Mapping[str, Callable[[np.ndarray, float, int], np.ndarray]] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "jpeg": _jpeg,
    "pixelation": _pixelation,
}
