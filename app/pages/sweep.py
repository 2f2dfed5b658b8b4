"""Sweep tau: what the price of a unit does to accuracy, cost and the map."""

from __future__ import annotations

import shlex

import streamlit as st

from app import controls, drawn, exports, families, figures, loaders, tabled, times, views
from app.controls.basics import honour
from app.families import Family
from app.records import Look, Picture
from app.sweep import dial, mind
from app.sweep.family import answers, maps
from app.texts import code_span, file_stem

PAGE = "sweep"


def choose() -> tuple[Family, Picture, controls.Fitting, float | None]:
    """A family of checkpoints, or one that takes any tau and its tau, and an image."""
    models = loaders.shipped_models()
    found = [*families.any_tau(models), *families.families(models)]
    # As `loaders.first_checkpoint` chooses; stable: any tau first.
    found.sort(key=lambda f: (f.kind != "photographs", -f.models[0].config.num_classes))
    if not found:
        st.info(
            "Put checkpoints that differ in τ only into the folder pretrained/ to see a sweep. "
            "Train one with: python -m sact_core.train --halting sact --tau 0.005",
            icon=":material/folder_open:",
        )
        st.stop()
    labels = [family.label for family in found]
    honour("sweep_family", labels, lambda asked: _family_of(asked, found))
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


def _family_of(asked: str, found: list[Family]) -> str | None:
    """The family of a network that a link names."""
    members = {model.name: family.label for family in found for model in family.models}
    return members.get(controls.meant(asked, list(members)) or "")


controls.heading(
    "What does a unit cost?",
    "**τ** is the price of a unit in training. The higher it is, the sooner positions stop: less "
    "work, and at some point less accuracy.",
    terms=("τ", "any τ", "ponder cost", "FLOPs", "dense", "accuracy", "static network"),
)
family, picture, fitting, tau = choose()
if family.any_tau:
    dial.show(Look(family.models[0], picture, fitting.image_size, fitting.fit, tau), fitting)
else:
    with controls.guarded():
        looks = [Look(model, picture, fitting.image_size, fitting.fit) for model in family.models]
        runs = [loaders.run(look) for look in looks]
    controls.price_list(PAGE, looks[len(looks) // 2], fitting)
    maps(family, looks, runs, picture)
    told = answers(family, runs)
    mind.show(told, len(runs), "every τ")
    about = drawn.about_runs(looks, runs, f"answers and cost by tau: {picture.name}")
    stem = f"{file_stem(exports.image_stem(picture), family.label)}_sweep"
    controls.tables(PAGE, stem, [tabled.over_tau(told, about, drawn.ponder_words(looks))])
    if any(run.backend != "masked" for run in runs):
        st.caption(times.NOT_YET)
    controls.measure_again(PAGE, looks)
st.header("Accuracy against FLOPs", anchor=False)
if family.any_tau and not families.curve(family.models[0]):
    file = f"pretrained/{family.models[0].name}"
    words = f"python -m sact_core.evaluate --checkpoint {shlex.quote(file + '.h5')} --taus 9 --json"
    st.info(
        "This network has not been measured over its range yet. One command does it: "
        + code_span(f"{words} > {shlex.quote(file + '.curve.json')}"),
        icon=":material/timeline:",
    )
points = families.points(family, loaders.shipped_models())
rivals = any(point.short.endswith(" px") for point in points)
published = any(point.group == families.PUBLISHED for point in points)
if points:
    st.plotly_chart(
        figures.accuracy_against_flops(points),
        key="sweep_accuracy",
        config=views.QUIET,
        alt="Accuracy against FLOPs of the family, static baselines and the authors' figures",
    )
    st.caption(
        "Over the whole test split, as the checkpoints' provenance states it; bars are the "
        "standard deviation over images."
        + (" The authors' figure is theirs, as published." if published else "")
        + (" Another image size is the rival that costs nothing: no training." if rivals else "")
    )
    among = families.shown_models(family, loaders.shipped_models())
    drawing = drawn.accuracy(points, among, family.label)
    controls.figures("sweep_accuracy", file_stem(family.label, "accuracy"), [drawing])
else:
    st.caption("These checkpoints do not say how accurate they are.")
