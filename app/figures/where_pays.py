"""Where halting pays: a heat map of speed-ups, and accuracy against milliseconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from app.figures.style import BLUE, GREY, ORANGE, colour_scale, lay_out
from app.texts import figure_text
from sact_core.benchmark.cheapest import Point
from sact_core.benchmark.sides import SIDES

#: Number formats have colours; ours is filled and a circle, rivals are open squares.
COLOURS = {"float32": GREY, "bfloat16": ORANGE, "int8": BLUE}


def paying(
    rows: Sequence[str], columns: Sequence[str], speedups: np.ndarray, told: Sequence[Sequence[str]]
) -> go.Figure:
    """Draw how many times as fast halting is, by batch size and density; what loses says so.

    Parameters
    ----------
    rows, columns : sequence of str
        Batch sizes and densities, for people.
    speedups : np.ndarray [shape=(rows, columns)]
        Time of the fastest rival over ours; above 0.
    told : sequence of sequence of str
        What is said of each cell when it is pointed at.
    """
    text = [
        [f"{value:.2f}" if value >= 1 else f"{value:.2f}<br>loses" for value in line]
        for line in speedups
    ]
    most = max(1.0, float(np.abs(np.log2(speedups)).max()))
    figure = go.Figure()
    figure.add_heatmap(
        x=list(columns),
        y=list(rows),
        z=np.log2(speedups),
        zmin=-most,
        zmax=most,
        colorscale=colour_scale("difference"),
        reversescale=True,  # orange loses, blue pays
        showscale=False,
        text=text,
        texttemplate="%{text}",
        customdata=[list(line) for line in told],
        hovertemplate="%{customdata}<extra></extra>",
        xgap=2,
        ygap=2,
    )
    figure.update_xaxes(type="category", title="FLOPs needed, of dense", fixedrange=True)
    figure.update_yaxes(type="category", title=None, fixedrange=True, autorange="reversed")
    return lay_out(figure, 100 + 58 * len(rows))


def accuracy_against_ms(points: Sequence[Point]) -> go.Figure:
    """Draw what is right against milliseconds for an image, ours and rivals, by number format.

    Parameters
    ----------
    points : sequence of Point
        Those of one side and network are joined where it halts.
    """
    figure = go.Figure()
    lines: dict[tuple[str, str, bool], list[Point]] = {}
    order = list(SIDES)
    for point in sorted(points, key=lambda each: (order.index(each.side), each.ms)):
        name = SIDES[point.side].title
        lines.setdefault((name, point.number_format, point.halts), []).append(point)
    for (name, number_format, halts), line in lines.items():
        own = line[0].own
        figure.add_scatter(
            x=[point.ms for point in line],
            y=[point.accuracy for point in line],
            mode="lines+markers" if halts else "markers",
            name=f"{name}, halting" if halts else name,
            marker={
                "symbol": "circle" if halts else "square" if own else "square-open",
                "size": 10,
                "color": COLOURS[number_format],
            },
            line={"width": 2, "color": COLOURS[number_format]},
            customdata=[figure_text(f"{point.network}, {name}") for point in line],
            hovertemplate="%{customdata}<br>%{y:.1%}, %{x:.3g} ms<extra></extra>",
        )
    figure.update_xaxes(type="log", title="ms an image", fixedrange=True, exponentformat="none")
    figure.update_yaxes(title="Accuracy", tickformat=".1%", fixedrange=True)
    return lay_out(figure, 540)
