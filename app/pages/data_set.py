"""Data set: a whole test split through a network."""

from __future__ import annotations

from collections import Counter

import numpy as np
import streamlit as st

from app import controls, families, figures, loaders, views
from app.data_set import flipping
from app.data_set.flipping import Flips
from app.loaders import dataset
from app.loaders.dataset import Outcomes
from app.records import Model, pretty_class

PAGE = "data_set"
SIZES = {200: "200", 1000: "1,000", 5000: "5,000", 1_000_000: "All"}
SHOWN = 24
MANY_CLASSES = 10  # beyond, the five most likely classes are counted too
ORDERS = {"cheap": "Cheapest first", "dear": "Dearest first", "flip": "Flips soonest"}
FILTERS = {"all": "All", "wrong": "Mistakes", "changed": "Change with τ"}
NUM_TAUS = 9  # of a network that takes any


def evaluate(model: Model, count: int, label: str, tau: float | None = None) -> Outcomes:
    """Run the network, with a progress bar; what has run is kept."""
    total = min(count, len(dataset.source(model)))
    bar = st.progress(0.0, f"{label}: 0 of {total:,} images")
    parts = []
    for done, part in dataset.run(model, count, tau):
        parts.append(part)
        bar.progress(done / total, f"{label}: {done:,} of {total:,} images")
    bar.empty()
    return dataset.join(parts)


def totals(outcomes: Outcomes, num_classes: int) -> None:
    """The split in four numbers."""
    share = outcomes.flops / outcomes.dense
    many = num_classes > MANY_CLASSES
    with st.grid(5 if many else 4, min_column_width=150):
        controls.number(
            "Right",
            f"{outcomes.right.mean():.2%}",
            f"{int(outcomes.right.sum()):,} of {len(outcomes):,}",
        )
        if many:
            controls.number(
                "Among its first five",
                f"{outcomes.among_five.mean():.2%}",
                f"of {num_classes} classes",
                help="How often the label is one of the five classes it finds most likely.",
            )
        controls.number(
            "FLOPs an image",
            figures.si(outcomes.flops.mean()),
            f"± {figures.si(outcomes.flops.std())}",
        )
        controls.number(
            "Of dense", f"{share.mean():.1%}", f"{share.min():.0%} to {share.max():.0%}"
        )
        controls.number("Units a position", f"{outcomes.units.mean():.2f}", "on average")


def charts(outcomes: Outcomes, names: tuple[str, ...]) -> None:
    """Histogram, accuracy against cost, cost per class."""
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**What images cost**")
        st.plotly_chart(
            figures.cost_histogram(outcomes.flops, outcomes.right, float(outcomes.dense.mean())),
            key="data_set_histogram",
            config=views.QUIET,
            alt="Histogram of FLOPs an image, right and wrong",
        )
    with right:
        st.markdown("**Is it right where it thinks longer?**")
        st.plotly_chart(
            figures.accuracy_by_cost(outcomes.flops, outcomes.right),
            key="data_set_accuracy",
            config=views.QUIET,
            alt="Share of right answers over FLOPs",
        )
    present = [i for i in range(len(names)) if (outcomes.labels == i).any()]
    st.markdown("**What the images of each class cost**")
    if len(present) > 30:
        st.caption(f"The 15 cheapest and 15 dearest of {len(present)} classes.")
        means = [outcomes.flops[outcomes.labels == i].mean() for i in present]
        order = np.argsort(means)
        present = [present[i] for i in (*order[:15], *order[-15:])]
    groups = [outcomes.labels == i for i in present]
    st.plotly_chart(
        figures.cost_by_class(
            [names[i] for i in present],
            np.array([outcomes.flops[group].mean() for group in groups]),
            np.array([outcomes.flops[group].std() for group in groups]),
            np.array([outcomes.right[group].mean() for group in groups]),
            70 + 24 * len(present),
        ),
        key="data_set_classes",
        config=views.QUIET,
        alt="FLOPs an image by class",
    )


