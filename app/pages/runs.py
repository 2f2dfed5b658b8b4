"""Runs: training runs in a folder, live."""

from __future__ import annotations

import math
import time

import streamlit as st

from app import controls, views
from app.runs import run_dir
from app.texts import plain

PAGE = "runs"


def curves(names: list[str], was_live: bool) -> None:
    """The curves; while a run is on they refresh by themselves."""
    found = [run for run in (run_dir.read(name) for name in names) if run is not None]
    drawn = [run for run in found if run.rows]
    live = [run for run in found if run.live]
    if was_live and not live:
        st.rerun()  # all of the page: what is said of a run that is on no longer holds
    for run in found:
        for problem in run.problems:
            st.warning(f"{plain(run.name)}: {problem}", icon=":material/warning:")
    if live:
        running = ", ".join(plain(run.name) for run in live)
        st.badge(
            f"{running} {'is' if len(live) == 1 else 'are'} running",
            icon=":material/sync:",
            color="green",
        )
    if not drawn:
        st.info(
            "No epoch has been finished yet; the curves appear after the first.",
            icon=":material/hourglass_empty:",
        )
        return
    many = len(drawn) > 1
    for title, figure in run_dir.charts(drawn, many).items():
        if title in ("Loss", "FLOPs"):
            left, right = st.columns(2, gap="large")
        with left if title in ("Loss", "FLOPs") else right:
            st.markdown(f"**{title}**")
            st.plotly_chart(
                figure, key=f"runs_{title}", config=views.QUIET, alt=f"{title} over epochs"
            )
    if live:
        st.caption(f"Read at {time.strftime('%H:%M:%S')}; refreshes by itself.")


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


controls.heading(
    "How is training going?",
    "Every folder with a training run: its curves, its recipe, and the command that resumes it.",
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
chosen = st.multiselect("Runs", names, default=names[:1], key="runs_chosen", bind="query-params")
chosen = [name for name in chosen if name in names]
if not chosen:
    st.caption("Choose a run above.")
    st.stop()
live = any(run.live for run in map(run_dir.read, chosen) if run is not None)
st.fragment(curves, run_every="5s" if live else None)(chosen, live)
st.fragment(recipe, run_every="5s" if live else None)(chosen[0])
