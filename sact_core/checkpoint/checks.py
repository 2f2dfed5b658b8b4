"""What is asked of a checkpoint both before it is written and after it was read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from sact_core.checkpoint.records import FORMAT, FORMAT_VERSION, CheckpointError

MAX_LISTED = 1000  # lines of one error


def digest(texts: Mapping[str, bytes], params: Mapping[str, np.ndarray]) -> str:
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


def raise_all(label: str, problems: list[str]) -> None:
    if not problems:
        return
    if len(problems) == 1:
        raise CheckpointError(f"{label}: {problems[0]}")
    lines = problems[:MAX_LISTED]
    if len(problems) > MAX_LISTED:
        lines.append(f"… and {len(problems) - MAX_LISTED} more")
    listed = "\n".join(f"- {line}" for line in lines)
    raise CheckpointError(f"{label}: {len(problems)} things are wrong:\n{listed}")


def class_names_problem(class_names: Any, num_classes: int) -> str | None:
    if not all(isinstance(name, str) for name in class_names):
        return "class_names must all be text"
    if class_names and len(class_names) != num_classes:
        return f"class_names has {len(class_names)} names for {num_classes} classes"
    return None


def values_problem(name: str, values: np.ndarray) -> str | None:
    """Say what is wrong with a parameter's numbers: not finite, or a variance below 0."""
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        return f"not finite: {name} holds {bad} NaN or infinite numbers"
    if name.endswith("/moving_variance") and (bad := int((values < 0).sum())):
        return f"below 0: {name} holds {bad} negative numbers, which no variance has"
    return None
