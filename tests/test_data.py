"""Labelled images from a tiny prepared TFDS data set and from folders of class folders."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sact_core.config import Preprocessing
from sact_core.data import source as data
from sact_core.data.images import ImageError
from sact_core.data.records import DataError, Record, Unreadable
from sact_core.data.splits import load_split, open_split
from sact_core.data.tfds import TfdsRecords
from tests.in_memory import Arrays

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the TFDS data sets ``tiny_squares`` and ``tiny_pairs`` are prepared."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")

    class TinySquares(tfds.core.GeneratorBasedBuilder):
        """Squares of one size, grey levels count up."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {
                "id": tfds.features.Text(),
                "image": tfds.features.Image(shape=(8, 8, 3), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=CLASSES),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager: Any) -> dict[str, Any]:
            return {"train": self._examples(9), "test": self._examples(4)}

        def _generate_examples(self) -> Iterator[Any]:
            raise NotImplementedError

        @staticmethod
        def _examples(count: int) -> Iterator[tuple[int, dict[str, Any]]]:
            for i in range(count):
                png = io.BytesIO()  # an array would need TensorFlow to encode it
                Image.new("RGB", (8, 8), (10 * i,) * 3).save(png, "PNG")
                png.seek(0)
                yield i, {"id": f"no{i}", "image": png, "label": i % 3}

    class TinyPairs(TinySquares):
        """Two labels each: no classification."""

        def _info(self) -> Any:
            features = {"left": tfds.features.Text(), "right": tfds.features.Text()}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        @staticmethod
        def _examples(count: int) -> Iterator[tuple[int, dict[str, Any]]]:
            yield 0, {"left": "a", "right": "b"}

    for builder in (TinySquares, TinyPairs):
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def write_images(folder: Path, sizes: dict[str, list[tuple[int, int]]]) -> Path:
    """A folder of class folders; image ``i`` of a class has the grey level ``10 * i``."""
    for name, shapes in sizes.items():
        (folder / name).mkdir(parents=True)
        for i, shape in enumerate(shapes):
            Image.new("RGB", shape[::-1], (10 * i,) * 3).save(folder / name / f"{i}.png")
    return folder


def test_a_tfds_split_comes_whole(tfds_dir: Path) -> None:
    found = load_split("tiny_squares", "train", tfds_dir)
    assert found.images.shape == (9, 8, 8, 3)
    assert found.images.dtype == np.uint8
    assert found.class_names == CLASSES
    assert len(found) == 9
    source = open_split("tiny_squares", "train", tfds_dir)
    for image, label, key in source.read(range(9)):
        number = int(key[2:])
        assert (image == 10 * number).all()
        assert label == number % 3


def test_splits_are_strings_and_the_first_n_can_be_asked_for(tfds_dir: Path) -> None:
    whole = load_split("tiny_squares", "train", tfds_dir)
    part = load_split("tiny_squares", "train[:34%]", tfds_dir)
    first = load_split("tiny_squares", "train", tfds_dir, num_examples=3)
    np.testing.assert_array_equal(part.images, whole.images[:3])
    np.testing.assert_array_equal(first.labels, whole.labels[:3])
    assert len(load_split("tiny_squares", "train", tfds_dir, num_examples=100)) == 9


def test_lots_give_the_same(tfds_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_split("tiny_squares", "train", tfds_dir)
    monkeypatch.setattr(data, "FIRST_LOT", 2)
    monkeypatch.setattr(data, "LARGEST_LOT", 3)
    np.testing.assert_array_equal(
        load_split("tiny_squares", "train", tfds_dir).images, whole.images
    )


@pytest.mark.parametrize(
    ("num_bytes", "lots"),
    [(4 << 20, [8, 4, 4, 4]), (1 << 20, [8, 12]), (100 << 20, [8, *[1] * 12]), (1, [8, 12])],
)
def test_lots_are_of_so_many_bytes(num_bytes: int, lots: list[int]) -> None:
    # A view: it claims the bytes without taking any.
    image = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (1, num_bytes, 1))
    read: list[int] = []

    class Noted(Arrays):
        def get(self, indices: Sequence[int]) -> list[Record | ImageError]:
            read.append(len(indices))
            return super().get(indices)

    source = data.Source("it", "test", (), Noted([image], (), 20))
    assert [index for index, _ in source.encoded()] == list(range(20))
    assert read == lots


