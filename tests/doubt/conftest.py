"""Fixtures of the tests of doubt: a network, images, and what people answered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from sact_core.data.splits import open_split
from tests.networks import any_tau_checkpoint
from tests.training import write_data_set


def saved(array: Any, path: Path) -> Path:
    np.save(path, array)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A network for any tau, 24 images, and answers of people who are mostly right."""
    folder = tmp_path_factory.mktemp("doubt")
    data = write_data_set(folder / "data", 24)
    checkpoints.write(folder / "net.h5", any_tau_checkpoint())
    source = open_split(data, "test")
    counts, rng = np.zeros((24, 3), int), np.random.default_rng(0)
    for _, label, name in source.read(range(24)):
        counts[number_of(name), label] = 20
        counts[number_of(name)] += rng.integers(0, 6, 3)
    np.save(folder / "counts.npy", counts)
    return {"net": str(folder / "net.h5"), "data": data, "counts": str(folder / "counts.npy")}


def number_of(name: str) -> int:
    match = re.search(r"(\d+)\.png$", name)
    assert match is not None
    return int(match[1])


def flags(made: dict[str, str], *more: str) -> list[str]:
    return [
        *("--checkpoint", made["net"], "--dataset", made["data"], "--split", "test"),
        *("--labels", made["counts"], "--num-threads", "1", "--resamples", "50", *more),
    ]
