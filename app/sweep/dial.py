"""The Sweep page of a network that takes any tau: one slider, one line, every change of mind."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import streamlit as st

from app import controls, drawn, exports, families, figures, loaders, tabled, views
from app.controls import dial as any_tau
from app.explore.take_home import interactive
from app.loaders import Dial
from app.records import Look, Model, Run
from app.sweep import mind
from app.viewer import Scale, payload
from app.viewer import component as viewer

PAGE = "sweep"
ROWS = 9  # of the table, besides those where the answer changes


def show(look: Look, fitting: controls.Fitting) -> None:
    """All of it."""
    model, picture, tau = look.model, look.picture, look.tau
    any_tau.say_budget(PAGE)
    with controls.guarded():
        run = loaders.run(look)
        dial = any_tau.run_all(look, run)
        found = families.specialists(model, loaders.shipped_models())
        specialists = [loaders.run(replace(look, model=member, tau=None)) for member in found]
    controls.price_list(PAGE, look, fitting)
    st.header("One image, every τ", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        metric = controls.choose_metric(PAGE)
        colours = st.selectbox(
            "Colours", figures.COLOUR_MAPS, key="sweep_colours", bind="query-params", width=130
        )
    low, high = views.common_limits([model.config], metric)
    layers = views.layers(run.result, metric)
    viewer.show(
        payload(
            run.seen.pixels,
            layers,
            views.panels(
                run,
                picture.name,
                views.METRICS[metric],
                layers,
                f"{picture.name} at the chosen τ: {views.summary(run)}",
                f"The map laid over {picture.name}",
            ),
            [Scale(low, high, "units", colours)],
            dial=any_tau.slider(model, dial, metric, tau),
            hint="Drag τ or the budget and watch the map. Point at it to read it.",
            max_height=340,
        ),
        "sweep_dial",
        on_tau=partial(any_tau.take_tau, PAGE, "sweep_dial", "price"),
        on_target=partial(any_tau.take_target, PAGE, "sweep_dial", look, name="price"),
    )
    if found:
        st.caption(
            "Marked on the slider: where there is a network that was trained for this one τ, "
            + ", ".join(f"{member.tau:g}" for member in found)
            + "."
        )
    shown = exports.Shown(metric, colours, "fixed", (low, high), 0.65)
    stem = f"{exports.stem(look, run)}_sweep"
    with st.container(horizontal=True):
        controls.hand_on(PAGE, f"{stem}.html", partial(interactive, look, run, shown))
        drawings = [drawn.every_tau(look, run, dial, shown), drawn.one(look, run, shown)]
        controls.figures(PAGE, stem, drawings)
    _curves(dial, tau, [member.tau or 0.0 for member in found], specialists)
    answers = _answers(model, dial)
    listed = mind.show(answers, ROWS, "every τ from low to high")
    about = drawn.about_runs([look], [run], f"answers and cost by tau: {picture.name}")
    told = [answers[i] for i in listed]
    words = (*drawn.ponder_words([replace(look, tau=None)]), "--taus")
    words += tuple(f"{answer.tau:.6g}" for answer in told)
    controls.tables(PAGE, stem, [tabled.over_tau(told, about, words)])


def _curves(dial: Dial, tau: float | None, taus: list[float], specialists: list[Run]) -> None:
    """FLOPs and ponder cost of this image over tau, beside networks trained for one."""
    inside = [dial.taus[0] <= each <= dial.taus[-1] for each in taus]
    kept = [(t, run) for t, run, ok in zip(taus, specialists, inside, strict=True) if ok]

    def others(values: list[float]) -> tuple[list[float], list[float], str] | None:
        return ([t for t, _ in kept], values, "trained for one τ") if kept else None

    mean = np.sum([maps.mean(axis=(1, 2)) for maps in dial.ponder_cost], axis=0)
    left, right = st.columns(2, gap="large")
    with left:
        st.plotly_chart(
            figures.over_tau(
                dial.taus.tolist(),
                dial.flops.astype(float).tolist(),
                "FLOPs of this image",
                tau,
                (float(dial.dense), "dense"),
                260,
                others([float(run.executed.total[0]) for _, run in kept]),
            ),
            key="sweep_flops",
            config=views.QUIET,
            alt="FLOPs of this image over τ, beside networks trained for one τ",
        )
    with right:
        st.plotly_chart(
            figures.over_tau(
                dial.taus.tolist(),
                mean.tolist(),
                "ponder cost, mean",
                tau,
                None,
                260,
                others([float(run.result.map("ponder_cost").mean()) for _, run in kept]),
            ),
            key="sweep_cost",
            config=views.QUIET,
            alt="Mean ponder cost of this image over τ, beside networks trained for one τ",
        )


def _answers(model: Model, dial: Dial) -> list[mind.Answer]:
    """What it says at every tau of the slider."""
    units = np.sum([maps.mean(axis=(1, 2)) for maps in dial.num_units], axis=0)
    return [
        mind.Answer(
            float(dial.taus[i]),
            model.class_name(int(dial.says[i])),
            float(dial.probabilities[i].max()),
            int(dial.flops[i]),
            float(dial.share[i]),
            float(units[i]),
        )
        for i in range(len(dial.taus))
    ]
