"""Data sets that TFDS prepared, in either format, whole and damaged: written here by hand."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from PIL import Image

from sact_core.data.images import ImageError
from sact_core.data.records import DataError
from sact_core.data.splits import load_split, open_split
from sact_core.data.tfrecord import parse_example
from sact_core.evaluate import __main__ as evaluate
from tests.conftest import need_shared

CLASSES = ("cat", "dog", "owl")
SHARDS = {"train": (5, 4), "test": (3,)}


def varint(value: int) -> bytes:
    value %= 1 << 64
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def example(**values: bytes | int) -> bytes:
    """A tf.train.Example."""
    found = b""
    for name, value in values.items():
        one = (1, field(1, value)) if isinstance(value, bytes) else (3, field(1, varint(value)))
        found += field(1, field(1, name.encode()) + field(2, field(*one)))
    return field(1, found)


def square(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (10 * number,) * 3).save(out, "PNG")
    return example(id=b"no%d" % number, image=out.getvalue(), label=number % 3)


def tfrecord(examples: list[bytes]) -> bytes:
    def crc(data: bytes) -> bytes:
        value = int(google_crc32c.value(data))
        return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    lengths = [struct.pack("<Q", len(data)) for data in examples]
    return b"".join(n + crc(n) + x + crc(x) for n, x in zip(lengths, examples, strict=True))


def write_data_set(root: Path, file_format: str) -> Path:
    """Grey squares, whose numbers count up over shards and splits."""
    folder = root / "grey_squares" / "1.0.0"
    folder.mkdir(parents=True)
    splits, number = [], 0
    for split, lengths in SHARDS.items():
        for i, length in enumerate(lengths):
            examples = [square(j) for j in range(number, number + length)]
            number += length
            name = f"grey_squares-{split}.{file_format}-{i:05}-of-{len(lengths):05}"
            if file_format == "tfrecord":
                (folder / name).write_bytes(tfrecord(examples))
            else:
                from array_record.python import array_record_module

                writer = array_record_module.ArrayRecordWriter(str(folder / name), "group_size:1")
                for data in examples:
                    writer.write(data)
                writer.close()
        splits.append(
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split,
                "numBytes": "1000",
                "shardLengths": [str(length) for length in lengths],
            }
        )
    about = {"name": "grey_squares", "version": "1.0.0", "fileFormat": file_format}
    about |= {"moduleName": "squares", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(about))
    core = "tensorflow_datasets.core.features."
    features = {
        "id": {"pythonClassName": core + "text_feature.Text", "text": {}},
        "image": {
            "pythonClassName": core + "image_feature.Image",
            "image": {"dtype": "uint8", "shape": {"dimensions": ["8", "8", "3"]}},
        },
        "label": {
            "pythonClassName": core + "class_label_feature.ClassLabel",
            "classLabel": {"numClasses": "3"},
        },
    }
    whole = {"pythonClassName": core + "features_dict.FeaturesDict"}
    whole |= {"featuresDict": {"features": features}}
    (folder / "features.json").write_text(json.dumps(whole))
    (folder / "label.labels.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


@pytest.fixture(params=["tfrecord", "array_record"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_data_set(tmp_path, request.param)


@pytest.fixture
def tfrecords(tmp_path: Path) -> Path:
    return write_data_set(tmp_path, "tfrecord")


def numbers(folder: Path, split: str) -> list[int]:
    """The examples of a split, by their grey levels; names and labels must fit."""
    source = open_split("grey_squares", split, folder.parent.parent)
    found = source.read(range(len(source)))
    assert source.class_names == CLASSES
    for image, label, name in found:
        assert (image == image[0, 0, 0]).all()
        assert name == f"no{image[0, 0, 0] // 10}"
        assert label == image[0, 0, 0] // 10 % 3
    return [int(image[0, 0, 0]) // 10 for image, *_ in found]


def said(folder: Path, split: str = "train") -> str:
    with pytest.raises(DataError) as error:
        open_split("grey_squares", split, folder.parent.parent)
    assert "\n" not in str(error.value)
    return str(error.value)


def shard(folder: Path, number: int = 0) -> Path:
    return sorted(folder.glob("*-train.*"))[number]


def test_splits_are_those_of_tfds(folder: Path) -> None:
    assert numbers(folder, "train") == list(range(9))
    assert numbers(folder, "test") == [9, 10, 11]
    assert numbers(folder, "train[2:7]") == [2, 3, 4, 5, 6]
    assert numbers(folder, "train[:50%]") == [0, 1, 2, 3]
    assert numbers(folder, "train[-2:]") == [7, 8]
    assert numbers(folder, "train[:1]+test[1:]") == [0, 10, 11]
    assert "cannot open split 'dev' of 'grey_squares': Unknown split" in said(folder, "dev")


def test_examples_come_in_the_order_asked_for(folder: Path) -> None:
    source = open_split("grey_squares", "train", folder.parent.parent)
    names = [record.name for record in source.records.get([8, 0, 5, 4, 0])]
    assert names == ["no8", "no0", "no5", "no4", "no0"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is no JSON, or not whole"),
        ('{"name": "grey_squares", "spl', "it is no JSON, or not whole"),
        ("[]", "it does not tell its splits"),
        ("{}", "it does not tell its splits"),
        ('{"splits": [{"name": "train"}]}', "it does not tell its splits"),
        ('{"splits": [{"name": "train", "shardLengths": ["x"]}]}', "it is no JSON, or not whole"),
        ("[" * 100_000, "it is no JSON, or not whole"),
        ("\0\xff", "it is no JSON, or not whole"),
    ],
)
def test_a_damaged_description(folder: Path, text: str, reason: str) -> None:
    file = folder / "dataset_info.json"
    file.write_bytes(text.encode("latin-1"))
    assert said(folder).startswith(f"{file} is damaged ({reason}): prepare it anew with python -c")


def test_a_format_that_nobody_knows(folder: Path) -> None:
    file = folder / "dataset_info.json"
    values = json.loads(file.read_text()) | {"fileFormat": "nope"}
    file.write_text(json.dumps(values))
    assert said(folder).startswith("cannot open data set 'grey_squares' in ")
    assert "'nope' is not a valid FileFormat" in said(folder)
    file.write_text(json.dumps(values | {"fileFormat": "riegeli"}))
    assert "is prepared as riegeli, which cannot be read without TensorFlow: prepare it as" in said(
        folder
    )


@pytest.mark.parametrize("version", ["1.0.2", "3.0.1", "3.1.0", "4.0.0"])
def test_a_version_that_tfds_does_not_prepare_today(tmp_path: Path, version: str) -> None:
    ref = need_shared("cases") / "tfds_tfrecord" / "cifar10" / "3.0.2"
    for each in ("0.9.0", version):
        shutil.copytree(ref, tmp_path / "cifar10" / each)
        about = json.loads((ref / "dataset_info.json").read_text()) | {"version": each}
        (tmp_path / "cifar10" / each / "dataset_info.json").write_text(json.dumps(about))
    found = open_split("cifar10", "test", tmp_path)
    assert len(found) == 20
    assert [name for *_, name in found.read([0])] == ["test_00016"]
    with pytest.raises(DataError, match=r"'cifar10:2.0.0' is not in"):
        open_split("cifar10:2.0.0", "test", tmp_path)


def test_a_description_that_does_not_count(folder: Path) -> None:
    file = folder / "dataset_info.json"
    values = json.loads(file.read_text())
    for split in values["splits"]:
        total = sum(map(int, split.pop("shardLengths")))
        split |= {"numShards": "1", "statistics": {"numExamples": str(total)}}
    file.write_text(json.dumps(values))
    assert "does not say how many images its files hold" in said(folder)


def test_a_missing_shard(folder: Path) -> None:
    file = shard(folder, 1)
    file.unlink()
    assert said(folder).startswith(f"{file} is missing: prepare the data set anew with python -c")
    assert numbers(folder, "train[:5]") == [0, 1, 2, 3, 4]  # which lie in the other one


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_cut_shard(folder: Path, share: float) -> None:
    file = shard(folder)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    if file.suffix.startswith(".tfrecord"):
        count = {0: 0, 0.3: 1, 0.9: 4}[share]
        reason = f"is cut off after {count} of 5 images; prepare it anew"
        reason = reason if share else "has 0 images where 5 are noted: its preparation was not"
    else:
        reason = "has no index: it is cut off, damaged, or its preparation was not finished"
    assert said(folder).startswith(f"{file} {reason}")


def test_a_shard_of_another_number_of_images(folder: Path) -> None:
    shutil.copy(shard(folder, 1), shard(folder, 0))
    assert "has 4 images where 5 are noted: " in said(folder)


def test_a_preparation_that_was_not_finished(folder: Path) -> None:
    left = folder.with_name("1.0.0.incompleteABC")
    folder.rename(left)
    assert f"(the preparation that left {left} was not finished): download it" in said(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (gzip.compress, "is compressed with gzip, which TFDS does not do: unpack it first"),
        (lambda data: b"hello, this is no such file", "is no TFRecord file, or damaged"),
        (lambda data: data[:8] + b"\0\0\0\0" + data[12:], "is no TFRecord file, or damaged"),
    ],
)
def test_no_tfrecord_file(tfrecords: Path, change, reason: str) -> None:  # type: ignore[no-untyped-def]
    file = shard(tfrecords)
    file.write_bytes(change(file.read_bytes()))
    assert said(tfrecords).startswith(f"{file} {reason}")


def test_a_length_that_is_wrong(tfrecords: Path) -> None:
    file = shard(tfrecords)
    data, second = file.read_bytes(), 16 + len(square(0))
    file.write_bytes(data[:second] + b"\1" + data[second + 1 :])
    assert said(tfrecords).startswith(f"{file} is damaged at byte {second}: the checksum of a len")


@pytest.mark.parametrize("at", range(12, 12 + len(square(2)), 17))
def test_every_byte_is_checked(tfrecords: Path, at: int) -> None:
    file = shard(tfrecords)
    data = bytearray(file.read_bytes())
    begin = sum(16 + len(square(i)) for i in range(2))
    data[begin + at] ^= 1
    file.write_bytes(bytes(data))
    source = open_split("grey_squares", "train", tfrecords.parent.parent)
    [_, bad, good] = source.records.get([1, 2, 3])
    assert isinstance(bad, ImageError)
    assert str(bad) == "example 2 is damaged: its checksum is wrong"
    assert good.name == "no3"
    found = load_split("grey_squares", "train", tfrecords.parent.parent)
    assert len(found) == 8
    assert found.left_out.names == ["example 2"]


def test_an_example_without_a_label(tfrecords: Path) -> None:
    file = shard(tfrecords, 1)
    examples = [square(5), example(image=b"x"), example(label=1, image=b""), b"\xff\xff"]
    file.write_bytes(tfrecord(examples))
    source = open_split("grey_squares", "train", tfrecords.parent.parent)
    found = [str(record) for record in source.records.get([6, 8])]
    assert found[0] == "example 6 has not one image and one label"
    assert found[1].startswith("example 8 is ")


def test_numbers_packed_or_not_and_negative() -> None:
    data = field(
        1, field(1, field(1, b"a") + field(2, field(3, field(1, varint(300) + varint(-1)))))
    )
    assert parse_example(data) == {"a": [300, -1]}
    plain = field(3, varint(1 << 3) + varint(7))
    assert parse_example(field(1, field(1, field(1, b"b") + field(2, plain)))) == {"b": [7]}
    assert parse_example(example(c=b"x")) == {"c": [b"x"]}


def test_what_tensorflow_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    """CIFAR-10 in TFDS's default format: images like those of the same set as ArrayRecord."""
    where = need_shared("cases", "tfds_tfrecord")
    train, test = (open_split("cifar10", split, where) for split in ("train", "test"))
    assert (len(train), len(test)) == (100, 20)
    assert train.class_names[3] == "cat"
    for source in (train, test):
        found = source.read(range(len(source)))
        assert len({name for *_, name in found}) == len(source)
        for image, label, name in found:
            assert image.shape == (32, 32, 3)
            assert 0 <= label < 10
            assert name.startswith(f"{source.split}_")
        assert np.stack([image for image, *_ in found]).std() > 50
    argv = ["--checkpoint", "pretrained/cifar10_resnet32_sact_tau0.05.h5", "--dataset", "cifar10"]
    argv += ["--data-dir", str(where), "--num-examples", "20", "--backend", "reference"]
    assert evaluate.main(argv) == 0
    assert "eval/Accuracy" in capsys.readouterr().out
