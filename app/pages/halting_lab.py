"""Halting lab: the rule itself, step by step, with scores that one can edit."""

from __future__ import annotations

import streamlit as st

from app import controls
from app.halting_lab import rule
from app.halting_lab.outcome import agree, outcome, slope, step_through
from app.halting_lab.scores import SCORES, edit, use_preset
from app.lecture import glossary

PAGE = "halting_lab"
KINDS = {"sact": "SACT: every position", "act": "ACT: every image"}


controls.heading(
    "When does a position stop?",
    "After every unit a position gives a halting score between 0 and 1; it stops as soon as "
    "the scores add up to **1 − ε**. Move a slider and watch.",
    terms=("SACT", "ACT", "halting score", "ε", "remainder", "halting distribution", "ponder cost"),
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
    controls.say_error(error)
    st.text_input("Scores", key=SCORES, bind="query-params")
    st.stop()
left, right = st.container(key="halting_lab_rule").columns([2, 3], gap="large")
with left:
    kind = st.segmented_control(
        "Who decides",
        list(KINDS),
        default="sact",
        required=True,
        format_func=KINDS.__getitem__,
        key="halting_lab_kind",
        bind="query-params",
        help=glossary.meaning("SACT", "ACT"),
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
            help=glossary.meaning("ε"),
        )  # fmt: skip
    row = min(row, len(scores)) - 1
    edit(scores, row, thing)
with right:
    outcome(scores, row, eps, thing)
step_through(scores, row, eps)
slope(scores, row, eps)
agree(scores, eps)
