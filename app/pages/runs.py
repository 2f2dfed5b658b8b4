"""Runs: training runs in a folder, live."""

from __future__ import annotations

import math
import time

import streamlit as st

from app import controls, views
from app.runs import run_dir
from app.texts import plain
from sact_core.texts import lasting

PAGE = "runs"


def curves(names: list[str], was_live: bool) -> None:
    """The curves; while a run is on they refresh by themselves."""
    found = [run for run in (run_dir.read(name) for name in names) if run is not None]
    drawn = [run for run in found if run.rows or run.points]
    live = [run for run in found if run.live]
    if was_live and not live:
        st.rerun()  # all of the page: what is said of a run that is on no longer holds
    for run in found:
        for problem in run.problems:
            st.warning(f"{plain(run.name)}: {problem}", icon=":material/warning:")
    for run in live:
        st.badge(going(run), icon=":material/sync:", color="green")
    if not drawn:
        st.info(
            "Nothing has been measured yet; the curves appear within the first epoch.",
            icon=":material/hourglass_empty:",
        )
        return
    many = len(drawn) > 1
    for i, (title, figure) in enumerate(run_dir.charts(drawn, many).items()):
        if i % 2 == 0:
            cells = st.columns(2, gap="large")
        with cells[i % 2]:
            st.markdown(f"**{title}**")
            st.plotly_chart(
                figure, key=f"runs_{title}", config=views.QUIET, alt=f"{title} over epochs"
            )
    if live:
        st.caption(f"Read at {time.strftime('%H:%M:%S')}; refreshes by itself.")


def going(run: run_dir.TrainingRun) -> str:
    """Say how far a run is that is on, and how long it will take yet."""
    counted, taken, planned = run.progress
    if counted == "Epoch" and run.points:
        taken = max(taken, run.points[-1]["epoch"])
    said = f"{plain(run.name)} is running"
    if math.isfinite(taken) and math.isfinite(planned) and (run.rows or run.points):
        said += f": {counted.lower()} {round(taken, 2):,.10g} of {planned:,.10g}"
    return said if run.left is None else f"{said}, about {lasting(run.left)} left"


def recipe(name: str) -> None:
    """What was asked for, and how to go on."""
    run = run_dir.read(name)
    if run is None:
        return
    st.header(f"Recipe of {plain(name)}", anchor=False)
    left, right = st.columns(2, gap="large")
    with left:
        st.dataframe(
            [{"setting": key, "value": value} for key, value in run.recipe.items()],
            hide_index=True,
            height=360,
            column_config={"setting": "Setting", "value": "Value"},
            key="runs_recipe",
            alt="The recipe of the run",
        )
    with right:
        st.markdown("Started with:")
        st.code(run.command or "unknown", language=None, wrap_lines=True)
        if run.done:
            st.caption("It has taken all of its steps.")
        else:
            st.markdown(
                "To go on, should it be stopped:" if run.live else "To go on where it stopped:"
            )
            st.code(run.resume or "unknown", language=None, wrap_lines=True)
        if run.rows:
            last = run.rows[-1]
            with st.grid(3, min_column_width=110):
                counted, taken, planned = run.progress
                controls.number(
                    counted,
                    f"{taken:,.10g}" if math.isfinite(taken) else "–",
                    f"of {planned:,.10g}" if math.isfinite(planned) else "planned: unknown",
                )
                tested = run.tested
                older = tested and tested is not last
                when = f", epoch {tested.get('epoch', 0):g}" if older else ""
                accuracy, share = tested.get("eval/Accuracy"), tested.get("flops_share")
                controls.number(
                    "Right",
                    "–" if accuracy is None else f"{accuracy:.1%}",
                    f"of test images{when}",
                )
                controls.number(
                    "FLOPs", "–" if share is None else f"{share:.0%}", f"of dense{when}"
                )
        for file in run.checkpoints:
            controls.page_link(
                "explore",
                f"Open {plain(file)} in Explore",
                ":material/visibility:",
                explore_checkpoint=file,
            )


def wait() -> None:
    """Until there is a first run."""
    if run_dir.names():
        st.rerun()


def watch(known: list[str], idle: list[str]) -> None:
    """Draw the page anew once there is a new run, or one that was over goes on."""
    now = run_dir.names()
    new = [name for name in now if name not in known]
    again = [run for run in map(run_dir.read, idle) if run is not None and run.live]
    if not new and not again and len(now) == len(known):
        return
    st.session_state["runs_new"] = new
    st.rerun()


def welcome(new: list[str]) -> None:
    """Say that runs have begun; where nobody has chosen, they are what there is to see."""
    for name in new:
        st.toast(f"A new run: {plain(name)}", icon=":material/fiber_new:")
    if new and st.session_state.get("runs_chosen") == st.session_state["runs_first"]:
        st.session_state["runs_first"] = [*new, *st.session_state["runs_first"]]
        st.session_state["runs_chosen"] = st.session_state["runs_first"]


controls.heading(
    "How is training going?",
    "Every folder with a training run: its curves, its recipe, and the command that resumes it.",
    terms=("epoch", "checkpoint", "accuracy", "ponder cost", "τ", "FLOPs"),
)
names = run_dir.names()
if not names:
    st.info(
        "No training run yet. Start one with: python -m sact_core.train --preset fast "
        "--halting sact --tau 0.005 --data-dir DIR --run-dir runs/first",
        icon=":material/folder_open:",
    )
    st.fragment(wait, run_every="5s")()
    st.stop()
first = [name for name in st.session_state.setdefault("runs_first", names[:1]) if name in names]
welcome(st.session_state.pop("runs_new", []))
chosen = st.multiselect("Runs", names, default=first, key="runs_chosen", bind="query-params")
chosen = [name for name in chosen if name in names]
found = [run for run in map(run_dir.read, chosen) if run is not None]
live = any(run.live for run in found)
st.fragment(watch, run_every="5s")(names, [run.name for run in found if not run.live])
if not chosen:
    st.caption("Choose a run above.")
    st.stop()
st.fragment(curves, run_every="5s" if live else None)(chosen, live)
st.fragment(recipe, run_every="5s" if live else None)(chosen[0])
