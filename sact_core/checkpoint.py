"""The HDF5 checkpoint: a config, its parameters and where they come from.

Layout of a file, format version 1::

    /                    attributes: format, format_version, content_hash and, as
                         JSON text, config, preprocessing, class_names, provenance
    /params/block2/unit3/conv1/weight      little-endian float32, stored plainly

``content_hash`` is the SHA-256 of all of the other attributes and of the name,
shape, type and bytes of every parameter, in sorted order. It is verified on
reading.

A checkpoint may come from anybody, so a file is hostile until proven: it is
opened read-only; nothing in it is executed; links out of the file, links to
elsewhere in it, external, virtual, compressed and partly written storage are
refused; sizes are checked against the config before memory is taken.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sact_core import untrusted_hdf5
from sact_core.config import NetworkConfig, Preprocessing, from_dict, to_dict
from sact_core.files import write_bytes
from sact_core.network import build_plan, check_params

FORMAT = "sact-explorer checkpoint"
FORMAT_VERSION = 1

#: Most bytes of each JSON attribute.
MAX_JSON_BYTES = {
    "config": 1 << 16,
    "preprocessing": 1 << 16,
    "class_names": 1 << 23,
    "provenance": 1 << 22,
}
MAX_PARAMETERS = 1 << 28  # numbers in all; 1 GiB
MAX_LISTED = 1000  # lines of one error


class CheckpointError(ValueError):
    """The file or the record is no usable checkpoint; the message lists why."""


@dataclass(frozen=True)
class Header:
    """A checkpoint without its parameters.

    Attributes
    ----------
    config : NetworkConfig
        What the network is.
    preprocessing : Preprocessing
        How its images are prepared.
    class_names : tuple of str
        One per class, or empty where they are unknown.
    provenance : dict
        Plain JSON values: data set, command, seed, epochs, hours, hardware,
        metrics with their split and count, package versions.
    content_hash : str
        SHA-256 as the file states it, in hexadecimal.
    """

    config: NetworkConfig
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    provenance: dict[str, Any]
    content_hash: str


@dataclass(frozen=True)
class Checkpoint:
    """A network ready to be built.

    Attributes
    ----------
    config : NetworkConfig
        What the network is.
    params : dict of str to np.ndarray [float32]
        Every parameter of ``build_plan(config).param_shapes``, by name.
    preprocessing : Preprocessing
        How its images are prepared.
    class_names : tuple of str
        One per class, or empty where they are unknown.
    provenance : dict
        Plain JSON values, as in `Header`.
    """

    config: NetworkConfig
    params: dict[str, np.ndarray] = field(repr=False)
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


def write(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside ``path`` and rename it; the same record, the same bytes.

    Parameters
    ----------
    path : str or Path
        Where to; an existing file is replaced. Its folder must exist.
    checkpoint : Checkpoint
        What to write.

    Raises
    ------
    CheckpointError
        If parameters are missing, unexpected, wrongly shaped, not float32 or not
        finite, the class names do not fit, or the provenance is not plain JSON.
        All of it is listed. Nothing is written.
    OSError
        If the folder is missing or cannot be written to, or the disk is full. A
        file that stood there is as it was.
    """
    texts, params = _checked(checkpoint)
    # Made in memory: a full disk is then an ordinary error of one plain write.
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = np.bytes_(FORMAT.encode())
        file.attrs["format_version"] = np.int64(FORMAT_VERSION)
        file.attrs["content_hash"] = np.bytes_(_hash(texts, params).encode())
        for name, text in texts.items():
            file.attrs[name] = np.bytes_(text)
        group = file.create_group("params")
        for name, values in params.items():
            group.create_dataset(name, data=values, dtype="<f4", track_times=False)
    write_bytes(path, image.getvalue())


def read(source: str | Path | bytes) -> Checkpoint:
    """Read and verify a whole checkpoint. Needs no torch.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or its contents.

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
        infinite parameters. One error lists all that is wrong.
    OSError
        If there is no such file or it cannot be opened.
    """
    with untrusted_hdf5.Opened(source, CheckpointError) as file:
        problems: list[str] = []
        header, texts = _read_attributes(file, problems)
        params = _read_params(file, header.config if header else None, problems)
        if header and not problems and _hash(texts, params) != header.content_hash:
            problems.append(
                "the content hash does not match: the file was changed or damaged after it was made"
            )
        _raise_all(file.label, problems)
        assert header is not None
    return Checkpoint(
        header.config, params, header.preprocessing, header.class_names, header.provenance
    )


