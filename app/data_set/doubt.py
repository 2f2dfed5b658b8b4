"""Does it think longer where people doubt? View of the Data set page."""

from __future__ import annotations

import streamlit as st

from app import controls, figures, views
from app.data_set.gallery import cards
from app.folders import InputError
from app.loaders import dataset, people
from app.loaders.dataset import Outcomes
from app.loaders.people import Doubt
from app.records import Model

GALLERIES = {
    "dear_to_network": "Dear to the network, easy for people",
    "dear_to_people": "Cheap for the network, hard for people",
}


def doubt(model: Model, outcomes: Outcomes, names: tuple[str, ...], tau: float | None) -> None:
    """Cost against people's doubt, and the images where both differ most."""
    st.file_uploader(
        "What people answered (.npy of counts, images × classes)",
        type=["npy"],
        key="data_set_people",
        on_change=_take,
        help="CIFAR-10H has it for CIFAR-10's test images: cifar10h-counts.npy of "
        "github.com/jcpeterson/cifar-10h (CC BY-NC-SA 4.0). It stays in this server's memory "
        "until you close the page.",
    )
    problem = st.session_state.pop("data_set_people_problem", None)
    if problem is not None:
        controls.say_error(problem)
    given = people.answers()
    if given is None:
        st.info(
            "Nothing is known here of what people answered on these images. Upload their counts, "
            "or start the app with SACT_HUMAN set to the file.",
            icon=":material/groups:",
        )
        return
    whole = dataset.source(model).whole
    found = people.doubt(outcomes, given, model.config.num_classes, whole)
    st.caption(
        f"{found.num_images:,} images that people answered on; their most frequent answer is the "
        f"label on {found.agreement:.1%}."
    )
    _numbers(found)
    st.markdown("**What images cost that people agree on, and that they doubt**")
    what = "ponder_cost" if "ponder_cost" in found.groups[0] else "network_entropy"
    st.plotly_chart(
        figures.by_doubt(
            [group["people_entropy"][0] for group in found.groups],
            [group[what] for group in found.groups],
            [group["images"] for group in found.groups],
            "ponder cost, units" if what == "ponder_cost" else "entropy of the answer, bits",
        ),
        key="data_set_by_doubt",
        config=views.QUIET,
        alt="Mean cost over people's entropy, with intervals",
    )
    if not found.galleries:
        st.caption("A network that never halts spends the same on every image.")
        return
    st.header("Where network and people differ most", anchor=False)
    which = st.segmented_control(
        "Images",
        list(GALLERIES),
        default="dear_to_network",
        required=True,
        format_func=GALLERIES.__getitem__,
        key="data_set_differ",
        bind="query-params",
        label_visibility="collapsed",
    )
    shown = found.galleries[which]
    places = {int(index): place for place, index in enumerate(outcomes.indices)}
    words = {places[one["index"]]: f" · people {one['people_entropy']:.2f} bits" for one in shown}
    cards(model, outcomes, names, list(words), words, tau)


def _numbers(found: Doubt) -> None:
    halts = "ponder_cost" in found.correlations
    name = "ponder_cost" if halts else "network_entropy"
    with st.grid(4, min_column_width=150):
        _number(
            f"{'Cost' if halts else 'Its entropy'} and people's doubt",
            found.correlations[name],
            "Spearman's rank correlation with the entropy of people's answers; the interval holds "
            "95 % of resamples.",
        )
        _number(
            "The same, given edges and colours",
            found.correlations[f"{name}_given"],
            "What is left where edge density and colourfulness of the image are taken away: dear "
            "could mean busy.",
        )
        _number(
            "With shuffled answers",
            found.null,
            "The null control: 0 should lie within the interval.",
        )
        _number(
            "Finds errors, AUROC",
            found.finds_errors["ponder_cost" if halts else "unsure"],
            "How often a wrong answer cost more than a right one; 0.5 is chance. By confidence it "
            f"is {found.finds_errors['unsure'][0] or 0:.3f}.",
            sign="",
        )


def _number(label: str, numbers: list[float | None], help: str, sign: str = "+") -> None:
    if None in numbers:
        controls.number(label, "–", "the same everywhere", help)
        return
    value, low, high = (f"{number:{sign}.3f}" for number in numbers)
    controls.number(label, value, f"{low} to {high}", help)


def _take() -> None:
    file = st.session_state.get("data_set_people")
    if file is None:
        return
    try:
        people.keep(file.name, file.getvalue())
    except InputError as error:
        st.session_state["data_set_people_problem"] = str(error)
