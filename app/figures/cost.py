"""What a run costs: FLOPs by block and unit, and the top predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from app.figures.style import BLUE, GREY, lay_out, si


def flops_by_block(
    names: Sequence[str], executed: np.ndarray, dense: np.ndarray, height: int | None = None
) -> go.Figure:
    """Draw what each part of the network spent, over what it would spend dense.

    Parameters
    ----------
    names : sequence of str
        Parts, first to last.
    executed, dense : np.ndarray [shape=(parts,), int64]
        FLOPs: two per multiply-add.
    height : int, optional
        In pixels.
    """
    figure = go.Figure()
    figure.add_bar(
        y=list(names),
        x=dense,
        orientation="h",
        name="dense network",
        marker={"color": GREY, "opacity": 0.35},
        width=0.72,
        customdata=[si(value) for value in dense],
        hovertemplate="%{y}<br>dense <b>%{customdata}FLOPs</b><extra></extra>",
    )
    share = executed / np.maximum(dense, 1)
    figure.add_bar(
        y=list(names),
        x=executed,
        orientation="h",
        name="this image",
        marker_color=BLUE,
        width=0.4,
        text=[f"{part:.0%}" for part in share],
        textposition="outside",
        cliponaxis=False,
        customdata=[si(value) for value in executed],
        hovertemplate="%{y}<br>this image <b>%{customdata}FLOPs</b><extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", fixedrange=True, title=None)
    figure.update_xaxes(
        fixedrange=True, title="FLOPs", range=[0, 1.12 * float(max(dense.max(), executed.max()))]
    )
    return lay_out(figure, height or 90 + 38 * len(names), barmode="overlay")


def predictions(names: Sequence[str], probabilities: np.ndarray, height: int | None = None):
    """Draw the most likely classes, most likely on top.

    Parameters
    ----------
    names : sequence of str
        Classes.
    probabilities : np.ndarray [shape=(classes,)]
        In [0, 1].
    height : int, optional
        In pixels.
    """
    figure = go.Figure()
    colours = [BLUE] + [GREY] * (len(names) - 1)
    figure.add_bar(
        y=list(names),
        x=probabilities,
        orientation="h",
        marker={"color": colours},
        width=0.62,
        text=[f"{value:.1%}" for value in probabilities],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}<br><b>%{x:.2%}</b><extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", fixedrange=True, title=None, type="category")
    figure.update_xaxes(range=[0, 1.18], fixedrange=True, visible=False)
    return lay_out(figure, height or 30 + 30 * len(names), showlegend=False)
