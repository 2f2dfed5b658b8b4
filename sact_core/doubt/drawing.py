"""The figure of what was found: cost over people's entropy, risk over coverage, calibration.

A row of panels for each network, its taus in shades; above them, where there are several
networks or taus, what changes over tau.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core.doubt.series import (
    NEVER,
    OVER_TAU,
    SCORES,
    Group,
    by_people,
    calibration,
    groups,
    spaced,
    value,
)
from sact_core.figure.curve import COLOURS, MARKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT_SIZE = 7.5
#: Networks that a figure has rows for, and taus that a panel has room for.
MOST_NETWORKS, MOST_TAUS = 6, 10
#: In inches; narrower, three panels with their names have no room beside each other.
LEAST_WIDTH = 4.5
#: Height of a row of panels, of the width.
ROW = 0.28
#: Least ratio of two taus that both have a tick.
TICKS = 1.8
_DASHES = {"ponder_cost": "-", "unsure": "--", "both": ":"}


def draw_to(
    path: Path, found: Sequence[Mapping[str, Any]], width: float, about: Mapping[str, Any]
) -> None:
    """Write the figure, with its origin inside.

    Parameters
    ----------
    path : Path
        Its ending is one of `sact_core.figure.saving.FIGURES`.
    found : sequence of dict
        Of `sact_core.doubt.findings.find`, each with ``network``, ``file`` and ``tau``.
    width : float
        In inches.
    about : mapping
        As of `sact_core.figure.saving.write_figure`.

    Raises
    ------
    ValueError
        If there are more networks or taus than a figure has room for.
    OSError
        If it cannot be written.
    """
    from sact_core.figure.saving import style, write_figure

    with style(FONT_SIZE):
        write_figure(path, draw(found, width), about)


def check_room(networks: Sequence[tuple[str, bool]]) -> None:
    """Refuse more networks or taus than a figure has room for.

    Parameters
    ----------
    networks : sequence of (str, bool)
        Of each network and tau the network's name, and whether it halts.

    Raises
    ------
    ValueError
        If there are.
    """
    names = [name if halts else NEVER for name, halts in networks]
    rows, most = len(set(names)), max(map(names.count, names), default=0)
    if rows > MOST_NETWORKS or most > MOST_TAUS:
        raise ValueError(
            f"a figure has room for {MOST_NETWORKS} networks at {MOST_TAUS} taus each, got "
            f"{rows} at {most}: draw fewer at a time"
        )


def draw(found: Sequence[Mapping[str, Any]], width: float) -> Figure:
    """Draw all panels; within `sact_core.figure.saving.style`.

    Raises
    ------
    ValueError
        As `draw_to`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_room([(str(each["network"]), "ponder_cost" in each["correlations"]) for each in found])
    parts = groups(found)
    above = 1 if len(found) > 1 and any(part.name != NEVER for part in parts) else 0
    rows = above + len(parts)
    figure = Figure((width, ROW * width * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 3, squeeze=False)
    if above:
        for i, (axes, (title, lines)) in enumerate(zip(panels[0], OVER_TAU, strict=True)):
            _over_tau(axes, title, lines, parts, named=i == 0)
    for row, part in zip(panels[above:], parts, strict=True):
        _by_people(row[0], part)
        _risk(row[1], part)
        _calibration(row[2], part)
        for axes in row:
            axes.set_title(part.name)
    for i in range(3):  # networks stand side by side, so that they compare
        rows_of = zip(panels[above:], parts, strict=True)
        _same_limits([row[i] for row, part in rows_of if i or part.name != NEVER])
    for axes in panels.flat:
        axes.grid(alpha=0.3, linewidth=0.5)
    return figure


def _over_tau(
    axes: Axes,
    title: str,
    lines: Mapping[str, Sequence[str | int]],
    parts: Sequence[Group],
    named: bool,
) -> None:
    from matplotlib.ticker import NullLocator

    halting = [each for each in parts if each.name != NEVER]
    taus = sorted({one["tau"] for part in halting for one in part.entries if one["tau"]})
    for i, part in enumerate(halting):
        for place, dash in zip(lines.values(), ("-", "--"), strict=True):
            points = [(one["tau"], value(one, place)) for one in part.entries]
            known = [(tau, each) for tau, each in points if tau and each is not None]
            axes.errorbar(
                [tau for tau, _ in known],
                [each[0] for _, each in known],
                [[e[0] - e[1] for _, e in known], [e[2] - e[0] for _, e in known]],
                color=COLOURS[i % len(COLOURS)],
                marker=MARKS[i % len(MARKS)],
                markerfacecolor=None if dash == "-" else "none",
                linestyle=dash,
                markersize=3,
                linewidth=1,
                elinewidth=0.7,
                label=part.name if named and dash == "-" else None,
            )
    _styles(axes, dict(zip(lines, ("-", "--"), strict=True)))
    axes.set_xscale("log")
    shown = spaced(taus, TICKS)
    axes.set_xticks(shown, [f"{tau:g}" for tau in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("τ")
    axes.set_title(title)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.16 * (high - low) * len(axes.get_legend_handles_labels()[0]))
    axes.legend(loc="upper left")


def _by_people(axes: Axes, part: Group) -> None:
    for i, (one, label, colour) in enumerate(
        zip(part.entries, part.labels, part.colours, strict=True)
    ):
        x, (mean, low, high), _ = by_people(one, part.measure)
        mark = MARKS[i % len(MARKS)]
        axes.plot(x, mean, color=colour, marker=mark, markersize=3, linewidth=1, label=label)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("people's entropy, bits")
    what = "ponder cost" if part.measure == "ponder_cost" else "softmax entropy"
    axes.set_ylabel(f"{what} over its mean")
    axes.legend(loc="upper left")


def _risk(axes: Axes, part: Group) -> None:
    alone = len(part.entries) == 1
    for one, colour in zip(part.entries, part.colours, strict=True):
        errors = one["errors"]
        for i, (name, risk) in enumerate(errors["risk"].items()):
            if name in SCORES if alone else name in ("ponder_cost", "unsure"):
                axes.plot(
                    [100 * each for each in errors["coverage"][3::4]],
                    [100 * each for each in risk[3::4]],
                    _DASHES[name],
                    color=COLOURS[i] if alone else colour,
                    linewidth=1,
                    label=SCORES[name] if alone else None,
                )
    if not alone:
        told = ("ponder_cost", "unsure") if part.name != NEVER else ("unsure",)
        _styles(axes, {SCORES[name]: _DASHES[name] for name in told})
    axes.set_xlabel("coverage, % of images answered")
    axes.set_ylabel("wrong among them, %")
    axes.legend(loc="upper left")


def _calibration(axes: Axes, part: Group) -> None:
    alone = len(part.entries) == 1
    axes.plot([0, 100], [0, 100], color="#999999", linewidth=0.8)
    for k, (one, colour) in enumerate(zip(part.entries, part.colours, strict=True)):
        for i, (name, bins) in enumerate(calibration(one, alone).items()):
            axes.plot(
                [100 * each["confidence"] for each in bins],
                [100 * each["accuracy"] for each in bins],
                color=COLOURS[i] if alone else colour,
                marker=MARKS[i] if alone else MARKS[k % len(MARKS)],
                markersize=3,
                linewidth=1,
                label=name if alone else None,
            )
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("right, %")
    if alone:
        axes.legend(loc="upper left")


def _styles(axes: Axes, styles: Mapping[str, str]) -> None:
    """Say in the legend what solid and dashed lines are."""
    for name, dash in styles.items():
        axes.plot([], [], dash, color="#777777", linewidth=1, label=name)


def _same_limits(panels: Sequence[Axes]) -> None:
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:  # none where no network halts
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
