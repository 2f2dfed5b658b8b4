"""Threads of the masked engine: how many, and where they come from."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sact_core.backends.masked.kernels.cpu import INTERPRETED


def thread_count(num_threads: int | None) -> int:
    """Threads to use: the argument, ``SACT_NUM_THREADS``, or one for each core.

    Raises
    ------
    ValueError
        If the number is no whole number above 0.
    """
    name, value = "num_threads", num_threads
    if num_threads is None:
        text = os.environ.get("SACT_NUM_THREADS", "")
        if not text.strip():
            try:
                value = len(os.sched_getaffinity(0))
            except AttributeError:  # no such call outside Linux
                value = os.cpu_count() or 1
        else:
            name, value = "SACT_NUM_THREADS", int(text) if text.strip().isdigit() else 0
            num_threads = text  # type: ignore[assignment]
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a whole number above 0, got {num_threads!r}")
    return 1 if INTERPRETED else int(value)


_POOLS: dict[int, ThreadPoolExecutor] = {}


def pool(threads: int) -> ThreadPoolExecutor:
    """Helpers of this process; a child process that was forked off makes its own."""
    process = os.getpid()
    helpers = _POOLS.get(process)
    if helpers is None or helpers._max_workers < threads - 1:
        helpers = ThreadPoolExecutor(max(threads - 1, 1), thread_name_prefix="sact")
        _POOLS.clear()
        _POOLS[process] = helpers
    return helpers
