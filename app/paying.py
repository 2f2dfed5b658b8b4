"""Where halting pays, and how to say it; no Streamlit."""

from __future__ import annotations

from dataclasses import dataclass

from sact_core.benchmark.break_even import Cell, pays_below


@dataclass(frozen=True)
class Where:
    """What was measured.

    Attributes
    ----------
    cells : tuple of Cell
        By batch size, the densest first.
    rivals : tuple of str
        What was measured beside the masked engine, for people.
    absent : tuple of str
        What was left out and why.
    threads : int
        Of every side.
    side : int
        Height and width of the input in pixels.
    """

    cells: tuple[Cell, ...]
    rivals: tuple[str, ...]
    absent: tuple[str, ...]
    threads: int
    side: int


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


def about_image(found: Where, share: float) -> str:
    """Say whether it pays for the image of the page, run by itself.

    Parameters
    ----------
    found : Where
        What was measured, batch 1 among it.
    share : float
        FLOPs of the image over those of the network without halting.
    """
    below = pays_below([cell for cell in found.cells if cell.batch == 1])
    if share < below:
        return f"This image needs **{share:.0%}** of the dense FLOPs: run by itself, it pays."
    return f"This image needs **{share:.0%}** of the dense FLOPs: run by itself, it does not pay."
