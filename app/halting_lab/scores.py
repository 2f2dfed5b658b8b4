"""The scores of the lab: presets, sliders, a table and text."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app.halting_lab import rule
from sact_core.halting import halt

SCORES = "halting_lab_scores"


def use_preset(name: str) -> None:
    """Take over a preset."""
    preset = rule.PRESETS[name]
    st.session_state[SCORES] = rule.write_scores(preset.scores)
    st.session_state["halting_lab_eps"] = preset.eps
    st.session_state["halting_lab_row"] = 1
    st.session_state["halting_lab_step"] = int(halt(preset.scores, preset.eps).num_units[0])


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
