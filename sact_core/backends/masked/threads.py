"""Threads of the masked engine: how many, and where they come from."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sact_core.backends.masked.kernels.cpu import INTERPRETED
from sact_core.processes import MAX_THREADS
from sact_core.resources import cores


def thread_count(num_threads: int | None) -> int:
    """Threads to use: the argument, ``SACT_NUM_THREADS``, or one for each core that it may use.

    Raises
    ------
    ValueError
        If the number is no whole number from 1 to `sact_core.processes.MAX_THREADS`.
    """
    name, value = "num_threads", num_threads
    if num_threads is None:
        text = os.environ.get("SACT_NUM_THREADS", "")
        if not text.strip():
            value = cores()
        else:
            digits = text.strip()
            whole = digits.isascii() and digits.isdigit() and len(digits) < 10
            name, value = "SACT_NUM_THREADS", int(digits) if whole else 0
            num_threads = text  # type: ignore[assignment]
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if value is None or not whole or not 1 <= value <= MAX_THREADS:
        raise ValueError(
            f"{name} must be a whole number from 1 to {MAX_THREADS}, got {num_threads!r}"
        )
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
