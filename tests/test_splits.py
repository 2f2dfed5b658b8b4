"""A checkpoint is shown the images it was evaluated on, whoever shows them."""

from __future__ import annotations

import importlib
import json

import pytest
from PIL import Image

from sact_core.checkpoint import Checkpoint, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data import splits
from sact_core.data.records import DataError
from sact_core.data.splits import evaluation_split
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import need_shared


def record(name, split):
    return {"data_set": {"name": name}, "metrics": {"split": split}}


@pytest.fixture
def plain(tmp_path):
    """Class folders without splits."""
    for name in "ab":
        (tmp_path / "plain" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / "plain" / name / f"{i}.png")
    return str(tmp_path / "plain")


@pytest.fixture
def parted(tmp_path):
    """Class folders in ``train`` and ``test``."""
    for split in ("train", "test"):
        (tmp_path / "parted" / split / "a").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "parted" / split / "a" / "1.png")
    return str(tmp_path / "parted")


def test_a_slice_knows_how_many_the_whole_split_has():
    folder = need_shared("tensorflow_datasets")
    assert {splits.open_split("cifar10", s, folder).whole for s in ("test", "test[:7%]")} == {
        10_000
    }


CALTECH = record("caltech101", "test[60%:]")


@pytest.mark.parametrize(
    ("provenance", "asked", "chosen"),
    [
        (CALTECH, (None, None), ("caltech101", "test[60%:]")),
        (CALTECH, ("caltech101", None), ("caltech101", "test[60%:]")),
        (CALTECH, ("caltech101:3.0.2", None), ("caltech101:3.0.2", "test[60%:]")),
        (CALTECH, ("caltech101", "train"), ("caltech101", "train")),
        (CALTECH, (None, "train"), ("caltech101", "train")),
        (CALTECH, ("cifar10", None), ("cifar10", "test")),
        ({}, (None, None), ("cifar10", "test")),
        ({"data_set": "?", "metrics": {"split": 3}}, ("cifar10", None), ("cifar10", "test")),
    ],
)
def test_the_split_of_a_tfds_data_set(provenance, asked, chosen):
    assert evaluation_split(provenance, *asked) == chosen


def test_the_split_of_a_folder(plain, parted, monkeypatch, tmp_path):
    own = record(plain, "held-out:50%")
    assert evaluation_split(own, plain) == (plain, "held-out:50%")
    # The same folder by another name, and a copy of it: what it learnt from stays out.
    monkeypatch.chdir(tmp_path)
    assert evaluation_split(own, "plain") == ("plain", "held-out:50%")
    assert evaluation_split(record("/gone/photos", "held-out:50%"), plain)[1] == "held-out:50%"
    # Somebody else's folder.
    assert evaluation_split(CALTECH, plain) == (plain, "held-out:20%")
    assert evaluation_split(CALTECH, parted) == (parted, "test")
    assert evaluation_split(own, parted) == (parted, "test")


@pytest.fixture
def checkpoint(tmp_path, plain):
    config = NetworkConfig("cifar", (1, 2, 2), 2, 2, "sact")
    made = Checkpoint(
        config,
        init_params(build_plan(config)),
        Preprocessing("cifar", 8),
        ("a", "b"),
        record(plain, "held-out:50%"),
    )
    write(tmp_path / "net.h5", made)
    return str(tmp_path / "net.h5")


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("evaluate.__main__", []),
        ("evaluate.__main__", ["--dataset", "PLAIN"]),
        ("export_maps", ["--dataset", "PLAIN", "--out", "maps.h5"]),
        ("objects", ["--dataset", "PLAIN", "--boxes", "boxes.json"]),
        ("benchmark.__main__", []),
        ("benchmark.__main__", ["--dataset", "PLAIN"]),
    ],
)
def test_every_command_opens_it(command, flags, checkpoint, plain, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    boxes = {"units": "pixels", "boxes": {"0": [[0, 0, 4, 4]]}}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    opened = []

    def note(name, split, data_dir=None):
        opened.append((name, split))
        raise DataError("that is all")

    monkeypatch.setattr(splits, "open_split", note)
    given = [plain if flag == "PLAIN" else flag for flag in flags]
    named = ["family", checkpoint] if "benchmark" in command else ["--checkpoint", checkpoint]
    assert importlib.import_module(f"sact_core.{command}").main([*named, *given]) == 2
    assert capsys.readouterr().err == "error: that is all\n"
    assert opened == [(plain, "held-out:50%")]


def test_an_export_has_no_image_that_was_learnt_from(checkpoint, plain, tmp_path, monkeypatch):
    from sact_core.data.splits import open_split
    from sact_core.export_maps import main
    from sact_core.maps.file import MapFile

    monkeypatch.chdir(tmp_path)
    flags = ["--checkpoint", checkpoint, "--backend", "reference", "--dataset", plain]
    assert main([*flags, "--out", "maps.h5"]) == 0
    held_out = open_split(plain, "held-out:50%")
    with MapFile(tmp_path / "maps.h5") as file:
        names = [file.name(i) for i in range(len(held_out))]
        assert len(file.root["labels"]) == 4
    assert names == [name for _, _, name in held_out.read(range(4))]
