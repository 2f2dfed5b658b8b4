"""The masked engine's first minute: Numba compiles it once on every machine.

Until it is ready, runs go through the reference backend, which gives the same
numbers (in float32, whatever the engine takes then), so that the first map does not
wait for a compiler. The compiler works in a process of its own, which leaves this one
free, and keeps its work on the disk; this process then only loads it.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.families import FAMILIES
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.quantisation import unit_scales

ROOT = Path(__file__).resolve().parent.parent.parent
#: Seconds that the first run of a process waits for what was compiled before.
PATIENCE = 3.0

_ready = threading.Event()
_start = threading.Lock()
_thread: threading.Thread | None = None


def ready(patience: float = 0.0) -> bool:
    """Whether the masked engine is ready; gets it ready where nobody has begun.

    Parameters
    ----------
    patience : float
        Seconds to wait for it.
    """
    global _thread
    if _ready.is_set():
        return True
    with _start:
        if _thread is None:
            compiled = _was_compiled()
            patience = max(patience, PATIENCE if compiled else 0.0)
            _thread = threading.Thread(
                target=_get_ready, args=(compiled,), name="masked-engine", daemon=True
            )
            _thread.start()
    return _ready.wait(patience)


def backend() -> str:
    """The backend for runs: ``"masked"`` as soon as it is ready, else ``"reference"``."""
    return "masked" if ready() else "reference"


@functools.cache
def precision() -> str:
    """The number format of runs by the masked engine.

    ``SACT_PRECISION`` where it is set to one that this machine has, else the fastest that it
    has for any network; int8 is for those that were calibrated, see `precision_of`.
    """
    from sact_core.backends.precision import choose_precision

    try:
        asked = choose_precision()
    except ValueError as error:
        logging.getLogger(__name__).warning("%s", error)
        return "float32"
    return asked if os.environ.get("SACT_PRECISION", "").strip() else _fastest()


def precision_of(checkpoint: Checkpoint) -> str:
    """`precision`; where that is int8, and a network has no scales, the fastest other."""
    asked = precision()
    return _fastest() if asked == "int8" and checkpoint.quantisation is None else asked


def _fastest() -> str:
    from sact_core.backends.precision import precisions

    return [each for each in precisions() if each != "int8"][-1]


def run_small_networks() -> None:
    """Run a small network of every family, so that everything is compiled."""
    from sact_core.backends import Net, masked

    for family, facts in FAMILIES.items():
        units = (2, *(1 for _ in facts.stages[1:]))
        config = NetworkConfig(family, units, base_channels=2, num_classes=2, halting="sact")
        params = init_params(build_plan(config), 0)
        scales = unit_scales(build_plan(config), params)
        made = Checkpoint(config, params, default_preprocessing(family), quantisation=scales)
        for kind in dict.fromkeys(("float32", precision_of(made))):  # Check compares in float32
            net = Net.from_checkpoint(made, "masked", kind)
            net.forward(np.zeros((1, 32, 32, 3), np.float32))
            net.forward(np.zeros((1, 32, 32, 3), np.float32), keep_seconds=True)
    masked.halt(np.zeros((1, 1), np.float32))


def _get_ready(compiled: bool) -> None:
    try:
        if not compiled:
            code = "from app.loaders.warming import run_small_networks as run; run()"
            command = [sys.executable, "-c", code]
            with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as compiler:
                _give_way(compiler.pid)
        run_small_networks()
    except Exception:
        logging.getLogger(__name__).exception("the masked engine cannot be compiled")
        return  # the reference goes on serving
    _ready.set()


def _give_way(pid: int) -> None:
    """Let the pages come first."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, pid, 10)


def _was_compiled() -> bool:
    """Whether Numba's files are there and younger than the kernels, a good guess."""
    spec = importlib.util.find_spec("sact_core.backends.masked")  # without loading it
    if spec is None or spec.origin is None:
        return False
    folder = Path(spec.origin).parent / "kernels"
    cache = Path(os.environ.get("NUMBA_CACHE_DIR") or folder / "__pycache__")
    made = [path.stat().st_mtime for path in cache.glob("**/*.nbi")]
    words = folder.parent.parent / "simd.py"
    sources = [path.stat().st_mtime for path in [*folder.glob("*.py"), words]]
    return bool(made) and max(made) >= max(sources)
