"""Where along tau the answers on a test split change: section of the Data set page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from app import figures, views
from app.loaders import dataset
from app.loaders.dataset import Outcomes
from app.records import Model
from app.texts import plain


@dataclass(frozen=True)
class Flips:
    """Where along tau the answers change.

    Attributes
    ----------
    taus : list of float
        Rising.
    outcomes : list of Outcomes
        At each.
    first : np.ndarray [shape=(n,), int64]
        Index of the first tau with another answer than at the lowest.
    """

    taus: list[float]
    outcomes: list[Outcomes]
    first: np.ndarray

    @property
    def changed(self) -> np.ndarray:
        """Which images get another answer at some tau [shape=(n,), bool]."""
        return self.first < len(self.taus)


def words(model: Model, flips: Flips, shown: list[int], names: tuple[str, ...]) -> dict[int, str]:
    """For each shown image, the tau at which its answer flips, and to what."""
    changed = [i for i in shown if flips.changed[i]]
    ends = [(flips.taus[flips.first[i] - 1], flips.taus[flips.first[i]]) for i in changed]
    if model.tau_range is not None:
        at = dataset.flip_taus(
            model,
            [int(flips.outcomes[0].indices[i]) for i in changed],
            [int(flips.outcomes[0].predictions[i]) for i in changed],
            [low for low, _ in ends],
            [high for _, high in ends],
        )
        when = [f"at τ = {tau:.2g}" for tau in at]
    else:
        when = [f"between τ = {low:g} and {high:g}" for low, high in ends]
    said = dict.fromkeys(shown, " · same at every τ")
    for i, moment in zip(changed, when, strict=True):
        says = [int(outcomes.predictions[i]) for outcomes in flips.outcomes]
        said[i] = f" · {plain(names[says[0]])} → {plain(names[says[flips.first[i]]])} {moment}"
    return said


def over_tau(flips: Flips) -> None:
    """What every tau costs on these images, and how often it is right."""
    st.header("Every τ", anchor=False)
    changed = int(flips.changed.sum())
    st.markdown(
        f"**{changed:,}** of {len(flips.first):,} images get another answer at some other τ."
    )
    points = [
        figures.Point(
            "these images",
            f"τ = {tau:.2g}",
            float(outcomes.flops.mean()),
            float(outcomes.right.mean()),
        )
        for tau, outcomes in zip(flips.taus, flips.outcomes, strict=True)
    ]
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Right against FLOPs**")
        st.plotly_chart(
            figures.accuracy_against_flops(points, height=300),
            key="data_set_over_tau",
            config=views.QUIET,
            alt="Share of right answers against mean FLOPs at every τ",
        )
    with right:
        st.markdown("**How many have changed their answer by then**")
        st.plotly_chart(
            figures.over_tau(
                flips.taus,
                [100 * float((flips.first <= k).mean()) for k in range(len(flips.taus))],
                "% of images",
                height=300,
            ),
            key="data_set_flips",
            config=views.QUIET,
            alt="Share of images whose answer has changed, over τ",
        )
