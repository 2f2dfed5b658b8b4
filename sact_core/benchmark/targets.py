"""What is asked of seconds in three number formats: bars, and what a row reaches.

A value is a ratio of times that were taken in turns, so that it says the same on a faster
or slower machine: how many times as long the other side took, as it is or as a share of the
FLOP ratio; or the memory of ours over that of ours in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sact_core.benchmark.formats import RIVALS
from sact_core.benchmark.rivals import fastest, over
from sact_core.benchmark.sides import SIDES

Row = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One line of the list.

    Attributes
    ----------
    title : str
        For people.
    bar : float
        Least value; the most where ``at_most``.
    cases : tuple of str
        Networks that it is asked of.
    ratios : tuple of float
        Shares of the dense FLOPs that it is asked at.
    value : callable
        Gives the value of a row, None where a side is missing.
    hope : float, optional
        What is reached for beyond the bar.
    threads : tuple of int
        With how many it is asked.
    at_most : bool
        Whether less is better.
    """

    title: str
    bar: float
    cases: tuple[str, ...]
    ratios: tuple[float, ...]
    value: Callable[[Row], float | None]
    hope: float | None = None
    threads: tuple[int, ...] = (1, 2)
    at_most: bool = False

    def asks(self, row: Row) -> bool:
        """Whether a row is among those that it is asked of."""
        return (
            row["case"] in self.cases
            and row["ratio"] in self.ratios
            and row["threads"] in self.threads
        )

    def met(self, value: float) -> bool:
        """Whether a value meets the bar."""
        return value <= self.bar if self.at_most else value >= self.bar


def times(row: Row, own: str, other: str) -> float | None:
    """How many times as long another side took as ours; None where one was not measured."""
    return over(row, other, own) if {own, other} <= {*row["ms"]} else None


def share(row: Row, own: str, other: str) -> float | None:
    """`times` as a share of the FLOP ratio."""
    found = times(row, own, other)
    return None if found is None else found * row["flops"] / row["dense_flops"]


def against_all(row: Row, own: str) -> float | None:
    """`times` of the fastest rival, in whatever number format."""
    rival = fastest(row, own=False)
    return None if rival is None else times(row, own, rival)


def memory(row: Row, own: str) -> float | None:
    """Most memory while it runs, on top of packages, over that of ours in float32."""
    found = [row["memory"].get(name, []) for name in (own, "masked")]
    if any(len(each) < 3 for each in found):
        return None
    (mine, theirs) = (running - idle for _, idle, running in found)
    return mine / theirs if theirs > 0 else None


LARGE = ("resnet101-224", "resnet101-448")
SMALL = ("resnet32-batch1", "resnet32-batch128", "resnet110-batch1", "resnet110-batch128")
MANY = ("resnet32-batch128", "resnet110-batch128")
LITE = ("efficientnet-lite1-224",)
FULL, MOST, HALF = (1.0,), (1.0, 0.6, 0.4), (0.6, 0.4)

TARGETS = (
    Target("masked bfloat16, times as fast as masked float32", 1.8, LARGE, MOST,
           partial(times, own="masked-bf16", other="masked")),
    Target("masked bfloat16 at full depth over OpenVINO bfloat16", 0.9, (*LARGE, *SMALL), FULL,
           partial(times, own="masked-bf16", other="openvino-bf16")),
    Target("share of the FLOP ratio, bfloat16 against OpenVINO's", 0.85, LARGE, HALF,
           partial(share, own="masked-bf16", other="openvino-bf16"), 0.95),
    Target("share of the FLOP ratio, bfloat16 against OpenVINO's", 0.9, SMALL, HALF,
           partial(share, own="masked-bf16", other="openvino-bf16")),
    Target("masked float32 at full depth over OpenVINO float32", 0.97, (*LARGE, *SMALL), FULL,
           partial(times, own="masked", other="openvino"), 1.0),
    Target("share of the FLOP ratio, float32 against OpenVINO's", 0.85, ("resnet32-batch1",), HALF,
           partial(share, own="masked", other="openvino")),
    Target("memory in bfloat16 over float32", 0.6, (*LARGE, *MANY), FULL,
           partial(memory, own="masked-bf16"), at_most=True),
    Target("masked int8, times as fast as masked bfloat16", 1.6, LARGE, MOST,
           partial(times, own="masked-int8", other="masked-bf16"), 1.9),
    Target("masked int8 at full depth over OpenVINO int8", 0.85, (*LARGE, *SMALL, *LITE), FULL,
           partial(times, own="masked-int8", other="openvino-int8")),
    Target("share of the FLOP ratio, int8 against OpenVINO's", 0.75, (*LARGE, *LITE), HALF,
           partial(share, own="masked-int8", other="openvino-int8"), 0.9),
    Target("masked int8, times as fast as the fastest rival", 1.0,
           ("resnet32-batch1", "resnet32-batch128"), HALF,
           partial(against_all, own="masked-int8")),
    Target("memory in int8 over float32", 0.4, (*LARGE, *MANY), FULL,
           partial(memory, own="masked-int8"), at_most=True),
)  # fmt: skip


@dataclass(frozen=True)
class Reached:
    """What rows of one case, density and number of threads reach of a target.

    Attributes
    ----------
    target : Target
    title : str
        The network, for people.
    threads : int
    ratio : float
    values : tuple of (float or None)
        One for every row, the oldest first; None where a side is missing.
    """

    target: Target
    title: str
    threads: int
    ratio: float
    values: tuple[float | None, ...]

    @property
    def verdict(self) -> str:
        """``"met"`` where every row meets the bar, ``"missed"``, ``"partly"`` or ``"unknown"``."""
        known = [self.target.met(value) for value in self.values if value is not None]
        if not known:
            return "unknown"
        return "met" if all(known) else "partly" if any(known) else "missed"


def reached(rows: Iterable[Row]) -> list[Reached]:
    """Hold rows against all targets; those that no row is of are left out."""
    rows = list(rows)
    found = []
    for target in TARGETS:
        places: dict[tuple[str, int, float], list[Row]] = {}
        for row in rows:
            if target.asks(row):
                places.setdefault((row["title"], row["threads"], row["ratio"]), []).append(row)
        for (title, threads, ratio), each in sorted(
            places.items(), key=lambda item: (item[0][1], item[0][0], -item[0][2])
        ):
            values = tuple(target.value(row) for row in each)
            found.append(Reached(target, title, threads, ratio, values))
    return found


def planned_sides() -> list[str]:
    """Sides that the targets and their tables need, in the order in which they take turns."""
    left_out = ("vanilla", "compiled", "gather", "early-exit")
    kept = [n for n, side in SIDES.items() if side.kind in RIVALS and n not in left_out]
    return [name for name in SIDES if name.startswith("masked") or name in kept]
