"""The number format as a choice: which sides compute in one, and why there may be none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sact_core.backends.precision import INSTRUCTIONS, PRECISIONS
from sact_core.benchmark.sides import SIDES, Kind

#: What may be chosen, of ours and of rivals': one format, or the fastest of all.
FORMATS = PRECISIONS
FASTEST = "fastest"
CHOICES = (FASTEST, *FORMATS)

#: What counts as a rival: all but what halts and computes everything.
RIVALS = (Kind.DENSE, Kind.SPARSE, Kind.EXIT)

Row = dict[str, Any]


def candidates(own: bool, number_format: str = FASTEST) -> tuple[str, ...]:
    """Name all sides that are ours, or all rivals, in one number format or in any."""
    kinds = (Kind.OWN,) if own else RIVALS
    return tuple(
        name
        for name, side in SIDES.items()
        if side.kind in kinds and number_format in (FASTEST, side.number_format)
    )


def measured(rows: Collection[Row], own: bool) -> tuple[str, ...]:
    """Give the number formats in which ours, or rivals, were measured in all rows."""
    return tuple(
        each
        for each in FORMATS
        if rows and all({*candidates(own, each)} & {*r["ms"]} for r in rows)
    )


def lacking(
    own: bool, number_format: str, names: Collection[str], absent: Mapping[str, str] | None = None
) -> str:
    """Say in one sentence why nothing is there in a number format, and what helps.

    Parameters
    ----------
    own : bool
        Whether ours are meant, or rivals.
    number_format : str
        One of `CHOICES`.
    names : collection of str
        Sides that are there.
    absent : mapping of str to str, optional
        Why sides could not be built, by name.

    Returns
    -------
    str
        Empty where one is there.
    """
    wanted = candidates(own, number_format)
    if {*wanted} & {*names}:
        return ""
    reasons: dict[str, list[str]] = {}
    for name in wanted:
        why = (absent or {}).get(name) or SIDES[name].absent() or "it is not among those measured"
        reasons.setdefault(why, []).append(SIDES[name].title)
    listed = "; ".join(f"{', '.join(titles)}: {why}" for why, titles in reasons.items())
    who = "Ours" if own else "No rival"
    said = f"{who} {'is not' if own else 'is'} measured in {number_format} ({listed})"
    return f"{said}{_help(own, number_format, list(reasons))}."


def _help(own: bool, number_format: str, reasons: list[str]) -> str:
    """What helps, by why it is not there."""
    if any("not installed" in why for why in reasons):
        return ": `pip install -r requirements-bench.txt` brings it"
    if own and any("this processor" in why for why in reasons):
        return (
            f": it takes {INSTRUCTIONS[number_format]}; `SACT_FORCE_PRECISION=1 python -m "
            f"sact_core.evaluate --precision {number_format} …` gives the same numbers, slowly"
        )
    return ""
