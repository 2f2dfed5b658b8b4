"""Limits of a colour scale: what a network can spend, or percentiles of what it spent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

#: Percentiles of all maps that the colours run between, as the authors draw them.
PERCENTILES = (0.1, 99.9)


def unit_limits(units_per_block: Sequence[int], metric: str = "ponder_cost") -> tuple[float, float]:
    """Least and greatest value that a map of a network can have, in units.

    A position runs one unit of a block at least, and all of them at most; its
    ponder cost adds the remainder, 1 after one unit and at most 1 else.
    """
    extra = len(units_per_block) if metric == "ponder_cost" else 0
    return float(len(units_per_block) + extra), float(sum(units_per_block) + extra)


def percentile_limits(
    chunks: Callable[[], Iterable[np.ndarray]], percentiles: tuple[float, float] = PERCENTILES
) -> tuple[float, float]:
    """Percentiles over all values of many maps, exact, in little memory.

    Twice the maps are gone through: once to count the upper halves of the
    numbers' bit patterns, which sort as the numbers do, once to count the lower
    halves around the ranks that are asked for.

    Parameters
    ----------
    chunks : callable
        Gives the maps anew at each call, as arrays [float32, not negative].
    percentiles : tuple of float
        From 0 to 100. Between two values the result is interpolated, as in
        ``np.percentile``.

    Returns
    -------
    tuple of float
        The percentiles.

    Raises
    ------
    ValueError
        If there are no values, or one is negative or no number.
    """
    upper = np.zeros(1 << 16, np.int64)
    for bits in map(_sortable_bits, chunks()):
        upper += np.bincount(bits >> 16, minlength=1 << 16)
    total = int(upper.sum())
    if not total:
        raise ValueError("there are no maps")
    ranks = [percentile / 100 * (total - 1) for percentile in percentiles]
    wanted = sorted({r for rank in ranks for r in (math.floor(rank), math.ceil(rank))})
    ends = np.cumsum(upper)
    halves = {rank: int(np.searchsorted(ends, rank, "right")) for rank in wanted}
    lower = {half: np.zeros(1 << 16, np.int64) for half in halves.values()}
    for bits in map(_sortable_bits, chunks()):
        for half, counts in lower.items():
            counts += np.bincount(bits[bits >> 16 == half] & 0xFFFF, minlength=1 << 16)
    values = {}
    for rank, half in halves.items():
        before = int(ends[half - 1]) if half else 0
        rest = int(np.searchsorted(np.cumsum(lower[half]), rank - before, "right"))
        values[rank] = float(np.uint32(half << 16 | rest).view(np.float32))
    low, high = (
        values[math.floor(r)] + (values[math.ceil(r)] - values[math.floor(r)]) * (r % 1)
        for r in ranks
    )
    return low, high


def _sortable_bits(values: np.ndarray) -> np.ndarray:
    """Bit patterns [shape=(size,), uint32] that sort as the numbers, all 0 or more, do."""
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    if flat.size and not flat.min() >= 0:
        raise ValueError("a map holds a negative number or NaN")
    bits: np.ndarray = (flat + np.float32(0)).view(np.uint32)  # no negative zero
    return bits
