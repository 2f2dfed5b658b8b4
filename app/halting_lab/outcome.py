"""What the rule makes of the scores, step by step, and in every program."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import figures, loaders, views
from app.halting_lab import rule
from app.lecture import glossary
from sact_core.halting import halt


def outcome(scores: np.ndarray, row: int, eps: float, thing: str) -> None:
    """What the rule makes of the scores."""
    halting = halt(scores, eps)
    num_units, remainder = int(halting.num_units[row]), float(halting.remainder[row])
    with st.grid(3, min_column_width=120):
        st.metric("Units run N", num_units, border=True)
        st.metric(
            "Remainder R", f"{remainder:.3f}", border=True, help=glossary.meaning("remainder")
        )
        st.metric(
            "Ponder cost ρ",
            f"{halting.ponder_cost[row]:.3f}",
            border=True,
            help=glossary.meaning("ponder cost"),
        )
    st.markdown(rule.explain(scores[row], halting, row, eps, thing))
    st.plotly_chart(
        figures.why_stopped(rule.read(scores[row], num_units), num_units, remainder, eps, 280),
        key="halting_lab_why",
        config=views.QUIET,
        alt=f"Scores pile up until unit {num_units}",
    )
    st.plotly_chart(
        figures.distribution(halting.distribution[row], num_units),
        key="halting_lab_distribution",
        config=views.QUIET,
        alt="Halting distribution",
    )
    st.caption(
        "The halting distribution weighs the outputs of the units: what leaves the block is "
        "their weighted sum. Orange is the remainder; together they are 1."
    )


def step_through(scores: np.ndarray, row: int, eps: float) -> None:
    """The rule unit by unit, equations beside numbers."""
    st.header("Step through the rule", anchor=False)
    steps = rule.steps(scores[row], eps)
    _follow(len(steps))
    left, right = st.columns([3, 2], gap="large")
    with left:
        shown = st.slider(
            "Units run so far",
            0,
            len(steps),
            len(steps),
            key="halting_lab_step",
            bind="query-params",
        )
        st.dataframe(
            [dict(zip(rule.COLUMNS, step.row, strict=True)) for step in steps[:shown]],
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(format="%.4f")
                for name in ("score h", "running sum", "weight p", "left for the rest")
            },
            key="halting_lab_steps",
            alt="The rule unit by unit",
        )
        if shown:
            st.markdown(steps[shown - 1].words)
        else:
            st.markdown("Nothing has run. The running sum is 0; all the weight, 1, is left.")
    with right:
        st.latex(r"N = \min\Big\{ n : \sum_{u=1}^{n} h_u \ge 1 - \varepsilon \Big\}")
        st.latex(r"R = 1 - \sum_{u=1}^{N-1} h_u")
        st.latex(r"p_u = \begin{cases} h_u & u < N \\ R & u = N \\ 0 & u > N \end{cases}")
        st.latex(r"\rho = N + R")
        st.latex(rule.equation(scores[row], eps))
        st.caption(
            "Graves 2016, equations 6 to 8 and 10; for positions, Figurnov et al. 2017, "
            "equations 4 to 8. The sum is compared in single precision, as the authors do."
        )


def slope(scores: np.ndarray, row: int, eps: float) -> None:
    """What training sees: the gradient of the ponder cost."""
    st.header("What training sees", anchor=False)
    halting = halt(scores, eps)
    num_units = int(halting.num_units[row])
    left, right = st.columns(2, gap="large")
    with left:
        st.plotly_chart(
            figures.gradient(rule.slopes(scores.shape[1], num_units)),
            key="halting_lab_gradient",
            config=views.QUIET,
            alt="Slope of the ponder cost in every score",
        )
        st.caption(
            "The slope is −1 for every score before the stop, 0 for the rest: more score before "
            "the stop leaves a smaller remainder. N itself is a step and has no slope."
        )
    with right:
        unit = int(
            st.segmented_control(
                "Ponder cost over the score of unit",
                list(range(1, scores.shape[1] + 1)),
                default=1,
                required=True,
                key="halting_lab_unit",
            )
        )
        unit = min(unit, scores.shape[1])
        line, costs = rule.sweep(scores[row], unit - 1, eps)
        st.plotly_chart(
            figures.cost_against_score(line, costs, float(scores[row, unit - 1]), unit),
            key="halting_lab_sweep",
            config=views.QUIET,
            alt=f"Ponder cost over the score of unit {unit}",
        )


@st.fragment
def agree(scores: np.ndarray, eps: float) -> None:
    """Three programs, one answer."""
    st.header("Three programs, one answer", anchor=False)
    with_torch = st.toggle("Ask PyTorch too", key="halting_lab_torch")
    backends = (["masked"] if loaders.ready() else []) + (["dense"] if with_torch else [])
    answers = rule.answers(scores, eps, backends)
    st.dataframe(
        answers,
        hide_index=True,
        key="halting_lab_answers",
        alt="NumPy, Numba and PyTorch beside one another",
    )
    if rule.all_agree(scores, eps, backends):
        st.success("They agree in every number.", icon=":material/check_circle:")
    else:
        st.error("They differ.", icon=":material/error:")


def _follow(num_units: int) -> None:
    """Keep the slider of steps at the end where it was there, and never behind it."""
    at = st.session_state.get("halting_lab_step")
    ended = st.session_state.get("halting_lab_ended", num_units)
    if at is not None and (at == ended or at > num_units):
        st.session_state["halting_lab_step"] = num_units
    st.session_state["halting_lab_ended"] = num_units
