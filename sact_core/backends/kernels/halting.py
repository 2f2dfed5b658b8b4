"""The halting rule, one position after another, in float32."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def halt_positions(
    proba: np.ndarray,
    threshold: np.float32,
    first: int,
    last: int,
    distribution: np.ndarray,
    num_units: np.ndarray,
    remainder: np.ndarray,
) -> None:
    """Run the rule on positions ``first`` to ``last - 1``.

    Parameters
    ----------
    proba : np.ndarray [shape=(positions, units - 1), float32]
    threshold : np.float32
        ``float32(1 - eps)``.
    first, last : int
        The positions to do.
    distribution : np.ndarray [shape=(positions, units), float32]
        Written, zeros included.
    num_units : np.ndarray [shape=(positions,), int32]
        Written.
    remainder : np.ndarray [shape=(positions,), float32]
        Written.
    """
    num_probas = proba.shape[1]
    for p in range(first, last):
        cumsum = np.float32(0)
        left = np.float32(1)
        u = 0
        while u < num_probas:
            h = proba[p, u]
            cumsum = np.float32(cumsum + h)
            if cumsum >= threshold:
                break
            distribution[p, u] = h
            left = np.float32(left - h)
            u += 1
        distribution[p, u] = left
        num_units[p] = u + 1
        remainder[p] = left
        for v in range(u + 1, num_probas + 1):
            distribution[p, v] = 0
