"""Masked inference against its rivals, in seconds and in FLOPs.

The dense side is the network *without* halting in float32, which is at least as fast
as the network with it: the fastest of PyTorch's eager mode (channels last),
``torch.compile``, ``torch.compile`` with frozen weights, which may fold and repack
them, OpenVINO and ONNX Runtime, as far as they are installed. Further sides, in
bfloat16 or of another kind, are told beside; see `sact_core.benchmark.rivals`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from sact_core.benchmark.cases import Case
from sact_core.benchmark.process import Process, SideError
from sact_core.benchmark.sides import SIDES as ALL
from sact_core.benchmark.sides import Kind
from sact_core.flops import dense_flops
from sact_core.plans import build_plan

#: Sides, in the order in which they take turns.
SIDES = tuple(ALL)

#: Those whose fastest one is the dense side.
DENSE = tuple(
    name
    for name, side in ALL.items()
    if side.kind is Kind.DENSE and side.number_format == "float32"
)

#: Those that keep weights as they were trained: a network goes on learning in them.
UNFROZEN = ("vanilla", "compiled")

#: What logits are held against: PyTorch in eager mode, without halting and with it.
REFERENCES = {False: "vanilla", True: "sact"}

Row = dict[str, Any]


def measure_case(
    case: Case,
    threads: int,
    ratios: Iterable[float],
    sides: Sequence[str] = SIDES,
    rounds: int = 7,
    seconds: float = 0.3,
    say: Callable[[str], None] = print,
    step: Callable[[str], None] = lambda what: None,
    done: Callable[[Row], None] = lambda row: None,
    at_once: int = 1,
) -> list[Row]:
    """Measure one network with one number of threads.

    Parameters
    ----------
    case : Case
        The network and its input.
    threads : int
        Threads of every side.
    ratios : iterable of float
        Shares of the dense FLOPs, a row for each.
    sides : sequence of str
        Which of `SIDES`; ``masked`` and one of `DENSE` must be among them. Those that
        this case has no use for, and those that cannot be built, are left out.
    rounds : int
        How often every side has its turn.
    seconds : float
        Length of a turn; a turn has at least one run.
    say : callable
        Told what came of it.
    step : callable
        Told what comes next: before each side is built, and before each round of turns.
    done : callable
        Gets every row as soon as it is measured.
    at_once : int
        Sides that are built at a time; compiling takes all cores, but not all the time.

    Returns
    -------
    list of dict
        Rows for `report`: times in milliseconds for the whole batch. ``sides`` says of
        each side its number format and threads, read back, and ``change``, the largest
        difference of a logit from PyTorch's in float32 as a share of the largest;
        ``absent`` why a side was left out; ``joules`` of a run, where they are told.

    Raises
    ------
    SideError
        If the process of the masked engine fails, or any that was ready.
    ValueError
        If no dense side can be built.
    """
    size = (case.side, case.side)
    dense = int(dense_flops(build_plan(case.config("none")), size).total[0])
    rows = []
    with ExitStack() as stack:
        running, absent = _start(stack, case, threads, sides, say, step, at_once)
        reference = _References(stack, case, threads, running)
        for ratio in ratios:
            facts = running["masked"].set_ratio(ratio)
            reach = facts.pop("reach")
            reference.set_reach(reach)
            for name, side in running.items():
                if name != "masked" and ALL[name].kind.halts and side is not reference.halting:
                    side.set_reach(reach)
            told = {
                name: {
                    "number_format": side.facts["number_format"],
                    "threads": side.facts["threads"],
                    "change": reference.change(name, side),
                }
                for name, side in running.items()
            }
            turns: dict[str, list[float]] = {name: [] for name in running}
            joules: dict[str, list[float]] = {name: [] for name in running}
            memory: dict[str, list[int]] = {}
            for i in range(rounds):
                step(f"Batch {case.batch}, {ratio:.0%} of the FLOPs, turn {i + 1} of {rounds} …")
                for name, side in running.items():
                    answer = side.measure(seconds)
                    turns[name].append(1e3 * statistics.median(answer["seconds"]))
                    memory[name] = answer["memory"]
                    if answer["joules"] is not None:
                        joules[name].append(answer["joules"])
            row = {
                "case": case.key,
                "title": case.title,
                "batch": case.batch,
                "side": case.side,
                "threads": threads,
                "ratio": ratio,
                "bar": case.bar_at(ratio),
                "dense_flops": dense,
                **facts,
                "ms": {name: statistics.median(times) for name, times in turns.items()},
                "turns": turns,
                "memory": {
                    name: most
                    for name, most in memory.items()
                    if name == "vanilla" or ALL[name].kind is Kind.OWN
                },
                "sides": told,
            }
            if absent:
                row["absent"] = absent
            if any(joules.values()):
                row["joules"] = {name: statistics.median(j) for name, j in joules.items() if j}
            row = judge(row)
            rows.append(row)
            done(row)
            say(
                f"{case.title}, {threads} threads, {facts['flops'] / dense:.0%} of the FLOPs: "
                f"{ALL[row['dense_side']].title} {row['dense']:.2f} ms, masked "
                f"{row['ms']['masked']:.2f} ms, "
                f"speed-up {row['speedup']:.2f} = {row['share']:.2f} of the FLOP ratio"
            )
    return rows


def _start(
    stack: ExitStack,
    case: Case,
    threads: int,
    sides: Sequence[str],
    say: Callable[[str], None],
    step: Callable[[str], None],
    at_once: int,
) -> tuple[dict[str, Process], dict[str, str]]:
    """Processes that are ready, which the stack ends, and why others are not."""
    running: dict[str, Process] = {}
    absent: dict[str, str] = {}
    fitting = [name for name in sides if ALL[name].kind.runs(case.halting)]
    begun: list[Process] = []
    for i, name in enumerate(fitting):
        step(f"Batch {case.batch}: {ALL[name].title} gets ready …")
        for each in fitting[len(begun) : i + at_once]:
            begun.append(Process(each, case, threads))
            stack.callback(begun[-1].end)
        process = begun[i]
        try:
            process.wait()
        except SideError as error:
            if name == "masked":
                raise
            absent[name] = error.reason
            say(f"{case.title}, {threads} threads: {ALL[name].title} is left out: {error.reason}")
        else:
            running[name] = process
    if not set(DENSE) & set(running):
        raise ValueError(f"no dense side can be measured: {'; '.join(absent.values())}")
    return running, absent


class _References:
    """Logits in float32 that those of every side are held against.

    They come from sides that are measured anyway, else from processes that only give
    logits.
    """

    def __init__(
        self, stack: ExitStack, case: Case, threads: int, running: dict[str, Process]
    ) -> None:
        found = []
        for name in REFERENCES.values():
            process = running.get(name)
            if process is None:
                process = Process(name, case, threads)
                stack.callback(process.end)
            found.append(process)
        self.dense, self.halting = found
        self._logits: dict[bool, np.ndarray] = {False: self.dense.logits()}

    def set_reach(self, reach: float) -> None:
        """Halt as the measured sides do."""
        self.halting.set_reach(reach)
        self._logits[True] = self.halting.logits()

    def change(self, name: str, side: Process) -> float:
        """Largest difference of a logit, as a share of the largest logit."""
        ref = self._logits[ALL[name].kind.halts]
        return float(np.abs(side.logits() - ref).max() / np.abs(ref).max())


def judge(row: Row) -> Row:
    """Hold a row's masked side against its fastest dense side.

    Parameters
    ----------
    row : dict
        Measured: ``ms``, the median by side; ``turns``, the times that it is the
        median of, by side, round by round (old rows lack them); ``flops`` and
        ``dense_flops``.

    Returns
    -------
    dict
        The row, and what follows: ``dense_side`` and ``dense``, the fastest of
        `DENSE` and its median; ``speedup``, the median over rounds of dense over
        masked (without turns: median over median); ``flop_ratio``, dense FLOPs
        over the FLOPs needed; ``share``, the speed-up as a share of it;
        ``share_unfrozen``, the same against the fastest of `UNFROZEN` (none of
        these measured: None).

    Raises
    ------
    ValueError
        If no dense side was measured.
    """
    turns = row.get("turns") or {name: [ms] for name, ms in row["ms"].items()}
    flop_ratio = row["dense_flops"] / row["flops"]

    def over_masked(side: str) -> float:
        pairs = zip(turns[side], turns["masked"], strict=True)
        return float(statistics.median(dense / masked for dense, masked in pairs))

    def fastest(sides: Sequence[str]) -> str | None:
        return min((s for s in sides if s in row["ms"]), key=row["ms"].__getitem__, default=None)

    side, unfrozen = fastest(DENSE), fastest(UNFROZEN)
    if side is None:
        raise ValueError(f"a row needs one of {', '.join(DENSE)}; it has {', '.join(row['ms'])}")
    return {
        **row,
        "dense_side": side,
        "dense": row["ms"][side],
        "speedup": over_masked(side),
        "flop_ratio": flop_ratio,
        "share": over_masked(side) / flop_ratio,
        "share_unfrozen": None if unfrozen is None else over_masked(unfrozen) / flop_ratio,
    }


def merge(old: list[Row], new: list[Row]) -> list[Row]:
    """Put new rows in the place of old ones of the same case, threads and ratio."""
    keyed = {(row["case"], row["threads"], row["ratio"]): row for row in [*old, *new]}
    return list(keyed.values())
