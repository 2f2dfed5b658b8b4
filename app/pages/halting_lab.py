"""Halting lab: the rule itself, step by step, with scores that one can edit."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import controls, figures, loaders, views
from app.halting_lab import rule
from sact_core.halting import halt

PAGE = "halting_lab"
SCORES = "halting_lab_scores"
KINDS = {"sact": "SACT: every position", "act": "ACT: every image"}


def use_preset(name: str) -> None:
    """Take over a preset."""
    preset = rule.PRESETS[name]
    st.session_state[SCORES] = rule.write_scores(preset.scores)
    st.session_state["halting_lab_eps"] = preset.eps
    st.session_state["halting_lab_row"] = 1


def take_slider(row: int, unit: int) -> None:
    """A slider has moved."""
    scores = rule.read_scores(st.session_state[SCORES])
    scores[row, unit] = st.session_state[f"halting_lab_h{unit + 1}"]
    st.session_state[SCORES] = rule.write_scores(scores)


def take_table() -> None:
    """A cell of the table has changed."""
    scores = rule.read_scores(st.session_state[SCORES])
    edits = st.session_state["halting_lab_table"]["edited_rows"]
    for row, cells in edits.items():
        for column, value in cells.items():
            unit = int(str(column).rsplit(" ", 1)[1]) - 1
            if 0 <= int(row) < len(scores) and 0 <= unit < scores.shape[1] and value is not None:
                scores[int(row), unit] = np.clip(float(value), 0, 1)
    st.session_state[SCORES] = rule.write_scores(scores)


def take_units() -> None:
    """Another number of units: scores are cut, or filled with 0.1."""
    scores = rule.read_scores(st.session_state[SCORES])
    units = st.session_state["halting_lab_units"]
    wanted = np.full((len(scores), units - 1), 0.1)
    kept = min(units - 1, scores.shape[1])
    wanted[:, :kept] = scores[:, :kept]
    st.session_state[SCORES] = rule.write_scores(wanted)


def edit(scores: np.ndarray, row: int, thing: str) -> None:
    """Sliders for one position, a table for all."""
    num_units = scores.shape[1] + 1
    st.session_state["halting_lab_units"] = num_units
    st.slider(
        "Units of the block", 2, rule.MAX_UNITS, key="halting_lab_units", on_change=take_units
    )
    for unit in range(num_units - 1):
        key = f"halting_lab_h{unit + 1}"
        st.session_state[key] = float(scores[row, unit])
        st.slider(
            f"Halting score h after unit {unit + 1}",
            0.0,
            1.0,
            step=0.001,
            format="%.3f",
            key=key,
            on_change=take_slider,
            args=(row, unit),
        )
    st.caption(f"Unit {num_units} has no score: the last unit stops everybody.")
    with st.expander("Scores as a table, and as text", icon=":material/table:"):
        st.data_editor(
            {thing: list(range(1, len(scores) + 1))}
            | {f"unit {u + 1}": scores[:, u] for u in range(num_units - 1)},
            hide_index=True,
            disabled=[thing],
            key="halting_lab_table",
            on_change=take_table,
            column_config={
                f"unit {u + 1}": st.column_config.NumberColumn(
                    min_value=0.0, max_value=1.0, step=0.001, format="%.3f", required=True
                )
                for u in range(num_units - 1)
            },
            alt="Halting scores of every position and unit",
        )
        st.text_input(
            "One row a position, separated by ;",
            key=SCORES,
            bind="query-params",
            help="For example: 0.1 0.3 0.7 0.5 ; 0.9 0.2 0.1 0.4",
        )


def outcome(scores: np.ndarray, row: int, eps: float, thing: str) -> None:
    """What the rule makes of the scores."""
    halting = halt(scores, eps)
    num_units, remainder = int(halting.num_units[row]), float(halting.remainder[row])
    with st.grid(3, min_column_width=120):
        st.metric("Units run N", num_units, border=True)
        st.metric("Remainder R", f"{remainder:.3f}", border=True)
        st.metric("Ponder cost ρ", f"{halting.ponder_cost[row]:.3f}", border=True)
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


controls.heading(
    "When does a position stop?",
    "After every unit a position gives a halting score between 0 and 1; it stops as soon as "
    "the scores add up to **1 − ε**. Move a slider and watch.",
)
with st.container(horizontal=True):
    for name in rule.PRESETS:
        st.button(
            name,
            key=f"halting_lab_preset_{name}",
            on_click=use_preset,
            args=(name,),
            help=rule.PRESETS[name].why,
        )
if SCORES not in st.session_state and SCORES not in st.query_params:
    st.session_state[SCORES] = rule.write_scores(rule.PRESETS["Typical"].scores)
try:
    scores = rule.read_scores(
        st.session_state.get(SCORES) or st.query_params.get(SCORES) or rule.DEFAULT
    )
except ValueError as error:
    st.error(f"{error}", icon=":material/error:")
    st.text_input("Scores", key=SCORES, bind="query-params")
    st.stop()
left, right = st.columns([2, 3], gap="large")
with left:
    kind = st.segmented_control(
        "Who decides",
        list(KINDS),
        default="sact",
        required=True,
        format_func=KINDS.__getitem__,
        key="halting_lab_kind",
        bind="query-params",
        help="The rule is the same. SACT applies it to every position of a feature map, ACT once "
        "to the whole image.",
    )
    thing = "position" if kind == "sact" else "image"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row = int(
            st.segmented_control(
                thing.capitalize(),
                list(range(1, len(scores) + 1)),
                default=1,
                required=True,
                key="halting_lab_row",
                bind="query-params",
            )
            or 1
        )
        eps = st.number_input(
            "Slack ε", 0.0, 0.5, 0.01, 0.01, "%.3f", key="halting_lab_eps", bind="query-params",
            width=140,
            help="Without it a position could stop after one unit only if its score were "
            "exactly 1.",
        )  # fmt: skip
    row = min(row, len(scores)) - 1
    edit(scores, row, thing)
with right:
    outcome(scores, row, eps, thing)
step_through(scores, row, eps)
slope(scores, row, eps)
agree(scores, eps)
