"""Data set: a whole test split through a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from app import controls, families, loaders
from app.data_set import flipping
from app.data_set.charts import charts, totals
from app.data_set.doubt import doubt
from app.data_set.flipping import Flips
from app.data_set.gallery import class_names, gallery
from app.data_set.taking import take_along
from app.loaders import dataset
from app.loaders.dataset import Outcomes
from app.records import Model
from app.texts import plain

PAGE = "data_set"
SIZES = {200: "200", 1000: "1,000", 5000: "5,000", 1_000_000: "All"}
VIEWS = {"cost": "What it costs", "doubt": "Where people doubt"}
NUM_TAUS = 9  # of a network that takes any


def evaluate(model: Model, count: int, label: str, tau: float | None = None) -> Outcomes:
    """Run the network, with a progress bar; what has run is kept."""
    total = min(count, len(dataset.source(model)))
    label = plain(label)
    bar = st.progress(0.0, f"{label}: 0 of {total:,} images")
    parts = []
    for done, part in dataset.run(model, count, tau):
        parts.append(part)
        bar.progress(done / total, f"{label}: {done:,} of {total:,} images")
    bar.empty()
    return dataset.join(parts)


controls.heading(
    "What is cheap, what is dear?",
    "The whole test split goes through the network. Images with little to see cost little; "
    "crowded or puzzling ones cost more.",
    terms=("FLOPs", "dense", "accuracy", "sure", "τ", "checkpoint"),
)
with st.container(border=True):
    columns = st.columns([5, 4, 4], vertical_alignment="bottom")
    with columns[0]:
        model = controls.choose_model(PAGE)
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
    if model.tau_range is not None:
        cells = st.columns([5, 8], vertical_alignment="bottom")
        with cells[0]:
            tau = controls.choose_tau(PAGE, model)
        cells[1].caption(controls.any_tau(model))
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
    st.stop()
with controls.guarded():
    split = dataset.source(model)
st.caption(
    f"{plain(split.name)}, {plain(split.split)}: {len(split):,} images with "
    f"{len(split.class_names)} classes."
)
this = (model.digest, int(count), with_family, tau)
if st.button("Run", icon=":material/play_arrow:", key="data_set_run", type="primary"):
    st.session_state["data_set_started"] = this
if st.session_state.get("data_set_started") != this:
    st.caption("What has run once is kept: asking again, or for more, goes on from there.")
    st.stop()
with controls.guarded():
    outcomes = evaluate(model, int(count), families.title(model), tau)
    names = class_names(model)
    flips = None
    members: list[tuple[Model, float | None]] = []
    if with_family:
        if model.tau_range is not None:
            taus = loaders.grid(model, NUM_TAUS)
            members = [(model, each) for each in taus]
        else:
            taus = relatives[0].taus
            members = [(member, None) for member in relatives[0].models]
        every = [
            evaluate(member, int(count), f"{families.title(member)}, at τ = {each:g}", asked)
            for (member, asked), each in zip(members, taus, strict=True)
        ]
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
        doubt(model, outcomes, names, tau)
    else:
        totals(outcomes, model.config.num_classes)
        charts(outcomes, names)
        if flips is not None:
            flipping.over_tau(flips)
        take_along(model, outcomes, names, tau, split, flips, [member for member, _ in members])
        gallery(model, outcomes, names, flips, tau)
