"""How well a map says where people look: AUC-Judd, the centre, post-processing.

A map predicts fixations as well as its values at fixated pixels stand above
those at all other pixels. People look at the centre of a picture first, and at
surroundings rather than at single pixels; so a map gains by being blurred and
mixed with a Gaussian in the middle, and has to be compared with that Gaussian
alone.

Source: Judd et al. 2009, "Learning to predict where humans look", and the MIT
saliency benchmark; applied to ponder maps by Figurnov et al. 2017,
arXiv:1612.02297.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

#: Width of the Gaussian in the middle as a share of each side.
CENTRE_WIDTH = 0.25
#: How far one look says where others look, as a share of the longer side: about a degree of
#: what people see of a photograph on a screen.
LOOK_WIDTH = 0.03
#: Rows and columns that are blurred at a time where a map has a photograph's size.
BLOCK = 512


def auc_judd(saliency: np.ndarray, fixations: np.ndarray) -> float:
    """Area under the ROC curve of a map as a detector of fixated pixels.

    That is the chance that a fixated pixel has a higher value than one that is
    not, where a tie counts half: 1 if all fixated pixels stand above all others,
    0.5 for a constant map. The published MATLAB script breaks ties by noise and
    joins the points of the curve at fixated pixels by straight lines, which adds
    at most ``1 / (2 * number of fixated pixels)``.

    Parameters
    ----------
    saliency : np.ndarray [shape=(h, w)]
        The map. It is enlarged or reduced to the size of ``fixations`` by nearest
        neighbour, source index ``floor(i * h / H)``.
    fixations : np.ndarray [shape=(H, W), bool]
        Where people looked.

    Raises
    ------
    ValueError
        If no pixel is fixated or all are, or the map has other than two
        dimensions or holds NaN or infinite values.
    """
    if saliency.ndim != 2 or not saliency.size or not np.isfinite(saliency).all():
        raise ValueError(f"a map must have two dimensions and finite values, got {saliency.shape}")
    fixated, others = _counts(saliency.shape, fixations)
    _, place = np.unique(saliency.ravel(), return_inverse=True)
    hits = np.bincount(place, fixated)  # by value, from the lowest; sums of whole numbers
    misses = np.bincount(place, others)
    if not hits.sum():
        raise ValueError("there is no fixation")
    if not misses.sum():
        raise ValueError("every pixel is fixated")
    above = hits.sum() - np.cumsum(hits)
    return float(misses @ (above + hits / 2) / (hits.sum() * misses.sum()))


def centre_map(size: tuple[int, int]) -> np.ndarray:
    """Draw the Gaussian in the middle, as wide for its height as the picture.

    Parameters
    ----------
    size : tuple of int
        Height and width.

    Returns
    -------
    np.ndarray [shape=size, float64]
        Above 0, at most 1.
    """
    # Halves of odd numbers, so that opposite places have exactly opposite values.
    down, right = ((2 * np.arange(side) + 1 - side) / (2 * side) for side in size)
    return np.exp(-(down[:, None] ** 2 + right**2) / (2 * CENTRE_WIDTH**2))


def half_by_half(fixations: np.ndarray, seed: int = 0) -> float:
    """How well one half of the fixations predicts the other: no map can be asked for more.

    The fixations are split at random, each half is blurred by `LOOK_WIDTH` and scored on the
    other. Where they are those of many people, a half has looks of nearly all of them.

    Parameters
    ----------
    fixations : np.ndarray [shape=(h, w), bool]
        Where people looked.
    seed : int
        Of the split.

    Returns
    -------
    float
        AUC-Judd, the mean of both ways; NaN where there are fewer than two fixations.
    """
    if np.count_nonzero(fixations) < 2:
        return float("nan")
    halves = _halves(fixations, seed)
    ways = (halves, halves[::-1])
    return float(np.mean([_auc_in_place(_blurred_looks(one), other) for one, other in ways]))


def blur(values: np.ndarray, width: float) -> np.ndarray:
    """Blur a map with a Gaussian; at the border over what lies inside.

    Parameters
    ----------
    values : np.ndarray [shape=(h, w)]
    width : float
        Standard deviation as a share of the longer side; 0 leaves the map alone.

    Returns
    -------
    np.ndarray [shape=(h, w), float64]
    """
    if not width:
        return values.astype(np.float64)
    height, breadth = values.shape
    pixels = width * max(height, breadth)
    blurred: np.ndarray = _blurring(height, pixels) @ values @ _blurring(breadth, pixels).T
    return blurred


def post_process(values: np.ndarray, width: float, centre_weight: float) -> np.ndarray:
    """Blur a map, stretch it to [0, 1] and mix it with the Gaussian in the middle.

    Parameters
    ----------
    values : np.ndarray [shape=(h, w)]
        A ponder map.
    width : float
        As in `blur`.
    centre_weight : float
        Share of the Gaussian in the middle, in [0, 1].

    Returns
    -------
    np.ndarray [shape=(h, w), float64]
        In [0, 1].
    """
    return mix(blur(values, width), centre_weight)


def mix(values: np.ndarray, centre_weight: float) -> np.ndarray:
    """Stretch a map to [0, 1] and mix it with the Gaussian in the middle.

    Parameters
    ----------
    values : np.ndarray [shape=(h, w)]
        A constant map becomes 0.
    centre_weight : float
        Share of the Gaussian, in [0, 1].
    """
    low, high = float(values.min()), float(values.max())
    stretched = (values - low) / (high - low) if high > low else np.zeros(values.shape)
    return (1 - centre_weight) * stretched + centre_weight * centre_map(values.shape)


def _counts(shape: tuple[int, int], fixations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fixated and other pixels that each position of a map stands for [shape=(h * w,)]."""
    (h, w), (height, width) = shape, fixations.shape
    rows, columns = np.arange(height) * h // height, np.arange(width) * w // width
    fixated = np.zeros(h * w, np.int64)
    for some in _blocks(height):
        at_row, at_column = np.nonzero(fixations[some])
        fixated += np.bincount(rows[some][at_row] * w + columns[at_column], minlength=h * w)
    pixels = np.outer(np.bincount(rows, minlength=h), np.bincount(columns, minlength=w))
    return fixated, pixels.ravel() - fixated


