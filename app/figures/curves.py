"""Curves and distributions: accuracy against FLOPs, over tau, over images, over epochs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from app.figures.style import BLUE, CATEGORIES, GREY, ORANGE, RED, lay_out, price_axis, si
from app.texts import figure_text
from sact_core.figure.split import BINS, tenths

#: Leading digits of round numbers, and the least gap between two in decades.
ROUND = {(1, 2, 5): math.log10(2), (1, 3): math.log10(3)}

#: Up to so many labels are all shown.
FEW_LABELS = 6

#: Shares of the axis of FLOPs that a label takes on a phone: of few and of many, which
#: have more digits.
FEW_ROOM, MANY_ROOM = 0.1, 0.14

#: Share of the axis that a label of a small plot on a phone takes.
LABEL_SHARE = 0.14


@dataclass(frozen=True)
class Point:
    """A network on the plot of accuracy against FLOPs.

    Attributes
    ----------
    group : str
        Networks of one group are joined by a line.
    label : str
        Told where it is pointed at.
    flops, std : float
        Mean and spread over images; spread 0 where it is unknown.
    accuracy : float
        In [0, 1].
    line : bool
        Whether the group is joined.
    short : str
        Beside the point; its label where empty.
    """

    group: str
    label: str
    flops: float
    accuracy: float
    std: float = 0.0
    line: bool = True
    short: str = ""


def accuracy_against_flops(
    points: Sequence[Point], chosen: str = "", height: int = 420
) -> go.Figure:
    """Draw networks by what they cost and how often they are right.

    Labels stand above the first group and below what is not joined; those of other
    curves, which would cover one another, are read by pointing.

    Parameters
    ----------
    points : sequence of Point
    chosen : str
        Label of the point that is framed.
    height : int
        In pixels.
    """
    figure = go.Figure()
    groups = list(dict.fromkeys(point.group for point in points))
    colours = [*CATEGORIES]
    symbols = itertools.cycle(("diamond", "star", "square"))
    flops = [point.flops for point in points]
    span = max(flops) - min(flops) if flops else 0.0
    for i, group in enumerate(groups):
        own = sorted((p for p in points if p.group == group), key=lambda p: p.flops)
        joined = own[0].line
        told = i == 0 or not joined
        texts, places = _labels(own, span, "top" if joined else "bottom")
        figure.add_scatter(
            x=[p.flops for p in own],
            y=[p.accuracy for p in own],
            # Pale, so that labels that a bar crosses are read.
            error_x={
                "array": [p.std for p in own],
                "thickness": 1.2,
                "width": 4,
                "color": _pale(colours[i % len(colours)]),
            },
            name=figure_text(group),
            mode=("lines+markers" if joined else "markers") + ("+text" if told else ""),
            text=texts,
            textposition=places,
            textfont={"size": 11},
            cliponaxis=False,
            marker={
                "size": [15 if p.label == chosen else 9 for p in own],
                "symbol": "circle" if joined else next(symbols),
                "color": colours[i % len(colours)],
                "line": {"width": [3 if p.label == chosen else 0 for p in own], "color": ORANGE},
            },
            line={"width": 2},
            customdata=[[si(p.flops), si(p.std), figure_text(p.label)] for p in own],
            hovertemplate="<b>%{customdata[2]}</b><br>%{y:.2%} right<br>%{customdata[0]}FLOPs "
            "± %{customdata[1]}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="FLOPs an image, mean and standard deviation", fixedrange=True)
    figure.update_yaxes(title="right", tickformat=".1%", fixedrange=True)
    return lay_out(figure, height)


def over_tau(
    taus: Sequence[float],
    values: Sequence[float],
    title: str,
    chosen: float | None = None,
    reference: tuple[float, str] | None = None,
    height: int = 230,
    others: tuple[Sequence[float], Sequence[float], str] | None = None,
    tozero: bool = True,
) -> go.Figure:
    """Draw a value of one image over tau.

    Parameters
    ----------
    taus, values : sequence of float
        One per network, tau rising.
    title : str
        Of the axis.
    chosen : float, optional
        Tau that is framed.
    reference : tuple of float and str, optional
        A level to draw, and its name.
    height : int
        In pixels.
    others : tuple of taus, values and str, optional
        More points without a line, and their name.
    tozero : bool
        Whether the axis begins at 0.
    """
    figure = go.Figure()
    small = 8 if len(taus) <= 12 else 0  # many points are a line
    figure.add_scatter(
        x=list(taus),
        y=list(values),
        name="this network",
        mode="lines+markers",
        line={"color": BLUE, "width": 2},
        marker={
            "size": [14 if tau == chosen else small for tau in taus],
            "line": {"width": [3 if tau == chosen else 0 for tau in taus], "color": ORANGE},
        },
        hovertemplate="τ = %{x:g}<br><b>%{y:.4s}</b><extra></extra>",
    )
    if others is not None:
        figure.add_scatter(
            x=list(others[0]),
            y=list(others[1]),
            name=others[2],
            mode="markers",
            marker={"color": RED, "size": 8, "symbol": "diamond"},
            hovertemplate="τ = %{x:g}<br><b>%{y:.4s}</b><extra>" + others[2] + "</extra>",
        )
    if reference is not None:
        figure.add_hline(
            y=reference[0],
            line={"color": GREY, "width": 1, "dash": "dash"},
            annotation={"text": reference[1], "font": {"size": 11}},
            annotation_position="top right",
        )
    price_axis(figure, _ticks(taus))
    figure.update_yaxes(title=title, fixedrange=True, rangemode="tozero" if tozero else "normal")
    return lay_out(figure, height, showlegend=others is not None)


def cost_histogram(
    flops: np.ndarray, right: np.ndarray, dense: float, height: int = 280
) -> go.Figure:
    """Draw how many images cost how much, right and wrong apart.

    Parameters
    ----------
    flops : np.ndarray [shape=(n,), int64]
    right : np.ndarray [shape=(n,), bool]
    dense : float
        FLOPs if every unit ran.
    height : int
        In pixels.
    """
    figure = go.Figure()
    ends = np.histogram_bin_edges(flops, BINS)
    for name, chosen, colour in (("right", right, BLUE), ("wrong", ~right, RED)):
        counts, _ = np.histogram(flops[chosen], ends)
        figure.add_bar(
            x=(ends[:-1] + ends[1:]) / 2,
            y=counts,
            width=np.diff(ends),
            name=name,
            marker_color=colour,
            hovertemplate="%{x:.4s}FLOPs<br><b>%{y}</b> images " + name + "<extra></extra>",
        )
    figure.update_xaxes(title=f"FLOPs an image (dense: {si(dense)})", fixedrange=True)
    figure.update_yaxes(title="images", fixedrange=True)
    return lay_out(figure, height, barmode="stack", bargap=0)


def accuracy_by_cost(flops: np.ndarray, right: np.ndarray, height: int = 280) -> go.Figure:
    """Draw how often the network is right on cheap and on dear images, by tenths.

    Parameters
    ----------
    flops : np.ndarray [shape=(n,), int64]
    right : np.ndarray [shape=(n,), bool]
    height : int
        In pixels.
    """
    mean, share, count = tenths(flops, right)
    error = np.sqrt(share * (1 - share) / count)
    figure = go.Figure()
    figure.add_scatter(
        x=mean.tolist(),
        y=share,
        error_y={"array": error, "thickness": 1.2, "width": 4},
        mode="lines+markers",
        line={"color": BLUE, "width": 2},
        marker={"size": 8},
        customdata=count,
        hovertemplate="%{x:.4s}FLOPs<br><b>%{y:.1%}</b> of %{customdata} right<extra></extra>",
    )
    figure.update_xaxes(title="FLOPs an image, tenths of the images", fixedrange=True)
    figure.update_yaxes(title="right", tickformat=".0%", fixedrange=True)
    return lay_out(figure, height, showlegend=False)


def cost_by_class(
    names: Sequence[str], mean: np.ndarray, std: np.ndarray, share: np.ndarray, height: int = 320
) -> go.Figure:
    """Draw what the images of each class cost, dearest on top.

    Parameters
    ----------
    names : sequence of str
    mean, std : np.ndarray [shape=(classes,)]
        FLOPs.
    share : np.ndarray [shape=(classes,)]
        How many were right, in [0, 1].
    height : int
        In pixels.
    """
    order = np.argsort(mean)
    figure = go.Figure()
    figure.add_scatter(
        y=[figure_text(names[i]) for i in order],
        x=mean[order],
        mode="markers",
        marker={"color": BLUE, "size": 10},
        error_x={"array": std[order], "thickness": 1.2, "width": 4, "color": GREY},
        customdata=share[order],
        hovertemplate="<b>%{y}</b><br>%{x:.4s}FLOPs<br>%{customdata:.1%} right<extra></extra>",
    )
    figure.update_xaxes(title="FLOPs an image, mean and standard deviation", fixedrange=True)
    figure.update_yaxes(fixedrange=True, type="category", showgrid=True)
    return lay_out(figure, height, showlegend=False)


def training(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    percent: bool = False,
    height: int = 260,
    top: float | None = None,
) -> go.Figure:
    """Draw training curves over epochs.

    Parameters
    ----------
    series : mapping of str to pairs of epochs and values
    title : str
        Of the axis.
    percent : bool
        Whether values are shares.
    height : int
        In pixels.
    top : float, optional
        End of the axis, which then begins at 0.
    """
    figure = go.Figure()
    for i, (name, (epochs, values)) in enumerate(series.items()):
        figure.add_scatter(
            x=list(epochs),
            y=list(values),
            name=figure_text(name),
            mode="lines+markers" if len(epochs) < 40 else "lines",
            line={"width": 2, "color": CATEGORIES[i % len(CATEGORIES)]},
            marker={"size": 6},
            hovertemplate="epoch %{x:.4~g}<br><b>%{y"
            + (":.2%" if percent else ":.4g")
            + "}</b><extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="epoch", fixedrange=True)
    figure.update_yaxes(title=title, fixedrange=True, tickformat=".0%" if percent else None)
    if top is not None:
        figure.update_yaxes(range=[0, top])
    return lay_out(figure, height)


def _labels(own: Sequence[Point], span: float, where: str) -> tuple[list[str], list[str]]:
    """Labels of points, cheapest first, and their places, so that few meet.

    Of two that are near each other one stands to the left and one to the right; of
    many, those that are near the label before have none.
    """
    texts, places = [], []
    few, last = len(own) <= FEW_LABELS, -math.inf
    for i, point in enumerate(own):
        after = i > 0 and point.flops - own[i - 1].flops < FEW_ROOM * span
        before = i + 1 < len(own) and own[i + 1].flops - point.flops < FEW_ROOM * span
        shown = few or point.flops - last >= MANY_ROOM * span
        texts.append(figure_text(point.short or point.label) if shown else "")
        last = point.flops if shown else last
        side = "left" if before else "right"
        places.append(f"{where} {side if few and after != before else 'center'}")
    return texts, places


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.35)"


def _ticks(taus: Sequence[float]) -> list[float]:
    """Some of few taus, or round numbers between many: labels that do not meet."""
    if len(taus) > 12:
        low, high = min(taus), max(taus)
        decades = math.log10(high / low)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        digits = next(
            (digits for digits, gap in ROUND.items() if gap >= LABEL_SHARE * decades), (1,)
        )
        round_ones = [digit * 10.0**power for power in powers for digit in digits]
        within = [tau for tau in round_ones if 0.999 * low <= tau <= 1.001 * high]
        return within if len(within) > 1 else [low, high]
    room = LABEL_SHARE * math.log10(max(taus) / min(taus)) if len(taus) > 1 else 0.0
    shown: list[float] = []
    for tau in sorted(taus):
        if not shown or math.log10(tau / shown[-1]) >= room:
            shown.append(tau)
    return shown
