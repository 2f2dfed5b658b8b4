"""The halting rule in Numba against NumPy and PyTorch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

#: Sides of the maps, and units.
SIZES = ((32, 5), (64, 18), (256, 8), (512, 16), (1024, 32))

#: Least speed-up over NumPy.
BAR = 5.0


def measure_halting(
    sizes: Sequence[tuple[int, int]] = SIZES,
    threads: int | None = None,
    rounds: int = 7,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Time the three versions in turn on square maps of random probabilities.

    Parameters
    ----------
    sizes : sequence of (int, int)
        Side of the map and number of units.
    threads : int, optional
        Threads of Numba and PyTorch; as many as there are cores where left out.
    rounds : int
        How often every version has its turn.
    say : callable
        Told what is going on.

    Returns
    -------
    list of dict
        A row for each size: medians in milliseconds.
    """
    import torch

    from sact_core import halting
    from sact_core.backends import dense, masked

    threads = masked.thread_count(threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    versions: dict[str, Callable[[np.ndarray], Any]] = {
        "numba": lambda proba: masked.halt(proba, num_threads=threads),
        "numpy": halting.halt,
        "torch": dense.halt,
    }
    rng = np.random.default_rng(0)
    rows = []
    try:
        for side, units in sizes:
            proba = rng.random((side, side, units - 1), np.float32) * np.float32(min(1, 4 / units))
            turns: dict[str, list[float]] = {name: [] for name in versions}
            for i in range(rounds + 1):
                for name, run in versions.items():
                    begin = time.perf_counter()
                    run(proba)
                    if i:  # the first round warms up
                        turns[name].append(1e3 * (time.perf_counter() - begin))
            medians = {name: statistics.median(times) for name, times in turns.items()}
            speedup = statistics.median(
                a / b for a, b in zip(turns["numpy"], turns["numba"], strict=True)
            )
            rows.append(
                {
                    "side": side,
                    "units": units,
                    "threads": threads,
                    "ms": medians,
                    "speedup": speedup,
                }
            )
            say(f"{side} x {side}, {units} units: Numba is {speedup:.1f} times as fast as NumPy")
    finally:
        torch.set_num_threads(before)
    return rows
