"""The halting rule by itself, compiled: the contract of `sact_core.halting.halt`."""

from __future__ import annotations

import math

import numpy as np

from sact_core.backends.masked.kernels.halting import halt_positions
from sact_core.backends.masked.packing import plain_array
from sact_core.backends.masked.threads import pool, thread_count
from sact_core.halting import Halting, check_halting_proba, halting_threshold

#: Numbers that a thread decides about, in `halt`, before it looks for more.
HALT_VALUES = 1 << 16


def halt(halting_proba: np.ndarray, eps: float = 0.01, num_threads: int | None = None) -> Halting:
    """Decide where each position stops; the contract of `sact_core.halting.halt`.

    Parameters
    ----------
    halting_proba : np.ndarray [shape=(..., units - 1), float32]
        Chance of stopping after each unit, in [0, 1].
    eps : float
        Halting slack, in [0, 1].
    num_threads : int, optional
        As in `Engine`.

    Raises
    ------
    ValueError
        As `sact_core.halting.halt`; if ``num_threads`` is below 1.
    """
    threshold = halting_threshold(eps)
    threads = thread_count(num_threads) if num_threads is not None else None
    proba = halting_proba
    if not isinstance(proba, np.ndarray) or proba.dtype != np.float32 or proba.ndim == 0:
        proba = check_halting_proba(proba)  # before rounding; float32 is checked on the way
    shape, units = proba.shape[:-1], proba.shape[-1] + 1
    flat = plain_array(proba).reshape(math.prod(shape), units - 1)
    distribution = np.empty((len(flat), units), np.float32)
    num_units = np.empty(len(flat), np.int32)
    remainder = np.empty(len(flat), np.float32)
    share = max(1, HALT_VALUES // units)
    chunks = iter(range(0, len(flat), share))

    def run() -> int:
        """Do chunk after chunk, as long as there are any left."""
        num_bad = 0
        for first in chunks:
            last = min(first + share, len(flat))
            num_bad += halt_positions(
                flat, threshold, first, last, distribution, num_units, remainder
            )
        return num_bad

    helpers = []
    if len(flat) > 4 * share:
        threads = thread_count(None) if threads is None else threads
        helpers = [pool(threads).submit(run) for _ in range(1, threads)]
    num_bad = run()
    num_bad += sum(helper.result() for helper in helpers if not helper.cancel())
    if num_bad:
        check_halting_proba(proba)  # says what is wrong
    return Halting(
        distribution.reshape(*shape, units), num_units.reshape(shape), remainder.reshape(shape)
    )