def read_header(source: str | Path | bytes) -> Header:
    """Read all but the parameters, which are not looked at; the hash is not verified.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or its contents.

    Raises
    ------
    CheckpointError
        If it is no checkpoint, is damaged or comes from a newer version.
    OSError
        If there is no such file or it cannot be opened.
    """
    with untrusted_hdf5.Opened(source, CheckpointError) as file:
        problems: list[str] = []
        header, _ = _read_attributes(file, problems)
        _raise_all(file.label, problems)
        assert header is not None
    return header


def content_hash(checkpoint: Checkpoint) -> str:
    """Give the SHA-256 that a file of this checkpoint states, in hexadecimal.

    Raises
    ------
    CheckpointError
        As `write`.
    """
    return _hash(*_checked(checkpoint))


# --- both ways ---


def _hash(texts: Mapping[str, bytes], params: Mapping[str, np.ndarray]) -> str:
    """Every part goes in with its length, so that no two records run together alike."""
    digest = hashlib.sha256()

    def add(part: bytes | memoryview) -> None:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)

    add(FORMAT.encode())
    add(str(FORMAT_VERSION).encode())
    for name in sorted(texts):
        add(name.encode())
        add(texts[name])
    for name in sorted(params):
        values = np.ascontiguousarray(params[name], "<f4")
        add(name.encode())
        add(f"{values.dtype.str} {values.shape}".encode())
        add(values.data.cast("B"))
    return digest.hexdigest()


def _raise_all(label: str, problems: list[str]) -> None:
    if not problems:
        return
    if len(problems) == 1:
        raise CheckpointError(f"{label}: {problems[0]}")
    lines = problems[:MAX_LISTED]
    if len(problems) > MAX_LISTED:
        lines.append(f"… and {len(problems) - MAX_LISTED} more")
    listed = "\n".join(f"- {line}" for line in lines)
    raise CheckpointError(f"{label}: {len(problems)} things are wrong:\n{listed}")


def _class_names_problem(class_names: Any, num_classes: int) -> str | None:
    if not all(isinstance(name, str) for name in class_names):
        return "class_names must all be text"
    if class_names and len(class_names) != num_classes:
        return f"class_names has {len(class_names)} names for {num_classes} classes"
    return None


def _not_finite(name: str, values: np.ndarray) -> str | None:
    bad = values.size - int(np.isfinite(values).sum())
    return f"not finite: {name} holds {bad} NaN or infinite numbers" if bad else None


# --- writing ---


def _checked(checkpoint: Checkpoint) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """JSON texts and parameters in the order of the plan, or all that is wrong."""
    params = {name: np.asarray(values) for name, values in checkpoint.params.items()}
    plan = build_plan(checkpoint.config)
    problems = check_params(plan, {name: values.shape for name, values in params.items()})
    for name, values in params.items():
        if values.dtype != np.float32:
            problems.append(f"wrong type: {name} is {values.dtype}, should be float32")
        elif problem := _not_finite(name, values):
            problems.append(problem)
    if problem := _class_names_problem(checkpoint.class_names, checkpoint.config.num_classes):
        problems.append(problem)
    texts = {}
    for name, record in (
        ("config", to_dict(checkpoint.config)),
        ("preprocessing", to_dict(checkpoint.preprocessing)),
        ("class_names", list(checkpoint.class_names)),
        ("provenance", checkpoint.provenance),
    ):
        try:
            texts[name] = json.dumps(
                record, allow_nan=False, sort_keys=name != "class_names"
            ).encode()
        except (TypeError, ValueError, RecursionError) as error:
            problems.append(f"{name} is not plain JSON: {error}")
            continue
        if len(texts[name]) > MAX_JSON_BYTES[name]:
            problems.append(
                f"{name} takes {len(texts[name])} bytes, more than {MAX_JSON_BYTES[name]}"
            )
    if not isinstance(checkpoint.provenance, dict):
        problems.append("provenance must be a dict")
    _raise_all("the checkpoint cannot be written", problems)
    return texts, {name: params[name] for name in plan.param_shapes}


# --- reading ---


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
            values[name] = json.loads(text, parse_constant=_number, parse_float=_number)
        except (ValueError, RecursionError) as error:
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
        problem = _class_names_problem(names, records["config"].num_classes)
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
    )
    return header, texts


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _read_params(
    file: untrusted_hdf5.Opened, config: NetworkConfig | None, problems: list[str]
) -> dict[str, np.ndarray]:
    """Parameters in the order of the plan, each read only where its shape and storage are right."""
    found = untrusted_hdf5.find_datasets(file.root, "params", problems)
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
            problem = _not_finite(name, params[name])
        problems += [problem] if problem else []
    return params
