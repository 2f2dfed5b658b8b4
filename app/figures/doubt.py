"""Networks beside each other against people's doubt and their own errors, as Plotly figures.

What is drawn, and in which shades, is that of the command's figure (`sact_core.doubt.series`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from app.figures.style import CATEGORIES, GREY, lay_out, price_axis
from app.texts import figure_text
from sact_core.doubt.series import (
    NEVER,
    SCORES,
    Found,
    Group,
    by_people,
    calibration,
    spaced,
    value,
)

HEIGHT = 290
#: Share of the axis that a tick's label takes.
TICK_SHARE = 0.2
#: Names of more taus than this are pointed at and not in a legend, which would take the room.
MOST_NAMED = 4
#: An axis of shares with room for the label of its end, which Plotly leaves out else.
_SHARES = {"range": [0, 1.08], "dtick": 0.25, "tickformat": ".0%"}
_DASHES = ("solid", "dash", "dot")


def over_tau(
    parts: Sequence[Group],
    lines: Mapping[str, Sequence[str | int]],
    percent: bool = False,
    height: int = HEIGHT,
) -> go.Figure:
    """Draw values with intervals over tau, each network in its colour.

    Parameters
    ----------
    parts : sequence of Group
        Those that never halt are left out.
    lines : mapping of str to place
        As of `sact_core.doubt.series.OVER_TAU`, the first of them solid, the other dashed.
    percent : bool
        Whether the values are shares.
    height : int
        In pixels.
    """
    figure = go.Figure()
    halting = [part for part in parts if part.name != NEVER]
    taus = sorted({one["tau"] for part in halting for one in part.entries if one["tau"]})
    for part, colour in zip(halting, CATEGORIES, strict=False):
        for (name, place), dash in zip(lines.items(), _DASHES, strict=False):
            points = [(one["tau"], value(one, place)) for one in part.entries]
            known = [(tau, each) for tau, each in points if tau and each is not None]
            figure.add_scatter(
                x=[tau for tau, _ in known],
                y=[each[0] for _, each in known],
                error_y={
                    "array": [each[2] - each[0] for _, each in known],
                    "arrayminus": [each[0] - each[1] for _, each in known],
                    "thickness": 1.2,
                    "width": 3,
                },
                name=figure_text(part.name),
                legendgroup=part.name,
                showlegend=dash == _DASHES[0],
                mode="lines+markers",
                line={"color": colour, "width": 2, "dash": dash},
                marker={"size": 7, "symbol": "circle" if dash == "solid" else "circle-open"},
                hovertemplate="τ = %{x:g}<br><b>%{y" + (":.2%" if percent else ":.3f") + "}</b>"
                f"<extra>{figure_text(part.name)}: {name}</extra>",
            )
    ratio = (taus[-1] / taus[0]) ** TICK_SHARE if taus else 1.0
    price_axis(figure, spaced(taus, ratio))
    figure.update_yaxes(fixedrange=True, tickformat=".0%" if percent else None)
    return lay_out(figure, height, showlegend=True)


def doubted(
    part: Group, limits: tuple[float, float] | None = None, height: int = HEIGHT
) -> go.Figure:
    """Draw means over groups of images by people's entropy, over the mean, with bands.

    Parameters
    ----------
    part : Group
    limits : tuple of float, optional
        Of the axis, so that networks compare.
    height : int
        In pixels.
    """
    figure = go.Figure()
    for one, label, colour in _lines(part):
        x, (mean, low, high), counts = by_people(one, part.measure)
        figure.add_scatter(
            x=[*x, *reversed(x)],
            y=[*high, *reversed(low)],
            mode="lines",
            fill="toself",
            fillcolor=_pale(colour),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=label,
        )
        figure.add_scatter(
            x=x,
            y=mean,
            customdata=counts,
            name=label,
            legendgroup=label,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            hovertemplate="%{x:.2f} bits<br><b>%{y:.3f}</b> of the mean<br>%{customdata} images"
            "<extra>%{fullData.name}</extra>",
        )
    what = "ponder cost" if part.measure == "ponder_cost" else "softmax entropy"
    figure.update_xaxes(title="entropy of people's answers, bits", fixedrange=True)
    figure.update_yaxes(title=f"{what}, of its mean", fixedrange=True, range=limits)
    return lay_out(figure, height, showlegend=_named(part))


def limits(parts: Sequence[Group]) -> tuple[float, float]:
    """Least and most that bands of cost reach in any of some networks, with room around."""
    ends = [by_people(one, part.measure)[1] for part in parts for one in part.entries]
    low, high = min(min(each[1]) for each in ends), max(max(each[2]) for each in ends)
    room = 0.05 * (high - low)
    return low - room, high + room


def risk(part: Group, height: int = HEIGHT) -> go.Figure:
    """Draw how many answers are wrong among those that are given, by what decides on that."""
    figure = go.Figure()
    alone = len(part.entries) == 1
    for one, label, colour in _lines(part):
        errors = one["errors"]
        scores = [name for name in SCORES if name in errors["risk"]]
        scores = scores if alone else [name for name in scores if name != "both"]
        for i, name in enumerate(scores):
            figure.add_scatter(
                x=errors["coverage"],
                y=errors["risk"][name],
                name=SCORES[name] if alone else label,
                legendgroup=label,
                showlegend=alone or i == 0,
                mode="lines",
                line={
                    "color": CATEGORIES[i] if alone else colour,
                    "width": 2,
                    "dash": _DASHES[list(SCORES).index(name)],
                },
                hovertemplate="%{x:.0%} answered<br><b>%{y:.2%}</b> wrong<extra>"
                + (SCORES[name] if alone else f"{label}, {SCORES[name]}")
                + "</extra>",
            )
    figure.update_xaxes(title="coverage: images answered", fixedrange=True, **_SHARES)
    figure.update_yaxes(title="wrong among them", tickformat=".0%", fixedrange=True)
    return lay_out(figure, height, showlegend=alone or _named(part))


def reliability(part: Group, height: int = HEIGHT) -> go.Figure:
    """Draw how often answers are right, by how sure the network is of them."""
    figure = go.Figure()
    alone = len(part.entries) == 1
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GREY, "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    for one, label, colour in _lines(part):
        for i, (name, bins) in enumerate(calibration(one, fifths=alone).items()):
            figure.add_scatter(
                x=[each["confidence"] for each in bins],
                y=[each["accuracy"] for each in bins],
                customdata=[each["count"] for each in bins],
                name=name if alone else label,
                mode="lines+markers",
                line={"color": CATEGORIES[i] if alone else colour, "width": 2},
                hovertemplate="sure of %{x:.1%}<br><b>%{y:.1%}</b> right<br>%{customdata} images"
                "<extra>%{fullData.name}</extra>",
            )
    figure.update_xaxes(title="how sure it is", fixedrange=True, **_SHARES)
    figure.update_yaxes(title="right", tickformat=".0%", fixedrange=True, range=[0, 1.04])
    return lay_out(figure, height, showlegend=alone or _named(part))


def _lines(part: Group) -> list[tuple[Found, str, str]]:
    labels = [figure_text(label) for label in part.labels]
    return list(zip(part.entries, labels, part.colours, strict=True))


def _named(part: Group) -> bool:
    return 1 < len(part.entries) <= MOST_NAMED or part.name == NEVER


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.15)"
