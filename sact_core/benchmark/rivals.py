"""The masked engine against every single side of a row, and against the fastest."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from sact_core.benchmark.formats import FASTEST, candidates
from sact_core.benchmark.sides import SIDES, Kind

Row = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """How one side of a row stands against the masked engine, in each of its precisions.

    Attributes
    ----------
    name : str
        One of `SIDES`.
    ms : float
        Median for the whole batch.
    number_format : str
        In which it multiplies, as it said itself.
    threads : int
        With which it ran, as it said itself.
    change : float
        Largest difference of a logit from float32, as a share of the largest logit.
    joules : float, optional
        Of the processor for one run; None where the machine does not tell.
    speedups : dict of str to float
        Its time over that of each side that is ours, median over rounds.
    flop_ratio : float, optional
        Dense FLOPs over the FLOPs needed; None of sides that halt.
    """

    name: str
    ms: float
    number_format: str
    threads: int
    change: float
    joules: float | None
    speedups: dict[str, float]
    flop_ratio: float | None


def standings(row: Row) -> list[Standing]:
    """Give all sides of a row, in the order in which they took turns.

    Parameters
    ----------
    row : dict
        From `infer.measure_case`. Rows of earlier versions, whose sides do not say how
        they computed, have none.
    """
    flop_ratio = row["dense_flops"] / row["flops"]
    joules = row.get("joules", {})
    found = []
    for name, facts in row.get("sides", {}).items():
        speedups = {own: over(row, name, own) for own in ours(row)}
        ratio = flop_ratio if SIDES[name].kind is Kind.DENSE else None
        found.append(
            Standing(
                name,
                row["ms"][name],
                joules=joules.get(name),
                speedups=speedups,
                flop_ratio=ratio,
                **facts,
            )
        )
    return found


def ours(row: Row) -> list[str]:
    """Name the sides of a row that are ours."""
    return [name for name in row["ms"] if SIDES[name].kind is Kind.OWN]


def over(row: Row, side: str, other: str) -> float:
    """One side's time over another's, median over rounds."""
    pairs = zip(row["turns"][side], row["turns"][other], strict=True)
    return float(statistics.median(one / two for one, two in pairs))


def fastest(row: Row, own: bool, number_format: str = FASTEST) -> str | None:
    """Name the fastest side that is ours, or the fastest rival, in one number format or in any.

    None where none was measured.
    """
    names = [name for name in candidates(own, number_format) if name in row["ms"]]
    return min(names, key=row["ms"].__getitem__, default=None)
