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


def values_problems(params: Mapping[str, np.ndarray]) -> list[str]:
    """Say what is wrong with parameters' numbers, a line a kind: not finite, variances below 0."""
    infinite = {name: v.size - int(np.isfinite(v).sum()) for name, v in params.items()}
    below = {
        name: int((values < 0).sum())
        for name, values in params.items()
        if name.endswith("/moving_variance")
    }
    kinds = (
        ("not finite", infinite, "NaN or infinite numbers"),
        ("below 0", below, "negative numbers, which no variance has"),
    )
    problems = []
    for kind, counts, what in kinds:
        bad = [name for name, count in counts.items() if count]
        if not bad:
            continue
        more = f", and so do {len(bad) - 1} more parameters" if len(bad) > 2 else ""
        more = f", and so does {bad[1]}" if len(bad) == 2 else more
        problems.append(f"{kind}: {bad[0]} holds {counts[bad[0]]} {what}{more}")
    return problems
