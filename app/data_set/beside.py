"""Networks to set beside the one that is chosen, and what people's answers say of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from app import families, loaders
from app.controls.basics import honour, progress
from app.controls.networks import meant, uploaded_models
from app.data_set.passes import Pass, missing, run_all
from app.folders import InputError
from app.loaders import dataset, people
from app.loaders.dataset import Outcomes
from app.records import Model
from sact_core.doubt.drawing import MOST_NETWORKS
from sact_core.measures.people import Answers
from sact_core.texts import lasting

#: Seconds from which setting one against people's answers was done anew, not found again.
FOUND_ANEW = 0.05


@dataclass(frozen=True)
class Told:
    """A network at a price over a split, and what is found of it with people's answers.

    Attributes
    ----------
    run : Pass
        Which one.
    outcomes : Outcomes
        What it did.
    found : dict
        Of `sact_core.doubt.findings.find`, with ``network``, ``file`` and ``tau``.
    """

    run: Pass
    outcomes: Outcomes
    found: dict[str, Any]

    @property
    def tau(self) -> float | None:
        """Price of a unit, its own where none is asked for."""
        return self.run.model.tau if self.run.tau is None else self.run.tau


def choose(model: Model, count: int, num_taus: int) -> list[tuple[Pass, Outcomes]]:
    """Let the user choose networks of the same images; run them where asked to.

    Parameters
    ----------
    model : Model
        The page's own, with what it is tested on.
    count : int
        Images.
    num_taus : int
        How many taus of a network that takes any; 1 is its own alone.

    Returns
    -------
    list of (Pass, Outcomes)
        Of those that have run.

    Raises
    ------
    InputError
        As `dataset.run`.
    """
    others = _alike(model)
    if not others:
        return []
    names = families.titles(others)
    titled = {title: others[name] for name, title in names.items()}
    honour(
        "data_set_beside",
        titled,
        lambda asked: names.get(meant(asked, list(names)) or ""),
        several=True,
    )
    chosen = st.multiselect(
        "Set beside it",
        list(titled),
        key="data_set_beside",
        bind="query-params",
        max_selections=MOST_NETWORKS - 1,
        placeholder="Other networks of these images",
        help="ACT, SACT, one for any τ, or one that never halts. Networks for any τ run at "
        "several taus where “With every τ” is on.",
    )
    passes = []
    for other in (titled[title] for title in chosen if title in titled):
        label = families.title(other)
        taus: list[float | None] = [None]
        if other.tau_range is not None and num_taus > 1:
            taus = list(loaders.grid(other, num_taus))
        passes += [
            Pass(other, label if tau is None else f"{label}, at τ = {tau:g}", tau) for tau in taus
        ]
    if not passes:
        return []
    this = (model.key, count, tuple((each.model.key, each.tau) for each in passes))
    waiting = missing(passes, count)
    if waiting and st.session_state.get("data_set_beside_started") != this:
        asked = st.empty()  # gone once they run: what is said there is no longer so
        with asked.container():
            st.caption(f"{waiting:,} images to run, of {len(passes)} passes.")
            goes = st.button(
                "Run them too", icon=":material/play_arrow:", key="data_set_beside_run"
            )
        if not goes:
            return []
        asked.empty()
        st.session_state["data_set_beside_started"] = this
    return list(zip(passes, run_all(passes, count), strict=True))


def set_against(ran: Sequence[tuple[Pass, Outcomes]], given: Answers) -> list[Told]:
    """Set what networks did against people's answers, under a bar with the time left.

    Each network at each price is told once.

    Raises
    ------
    InputError
        If the answers are of other images, or of too few of these.
    """
    once: dict[tuple[str, float | None], tuple[Pass, Outcomes]] = {}
    for run, outcomes in ran:
        once.setdefault((run.model.key, _price(run)), (run, outcomes))
    every = list(once.values())
    taken, anew = 0.0, 0
    found: list[Told] = []
    with progress("Setting it against people …") as bar:
        for i, (run, outcomes) in enumerate(every):
            left = taken / anew * (len(every) - i) if anew else 0.0
            bar.progress(
                i / len(every),
                f"Setting it against people's answers: {i + 1} of {len(every)}"
                + (f", {lasting(left)} left" if left > 1 else ""),
            )
            began, model = time.monotonic(), run.model
            whole = dataset.source(model).whole
            one = people.doubt(outcomes, given, model.config.num_classes, whole)
            seconds = time.monotonic() - began
            if seconds > FOUND_ANEW:
                taken, anew = taken + seconds, anew + 1
            about = {"network": model.config.name, "file": model.name, "tau": _price(run)}
            found.append(Told(run, outcomes, about | one))
    return found


def _price(run: Pass) -> float | None:
    return run.model.tau if run.tau is None else run.tau


def _alike(model: Model) -> dict[str, Model]:
    """Other networks that are tested on the same images, by name."""
    found: dict[str, Model] = {}
    uploaded = uploaded_models()
    for name in (*uploaded, *loaders.checkpoint_names()):
        try:
            other = uploaded.peek(name) or loaders.model(name)
        except InputError:
            continue
        same = other.config.num_classes == model.config.num_classes
        if not same or other.key == model.key:
            continue
        if model.data_folder is not None:
            other = replace(other, data_folder=model.data_folder)
        asked = dataset.name_of(other), dataset.split_of(other)
        if asked == (dataset.name_of(model), dataset.split_of(model)):
            found[name] = other
    return found
