"""Which positions are still active, unit by unit."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import controls, figures, views
from app.viewer import Panel, payload
from app.viewer import component as viewer


@st.fragment(key="explore_film")
def film(choice: controls.Choice) -> None:
    """Which positions are still active, unit by unit."""
    run = choice.run
    st.header("Watch it think", anchor=False)
    config = choice.look.model.config
    shown = views.deciding(config)
    stages, active = views.film(run.result, shown)
    st.session_state["explore_units"] = len(stages)
    left, right = st.columns([1, 1], gap="large")
    with left:
        unit = (
            st.slider(
                "Unit, block after block",
                1,
                len(stages),
                1,
                key="explore_unit",
                bind="query-params",
            )
            - 1
        )
        viewer.show(
            payload(
                run.seen.pixels,
                views.layers(run.result, "num_units"),
                [
                    Panel(
                        "Still thinking",
                        range(len(run.result.blocks)),
                        picture=True,
                        film=True,
                        silent=True,
                        note="In colour: this unit works on them. Dark: they have stopped.",
                        alt=f"{choice.look.picture.name} with {stages[unit].label}",
                    )
                ],
                stages=stages,
                unit=unit,
                max_height=380,
            ),
            "explore_film_map",
            on_unit=take_unit,
        )
    with right:
        st.markdown(
            "Unit 1 of a block works on every position. Those that have stopped keep their value "
            "and cost nothing more; their neighbours still read it. A block is over as soon as "
            "no position is active."
        )
        st.plotly_chart(
            figures.active_share(
                {i + 1: config.units_per_block[i] for i in shown}, active, unit, 330
            ),
            key="explore_active",
            config=views.QUIET,
            alt=f"Share of positions active in every unit; {stages[unit].label}",
        )


def take_unit() -> None:
    """The film has paused."""
    unit = viewer.unit("explore_film_map")
    if unit is not None:
        most = st.session_state.get("explore_units", 1)
        st.session_state["explore_unit"] = int(np.clip(unit + 1, 1, most))
