"""What a run costs: FLOPs by block and unit, and the top predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from app.figures.style import BLOCKS, BLUE, GREY, ORANGE, colour_scale, lay_out, si
from app.texts import figure_text


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


def predictions(
    names: Sequence[str], probabilities: np.ndarray, height: int | None = None
) -> go.Figure:
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
    shown = [figure_text(name) for name in names]
    figure.add_bar(
        y=list(range(len(names))),  # two classes may have one name
        x=probabilities,
        orientation="h",
        marker={"color": colours},
        width=0.62,
        text=[f"{value:.1%}" for value in probabilities],
        textposition="outside",
        cliponaxis=False,
        customdata=shown,
        hovertemplate="%{customdata}<br><b>%{x:.2%}</b><extra></extra>",
    )
    figure.update_yaxes(
        autorange="reversed",
        fixedrange=True,
        title=None,
        tickvals=list(range(len(names))),
        ticktext=shown,
    )
    figure.update_xaxes(range=[0, 1.18], fixedrange=True, visible=False)
    return lay_out(figure, height or 30 + 30 * len(names), showlegend=False)


def active_share(
    units: Mapping[int, int], active: np.ndarray, stage: int, height: int = 260
) -> go.Figure:
    """Draw which share of positions every unit of the network works on.

    Parameters
    ----------
    units : mapping of int to int
        Units of each block that is shown, by its number.
    active : np.ndarray [shape=(units,)]
        In [0, 1], these blocks one after another.
    stage : int
        Unit that is framed, from 0.
    height : int
        In pixels.
    """
    figure = go.Figure()
    first = 0
    for i, (block, count) in enumerate(units.items()):
        number = np.arange(first, first + count)
        figure.add_bar(
            x=number + 1,
            y=active[number],
            name=f"Block {block}",
            marker={
                "color": BLOCKS[i % len(BLOCKS)],
                "opacity": [1.0 if n == stage else 0.55 for n in number],
                "line": {"width": [3 if n == stage else 0 for n in number], "color": ORANGE},
            },
            customdata=number - first + 1,
            hovertemplate=f"block {block}, unit %{{customdata}}<br><b>%{{y:.1%}}</b> of positions "
            "active<extra></extra>",
        )
        first += count
    figure.update_xaxes(
        title="unit, block after block", fixedrange=True, dtick=1 if first <= 15 else None
    )
    figure.update_yaxes(
        title="positions active", tickformat=".0%", range=[0, 1.03], fixedrange=True
    )
    return lay_out(figure, height, bargap=0.15)


def times(
    names: Sequence[str],
    seconds: Sequence[float],
    quartiles: Sequence[tuple[float, float]],
    height: int | None = None,
) -> go.Figure:
    """Draw how long each side took: medians, with whiskers from quartile to quartile.

    Parameters
    ----------
    names : sequence of str
        Sides.
    seconds : sequence of float
        Medians.
    quartiles : sequence of (float, float)
        The first and the third.
    height : int, optional
        In pixels.
    """
    figure = go.Figure()
    pairs = list(zip(seconds, quartiles, strict=True))
    most = 1000 * max(third for _, (_, third) in pairs)
    figure.add_bar(
        y=list(names),
        x=[1000 * value for value in seconds],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [1000 * (third - value) for value, (_, third) in pairs],
            "arrayminus": [1000 * (value - first) for value, (first, _) in pairs],
            "thickness": 1.5,
            "width": 5,
            "color": ORANGE,
        },
        orientation="h",
        marker_color=[BLUE] + [GREY] * (len(names) - 1),
        width=0.55,
        customdata=[(1000 * first, 1000 * third) for _, (first, third) in pairs],
        hovertemplate="%{y}<br><b>%{x:.2f} ms</b><br>quartiles %{customdata[0]:.2f} and "
        "%{customdata[1]:.2f}<extra></extra>",
    )
    for name, (value, (_, third)) in zip(names, pairs, strict=True):
        figure.add_annotation(
            x=1000 * third,
            y=name,
            text=f"{1000 * value:.1f} ms",
            xanchor="left",
            xshift=8,
            showarrow=False,
        )
    figure.update_yaxes(autorange="reversed", fixedrange=True, title=None)
    figure.update_xaxes(range=[0, 1.3 * most], fixedrange=True, visible=False)
    return lay_out(figure, height or 34 + 34 * len(names), showlegend=False)


def treemap(
    names: Sequence[str],
    parents: Sequence[str],
    labels: Sequence[str],
    dense: np.ndarray,
    executed: np.ndarray,
    unit: str = "FLOPs",
    height: int = 460,
) -> go.Figure:
    """Draw the network as a treemap: area is the dense cost, colour the share executed.

    Parameters
    ----------
    names, parents : sequence of str
        The tree; the root's parent is empty.
    labels : sequence of str
        As shown.
    dense, executed : np.ndarray [shape=(parts,), int64]
        A part's cost is the sum of its children's.
    unit : str
        What is counted.
    height : int
        In pixels.
    """
    share = executed / np.maximum(dense, 1)
    figure = go.Figure(
        go.Treemap(
            ids=list(names),
            parents=list(parents),
            labels=list(labels),
            values=dense,
            branchvalues="total",
            maxdepth=3,
            sort=False,
            marker={
                "colors": share,
                "colorscale": colour_scale("viridis"),
                "cmin": 0,
                "cmax": 1,
                "colorbar": {
                    "title": {"text": "executed", "side": "top"},
                    "tickformat": ".0%",
                    "thickness": 10,
                    "len": 0.9,
                    "outlinewidth": 0,
                },
                "line": {"width": 1},
                "pad": {"t": 22, "l": 2, "r": 2, "b": 2},
            },
            text=[f"{part:.0%}" for part in share],
            textinfo="label+text",
            customdata=[[si(e), si(d), p] for e, d, p in zip(executed, dense, share, strict=True)],
            hovertemplate="<b>%{id}</b><br>executed %{customdata[0]}"
            + unit
            + " (%{customdata[2]:.1%})<br>dense %{customdata[1]}"
            + unit
            + "<extra></extra>",
            pathbar={"visible": True, "thickness": 22},
            tiling={"packing": "squarify", "pad": 2},
        )
    )
    return lay_out(figure, height, margin={"l": 0, "r": 0, "t": 4, "b": 0})


def units(
    names: Sequence[str],
    dense: np.ndarray,
    executed: np.ndarray,
    milliseconds: np.ndarray | None = None,
    unit: str = "FLOPs",
    height: int = 320,
) -> go.Figure:
    """Draw every unit's dense and executed cost, and how long it took.

    Parameters
    ----------
    names : sequence of str
        Units, first to last.
    dense, executed : np.ndarray [shape=(units,), int64]
    milliseconds : np.ndarray [shape=(units,)], optional
        Measured; an axis of its own on the right.
    unit : str
        What is counted.
    height : int
        In pixels.
    """
    figure = go.Figure()
    number = np.arange(1, len(names) + 1)
    figure.add_bar(
        x=number,
        y=dense,
        name="every position",
        marker={"color": GREY, "opacity": 0.35},
        customdata=list(names),
        hovertemplate="%{customdata}<br>dense <b>%{y:.4s}</b><extra></extra>",
    )
    figure.add_bar(
        x=number,
        y=executed,
        name="this image",
        marker_color=BLUE,
        width=0.5,
        customdata=list(names),
        hovertemplate="%{customdata}<br>this image <b>%{y:.4s}</b><extra></extra>",
    )
    if milliseconds is not None:
        figure.add_scatter(
            x=number,
            y=milliseconds,
            yaxis="y2",
            name="measured (right)",
            mode="lines+markers",
            line={"color": ORANGE, "width": 2},
            customdata=list(names),
            hovertemplate="%{customdata}<br><b>%{y:.3f} ms</b><extra></extra>",
        )
    figure.update_xaxes(title="unit, all blocks", fixedrange=True)
    figure.update_yaxes(title=unit, fixedrange=True, rangemode="tozero")
    return lay_out(
        figure,
        height,
        barmode="overlay",
        yaxis2={
            "overlaying": "y",
            "side": "right",
            "title": "milliseconds",
            "rangemode": "tozero",
            "showgrid": False,
            "fixedrange": True,
            "automargin": True,
            "tickmode": "auto",  # round numbers; by default those beside the left axis'
            "nticks": 6,
        },
    )
