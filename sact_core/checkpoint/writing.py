"""Write a checkpoint: all of it is checked before a byte is on the disk."""

from __future__ import annotations

import io
import json
from pathlib import Path

import h5py
import numpy as np

from sact_core.checkpoint import scales
from sact_core.checkpoint.checks import class_names_problem, digest, raise_all, values_problems
from sact_core.checkpoint.records import FORMAT, FORMAT_VERSION, MAX_JSON_BYTES, Checkpoint
from sact_core.config import to_dict
from sact_core.files import write_bytes
from sact_core.parameters import check_params
from sact_core.plans import build_plan
from sact_core.quantisation import scale_problems
from sact_core.texts import shown_values


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
        finite, a variance is negative, the class names do not fit, scales for int8
        cannot be used, or the provenance is not plain JSON. All of it is listed. Nothing
        is written.
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
        file.attrs["content_hash"] = np.bytes_(digest(texts, params).encode())
        for name, text in texts.items():
            file.attrs[name] = np.bytes_(text)
        group = file.create_group("params")
        for name, values in params.items():
            group.create_dataset(name, data=values, dtype="<f4", track_times=False)
        if checkpoint.quantisation is not None:
            scales.write(file, group, checkpoint.quantisation)
    write_bytes(path, image.getvalue())


def content_hash(checkpoint: Checkpoint) -> str:
    """Give the SHA-256 that a file of this checkpoint states, in hexadecimal.

    Raises
    ------
    CheckpointError
        As `write`.
    """
    return digest(*_checked(checkpoint))


def _checked(checkpoint: Checkpoint) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """JSON texts and parameters in the order of the plan, or all that is wrong."""
    params = {name: np.asarray(values) for name, values in checkpoint.params.items()}
    plan = build_plan(checkpoint.config)
    problems = check_params(plan, {name: values.shape for name, values in params.items()})
    for name, values in params.items():
        if values.dtype != np.float32:
            problems.append(f"wrong type: {name} is {values.dtype}, should be float32")
    problems += values_problems({n: v for n, v in params.items() if v.dtype == np.float32})
    if problem := class_names_problem(checkpoint.class_names, checkpoint.config.num_classes):
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
                shown_values(record), allow_nan=False, sort_keys=name != "class_names"
            ).encode()
        except (TypeError, ValueError, RecursionError) as error:
            problems.append(f"{name} is not plain JSON: {error}")
            continue
        if len(texts[name]) > MAX_JSON_BYTES[name]:
            problems.append(
                f"{name} takes {len(texts[name])} bytes, more than {MAX_JSON_BYTES[name]}"
            )
    if checkpoint.quantisation is not None:
        problems += scale_problems(plan, checkpoint.quantisation)
    if not isinstance(checkpoint.provenance, dict):
        problems.append("provenance must be a dict")
    raise_all("the checkpoint cannot be written", problems)
    return texts, {name: params[name] for name in plan.param_shapes}
