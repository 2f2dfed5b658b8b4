"""Photographs: many at once, and what halting saves on them."""

from __future__ import annotations

import streamlit as st

from app import controls
from app.controls.basics import select
from app.controls.networks import uploaded_pictures
from app.folders import photo_folders
from app.loaders import many
from app.photographs.looked_at import looked_at
from app.photographs.rows import run_all
from app.photographs.saving import saving
from app.photographs.table import table
from app.records import Look

PAGE = "photographs"

controls.heading(
    "What would it save on mine?",
    "Many photographs through one network: what each costs, and what halting saves on them, in "
    "FLOPs and in seconds.",
    terms=("FLOPs", "dense", "masked engine", "sure", "τ"),
)
own = uploaded_pictures()
if len(own) > st.session_state.get("photographs_known", 0):
    st.session_state["photographs_place"] = many.OWN  # what has just been added is what is wanted
st.session_state["photographs_known"] = len(own)
with st.container(border=True, key="photographs_choice"):
    columns = st.columns([5, 4, 4], vertical_alignment="bottom")
    with columns[0]:
        model = controls.choose_model(PAGE)
    with columns[1]:
        place = select(PAGE, "place", "Photographs", many.places(own), 0)
    with columns[2].container(horizontal=True):
        controls.add_your_own(PAGE)
        settings = st.popover("Settings", icon=":material/tune:", width="stretch")
    with controls.guarded():
        photos, count = many.photos(place, own)
    if not photos:
        st.info(
            f"There is no photograph in {place}: put some there, or add yours above.",
            icon=":material/folder_open:",
        )
        st.stop()
    tau = None
    with controls.guarded():
        first = next((p for p in photos if many.is_readable(p)), photos[0]).open()
    with settings:
        if model.tau_range is not None:
            tau = controls.choose_tau(PAGE, model)
            st.caption(controls.any_tau(model))
        fitting = controls.choose_input(PAGE, model, first, within=settings)
    look = Look(model, first, fitting.image_size, fitting.fit, tau)
    named = "" if photo_folders() else " A folder of this machine: `SACT_PHOTOS=DIR sact app`."
    if place == many.EXAMPLE:
        st.caption(f"These are the examples that come with the program: add yours above.{named}")
if count > len(photos):
    st.info(
        f"{count:,} photographs are there; the first {len(photos):,} by name are taken here, and "
        "`python -m sact_core.export_maps FOLDER` takes all.",
        icon=":material/filter_list:",
    )
seen = run_all(photos, look)
if not seen.rows:
    st.info("Nothing has run.", icon=":material/image_not_supported:")
    st.stop()
saving(seen)
looked_at(seen)
table(seen)
controls.price_list(PAGE, Look(model, first, fitting.image_size, fitting.fit, tau), fitting)
