"""Tables of targets: what was asked and reached, and every side's milliseconds."""

from __future__ import annotations

from typing import Any

from sact_core.benchmark.charts import SIDE_TITLES
from sact_core.benchmark.formats import candidates
from sact_core.benchmark.markdown import Software, table, where
from sact_core.benchmark.sides import SIDES
from sact_core.benchmark.targets import Reached, reached

Row = dict[str, Any]

#: Most seconds that scales of a CIFAR network take.
CALIBRATION_BAR = 10.0

#: Verdicts that are not written as they are.
WORDS = {"missed": "**missed**", "partly": "**in one run only**", "unknown": "not measured"}

TEXT = (
    "Milliseconds for the whole batch, medians of turns taken A B A B …, each side in a process of "
    "its own; the fastest of ours and the fastest rival are bold. Weights are random; halting is "
    "steered so that blobs of positions go on. Number formats and threads were read back from "
    "every side. Sides in int8 are calibrated on the same images. Rows of one network that "
    "stand below each other are of separate runs, with the time at which each was done (UTC)."
)


def targets_table(values: dict[str, Any]) -> str:
    """The tables of targets, losing rows included."""
    rows = values["rows"]
    parts = ["# Three number formats beside what people deploy", where(values), TEXT]
    parts += ["## Targets", *_targets(values)]
    absent = {f"{SIDE_TITLES[name]}: {why}": None for row in rows for name, why in
              row.get("absent", {}).items()}  # fmt: skip
    parts += ["## Every side", _sides(rows)]
    parts += [f"Left out: {'; '.join(absent)}."] if absent else []
    return "\n\n".join(parts) + "\n"


def _targets(values: dict[str, Any]) -> list[str]:
    found = reached(values["rows"])
    verdicts = [each.verdict for each in found if each.verdict != "unknown"]
    runs = max([len(each.values) for each in found], default=1)
    lines = [_line(each, runs) for each in found]
    seconds = values.get("calibration", {}).get("seconds")
    if seconds is not None:
        verdicts.append("met" if seconds <= CALIBRATION_BAR else "missed")
        lines.append(
            ["seconds to find scales on 256 images", "ResNet-32, 32 px", "1", "–",
             f"≤ {CALIBRATION_BAR:g}", f"{seconds:.1f}", *[""] * (runs - 1),
             WORDS.get(verdicts[-1], verdicts[-1])]
        )  # fmt: skip
    return [
        f"{verdicts.count('met')} of {len(verdicts)} are met in every run that was made. *Over*, "
        "*times as fast*: how many times as long the other side took as ours, median over turns; "
        "*share*: that as a share of the FLOP ratio. Memory: the most while it runs, on top of "
        "packages.",
        table(
            ["target", "network", "threads", "FLOPs", "bar"]
            + [f"run {i}" for i in range(1, runs + 1)]
            + ["verdict"],
            lines,
        ),
    ]


def _line(each: Reached, runs: int) -> list[str]:
    target = each.target
    bar = f"{'≤ ' if target.at_most else ''}{target.bar:g}"
    bar += f", hoped {target.hope:g}" if target.hope is not None else ""
    values = ["–" if value is None else f"{value:.2f}" for value in each.values]
    return [
        *(target.title, each.title, str(each.threads), f"{each.ratio:.0%}", bar),
        *(values + [""] * (runs - len(values))),
        WORDS.get(each.verdict, each.verdict),
    ]


def _sides(rows: list[Row]) -> str:
    which = Software(rows)
    sides = [name for name in SIDES if any(name in row["ms"] for row in rows)]
    order = {row["case"]: i for i, row in reversed([*enumerate(rows)])}
    rows = sorted(
        rows, key=lambda row: (order[row["case"]], row["threads"], -row["ratio"], row["when"])
    )
    return table(
        [
            *("network", "threads", "FLOPs", "measured"),
            *(SIDE_TITLES[name] for name in sides),
            *which.head,
        ],
        [
            [
                *(row["title"], str(row["threads"]), f"{row['flops'] / row['dense_flops']:.0%}"),
                row["when"].removesuffix("+00:00").replace("T", " "),
                *_times(row, sides),
                *which.cell(row),
            ]
            for row in rows
        ],
    )


def _times(row: Row, sides: list[str]) -> list[str]:
    times = {name: f"{ms:.2f}" for name, ms in row["ms"].items()}
    for own in (True, False):
        names = [name for name in candidates(own) if name in times]
        if names:
            least = min(names, key=row["ms"].__getitem__)
            times[least] = f"**{times[least]}**"
    return [times.get(name, "") for name in sides]
