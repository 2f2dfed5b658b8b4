"""Data set: a whole test split through a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import streamlit as st

from app import controls, families, loaders
from app.controls.basics import select
from app.controls.networks import titles
from app.data_set import flipping
from app.data_set.charts import charts, totals
from app.data_set.doubt import doubt
from app.data_set.flipping import Flips
from app.data_set.gallery import class_names, gallery
from app.data_set.passes import Pass, missing, run_all
from app.data_set.taking import take_along
from app.loaders import dataset
from app.records import Model
from app.texts import plain

PAGE = "data_set"
SIZES = {200: "200", 1000: "1,000", 5000: "5,000", 1_000_000: "All"}
VIEWS = {"cost": "What it costs", "doubt": "Where people doubt"}
OWN = "Its own data set"
NUM_TAUS = 9  # of a network that takes any


def on(model: Model, data: str) -> Model:
    """The network, with what it is to be tested on."""
    return model if data == OWN else dataset.on_folder(model, data)


controls.heading(
    "What is cheap, what is dear?",
    "The whole test split goes through the network. Images with little to see cost little; "
    "crowded or puzzling ones cost more.",
    terms=("FLOPs", "dense", "accuracy", "sure", "τ", "checkpoint"),
)
with st.container(border=True):
    columns = st.columns([5, 4, 4], vertical_alignment="bottom")
    with columns[0]:
        model = controls.choose_model(PAGE, useful=dataset.is_here)
    with columns[1]:
        count = st.segmented_control(
            "Images",
            list(SIZES),
            default=200,
            required=True,
            format_func=SIZES.__getitem__,
            key="data_set_count",
            bind="query-params",
        )
    relatives = [
        family
        for family in families.families(loaders.shipped_models())
        if model.name in [member.name for member in family.models] and len(family.models) > 1
    ]
    with columns[2]:
        what = (
            f"Also runs {NUM_TAUS} taus of its range"
            if model.tau_range is not None
            else "Also runs the other checkpoints of this family"
        )
        with_family = (bool(relatives) or model.tau_range is not None) and st.toggle(
            "With every τ",
            key="data_set_family",
            bind="query-params",
            help=f"{what}, to find the images whose answer changes with τ, and where.",
        )
    tau = None
    cells = st.columns([5, 4, 4], vertical_alignment="bottom")
    if model.tau_range is not None:
        with cells[0]:
            tau = controls.choose_tau(PAGE, model)
        cells[2].caption(controls.any_tau(model))
    if dataset.folders():
        with cells[1]:
            data = select(PAGE, "data", "Images of", [OWN, *dataset.folders()], 0)
    else:
        data = OWN
    with controls.guarded():
        model = on(model, data)
if not dataset.is_here(model):
    if dataset.name_of(model) is None:
        st.info(
            "This checkpoint does not say which data set it was trained on.",
            icon=":material/info:",
        )
    elif dataset.was_a_folder(model):
        st.info(
            f"It was trained on the folder {plain(dataset.name_of(model))}, which is not on this "
            "machine. "
            if isinstance(model.source, Path)
            else "It was trained on a folder of its own. A checkpoint that was uploaded opens no "
            "folder here: put it into pretrained/ or runs/ instead.",
            icon=":material/folder_off:",
        )
    else:
        st.info(
            f"The data set {plain(dataset.name_of(model))} is not on this machine. "
            "One command gets it:",
            icon=":material/download:",
        )
        st.code(dataset.how_to_get_it(model), language=None, wrap_lines=True)
        st.caption("Kept elsewhere? Start the app with TFDS_DATA_DIR set to that folder.")
    others = [other for other in loaders.shipped_models() if dataset.is_here(other)]
    if others:
        sets = sorted({str(dataset.name_of(other)) for other in others})
        best = families.title(max(others, key=lambda other: other.tau_range is not None))
        st.caption(
            f"On this machine: {', '.join(map(plain, sets))}. Choose a network of "
            f"{'it' if len(sets) == 1 else 'them'} above, such as {best}."
        )
    if dataset.folders():
        st.caption("Or choose a folder of photographs under “Images of”.")
    else:
        st.caption(
            "Photographs of your own, one folder for each class, are offered here where the app "
            "is started with SACT_PHOTOS set to the folder above them."
        )
    st.stop()
with controls.guarded():
    split = dataset.source(model)
    split = split if data == OWN else replace(split, name=data)  # without where it lies
passed_over = st.session_state.get("chosen_checkpoint", model.name)
note = ""
if passed_over != model.name:
    note = f" Test images of {plain(titles([passed_over])[passed_over])} are not on this machine."
st.caption(
    f"{plain(split.name)}, {plain(split.split)}: {len(split):,} images with "
    f"{len(split.class_names)} classes.{note}"
)
passes = [Pass(model, families.title(model), tau)]
taus: list[float] = []
if with_family and model.tau_range is not None:
    taus = loaders.grid(model, NUM_TAUS)
    passes += [Pass(model, f"{families.title(model)}, at τ = {each:g}", each) for each in taus]
elif with_family:
    taus = relatives[0].taus
    for member, each in zip(relatives[0].models, taus, strict=True):
        passes.append(Pass(on(member, data), f"{families.title(member)}, at τ = {each:g}"))
this = (model.key, int(count), with_family, tau, data)
if st.button("Run", icon=":material/play_arrow:", key="data_set_run", type="primary"):
    st.session_state["data_set_started"] = this
with controls.guarded():
    if st.session_state.get("data_set_started") != this and missing(passes, int(count)):
        st.caption(
            "What has run once is kept, on disk too: asking again, or for more, goes on from there."
        )
        st.stop()
    outcomes, *every = run_all(passes, int(count))
    if dataset.unkept():
        st.warning(
            f"What has run cannot be kept on disk ({plain(dataset.unkept())}), only until the app "
            "ends: SACT_CACHE_DIR names another folder.",
            icon=":material/save:",
        )
    names = class_names(model)
    flips = None
    if every:
        first = dataset.first_flips(np.stack([each.predictions for each in every]))
        flips = Flips(taus, every, first)
    if len(outcomes.left_out):
        st.warning(
            f"Left out, since they cannot be read: {len(outcomes.left_out):,} of "
            f"{len(outcomes.left_out) + len(outcomes):,} images: "
            + ", ".join(map(plain, outcomes.left_out[:5]))
            + (" and others" if len(outcomes.left_out) > 5 else "."),
            icon=":material/broken_image:",
        )
    view = st.segmented_control(
        "View",
        list(VIEWS),
        default="cost",
        required=True,
        format_func=VIEWS.__getitem__,
        key="data_set_view",
        bind="query-params",
        label_visibility="collapsed",
    )
    if view == "doubt":
        ran = list(zip(passes, [outcomes, *every], strict=True))
        doubt(model, ran, int(count), NUM_TAUS if with_family else 1, split)
    else:
        totals(outcomes, model.config.num_classes)
        charts(outcomes, names)
        if flips is not None:
            flipping.over_tau(flips)
        take_along(model, outcomes, names, tau, split, flips, [each.model for each in passes[1:]])
        gallery(model, outcomes, names, flips, tau)
