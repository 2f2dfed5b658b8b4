"""Explore: an image, its ponder map, and why each position stopped."""

from __future__ import annotations

import streamlit as st

from app import controls
from app.explore.cost import badge, cost, numbers, says
from app.explore.film import film
from app.explore.maps import hero, settle_position, why
from app.explore.take_home import blocks, take_home

PAGE = "explore"

#: What a network decides, by its kind of halting.
SENTENCES = {
    "sact": "It decides **for every position of an image** after how many residual units to stop. "
    "Bright positions took the most thought.",
    "act": "It decides **for an image as a whole**, block by block, after how many residual units "
    "to stop.",
    "none": "This network does not halt: it runs **every residual unit at every position** of an "
    "image.",
}

# Most networks halt by position; where the chosen one doesn't, its sentence comes in the place.
sentence = controls.heading(
    "Where does the network think?",
    SENTENCES["sact"],
    terms=(
        "position",
        "halting score",
        "ε",
        "remainder",
        "ponder cost",
        "active",
        "τ",
        "FLOPs",
        "dense",
    ),
)
choice = controls.choose(PAGE, brief=True)
if not choice.look.model.config.by_position:
    sentence.markdown(SENTENCES[choice.look.model.config.halting])
controls.run(PAGE, choice)  # an error is said before anything is drawn
if choice.look.model.config.by_position:
    settle_position(choice.run)
hero(choice)
controls.facts(choice)
numbers(choice)
badge(choice)
halts = choice.look.model.config.halts
if halts:
    why(choice)
    film(choice)
left, right = st.columns(2, gap="large")
with left:
    says(choice)
with right:
    cost(choice)
if choice.look.model.config.by_position:
    blocks(choice)
if halts:
    take_home(choice)