def _halves(fixations: np.ndarray, seed: int) -> list[np.ndarray]:
    """Split fixations at random into two [each shape=(h, w), bool]."""
    at = np.random.default_rng(seed).permutation(np.flatnonzero(fixations))
    halves = []
    for some in np.array_split(at, 2):
        half = np.zeros(fixations.size, bool)
        half[some] = True
        halves.append(half.reshape(fixations.shape))
    return halves


def _blurred_looks(looks: np.ndarray) -> np.ndarray:
    """Blur single looks by `LOOK_WIDTH`, as `blur` does [shape=(h, w), float64].

    Of a photograph's size, matrices as `blur` has would take gigabytes: here they are made block
    by block, and only where someone looked.
    """
    height, breadth = looks.shape
    pixels = LOOK_WIDTH * max(height, breadth)
    at_row, at_column = np.flatnonzero(looks.any(1)), np.flatnonzero(looks.any(0))
    looks = looks[np.ix_(at_row, at_column)]
    blurred = np.empty((height, breadth))
    for rows in _blocks(height):
        down = np.zeros((len(rows), len(at_column)))
        for some in _blocks(len(at_row)):
            down += _shares(height, pixels, rows, at_row[some]) @ looks[some].astype(np.float64)
        for columns in _blocks(breadth):
            across = _shares(breadth, pixels, columns, at_column)
            np.matmul(
                down, across.T, out=blurred[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            )
    return blurred


def _auc_in_place(saliency: np.ndarray, fixations: np.ndarray) -> float:
    """AUC-Judd of a map of the size of the fixations, which it overwrites instead of copying."""
    hits = np.sort(saliency[fixations])  # in order they are found faster
    saliency[fixations] = np.inf  # above every hit, so never counted
    ranked = saliency.reshape(-1)
    ranked.sort()
    beaten = sum(int(np.searchsorted(ranked, hits, side).sum()) for side in ("left", "right"))
    return beaten / (2 * len(hits) * (ranked.size - len(hits)))


def _blocks(side: int) -> list[np.ndarray]:
    """Places along a side, in blocks of at most `BLOCK`."""
    return [np.arange(start, min(start + BLOCK, side)) for start in range(0, side, BLOCK)]


@lru_cache(maxsize=32)
def _blurring(side: int, width: float) -> np.ndarray:
    """Matrix that blurs along a side [shape=(side, side)]; every row sums to 1."""
    return _shares(side, width, np.arange(side), np.arange(side))


def _shares(side: int, width: float, to: np.ndarray, of: np.ndarray) -> np.ndarray:
    """What places ``to`` take of places ``of`` where a side is blurred [shape=(to, of)]."""
    bell = np.exp(-(np.arange(side) ** 2) / (2 * width**2))
    up_to = np.cumsum(bell)
    inside = up_to + up_to[::-1] - 1  # both flanks have the middle, which is 1
    shares: np.ndarray = bell[np.abs(to[:, None] - of)]
    shares /= inside[to, None]
    return shares
