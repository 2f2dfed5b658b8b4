"""Masked inference against dense PyTorch, in seconds and in FLOPs.

The dense side is PyTorch on the network *without* halting, which is at least as
fast as the network with it: the fastest of eager mode (channels last),
``torch.compile``, and ``torch.compile`` with frozen weights, which may fold and
repack them. One more side is shown: the network with halting in PyTorch.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from sact_core.benchmark.cases import Case
from sact_core.benchmark.sides import Side
from sact_core.flops import dense_flops
from sact_core.plans import build_plan

#: Sides, in the order in which they take turns.
SIDES = ("masked", "vanilla", "compiled", "frozen", "sact")

#: Those whose fastest one is the dense side.
DENSE = ("vanilla", "compiled", "frozen")

#: Those that keep weights as they were trained: a network goes on learning in them.
UNFROZEN = ("vanilla", "compiled")

Row = dict[str, Any]


def measure_case(
    case: Case,
    threads: int,
    ratios: Iterable[float],
    sides: Sequence[str] = SIDES,
    rounds: int = 7,
    seconds: float = 0.3,
    say: Callable[[str], None] = print,
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
        Which of `SIDES`; ``masked`` and one of `DENSE` must be among them.
    rounds : int
        How often every side has its turn.
    seconds : float
        Length of a turn; a turn has at least one run.
    say : callable
        Told what is going on.

    Returns
    -------
    list of dict
        Rows for `report`: times in milliseconds for the whole batch.

    Raises
    ------
    SideError
        If a process fails.
    """
    size = (case.side, case.side)
    dense = int(dense_flops(build_plan(case.config("none")), size).total[0])
    rows = []
    with ExitStack() as stack:
        running: dict[str, Side] = {}
        for name in sides:  # one after another: compiling takes all cores
            running[name] = Side(name, case, threads)
            stack.callback(running[name].end)
            running[name].wait()
        for ratio in ratios:
            facts = running["masked"].set_ratio(ratio)
            turns: dict[str, list[float]] = {name: [] for name in sides}
            memory: dict[str, list[int]] = {}
            for _ in range(rounds):
                for name, side in running.items():
                    answer = side.measure(seconds)
                    turns[name].append(1e3 * statistics.median(answer["seconds"]))
                    memory[name] = answer["memory"]
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
                "memory": {name: memory[name] for name in ("masked", "vanilla") if name in memory},
            }
            row = judge(row)
            rows.append(row)
            say(
                f"{case.title}, {threads} threads, {facts['flops'] / dense:.0%} of the FLOPs: "
                f"dense {row['dense']:.2f} ms, masked {row['ms']['masked']:.2f} ms, "
                f"speed-up {row['speedup']:.2f} = {row['share']:.2f} of the FLOP ratio"
            )
    return rows


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
