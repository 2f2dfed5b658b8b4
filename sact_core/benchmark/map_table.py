"""Maps of where halting pays, as tables."""

from __future__ import annotations

from typing import Any

from sact_core.benchmark import break_even
from sact_core.benchmark.charts import SIDE_TITLES, maps
from sact_core.benchmark.formats import CHOICES, candidates
from sact_core.benchmark.markdown import table, where

TEXT = (
    "Time of the fastest rival that was measured, in whatever number format, over that of our "
    "fastest side, medians of turns taken A B A B …, each side in a process of its own; losing "
    "cells are bold. *FLOPs needed* is the share of those of the network without halting. Weights "
    "are random; halting is steered so that blobs of positions go on, or, of ACT, every image."
)


def map_table(values: dict[str, Any]) -> str:
    """The tables of where halting pays, losing cells included."""
    parts = ["# Where halting pays", where(values), TEXT]
    for rows in maps(values["rows"]):
        first, found = rows[0], break_even.cells(rows)
        joules = any(cell.own_joules is not None for cell in found)
        threads = f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}"
        absent = {f"{SIDE_TITLES[n]}: {r}": None for row in rows for n, r in
                  row.get("absent", {}).items()}  # fmt: skip
        parts += [
            f"## {first['network']}, {first['side']} px, {threads}",
            *(
                [f"The architecture of `{first['file']}`, content hash {first['content_hash']}."]
                if "file" in first
                else []
            ),
            f"**{break_even.sentence(found)}**",
            table(
                ["batch", "FLOPs needed", "times as fast", "ours", "ms", "fastest rival", "ms"]
                + ["ours, J an image", "rival, J an image"] * joules,
                [
                    [
                        *(str(cell.batch), f"{cell.density:.0%}"),
                        f"{cell.speedup:.2f}" if cell.speedup >= 1 else f"**{cell.speedup:.2f}**",
                        *(cell.own, f"{cell.own_ms:.2f}", cell.rival, f"{cell.rival_ms:.2f}"),
                        *(
                            "" if each is None else f"{each:.3f}"
                            for each in (cell.own_joules, cell.rival_joules)[: 2 * joules]
                        ),
                    ]
                    for cell in found
                ],
            ),
            "*By number format*, of ours and of rivals; losing pairs too.",
            by_format(rows),
            *dict.fromkeys(
                f"Batch {row['batch']}: {row['cheapest']}" for row in rows if "cheapest" in row
            ),
            *([f"Left out: {'; '.join(absent)}."] if absent else []),
        ]
    return "\n\n".join(parts) + "\n"


def by_format(rows: list[dict[str, Any]]) -> str:
    """Where it pays for every pair of number formats that was measured."""
    names = {name for row in rows for name in row["ms"]}
    own = [each for each in CHOICES if names & {*candidates(True, each)}]
    rival = [each for each in CHOICES if names & {*candidates(False, each)}]
    return table(
        ["ours", *(f"rivals: {each}" for each in rival)],
        [
            [one, *(break_even.sentence(break_even.cells(rows, one, other)) for other in rival)]
            for one in own
        ],
    )
