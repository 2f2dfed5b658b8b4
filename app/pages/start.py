"""Start here: a guided path over the pages, and what a residual unit is, drawn."""

from __future__ import annotations

import streamlit as st

from app import controls
from app.lecture import bar, drawings, steps

PAGE = "start"


def contents() -> None:
    """Every step, with a link to it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="start_ways"):
        with st.container(key="start_next", width="content"):
            bar.link(1, "Begin", ":material/arrow_forward:", "right")
        presented = bar.presenting()
        st.button(
            "Stop presenting" if presented else "Present",
            icon=":material/co_present:",
            key="start_present",
            on_click=bar.present,
            args=(not presented,),
            help="Large type and no side bar, on every page; light or dark as in the menu at the "
            "top right.",
        )
    with st.container(key="start_steps"):
        for number, step in enumerate(steps.STEPS, 1):
            left, right = st.columns([2, 5], vertical_alignment="center")
            with left:
                bar.link(number, f"{number} · {step.title}")
            right.caption(step.do)
    controls.page_link("glossary", "What the words mean", ":material/dictionary:")


def figure() -> None:
    """A residual unit, and a block of them."""
    left, right = st.columns(2, gap="large")
    with left:
        st.header("One unit", anchor=False)
        drawings.draw("unit")
        st.markdown(
            "What comes in goes on as it is, and a few convolutions **add** to it: *x + f(x)*. "
            "Leave the unit out, and *x* is still there for the next one."
        )
    with right:
        st.header("A block of units, with halting", anchor=False)
        drawings.draw("block")
        st.markdown(
            "After every unit each position gives a halting score *h*. When its scores add up to "
            "1 − ε the position stops: later units work on the rest alone."
        )


if steps.asked(st.query_params.get(bar.STEP), PAGE) == 1:
    controls.heading(
        "What is a residual unit?",
        "The piece that these networks are made of, and what stops early.",
        terms=("residual unit", "block", "position", "halting score", "ε"),
    )
    figure()
else:
    controls.heading(
        "Start here",
        f"A path of {len(steps.STEPS)} steps over the pages of this app, {steps.MINUTES} minutes "
        "in all. Each begins as it is meant, and everything on it can be moved.",
        terms=("SACT", "ACT", "residual unit", "position"),
    )
    contents()
