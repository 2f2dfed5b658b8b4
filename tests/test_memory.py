"""The estimate of memory against what fresh processes really take at their peak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sact_core.backends import BACKENDS, memory
from sact_core.config import NetworkConfig
from sact_core.plans import build_plan

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peaks"),
]

SHAPE = (1, 384, 384, 3)

#: Networks by what takes their memory.
NETWORKS = {
    "maps": ("cifar", (4, 2, 2), 16, "sact"),
    "maps of a vanilla network": ("cifar", (4, 2, 2), 16, "none"),
    "halting": ("cifar", (30, 1, 1), 2, "sact"),
    "bottlenecks": ("imagenet", (2, 2, 1, 1), 64, "sact"),
}

#: Runs every network on one backend, each in a process of its own; prints what each
#: took at its peak, in bytes.
PEAKS = r"""
import json, os, re, sys
from pathlib import Path
import numpy as np
from sact_core.backends import backend_module
from sact_core.config import NetworkConfig
from sact_core.parameters import init_params
from sact_core.plans import build_plan

def peak():
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

backend, shape, networks = json.loads(sys.argv[1])
for family, units, channels, halting in networks:
    plan = build_plan(NetworkConfig(family, tuple(units), channels, halting=halting))
    options = {} if backend == "reference" else {"num_threads": 1}
    engine = backend_module(backend).Engine(plan, init_params(plan), **options)
    engine.forward(np.zeros((1, 32, 32, 3), np.float32))  # what is compiled at first
    if not os.fork():
        x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = peak()
        engine.forward(x)
        print(peak() - before, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture(scope="module")
def peaks():
    """Bytes by backend and network.

    Every array above 64 KiB is given back when it is dropped, as large ones always are.
    """
    found = {}
    for backend in BACKENDS:
        told = json.dumps([backend, SHAPE, list(NETWORKS.values())])
        done = subprocess.run(
            [sys.executable, "-c", PEAKS, told],
            env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
            capture_output=True,
            text=True,
            check=True,
        )
        found[backend] = dict(zip(NETWORKS, map(int, done.stdout.split()), strict=True))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_the_estimate_is_the_peak_of_the_hungriest(peaks, name):
    family, units, channels, halting = NETWORKS[name]
    plan = build_plan(NetworkConfig(family, units, channels, halting=halting))
    estimate = memory.estimate_memory(plan, SHAPE)
    found = {backend: peaks[backend][name] for backend in BACKENDS}
    print(f"{name}: {estimate / 1e6:.0f} MB;", {k: f"{v / 1e6:.0f} MB" for k, v in found.items()})
    assert max(found.values()) <= estimate <= 2 * max(found.values())
