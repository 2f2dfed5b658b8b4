"""Where along tau a network changes its mind about one image: a sentence and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from app import times
from app.texts import plain


@dataclass(frozen=True)
class Answer:
    """What is said of an image at one tau, and at what cost.

    Attributes
    ----------
    tau : float
        Price of a unit.
    says : str
        The class it predicts.
    sure : float
        Probability of that class.
    flops : int
        Of this image.
    share : float
        Of the dense FLOPs, in [0, 1].
    units : float or None
        That a position of the input ran on average.
    milliseconds : float or None
        That the image took, where it was measured.
    """

    tau: float
    says: str
    sure: float
    flops: int
    share: float
    units: float | None
    milliseconds: float | None = None


def changes(says: Sequence[str]) -> list[int]:
    """Where the answer changes: indices of the first tau with another one."""
    return [i for i in range(1, len(says)) if says[i] != says[i - 1]]


def rows(says: Sequence[str], limit: int) -> list[int]:
    """Which of many answers to list: some spread evenly, and both sides of every change."""
    even = np.linspace(0, len(says) - 1, min(limit, len(says))).round().astype(int).tolist()
    return sorted({*even, *(i - side for i in changes(says) for side in (0, 1))})


def show(answers: Sequence[Answer], limit: int, every: str) -> list[int]:
    """Say where the prediction changes along tau, and list what is said.

    Parameters
    ----------
    answers : sequence of Answer
        Tau rising.
    limit : int
        Rows of the table, besides those where the answer changes.
    every : str
        How the taus are called together: "every τ".

    Returns
    -------
    list of int
        Which answers are listed.
    """
    st.header("Does it change its mind?", anchor=False)
    says = [answer.says for answer in answers]
    found = changes(says)
    if not found:
        st.markdown(f"No: it says **{plain(says[0])}** at {every}.")
    else:
        moments = "; ".join(
            f"from **{plain(says[i - 1])}** to **{plain(says[i])}** between "
            f"τ = {answers[i - 1].tau:.3g} and {answers[i].tau:.3g}"
            for i in found
        )
        st.markdown(f"Yes: {moments}.")
    listed = rows(says, limit)
    shown = [dict(vars(answers[i])) for i in listed]
    for row in shown:
        row["sure"], row["share"] = 100 * row["sure"], 100 * row["share"]
    if all(row["milliseconds"] is None for row in shown):
        shown = [{k: v for k, v in row.items() if k != "milliseconds"} for row in shown]
    st.dataframe(
        shown,
        hide_index=True,
        column_config={
            "tau": st.column_config.NumberColumn("τ", format="%.4g"),
            "says": "It says",
            "sure": st.column_config.ProgressColumn(
                "Sure", min_value=0, max_value=100, format="%.1f%%"
            ),
            "flops": st.column_config.NumberColumn("FLOPs", format="localized"),
            "share": st.column_config.NumberColumn("of dense", format="%.1f%%"),
            "units": st.column_config.NumberColumn("Units a position", format="%.2f"),
            "milliseconds": st.column_config.NumberColumn(
                "Took, ms", format="%.0f", help=times.ONCE
            ),
        },
        height="content",
        key="sweep_table",
        alt=f"Prediction and cost at {every}, and wherever the prediction changes",
    )
    return listed
