"""The figure of what was found: cost over people's entropy, risk over coverage, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core.figure.curve import COLOURS, MARKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT_SIZE = 7.5
#: Networks and taus that one panel has room for.
MOST_LINES = 6
#: Images that a point of the reliability diagram stands for at least.
LEAST_IN_BIN = 20
_RISKS = {"ponder_cost": "by cost", "unsure": "by confidence", "both": "by both", "ideal": "ideal"}
_DASHES = {"ponder_cost": "-", "unsure": "--", "both": ":", "ideal": "-."}


def draw_to(
    path: Path, found: Sequence[Mapping[str, Any]], width: float, about: Mapping[str, Any]
) -> None:
    """Write the figure, with its origin inside.

    Parameters
    ----------
    path : Path
        Its ending is one of `sact_core.figure.saving.FIGURES`.
    found : sequence of dict
        Of `sact_core.doubt.findings.find`, each with ``network`` and ``tau``.
    width : float
        In inches.
    about : mapping
        As of `sact_core.figure.saving.write_figure`.

    Raises
    ------
    ValueError
        If there are more networks than a panel has room for.
    OSError
        If it cannot be written.
    """
    from sact_core.figure.saving import style, write_figure

    check_room(len(found))
    with style(FONT_SIZE):
        write_figure(path, draw(found, width), about)


def check_room(count: int) -> None:
    """Refuse more networks than a panel has room for.

    Raises
    ------
    ValueError
        If there are.
    """
    if count > MOST_LINES:
        raise ValueError(f"a figure has room for {MOST_LINES} networks and taus, got {count}")


def draw(found: Sequence[Mapping[str, Any]], width: float) -> Figure:
    """Draw three panels; within `sact_core.figure.saving.style`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, 0.36 * width), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    for i, one in enumerate(found):
        _by_people(left, one, i)
    left.set_xlabel("people's entropy, bits (mean of a tenth of the images)")
    left.set_ylabel("ponder cost, of the network's mean")
    left.legend()
    _risk(middle, found[0])
    _calibration(right, found[0])
    for axes in (left, middle, right):
        axes.grid(alpha=0.3, linewidth=0.5)
    return figure


def _label(one: Mapping[str, Any]) -> str:
    name = str(one["network"]).removesuffix(" any tau")
    return name if one["tau"] is None else f"{name}, τ = {one['tau']:g}"


def _by_people(axes: Axes, one: Mapping[str, Any], i: int) -> None:
    what = "ponder_cost" if "ponder_cost" in one["by_people"][0] else "network_entropy"
    groups = one["by_people"]
    total = sum(g["images"] for g in groups)
    mean = sum(g["images"] * g[what][0] for g in groups) / total
    x = [g["people_entropy"][0] for g in groups]
    value, low, high = ([g[what][k] / mean for g in groups] for k in range(3))
    label = _label(one) + ("" if what == "ponder_cost" else " (softmax entropy)")
    colour = COLOURS[i % len(COLOURS)]
    axes.plot(x, value, color=colour, marker=MARKS[i], markersize=3, linewidth=1, label=label)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def _risk(axes: Axes, one: Mapping[str, Any]) -> None:
    errors = one["errors"]
    for i, (name, risk) in enumerate(errors["risk"].items()):
        axes.plot(
            [100 * each for each in errors["coverage"]],
            [100 * each for each in risk],
            _DASHES[name],
            color=COLOURS[i],
            linewidth=1,
            label=_RISKS[name],
        )
    axes.set_xlabel("coverage, % of images answered")
    axes.set_ylabel("risk, % wrong among them")
    axes.set_title(_label(one))
    axes.legend()


def _calibration(axes: Axes, one: Mapping[str, Any]) -> None:
    errors = one["errors"]
    curves = {"all images": errors["reliability"]}
    if "by_cost" in errors:
        fifths = errors["by_cost"]
        curves = {"cheapest fifth": fifths[0], "dearest fifth": fifths[-1]}
        curves = {
            f"{name}, ECE {part['calibration_error'][0]:.1%}": part["reliability"]
            for name, part in curves.items()
        }
    axes.plot([0, 100], [0, 100], color="#999999", linewidth=0.8)
    for i, (name, every) in enumerate(curves.items()):
        bins = [each for each in every if each["count"] >= LEAST_IN_BIN] or every
        axes.plot(
            [100 * each["confidence"] for each in bins],
            [100 * each["accuracy"] for each in bins],
            color=COLOURS[i],
            marker=MARKS[i],
            markersize=3,
            linewidth=1,
            label=name,
        )
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    axes.set_title(_label(one))
    axes.legend()
