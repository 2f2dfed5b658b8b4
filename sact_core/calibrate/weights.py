"""Scales of weights, and what rounding them adds to every output on the average.

Weights that are rounded do harm by what they are multiplied by: where that is never
negative, as behind a ReLU, errors of a sum do not average out. So its mean and its spread
count where a scale is chosen, and the mean that is left is taken off again (as by Nagel et
al. 2019, arXiv:1906.04721, section 4.2, from images here).
"""

from __future__ import annotations

import numpy as np

from sact_core.quantisation import MOST_WEIGHT, quantise_weight

#: Shares of the widest scale that `mse` tries.
SHARES = np.linspace(1, 0.5, 101)


class Moments:
    """Mean and variance of what a convolution reads, by channel."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._total, self._squares = np.zeros(channels), np.zeros(channels)

    def add(self, values: np.ndarray) -> None:
        """Count numbers [shape=(positions, channels), float32]."""
        self.count += len(values)
        self._total += values.sum(axis=0, dtype=np.float64)
        self._squares += np.square(values).sum(axis=0, dtype=np.float64)

    @property
    def mean(self) -> np.ndarray:
        """Means [shape=(channels,), float64]."""
        return self._total / max(self.count, 1)

    @property
    def variance(self) -> np.ndarray:
        """Variances [shape=(channels,), float64]."""
        found: np.ndarray = np.maximum(self._squares / max(self.count, 1) - self.mean**2, 0)
        return found


def weight_scales(weight: np.ndarray, method: str, moments: Moments | None = None) -> np.ndarray:
    """Scales of weights [height, width, in of a group, out], one for each output channel.

    The largest weight of a channel becomes 127; with ``mse``, what gives the least squared
    error of the sums, as far as ``moments`` tell, else of the weights. A channel of zeros
    has the scale 1.

    Returns
    -------
    np.ndarray [shape=(out,), float32]
    """
    rows = weight.reshape(-1, *weight.shape[2:]).astype(np.float64)  # [taps, in, out]
    most = np.abs(rows).max(axis=(0, 1))
    best = np.where(most > 0, most / MOST_WEIGHT, 1.0)
    if method == "mse":
        mean, variance = np.zeros((1, 1)), np.ones((1, 1))
        if moments is not None:
            mean, variance = (_beside(each, rows) for each in (moments.mean, moments.variance))
        widest, least = best.copy(), np.full(len(best), np.inf)
        for share in SHARES:
            scales = widest * share
            away = rows - scales * np.clip(np.rint(rows / scales), -MOST_WEIGHT, MOST_WEIGHT)
            errors = (away.sum(axis=0) * mean).sum(axis=0) ** 2
            errors += (np.square(away).sum(axis=0) * variance).sum(axis=0)
            best = np.where(errors < least, scales, best)
            least = np.minimum(errors, least)
    found: np.ndarray = best.astype(np.float32)
    return found


def mean_error(weight: np.ndarray, scales: np.ndarray, moments: Moments) -> np.ndarray:
    """What rounding the weights adds to the outputs on the average [shape=(out,), float32]."""
    away = quantise_weight(weight, scales) * scales.astype(np.float64) - weight
    rows = away.reshape(-1, *weight.shape[2:])
    found: np.ndarray = (rows.sum(axis=0) * _beside(moments.mean, rows)).sum(axis=0)
    return found.astype(np.float32)


def _beside(by_channel: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Numbers of input channels beside rows [taps, in, out]; of a depthwise one, of outputs."""
    depthwise = rows.shape[1] == 1
    return by_channel[None, :] if depthwise else by_channel[:, None]
