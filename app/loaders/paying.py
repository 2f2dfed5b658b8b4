"""Where halting pays on this machine: a network at several densities and batch sizes.

The benchmark measures the network's architecture, every side in a process of its own;
weights are random and halting is steered, for what a convolution costs depends on
neither. Nothing is kept here: what was measured stays with who asked.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

from app.folders import InputError, sentence
from app.loaders import warming
from app.loaders.costs import gigabytes
from app.loaders.timing import COMPILERS, PROCESS_BYTES, turn
from app.paying import Where
from sact_core.backends.memory import available_memory, estimate_memory
from sact_core.benchmark import break_even, known
from sact_core.benchmark.sides import SIDES, Kind
from sact_core.config import NetworkConfig
from sact_core.flops import dense_flops
from sact_core.plans import build_plan

BATCHES = (1, 4, 16, 64)
RATIOS = (1.0, 0.75, 0.5, 0.25)
ROUNDS = 3
#: Seconds of a side's turn.
TURN = 0.1
#: Most FLOPs of a run: a second or so.
WORK = 3e10
#: Sides that are quickly ready; and the one that compiles for a minute, which is
#: measured where no other compiled rival is installed.
QUICK = (
    "masked",
    "masked-bf16",
    "vanilla",
    "openvino",
    "openvino-bf16",
    "onnxruntime",
    "early-exit",
)
COMPILED = "frozen"
#: Sides in int8, which look at some images first.
INTEGERS = ("masked-int8", "openvino-int8", "onnxruntime-int8")


def measure_where(config: NetworkConfig, side: int, say: Callable[[str, float], None]) -> Where:
    """Measure where halting pays for a network's architecture.

    Parameters
    ----------
    config : NetworkConfig
        The network; one without halting is measured as if it were SACT.
    side : int
        Height and width of the input in pixels.
    say : callable
        Told what goes on, and how much of it is done, from 0 to 1.

    Raises
    ------
    InputError
        If the masked engine is still being compiled, there is not enough memory, or a
        process of the measurement fails.
    """
    from sact_core.backends.masked import thread_count

    if not warming.ready():
        raise InputError("The masked engine is still being compiled: try again in a minute.")
    names, _ = choose_sides(config)
    names += [name for name in INTEGERS if SIDES[name].available()]
    batches = choose_batches(config, side, len(names))
    threads = thread_count(None)
    total = break_even.num_steps(len(batches), len(names), len(RATIOS), ROUNDS)
    done = 0

    def step(what: str) -> None:
        nonlocal done
        say(what, min(done / total, 1.0))
        done += 1

    try:
        with turn(say):
            rows = break_even.measure_map(
                config, side, batches, threads, names, RATIOS, ROUNDS, TURN,
                say=lambda _: None, step=step,
            )  # fmt: skip
    except (ValueError, MemoryError, OSError) as error:
        raise InputError(sentence(error)) from None
    halting = "act" if config.by_image else "sact"
    fitting = [name for name in (*QUICK, *INTEGERS) if SIDES[name].kind.runs(halting)]
    absent = {name: SIDES[name].absent() for name in fitting if name not in names}
    if COMPILED not in names and not {"openvino", "onnxruntime"} & set(names):
        absent[COMPILED] = "no C++ compiler"
    rivals = [name for name in rows[0]["ms"] if SIDES[name].kind is not Kind.OWN]
    return Where(
        tuple(rows),
        tuple(SIDES[name].title for name in rivals),
        absent | {name: why for row in rows for name, why in row.get("absent", {}).items()},
        threads,
        side,
    )


def accuracies() -> list[dict[str, Any]]:
    """What sides get right of whole splits, as it was computed once; empty where unknown."""
    try:
        return known.load(known.shipped())
    except (ValueError, OSError) as error:
        logging.getLogger(__name__).warning("%s", error)
        return []


def choose_sides(config: NetworkConfig) -> tuple[list[str], list[str]]:
    """Give the sides that can be measured here, and why others are left out."""
    halting = "act" if config.by_image else "sact"
    fitting = [name for name in QUICK if SIDES[name].kind.runs(halting)]
    names = [name for name in fitting if SIDES[name].available()]
    absent = [
        f"{SIDES[name].title}: {SIDES[name].absent()}" for name in fitting if name not in names
    ]
    if not {"openvino", "onnxruntime"} & set(names):
        if any(map(shutil.which, COMPILERS)):
            names.append(COMPILED)
        else:
            absent.append(f"{SIDES[COMPILED].title}: no C++ compiler")
    return names, absent


def choose_batches(config: NetworkConfig, side: int, num_sides: int) -> list[int]:
    """Give the batch sizes whose runs take neither too long nor more memory than there is.

    Raises
    ------
    InputError
        If there is not enough memory for one image.
    """
    plan, size = build_plan(config), (side, side)
    work = int(dense_flops(plan, size).total[0])
    free = available_memory()
    # Every side has a process, and so has PyTorch with halting, whose logits are compared.
    needed = partial(_needed, config, side, num_sides + 1)
    fitting = [n for n in BATCHES if free is None or needed(n) <= free]
    if not fitting:
        raise InputError(
            f"Measuring {num_sides} sides takes about {gigabytes(needed(1))} of memory, but "
            f"{gigabytes(free or 0)} are free."
        )
    return [n for n in fitting if n == 1 or n * work <= WORK]


def _needed(config: NetworkConfig, side: int, num_processes: int, batch: int) -> int:
    memory = estimate_memory(build_plan(config), (batch, side, side, 3))
    return num_processes * (memory + PROCESS_BYTES)
