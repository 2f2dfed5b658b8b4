"""The halting rule as figures: why a position stopped, and the rule step by step."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app.figures.style import BLUE, GREY, ORANGE, RED, lay_out


def why_stopped(
    halting_proba: np.ndarray, num_units: int, remainder: float, eps: float, height: int = 300
) -> go.Figure:
    """Draw why one position of one block stopped where it did.

    Every bar is a halting score, standing on the sum of those before it; the
    dashed line is what the sum has to reach; the narrow bar is the remainder,
    what was missing to 1 before the last unit that ran.

    Parameters
    ----------
    halting_proba : np.ndarray [shape=(units - 1,)]
        Score after each unit; NaN where the position had stopped before.
    num_units : int
        Units that ran.
    remainder : float
        Weight of the last unit that ran.
    eps : float
        Halting slack.
    height : int
        In pixels.
    """
    units = len(halting_proba) + 1
    scores = np.append(np.asarray(halting_proba, np.float64), np.nan)
    number = np.arange(1, units + 1)
    ran = number <= num_units
    read = ran & ~np.isnan(scores)
    cumsum = np.cumsum(np.where(read, np.nan_to_num(scores), 0.0))
    before = np.concatenate([[0.0], cumsum[:-1]])
    threshold = 1 - eps

    figure = go.Figure()
    figure.add_bar(
        x=number[read],
        y=scores[read],
        base=before[read],
        marker_color=BLUE,
        width=0.62,
        customdata=cumsum[read],
        hovertemplate="unit %{x}<br>halting score <b>%{y:.4f}</b><br>"
        "running sum <b>%{customdata:.4f}</b><extra></extra>",
    )
    figure.add_bar(
        x=[num_units],
        y=[remainder],
        base=[1 - remainder],
        marker={"color": ORANGE, "line": {"width": 0}},
        width=0.24,
        hovertemplate="unit %{x}<br>remainder <b>%{y:.4f}</b><extra></extra>",
    )
    figure.add_hline(
        y=threshold,
        line={"color": RED, "width": 1.5, "dash": "dash"},
        annotation={"text": f"1 − ε = {threshold:g}", "font": {"size": 12, "color": RED}},
        annotation_position="top left",
    )
    if not ran.all():
        figure.add_vrect(
            x0=num_units + 0.5,
            x1=units + 0.5,
            fillcolor=GREY,
            opacity=0.12,
            line_width=0,
            annotation={"text": "not run", "font": {"size": 11}},
            annotation_position="bottom right",
        )
    words = [
        f"{n}<br>{h:.2f}" if known else str(n)
        for n, h, known in zip(number, scores, read, strict=True)
    ]
    words[num_units - 1] = f"<b>{words[num_units - 1]}</b>"
    figure.update_xaxes(
        title=None,
        range=[0.5, units + 0.5],
        tickvals=number if units <= 12 else number[:: units // 6],
        ticktext=words if units <= 12 else number[:: units // 6],
        fixedrange=True,
        showgrid=False,
        zeroline=False,
    )
    # A sum beyond 1 - eps says no more than one that just reaches it.
    figure.update_yaxes(
        range=[0, 1.25], fixedrange=True, zeroline=False, tickvals=[0, 0.25, 0.5, 0.75, 1]
    )
    return lay_out(
        figure,
        height,
        barmode="overlay",
        showlegend=False,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )
