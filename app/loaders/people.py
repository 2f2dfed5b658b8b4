"""People's answers on a test split: a file that the server names, or one that is uploaded."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from app.folders import InputError, data_dir, sentence
from app.loaders import outcomes as kept_outcomes
from app.loaders.dataset import Outcomes
from sact_core.doubt.findings import find
from sact_core.measures.passes import Pass
from sact_core.measures.people import Answers, Joined, answers_of, is_of_tfds, join, read_answers
from sact_core.texts import shown

RESAMPLES = 300
#: Changes where other things are found of a pass, so that what was kept counts no more.
FOUND = 1
_UPLOADED = "people_answers"
_NAMES = ("found", "left_out")


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


def doubt(
    outcomes: Outcomes, given: Answers, num_classes: int, whole: int | None
) -> dict[str, Any]:
    """Set what a network did against people's answers, as ``python -m sact_core.doubt`` does.

    Parameters
    ----------
    outcomes : Outcomes
        Of the network.
    given : Answers
        What people answered.
    num_classes : int
        Of the network.
    whole : int, optional
        Images of the whole split, where known.

    Returns
    -------
    dict
        Of `sact_core.doubt.findings.find`; kept in memory and on disk.

    Raises
    ------
    InputError
        If the answers are of other images, or of too few of these.
    """
    one = _as_pass(outcomes)
    digest = hashlib.sha256(given.shares.tobytes())
    numbers = np.array([]) if given.numbers is None else given.numbers
    arrays = (one.names, one.indices, one.labels, one.predictions, one.confidence, one.flops)
    for values in (numbers, *arrays, one.entropy, one.ponder_cost, one.edges, one.colours):
        digest.update(np.ascontiguousarray(values).tobytes())
    try:
        people = join(given, one.names, one.labels, num_classes, whole)
        return _doubt(digest.hexdigest(), one, people)
    except ValueError as error:
        raise InputError(sentence(error)) from None


@st.cache_data(max_entries=4, show_spinner="Reading what people answered …")
def _read(path: str, changed: int, folder: str | None = None) -> Answers:
    return replace(read_answers(path, folder), name=shown(Path(path).name))


@st.cache_data(max_entries=128, show_spinner=False)
def _doubt(digest: str, _one: Pass, _people: Joined) -> dict[str, Any]:
    file = kept_outcomes.file_of("doubt", FOUND, RESAMPLES, digest)
    stored = kept_outcomes.load(file, _NAMES, 1)
    if stored is not None:
        try:
            found: dict[str, Any] = json.loads(str(stored["found"][0]))
        except ValueError:  # damaged: it is found anew
            pass
        else:
            return found
    found = find(_one, _people, RESAMPLES)
    text = np.array([json.dumps(found)])
    kept_outcomes.save(file, {"found": text, "left_out": np.array([], np.str_)})
    return found


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
