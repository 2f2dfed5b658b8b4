"""Where halting pays, as a heat map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from app.figures.style import colour_scale, lay_out


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
