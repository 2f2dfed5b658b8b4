"""Every shipped checkpoint says today what it said when it was made."""

from __future__ import annotations

import json

import h5py
import pytest

from sact_core.checkpoint import content_hash, read, write
from sact_core.config import NetworkConfig, Preprocessing, from_dict, to_dict
from sact_core.plans import build_plan
from sact_core.shipped import that_halts
from tests.conftest import ROOT

SHIPPED = sorted((ROOT / "pretrained").glob("*.h5"))


def test_there_are_some():
    assert len(SHIPPED) >= 8


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_reads_as_it_was_written(path, tmp_path):
    with h5py.File(path) as file:  # without our reader
        texts = {name: file.attrs[name] for name in ("config", "preprocessing")}
        stated = file.attrs["content_hash"].decode()
        shapes = {}
        file["params"].visititems(
            lambda name, item: (
                shapes.update({name: item.shape}) if isinstance(item, h5py.Dataset) else None
            )
        )
    for name, kind in (("config", NetworkConfig), ("preprocessing", Preprocessing)):
        record = from_dict(kind, json.loads(texts[name]))
        # Byte for byte: the hash of what is written anew hangs on it.
        assert json.dumps(to_dict(record), sort_keys=True).encode() == texts[name]
    config = from_dict(NetworkConfig, json.loads(texts["config"]))
    assert build_plan(config).param_shapes == shapes
    checkpoint = read(path)  # verifies the hash
    assert (checkpoint.config, content_hash(checkpoint)) == (config, stated)
    write(tmp_path / "anew.h5", checkpoint)
    with h5py.File(tmp_path / "anew.h5") as file:
        assert file.attrs["content_hash"].decode() == stated
        assert {name: file.attrs[name] for name in texts} == texts


@pytest.mark.parametrize("asked", ["imagenet", "ImageNet", "a/imagenet_efficientnet_lite1.h5"])
def test_the_twin_that_halts_is_named(asked):
    assert that_halts(asked).startswith("name one that halts (imagenet-anytau), or ")
    assert "cifar10-anytau" in that_halts("a/mine.h5")
