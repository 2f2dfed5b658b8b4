"""The list of pages, and what is done for every one of them."""

from __future__ import annotations

import streamlit as st

from app.folders import ROOT, sentence
from app.lecture import bar
from app.shell import check_link, surround
from sact_core.resources import memory_sentence


def show() -> None:
    """Draw the page that is asked for."""
    folder = ROOT / "app"
    st.logo(str(folder / "logo.svg"), size="large", icon_image=str(folder / "logo_icon.svg"))
    listed = pages()
    page = st.navigation(listed)
    check_link(page)
    look_at = bar.show(page, [each for group in listed.values() for each in group])
    try:
        page.run()
    except (MemoryError, RuntimeError) as error:  # what a page foresees, it says itself
        if memory_sentence(error) is None:
            raise
        st.error(sentence(error), icon=":material/error:")
    finally:
        surround(look_at)  # below the page, which it would push down until it is loaded


def pages() -> dict[str, list[st.Page]]:
    """Every page, by what it is for."""
    return {
        "Learn": [
            st.Page(
                "app/pages/start.py",
                title="Start here",
                icon=":material/school:",
                help="A guided path over the pages: ten minutes, from a unit to where it fails.",
            ),
            st.Page(
                "app/pages/glossary.py",
                title="Glossary",
                icon=":material/dictionary:",
                help="What the words mean.",
            ),
        ],
        "See": [
            st.Page(
                "app/pages/explore.py",
                title="Explore",
                icon=":material/visibility:",
                help="An image, its ponder map, and why each position stopped.",
                default=True,
            ),
            st.Page(
                "app/pages/photographs.py",
                title="Photographs",
                icon=":material/photo_library:",
                help="Many photographs at once, and what halting saves on them.",
            ),
            st.Page(
                "app/pages/sweep.py",
                title="Sweep tau",
                icon=":material/tune:",
                help="What the price of a unit does to accuracy, cost and the map.",
            ),
            st.Page(
                "app/pages/compare.py",
                title="Compare",
                icon=":material/compare:",
                help="Two to four networks on one image, aligned.",
            ),
        ],
        "Understand": [
            st.Page(
                "app/pages/halting_lab.py",
                title="Halting lab",
                icon=":material/science:",
                help="The halting rule itself: edit the scores and step through it.",
            ),
            st.Page(
                "app/pages/flops.py",
                title="FLOPs",
                icon=":material/account_tree:",
                help="Where the FLOPs go: by block, unit and layer.",
            ),
        ],
        "Measure": [
            st.Page(
                "app/pages/data_set.py",
                title="Data set",
                icon=":material/grid_view:",
                help="A whole test split: cost by image and class, mistakes, gallery.",
            ),
            st.Page(
                "app/pages/runs.py",
                title="Runs",
                icon=":material/monitoring:",
                help="Training runs: live curves, recipe, how to resume.",
            ),
            st.Page(
                "app/pages/check.py",
                title="Check",
                icon=":material/fact_check:",
                help="Three backends side by side; version, licence, citation.",
            ),
        ],
    }
