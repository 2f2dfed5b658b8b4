"""Whether masked inference got slower since an earlier run on the same kind of machine.

Two machines of one kind differ by more than a change of the program does, and so
does one machine from day to day. What is compared is therefore the time of the
masked engine as a share of the dense side's, which both took turns in the same
run; milliseconds are only told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sact_core.benchmark.infer import DENSE, Row, judge
from sact_core.benchmark.machine import KIND, read_results

#: A case that takes more than this many times its earlier share of the dense time failed.
LIMIT = 1.10

#: What tells cases apart: name, threads, share of the dense FLOPs.
Key = tuple[str, int, float]


@dataclass(frozen=True)
class Comparison:
    """One case, earlier and now.

    Attributes
    ----------
    title : str
        Network, threads and share of the FLOPs, for people.
    before, now : float
        Time of the masked engine over that of the dense side.
    ms_before, ms_now : float
        Milliseconds of the masked engine for the whole batch.
    """

    title: str
    before: float
    now: float
    ms_before: float
    ms_now: float

    @property
    def slower(self) -> float:
        """How many times the earlier share it takes; below 1 it got faster."""
        return self.now / self.before

    @property
    def failed(self) -> bool:
        """Whether that is more than `LIMIT` allows."""
        return self.slower > LIMIT

    def __str__(self) -> str:
        verdict = "slower" if self.failed else "ok"
        return (
            f"{self.title}: {self.now:.3f} of the dense time, {self.before:.3f} before "
            f"({self.slower:.2f} of it, {verdict}); "
            f"{self.ms_now:.2f} ms, {self.ms_before:.2f} ms before"
        )


def read_earlier(
    path: Path, where: dict[str, Any], wanted: Collection[Key], sides: Collection[str]
) -> dict[Key, Row]:
    """Read the rows of an earlier run that are to be compared with.

    Parameters
    ----------
    path : Path
        Results of ``infer``, as `report.write_results` left them.
    where : dict
        This machine, from `machine.machine`.
    wanted : collection of (str, int, float)
        Case, threads and ratio of what is going to be measured.
    sides : collection of str
        Which of `infer.SIDES` are.

    Returns
    -------
    dict
        Those of the wanted rows that the file has, at least one.

    Raises
    ------
    ValueError
        If the file is damaged, no result of ``infer``, of another kind of machine,
        has none of the wanted cases, or none of the dense sides.
    OSError
        If it cannot be read.
    """
    values = read_results(path)
    other = values["machine"]
    if any(other.get(key) != where.get(key) for key in KIND):
        raise ValueError(
            f"{path} was measured on another kind of machine "
            f"({_kind(other)}; this is {_kind(where)}), where another share of the dense time "
            "is right: compare with a file of this kind"
        )
    rows = {}
    for i, row in enumerate(values["rows"]):
        try:
            key = (str(row["case"]), int(row["threads"]), float(row["ratio"]))
            if not judge(row)["speedup"] > 0:
                raise ValueError("a time is no number above 0")
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f"{path} is damaged, or no result of infer: row {i + 1} cannot be compared "
                f"with ({reason})"
            ) from None
        rows[key] = row
    found = {key: row for key, row in rows.items() if key in wanted}
    if not found:
        listed = ", ".join(dict.fromkeys(f"{key[0]} at {key[1]} threads" for key in rows))
        raise ValueError(
            f"{path} has none of the cases that are to be measured; it has {listed or 'no rows'}"
        )
    for row in found.values():
        if not _common(row["ms"], sides):
            measured = ", ".join(_common(row["ms"], DENSE))
            raise ValueError(f"{path} has no dense side of --sides, but {measured}: name one of it")
    return found


def compare(earlier: dict[Key, Row], rows: Sequence[Row]) -> list[Comparison]:
    """Hold rows against earlier ones of the same case, threads and ratio.

    The dense side is the fastest of those that both runs measured.

    Parameters
    ----------
    earlier : dict
        From `read_earlier`.
    rows : sequence of dict
        From `infer.measure_case`. Those without an earlier one are left out.
    """
    found = []
    for row in rows:
        old = earlier.get((row["case"], row["threads"], row["ratio"]))
        if old is None:
            continue
        title = f"{row['title']}, {row['threads']} threads, {row['ratio']:.0%}"
        sides = _common(old["ms"], row["ms"])
        before, now = (_share(each, sides) for each in (old, row))
        found.append(Comparison(title, before, now, old["ms"]["masked"], row["ms"]["masked"]))
    return found


def summary(comparisons: Sequence[Comparison], path: Path) -> str:
    """Say in one sentence how many cases got slower than the file says."""
    failed = sum(each.failed for each in comparisons)
    return (
        f"{failed} of {len(comparisons)} cases more than {LIMIT - 1:.0%} slower than in {path}, "
        "by their share of the dense time."
    )


def _common(one: Collection[str], other: Collection[str]) -> list[str]:
    """Dense sides that are in both."""
    return [side for side in DENSE if side in one and side in other]


def _share(row: Row, sides: Sequence[str]) -> float:
    """The masked engine's time over that of the fastest of these dense sides."""
    times = {name: row["ms"][name] for name in ("masked", *sides)}
    return float(1 / judge({**row, "ms": times})["speedup"])


def _kind(where: dict[str, Any]) -> str:
    return f"{where['hardware']}, {where.get('vectors') or 'no vectors named'}"
