"""Fixtures of the tests of exports: a tiny network, seven images, small parts."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import load
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan

CONFIG = NetworkConfig("cifar", (1, 2, 2), 2, 3, "sact", halting_bias=0.3)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "net.h5"
    params = init_params(build_plan(CONFIG), seed=4)
    checkpoints.write(path, Checkpoint(CONFIG, params, Preprocessing("cifar", 8), ("a", "b", "c")))
    return str(path)


@pytest.fixture
def net(checkpoint):
    return load(checkpoint, "reference")


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
    """Class folders with seven images, the fourth of which is none."""
    for i, image in enumerate(images):
        where = tmp_path / "data" / "test" / "abc"[i // 3]
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(where / f"{i}.png")
    (tmp_path / "data" / "test" / "b" / "3.png").write_text("hello")
    return tmp_path / "data"


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr("sact_core.export_maps._part_size", lambda _, batch_size: batch_size)


def counting(net, fail_after=None):
    """The network, and a list that gains the size of every batch; stops when asked."""
    sizes = []

    class Counting:
        def forward(self, x, **options):
            if fail_after is not None and len(sizes) == fail_after:
                raise KeyboardInterrupt
            sizes.append(len(x))
            return net.engine.forward(x, **options)

    return dataclasses.replace(net, engine=Counting()), sizes


def assert_equal_files(ref_path, comp_path):
    with h5py.File(ref_path) as ref, h5py.File(comp_path) as comp:
        names = []
        ref.visit(names.append)
        for name in names:
            if isinstance(ref[name], h5py.Dataset):
                assert ref[name].dtype == comp[name].dtype
                np.testing.assert_array_equal(ref[name][()], comp[name][()])
        assert set(ref.attrs) == set(comp.attrs)