def gallery(
    model: Model,
    outcomes: Outcomes,
    names: tuple[str, ...],
    flips: Flips | None,
    tau: float | None,
) -> None:
    """Images from cheapest to dearest, or the other way round."""
    st.header("Look at them", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = st.segmented_control(
            "Order",
            list(ORDERS) if flips is not None else ["cheap", "dear"],
            default="cheap",
            required=True,
            format_func=ORDERS.__getitem__,
            key="data_set_order",
            bind="query-params",
        )
        kinds = list(FILTERS) if flips is not None else ["all", "wrong"]
        which = st.segmented_control(
            "Which",
            kinds,
            default="all",
            required=True,
            format_func=FILTERS.__getitem__,
            key="data_set_which",
            bind="query-params",
        )
        wanted = st.selectbox(
            "Class", ["Every class", *names], key="data_set_class", bind="query-params", width=180
        )
    keep = np.ones(len(outcomes), bool)
    if which == "wrong":
        keep &= ~outcomes.right
    elif which == "changed" and flips is not None:
        keep &= flips.changed
    if wanted in names:
        keep &= outcomes.labels == names.index(wanted)
    found = np.flatnonzero(keep)
    found = found[np.argsort(outcomes.flops[found], kind="stable")]
    if order == "dear":
        found = found[::-1]
    elif order == "flip" and flips is not None:
        found = found[np.argsort(flips.first[found], kind="stable")]
    if not len(found):
        st.caption("No image is like that.")
        return
    pages = -(-len(found) // SHOWN)
    st.caption(f"{len(found):,} images. The share is that of dense FLOPs.")
    page = st.pagination(pages, key="data_set_page", bind="query-params") if pages > 1 else 1
    shown = [int(i) for i in found[(page - 1) * SHOWN : page * SHOWN]]
    pictures = dataset.images(model, [int(outcomes.indices[i]) for i in shown], thumbnail)
    moments = flipping.words(model, flips, shown, names) if flips is not None else {}
    query = {} if tau is None else {"explore_tau": f"{tau:g}"}
    with st.grid("auto", min_column_width=120, gap="small") as grid:
        for i, picture in zip(shown, pictures, strict=True):
            with grid.cell():
                index = int(outcomes.indices[i])
                says = names[outcomes.predictions[i]]
                label = names[outcomes.labels[i]]
                st.image(picture, width="stretch", alt=f"Test image {index}, {label}")
                share = outcomes.flops[i] / outcomes.dense[i]
                right = outcomes.right[i]
                verdict = f":green[{says}]" if right else f":red[{says}], is {label}"
                st.caption(f"{verdict} · {share:.0%}{moments.get(i, '')}")
                controls.page_link(
                    "explore",
                    f"Open #{index}",
                    ":material/open_in_full:",
                    explore_checkpoint=model.name,
                    explore_image=controls.TEST_IMAGE,
                    explore_index=str(index),
                    **query,
                )


def class_names(model: Model) -> tuple[str, ...]:
    """What the classes are called, no two alike."""
    given = [model.class_name(i) for i in range(model.config.num_classes)]
    theirs = dataset.source(model).class_names
    if not model.header.class_names and len(theirs) == len(given):
        given = [pretty_class(name) for name in theirs]
    counts = Counter(given)
    return tuple(name if counts[name] == 1 else f"{name} ({i})" for i, name in enumerate(given))


def thumbnail(picture: np.ndarray, side: int = 128) -> np.ndarray:
    """The central square, at most ``side`` pixels; small pictures keep square pixels."""
    height, width = picture.shape[:2]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square = picture[top : top + least, left : left + least]
    factor = max(1, side // least)
    if factor > 1:
        return square.repeat(factor, 0).repeat(factor, 1)
    stride = max(1, least // side)
    return square[::stride, ::stride]


controls.heading(
    "What is cheap, what is dear?",
    "The whole test split goes through the network. Images with little to see cost little; "
    "crowded or puzzling ones cost more.",
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
    else:
        st.info(
            f"The data set {dataset.name_of(model)} is not on this machine. One command gets it:",
            icon=":material/download:",
        )
        st.code(dataset.how_to_get_it(model), language="bash", wrap_lines=True)
        st.caption("Kept elsewhere? Start the app with TFDS_DATA_DIR set to that folder.")
    st.stop()
with controls.guarded():
    split = dataset.source(model)
st.caption(
    f"{split.name}, {split.split}: {len(split):,} images with {len(split.class_names)} classes."
)
this = (model.digest, int(count), with_family, tau)
if st.button("Run", icon=":material/play_arrow:", key="data_set_run", type="primary"):
    st.session_state["data_set_started"] = this
if st.session_state.get("data_set_started") != this:
    st.caption("What has run once is kept: asking again, or for more, goes on from there.")
    st.stop()
with controls.guarded():
    outcomes = evaluate(model, int(count), model.name, tau)
    names = class_names(model)
    flips = None
    if with_family:
        members: list[tuple[Model, float | None]]
        if model.tau_range is not None:
            taus = loaders.grid(model, NUM_TAUS)
            members = [(model, each) for each in taus]
        else:
            taus = relatives[0].taus
            members = [(member, None) for member in relatives[0].models]
        every = [
            evaluate(member, int(count), f"{member.name}, τ = {each:g}", asked)
            for (member, asked), each in zip(members, taus, strict=True)
        ]
        first = dataset.first_flips(np.stack([each.predictions for each in every]))
        flips = Flips(taus, every, first)
    if len(outcomes.left_out):
        st.warning(
            f"Left out, since they cannot be read: {len(outcomes.left_out):,} of "
            f"{len(outcomes.left_out) + len(outcomes):,} images: "
            + ", ".join(outcomes.left_out[:5])
            + (" and others" if len(outcomes.left_out) > 5 else "."),
            icon=":material/broken_image:",
        )
    totals(outcomes, model.config.num_classes)
    charts(outcomes, names)
    if flips is not None:
        flipping.over_tau(flips)
    gallery(model, outcomes, names, flips, tau)
