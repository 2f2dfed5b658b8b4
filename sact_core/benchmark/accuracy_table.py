"""Accuracy against milliseconds, as a table and as a chart."""

from __future__ import annotations

from typing import Any

from sact_core.benchmark.charts import SIDE_TITLES, page
from sact_core.benchmark.cheapest import front, points_of_rows, sentence, title
from sact_core.benchmark.formats import candidates
from sact_core.benchmark.markdown import Software, table, where

Row = dict[str, Any]

TEXT = (
    "Accuracy is counted from each side's own answers; rivals compute the network without "
    "halting. Sides in int8 find their scales on the same training images. Milliseconds for an "
    "image, medians of turns taken A B A B …, each side in a process of its own. Bold: no other "
    "row is both faster and more accurate."
)

#: Marks of charts: ours and rivals', by number format.
COLOURS = {"float32": "#7b7b7b", "bfloat16": "#d95f02", "int8": "#1f78b4"}


def groups(rows: list[Row]) -> list[list[Row]]:
    """Rows with times that may be compared: same images, threads and batch, fastest first."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if "ms" in row:
            key = row["data"], row["count"], row["threads"], row["batch"]
            found.setdefault(key, []).append(row)
    return [sorted(each, key=lambda row: row["ms"]) for each in found.values()]


def heading(rows: list[Row]) -> str:
    """What the rows of a group have in common."""
    first = rows[0]
    threads = f"{first['threads']} thread{'s' * (first['threads'] > 1)}"
    return f"{first['count']:,} images of {first['data']}, batch {first['batch']}, {threads}"


def accuracy_table(values: dict[str, Any]) -> str:
    """The tables of every group, each with the sentence that it comes to."""
    rows = values["rows"]
    which = Software(rows)
    parts = ["# Accuracy against milliseconds", where(values), TEXT]
    for each in groups(rows):
        points = points_of_rows(each)
        best = {id(point) for point in front(points)}
        parts += [
            f"## {heading(each)}",
            f"**{sentence(points)}**",
            table(
                ["network", "side", "numbers", "accuracy", "MFLOPs", "ms an image", *which.head],
                [
                    [
                        *(title(row["network"], row["tau"]), SIDE_TITLES[row["side"]]),
                        *(row["number_format"], f"{row['accuracy']:.2%}", f"{row['mflops']:.1f}"),
                        f"**{row['ms']:.3f}**" if id(point) in best else f"{row['ms']:.3f}",
                        *which.cell(row),
                    ]
                    for row, point in zip(each, points, strict=True)
                ],
            ),
        ]
    return "\n\n".join(parts) + "\n"


def accuracy_chart(values: dict[str, Any]) -> str:
    """Accuracy over milliseconds: ours on lines of falling tau, rivals beside them."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    found = groups(values["rows"])
    titles = [f"{heading(rows)}<br>{_wrapped(sentence(points_of_rows(rows)))}" for rows in found]
    figure = make_subplots(rows=max(len(found), 1), cols=1, subplot_titles=titles)
    own = candidates(own=True)
    for i, rows in enumerate(found, start=1):
        lines: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            lines.setdefault((row["side"], row["file"]), []).append(row)
        for (side, _), line in lines.items():
            figure.add_trace(
                go.Scatter(
                    x=[row["ms"] for row in line],
                    y=[100 * row["accuracy"] for row in line],
                    mode="lines+markers" if line[0]["halts"] else "markers",
                    name=f"{line[0]['network']}, {SIDE_TITLES[side]}",
                    text=[title(row["network"], row["tau"]) for row in line],
                    marker={
                        "size": 10,
                        "symbol": ("circle" if line[0]["halts"] else "square")
                        + ("" if side in own else "-open"),
                    },
                    line={"color": COLOURS[line[0]["number_format"]]},
                    hovertemplate=f"%{{text}}, {SIDE_TITLES[side]}<br>%{{y:.2f}} %, %{{x:.3g}} ms"
                    "<extra></extra>",
                ),
                row=i,
                col=1,
            )
    figure.update_xaxes(type="log", title="ms for an image")
    figure.update_yaxes(title="accuracy, %")
    figure.update_annotations(font_size=13)
    figure.update_layout(
        margin={"t": 190},
        title={
            "text": "Accuracy against milliseconds: filled is ours, circles halt",
            "subtitle": {"text": values["machine"]["hardware"]},
            "y": 0.97,
            "yanchor": "top",
        },
        template="plotly_white",
        height=260 + 560 * len(found),
    )
    return page(figure)


def _wrapped(text: str) -> str:
    """A sentence on two lines of a title."""
    return text.replace("; ", ";<br>", 1)
