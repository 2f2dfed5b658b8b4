"""Many photographs through a network, one after the other, with what is left to do."""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from app.controls.basics import progress
from app.folders import InputError
from app.loaders import many, visits
from app.loaders.many import Photo
from app.records import Look, Row
from app.texts import plain
from sact_core.texts import lasting

#: Photographs that are run without being asked for.
AT_ONCE = 24


@dataclass(frozen=True)
class Seen:
    """What a network did with photographs.

    Attributes
    ----------
    look : Look
        Network, size, fit and tau; the picture does not count.
    photos, rows : list
        Those that have run, and what came of each.
    """

    look: Look
    photos: list[Photo]
    rows: list[Row]


def run_all(photos: list[Photo], look: Look) -> Seen:
    """Run what has not run; many only when asked. What has run is kept, whatever comes."""
    problems: dict[tuple[object, ...], str] = visits.current().kept.setdefault("problems", {})

    def known(photo: Photo) -> tuple[object, ...]:
        return photo.identity, look.model.key, look.image_size, look.fit

    waiting = [p for p in photos if many.row(p, look) is None and known(p) not in problems]
    if len(waiting) > AT_ONCE and not _asked(photos, look):
        st.button(
            f"Run all {len(waiting):,}",
            icon=":material/play_arrow:",
            type="primary",
            key="photographs_run",
            on_click=_ask,
            args=(photos, look),
        )
        waiting = [photo for photo in waiting if photo in photos[:AT_ONCE]]
    if waiting:
        engine = many.how()
        began = time.monotonic()
        with progress("The network runs …") as bar:
            for i, photo in enumerate(waiting):
                try:
                    many.run_row(photo, look)
                except InputError as error:
                    problems[known(photo)] = str(error)
                left = (time.monotonic() - began) / (i + 1) * (len(waiting) - i - 1)
                more = f", {lasting(left)} left" if left > 2 else ""
                bar.progress((i + 1) / len(waiting), f"{i + 1:,} of {len(waiting):,}{more}")
        if many.how() != engine:
            st.rerun()  # the fast engine is ready: all of them by one
    refused = {p.name: problems[known(p)] for p in photos if known(p) in problems}
    if refused:
        first = " ".join(list(dict.fromkeys(refused.values()))[:3])
        st.warning(
            f"Left out: {len(refused):,} of {len(photos):,} photographs. {plain(first, 800)}",
            icon=":material/broken_image:",
        )
    found = [(photo, row) for photo in photos if (row := many.row(photo, look)) is not None]
    return Seen(look, [photo for photo, _ in found], [row for _, row in found])


def run_again(seen: Seen) -> None:
    """Forget what has run, so that it runs anew."""
    many.forget_rows(seen.photos, seen.look)
    visits.current().kept.pop("problems", None)


def _ask(photos: list[Photo], look: Look) -> None:
    st.session_state["photographs_asked"] = _which(photos, look)


def _asked(photos: list[Photo], look: Look) -> bool:
    return bool(st.session_state.get("photographs_asked") == _which(photos, look))


def _which(photos: list[Photo], look: Look) -> tuple[object, ...]:
    return look.model.key, look.image_size, look.fit, look.tau, tuple(p.identity for p in photos)
