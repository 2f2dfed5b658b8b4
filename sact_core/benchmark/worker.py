"""One side of a measurement, in a process of its own.

Started by `sides.Side` with a case on the command line; takes one order a line
from standard input and answers in one line of JSON. A process runs one backend
only, so that no two pools of threads ever meet.
"""

from __future__ import annotations

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
from sact_core.benchmark.steer import reach_for, set_reach, steered_params, steering_images
from sact_core.checkpoint import read
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.taus import check_taus

Run = Callable[[], Any]


class Worker:
    """Builds what is measured, and measures it.

    Parameters
    ----------
    side : str
        ``"masked"``; ``"sact"`` (the same network in PyTorch); ``"vanilla"``,
        ``"compiled"`` and ``"frozen"``: the network without halting in PyTorch,
        as it is, by ``torch.compile``, and so compiled with its weights frozen.
    case : Case
        The network and its input.
    threads : int
        Threads that the side may use.
    """

    def __init__(self, side: str, case: Case, threads: int) -> None:
        self.side, self.case, self.threads = side, case, threads
        self.trained: dict[str, np.ndarray] | None = None
        if case.checkpoint is not None and case.images is not None:
            checkpoint = read(case.checkpoint)
            self.plan, self.trained = build_plan(checkpoint.config), checkpoint.params
            self.x = np.load(case.images)
        else:
            self.plan = build_plan(case.config("sact" if side in ("masked", "sact") else "none"))
            self.x = steering_images(case.batch, (case.side, case.side))
        self.taus = check_taus(self.plan.config, None, len(self.x))
        self.import_backend()
        self.idle = _peak_memory()
        self.run: Run = self.build_masked(1.0) if side == "masked" else self.build_dense()
        for _ in range(2):
            self.run()

    def import_backend(self) -> None:
        """Load packages and kernels, which are not the network's memory."""
        if self.side == "masked":
            from sact_core.backends.masked.warm import warm

            warm()
        else:
            import torch

            torch.set_num_threads(self.threads)

    def build_masked(self, ratio: float) -> Run:
        """The masked engine, halting so that it needs this share of the dense FLOPs."""
        from sact_core.backends.masked import Engine

        params = self.trained or steered_params(self.plan)
        if ratio < 1 and self.trained is None:
            set_reach(self.plan, params, reach_for(self.plan, self.x[:8], ratio))
        self.engine = engine = Engine(self.plan, params, num_threads=self.threads)

        def run() -> None:
            engine.forward(self.x, taus=self.taus)

        return run

    def build_dense(self) -> Run:
        """PyTorch's network alone, without the result that a backend makes of it."""
        import torch

        from sact_core.backends.dense import Engine

        params = self.trained
        if params is None:
            params = steered_params(self.plan) if self.side == "sact" else init_params(self.plan)
        network: Any = Engine(self.plan, params, num_threads=self.threads).network
        x = torch.from_numpy(self.x).permute(0, 3, 1, 2)  # channels last in memory
        if self.side in ("compiled", "frozen"):
            import torch._inductor.config as inductor

            inductor.freezing = self.side == "frozen"
            network = torch.compile(_LogitsOf(network))

        told = {} if self.taus is None else {"tau": torch.from_numpy(self.taus)}

        def run() -> None:
            with torch.inference_mode():
                network(x, **told)

        return run

    def set_ratio(self, ratio: float) -> dict[str, Any]:
        """Halt so that this share of the dense FLOPs is needed; say what came of it."""
        if self.side != "masked":
            return {}
        del self.engine, self.run  # so that no two are held at once
        self.run = self.build_masked(ratio)
        result = self.engine.forward(self.x, taus=self.taus)
        self.run()
        units = [unit.convs[-1].name for unit in self.plan.units]
        return {
            "flops": float(result.flops.mean()),
            "positions": float(sum(result.positions[name].mean() for name in units)),
        }

    def measure(self, seconds: float) -> dict[str, Any]:
        """Run for about so long, at least once; give the time of each run."""
        times: list[float] = []
        while not times or sum(times) < seconds:
            begin = time.perf_counter()
            self.run()
            times.append(time.perf_counter() - begin)
        return {"seconds": times, "memory": [_peak_memory(), self.idle]}


class _LogitsOf:
    """A network that gives its logits only."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def __call__(self, batch: Any) -> Any:
        return self.network(batch)[0]


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


def main(argv: list[str]) -> None:
    """Serve orders until the input ends."""
    side, case, threads = argv[0], json.loads(argv[1]), int(argv[2])
    case["units_per_block"] = tuple(case["units_per_block"])
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may print among the answers

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    begin = time.perf_counter()
    worker = Worker(side, Case(**case), threads)
    answer({"ready": time.perf_counter() - begin})
    for line in sys.stdin:
        order, value = line.split()
        if order == "ratio":
            answer(worker.set_ratio(float(value)))
        else:
            answer(worker.measure(float(value)))


if __name__ == "__main__":
    main(sys.argv[1:])
