"""Does it think longer where people doubt? View of the Data set page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import controls, exports, families, figures, tabled, views
from app.data_set import beside
from app.data_set.beside import Told
from app.data_set.gallery import cards, class_names
from app.data_set.passes import Pass
from app.drawn import Drawing
from app.folders import InputError
from app.loaders import people
from app.loaders.dataset import Outcomes
from app.records import Model
from app.tabled import Table
from app.texts import file_stem
from sact_core.data.source import Source
from sact_core.doubt import words
from sact_core.doubt.series import NEVER, OVER_TAU, Group, groups
from sact_core.measures.people import MOST_BYTES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Plot

GALLERIES = {
    "dear_to_network": "Dear to the network, easy for people",
    "dear_to_people": "Cheap for the network, hard for people",
}
PAGE = "data_set_doubt"


def doubt(
    model: Model,
    ran: Sequence[tuple[Pass, Outcomes]],
    count: int,
    num_taus: int,
    split: Source,
) -> None:
    """Cost against people's doubt and against errors, and the images where both differ most.

    Parameters
    ----------
    model : Model
        The one that is chosen.
    ran : sequence of (Pass, Outcomes)
        What it, and its relatives, did; the first is what was asked for.
    count : int
        Images that were asked for.
    num_taus : int
        At how many taus networks that are set beside it run.
    split : Source
        The images.
    """
    st.file_uploader(
        "What people answered (.npy of counts, images × classes)",
        type=["npy"],
        max_upload_size=MOST_BYTES >> 20,
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
    others = beside.choose(model, count, num_taus)
    told = beside.set_against([*ran, *others], given)
    first = told[0]
    st.caption(
        f"{first.found['images']:,} images that people answered on; their most frequent answer is "
        f"the label on {first.found['agreement']:.1%}."
    )
    _numbers(first.found)
    parts = groups([each.found for each in told])
    if len(told) > 1:
        _over_tau(parts)
        _table(told)
    _take_along(told, given.name, split)
    _by_network(parts)
    _gallery(told)


def _numbers(found: dict[str, Any]) -> None:
    halts = "ponder_cost" in found["correlations"]
    name = "ponder_cost" if halts else "network_entropy"
    known, null = found["correlations"][name]["people_entropy"], found["null"][name]
    areas = found["errors"]["auroc"]
    with st.grid(4, min_column_width=150):
        _number(
            f"{'Cost' if halts else 'Its entropy'} and people's doubt",
            known["plain"],
            "Spearman's rank correlation with the entropy of people's answers; the interval holds "
            "95 % of resamples.",
        )
        _number(
            "Given edges and colours",
            known["given_busy"],
            "What of it is left where edge density and colourfulness of the image are taken away: "
            "dear could mean busy.",
        )
        _number(
            "With shuffled answers",
            null["shuffled"],
            "The null control: mean and interval of a thousand random orders of the answers. "
            "What is outside is no chance"
            + (f" (p = {null['p']:.3f})." if null["p"] is not None else "."),
        )
        _number(
            "Finds errors, AUROC",
            areas["ponder_cost" if halts else "unsure"],
            "How often a wrong answer cost more than a right one; 0.5 is chance. By confidence it "
            f"is {areas['unsure'][0] or 0:.3f}.",
            sign="",
        )


def _number(label: str, numbers: list[float | None], help: str, sign: str = "+") -> None:
    if None in numbers:
        controls.number(label, "–", "the same everywhere", help)
        return
    value, low, high = (f"{number:{sign}.3f}" for number in numbers)
    controls.number(label, value, f"{low} to {high}", help)


def _over_tau(parts: Sequence[Group]) -> None:
    """What changes over tau, of all networks."""
    if all(part.name == NEVER for part in parts):
        return
    st.header("By network and τ", anchor=False)
    with st.grid(3, min_column_width=300):
        for i, (title, lines) in enumerate(OVER_TAU):
            with st.container():
                solid, dashed = lines
                st.markdown(f"**{title[:1].upper()}{title[1:]}**")
                st.caption(f"Solid: {solid}. Dashed: {dashed}.")
                st.plotly_chart(
                    figures.networks_over_tau(parts, lines, percent=title.startswith("calib")),
                    key=f"{PAGE}_over_tau_{i}",
                    config=views.QUIET,
                    alt=f"{title}, of each network over τ, with intervals",
                )


def _table(told: Sequence[Told]) -> None:
    rows = words.rows([each.found for each in told])
    st.dataframe(
        [dict(zip(words.HEADER, row, strict=True)) for row in rows],
        hide_index=True,
        key=f"{PAGE}_rows",
        column_config={"network": st.column_config.TextColumn(pinned=True, width="medium")},
    )


def _by_network(parts: Sequence[Group]) -> None:
    """Curves of each network, its taus in shades, on axes that compare."""
    halting = [part for part in parts if part.name != NEVER]
    limits = figures.doubt_limits(halting) if halting else None
    drawn: dict[str, Callable[[Group], Plot]] = {
        "What images cost that people doubt": lambda part: figures.doubted(
            part, limits if part.name != NEVER else None
        ),
        "Does cost foretell error?": figures.risk,
        "Is it as sure as it is right?": figures.reliability,
    }
    if len(parts) == 1:
        with st.grid(3, min_column_width=300):
            for i, (title, draw) in enumerate(drawn.items()):
                with st.container():
                    st.markdown(f"**{title}**")
                    if len(parts[0].entries) > 1:  # of one there is a legend
                        st.caption(f"{_named(parts[0])}. {_dashes(draw, parts)}")
                    _chart(parts[0], draw, f"{PAGE}_{i}_0", title)
        return
    for i, (title, draw) in enumerate(drawn.items()):
        st.markdown(f"**{title}**")
        if _dashes(draw, parts):
            st.caption(_dashes(draw, parts))
        if draw is figures.reliability:
            st.caption("Of all images; of one network at one τ, the cheapest and dearest fifth.")
        with st.grid(2 if len(parts) in (2, 4) else 3, min_column_width=300):
            for k, part in enumerate(parts):
                with st.container():
                    st.caption(_named(part))
                    _chart(part, draw, f"{PAGE}_{i}_{k}", title)


def _dashes(draw: Callable[[Group], Plot], parts: Sequence[Group]) -> str:
    """What solid, dashed and dotted lines are, where no legend says it."""
    if draw is not figures.risk or all(part.name == NEVER for part in parts):
        return ""
    both = any(len(part.entries) == 1 and part.name != NEVER for part in parts)
    return "Solid: the cheapest images are answered first. Dashed: those it is surest of." + (
        " Dotted: by both." if both else ""
    )


def _chart(part: Group, draw: Callable[[Group], Plot], key: str, title: str) -> None:
    st.plotly_chart(draw(part), key=key, config=views.QUIET, alt=f"{title} {part.name}")


def _named(part: Group) -> str:
    name = "Networks that never halt" if part.name == NEVER else part.name
    if len(part.entries) <= figures.MOST_NAMED or part.name == NEVER:
        return name
    low, high = (part.entries[i]["tau"] for i in (0, -1))
    return f"{name}, from τ = {low:.3g} (dark) to {high:.3g} (light)"


def _gallery(told: Sequence[Told]) -> None:
    halting = [each for each in told if each.found["galleries"]]
    if not told[0].found["galleries"]:
        st.caption("A network that never halts spends the same on every image.")
    if not halting:
        return
    st.header("Where network and people differ most", anchor=False)
    one = halting[0]
    if len(halting) > 1:
        labels = [_label(each) for each in halting]
        chosen = st.selectbox("Network", labels, key="data_set_differ_of")
        one = halting[labels.index(chosen) if chosen in labels else 0]
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
    shown, outcomes, model = one.found["galleries"][which], one.outcomes, one.run.model
    places = {int(index): place for place, index in enumerate(outcomes.indices)}
    said = {places[each["index"]]: f" · people {each['people_entropy']:.2f} bits" for each in shown}
    cards(model, outcomes, class_names(model), list(said), said, one.run.tau)


def _label(told: Told) -> str:
    title = families.title(told.run.model)
    return title if told.run.model.tau_range is None else f"{title}, at τ = {told.tau:.3g}"


def _take_along(told: Sequence[Told], labels: str, split: Source) -> None:
    """Figure and table as the command gives them."""
    found = [each.found for each in told]
    models = {each.run.model.key: each.run.model for each in told}
    taus = sorted({each.tau for each in told if each.run.model.tau_range and each.tau is not None})
    count = len(told[0].outcomes) + len(told[0].outcomes.left_out)
    command = ["python", "-m", "sact_core.doubt", "--checkpoint"]
    command += map(exports.checkpoint_word, models.values())
    command += ["--taus", *(f"{tau:.12g}" for tau in taus)] if taus else []
    command += [] if count == len(split) else ["--num-examples", str(count)]
    command += ["--labels", labels, "--resamples", str(people.RESAMPLES)]
    about = {
        "title": "ponder cost and people's doubt",
        "networks": [
            tabled.network(each.run.model, each.run.tau, families.title(each.run.model))
            for each in told
        ],
        "data_set": split.name,
        "split": split.split,
        "images": found[0]["images"],
        "resamples": people.RESAMPLES,
    }
    stem = file_stem("doubt", split.name, split.split)
    drawing = Drawing("Doubt", partial(_drawn, found), about, tuple(command))
    table = Table("Doubt", words.HEADER, words.rows(found), about, tuple(command))
    with st.container(horizontal=True):
        controls.tables(PAGE, stem, [table])
        controls.figures(PAGE, stem, [drawing])


def _drawn(found: Sequence[dict[str, Any]], width: float) -> Figure:
    from sact_core.doubt.drawing import draw

    return draw(found, width)


def _take() -> None:
    file = st.session_state.get("data_set_people")
    if file is None:
        return
    try:
        people.keep(file.name, file.getvalue())
    except InputError as error:
        st.session_state["data_set_people_problem"] = str(error)
