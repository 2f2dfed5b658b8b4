"""The images of a test split, from cheap to dear."""

from __future__ import annotations

from collections import Counter

import numpy as np
import streamlit as st

from app import controls
from app.data_set import flipping
from app.data_set.flipping import Flips
from app.loaders import dataset
from app.loaders.dataset import Outcomes
from app.records import Model, pretty_class
from app.texts import plain

SHOWN = 24
ORDERS = {"cheap": "Cheapest first", "dear": "Dearest first", "flip": "Flips soonest"}
FILTERS = {"all": "All", "wrong": "Mistakes", "changed": "Change with τ"}


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
    moments = flipping.words(model, flips, shown, names) if flips is not None else {}
    cards(model, outcomes, names, shown, moments, tau)


def cards(
    model: Model,
    outcomes: Outcomes,
    names: tuple[str, ...],
    shown: list[int],
    words: dict[int, str],
    tau: float | None,
) -> None:
    """Show some images, each with its answer, its cost and more words, and a link to Explore."""
    pictures = dataset.images(model, [int(outcomes.indices[i]) for i in shown], thumbnail)
    query = {} if tau is None else {"explore_tau": f"{tau:g}"}
    with st.grid("auto", min_column_width=120, gap="small") as grid:
        for i, picture in zip(shown, pictures, strict=True):
            with grid.cell():
                index = int(outcomes.indices[i])
                says = plain(names[outcomes.predictions[i]])
                label = plain(names[outcomes.labels[i]])
                alt = f"Test image {index}, {names[outcomes.labels[i]]}"
                st.image(picture, width="stretch", alt=alt)
                share = outcomes.flops[i] / outcomes.dense[i]
                right = outcomes.right[i]
                verdict = f":green[{says}]" if right else f":red[{says}], is {label}"
                st.caption(f"{verdict} · {share:.0%}{words.get(i, '')}")
                if model.data_folder is not None:
                    continue  # Explore's test images are those of the network's own data set
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
