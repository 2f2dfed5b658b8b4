"""Whether a score tells where answers are wrong: risk against coverage, calibration, a blend.

Source: El-Yaniv and Wiener 2010 (risk and coverage); Guo et al. 2017, arXiv:1706.04599
(expected calibration error, bins of equal width).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15
_STEPS = 50


def risks(doubt: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Share of wrong answers among the images that a score doubts least.

    Parameters
    ----------
    doubt : np.ndarray [shape=(n,)]
        Higher where an answer is doubted more. Images of one value stand in no order of
        their own: each has the mean error of its value.
    right : np.ndarray [shape=(n,), bool]

    Returns
    -------
    np.ndarray [shape=(n,), float64]
        Of the first image, the first two, and so on: risk at coverage ``1 / n``, ``2 / n``, ….
    """
    _, places = np.unique(doubt, return_inverse=True)
    wrong = np.bincount(places, ~right) / np.bincount(places)
    expected = np.sort(places, kind="stable")
    found: np.ndarray = np.cumsum(wrong[expected]) / np.arange(1, len(right) + 1)
    return found


@dataclass(frozen=True)
class Bin:
    """Answers of about the same confidence: how many, how sure, how often right."""

    count: int
    confidence: float
    accuracy: float


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Set confidence against accuracy, in bins of equal width; empty ones are left out.

    Parameters
    ----------
    confidence : np.ndarray [shape=(n,)]
        Probability of each answer, in [0, 1].
    right : np.ndarray [shape=(n,), bool]
    bins : int
    """
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return [
        Bin(int(here.sum()), float(confidence[here].mean()), float(right[here].mean()))
        for here in (place == i for i in range(bins))
        if here.any()
    ]


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: how far confidence is from accuracy, averaged over images."""
    found = reliability(confidence, right, bins)
    return sum(b.count * abs(b.confidence - b.accuracy) for b in found) / len(right)


def blend(scores: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Put several scores together to tell what is wrong, without looking at the image itself.

    Logistic regression of ``wrong`` on the standardised scores, with a ridge of 1; images of
    even place are scored by the regression on those of odd place, and the other way round.

    Parameters
    ----------
    scores : np.ndarray [shape=(n, k)]
    wrong : np.ndarray [shape=(n,), bool]

    Returns
    -------
    np.ndarray [shape=(n,), float64]
        Log odds.
    """
    spread = scores.std(0)
    x = (scores - scores.mean(0)) / np.where(spread > 0, spread, 1)
    x = np.column_stack([np.ones(len(x)), x])
    even, found = np.arange(len(x)) % 2 == 0, np.empty(len(x))
    for half in (even, ~even):
        found[half] = x[half] @ _logistic(x[~half], wrong[~half])
    return found


def _logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights of a logistic regression, by Newton's method."""
    ridge = np.eye(x.shape[1])
    ridge[0, 0] = 1e-6  # the intercept is hardly held
    weights = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-(x @ weights).clip(-30, 30)))
        slope = x.T @ (y - chance) - ridge @ weights
        curve = (x * (chance * (1 - chance))[:, None]).T @ x + ridge
        step = np.linalg.solve(curve, slope)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    return weights
