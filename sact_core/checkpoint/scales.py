"""Scales for int8 in a checkpoint's file: attributes, which only they who know them look at."""

from __future__ import annotations

import hashlib
import json

import h5py
import numpy as np

from sact_core import untrusted_hdf5
from sact_core.checkpoint.records import (
    INPUT_SCALE,
    MAX_QUANTISATION_BYTES,
    QUANTISATION,
    SHIFTS,
    WEIGHT_SCALES,
    CheckpointError,
)
from sact_core.network import Plan
from sact_core.quantisation import Quantisation, hash_scales, quantised_convs, scale_problems
from sact_core.texts import shown_values
from sact_core.untrusted_json import from_json


def write(file: h5py.File, params: h5py.Group, found: Quantisation) -> None:
    """Write scales into a file that has its parameters.

    Raises
    ------
    CheckpointError
        If what is told about them is not plain JSON, or long.
    """
    record = {"params": found.params_hash, "scales": hash_scales(found), "about": found.about}
    try:
        text = json.dumps(shown_values(record), allow_nan=False, sort_keys=True).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"what is told about int8 is not plain JSON: {error}") from None
    if len(text) > MAX_QUANTISATION_BYTES:
        raise CheckpointError(f"what is told about int8 takes {len(text)} bytes")
    file.attrs[QUANTISATION] = np.bytes_(text)
    for name, pair in found.inputs.items():
        attributes = params[f"{name}/weight"].attrs
        attributes[INPUT_SCALE] = np.array(pair, "<f4")
        attributes[WEIGHT_SCALES] = np.asarray(found.weights[name], "<f4")
        if name in found.shifts:
            attributes[SHIFTS] = np.asarray(found.shifts[name], "<f4")


def stated_hash(root: h5py.File) -> str:
    """SHA-256 of what a file tells of its scales, their own hash within; empty without any."""
    if not h5py.h5a.exists(root.id, QUANTISATION.encode()):
        return ""
    text = untrusted_hdf5.text_attribute(root, QUANTISATION, MAX_QUANTISATION_BYTES)
    return hashlib.sha256(text or b"").hexdigest()


def read(
    root: h5py.File, weights: dict[str, h5py.h5d.DatasetID], plan: Plan, problems: list[str]
) -> Quantisation | None:
    """Read scales, if there are any.

    Parameters
    ----------
    root : h5py.File
        The open file.
    weights : dict of str to h5py.h5d.DatasetID
        Its parameters, by name; all that ``plan`` has.
    plan : Plan
        The network.
    problems : list of str
        Gains a line for everything that is wrong.

    Returns
    -------
    Quantisation, optional
        None where there are none, or none that can be used. Whether they were found for
        these weights is seen when they are used.
    """
    if not h5py.h5a.exists(root.id, QUANTISATION.encode()):
        return None
    text = untrusted_hdf5.text_attribute(root, QUANTISATION, MAX_QUANTISATION_BYTES)
    try:
        record = shown_values(from_json(text or b""))
    except ValueError:
        record = None
    told = {"params": str, "scales": str, "about": dict}
    if not isinstance(record, dict) or not all(
        isinstance(record.get(key), kind) for key, kind in told.items()
    ):
        problems.append(f"the attribute {QUANTISATION} does not tell of scales")
        return None
    found = Quantisation({}, {}, record["params"], record["about"])
    for conv in quantised_convs(plan):
        node = weights[f"{conv.name}/weight"]
        pair = untrusted_hdf5.floats_attribute(node, INPUT_SCALE, 2)
        scales = untrusted_hdf5.floats_attribute(node, WEIGHT_SCALES, conv.out_channels)
        if pair is None or scales is None:
            problems.append(f"missing: scales of {conv.name}")
        elif not float(pair[1]).is_integer():
            problems.append(f"the zero of what {conv.name} reads is {pair[1]:g}, no whole number")
        else:
            found.inputs[conv.name] = (float(pair[0]), int(pair[1]))
            found.weights[conv.name] = scales
        if h5py.h5a.exists(node, SHIFTS.encode()):
            shifts = untrusted_hdf5.floats_attribute(node, SHIFTS, conv.out_channels)
            if shifts is None:
                problems.append(f"the shifts of {conv.name} are not {conv.out_channels} numbers")
            else:
                found.shifts[conv.name] = shifts
    if not problems:
        problems += scale_problems(plan, found)
    if not problems and hash_scales(found) != record["scales"]:
        problems.append("the scales for int8 were changed or damaged after they were made")
    return None if problems else found
