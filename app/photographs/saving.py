"""What halting saves on these photographs: FLOPs of all, and seconds, measured when asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from app import controls, figures, loaders, times, views
from app.loaders import visits
from app.loaders.saving import ROUNDS, Saving, measure_saving, spread
from app.photographs.rows import Seen
from app.records import Row
from app.texts import plain
from sact_core.provenance import hardware


def saving(seen: Seen) -> None:
    """The answer in numbers, and in times side by side."""
    numbers(seen)
    timed(seen)


def numbers(seen: Seen) -> None:
    """All photographs in four numbers."""
    shares = np.array([row.share for row in seen.rows])
    flops = np.array([row.flops for row in seen.rows])
    seconds = np.array([row.seconds for row in seen.rows])
    first, third = np.percentile(1000 * seconds, [25, 75])
    low, high = np.percentile(shares, [25, 75])
    slow = seen.rows[0].backend != "masked"
    with st.container(key="photographs_numbers"), st.grid(4, min_column_width=150):
        controls.number("Photographs", f"{len(seen.rows):,}", "through the network")
        controls.number(
            "FLOPs of dense",
            f"{np.median(shares):.0%}",
            f"quartiles {low:.0%} and {high:.0%}",
            help="Of every position running every unit; the median of these photographs.",
        )
        controls.number("FLOPs a photograph", figures.si(float(np.median(flops))), "median")
        controls.number(
            "Time a photograph",
            f"{1000 * np.median(seconds):.0f} ms",
            "plain NumPy" if slow else f"quartiles {first:.0f} and {third:.0f}",
            help=f"{times.ONCE} Below some are timed in turns.",
        )


def timed(seen: Seen) -> None:
    """Some of the photographs by the same engine with and without halting, and by a rival."""
    order = sorted(range(len(seen.rows)), key=lambda i: seen.rows[i].share)
    chosen = [seen.photos[i] for i in spread(order)]
    model = seen.look.model
    this = (
        *(model.key, seen.look.image_size, seen.look.fit, seen.look.tau),
        *(photo.identity for photo in chosen),
    )
    kept = visits.current().kept
    found_of, found = kept.get("saving", (None, None))
    found = found if found_of == this else None
    asked = st.session_state.pop("photographs_time_asked", False)
    with st.container(horizontal=True, vertical_alignment="center", key="photographs_timed"):
        st.button(
            "Measure again" if asked or found else "Time it against the fastest dense network",
            icon=":material/timer:",
            key="photographs_time",
            on_click=_ask,
        )
        controls.page_link("flops", "Where does halting pay?", ":material/grid_on:")
    slot = st.empty()
    if asked:
        bar = slot.progress(0.0)

        def say(what: str, done: float) -> None:
            bar.progress(done, plain(what))

        with controls.guarded():
            looks = [replace(seen.look, picture=photo.open()) for photo in chosen]
            found = measure_saving(looks, say)
        kept["saving"] = this, found
    if found is not None:
        with slot.container():
            _show(found, seen, [seen.rows[seen.photos.index(photo)] for photo in chosen])
    else:
        slot.caption(
            f"Runs {len(chosen)} of them, from the cheapest to the dearest, in turns: with and "
            "without halting in the same engine, and in the fastest dense network that is "
            "installed here. It takes half a minute or so."
        )


def _ask() -> None:
    """The button was pressed."""
    st.session_state["photographs_time_asked"] = True


def _show(found: Saving, seen: Seen, rows: list[Row]) -> None:
    timing, config = found.timing, seen.look.model.config
    executed = sum(row.flops for row in rows)
    vanilla = sum(int(loaders.vanilla_flops(config, row.size).total[0]) for row in rows)
    left, right = st.columns([5, 6], gap="large", vertical_alignment="center")
    with left:
        st.plotly_chart(
            figures.times(
                [times.LABELS[each.side] for each in timing.sides],
                [each.median for each in timing.sides],
                [each.quartiles for each in timing.sides],
            ),
            key="photographs_times",
            config=views.QUIET,
            alt="Median time with halting, without it, and of the fastest dense network",
        )
    with right:
        st.markdown(times.words(timing, executed, vanilla))
        threads = "one thread" if timing.threads == 1 else f"{timing.threads} threads"
        st.caption(
            plain(
                f"Medians of {ROUNDS} turns on each of {found.num_images} photographs, one at a "
                "time; quartiles are over photographs and turns. Every side has a process of its "
                f"own with {threads}; the engine computes in {found.precision}. Tried as rivals: "
                f"{', '.join(found.rivals)}. {hardware()}, which may be busy. {timing.absent}",
                1200,
            )
        )
