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

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peaks"
)

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


#: Batches that networks learn from: of CIFAR, whole; and of photographs, few channels.
STEPS = {
    "CIFAR": (("cifar", (2, 2, 2), 16, "sact"), (128, 32, 32, 3)),
    "photographs": (("imagenet", (1, 1, 1, 1), 4, "sact"), (4, 384, 384, 3)),
}

#: Takes two training steps; prints what they took at their peak, in bytes.
STEP_PEAK = r"""
import json, re, sys
from pathlib import Path
import numpy as np
import torch
from sact_core.config import NetworkConfig
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.train.batches import Batch
from sact_core.train.learner import Learner
from sact_core.train.recipes import TrainingConfig

def memory(name):
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(name + r":\s+(\d+) kB", text)[1])

(family, units, channels, halting), (n, *size) = json.loads(sys.argv[1])
torch.set_num_threads(1)
network = NetworkConfig(family, tuple(units), channels, halting=halting)
learner = Learner(TrainingConfig(network), init_params(build_plan(network)))

def step(n, size):
    images = np.random.default_rng(0).standard_normal((n, *size), dtype=np.float32)
    learner.learn(learner.look(Batch(images, np.zeros(n, np.int64))), 1.0)

step(2, (32, 32, 3))  # what is compiled and loaded at first
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = memory("VmRSS")
step(n, size)
step(n, size)
print(memory("VmHWM") - before)
"""


@pytest.mark.parametrize("name", STEPS)
def test_the_estimate_of_a_training_step_is_its_peak(name):
    (family, units, channels, halting), shape = STEPS[name]
    plan = build_plan(NetworkConfig(family, units, channels, halting=halting))
    done = subprocess.run(
        [sys.executable, "-c", STEP_PEAK, json.dumps(STEPS[name])],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=True,
    )
    estimate, peak = memory.estimate_step(plan, shape), int(done.stdout)
    print(f"{name}: {estimate / 1e6:.0f} MB; {peak / 1e6:.0f} MB")
    assert peak / 1.3 <= estimate <= 1.3 * peak
