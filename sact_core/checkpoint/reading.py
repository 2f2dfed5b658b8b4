"""Read a checkpoint that may come from anybody: header, parameters, content hash."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sact_core import untrusted_hdf5
from sact_core.checkpoint import scales
from sact_core.checkpoint.checks import class_names_problem, digest, raise_all, values_problems
from sact_core.checkpoint.records import (
    FORMAT,
    FORMAT_VERSION,
    MAX_JSON_BYTES,
    MAX_PARAMETERS,
    Checkpoint,
    CheckpointError,
    Header,
)
from sact_core.config import NetworkConfig, Preprocessing, from_dict
from sact_core.parameters import check_params
from sact_core.plans import build_plan
from sact_core.shipped import find_network
from sact_core.texts import cut, shown_values
from sact_core.untrusted_json import from_json

MAX_DIGITS = 100  # of a whole number: more than any count or seed has, and a float holds it


def read(source: str | Path | bytes) -> Checkpoint:
    """Read and verify a whole checkpoint. Needs no torch.

    Parameters
    ----------
    source : str, Path or bytes
        The file, its contents, or the name of a shipped network (`sact_core.networks`).

    Returns
    -------
    Checkpoint
        With the parameters in the order of the plan.

    Raises
    ------
    CheckpointError
        If it is no checkpoint, is truncated or damaged, comes from a newer
        version, holds anything but plain parameters, does not match its content
        hash, or has missing, unexpected, wrongly shaped, wrongly typed, NaN or
        infinite parameters, negative variances or damaged scales. One error lists all
        that is wrong.
    OSError
        If there is no such file or it cannot be opened.
    """
    return read_hashed(source)[0]


def read_hashed(source: str | Path | bytes) -> tuple[Checkpoint, str]:
    """Read a checkpoint, and give the content hash that it was found to have.

    Parameters, errors: as `read`.
    """
    with untrusted_hdf5.Opened(find_network(source), CheckpointError) as file:
        problems: list[str] = []
        header, texts = _read_attributes(file, problems)
        found = untrusted_hdf5.find_datasets(file.root, "params", problems)
        params = _read_params(file, found, header.config if header else None, problems)
        if header and not problems and digest(texts, params) != header.content_hash:
            problems.append(
                "the content hash does not match: the file was changed or damaged after it was made"
            )
        quantisation = None
        if header and not problems:
            quantisation = scales.read(file.root, found, build_plan(header.config), problems)
        raise_all(file.label, problems)
        assert header is not None
    checkpoint = Checkpoint(
        header.config,
        params,
        header.preprocessing,
        header.class_names,
        header.provenance,
        quantisation,
    )
    return checkpoint, header.content_hash


def read_header(source: str | Path | bytes) -> Header:
    """Read all but the parameters, which are not looked at; the hash is not verified.

    Parameters
    ----------
    source : str, Path or bytes
        The file, its contents, or the name of a shipped network (`sact_core.networks`).

    Raises
    ------
    CheckpointError
        If it is no checkpoint, is damaged or comes from a newer version.
    OSError
        If there is no such file or it cannot be opened.
    """
    with untrusted_hdf5.Opened(find_network(source), CheckpointError) as file:
        problems: list[str] = []
        header, _ = _read_attributes(file, problems)
        raise_all(file.label, problems)
        assert header is not None
    return header


def _read_attributes(
    file: untrusted_hdf5.Opened, problems: list[str]
) -> tuple[Header | None, dict[str, bytes]]:
    """The header, or None with the reasons added to ``problems``; and its JSON texts."""
    root = file.root
    if untrusted_hdf5.text_attribute(root, "format", 256) != FORMAT.encode():
        raise CheckpointError(f"{file.label} is an HDF5 file, but no checkpoint of this program")
    version = untrusted_hdf5.int_attribute(root, "format_version")
    if version is None:
        raise CheckpointError(f"{file.label} does not say its format version")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{file.label} has format version {version}, newer than {FORMAT_VERSION}, the newest "
            f"that this program reads; update the program"
        )
    if version < 1:
        raise CheckpointError(f"{file.label} has the unknown format version {version}")
    stated = untrusted_hdf5.text_attribute(root, "content_hash", 256)
    if stated is None:
        problems.append("missing: the attribute content_hash")
    texts: dict[str, bytes] = {}
    values: dict[str, Any] = {}
    for name, most in MAX_JSON_BYTES.items():
        text = untrusted_hdf5.text_attribute(root, name, most)
        if text is None:
            problems.append(
                f"missing: the attribute {name} (a fixed-length text of at most {most} bytes)"
            )
            continue
        texts[name] = text
        try:
            values[name] = shown_values(
                from_json(text, parse_constant=_number, parse_float=_number, parse_int=_integer)
            )
        except ValueError as error:
            problems.append(f"the attribute {name} is not JSON: {error}")
    records: dict[str, Any] = {}
    for name, kind in (("config", NetworkConfig), ("preprocessing", Preprocessing)):
        if name in values:
            try:
                records[name] = from_dict(kind, values[name])
            except (ValueError, TypeError) as error:
                problems.append(f"{name}: {error}")
    names = values.get("class_names", [])
    if not isinstance(names, list):
        problems.append("class_names must be a list")
    elif "config" in records:
        problem = class_names_problem(names, records["config"].num_classes)
        problems += [problem] if problem else []
    if not isinstance(values.get("provenance", {}), dict):
        problems.append("provenance must be a JSON object")
    if "config" not in records:
        return None, texts
    header = Header(
        records["config"],
        records.get("preprocessing", Preprocessing()),
        tuple(names) if isinstance(names, list) else (),
        values.get("provenance", {}),
        (stated or b"").decode("ascii", "replace"),
        scales.stated_hash(root),
    )
    return header, texts


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{cut(text, 40)} is no finite number")
    return value


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{cut(text, 40)} has more than {MAX_DIGITS} digits")
    return int(text)


def _read_params(
    file: untrusted_hdf5.Opened,
    found: dict[str, h5py.h5d.DatasetID],
    config: NetworkConfig | None,
    problems: list[str],
) -> dict[str, np.ndarray]:
    """Parameters in the order of the plan, each read only where its shape and storage are right."""
    if config is None:
        return {}
    wanted = build_plan(config).param_shapes
    num_parameters = sum(math.prod(shape) for shape in wanted.values())
    if num_parameters > MAX_PARAMETERS:
        problems.append(
            f"the config describes {num_parameters} parameters, more than {MAX_PARAMETERS}"
        )
        return {}
    shapes = {name: untrusted_hdf5.shape(dataset) for name, dataset in found.items()}
    problems += check_params(build_plan(config), shapes)
    params = {}
    for name, shape in wanted.items():
        if name not in found or shapes[name] != shape:
            continue  # listed above
        problem = untrusted_hdf5.storage_problem(name, found[name], file.size)
        if problem is None:
            params[name] = np.empty(shape, np.float32)
            found[name].read(h5py.h5s.ALL, h5py.h5s.ALL, params[name])
        problems += [problem] if problem else []
    problems += values_problems(params)
    return params
