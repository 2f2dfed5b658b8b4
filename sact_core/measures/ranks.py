"""Rank correlations, plain and partial, and areas under ROC curves, with bootstrap intervals.

All of them are functions of the ranks of some columns. A resample's ranks are counted, not
sorted: a column is turned once into the places of its distinct values, and how often each
place is drawn gives the ranks of the resample. So a thousand resamples of ten thousand
images and a dozen columns take seconds. What they would be by chance is counted over random
orders of one column, `shuffled`.

Source: Spearman 1904; Efron 1979 (percentile intervals); Hanley and McNeil 1982 (the area
under the ROC curve as a sum of ranks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
#: Random orders of a null control, and how many are ranked at a time.
SHUFFLES, _LOT = 1000, 50
#: Share of resamples that an interval holds.
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number, and the interval that holds `LEVEL` of its resamples; NaN where undefined."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, resampled: np.ndarray) -> Estimate:
        """Take the percentiles of a number's resamples [shape=(resamples,)]."""
        known = resampled[np.isfinite(resampled)]
        if not np.isfinite(value) or not len(known):
            return cls(*(float("nan"),) * 3)
        low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(float(value), float(low), float(high))

    def as_json(self) -> list[float | None]:
        """Value, low and high; null where undefined."""
        return [each if np.isfinite(each) else None for each in (self.value, self.low, self.high)]

    @property
    def holds_zero(self) -> bool:
        """Whether 0 is inside the interval."""
        return self.low <= 0 <= self.high

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "–"
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


@dataclass(frozen=True)
class Null:
    """What rank correlations are where nothing is related; NaN where undefined.

    Attributes
    ----------
    mean, low, high : float
        Of the correlations with a column in random orders; low and high hold `LEVEL` of them.
    p : float
        How often one of them is as far from 0 as the correlation itself, which is counted
        among them: the p-value of a permutation test of both sides.
    """

    mean: float
    low: float
    high: float
    p: float

    def as_json(self) -> dict[str, Any]:
        """``shuffled`` with mean, low and high, and ``p``; null where undefined."""
        known = np.isfinite(self.mean)
        shuffled = [self.mean, self.low, self.high] if known else [None] * 3
        return {"shuffled": shuffled, "p": self.p if known else None}


