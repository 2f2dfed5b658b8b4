"""Rows of a measurement as Plotly charts, each a page of its own."""

from __future__ import annotations

import math
from typing import Any

from sact_core.benchmark import break_even
from sact_core.benchmark.sides import SIDES

Row = dict[str, Any]

SIDE_TITLES = {name: side.title for name, side in SIDES.items()}


def infer_chart(values: dict[str, Any]) -> str:
    """Speed-up over FLOP ratio: on the diagonal, saved FLOPs are saved time."""
    import plotly.graph_objects as go

    rows = values["rows"]
    figure = go.Figure()
    most = max([row["flop_ratio"] for row in rows] + [row["speedup"] for row in rows])
    figure.add_scatter(
        x=[0.9, most], y=[0.9, most], mode="lines", name="saved FLOPs = saved time",
        line={"dash": "dot", "color": "gray"}, hoverinfo="skip",
    )  # fmt: skip
    for title, threads in dict.fromkeys((row["title"], row["threads"]) for row in rows):
        line = [row for row in rows if (row["title"], row["threads"]) == (title, threads)]
        line.sort(key=lambda row: row["flop_ratio"])
        figure.add_scatter(
            x=[row["flop_ratio"] for row in line],
            y=[row["speedup"] for row in line],
            mode="lines+markers",
            name=f"{title}, {threads} thread{'s' if threads > 1 else ''}",
            customdata=[
                [row["ms"]["masked"], row["dense"], SIDE_TITLES[row["dense_side"]], row["share"]]
                for row in line
            ],
            hovertemplate=(
                "%{x:.2f} times fewer FLOPs, %{y:.2f} times as fast (%{customdata[3]:.0%})<br>"
                "masked %{customdata[0]:.2f} ms, %{customdata[2]} %{customdata[1]:.2f} ms"
            ),
        )
    figure.update_layout(
        title=_title("Masked inference against dense PyTorch", values),
        xaxis_title="dense FLOPs / FLOPs needed",
        yaxis_title="dense time / masked time",
        template="plotly_white",
        height=640,
    )
    return page(figure)


def maps(rows: list[Row]) -> list[list[Row]]:
    """Rows of every map by itself: one network, size and number of threads."""
    found: dict[tuple[str, int, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row["network"], row["side"], row["threads"]), []).append(row)
    return list(found.values())


def map_chart(values: dict[str, Any]) -> str:
    """The speed-up over the fastest rival by density and batch size, a heat map for each map."""
    from plotly.subplots import make_subplots

    found = maps(values["rows"])
    titles = [
        f"{rows[0]['network']}, {rows[0]['side']} px, {rows[0]['threads']} threads: "
        f"{break_even.sentence(break_even.cells(rows))}"
        for rows in found
    ]
    figure = make_subplots(rows=len(found), cols=1, subplot_titles=titles)
    for i, rows in enumerate(found, start=1):
        each = break_even.cells(rows)
        text = [
            f"{cell.speedup:.2f}" if cell.speedup >= 1 else f"{cell.speedup:.2f} loses"
            for cell in each
        ]
        figure.add_heatmap(
            x=[f"{cell.ratio:.0%}" for cell in each],
            y=[f"batch {cell.batch}" for cell in each],
            z=[math.log2(cell.speedup) for cell in each],
            text=text,
            texttemplate="%{text}",
            customdata=[[c.own, c.own_ms, c.rival, c.rival_ms, c.density] for c in each],
            hovertemplate=(
                "%{y}, %{customdata[4]:.0%} of the dense FLOPs: %{text}<br>"
                "%{customdata[0]} %{customdata[1]:.2f} ms, %{customdata[2]} %{customdata[3]:.2f} ms"
                "<extra></extra>"
            ),
            coloraxis="coloraxis",
            row=i,
            col=1,
        )
    figure.update_xaxes(type="category", title="FLOPs needed, of dense")
    figure.update_layout(
        title=_title("Where halting pays: times as fast as the fastest rival", values),
        coloraxis={
            "colorscale": "PuOr_r", "cmid": 0, "cmin": -1.5, "cmax": 1.5,
            "colorbar": {"title": "times as fast", "tickvals": [-1, 0, 1],
                         "ticktext": ["1/2", "1", "2"]},
        },
        template="plotly_white",
        height=160 + 320 * len(found),
    )  # fmt: skip
    return page(figure)


def family_chart(values: dict[str, Any]) -> str:
    """Milliseconds over MFLOPs of an image, every data set by itself."""
    import plotly.graph_objects as go

    figure = go.Figure()
    rows = sorted(values["rows"], key=lambda row: row["mflops"])
    for data, threads in dict.fromkeys((row["data"], row["threads"]) for row in rows):
        line = [row for row in rows if (row["data"], row["threads"]) == (data, threads)]
        for key, title in (("masked", "masked"), ("sact", "PyTorch eager")):
            figure.add_scatter(
                x=[row["mflops"] for row in line],
                y=[row["ms"][key] for row in line],
                text=[row["file"] for row in line],
                mode="lines+markers",
                name=f"{title}, {data}, {threads} thread{'s' if threads > 1 else ''}",
            )
    figure.update_layout(
        title=_title("Trained networks on test images", values),
        xaxis={"title": "MFLOPs of an image", "rangemode": "tozero"},
        yaxis={"title": "ms for an image", "rangemode": "tozero"},
        template="plotly_white",
    )
    return page(figure)


def halting_chart(values: dict[str, Any]) -> str:
    """Milliseconds of the halting rule by size and version."""
    import plotly.graph_objects as go

    figure, rows = go.Figure(), values["rows"]
    names = [f"{row['side']} x {row['side']}, {row['units']} units" for row in rows]
    for key, title in (("numba", "Numba"), ("numpy", "NumPy"), ("torch", "PyTorch")):
        figure.add_bar(x=names, y=[row["ms"][key] for row in rows], name=title)
    figure.update_layout(
        title=_title("The halting rule", values),
        yaxis={"title": "ms", "type": "log"},
        template="plotly_white",
    )
    return page(figure)


def _title(text: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"text": text, "subtitle": {"text": values["machine"]["hardware"]}}


def page(figure: Any) -> str:
    """The page of a figure, with plotly.js inside."""
    # With plotly.js inside, so that the page is drawn offline too.
    text: str = figure.to_html(include_plotlyjs=True, full_html=True, div_id="chart")
    return text
