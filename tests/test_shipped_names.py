"""Networks by name: short names, names of files, and what is said of a name that is none."""

from __future__ import annotations

import pytest

import sact_core
from sact_core import shipped
from tests.conftest import ROOT

ANY_TAU = ROOT / "pretrained" / "cifar10_resnet32_sact_anytau.h5"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SACT_PRETRAINED_DIR", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "cifar10-anytau",
        "CIFAR10_anytau",
        ANY_TAU.stem,
        ANY_TAU.name,
        ANY_TAU.stem.replace("_", "-"),
    ],
)
def test_every_way_to_call_a_network_finds_its_file(elsewhere, name):
    assert shipped.find_network(name) == ANY_TAU
    assert sact_core.read(name).config == sact_core.read(ANY_TAU).config


def test_every_short_name_is_of_a_shipped_file(elsewhere):
    found = sact_core.networks()
    here = {
        n for n, stem in shipped.SHORT_NAMES.items() if (ROOT / f"pretrained/{stem}.h5").exists()
    }
    assert here == set(shipped.SHORT_NAMES) & set(found)
    assert here >= {"cifar10", "cifar10-anytau", "caltech101", "caltech101-anytau", "imagenet"}
    assert set(found.values()) == set((ROOT / "pretrained").glob("*.h5"))
    assert all(shipped.find_network(name) == path for name, path in found.items())


def test_what_is_there_comes_before_a_name(elsewhere):
    (elsewhere / "cifar10").mkdir()  # a folder, as of images, is no network
    assert shipped.find_network("cifar10") == ROOT / "pretrained" / "cifar10_resnet32.h5"
    (elsewhere / "caltech101").write_bytes(b"")
    with pytest.raises(sact_core.CheckpointError, match="caltech101 is empty"):
        sact_core.load("caltech101", "reference")


def test_a_folder_of_other_networks(elsewhere, monkeypatch):
    (elsewhere / "mine.h5").write_bytes(ANY_TAU.read_bytes())
    monkeypatch.setenv("SACT_PRETRAINED_DIR", str(elsewhere))
    assert sact_core.networks() == {"mine": elsewhere / "mine.h5"}
    monkeypatch.chdir("/")
    assert sact_core.read("mine").config.halts


@pytest.mark.parametrize("name", ["cifar10-any", "cifar10-any.h5", "", "\0", "x" * 5000])
def test_a_name_that_is_none_lists_those_that_are(elsewhere, name):
    with pytest.raises((FileNotFoundError, ValueError, OSError)) as found:
        sact_core.load(name, "reference")
    if name.startswith("cifar10-any"):
        assert f"there is no file {name}, and no network of that name" in str(found.value)
        assert "cifar10, cifar10-anytau, caltech101, caltech101-anytau, " in str(found.value)


@pytest.mark.parametrize("path", ["no/cifar10", "./cifar10-anytau"])
def test_a_path_is_no_name(elsewhere, path):
    with pytest.raises(FileNotFoundError, match=f"there is no file or folder {path}"):
        sact_core.load(path, "reference")


def test_what_is_no_source_is_told():
    for nothing, kind in ((None, TypeError), (3, TypeError), ("", ValueError)):
        with pytest.raises(kind, match="give the file of a network"):
            sact_core.load(nothing, "reference")


def test_a_folder_is_no_network(tmp_path):
    with pytest.raises(IsADirectoryError, match=f"^{tmp_path} is a folder, not a file$"):
        sact_core.load(tmp_path, "reference")
