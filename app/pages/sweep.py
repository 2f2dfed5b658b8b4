"""Sweep tau: what the price of a unit does to accuracy, cost and the map."""

from __future__ import annotations

import streamlit as st

from app import controls, families, figures, loaders, views
from app.families import Family
from app.records import Look, Picture, Run
from app.sweep import dial, mind
from app.viewer import Layer, Panel, Scale, payload
from app.viewer import component as viewer

PAGE = "sweep"


def choose() -> tuple[Family, Picture, controls.Fitting, float | None]:
    """A family of checkpoints, or one that takes any tau and its tau, and an image."""
    models = loaders.shipped_models()
    found = [*families.any_tau(models), *families.families(models)]
    found.sort(key=lambda family: family.kind != "photographs")  # stable: any tau first
    if not found:
        st.info(
            "Put checkpoints that differ in τ only into the folder pretrained/ to see a sweep. "
            "Train one with: python -m sact_core.train --halting sact --tau 0.005",
            icon=":material/folder_open:",
        )
        st.stop()
    labels = [family.label for family in found]
    kind = controls.offered(PAGE)
    chosen = st.session_state.get("sweep_family") or st.query_params.get("sweep_family")
    now = found[labels.index(chosen) if chosen in labels else 0]
    if kind not in (None, now.kind) and kind in [family.kind for family in found]:
        st.session_state["sweep_family"] = next(f.label for f in found if f.kind == kind)
    with st.container(border=True):
        columns = st.columns([5, 4, 4], vertical_alignment="bottom")
        row = columns[2].container(horizontal=True)
        with row:
            controls.add_your_own(PAGE)
        with columns[0]:
            label = st.selectbox("Network", labels, key="sweep_family", bind="query-params")
            family = found[labels.index(label) if label in labels else 0]
        middle = family.models[len(family.models) // 2]
        with columns[1]:
            picture = controls.choose_picture(PAGE, middle)
        tau = None
        if family.any_tau:
            cells = st.columns([5, 8], vertical_alignment="bottom")
            with cells[0]:
                tau = controls.choose_tau(PAGE, middle, "price")
            cells[1].caption(controls.any_tau(middle))
        sized = controls.side_row(middle)
        with row:
            fitting = controls.choose_input(PAGE, middle, picture, sized[0] if sized else None)
        if sized:
            with controls.guarded():
                cost = loaders.cost(Look(middle, picture, fitting.image_size, fitting.fit, tau))
            often = f", at τ = {middle.tau:g}. {len(family.models)} networks run once each."
            sized[1].markdown(controls.price(middle, cost) + ("" if family.any_tau else often))
        if not family.any_tau:
            taus = ", ".join(f"{t:g}" for t in family.taus)
            st.caption(f"{len(family.models)} checkpoints: τ = {taus}")
    return family, picture, fitting, tau


@st.fragment
def maps(family: Family, runs: list[Run], picture: Picture) -> None:
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
            "It says", model.class_name(top), f"{run.result.probabilities[0, top]:.1%} sure"
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
                1000 * run.seconds,
            )
        )
    return found


controls.heading(
    "What does a unit cost?",
    "**τ** is the price of a unit in training. The higher it is, the sooner positions stop: less "
    "work, and at some point less accuracy.",
)
family, picture, fitting, tau = choose()
if family.any_tau:
    dial.show(Look(family.models[0], picture, fitting.image_size, fitting.fit, tau), fitting)
else:
    with controls.guarded():
        looks = [Look(model, picture, fitting.image_size, fitting.fit) for model in family.models]
        runs = [loaders.run(look) for look in looks]
    controls.price_list(PAGE, looks[len(looks) // 2], fitting)
    maps(family, runs, picture)
    mind.show(answers(family, runs), len(runs), "every τ")
st.header("Accuracy against FLOPs", anchor=False)
if family.any_tau and not families.curve(family.models[0]):
    name = family.models[0].name
    st.info(
        "This network has not been measured over its range yet. One command does it: "
        f"python -m sact_core.evaluate --checkpoint pretrained/{name}.h5 --taus 9 --json > "
        f"pretrained/{name}.curve.json",
        icon=":material/timeline:",
    )
points = families.points(family, loaders.shipped_models())
if points:
    st.plotly_chart(
        figures.accuracy_against_flops(points),
        key="sweep_accuracy",
        config=views.QUIET,
        alt="Accuracy against FLOPs of the family, static baselines and the authors' figures",
    )
    st.caption(
        "Over the whole test split, as the checkpoints' provenance states it; bars are the "
        "standard deviation over images. The authors' figure is theirs, as published."
    )
else:
    st.caption("These checkpoints do not say how accurate they are.")
