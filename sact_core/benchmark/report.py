"""Results of a measurement as JSON, tables in Markdown and a Plotly chart.

What is derived from measured numbers (speed-up, share, whether a bar is met) is
derived here, anew each time, so that ``python -m sact_core.benchmark report``
renders stored results by the rules of today.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sact_core.benchmark import charts
from sact_core.benchmark.accuracy_table import accuracy_chart, accuracy_table
from sact_core.benchmark.charts import SIDE_TITLES
from sact_core.benchmark.infer import judge
from sact_core.benchmark.machine import read_results
from sact_core.benchmark.map_table import map_table
from sact_core.benchmark.markdown import Software, commands, table, where
from sact_core.benchmark.rivals import Standing, ours, standings
from sact_core.benchmark.targets_table import targets_table
from sact_core.files import written_beside

Row = dict[str, Any]
Values = dict[str, Any]

#: Sides that have a column wherever they were measured or not.
OLDEST = ("masked", "vanilla", "compiled", "frozen", "sact")


def write_results(path: Path, values: Values) -> None:
    """Write results as JSON, and beside it as Markdown and, most of them, a chart.

    Parameters
    ----------
    path : Path
        From `machine.results_path`; the first word of its name says what it holds.
    values : dict
        ``machine`` from `machine.machine`, and ``rows``, each with ``software``
        from `machine.software`.

    Raises
    ------
    ValueError
        If nothing of that name is measured here.
    """
    what = path.name.partition("-")[0]
    if what not in TABLES:
        raise ValueError(f"{path} must begin with one of {', '.join(TABLES)}")
    if what == "infer":
        values = {**values, "rows": [judge(row) for row in values["rows"]]}
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, json.dumps(values, indent=1) + "\n")
    _write(path.with_suffix(".md"), TABLES[what](values))
    if what in CHARTS and values["rows"]:
        _write(path.with_suffix(".html"), _with_origin(CHARTS[what](values), values["rows"]))


def render_again(folder: Path) -> list[Path]:
    """Render all results of a folder again from their JSON files; give these.

    Parameters
    ----------
    folder : Path
        Where results lie.

    Raises
    ------
    ValueError
        If there are none, or a file holds no results or damaged ones.
    """
    paths = sorted(path for what in TABLES for path in folder.glob(f"{what}-*.json"))
    if not paths:
        raise ValueError(f"{folder} holds no results: no {'-*.json, '.join(TABLES)}-*.json")
    for path in paths:
        values = read_results(path)
        try:
            write_results(path, values)
        except OSError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as e:
            reason = f"it lacks {e}" if isinstance(e, KeyError) else str(e)
            raise ValueError(f"{path} is damaged: its rows cannot be told ({reason})") from None
    return paths


def infer_table(values: Values) -> str:
    """The tables of masked inference, losing rows included."""
    rows = values["rows"]
    measured = {side for row in rows for side in row["ms"]}
    sides = tuple(side for side in SIDE_TITLES if side in measured or side in OLDEST)
    which = Software(rows)
    parts = [
        "# Masked inference against dense PyTorch",
        where(values),
        "Milliseconds for the whole batch, medians of turns taken A B A B …, each side in a "
        "process of its own. The dense side (bold) is the network without halting in PyTorch, "
        "the fastest of eager mode (channels last), `torch.compile`, and `torch.compile` with "
        "frozen weights; the speed-up is dense over masked. *Share* is the speed-up as a share "
        "of the FLOP ratio, dense FLOPs over the FLOPs that the masked network needed; *share, "
        "unfrozen* is the same against the faster of eager mode and `torch.compile`, which keep "
        "the weights as they were trained. A bar is *met* against all three, *met unfrozen* "
        "against these two only. The masked side computes its halting too. Weights are random; "
        "halting is steered so that blobs of positions go on (see `sact_core/benchmark/steer.py`).",
        table(
            [
                *("network", "threads", "FLOPs", *(SIDE_TITLES[side] for side in sides)),
                *("speed-up", "FLOP ratio", "share", "share, unfrozen", "bar", *which.head),
            ],
            [_infer_row(row, sides) + which.cell(row) for row in rows],
        ),
        *rivals_section(rows),
        "## Growth: time per active position",
        "Nanoseconds for one position of one residual unit, halo, stem and head included. "
        "Only sizes measured at the same revision stand in one line.",
        growth_table(rows),
        "## Memory",
        "Most memory that a process held at full depth, MiB, and how much of it came on top of "
        "packages and compiled kernels.",
        memory_table(rows),
    ]
    start = values.get("start")
    if start:
        parts += [
            "## Start",
            f"From the import of the engine to its first result (ResNet-32, one image): "
            f"{start['first']:.1f} s with an empty cache of compiled kernels, "
            f"{start['second']:.2f} s from then on (revision {start['software']['revision']}).",
        ]
    return "\n\n".join(parts) + "\n"


def rivals_section(rows: list[Row]) -> list[str]:
    """Every side by itself, where rows say how their sides computed."""
    which = Software(rows)
    joules = any("joules" in row for row in rows)
    owns = list(dict.fromkeys(own for row in rows if "sides" in row for own in ours(row)))
    lines = [
        [
            *(row["title"], str(row["threads"]), f"{row['flops'] / row['dense_flops']:.0%}"),
            *(SIDE_TITLES[each.name], each.number_format, str(each.threads), f"{each.ms:.2f}"),
            *([] if not joules else [f"{each.joules:.3f}" if each.joules is not None else ""]),
            f"{each.change:.1e}",
            *(cell for own in owns for cell in _against(each, own)),
            *which.cell(row),
        ]
        for row in rows
        for each in standings(row)
    ]
    if not lines:
        return []
    head = ["network", "threads", "FLOPs", "side", "numbers", "its threads", "ms"]
    head += ["J", "change"] if joules else ["change"]
    head += [word for own in owns for word in (f"over {SIDE_TITLES[own]}", "share")]
    absent = {
        f"{SIDE_TITLES[name]}: {reason}": None
        for row in rows
        for name, reason in row.get("absent", {}).items()
    }
    return [
        "## Every rival by itself",
        "Number format and threads are what each side says of itself. *Change* is the largest "
        "difference of a logit from PyTorch's in float32, as a share of the largest logit. "
        "*Over masked*: its time over that of the masked engine, medians of turns; *share*: "
        "that as a share of the FLOP ratio. What computes the network without halting in float32 "
        "counts as a dense side above, whatever it is of."
        + (" *J*: energy of the processor for one run, all else that ran included." * joules),
        table([*head, *which.head], lines),
        *([f"Left out: {'; '.join(absent)}."] if absent else []),
    ]


def _against(each: Standing, own: str) -> list[str]:
    """How many times as long a side took as one that is ours, and that as a share."""
    speedup = each.speedups.get(own)
    if speedup is None:
        return ["", ""]
    return [f"{speedup:.2f}", "" if each.flop_ratio is None else f"{speedup / each.flop_ratio:.3f}"]


def growth_table(rows: list[Row]) -> str:
    """Time per active position at every size of a network, side by side."""
    which = Software(rows)
    lines: dict[tuple[str, int, float, tuple[str, ...]], dict[int, float]] = {}
    for row in rows:
        if row["batch"] == 1 and row["side"] > 32:
            name = row["title"].split(",")[0]
            key = (name, row["threads"], row["ratio"], tuple(which.cell(row)))
            lines.setdefault(key, {})[row["side"]] = 1e6 * row["ms"]["masked"] / row["positions"]
    sides = sorted({side for line in lines.values() for side in line})
    return table(
        ["network", "threads", "FLOPs", *(f"{side} px" for side in sides), *which.head],
        [
            [key[0], str(key[1]), f"{key[2]:.0%}"]
            + [f"{line[side]:,.0f}" if side in line else "" for side in sides]
            + list(key[3])
            for key, line in lines.items()
        ],
    )


def memory_table(rows: list[Row]) -> str:
    """Peak memory of the masked engine and of PyTorch."""
    both = ("masked", "vanilla")
    which = Software(rows)
    titles = [f"{SIDE_TITLES[side]}{of}" for of in ("", ", on top") for side in both]
    return table(
        ["network", "threads", *titles, *which.head],
        [
            [row["title"], str(row["threads"])]
            + [f"{row['memory'][side][0] / 2**20:,.0f}" for side in both]
            + [f"{(row['memory'][s][0] - row['memory'][s][1]) / 2**20:,.0f}" for s in both]
            + which.cell(row)
            for row in rows
            if row["ratio"] == 1 and set(both) <= set(row["memory"])
        ],
    )


def halting_table(values: Values) -> str:
    """The table of the halting rule."""
    which = Software(values["rows"])
    head = ["map", "units", "threads", "Numba", "NumPy", "PyTorch", "Numba over NumPy"]
    times = table(
        [*head, *which.head],
        [
            [f"{row['side']} x {row['side']}", str(row["units"]), str(row["threads"])]
            + [f"{row['ms'][name]:.3f}" for name in ("numba", "numpy", "torch")]
            + [f"{row['speedup']:.1f}", *which.cell(row)]
            for row in values["rows"]
        ],
    )
    text = [
        "# The halting rule",
        where(values),
        "Milliseconds for one map of random probabilities, checks of the input included; medians "
        "of turns taken A B A B ….",
        times,
    ]
    return "\n\n".join(text) + "\n"


def family_table(values: Values) -> str:
    """The tables of trained networks, one for every data set."""
    rows = sorted(values["rows"], key=lambda row: row["mflops"])
    which = Software(rows)
    parts = [
        "# Trained networks: milliseconds and MFLOPs of an image",
        where(values),
        "Means over the first images of a data set, run as one batch; medians of turns taken "
        "A B A B …, each side in a process of its own. *PyTorch* is the same network in eager "
        "mode.",
    ]
    for data, images in dict.fromkeys((row["data"], row["images"]) for row in rows):
        parts += [
            f"## {images} images of {data}",
            table(
                [
                    *("checkpoint", "network", "tau", "threads", "MFLOPs"),
                    *("masked ms", "PyTorch ms", *which.head),
                ],
                [
                    [
                        *(f"`{row['file']}`", row["network"]),
                        "–" if row["tau"] is None else f"{row['tau']:g}",
                        *(str(row["threads"]), f"{row['mflops']:.1f}"),
                        *(f"{row['ms']['masked']:.3f}", f"{row['ms']['sact']:.3f}"),
                        *which.cell(row),
                    ]
                    for row in rows
                    if (row["data"], row["images"]) == (data, images)
                ],
            ),
        ]
    return "\n\n".join(parts) + "\n"


def train_table(values: Values) -> str:
    """The table of training steps, or of whole runs."""
    rows = values["rows"]
    whole = {"epochs": ("epochs", 0), "s": ("seconds", 0), "accuracy": ("accuracy", 4)}
    whole |= {"MFLOPs": ("mflops", 1)}
    whole = whole if "epochs" in rows[0] else {}
    text = [
        "# Training steps, side by side",
        where(values),
        f"{values['network']}, batches of {rows[0]['batch_size']}, {rows[0]['threads']} "
        f"thread(s). {values.get('how', 'Ratios are medians over rounds of A B A B turns.')}",
        table(
            ["numbers", "step", "ms", "images/s", "x vanilla", *whole],
            [
                [
                    *("bfloat16" if row["amp"] == "bf16" else "float32", row["side"]),
                    *(f"{row['ms']:.1f}", f"{row['images_per_second']:.0f}"),
                    f"{row['ratio']:.3f}",
                    *(f"{row.get(name, math.nan):.{digits}f}" for name, digits in whole.values()),
                ]
                for row in rows
            ],
        ),
    ]
    return "\n\n".join(text) + "\n"


TABLES: dict[str, Callable[[Values], str]] = {
    "infer": infer_table,
    "family": family_table,
    "halting": halting_table,
    "train": train_table,
    "map": map_table,
    "targets": targets_table,
    "accuracy": accuracy_table,
}
CHARTS: dict[str, Callable[[Values], str]] = {
    "infer": charts.infer_chart,
    "family": charts.family_chart,
    "halting": charts.halting_chart,
    "map": charts.map_chart,
    "accuracy": accuracy_chart,
}


def _infer_row(row: Row, sides: tuple[str, ...]) -> list[str]:
    times = {name: f"{ms:.2f}" for name, ms in row["ms"].items()}
    times[row["dense_side"]] = f"**{times[row['dense_side']]}**"
    unfrozen = row["share_unfrozen"]
    verdict = ""
    if row["bar"] is not None:
        verdict = f"{row['bar']:.2f} "
        if row["share"] >= row["bar"]:
            verdict += "met"
        elif unfrozen is not None and unfrozen >= row["bar"]:
            verdict += "met unfrozen"
        else:
            verdict += "**missed**"
    return [
        *(row["title"], str(row["threads"]), f"{row['flops'] / row['dense_flops']:.0%}"),
        *(times.get(name, "") for name in sides),
        *(f"{row['speedup']:.2f}", f"{row['flop_ratio']:.2f}", f"{row['share']:.3f}"),
        "" if unfrozen is None else f"{unfrozen:.3f}",
        verdict,
    ]


def _with_origin(page: str, rows: list[Row]) -> str:
    """A page that says in its head by what it was measured; older rows do not say."""
    told = {
        "commands": commands(rows),
        "versions": sorted({row["version"] for row in rows if "version" in row}),
        "networks": {
            row["file"]: row["content_hash"]
            for row in rows
            if "content_hash" in row and "file" in row
        },
    }
    if not told["commands"]:
        return page
    said = html.escape(json.dumps(told))
    return page.replace("<head>", f'<head><meta name="description" content="{said}">', 1)


def _write(path: Path, text: str) -> None:
    with written_beside(path) as beside:
        beside.write_text(text)
