"""Data sets prepared of archives: the same images and labels as the archive's, for every reader."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sact_core.data.published import PUBLISHED
from sact_core.data.records import DataError
from sact_core.data.splits import load_split, open_split
from sact_core.data.tfds import download_command, ways_to_get
from sact_core.data.tfrecord import make_example, parse_example
from sact_core.prepare import __main__ as prepare
from sact_core.prepare import fetch, photographs
from tests.conftest import ROOT, need_shared

TFDS = 'python -c "import tensorflow_datasets as tfds; tfds.builder('
Files = dict[str, bytes]
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def tar(path: Path, files: Files, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def folder(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


PACKED: dict[str, Callable[[Path, Files], Path]] = {
    "tar.gz": tar,
    "tar": functools.partial(tar, mode="w"),
    "tar.xz": functools.partial(tar, mode="w:xz"),
    "zip": zipped,
    "folder": folder,
}


def rows(images: np.ndarray, *labels: np.ndarray) -> np.ndarray:
    """Images [shape=(n, 32, 32, 3), uint8] as the binary release has them."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([*(each.astype(np.uint8)[:, None] for each in labels), planes], 1)


def cifar10(rng: np.random.Generator, num: int = 4) -> tuple[Files, np.ndarray, np.ndarray]:
    """Files of an archive of five times ``num`` training images and ``num`` for testing."""
    images = rng.integers(0, 256, (6 * num, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, 6 * num)
    parts = [rows(i, k).tobytes() for i, k in zip(
        np.split(images, 6), np.split(labels, 6), strict=True
    )]  # fmt: skip
    top = "cifar-10-batches-bin"
    # In another order than the images' own, as in a real archive.
    files = {f"{top}/data_batch_{i}.bin": parts[i - 1] for i in (1, 5, 3, 2, 4)}
    files |= {f"{top}/batches.meta.txt": "\n".join([*NAMES, "", ""]).encode()}
    return files | {f"{top}/test_batch.bin": parts[5], f"{top}/readme.html": b"x"}, images, labels


def assert_split(root: Path, name: str, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    found = load_split(name, split, root)
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)
    assert not found.left_out


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = prepare.main([str(arg) for arg in argv])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    code, out, err = run(capsys, *argv)
    errors = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert (code, out, len(errors)) == (2, "", 1), err
    return errors[0]


# --- CIFAR ---


@pytest.mark.parametrize("kind", PACKED)
def test_cifar10(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    files, images, labels = cifar10(rng)
    archive = PACKED[kind](tmp_path / f"cifar.{kind}", files)
    root = tmp_path / "new" / "data"
    code, out, err = run(capsys, "cifar10", "--archive", archive, "--data-dir", root)
    assert (code, out) == (
        0, f"{root}/cifar10/3.0.2: 10 classes, images: train 20, test 4\n"
    )  # fmt: skip
    assert ("is not the published archive of cifar10: it has " in err) == (kind != "folder")
    assert ("bytes, not 170,052,171 (https://www.cs.t" in err) == (kind != "folder")
    assert_split(root, "cifar10", "train", images[:20], labels[:20])
    assert_split(root, "cifar10", "test", images[20:], labels[20:])
    source = open_split("cifar10", "train[3:5]", root)
    assert source.class_names == tuple(NAMES)
    assert [name for *_, name in source.read(range(2))] == ["train_00003", "train_00004"]
    assert sorted(os.listdir(root / "cifar10")) == ["3.0.2"]
    assert sorted(os.listdir(root)) == ["cifar10"]


def test_cifar10_is_what_the_prepared_one_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three hundred real images, packed as the binary release and prepared again."""
    theirs = need_shared("tensorflow_datasets")
    found = {"train": load_split("cifar10", "train[:250]", theirs)}
    found["test"] = load_split("cifar10", "test[:50]", theirs)
    parts = [rows(e.images, e.labels) for e in found.values()]
    files = {f"data_batch_{i + 1}.bin": parts[0][50 * i :][:50].tobytes() for i in range(5)}
    files["test_batch.bin"] = parts[1].tobytes()
    archive = tar(tmp_path / "a.tar.gz", files)
    assert run(capsys, "cifar10", "--archive", archive, "--data-dir", tmp_path)[0] == 0
    for split, ref in found.items():
        assert_split(tmp_path, "cifar10", split, ref.images, ref.labels)
    assert load_split("cifar10", "test", tmp_path).class_names == found["test"].class_names


def test_cifar100(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    images = rng.integers(0, 256, (9, 32, 32, 3), np.uint8)
    fine, coarse = rng.integers(0, 100, 9), rng.integers(0, 20, 9)
    data = rows(images, coarse, fine)
    files = {
        "cifar-100-binary/train.bin": data[:6].tobytes(),
        "cifar-100-binary/test.bin": data[6:].tobytes(),
        "cifar-100-binary/fine_label_names.txt": "\n".join(f"f{i}" for i in range(100)).encode(),
        "cifar-100-binary/coarse_label_names.txt": "\n".join(f"c{i}" for i in range(20)).encode(),
    }
    argv = ["cifar100", "--data-dir", tmp_path, "--archive"]
    assert run(capsys, *argv, tar(tmp_path / "a.tgz", files))[0] == 0
    assert_split(tmp_path, "cifar100", "train", images[:6], fine[:6])
    assert_split(tmp_path, "cifar100", "test", images[6:], fine[6:])
    assert open_split("cifar100", "test", tmp_path).class_names[99] == "f99"
    import tensorflow_datasets as tfds

    source = tfds.data_source("cifar100", data_dir=tmp_path, split="train", download=False)
    assert [example["coarse_label"] for example in source] == coarse[:6].tolist()
    del files["cifar-100-binary/fine_label_names.txt"]
    said = refused(capsys, *argv, tar(tmp_path / "a.tgz", files), "--force")
    assert "has 0 names in fine_label_names.txt where 100 should be" in said
    assert_split(tmp_path, "cifar100", "test", images[6:], fine[6:])  # the old one stays


def test_other_archives_of_cifar_are_named(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    files, *_ = cifar10(rng, 1)
    binary = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"

    def said(made: Files, name: str = "cifar10") -> str:
        archive = tar(tmp_path / "a.tar.gz", made)
        return refused(capsys, name, "--archive", archive, "--data-dir", tmp_path / "data")

    python = {name.replace("bin", "py").removesuffix(".py"): b"\x80\x02" for name in files}
    assert "whose pickled files are never opened here: take the binary one, " in said(python)
    assert said(python).endswith(binary)
    assert "is the version for MATLAB: take" in said({"x/data_batch_1.mat": b""})
    assert "is cifar10, not cifar100: take" in said(files, "cifar100")
    assert "is cifar100, not cifar10: take" in said({"train.bin": b"", "test.bin": b""})
    assert "is no archive of cifar10: take" in said({"hello": b""})
    assert "is no archive of cifar10: take" in said({})
    part = {name: data for name, data in files.items() if "_3" not in name}
    assert "lacks data_batch_3.bin: take the whole archive" in said(part)
    top = "cifar-10-batches-bin"
    for data, reason in (
        (b"", "data_batch_2.bin has 0 bytes, which are not whole images of 3,073"),
        (b"\0" * 3000, "has 3,000 bytes"),
        (b"\x0a" + bytes(3072), "data_batch_2.bin has a label 10"),
    ):
        assert reason in said(files | {f"{top}/data_batch_2.bin": data})
    assert "has 2 names in batches.meta.txt" in said(files | {f"{top}/batches.meta.txt": b"a\nb"})
    assert not (tmp_path / "data" / "cifar10").exists()


@pytest.mark.parametrize("kind", ["tar.gz", "tar", "tar.xz", "zip"])
def test_what_is_cut_off_or_no_archive_is_one_sentence(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    archive = PACKED[kind](tmp_path / "a", cifar10(rng, 1)[0])
    data = archive.read_bytes()
    argv = ["cifar10", "--archive", archive, "--data-dir", tmp_path / "data"]
    for share in (0.1, 0.5, 0.7):  # of a tar archive the rest is padding
        archive.write_bytes(data[: int(share * len(data))])
        error = refused(capsys, *argv)
        assert "damaged" in error or "lacks" in error or "cut off" in error
    for other in (b"", b"hello", b"<html>404</html>" * 100, b"\0" * 2000):
        archive.write_bytes(other)
        error = refused(capsys, *argv)
        assert "is neither an archive" in error or "is no archive of cifar10" in error
    assert not list((tmp_path / "data").rglob("*.array_record*"))


def test_archives_of_the_published_size_are_told_by_their_hash(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    archive = tar(tmp_path / "a.tgz", cifar10(rng, 1)[0])
    argv = ["cifar10", "--archive", archive, "--data-dir", tmp_path, "--force"]
    data = archive.read_bytes()
    about = dataclasses.replace(PUBLISHED["cifar10"], num_bytes=len(data))
    monkeypatch.setitem(PUBLISHED, "cifar10", about)
    digest = hashlib.sha256(data).hexdigest()
    assert f"its SHA-256 is {digest}, not {about.sha256}" in run(capsys, *argv)[2]
    monkeypatch.setitem(PUBLISHED, "cifar10", dataclasses.replace(about, sha256=digest))
    assert run(capsys, *argv)[2] == ""


@pytest.mark.parametrize("name", ["cifar10", "imagenette/160px-v2", "caltech101", "birds"])
@pytest.mark.parametrize("begin", [b"", b"RIFF of a film", b"ustar" * 200])
def test_gigabytes_of_something_else_are_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, begin: bytes
) -> None:
    large = tmp_path / "film.avi"
    large.write_bytes(begin)
    os.truncate(large, 9 << 30)
    began = time.process_time()
    said = refused(capsys, name, "--archive", large, "--data-dir", tmp_path / "data")
    assert time.process_time() - began < 2
    if name != "birds":
        assert "has 9,663,676,416 bytes, and the published archive of" in said
    elif begin:
        assert "is neither an archive" in said
    else:
        assert "holds no photographs" in said  # a tar archive may begin with nothing


def test_another_archive_of_gigabytes_is_refused_at_its_first_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar(tmp_path / "a.tgz", {f"train/{c}/1.jpg": jpeg(1) for c in "abcdef"})
    steps: list[int] = []
    read = photographs._photographs
    monkeypatch.setattr(
        photographs, "_photographs", lambda a, s, _: read(a, s, lambda: steps.append(1))
    )
    argv = ["imagenette/160px-v2", "--archive", archive, "--data-dir", tmp_path]
    assert "it has a class a; take https" in refused(capsys, *argv)
    assert not steps


@pytest.mark.parametrize("name", ["../../evil.bin", "/etc/data_batch_1.bin", "a/../../b.bin"])
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_names_that_lead_out_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, name: str
) -> None:
    archive = PACKED[kind](tmp_path / "a", {name: b"x"})
    error = refused(capsys, "cifar10", "--archive", archive, "--data-dir", tmp_path / "data")
    assert "the archive holds a name that leads out of it" in error


def test_links_and_devices_in_an_archive_are_passed_over(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    files, *_ = cifar10(rng, 1)
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as made:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
            info.type, info.linkname = kind, "/etc/passwd"
            made.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    assert run(capsys, "cifar10", "--archive", archive, "--data-dir", tmp_path)[0] == 0


# --- photographs ---


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8 + seed % 5, 12, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def stored(root: Path, name: str, split: str) -> dict[bytes, int]:
    """The classes of a split's photographs, by their very bytes."""
    source = open_split(name, split, root)
    found = source.records.get(range(len(source)))
    return {record.image: record.label for record in found}  # type: ignore[union-attr, misc]


def test_caltech101(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = {
        f"101_ObjectCategories/{name}/image_{i:04d}.jpg": jpeg(100 * k + i)
        for k, name in enumerate(["ant", "BACKGROUND_Google", "Faces"])
        for i in range(1, 33 + k)
    }
    inner = tar(tmp_path / "inner.tar.gz", photographs | {"101_ObjectCategories/ant/x.mat": b""})
    files = {
        "caltech-101/101_ObjectCategories.tar.gz": inner.read_bytes(),
        "caltech-101/Annotations.tar": tar(tmp_path / "b", {"a/b.mat": b"x"}, "w").read_bytes(),
        "__MACOSX/caltech-101/._x": b"",
    }
    argv = ["caltech101", "--data-dir", tmp_path / "data", "--archive"]
    code, out, _ = run(capsys, *argv, zipped(tmp_path / "a.zip", files))
    assert (code, out.split(": ", 1)[1]) == (0, "102 classes, images: train 90, test 9\n")
    names = open_split("caltech101", "train", tmp_path / "data").class_names
    assert names[3:5] == ("ant", "background_google")
    assert names == tuple(
        (need_shared("tensorflow_datasets") / "caltech101/3.0.2/label.labels.txt")
        .read_text()
        .split()
    )
    train, test = (stored(tmp_path / "data", "caltech101", split) for split in ("train", "test"))
    ref = {v: names.index(k.split("/")[1].lower()) for k, v in photographs.items()}
    assert train | test == ref
    assert sorted(Counter(train.values()).values()) == [30, 30, 30]
    assert sorted(Counter(test.values()).values()) == [2, 3, 4]
    # The same draw again, from the tar archive itself.
    run(capsys, *argv, inner, "--force")
    assert stored(tmp_path / "data", "caltech101", "train") == train
    assert "it has a class anthill; take https://data.caltech.edu" in refused(
        capsys, *argv, tar(tmp_path / "x.tgz", {k.replace("ant", "anthill"): v
        for k, v in photographs.items()}), "--force"
    )  # fmt: skip
    few = {name: data for name, data in photographs.items() if "_0001" in name}
    assert "has 1 photographs, fewer than the 30" in refused(
        capsys, *argv, tar(tmp_path / "few.tgz", few), "--force"
    )


def test_imagenette(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        f"imagenette2-160/{split}/{wnid}/{i}.JPEG": jpeg(
            1000 * len(split) + 100 * int("n03" in wnid) + i
        )
        for split in ("train", "val")
        for wnid in ("n03000684", "n01440764")
        for i in range(6)
    }
    files["imagenette2-160/noisy_imagenette.csv"] = b"x"
    argv = ["imagenette/160px-v2", "--data-dir", tmp_path, "--archive"]
    assert run(capsys, *argv, tar(tmp_path / "a.tgz", files))[0] == 0
    names = open_split("imagenette/160px-v2", "train", tmp_path).class_names
    assert (len(names), names[0]) == (10, "n01440764")
    for split, theirs in (("train", "train"), ("validation", "val")):
        found = stored(tmp_path, "imagenette/160px-v2", split)
        assert found == {
            data: names.index(name.split("/")[2])
            for name, data in files.items()
            if f"/{theirs}/" in name
        }
    first = stored(tmp_path, "imagenette/160px-v2", "train[:6]")
    assert len(set(first.values())) == 2  # not one class after the other


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_class_folders_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    files = {
        f"birds/{name}/{i}.jpg": jpeg(1000 * ord(name) + i) for name in "xy" for i in range(10)
    }
    more = {"birds/notes.txt": b"", "birds/.ipynb_checkpoints/x/0.jpg": jpeg(0)}
    archive = PACKED[kind](tmp_path / "archive", files | more)
    argv = ["birds", "--archive", archive, "--data-dir", tmp_path / "data"]
    code, out, err = run(capsys, *argv)
    assert (code, err) == (0, "")
    assert out.endswith("data/birds/1.0.0: 2 classes, images: train 16, test 4\n")
    train, test = (stored(tmp_path / "data", "birds", split) for split in ("train", "test"))
    assert train | test == {data: int("/y/" in name) for name, data in files.items()}
    assert sorted(test.values()) == [0, 0, 1, 1]
    names = [name for *_, name in open_split("birds", "test", tmp_path / "data").read(range(4))]
    assert len(names) == 4
    with_splits = {f"{split}/{name}": data for split in ("train", "val") for name, data in (
        ("a/1.png", jpeg(1)), ("b/2.webp", jpeg(2))
    )}  # fmt: skip
    other = PACKED[kind](tmp_path / "other", with_splits)
    _, out, _ = run(capsys, "birds", "--archive", other, *argv[3:], "--force")
    assert out.endswith("2 classes, images: train 2, validation 2\n")
    assert not list((tmp_path / "data" / "birds" / "1.0.0").glob("*-test.*"))
    assert "holds no photographs" in refused(
        capsys, "fish", "--archive", PACKED[kind](tmp_path / "none", {"a.txt": b""}), *argv[3:]
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mnist", "mnist is a data set of TFDS that is not made of class folders: prepare it with"),
        ("../x", "is none of cifar10, cifar100, caltech101"),
        ("Ünï", "and no name of your own"),
        ("imagenette/1px", "is none of cifar10"),
    ],
)
def test_names(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str) -> None:
    assert said in refused(capsys, name, "--archive", tmp_path, "--data-dir", tmp_path)


# --- writing ---


def test_a_data_set_is_replaced_only_when_asked_and_other_files_stay(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    files, *_ = cifar10(rng, 1)
    argv = ["cifar10", "--data-dir", tmp_path, "--archive", tar(tmp_path / "a.tgz", files)]
    assert run(capsys, *argv)[0] == 0
    where = tmp_path / "cifar10" / "3.0.2"
    (where / "notes.txt").write_text("mine")
    (where / "cifar10-train.tfrecord-00000-of-00001").write_bytes(b"old")
    before = {path.name: path.read_bytes() for path in where.iterdir()}
    assert f"{where} exists; give --force to replace it" in refused(capsys, *argv)
    assert {path.name: path.read_bytes() for path in where.iterdir()} == before
    files, images, labels = cifar10(rng, 2)
    tar(tmp_path / "a.tgz", files)
    assert run(capsys, *argv, "--force")[0] == 0
    assert_split(tmp_path, "cifar10", "test", images[10:], labels[10:])
    assert (where / "notes.txt").read_text() == "mine"
    assert not (where / "cifar10-train.tfrecord-00000-of-00001").exists()


def test_a_killed_preparation_leaves_no_data_set_and_is_cleared(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    files, images, labels = cifar10(rng, 1)
    archive = tar(tmp_path / "a.tgz", files)
    argv = ["cifar10", "--archive", str(archive), "--data-dir", str(tmp_path)]
    code = (
        "import os, signal, sys\n"
        "from sact_core.prepare import __main__ as prepare, writing\n"
        "def kill(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "writing._features = kill\n"
        f"prepare.main({argv!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -9
    [left] = (tmp_path / "cifar10").iterdir()
    with pytest.raises(DataError, match="was not finished"):
        open_split("cifar10", "train", tmp_path)
    theirs = tmp_path / "cifar10" / "3.0.2.incompleteABC"
    theirs.mkdir()
    running = tmp_path / "cifar10" / "3.0.2.incomplete_sact-running"
    running.mkdir()
    import fcntl

    handle = os.open(running, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert run(capsys, *argv)[0] == 0
    os.close(handle)
    assert not left.exists()
    assert theirs.exists()
    assert running.exists()
    assert_split(tmp_path, "cifar10", "train", images[:5], labels[:5])


def test_ctrl_c_leaves_nothing(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    archive = tar(tmp_path / "a.tgz", cifar10(rng, 1)[0])

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sact_core.prepare.writing._info", stop)
    code, out, err = run(capsys, "cifar10", "--archive", archive, "--data-dir", tmp_path)
    assert (code, out) == (130, "")
    assert err.endswith("stopped: no data set was written; what was fetched stays\n")
    assert not list((tmp_path / "cifar10").iterdir())


def test_examples_are_read_as_they_were_made() -> None:
    values: dict[str, bytes | int] = {"id": b"x\xff" * 100, "label": 300, "zero": 0, "image": b""}
    assert parse_example(make_example(values)) == {name: [v] for name, v in values.items()}


# --- from the web ---


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one file, with ranges; ``cut`` bytes of it at most in an answer."""

    data = b""
    cut: int | None = None
    ranges = True
    asked: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        if "absent" in self.path:
            self.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted and self.ranges else 0
        if wanted and self.ranges and start >= len(self.data):
            self.send_error(416)
            return
        self.send_response(206 if wanted and self.ranges else 200)
        self.send_header("Content-Length", str(len(self.data) - start))
        self.end_headers()
        self.wfile.write(self.data[start:][: self.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(rng: np.random.Generator, tmp_path: Path) -> Iterator[str]:
    Handler.data = tar(tmp_path / "served", cifar10(rng, 2)[0]).read_bytes()
    Handler.cut, Handler.ranges, Handler.asked = None, True, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.mark.parametrize("ranges", [True, False])
def test_an_archive_is_fetched_and_gone_on_with(
    tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str], ranges: bool
) -> None:
    argv = ["cifar10", "--archive", f"{server}/~k/cifar-10-binary.tar.gz?download=1"]
    argv += ["--data-dir", str(tmp_path / "data")]
    Handler.cut, Handler.ranges = 10_000, ranges
    error = refused(capsys, *argv)
    assert "goes on where this one stopped" in error
    left = tmp_path / "data" / "downloads" / "cifar-10-binary.tar.gz.sact-unfinished"
    assert left.read_bytes() == Handler.data[:10_000]
    Handler.cut = None
    assert run(capsys, *argv)[0] == 0
    assert Handler.asked == [None, "bytes=10000-"]
    fetched = tmp_path / "data" / "downloads" / "cifar-10-binary.tar.gz"
    assert fetched.read_bytes() == Handler.data
    assert not left.exists()
    assert run(capsys, *argv, "--force")[0] == 0  # not fetched again
    assert len(Handler.asked) == 2
    # What is there is more than the server has.
    fetched.rename(left)
    left.write_bytes(Handler.data + b"more")
    assert run(capsys, *argv, "--force")[0] == 0
    assert fetched.read_bytes() == Handler.data


def test_what_cannot_be_fetched_is_one_sentence(
    tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def said(url: str) -> str:
        return refused(capsys, "cifar10", "--archive", url, "--data-dir", tmp_path / "data")

    assert "the server says 404" in said(f"{server}/absent.tgz")
    assert "is no address of http or https" in said("file:///etc/passwd")
    assert "is no address of http or https" in said("ftp://host/a.tgz")
    assert "ends in no name of a file" in said(f"{server}/")
    assert "ends in no name of a file" in said(f"{server}/.hidden")
    assert "cannot be fetched" in said("http://127.0.0.1:9/a.tgz")
    assert "cannot be fetched" in said("http://host.invalid/a.tgz")
    assert "there is no archive" in said(str(tmp_path / "absent.tgz"))
    assert "there is no archive ''" in said("")
    (tmp_path / "file").write_bytes(b"")
    argv = ["cifar10", "--archive", tmp_path, "--data-dir", tmp_path / "file"]
    assert f"{tmp_path / 'file'} is no folder: name another" in refused(capsys, *argv)
    monkeypatch.setitem(
        PUBLISHED, "cifar10", dataclasses.replace(PUBLISHED["cifar10"], num_bytes=1000)
    )
    assert "and the published archive of cifar10 1,000: take" in said(f"{server}/large.tgz")
    assert not list((tmp_path / "data" / "downloads").glob("large*"))
    monkeypatch.undo()
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    assert "for which no room is left" in said(f"{server}/a.tgz")


# --- what messages say ---


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("data_dir", [None, "my data"])
def test_the_command_that_messages_give_is_one_of_ours(
    tmp_path: Path, name: str, data_dir: str | None
) -> None:
    words = shlex.split(download_command(name, data_dir))
    assert words[:3] == ["python", "-m", "sact_core.prepare"]
    args = prepare.build_parser().parse_args(words[3:])
    assert (args.name, args.archive, args.data_dir) == (name, PUBLISHED[name].url, data_dir)
    with pytest.raises(DataError, match=r"download it with python -m sact_core\.prepare") as error:
        open_split(name, "train", tmp_path)
    assert download_command(name, tmp_path) in str(error.value)
    assert f"(or, where TensorFlow is installed, pip install tensorflow, with {TFDS}" in str(
        error.value
    )


def test_other_data_sets_take_tensorflow() -> None:
    said = ways_to_get("mnist")
    assert said.startswith(f"{download_command('mnist')} (where")
    assert "tfds.builder('mnist', file_format='array_record').download_and_prepare()" in said
    assert said.endswith("(where TensorFlow is installed: pip install tensorflow)")


def test_hashes_are_those_of_tfds() -> None:
    import tensorflow_datasets as tfds

    where = Path(tfds.__file__).parent
    lists = [*where.glob("url_checksums/cifar*.txt"), *where.glob("datasets/*/checksums.tsv")]
    known = [line.split() for file in lists for line in file.read_text().splitlines()]
    for each in PUBLISHED.values():
        assert [each.url, str(each.num_bytes), each.sha256] in [line[:3] for line in known]


def test_the_description_is_what_tfds_wrote(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = need_shared("tensorflow_datasets") / "cifar10" / "3.0.2"
    archive = tar(tmp_path / "a.tgz", cifar10(rng, 1)[0])
    run(capsys, "cifar10", "--archive", archive, "--data-dir", tmp_path)
    ours = tmp_path / "cifar10" / "3.0.2"
    read = [json.loads((where / "features.json").read_text()) for where in (ours, theirs)]
    assert read[0] == read[1]
    labels = [(where / "label.labels.txt").read_text().split() for where in (ours, theirs)]
    assert labels[0] == labels[1]
