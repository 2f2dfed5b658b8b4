"""How an image is fitted to a network, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from app import figures, loaders, stated, times
from app.controls.basics import carry, guarded
from app.loaders import Cost
from app.records import Look, Model, Picture, Run
from app.texts import plain
from sact_core.config import KINDS

#: How an image is fitted; where evaluation stretches it, a crop that does not is another.
FITS = {"crop": "Square crop", "keep": "Whole image"}
STRETCHED_FITS = {"crop": "As evaluated", "square": "Square crop", "keep": "Whole image"}
#: Bytes from which memory is worth a word, and their share of what is free.
MUCH_MEMORY = 256 << 20
LARGE_SHARE = 0.25


@dataclass(frozen=True)
class Fitting:
    """How an image is fitted to a network.

    Attributes
    ----------
    image_size, fit : int, str, optional
        None where they are the checkpoint's own.
    sides : tuple of int
        What can be chosen.
    slot : container, optional
        Where the price list goes.
    """

    image_size: int | None
    fit: str | None
    sides: tuple[int, ...] = ()
    slot: Any = field(default=None, repr=False, compare=False)


def choose_input(
    page: str, model: Model, picture: Picture, below: Any = None, within: Any = None
) -> Fitting:
    """Let the user change how an image is fitted to the network.

    A photograph is shown whole and larger than the network was trained on, since
    its map then has more to see; a small image or one of the test images as the
    network was trained.

    Parameters
    ----------
    page : str
        Makes the keys.
    model, picture : Model, Picture
        What is fitted to what.
    below : container, optional
        Where the longer side of a photograph is chosen; with the rest if left out.
    within : container, optional
        Where the rest is; in a popover of its own if left out.

    Returns
    -------
    Fitting
        What was chosen.
    """
    own, family = model.header.preprocessing, model.config.facts
    small = max(picture.pixels.shape[:2]) <= own.image_size
    trained = small or (picture.origin == "test" and family.photographs)
    kind = model.config.family
    if trained:
        kind = "as_trained" if family.photographs else "small"
    sides = sorted({own.image_size, *family.sizes})
    # A photograph is shown large, unless the network was trained at a larger size still.
    first = own.image_size if trained else max(own.image_size, family.photograph_size)
    popover = within or st.popover("Fit", icon=":material/crop:", width="stretch")
    with popover:
        st.markdown("How the image is fitted to the network")
        fits = STRETCHED_FITS if KINDS[own.kind].stretches or own.fit == "square" else FITS
        usual = own.fit if trained else "keep"
        if st.session_state.get(f"chosen_fit_{kind}") != usual:
            carry(page, f"fit_{kind}", fits, fits.__getitem__)
        fit = st.segmented_control(
            "Fit",
            list(fits),
            default=usual,
            required=True,
            format_func=fits.__getitem__,
            key=f"{page}_fit_{kind}",
            bind="query-params",
            help="As evaluated: cropped as the authors do, and stretched to a square."
            if "square" in fits
            else None,
            label_visibility="collapsed",
        )
        st.session_state[f"chosen_fit_{kind}"] = fit
    with below if below is not None and family.photographs else popover:
        if st.session_state.get(f"chosen_side_{kind}") != first:
            carry(page, f"side_{kind}", sides)
        side = st.select_slider(
            ("Longer side" if fit == "keep" else "Side of the square") + ", in pixels",
            sides,
            value=first if first in sides else own.image_size,
            key=f"{page}_side_{kind}",
            bind="query-params",
            help=f"The checkpoint was trained at {own.image_size} pixels, square. Other sizes "
            "work, since the network is made of convolutions: a larger one gives a finer map and "
            "costs more; the answer may get worse.",
        )
        st.session_state[f"chosen_side_{kind}"] = side
    with popover:
        if family.photographs:
            slot = st.container()
        else:
            slot = None
            st.caption(
                f"The checkpoint was trained at {own.image_size} pixels, square. Other sizes "
                "work, since the network is made of convolutions: the map gets finer, the answer "
                "may get worse."
            )
    return Fitting(
        None if side == own.image_size else int(side),
        None if fit == own.fit else fit,
        tuple(sides),
        slot,
    )


def side_row(model: Model) -> Any:
    """Two columns for the longer side of a photograph and what it costs; None for small images."""
    if not model.config.facts.photographs:
        return None
    return st.columns([5, 8], vertical_alignment="center")


def describe(look: Look) -> str:
    """One line on what is being looked at."""
    model, picture = look.model, look.picture
    config, own = model.config, model.header.preprocessing
    units = " + ".join(map(str, config.units_per_block))
    parts = [f"**{config.name}**, {units} units"]
    if model.tau is not None and model.tau_range is None:
        parts.append(f"τ = {model.tau:g}")
    parts.append(stated.knows(model))
    accuracy = stated.accuracy(model, look.tau)
    if accuracy is not None:
        parts.append(plain(accuracy))
    side, fit = look.preprocessing.image_size, look.preprocessing.fit
    height, width = picture.pixels.shape[:2]
    if (height, width) == (side, side):
        policy = f"{side} × {side} pixels, as it is"
    elif fit == "keep":
        policy = f"the whole {width} × {height} image at {side} pixels on its longer side"
    else:
        share = "" if own.crop_fraction == 1 else f"the middle {own.crop_fraction:.1%} of "
        stretches = KINDS[own.kind].stretches and fit == "crop"
        square = "stretched" if stretches and height != width else "resized"
        cut = "" if stretches else "the central square of "
        policy = f"{cut}{share}the {width} × {height} image, {square} to {side} × {side} pixels"
    trained = "" if side == own.image_size else f" (trained at {own.image_size})"
    parts.append(f"sees {policy}{trained}")
    if picture.note:
        parts.append(plain(picture.note))
    parts.append(f"file {plain(model.name)}, {model.digest[:8]}")
    return " · ".join(parts)


def price(model: Model, cost: Cost, run: Run | None = None) -> str:
    """What an image costs at a size, before its run or after it, in one line."""
    height, width = cost.size
    parts = [f"**{width} × {height} pixels**"]
    dense = f"{figures.si(cost.dense)}FLOPs if every unit ran everywhere"
    share = ""
    if cost.share is not None:
        side = model.header.preprocessing.image_size
        share = f"{cost.share:.0%}, the mean of its test images at {side} pixels"
    if not model.config.halts:
        parts.append(f"**{figures.si(cost.dense)}FLOPs**: every unit runs everywhere")
        if run is not None:
            parts.append(_time(run))
    elif run is not None:
        spent = int(run.executed.total[0])
        expected = f"; {share}, was expected" if share else ""
        parts.append(f"**{figures.si(spent)}FLOPs**, {spent / cost.dense:.0%} of dense{expected}")
        parts.append(_time(run))
    elif cost.share is not None:
        parts.append(f"about **{figures.si(cost.share * cost.dense)}FLOPs** expected ({share})")
        parts.append(dense)
    else:
        parts.append(f"**{figures.si(cost.dense)}FLOPs** at most: {dense}")
    if cost.memory >= MUCH_MEMORY or (cost.free and cost.memory > LARGE_SHARE * cost.free):
        parts.append(f"about {loaders.gigabytes(cost.memory)} of memory")
    return " · ".join(parts)


def price_list(page: str, look: Look, fitting: Fitting) -> None:
    """Every size with its cost, so that it is known before it is chosen.

    Drawn after the run, so that it knows how long that took; nothing for small images.
    """
    if fitting.slot is None:
        return
    side = look.preprocessing.image_size
    rows = []
    with guarded():
        for each in fitting.sides:
            there = replace(look, image_size=each)
            cost, seconds = loaders.cost(there), loaders.seconds_of(there)
            rows.append(
                {
                    "chosen": "▸" if each == side else "",
                    "pixels": f"{cost.size[1]} × {cost.size[0]}",
                    "expected": None if cost.share is None else cost.share * cost.dense / 1e6,
                    "dense": cost.dense / 1e6,
                    "memory": loaders.gigabytes(cost.memory)
                    + ("" if cost.fits else ", more than is free"),
                    "milliseconds": "–" if seconds is None else f"{1000 * seconds:.0f}",
                }
            )
    fitting.slot.dataframe(
        rows,
        hide_index=True,
        height=38 + 35 * len(rows),
        column_config={
            "chosen": st.column_config.TextColumn("", width=20),
            "pixels": "Pixels",
            "expected": st.column_config.NumberColumn(
                "Expected, MFLOPs", format="%.0f", help="The mean share of its test images."
            ),
            "dense": st.column_config.NumberColumn("Dense, MFLOPs", format="%.0f"),
            "memory": st.column_config.TextColumn("Memory", help="An estimate of the peak."),
            "milliseconds": st.column_config.TextColumn(
                "Took, ms", help=f"Of sizes that have run on this image. {times.ONCE}"
            ),
        },
        key=f"{page}_prices",
        alt="What this image costs at every size",
    )
    own = look.model.header.preprocessing.image_size
    fitting.slot.caption(
        f"The checkpoint was trained at {own} pixels, square. A larger side gives a finer map; "
        "the answer may get worse."
    )


def measure_again(page: str, looks: Sequence[Look]) -> None:
    """Button that runs every network over the image once more, one after another."""
    st.button(
        "Measure again",
        icon=":material/timer:",
        key=f"{page}_measure_again",
        help="Runs every network of the table over the image anew, one after another.",
        on_click=_forget,
        args=(looks,),
    )


def _forget(looks: Sequence[Look]) -> None:
    for look in looks:
        loaders.forget(look)


def _time(run: Run) -> str:
    """How long it took, and what took that long where it is not the fast engine."""
    slow = "" if run.backend == "masked" else ", plain NumPy while the fast engine is compiled"
    format_ = "" if run.result.precision == "float32" else f" in {run.result.precision}"
    return f"**{1000 * run.seconds:.0f} ms**{format_}{slow}"
