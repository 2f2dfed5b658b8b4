"""Where halting pays, and how to say it; no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sact_core.benchmark.break_even import Cell, cells, pays_below
from sact_core.benchmark.formats import FASTEST, lacking
from sact_core.benchmark.sides import SIDES
from sact_core.quantisation import COMMAND

#: Choices of a number format, for people.
FORMATS = {FASTEST: "fastest", "float32": "float32", "bfloat16": "bfloat16", "int8": "int8"}


@dataclass(frozen=True)
class Where:
    """What was measured.

    Attributes
    ----------
    rows : tuple of dict
        From `sact_core.benchmark.break_even.measure_map`.
    rivals : tuple of str
        What was measured beside the masked engine, for people.
    absent : dict of str to str
        Sides that were left out, by name, and why.
    threads : int
        Of every side.
    side : int
        Height and width of the input in pixels.
    """

    rows: tuple[dict[str, Any], ...]
    rivals: tuple[str, ...]
    absent: dict[str, str]
    threads: int
    side: int

    def cells(self, own: str = FASTEST, rival: str = FASTEST) -> list[Cell]:
        """By batch size, the densest first, of ours and rivals in these number formats."""
        return cells(self.rows, own, rival)

    def gaps(self, own: str, rival: str) -> list[str]:
        """Say why nothing was measured in these number formats, and what helps."""
        names = {name for row in self.rows for name in row["ms"]}
        found = [lacking(True, own, names, self.absent), lacking(False, rival, names, self.absent)]
        return [each for each in found if each]

    def left_out(self) -> str:
        """Say what was left out and why; empty where nothing was."""
        told = (f"{SIDES[name].title}: {why}" for name, why in self.absent.items())
        return f" Left out: {'; '.join(told)}." if self.absent else ""


def without_scales(name: str) -> str:
    """Say that a network's file has no scales for int8 of its own, and what makes them."""
    return (
        f"These times are of scales made here; {name} has none of its own: `{COMMAND}` makes them."
    )


def told(cell: Cell) -> str:
    """Say one cell, as it is pointed at."""
    lines = [
        f"batch {cell.batch}, {cell.density:.0%} of the dense FLOPs",
        f"{cell.own} {cell.own_ms:.2f} ms, {cell.rival} {cell.rival_ms:.2f} ms",
        f"<b>{cell.speedup:.2f} times as fast</b>" + ("" if cell.speedup >= 1 else ": it loses"),
    ]
    if cell.own_joules is not None and cell.rival_joules is not None:
        lines.append(f"{cell.own_joules:.3f} J and {cell.rival_joules:.3f} J an image")
    return "<br>".join(lines)


def about_image(found: Sequence[Cell], share: float) -> str:
    """Say whether it pays for the image of the page, run by itself.

    Parameters
    ----------
    found : sequence of Cell
        What was measured, batch 1 among it.
    share : float
        FLOPs of the image over those of the network without halting.
    """
    below = pays_below([cell for cell in found if cell.batch == 1])
    if share < below:
        return f"This image needs **{share:.0%}** of the dense FLOPs: run by itself, it pays."
    return f"This image needs **{share:.0%}** of the dense FLOPs: run by itself, it does not pay."
