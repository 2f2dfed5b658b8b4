"""Which network, price of a unit and number format is the cheapest at which accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sact_core.benchmark import formats
from sact_core.benchmark.sides import SIDES

#: Points of accuracy below the best that are given up where nothing is said.
WITHIN = 0.5

Row = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """One network, computed by one side.

    Attributes
    ----------
    network : str
        For people, with its price of a unit.
    side : str
        One of `SIDES`.
    accuracy : float
        Share of the images that are right, by the side's own answers.
    ms : float
        Milliseconds for an image.
    density : float
        FLOPs needed over those of the same network without halting.
    halts : bool
        Whether the network does.
    """

    network: str
    side: str
    accuracy: float
    ms: float
    density: float
    halts: bool

    @property
    def own(self) -> bool:
        """Whether the side is ours."""
        return self.side in formats.candidates(own=True)

    @property
    def number_format(self) -> str:
        """In which it multiplies."""
        return SIDES[self.side].number_format

    def __str__(self) -> str:
        who = "the masked engine" if self.own else SIDES[self.side].title.partition(",")[0]
        return (
            f"{self.network} in {self.number_format} by {who} "
            f"({self.accuracy:.1%}, {self.ms:.3g} ms an image)"
        )


def front(points: Iterable[Point]) -> list[Point]:
    """Those that nothing beats in both accuracy and time, the fastest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda each: (each.ms, -each.accuracy)):
        if not found or point.accuracy > found[-1].accuracy:
            found.append(point)
    return found


def sentence(points: Sequence[Point], within: float = WITHIN) -> str:
    """Say in one sentence what is the cheapest so near to the best accuracy, ours or a rival.

    Parameters
    ----------
    points : sequence of Point
        At least one.
    within : float
        Points of accuracy that may be lost.
    """
    best = max(point.accuracy for point in points)
    near = [point for point in points if point.accuracy >= best - within / 100 - 1e-9]
    least = min(near, key=lambda point: point.ms)
    others = [point for point in near if point.own != least.own]
    said = f"Within {within:g} points of the best accuracy ({best:.1%}) the cheapest is {least}"
    who = "rival" if least.own else "of ours"
    if not others:
        return f"{said}; {'no rival' if least.own else 'none of ours'} comes so near."
    next_best = min(others, key=lambda point: point.ms)
    loses = "" if least.own else ", which loses"
    return f"{said}; the cheapest {who} is {next_best}{loses}."


def points_of_map(
    rows: Sequence[Row], entries: Iterable[dict[str, Any]], content_hash: str, batch: int
) -> list[Point]:
    """Put accuracies of a network and of its twins without halting on a map's times.

    Times of ours between measured densities lie on a straight line; beyond them nothing is
    said. Rivals run the twins, whose times are those of any weights.

    Parameters
    ----------
    rows : sequence of dict
        Of one map of the network's architecture.
    entries : iterable of dict
        From `known.load`.
    content_hash : str
        The network.
    batch : int
        Images at once.
    """
    entries = list(entries)
    rows = sorted((row for row in rows if row["batch"] == batch), key=lambda row: row["flops"])
    mine = [entry for entry in entries if entry["content_hash"] == content_hash]
    if not rows or not mine:
        return []
    most = max(entry["count"] for entry in mine)  # the whole split, not a part of it
    mine = [entry for entry in mine if entry["count"] == most]
    of = {(entry["twin"], entry["data"], entry["count"]) for entry in mine}
    twins = [
        entry
        for entry in entries
        if not entry["halts"] and (entry["twin"], entry["data"], entry["count"]) in of
    ]
    unique = {(e["content_hash"], e["tau"], e["side"]): e for e in [*twins, *mine]}
    found = []
    for entry in unique.values():
        side = entry["side"]
        times = [(row["flops"] / row["dense_flops"], row["ms"][side]) for row in rows
                 if side in row["ms"]]  # fmt: skip
        density = entry["mflops"] / entry["dense_mflops"]
        if not times:
            continue
        densities, ms = np.array(times).T
        if side in formats.candidates(own=True):
            if not densities[0] * 0.99 <= density <= densities[-1] * 1.02:
                continue
            taken = float(np.interp(density, densities, ms))
        else:
            taken = float(np.median(ms))
        name = title(entry["network"], entry["tau"])
        found.append(Point(name, side, entry["accuracy"], taken / batch, density, entry["halts"]))
    return found


def points_of_rows(rows: Iterable[Row]) -> list[Point]:
    """Points of rows that were measured with the networks themselves, see `accuracy`."""
    return [
        Point(
            title(row["network"], row["tau"]),
            row["side"],
            row["accuracy"],
            row["ms"],
            row["mflops"] / row["dense_mflops"],
            row["halts"],
        )
        for row in rows
    ]


def title(network: str, tau: float | None) -> str:
    """A network's name, with its price of a unit where it has one."""
    return network if tau is None else f"{network}, tau {tau:g}"
