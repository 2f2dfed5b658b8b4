"""The halting rule of ACT and SACT, at once and unit by unit.

After unit ``u`` of a block a halting probability ``h_u`` is read. A position
stops at the first unit ``N`` where the running sum reaches ``1 - eps``; the
last unit stops everybody. It leaves the block with the unit outputs weighted by
the halting distribution::

    N = min { n : h_1 + ... + h_n >= 1 - eps }         Graves eq. 7, SACT eq. 4
    R = 1 - (h_1 + ... + h_{N-1})                      Graves eq. 8, SACT eq. 5
    p_u = h_u for u < N,  R for u = N,  0 after        Graves eq. 6, SACT eq. 6
    rho = N + R                                        Graves eq. 10, SACT eq. 8

ACT applies this per image, SACT per position: only the leading shape differs.

The decision is taken in float32, as the authors' code takes it: the float32
running sum is compared, ``>=``, with ``float32(1 - eps)``.

`halt` and `step` refuse a probability that is NaN. Inside a network that
overflows one may come up; there the formula is taken by its word, on every
backend: no sum with NaN reaches the threshold, so the position runs every unit,
and its remainder and cost are NaN, which is what a caller is told by.

A halting logit that is infinite, or beyond `MAX_LOGIT`, is NaN: whether a sum of
so large numbers overflows depends on their order, which is each backend's own.

References
----------
Graves 2016, arXiv:1603.08983; Figurnov et al. 2017, arXiv:1612.02297, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: Halting logits of a network that works are nowhere near it, overflowing ones are beyond.
MAX_LOGIT = 2.0**100


@dataclass(frozen=True, eq=False)
class Halting:
    """Where each position stopped and what it paid.

    Attributes
    ----------
    distribution : np.ndarray [shape=(..., units), float32]
        Weight of each unit's output; sums to 1 over units.
    num_units : np.ndarray [shape=(...), int32]
        Units run, from 1 to ``units``.
    remainder : np.ndarray [shape=(...), float32]
        What was left for the last unit that ran: 1 less the probabilities before
        it, at least ``eps`` but for rounding.
    """

    distribution: np.ndarray
    num_units: np.ndarray
    remainder: np.ndarray

    @property
    def ponder_cost(self) -> np.ndarray:
        """``num_units + remainder`` [shape=(...), float32], in units."""
        cost: np.ndarray = self.num_units.astype(np.float32) + self.remainder
        return cost


@dataclass(frozen=True, eq=False)
class HaltingState:
    """The rule between two units; made by `start`, advanced by `step`.

    Attributes
    ----------
    cumsum : np.ndarray [shape=(...), float32]
        Running sum of the probabilities of the positions that go on.
    remainder : np.ndarray [shape=(...), float32]
        1 less the probabilities of the units before the last that ran.
    num_units : np.ndarray [shape=(...), int32]
        Units run so far.
    active : np.ndarray [shape=(...), bool]
        True where the next unit has to be computed.
    units : int
        Units of the block.
    threshold : np.float32
        ``float32(1 - eps)``.
    """

    cumsum: np.ndarray
    remainder: np.ndarray
    num_units: np.ndarray
    active: np.ndarray
    units: int
    threshold: np.float32
    unit: int = 0


def halt(halting_proba: np.ndarray, eps: float = 0.01) -> Halting:
    """Decide where each position stops, all units at once.

    Parameters
    ----------
    halting_proba : np.ndarray [shape=(..., units - 1), float32]
        Chance of stopping after each unit, in [0, 1]. The last unit has none:
        it always stops. An empty last axis is a block of one unit. Other
        number types are converted to float32 first.
    eps : float
        Slack that lets a position stop after one unit. No unit, in [0, 1].

    Returns
    -------
    Halting
        ``distribution`` [shape=(..., units)], summing to 1 over units;
        ``num_units`` [shape=(...), int32], from 1 to units; ``remainder`` and
        ``ponder_cost`` [shape=(...)], in units.

    Raises
    ------
    ValueError
        If ``halting_proba`` is a scalar, is not numeric, or holds NaN or a value
        outside [0, 1]; if ``eps`` is NaN or outside [0, 1].

    References
    ----------
    Graves 2016, eqs. 6-8; for positions, Figurnov et al. 2017, eqs. 4-8.
    """
    proba = check_halting_proba(halting_proba)
    threshold = halting_threshold(eps)
    always = np.ones((*proba.shape[:-1], 1), np.float32)
    cumsum = np.cumsum(proba, axis=-1, dtype=np.float32)
    stops = np.concatenate([cumsum >= threshold, always.astype(bool)], axis=-1)
    num_units = np.argmax(stops, axis=-1).astype(np.int32) + 1  # N, first True

    # R = 1 - h_1 - ... - h_{N-1}, taken off one by one as the authors' SACT does.
    left = np.subtract.accumulate(np.concatenate([always, proba], axis=-1), axis=-1)
    last = num_units[..., None] - 1
    remainder = np.take_along_axis(left, last, axis=-1)

    unit = np.arange(proba.shape[-1] + 1)
    padded = np.concatenate([proba, always], axis=-1)
    distribution = np.where(unit < last, padded, np.where(unit == last, remainder, np.float32(0)))
    return Halting(distribution.astype(np.float32), num_units, remainder[..., 0])


def start(shape: tuple[int, ...], units: int, eps: float = 0.01) -> HaltingState:
    """Begin a block: every position is active, nothing has run.

    Parameters
    ----------
    shape : tuple of int
        ``(n,)`` for ACT, ``(n, h, w)`` for SACT, or any other.
    units : int
        Units of the block, at least 1.
    eps : float
        As in `halt`.

    Raises
    ------
    ValueError
        If ``units`` is below 1 or ``eps`` is NaN or outside [0, 1].
    """
    if not isinstance(units, int | np.integer) or units < 1:
        raise ValueError(f"units must be a whole number, at least 1, got {units!r}")
    return HaltingState(
        cumsum=np.zeros(shape, np.float32),
        remainder=np.ones(shape, np.float32),
        num_units=np.zeros(shape, np.int32),
        active=np.ones(shape, bool),
        units=int(units),
        threshold=halting_threshold(eps),
    )


def step(
    state: HaltingState, halting_proba: np.ndarray | None = None
) -> tuple[HaltingState, np.ndarray]:
    """Account for one unit that has just run.

    Parameters
    ----------
    state : HaltingState
        The state before the unit. It is not changed.
    halting_proba : np.ndarray [shape=(...), float32], optional
        Chance of stopping after this unit, in [0, 1]. Read at active positions
        only; what stands elsewhere is ignored. Leave it out at the last unit.

    Returns
    -------
    state : HaltingState
        The state after the unit; ``state.active`` says who runs the next one.
    weight : np.ndarray [shape=(...), float32]
        This unit's column of the halting distribution.

    Raises
    ------
    ValueError
        If the block is over, the probability is missing before the last unit,
        has another shape, or is NaN or outside [0, 1] at an active position.
    """
    active = state.active
    if state.unit >= state.units:
        raise ValueError(f"the block has only {state.units} units and all have run")
    if state.unit == state.units - 1:
        return advance(state, None)
    if halting_proba is None:
        raise ValueError("halting_proba is needed at every unit but the last")
    if np.shape(halting_proba) != active.shape:
        raise ValueError(
            f"halting_proba must have shape {active.shape}, got {np.shape(halting_proba)}"
        )
    proba = check_halting_proba(np.where(active, halting_proba, 0)[..., None])[..., 0]
    return advance(state, proba)


def advance(
    state: HaltingState, halting_proba: np.ndarray | None
) -> tuple[HaltingState, np.ndarray]:
    """Account for one unit as `step` does, taking what it would refuse.

    Parameters
    ----------
    state : HaltingState
        The state before the unit. It is not changed.
    halting_proba : np.ndarray [shape=(...), float32], optional
        Unchecked; where it is NaN at an active position, that position goes on to
        the last unit, and its remainder is NaN. None at the last unit.

    Returns
    -------
    state : HaltingState
    weight : np.ndarray [shape=(...), float32]
    """
    active = state.active
    num_units = state.num_units + active
    if halting_proba is None:
        weight = np.where(active, state.remainder, np.float32(0))
        return _next(state, state.cumsum, state.remainder, num_units, active & False), weight
    proba = np.where(active, halting_proba, np.float32(0))
    cumsum = state.cumsum + proba
    goes_on = active & ~(cumsum >= state.threshold)
    weight = np.where(goes_on, proba, np.where(active, state.remainder, np.float32(0)))
    remainder = np.where(goes_on, state.remainder - proba, state.remainder)
    return _next(state, cumsum, remainder, num_units, goes_on), weight


def check_halting_proba(halting_proba: np.ndarray) -> np.ndarray:
    """Return the probabilities as float32, or say what is wrong with them.

    Raises
    ------
    ValueError
        As in `halt`.
    """
    try:
        proba = np.asarray(halting_proba)
    except ValueError:  # lists of unequal lengths
        raise ValueError("halting_proba must be an array of numbers") from None
    if proba.dtype.kind not in "biuf":
        raise ValueError(f"halting_proba must be an array of numbers, got {proba.dtype}")
    if proba.ndim == 0:
        raise ValueError("halting_proba must have shape (..., units - 1), got a scalar")
    if np.isnan(proba).any():
        raise ValueError("halting_proba holds NaN; every value must be in [0, 1]")
    if proba.size and (proba.min() < 0 or proba.max() > 1):
        raise ValueError(
            f"halting_proba must be in [0, 1], got values from {proba.min()} to {proba.max()}"
        )
    return proba.astype(np.float32, copy=False)


def halting_threshold(eps: float) -> np.float32:
    """Give ``float32(1 - eps)``, the number that running sums are compared with.

    Raises
    ------
    ValueError
        If ``eps`` is no number, NaN or outside [0, 1].
    """
    try:
        value = math.nan if isinstance(eps, str | bytes) else float(eps)
    except (TypeError, ValueError):
        value = math.nan
    if not 0.0 <= value <= 1.0:  # NaN is not
        raise ValueError(f"eps must be a number in [0, 1], got {eps!r}")
    return np.float32(1.0 - value)


def _next(
    state: HaltingState,
    cumsum: np.ndarray,
    remainder: np.ndarray,
    num_units: np.ndarray,
    active: np.ndarray,
) -> HaltingState:
    return HaltingState(
        cumsum, remainder, num_units, active, state.units, state.threshold, state.unit + 1
    )
