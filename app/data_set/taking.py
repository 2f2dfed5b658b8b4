"""What the Data set page shows, as figures and tables to take along."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import controls, drawn, exports, tabled
from app.data_set.flipping import Flips
from app.drawn import Drawing
from app.families import title
from app.loaders.dataset import Outcomes
from app.records import Model
from app.texts import file_stem
from sact_core.data.source import Source
from sact_core.figure import split as of_split
from sact_core.figure.curve import Line, Mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "data_set"


def take_along(
    model: Model,
    outcomes: Outcomes,
    names: tuple[str, ...],
    tau: float | None,
    source: Source,
    flips: Flips | None = None,
    members: Sequence[Model] = (),
) -> None:
    """Offer what the page shows of a split: its charts, and classes, images and taus as tables.

    Parameters
    ----------
    model, outcomes, names, tau
        The network, what it did, what its classes are called, and its price where it takes any.
    source : Source
        The split.
    flips : Flips, optional
        What it, or its relatives, did at other prices.
    members : sequence of Model
        Which did it, one for each price.
    """
    count = len(outcomes) + len(outcomes.left_out)
    asked = None if count == len(source) else count
    words = tabled.evaluate_words(model, tau, asked)
    about: dict[str, Any] = {
        "title": f"{title(model)}: {source.name} {source.split}",
        "networks": [tabled.network(model, tau, title(model))],
        "data_set": source.name,
        "split": source.split,
        "images": len(outcomes),
    }
    dense = float(outcomes.dense.mean())

    def charts(width: float) -> Figure:
        height = 0.36 * width
        return of_split.draw(outcomes.flops, outcomes.right, dense, width, height)

    drawings = [Drawing("Cost", charts, about, words)]
    tables = tabled.split(outcomes, names, about, words)
    if flips is not None:
        networks = [
            tabled.network(member, price, title(member))
            for member, price in zip(members, flips.taus, strict=True)
        ]
        of_all, words = about | {"networks": networks}, _at_every_tau(members, flips.taus, asked)
        marks = [
            Mark(float(each.flops.mean()), float(each.right.mean()), 0.0, f"{tau_:.2g}")
            for tau_, each in zip(flips.taus, flips.outcomes, strict=True)
        ]
        lines = [Line("these images, by τ", sorted(marks, key=lambda mark: mark.flops))]
        drawings.append(Drawing("Every τ", partial(drawn.curve_of, lines), of_all, words))
        changed = [int((flips.first <= k).sum()) for k in range(len(flips.taus))]
        tables.append(tabled.split_over_tau(flips.taus, flips.outcomes, changed, of_all, words))
    stem = file_stem(exports.checkpoint_word(model), source.name, source.split)
    with st.container(horizontal=True):
        controls.tables(PAGE, stem, tables)
        controls.figures(PAGE, stem, drawings)


def _at_every_tau(
    members: Sequence[Model], taus: Sequence[float], count: int | None
) -> tuple[str, ...]:
    """Words of the command that runs a network at all of its prices, or all networks."""
    first = members[0]
    if first.tau_range is not None:
        words = tabled.evaluate_words(first, None, count)
        return (*words, "--taus", *(f"{tau:.6g}" for tau in taus))
    names = map(exports.checkpoint_word, members)
    words = ("python", "-m", "sact_core.evaluate", "--checkpoint", *names)
    words += ("--sizes", str(first.header.preprocessing.image_size))
    words += () if count is None else ("--num-examples", str(count))
    return (*words, "--table", "taus.csv")