def shuffled(
    columns: Mapping[str, np.ndarray],
    other: np.ndarray,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> dict[str, Null]:
    """Correlate columns with another one whose values are put in random orders.

    Parameters
    ----------
    columns : mapping of str to np.ndarray [shape=(n,)]
        Finite.
    other : np.ndarray [shape=(n,)]
        Finite; all columns meet the same orders of it.
    shuffles : int
        How many orders.
    seed : int
        Of the orders.

    Returns
    -------
    dict of str to Null
        Of each column's rank correlations.
    """
    table = np.stack([ranks(each) for each in (*columns.values(), other)])
    centred = table - table.mean(1, keepdims=True)
    length = np.sqrt((centred**2).sum(1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = centred / length  # NaN of columns that are constant
    real, rng, found = unit[:-1] @ unit[-1], np.random.default_rng(seed), []
    for begin in range(0, shuffles, _LOT):
        orders = np.tile(unit[-1], (min(_LOT, shuffles - begin), 1))
        found.append(rng.permuted(orders, axis=1, out=orders) @ unit[:-1].T)
    every = np.concatenate(found)
    # As far within rounding: an order may give the same ranks again.
    beyond = (np.abs(every) >= np.abs(real) - 1e-12).sum(0)
    nulls = {}
    for i, name in enumerate(columns):
        each = Estimate.of(float(every[:, i].mean()), every[:, i])
        nulls[name] = Null(each.value, each.low, each.high, (1 + int(beyond[i])) / (1 + shuffles))
    return nulls


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank values from 1; ties share the mean of their ranks.

    Parameters
    ----------
    values : np.ndarray [shape=(n,)]
        Finite.

    Returns
    -------
    np.ndarray [shape=(n,), float64]
    """
    _, places = np.unique(values, return_inverse=True)
    return _drawn(places, places.max(initial=0) + 1)


class Ranked:
    """Columns of numbers about the same images, and their rank correlations.

    Parameters
    ----------
    columns : mapping of str to np.ndarray [shape=(n,)]
        Numbers or booleans, finite.
    resamples : int
        Of the bootstrap.
    seed : int
        Of the bootstrap.
    found : sequence of str
        Columns of booleans that others are to be detectors of, see `area`.

    Raises
    ------
    ValueError
        If there are fewer than three images, columns differ in length, or one holds NaN or
        infinite values.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        resamples: int = RESAMPLES,
        seed: int = 0,
        found: Sequence[str] = (),
    ) -> None:
        self.names = list(columns)
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1 or (n := lengths.pop()) < 3:
            raise ValueError("rank correlations need columns of the same three images or more")
        places, sizes = [], []
        for name, values in columns.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds NaN or infinite values, which have no rank")
            _, each = np.unique(values, return_inverse=True)
            places.append(each)
            sizes.append(int(each.max()) + 1)
        yes = [self.names.index(name) for name in found]
        table = np.stack([_drawn(e, s) for e, s in zip(places, sizes, strict=True)])
        self._found = list(found)
        self._value, self._area = _correlations(table), _areas(table, table[yes])
        rng, k = np.random.default_rng(seed), len(places)
        self._resampled = np.empty((resamples, k, k))
        self._areas = np.empty((resamples, k, len(yes)))
        table = np.empty((k, n))
        for b in range(resamples):
            drawn = rng.integers(0, n, n)
            for row, place, size in zip(table, places, sizes, strict=True):
                row[:] = _drawn(place[drawn], size)
            self._resampled[b] = _correlations(table)
            self._areas[b] = _areas(table, table[yes])

    def correlation(self, one: str, other: str, given: Sequence[str] = ()) -> Estimate:
        """Spearman's rank correlation of two columns, given others.

        Given others it is the correlation of what is left of both columns' ranks where those
        that are linear in the ranks of the others are taken away.
        """
        at = [self.names.index(name) for name in (one, other, *given)]
        value = _partial(self._value[np.ix_(at, at)][None])
        return Estimate.of(float(value[0]), _partial(self._resampled[:, at][:, :, at]))

    def area(self, score: str, found: str) -> Estimate:
        """Area under the ROC curve of a score as a detector of where a column is true.

        The chance that the score is higher where it is true than where it is not, ties
        counted half.
        """
        i, j = self.names.index(score), self._found.index(found)
        return Estimate.of(float(self._area[i, j]), self._areas[:, i, j])

    def gain(self, score: str, over: str, found: str) -> Estimate:
        """How much larger the area of one score is than that of another."""
        i, k, j = self.names.index(score), self.names.index(over), self._found.index(found)
        return Estimate.of(
            float(self._area[i, j] - self._area[k, j]), self._areas[:, i, j] - self._areas[:, k, j]
        )


def _drawn(places: np.ndarray, size: int) -> np.ndarray:
    """Ranks of values that are given by their places among ``size`` distinct ones."""
    counts = np.bincount(places, minlength=size)
    upto = np.cumsum(counts)
    found: np.ndarray = (upto - (counts - 1) / 2)[places]
    return found


def _correlations(table: np.ndarray) -> np.ndarray:
    """Pearson's correlations of rows [shape=(k, k)]; NaN of rows that are constant."""
    centred = table - table.mean(1, keepdims=True)
    length = np.sqrt((centred**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = centred / length[:, None]
    found: np.ndarray = (unit @ unit.T).clip(-1, 1)
    return found


def _partial(matrices: np.ndarray) -> np.ndarray:
    """Correlation of the first two columns given the rest [shape=(b,)], of [shape=(b, k, k)]."""
    if matrices.shape[1] == 2:
        plain: np.ndarray = matrices[:, 0, 1]
        return plain
    known = np.isfinite(matrices).all((1, 2))
    found = np.full(len(matrices), np.nan)
    pair, rest = matrices[known][:, :2, :2], matrices[known][:, 2:, 2:]
    across = matrices[known][:, :2, 2:]
    # What controls that repeat one another explain is explained once.
    left = pair - across @ np.linalg.pinv(rest, hermitian=True) @ across.transpose(0, 2, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = left[:, 0, 1] / np.sqrt(left[:, 0, 0] * left[:, 1, 1])
    found[known] = np.where(np.minimum(left[:, 0, 0], left[:, 1, 1]) > 1e-9, shares, np.nan)
    return found.clip(-1, 1)


def _areas(table: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Areas of every row of ranks for every row of two values; NaN where it has one alone."""
    n = table.shape[1]
    above = (found > found.min(1, keepdims=True)).astype(np.float64)
    number = above.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = table @ above.T
        areas: np.ndarray = (sums - number * (number + 1) / 2) / (number * (n - number))
    return areas
