"""Names of files that are not UTF-8, as old archives hold them, in every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core import export_maps, objects, ponder, ponder_files, saliency
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.records import DataError
from sact_core.data.splits import evaluation_split, open_split, splits_of
from sact_core.evaluate import __main__ as evaluate
from sact_core.maps.file import MapFile
from sact_core.texts import cut, escaped, plain, shown, shown_values, unshown
from sact_core.train import __main__ as train
from tests.conftest import ROOT
from tests.mat_writer import header, matrix
from tests.networks import random_params

LATIN = os.fsdecode(b"caf\xe9")  # half a character, which stands for the byte
SACT = NetworkConfig(units_per_block=(1, 2, 1), base_channels=4, num_classes=2, halting="sact")


def test_bytes_that_are_not_utf8_are_escaped() -> None:
    assert shown(LATIN) == "caf\\xe9"
    assert shown(Path("a", f"{LATIN}.jpg")) == "a/caf\\xe9.jpg"
    assert shown("日本/é") == "日本/é"
    assert shown("\ud800é") == "\\ud800é"
    ref = {"caf\\xe9": ["caf\\xe9", 1, None, {"é": True}]}
    assert shown_values({LATIN: (LATIN, 1, None, {"é": True})}) == ref


def test_control_characters_are_escaped() -> None:
    assert shown("a\nb\x1b[0m\x85\u2029\u202e\ufeff") == "a\\nb\\x1b[0m\\x85\\u2029\\u202e\\ufeff"
    assert shown("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e"  # joins letters
    assert escaped("a\nb\tc", keep="\n") == "a\nb\\tc"
    assert shown_values({"command": "one\ntwo"}) == {"command": "one\ntwo"}  # JSON's business


def test_long_texts_are_cut() -> None:
    assert cut("x" * 1000) == "x" * 1000
    assert cut("ab" * 501, 8) == "ababab … 994 more characters … ab"
    assert plain(ValueError("one\ntwo\rthree")) == "one\ntwo\\rthree"
    assert plain("a\nb\nc\nd", 2) == "a\nb\n… and 2 more lines"
    assert plain("a\nb\nc", 2) == "a\nb\nc"  # a line that says so would be no shorter
    assert len(plain("\x1b\n" * 10**5 + "x" * 10**7)) < 5000
    assert len(plain("\x00" * 10**7)) < 4100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Such a name for a class, for photographs in it and for the folder itself."""
    root = tmp_path / f"{LATIN} root"
    rng = np.random.default_rng(0)
    try:
        for name in (LATIN, "dog"):
            (root / name).mkdir(parents=True)
            for i in range(5):
                pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(root / name / f"{LATIN}{i}.png")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    return root


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / f"{LATIN}.h5"
    params = random_params(np.random.default_rng(1), SACT)
    checkpoints.write(file, checkpoints.Checkpoint(SACT, params, Preprocessing("cifar", 16)))
    return file


