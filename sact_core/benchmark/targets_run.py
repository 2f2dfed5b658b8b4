"""Measures the rows that targets are asked of, the most important first, within some minutes.

What is measured is kept after every row. The next run goes on with what is missing; where
nothing is, it measures a further table, so that two runs stand beside each other.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sact_core import __version__
from sact_core.benchmark import infer
from sact_core.benchmark.cases import CASES, Case
from sact_core.benchmark.process import Process, SideError
from sact_core.families import FAMILIES

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One network with one number of threads.

    Attributes
    ----------
    case : Case
    threads : int
    minutes : float
        About what it takes on a quiet machine, whose caches of compiled code are warm.
    """

    case: Case
    threads: int
    minutes: float

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.case.title}, {self.threads} thread{'s' * (self.threads > 1)}"


LITE1 = Case("efficientnet-lite1-224", "mobile", FAMILIES["mobile"].units(1), 1, 224)
_CASES = {case.key: case for case in (*CASES, LITE1)}

#: The most important first.
TASKS = tuple(
    Task(_CASES[key], threads, minutes)
    for key, threads, minutes in (
        ("resnet101-224", 1, 2.2),
        ("resnet32-batch1", 1, 1.2),
        ("resnet32-batch128", 1, 1.5),
        ("resnet101-224", 2, 2.0),
        ("resnet32-batch1", 2, 1.2),
        ("resnet110-batch128", 1, 2.5),
        ("efficientnet-lite1-224", 1, 1.5),
    )
)

RATIOS = (1.0, 0.6, 0.4, 0.25)

#: To see whether everything works: a small network, and one turn of every side.
QUICK = (Task(Case("resnet32-batch1", "cifar", (3, 3, 3), 1, 32), 1, 0.1),)
QUICK_RATIOS = (1.0, 0.4)

Key = tuple[str, int, float]


def key_of(row: Row) -> Key:
    """What tells rows of one table apart."""
    return row["case"], row["threads"], row["ratio"]


def missing(
    rows: Sequence[Row], software: dict[str, str], tasks: Sequence[Task], ratios: Sequence[float]
) -> tuple[int, list[tuple[Task, list[float]]]]:
    """Say which table is the next to be finished, the first is 1, and what it lacks.

    Rows that were measured with other software do not count.
    """
    count: dict[Key, int] = {}
    for row in rows:
        if row["software"] == software:
            count[key_of(row)] = count.get(key_of(row), 0) + 1

    def times(task: Task, ratio: float) -> int:
        return count.get((task.case.key, task.threads, ratio), 0)

    table = 1 + min(times(task, ratio) for task in tasks for ratio in ratios)
    lacks = [(task, [r for r in ratios if times(task, r) < table]) for task in tasks]
    return table, [(task, each) for task, each in lacks if each]


def added(rows: Sequence[Row], row: Row) -> list[Row]:
    """Rows and one more, without those of other software that it replaces."""
    kept = [
        each for each in rows if key_of(each) != key_of(row) or each["software"] == row["software"]
    ]
    return [*kept, row]


def measure_tables(
    rows: list[Row],
    software: dict[str, str],
    tasks: Sequence[Task],
    ratios: Sequence[float],
    sides: Sequence[str],
    rounds: int,
    seconds: float,
    minutes: float,
    keep: Callable[[list[Row]], None],
    say: Callable[[str], None] = print,
    command: str | None = None,
) -> list[Row]:
    """Measure what the next table lacks, as far as the minutes go.

    Parameters
    ----------
    rows : list of dict
        What there is.
    software : dict of str to str
        What rows are measured with.
    tasks, ratios
        What a table has.
    sides, rounds, seconds
        As `infer.measure_case`.
    minutes : float
        Nothing is begun that is not likely to end within them.
    keep : callable
        Gets all rows after each one.
    say : callable
        Told what goes on.
    command : str, optional
        That measures, which rows say.

    Returns
    -------
    list of dict
        All rows.
    """
    begin = time.monotonic()
    table, lacks = missing(rows, software, tasks, ratios)
    say(f"Table {table}: {len(lacks)} of {len(tasks)} parts are missing")

    def done(row: Row) -> None:
        now = datetime.datetime.now(datetime.UTC)
        nonlocal rows
        about = {"software": software, "when": now.isoformat(timespec="seconds")}
        by = {} if command is None else {"version": __version__, "command": command}
        rows = added(rows, {**row, **about, **by})
        keep(rows)

    for task, each in lacks:
        spent = (time.monotonic() - begin) / 60
        if spent + task.minutes > minutes:
            say(f"{task.name}: left for the next run ({minutes - spent:.1f} minutes are left)")
            continue
        try:
            infer.measure_case(
                task.case, task.threads, each, sides, rounds, seconds, say, done=done, at_once=2
            )
        except (SideError, ValueError) as error:
            say(f"{task.name}: not measured: {error}")
    say(f"{(time.monotonic() - begin) / 60:.1f} minutes")
    return rows


def prepare(
    tasks: Sequence[Task], sides: Sequence[str], say: Callable[[str], None] = print
) -> None:
    """Build every side once, so that what it compiles is compiled; nothing is measured."""
    for task in tasks:
        for name in sides:
            begin = time.monotonic()
            with ExitStack() as stack:
                process = Process(name, task.case, task.threads)
                stack.callback(process.end)
                try:
                    process.wait()
                except SideError as error:
                    say(f"{task.name}: {error}")
                    continue
            say(f"{task.name}: {name} is ready in {time.monotonic() - begin:.1f} s")


CALIBRATION = """
import time
import numpy as np
from sact_core.calibrate.scales import find_scales
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
config = NetworkConfig(halting="sact")
net = Checkpoint(config, init_params(build_plan(config)), default_preprocessing(config.family))
x = np.random.default_rng(0).standard_normal((256, 32, 32, 3)).astype(np.float32)
begin = time.perf_counter()
find_scales(net, [x[i : i + 16] for i in range(0, 256, 16)])
print(time.perf_counter() - begin)
"""


def measure_calibration() -> float:
    """Seconds in which a ResNet-32 gets scales on 256 images, on one core."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", CALIBRATION],
        env={**os.environ, **one},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)
