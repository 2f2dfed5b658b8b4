"""People's answers on a test split: a file that the server names, or one that is uploaded."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from app.folders import InputError, data_dir, sentence
from app.loaders.dataset import Outcomes
from sact_core.doubt.findings import by_people, galleries
from sact_core.measures.passes import Pass
from sact_core.measures.people import (
    Answers,
    Joined,
    answers_of,
    is_of_tfds,
    join,
    read_answers,
)
from sact_core.measures.ranks import Ranked
from sact_core.texts import shown

RESAMPLES = 300
CONTROLS = ("edges", "colours")
_UPLOADED = "people_answers"


@dataclass(frozen=True)
class Doubt:
    """What cost has to do with people's doubt on the images that ran.

    Attributes
    ----------
    correlations : dict of str to list
        ``[value, low, high]`` of ``ponder_cost`` and ``network_entropy`` with people's entropy,
        plain and ``…_given``, given edges and colours.
    null : list
        That of the ponder cost, or else of the entropy, with shuffled answers.
    finds_errors : dict of str to list
        ``[value, low, high]`` of the area under the ROC curve.
    groups, galleries
        As of `sact_core.doubt.findings.by_people` and `galleries`.
    agreement : float
        How often people's most frequent answer is the label.
    num_images : int
        Those that people answered on.
    """

    correlations: dict[str, list[float | None]]
    null: list[float | None]
    finds_errors: dict[str, list[float | None]]
    groups: list[dict[str, Any]]
    galleries: dict[str, list[dict[str, Any]]]
    agreement: float
    num_images: int


def keep(name: str, data: bytes) -> None:
    """Keep what somebody uploaded, for this visit.

    Raises
    ------
    InputError
        If it holds no counts of answers.
    """
    try:
        st.session_state[_UPLOADED] = answers_of(data, name)
    except ValueError as error:
        raise InputError(sentence(error)) from None


def answers() -> Answers | None:
    """What was uploaded in this visit, or else what ``SACT_HUMAN`` names; None without either.

    That is a file of counts, or ``cifar10_h`` of TFDS.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    uploaded = st.session_state.get(_UPLOADED)
    if isinstance(uploaded, Answers):
        return uploaded
    named = os.environ.get("SACT_HUMAN")
    if not named:
        return None
    path = Path(named)
    try:
        path = path.expanduser()
        if is_of_tfds(named):
            return _read(named, 0, str(data_dir()))
        return _read(str(path), os.stat(path).st_mtime_ns)
    except (ValueError, OSError, RuntimeError) as error:  # ~nobody is no home
        said = sentence(error).replace(str(path.parent) + os.sep, "")  # not where it lies
        raise InputError(f"What SACT_HUMAN names cannot be read: {said}") from None


def doubt(outcomes: Outcomes, given: Answers, num_classes: int, whole: int | None) -> Doubt:
    """Set what a network did against people's answers.

    Raises
    ------
    InputError
        If the answers are of other images, or of too few of these.
    """
    one = _as_pass(outcomes)
    digest = hashlib.sha256(given.shares.tobytes())
    for values in (one.names, one.flops, one.entropy, one.ponder_cost):
        digest.update(np.ascontiguousarray(values).tobytes())
    try:
        people = join(given, one.names, one.labels, num_classes, whole)
        return _doubt(digest.hexdigest(), one, people)
    except ValueError as error:
        raise InputError(sentence(error)) from None


@st.cache_data(max_entries=4, show_spinner="Reading what people answered …")
def _read(path: str, changed: int, folder: str | None = None) -> Answers:
    return replace(read_answers(path, folder), name=shown(Path(path).name))


@st.cache_data(max_entries=32, show_spinner="Setting it against people's answers …")
def _doubt(digest: str, _one: Pass, _people: Joined) -> Doubt:
    kept = _people.answered
    doubted = _people.entropy[kept]
    columns = {
        "network_entropy": _one.entropy[kept],
        "unsure": 1 - _one.confidence[kept],
        "people_entropy": doubted,
        "edges": _one.edges[kept],
        "colours": _one.colours[kept],
        "wrong": ~_one.right[kept],
        "shuffled": np.random.default_rng(0).permutation(doubted),
    }
    mine = ["network_entropy"]
    if _one.halts:
        columns["ponder_cost"] = _one.ponder_cost[kept].sum(1)
        mine = ["ponder_cost", *mine]
    ranked = Ranked(columns, RESAMPLES, 0, ["wrong"])
    correlations = {}
    for name in mine:
        correlations[name] = ranked.correlation(name, "people_entropy").as_json()
        against = ranked.correlation(name, "people_entropy", CONTROLS)
        correlations[f"{name}_given"] = against.as_json()
    scores = [name for name in ("ponder_cost", "unsure") if name in columns]
    return Doubt(
        correlations,
        ranked.correlation(mine[0], "shuffled").as_json(),
        {name: ranked.area(name, "wrong").as_json() for name in scores},
        by_people(_one, _people, RESAMPLES),
        galleries(_one, _people) if _one.halts else {},
        _people.agreement,
        int(kept.sum()),
    )


def _as_pass(outcomes: Outcomes) -> Pass:
    return Pass(
        outcomes.names,
        outcomes.indices,
        outcomes.labels,
        outcomes.predictions,
        outcomes.sure.astype(np.float64),
        outcomes.entropy,
        outcomes.flops,
        outcomes.ponder_cost,
        outcomes.edges,
        outcomes.colours,
        outcomes.dense,
    )