def test_training(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--dataset", str(folder), "--units", "1_1_1", "--base-channels", "4", "--image-size"]
    argv += ["16", "--batch-size", "4", "--max-steps", "2"]
    argv += ["--run-dir", str(tmp_path / f"run {LATIN}")]
    assert train.main(argv) == 0
    assert train.main([*argv, "--resume"]) == 0
    said = capsys.readouterr()
    assert not said.err
    made = checkpoints.read(tmp_path / f"run {LATIN}" / "last.h5")
    assert made.class_names == ("caf\\xe9", "dog")
    assert made.provenance["data_set"]["name"] == shown(folder)
    assert "caf\\xe9 root" in made.provenance["command"]
    # The images that it held out are found again.
    assert evaluation_split(made.provenance, str(folder)) == (str(folder), "held-out:20%")
    argv = ["--checkpoint", str(tmp_path / f"run {LATIN}" / "last.h5"), "--backend", "reference"]
    assert evaluate.main([*argv, "--dataset", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "caf\\xe9 root" in told
    # The name that stands in the checkpoint opens the folder too.
    assert evaluate.main(argv) == 0
    assert capsys.readouterr().out == told
    assert splits_of(shown(folder)) == ("all-but:20%", "held-out:20%")
    assert evaluation_split(made.provenance, str(folder))[0] == str(folder)


def open_split_error(name: str) -> str:
    with pytest.raises(DataError) as caught:
        open_split(name, "all")
    return str(caught.value)


def test_a_shown_path_finds_its_file(tmp_path: Path, folder: Path) -> None:
    assert unshown(Path(shown(folder / LATIN))) == folder / LATIN
    literal = tmp_path / "caf\\xe9 root"
    assert unshown(literal) == folder
    assert unshown(tmp_path / "caf\\xe8") == tmp_path / "caf\\xe8"  # there is none
    literal.mkdir()  # a folder that is really called so comes first
    assert open_split_error(str(literal)) == f"{literal} holds no class folders with images"


def test_what_cannot_be_read_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "dog" / f"{LATIN}9.jpg").write_bytes(b"no image")
    [record] = open_split(str(folder), "all").records.get([9 + 1])
    with pytest.raises(ValueError, match=r"^dog/caf\\xe99\.jpg is no image"):
        record.pixels()  # type: ignore[union-attr]
    capsys.readouterr()


@pytest.mark.parametrize("by", ["photographs", "data set"])
def test_exporting_maps(
    folder: Path, checkpoint: Path, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "dog" / f"{LATIN}9.jpg").write_bytes(b"no image")
    out = folder / f"{LATIN}.h5"
    what = [str(folder)] if by == "photographs" else ["--dataset", str(folder), "--split", "all"]
    argv = [*what, "--checkpoint", str(checkpoint), "--out", str(out), "--backend", "reference"]
    assert export_maps.main(argv) == 0
    assert (
        "skipped 1 of 11 images that cannot be read: dog/caf\\xe99.jpg" in capsys.readouterr().out
    )
    with MapFile(out) as file:
        names = [name.decode() for name in file.root["names"][()]]
    assert names[:2] == ["caf\\xe9/caf\\xe90.png", "caf\\xe9/caf\\xe91.png"]
    with h5py.File(out) as file:
        said = json.loads(file.attrs["provenance"])
    assert said["checkpoint"]["name"] == "caf\\xe9.h5"
    assert "caf\\xe9 root" in said["command"]


def test_ponder(folder: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [str(folder / "dog" / f"{LATIN}0.png"), "--checkpoint", str(checkpoint)]
    argv += ["--out", str(folder / "out"), "--backend", "reference"]
    assert ponder.main(argv) == 0
    assert capsys.readouterr().out.startswith("caf\\xe90.png: 16 x 16 pixels")
    made = {f"{LATIN}0{ending}" for ending in ponder_files.ENDINGS}
    assert {path.name for path in (folder / "out").iterdir()} == made
    with MapFile(folder / "out" / f"{LATIN}0_maps.h5") as file:
        assert file.root["names"][0] == b"caf\\xe90.png"
    assert ponder.main(argv) == 2  # they exist, which is said
    assert "exists; give --force" in capsys.readouterr().err


@pytest.mark.parametrize("form", [["--json"], []])
def test_objects(
    folder: Path, checkpoint: Path, form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = folder / f"{LATIN}.json"
    named = {"caf\\xe90.png": [[0, 0, 8, 8]], "gone.png": [[0, 0, 8, 8]]}
    boxes.write_text(json.dumps({"units": "pixels", "boxes": named}))
    argv = [str(folder / "dog"), "--boxes", str(boxes), "--checkpoint", str(checkpoint), *form]
    assert objects.main([*argv, "--backend", "reference"]) == 0
    said = capsys.readouterr()
    assert "left out: caf\\xe91.png: the boxes do not name it" in said.err
    if form:
        assert list(json.loads(said.out)["images"]) == ["caf\\xe90.png"]
    else:
        assert "\ncaf\\xe90.png " in said.out


@pytest.mark.parametrize("form", [["--json"], []])
def test_saliency(
    folder: Path, checkpoint: Path, form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    root = folder / "trainSet"
    (root / "Stimuli").mkdir(parents=True)
    for name in (LATIN, "dog"):
        (folder / name).rename(root / "Stimuli" / name)
        (root / "FIXATIONLOCS" / name).mkdir(parents=True)
        for i in range(4):  # the fifth has none
            looked = (rng.random((16, 16)) < 0.05).astype(np.uint8)
            looked[i, i] = 1
            file = root / "FIXATIONLOCS" / name / f"{LATIN}{i}.mat"
            file.write_bytes(header() + matrix(looked))
    argv = [str(root), "--checkpoint", str(checkpoint), "--backend", "reference", *form]
    assert saliency.main([*argv, "--image-size", "16"]) == 0
    said = capsys.readouterr()
    assert "caf\\xe9/caf\\xe94.png" in said.out + said.err
    if form:
        assert json.loads(said.out)["num_images"] == 4  # a half is for choosing


def test_output_without_letters_for_it(folder: Path, tmp_path: Path) -> None:
    """A terminal of another system's: class names in other scripts are escaped as well."""
    params = random_params(np.random.default_rng(1), SACT)
    made = checkpoints.Checkpoint(SACT, params, Preprocessing("cifar", 16), ("日本", "dog"))
    checkpoints.write(tmp_path / "it.h5", made)
    argv = [sys.executable, "-m", "sact_core.ponder", folder / "dog" / f"{LATIN}0.png"]
    argv += ["--checkpoint", tmp_path / "it.h5", "--out", tmp_path / "out"]
    argv += ["--backend", "reference"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, env=environment, check=True)
    assert b"caf\\xe90.png" in done.stdout
    assert b"\\u65e5\\u672c" in done.stdout
