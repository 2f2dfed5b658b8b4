"""One side of a measurement, in a process of its own.

Started by `sides.Side` with a case on the command line; takes one order a line
from standard input and answers in one line of JSON. A process runs one backend
only, so that no two pools of threads ever meet.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.benchmark.cases import Case
from sact_core.benchmark.energy import Meter
from sact_core.benchmark.sides import SIDES, Built, calibration, masked
from sact_core.benchmark.steer import reach_for, set_reach, steered_params, steering_images
from sact_core.checkpoint import read
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.quantisation import Quantisation
from sact_core.taus import check_taus


class Worker:
    """Builds what is measured, and measures it.

    Parameters
    ----------
    side : str
        One of `sact_core.benchmark.sides.SIDES`.
    case : Case
        The network and its input.
    threads : int
        Threads that the side may use.

    Raises
    ------
    ValueError
        If the side cannot be measured here as it was asked for.
    """

    def __init__(self, side: str, case: Case, threads: int) -> None:
        self.side, self.case, self.threads = SIDES[side], case, threads
        self.trained: dict[str, np.ndarray] | None = None
        self.scales: Quantisation | None = None
        if case.checkpoint is not None and case.images is not None:
            checkpoint = read(case.checkpoint)
            self.plan, self.trained = build_plan(checkpoint.config), checkpoint.params
            self.x = np.load(case.images)
            self.scales = checkpoint.quantisation
            if case.calibration is not None:
                calibration.use(np.load(case.calibration))
        else:
            halts = self.side.kind.halts
            self.plan = build_plan(case.config(case.halting if halts else "none"))
            self.x = steering_images(case.batch, (case.side, case.side))
        self.taus = check_taus(self.plan.config, None, len(self.x))
        if self.side.prepare is not None:
            self.side.prepare(threads)
        self.idle = self.most = _peak_memory()
        self.built: Built = self.build(np.inf)
        self.settle()

    def build(self, reach: float) -> Built:
        """Build the side, of a network that goes on so far; see `set_reach`."""
        params = self.trained
        if params is None:
            params = (steered_params if self.side.kind.halts else init_params)(self.plan)
            if self.side.kind.halts and reach < np.inf:
                set_reach(self.plan, params, reach)
        if self.scales is not None and self.side.name == "masked-int8":
            return masked.build(
                self.plan, params, self.x, self.threads, self.taus, "int8", self.scales
            )
        return self.side.build(self.plan, params, self.x, self.threads, self.taus)

    def set_ratio(self, ratio: float) -> dict[str, Any]:
        """Halt so that this share of the dense FLOPs is needed; say what came of it."""
        reach = np.inf
        if ratio < 1 and self.trained is None:
            reach = reach_for(self.plan, self.x[:8], ratio)
        self.set_reach(reach)
        assert self.built.result is not None
        result = self.built.result()
        units = [unit.convs[-1].name for unit in self.plan.units]
        return {
            "reach": reach,
            "flops": float(result.flops.mean()),
            "positions": float(sum(result.positions[name].mean() for name in units)),
        }

    def set_reach(self, reach: float) -> dict[str, Any]:
        """Halt so that positions go so far."""
        del self.built  # so that no two are held at once
        self.built = self.build(reach)
        self.settle()
        return {}

    def settle(self) -> None:
        """Run twice; from the second on, count anew the most bytes that are held."""
        self.built.run()
        self.most = max(self.most, _peak_memory())
        _forget_peak()
        self.built.run()

    def set_images(self, path: str) -> dict[str, Any]:
        """Take another batch, whose size may be another; run it once."""
        self.x = np.load(path)
        self.taus = check_taus(self.plan.config, None, len(self.x))
        del self.built  # so that no two are held at once
        self.built = self.build(np.inf)
        self.built.run()
        return {}

    def set_tau(self, tau: float) -> dict[str, Any]:
        """Take another price of a unit, of a network that is conditioned on it; run once."""
        self.taus = check_taus(self.plan.config, tau, len(self.x))
        self.built.feed(self.x, self.taus)
        self.built.run()
        return {}

    def answers(self, folder: str) -> dict[str, Any]:
        """Run another batch of the same shape; save its logits, and take ours again."""
        self.built.feed(np.load(f"{folder}/x.npy"), self.taus)
        flops = None
        if self.built.result is None:
            logits = self.built.run()
        else:
            result = self.built.result()
            logits, flops = result.logits, result.flops.astype(float).tolist()
        np.save(f"{folder}/logits.npy", logits)
        self.built.feed(self.x, self.taus)
        return {"flops": flops}

    def logits(self, path: str) -> dict[str, Any]:
        """Run once; save the logits."""
        np.save(path, self.built.run())
        return {}

    def facts(self) -> dict[str, Any]:
        """What the side says of itself."""
        return {"number_format": self.built.number_format, "threads": self.built.threads}

    def measure(self, seconds: float) -> dict[str, Any]:
        """Run for about so long, at least once; give the time of each run."""
        times: list[float] = []
        meter = Meter()
        while not times or sum(times) < seconds:
            begin = time.perf_counter()
            self.built.run()
            times.append(time.perf_counter() - begin)
        joules = meter.joules()
        running = _peak_memory()
        self.most = max(self.most, running)
        return {
            "seconds": times,
            "memory": [self.most, self.idle, running],
            "joules": None if joules is None else joules / len(times),
        }


def _peak_memory() -> int:
    """Most bytes that this process has held.

    Linux hands `getrusage`'s peak on from the process that started this one, so
    it is read elsewhere there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak:
            return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _forget_peak() -> None:
    """Let Linux count anew the most bytes that this process holds, from what it holds now.

    What was freed and not given back, such as after scales were found, is given back first.
    Elsewhere the peak stays what it was.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def main(argv: list[str]) -> None:
    """Serve orders until the input ends."""
    side, case, threads = argv[0], json.loads(argv[1]), int(argv[2])
    case["units_per_block"] = tuple(case["units_per_block"])
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may print among the answers

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    begin = time.perf_counter()
    worker = Worker(side, Case(**case), threads)
    answer({"ready": time.perf_counter() - begin, **worker.facts()})
    orders: dict[str, Callable[[str], dict[str, Any]]] = {
        "ratio": lambda value: worker.set_ratio(float(value)),
        "reach": lambda value: worker.set_reach(float(value)),
        "images": worker.set_images,
        "tau": lambda value: worker.set_tau(float(value)),
        "answers": worker.answers,
        "logits": worker.logits,
        "measure": lambda value: worker.measure(float(value)),
    }
    for line in sys.stdin:
        order, value = line.rstrip("\n").split(maxsplit=1)
        answer(orders[order](value))


if __name__ == "__main__":
    main(sys.argv[1:])