def test_the_environment_says_where_data_is(
    tfds_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_dir))
    assert len(open_split("tiny_squares", "test")) == 4


@pytest.mark.parametrize(
    ("name", "split", "reason"),
    [
        ("tiny_squares", "dev", "cannot open split 'dev'.*train"),
        ("tiny_pairs", "train", "no images with one label each"),
        ("mnist", "train", "not in .*download it with python -c .*'mnist'.*--data-dir"),
        ("cifar10:3.0.2", "train", "not in .*download it with"),
        ("no_such_set", "train", "neither a TFDS data set nor a folder"),
        ("./no/such/folder", "train", "is no folder"),
    ],
)
def test_what_is_absent_is_one_sentence(tfds_dir: Path, name: str, split: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as error:
        open_split(name, split, tfds_dir)
    assert "\n" not in str(error.value)


def test_a_missing_data_dir_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(DataError, match=r"not in .*nowhere.*data_dir='.*nowhere'"):
        open_split("cifar10", "train", missing)


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets" / "train", {"b": [(6, 6)] * 2, "a": [(6, 6)]}).parent
    found = load_split(str(folder), "train")
    assert found.class_names == ("a", "b")
    assert found.labels.tolist() == [0, 1, 1]
    assert found.images[:, 0, 0, 0].tolist() == [0, 0, 10]
    assert [key for *_, key in open_split(str(folder), "train").read([2])] == ["b/1.png"]
    assert len(load_split(str(folder / "train"), "all")) == 3


def test_a_folder_without_the_split_or_images(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", {"a": []})
    with pytest.raises(DataError, match="has no split 'test'"):
        open_split(str(folder), "test")
    with pytest.raises(DataError, match="no class folders with images"):
        open_split(str(folder), "all")


def test_sizes_that_differ_need_a_size(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", {"a": [(6, 6), (9, 12)]})
    with pytest.raises(DataError, match=r"9 x 12.*a/1\.png: give --image-size"):
        load_split(str(folder), "all")
    found = load_split(str(folder), "all", fit=Preprocessing("cifar", 8))
    assert found.images.shape == (2, 8, 8, 3)
    assert found.images[:, 0, 0, 0].tolist() == [0, 10]
    found = load_split(str(folder), "all", fit=Preprocessing("imagenet", 8))
    assert found.images[:, 0, 0, 0].tolist() == [0, 10]


def test_images_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", {"a": [(6, 6)] * 3, "b": [(6, 6)] * 2})
    (folder / "a" / "1.png").write_text("no image")
    cut = folder / "b" / "0.png"
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    Image.fromarray(noise).save(cut)
    cut.write_bytes(cut.read_bytes()[:90])
    found = load_split(str(folder), "all")
    assert found.images.shape == (3, 6, 6, 3)
    assert found.labels.tolist() == [0, 0, 1]
    assert found.images[:, 0, 0, 0].tolist() == [0, 20, 10]
    assert found.left_out.names == ["a/1.png", "b/0.png"]
    assert "b/0.png is truncated or damaged" in found.left_out.found[3][1]
    source = open_split(str(folder), "all")
    with pytest.raises(ImageError, match=r"^a/1\.png is no image"):
        source.read([0, 1])
    for path in folder.rglob("*.png"):
        path.write_text("no image")
    with pytest.raises(DataError, match=r"not one image of .*pets all can be read"):
        load_split(str(folder), "all")


def test_a_set_that_memory_has_no_room_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_images(tmp_path / "pets", {"a": [(6, 6)] * 3})
    needed = 3 * 6 * 6 * 3
    monkeypatch.setattr(data, "available_memory", lambda: needed)
    assert len(load_split(str(folder), "all")) == 3
    monkeypatch.setattr(data, "available_memory", lambda: needed - 1)
    told = r"the 3 images of .*pets all need 0\.0 GiB of memory at 6 x 6 pixels, but 0\.0 GiB are"
    with pytest.raises(DataError, match=told):
        load_split(str(folder), "all")
    monkeypatch.setattr(data, "available_memory", lambda: None)  # unknown
    assert len(load_split(str(folder), "all")) == 3


def test_a_file_that_cannot_be_opened_is_left_out(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", {"a": [(6, 6)] * 2})
    source = open_split(str(folder), "all")
    (folder / "a" / "1.png").unlink()  # since the folder was listed
    left_out = Unreadable()
    assert [name for *_, name in source.readable([0, 1], left_out)] == ["a/0.png"]
    assert left_out.found == {1: ("a/1.png", "a/1.png cannot be opened: No such file or directory")}


def test_a_line_names_the_first_ones() -> None:
    left_out = Unreadable({i: (f"a/{i}.jpg", "it is none") for i in (9, 4, 5, 6, 7, 2000)})
    assert left_out.line(3060) == (
        "skipped 6 of 3,060 images that cannot be read: "
        "a/4.jpg, a/5.jpg, a/6.jpg, a/7.jpg, a/9.jpg and 1 more"
    )
    assert left_out.record()["count"] == 6
    assert left_out.record()["images"][0] == {"name": "a/4.jpg", "reason": "it is none"}


@pytest.mark.parametrize("bad", ["image", "record"])
def test_a_damaged_record_is_left_out(tfds_dir: Path, bad: str) -> None:
    source = open_split("tiny_squares", "train", tfds_dir)
    records = source.records.source

    class Damaged:
        def __len__(self) -> int:
            return len(records)

        def __getitems__(self, indices: list[int]) -> list[Any]:
            if bad == "record" and 4 in indices:
                raise RuntimeError("checksum\nof record 4")
            found = records.__getitems__(indices)
            if bad == "image" and 4 in indices:
                found[indices.index(4)]["image"] = b"\x89PNG no image"
            return found

    source = dataclasses.replace(source, records=TfdsRecords(Damaged()))
    left_out = Unreadable()
    found = list(source.readable(range(9), left_out))
    assert [int(image[0, 0, 0]) for image, *_ in found] == [
        10 * int(name[2:]) for *_, name in found
    ]
    assert len(found) == 8
    ((name, reason),) = left_out.found.values()
    assert name == {"image": found_name(records, 4), "record": "example 4"}[bad]
    assert reason.startswith(name)
    assert "checksum" in reason or "is no image" in reason


def found_name(records: Any, index: int) -> str:
    return records[index]["id"].decode()


def test_every_colour_mode_becomes_upright_rgb(tmp_path: Path) -> None:
    """Grey, palette, CMYK, transparent and turned photographs in one folder."""
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[:, 6:] = 255
    image = Image.fromarray(pixels)
    where = tmp_path / "it"
    where.mkdir()
    image.convert("L").save(where / "grey.png")
    image.convert("P").save(where / "palette.gif")
    image.convert("CMYK").save(where / "print.jpg", quality=95)
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(255 - pixels[..., 0]))  # the right half becomes clear
    clear.save(where / "clear.webp", lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(where / "turned.jpg", exif=exif, quality=95)
    found = open_split(str(tmp_path), "all").read(range(5))
    assert [name for *_, name in found] == [
        f"it/{name}"
        for name in ("clear.webp", "grey.png", "palette.gif", "print.jpg", "turned.jpg")
    ]
    for comp, _, name in found:
        assert comp.shape == (8, 12, 3), name
        np.testing.assert_allclose(comp.astype(int), pixels, atol=8, err_msg=name)


def test_images_that_are_not_square_need_a_size(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", {"a": [(6, 8)]})
    with pytest.raises(DataError, match=r"6 x 8.*give --image-size"):
        load_split(str(folder), "all")
