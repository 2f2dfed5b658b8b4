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


def distribution(weights: np.ndarray, num_units: int, height: int = 220) -> go.Figure:
    """Draw the halting distribution: the weight of each unit's output.

    Parameters
    ----------
    weights : np.ndarray [shape=(units,)]
        Sums to 1.
    num_units : int
        Units that ran; the last of them takes the remainder.
    height : int
        In pixels.
    """
    number = np.arange(1, len(weights) + 1)
    figure = go.Figure()
    figure.add_bar(
        x=number,
        y=weights,
        marker_color=[
            ORANGE if n == num_units else BLUE if n < num_units else GREY for n in number
        ],
        width=0.62,
        text=[f"{value:.2f}" if value else "" for value in weights],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="unit %{x}<br>weight <b>%{y:.4f}</b><extra></extra>",
    )
    figure.update_xaxes(dtick=1, fixedrange=True, title="unit")
    figure.update_yaxes(range=[0, 1.15], fixedrange=True, title="weight p", dtick=0.5)
    return lay_out(figure, height, showlegend=False)


def gradient(slopes: np.ndarray, height: int = 220) -> go.Figure:
    """Draw the slope of the ponder cost in every halting score.

    Parameters
    ----------
    slopes : np.ndarray [shape=(units - 1,)]
    height : int
        In pixels.
    """
    number = np.arange(1, len(slopes) + 1)
    figure = go.Figure()
    figure.add_bar(
        x=number,
        y=slopes,
        marker_color=BLUE,
        width=0.5,
        hovertemplate="unit %{x}<br>slope <b>%{y:g}</b><extra></extra>",
    )
    figure.update_xaxes(dtick=1, fixedrange=True, title="unit", range=[0.5, len(slopes) + 1.5])
    figure.update_yaxes(range=[-1.15, 0.2], fixedrange=True, title="∂ρ / ∂h", dtick=1)
    return lay_out(figure, height, showlegend=False)


def cost_against_score(
    scores: np.ndarray, costs: np.ndarray, now: float, unit: int, height: int = 220
) -> go.Figure:
    """Draw the ponder cost over one unit's score, all others held.

    Parameters
    ----------
    scores, costs : np.ndarray [shape=(n,)]
        The curve.
    now : float
        The score as it is.
    unit : int
        Its unit, from 1.
    height : int
        In pixels.
    """
    figure = go.Figure()
    jumps = np.flatnonzero(np.abs(np.diff(costs)) > 0.2) + 1
    figure.add_scatter(
        x=np.insert(scores.astype(float), jumps, scores[jumps]),
        y=np.insert(costs.astype(float), jumps, np.nan),  # a jump is no slope
        mode="lines",
        line={"color": BLUE, "width": 2},
        hovertemplate="score %{x:.3f}<br>ponder cost <b>%{y:.3f}</b><extra></extra>",
    )
    nearest = int(np.abs(scores - now).argmin())
    figure.add_scatter(
        x=[now],
        y=[costs[nearest]],
        mode="markers",
        marker={"color": ORANGE, "size": 11, "line": {"width": 2, "color": "white"}},
        hovertemplate="now %{x:.3f}<br>ponder cost <b>%{y:.3f}</b><extra></extra>",
    )
    figure.update_xaxes(title=f"halting score of unit {unit}", range=[-0.02, 1.02], fixedrange=True)
    figure.update_yaxes(title="ponder cost ρ", fixedrange=True)
    return lay_out(figure, height, showlegend=False)
