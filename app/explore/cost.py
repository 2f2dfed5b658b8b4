"""The run in numbers: prediction, FLOPs, time."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import controls, figures, loaders, views


def numbers(choice: controls.Choice) -> None:
    """The run in four numbers."""
    run = choice.run
    share = run.executed.total[0] / run.dense.total[0]
    top = int(run.result.logits[0].argmax())
    long = len(choice.look.model.class_name(top)) > 12  # it may be cut off
    with st.grid(4, min_column_width=150):
        controls.number(
            "It says",
            choice.look.model.class_name(top),
            f"{run.result.probabilities[0, top]:.1%} sure",
            help=choice.look.model.class_name(top).capitalize() if long else None,
        )
        controls.number(
            "FLOPs",
            figures.si(run.executed.total[0]),
            f"{share:.0%} of dense",
            help="Two per multiply-add, convolutions only. Dense: every position runs every "
            f"unit, which takes {figures.si(run.dense.total[0])}FLOPs.",
        )
        units = views.mean_units(run.result)
        total = sum(choice.look.model.config.units_per_block)
        if units is None:
            controls.number("Units a position", str(total), "all of them: no halting")
        else:
            controls.number("Units a position", f"{units:.1f}", f"of {total}, on average")
        masked = run.backend == "masked"
        controls.number(
            "Time",
            f"{1000 * run.seconds:.0f} ms",
            "masked engine" if masked else "plain NumPy",
            help="Of this run. "
            + (
                "The masked engine computes active positions only."
                if masked
                else "The masked engine is being compiled, which takes a minute once on every "
                "machine. Until then plain NumPy gives the same numbers."
            ),
        )


def badge(choice: controls.Choice) -> None:
    """Whether the three backends were seen to agree on this image."""
    agree = st.session_state.get(controls.checked_key(choice.look))
    with st.container(horizontal=True, vertical_alignment="center"):
        if agree is None:
            st.badge("Not checked on this image", icon=":material/pending:", color="gray")
        elif agree:
            st.badge("Three backends agree", icon=":material/verified:", color="green")
        else:
            st.badge("Backends differ", icon=":material/error:", color="red")
        controls.page_link("check", "Check", ":material/fact_check:")
        controls.page_link(
            "compare",
            "Compare networks",
            ":material/compare:",
            compare_checkpoint_1=choice.look.model.name,
        )
        controls.page_link("flops", "FLOPs by unit", ":material/account_tree:")


def says(choice: controls.Choice) -> None:
    """The most likely classes."""
    st.header("What does it say?", anchor=False)
    probabilities = choice.run.result.probabilities[0]
    best = np.argsort(-probabilities)[:5]
    st.plotly_chart(
        figures.predictions([choice.look.model.class_name(i) for i in best], probabilities[best]),
        key="explore_predictions",
        config=views.QUIET,
        alt="The most likely classes",
    )
    names = choice.look.model.header.class_names
    if names and len(names) <= 20:
        st.caption(f"It knows {len(names)} classes: {', '.join(names)}.")


@st.fragment
def cost(choice: controls.Choice) -> None:
    """FLOPs by block, and the time it took masked against dense."""
    run = choice.run
    st.header("What did it cost?", anchor=False)
    names, executed, dense = views.cost(run)
    st.plotly_chart(
        figures.flops_by_block(names, executed, dense),
        key="explore_cost",
        config=views.QUIET,
        alt="FLOPs of each block, this image over every unit running",
    )
    this = choice.look.key
    if st.button("Time it against the dense network", icon=":material/timer:", key="explore_time"):
        st.session_state["explore_timed"] = this
    if st.session_state.get("explore_timed") != this:
        return
    with controls.guarded():
        measured = loaders.times(choice.look)
    st.plotly_chart(
        figures.times(
            ["masked (NumPy, Numba)", "dense (PyTorch)"],
            np.array([measured["masked"], measured["dense"]]),
        ),
        key="explore_times",
        config=views.QUIET,
        alt="Median time masked and dense",
    )
    st.caption("Median of 7 runs of this one image on this machine, which may be busy.")
