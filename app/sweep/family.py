"""The Sweep page of checkpoints that differ in tau only: every tau's map and answer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import streamlit as st

from app import controls, drawn, exports, figures, handing, views
from app.families import Family
from app.records import Look, Picture, Run
from app.sweep import mind
from app.texts import file_stem, plain
from app.viewer import Layer, Panel, Scale, payload
from app.viewer import component as viewer
from sact_core.figure.maps import MOST_COLUMNS


@st.fragment
def maps(family: Family, looks: list[Look], runs: list[Run], picture: Picture) -> None:
    """Every tau in a row, and the chosen one large."""
    st.header("One image, every τ", anchor=False)
    taus = family.taus
    with st.container(horizontal=True, vertical_alignment="bottom"):
        tau = st.select_slider(
            "τ, the price of a unit",
            taus,
            value=taus[len(taus) // 2],
            format_func="{:g}".format,
            key="sweep_tau",
            bind="query-params",
            width=420,
        )
        metric = controls.choose_metric("sweep")
        colours = st.selectbox(
            "Colours", figures.COLOUR_MAPS, key="sweep_colours", bind="query-params", width=130
        )
    at = taus.index(tau) if tau in taus else 0
    low, high = views.common_limits([model.config for model in family.models], metric)
    scale = Scale(low, high, "units", colours)
    run, model = runs[at], family.models[at]
    own = views.layers(run.result, metric)
    viewer.show(
        payload(
            run.seen.pixels,
            own,
            views.panels(
                run,
                picture.name,
                f"{views.METRICS[metric]} at τ = {taus[at]:g}",
                own,
                f"{picture.name} at τ = {taus[at]:g}: {views.summary(run)}",
                f"The map laid over {picture.name}",
            ),
            [scale],
            hint="Move τ and watch the map. Point at it to read it.",
            max_height=340,
        ),
        "sweep_map",
    )
    cells = st.columns([2, 3, 3], gap="medium")
    with cells[0]:
        top = int(run.result.logits[0].argmax())
        share = float(run.executed.total[0] / run.dense.total[0])
        controls.number(
            "It says", plain(model.class_name(top)), f"{run.result.probabilities[0, top]:.1%} sure"
        )
        controls.number("FLOPs", figures.si(run.executed.total[0]), f"{share:.0%} of dense")
    with cells[1]:
        st.plotly_chart(
            figures.over_tau(
                taus,
                [float(each.executed.total[0]) for each in runs],
                "FLOPs of this image",
                taus[at],
                (float(run.dense.total[0]), "dense"),
            ),
            key="sweep_flops",
            config=views.QUIET,
            alt="FLOPs of this image over τ",
        )
    with cells[2]:
        st.plotly_chart(
            figures.over_tau(
                taus,
                [float(each.result.map("ponder_cost").mean()) for each in runs],
                "ponder cost, mean",
                taus[at],
            ),
            key="sweep_cost",
            config=views.QUIET,
            alt="Mean ponder cost of this image over τ",
        )
    layers: list[Layer] = []
    panels = []
    for each, member in zip(runs, family.models, strict=True):
        parts = views.layers(each.result, metric)
        panels.append(
            Panel(
                f"τ = {member.tau:g}",
                range(len(layers), len(layers) + len(parts)),
                0,
                says=f"{member.tau:g}:",
                side=member.class_name(int(each.result.logits[0].argmax())),
                alt=f"{views.METRICS[metric]} at τ = {member.tau:g}: {views.summary(each)}",
            )
        )
        layers += parts
    viewer.show(
        payload(
            runs[0].seen.pixels,
            layers,
            panels,
            [scale],
            max_height=260,
            panel_width=130,
            hint="Cheap units to dear ones, one colour scale. Point at a map to read them all.",
        ),
        "sweep_row",
    )
    shown = exports.Shown(metric, colours, "fixed", (low, high), 0.65)
    stem = f"{file_stem(exports.image_stem(picture), family.label)}_sweep"
    names = [f"τ = {each:g}" for each in taus]
    few = np.unique(np.linspace(0, len(taus) - 1, MOST_COLUMNS).round().astype(int)).tolist()
    with st.container(horizontal=True):
        make = partial(interactive, family, looks, runs, shown, at)
        controls.hand_on("sweep", f"{stem}.html", make)
        drawings = [
            drawn.side_by_side(
                looks, runs, names, replace(shown, opacity=1.0), which=few, label="Every τ"
            )
        ]
        drawings.append(drawn.one(looks[at], runs[at], shown))
        controls.figures("sweep", stem, drawings)


def interactive(
    family: Family, looks: list[Look], runs: list[Run], shown: exports.Shown, at: int
) -> bytes:
    """The family's maps as one HTML file, the price to be turned."""
    return handing.page(looks, runs, [handing.family(looks, runs, family.label, at)], shown)


def answers(family: Family, runs: list[Run]) -> list[mind.Answer]:
    """What every network of the family says."""
    found = []
    for tau, run in zip(family.taus, runs, strict=True):
        top = int(run.result.logits[0].argmax())
        found.append(
            mind.Answer(
                tau,
                family.models[0].class_name(top),
                float(run.result.probabilities[0, top]),
                int(run.executed.total[0]),
                float(run.executed.total[0] / run.dense.total[0]),
                views.mean_units(run.result),
                1000 * run.seconds if run.backend == "masked" else None,
            )
        )
    return found
