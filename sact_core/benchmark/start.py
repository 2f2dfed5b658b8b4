"""How long the masked engine takes from its import to its first result."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

CODE = """
import time
begin = time.perf_counter()
import numpy as np
from sact_core.backends.masked import Engine
from sact_core.config import NetworkConfig
from sact_core.parameters import init_params
from sact_core.plans import build_plan
plan = build_plan(NetworkConfig(halting="sact"))
Engine(plan, init_params(plan)).forward(np.zeros((1, 32, 32, 3), np.float32))
print(time.perf_counter() - begin)
"""


def measure_start(rounds: int = 5) -> dict[str, float]:
    """Time the first start, with an empty cache, and the second, in fresh processes.

    Parameters
    ----------
    rounds : int
        Second starts; their median counts.

    Returns
    -------
    dict
        Seconds of the ``first`` and of the ``second`` start.
    """
    with tempfile.TemporaryDirectory() as cache:
        times = [_run(cache) for _ in range(1 + rounds)]
    return {"first": times[0], "second": sorted(times[1:])[rounds // 2]}


def _run(cache: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)
