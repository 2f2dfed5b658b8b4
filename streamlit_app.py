"""SACT Explorer: see where a network thinks. Run with: sact app, or streamlit run this file."""

from app.folders import ROOT, sentence
from sact_core.extras import MissingPackage, need
from sact_core.resources import memory_sentence

try:
    import streamlit as st
except ModuleNotFoundError:
    raise SystemExit(
        "error: the app needs streamlit, which is not installed: "
        "pip install 'sact-explorer[app]' brings it"
    ) from None

st.set_page_config(
    page_title="SACT Explorer",
    page_icon=str(ROOT / "app" / "logo_icon.png"),
    layout="wide",
    menu_items={
        "About": "**SACT Explorer** shows where a network with spatially adaptive computation "
        "time spends its computation. After Figurnov et al., CVPR 2017, arXiv:1612.02297."
    },
)

try:
    need("app", "the app")
except MissingPackage as error:
    st.error(str(error), icon=":material/error:")
    st.stop()

from app.shell import check_link, dress, surround  # noqa: E402 (needs what is checked above)

PAGES = {
    "See": [
        st.Page(
            "app/pages/explore.py",
            title="Explore",
            icon=":material/visibility:",
            help="An image, its ponder map, and why each position stopped.",
            default=True,
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

dress()
FOLDER = ROOT / "app"
st.logo(str(FOLDER / "logo.svg"), size="large", icon_image=str(FOLDER / "logo_icon.svg"))
page = st.navigation(PAGES)
check_link(page)
try:
    page.run()
except (MemoryError, RuntimeError) as error:  # what a page foresees, it says itself
    if memory_sentence(error) is None:
        raise
    st.error(sentence(error), icon=":material/error:")
finally:
    surround()  # below the page, which it would push down until it is loaded
