"""People's answers, read and joined with images."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sact_core.data.records import DataError
from sact_core.measures import passes
from sact_core.measures.people import answers_of, join, read_answers
from tests.doubt.conftest import saved

COUNTS = np.array([[9, 1, 0], [0, 5, 5], [0, 0, 7], [8, 0, 0], [0, 9, 1]])


LABELS = np.array([0, 1, 2, 0, 1])


class TestPeople:
    @pytest.mark.parametrize("first", [0, 1])
    def test_answers_are_joined_by_number_wherever_that_begins(
        self, tmp_path: Path, first: int
    ) -> None:
        answers = read_answers(saved(COUNTS, tmp_path / "counts.npy"))
        order = np.array([3, 1, 4, 0])
        names = np.array([f"test_{first + i:05d}" for i in order])
        people = join(answers, names, LABELS[order], 3)
        np.testing.assert_allclose(people.shares, (COUNTS / COUNTS.sum(1, keepdims=True))[order])
        assert people.agreement == 1
        ref = [0, 1, -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))]
        np.testing.assert_allclose(people.entropy[:3], ref)
        np.testing.assert_allclose(people.disagreement, [0, 0.5, 0.1, 0.1])

    @pytest.mark.parametrize(
        ("old", "new"), [(b"}", b" "), (b"'<f8'", b"'<f8("), (b"(5, 3), }", b"(-5,-3),}")]
    )
    def test_a_damaged_header_is_told(self, tmp_path: Path, old: bytes, new: bytes) -> None:
        """NumPy's reader of it ends in errors of Python's own parser."""
        whole = npy(COUNTS.astype("<f8"))
        assert old in whole
        damaged = whole.replace(old, new, 1)
        with pytest.raises(DataError, match=r"it is no \.npy file of numbers"):
            answers_of(damaged, "it")
        with zipfile.ZipFile(tmp_path / "kept.npz", "w") as kept:
            kept.writestr("about.npy", damaged)
        assert passes._read(tmp_path / "kept.npz", {}) is None

    def test_nobody_answered_is_no_answer(self) -> None:
        answers = answers_of(npy(np.vstack([COUNTS, [0, 0, 0]])), "it")
        names = np.array([f"{i}.png" for i in range(6)])
        people = join(answers, names, np.append(LABELS, 0), 3)
        assert people.answered.tolist() == [True] * 5 + [False]

    def test_another_order_is_refused_with_its_agreement(self) -> None:
        answers = answers_of(npy(COUNTS[[2, 3, 4, 0, 1]]), "it.npy")
        names = np.array([f"test_{i}" for i in range(5)])
        with pytest.raises(DataError, match=r"it\.npy agrees with the labels on 40\.0% of the im"):
            join(answers, names, LABELS, 3)

    def test_what_does_not_fit_is_refused(self) -> None:
        answers, names = answers_of(npy(COUNTS), "it"), np.array([f"t_{i}" for i in range(5)])
        with pytest.raises(DataError, match="answers of 3 classes, the images have 10"):
            join(answers, names, LABELS, 10)
        with pytest.raises(DataError, match=r"on 5 images, but the whole split has 6: is it of an"):
            join(answers, names, LABELS, 3, 6)
        assert join(answers, names[:4], LABELS[:4], 3, 5).agreement == 1  # the first images of it
        with pytest.raises(DataError, match=r"on 5 images, not on all of images 0 to 9: is it"):
            join(answers, np.array(["t_0", "t_9"]), LABELS[:2], 3)
        for few in (COUNTS[:2], np.vstack([COUNTS[:2], np.zeros((3, 3))])):
            with pytest.raises(DataError, match=r"has answers on 2 of these .* take 3 at least"):
                join(answers_of(npy(few), "it"), names[: len(few)], LABELS[: len(few)], 3)
        with pytest.raises(DataError, match=r"image cat\.png has no number"):
            join(answers, np.array(["cat.png"]), LABELS[:1], 3)

    @pytest.mark.parametrize(
        ("array", "said"),
        [
            (np.array([["a", "b"]]), "no .npy file of numbers"),
            (np.array([1, 2]), r"has shape \(2,\)"),
            (np.array([[1, -2]]), "holds no counts"),
            (np.array([[1, np.inf]]), "holds no counts"),
            (np.array([[0, 0]]), "has no answer on any of 1 images"),
            (np.full((2, 3), np.nan), "has no answer on any of 2 images"),
            (np.array([[1, None]], object), "no .npy file of numbers"),
        ],
    )
    def test_what_is_no_file_of_counts_is_refused(
        self, tmp_path: Path, array: np.ndarray, said: str
    ) -> None:
        with pytest.raises(DataError, match=said):
            read_answers(saved(array, tmp_path / "it.npy"))

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "it.npy")
        with pytest.raises(DataError, match="is no ordinary file"):
            read_answers(tmp_path / "it.npy")

    def test_bytes_of_anything_are_refused(self) -> None:
        for data in (b"", b"PK\x03\x04", npy(COUNTS)[:-3], b"\x93NUMPY\x01\x00v\x00{'descr'"):
            with pytest.raises(DataError, match=r"no \.npy file of numbers"):
                answers_of(data, "it")

    def test_tfds_has_them_in_the_order_of_a_hash(self, tmp_path: Path) -> None:
        write_cifar10_h(tmp_path, [3, 0, 4, 2, 1])
        answers = read_answers("cifar10_h", tmp_path)
        names = np.array([f"test_{i + 1:05d}" for i in range(5)])
        people = join(answers, names, np.arange(5), 10)
        assert people.shares[:4].argmax(1).tolist() == [0, 1, 2, 3]
        assert people.answered.tolist() == [True, True, True, True, False]
        with pytest.raises(DataError, match="download it with"):
            read_answers("cifar10_h", tmp_path / "none")


def npy(array: np.ndarray) -> bytes:
    import io

    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def write_cifar10_h(root: Path, order: list[int]) -> None:
    """The set as TFDS prepares it, of five images: people say what each's number is."""
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module

    builder = tfds.builder("cifar10_h", data_dir=root)
    folder = Path(builder.data_dir)
    folder.mkdir(parents=True)
    spec = builder.info.features
    serializer = tfds.core.example_serializer.ExampleSerializer(spec.get_serialized_info())
    name = folder / "cifar10_h-test.array_record-00000-of-00001"
    writer = array_record_module.ArrayRecordWriter(str(name), "group_size:1")
    for number in order:
        shares = np.eye(10, dtype=np.float32)[number]
        if number == 4:
            shares[:] = np.nan
        row = {
            "id": f"test_{number:05d}", "image": np.zeros((32, 32, 3), np.uint8), "label": number,
            "soft_label": shares, "human_labels": [number], "trial_indices": [1],
            "annotator_ids": [1], "reaction_times": [1.0],
        }  # fmt: skip
        encoded = spec.encode_example(row | {"image": png(row["image"])})
        writer.write(serializer.serialize_example(encoded))
    writer.close()
    split = tfds.core.SplitInfo(
        name="test", shard_lengths=[len(order)], num_bytes=1,
        filename_template=tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name="cifar10_h", split="test", filetype_suffix="array_record"
        ),
    )  # fmt: skip
    builder.info.set_splits(tfds.core.splits.SplitDict([split]))
    builder.info.set_file_format("array_record", override=True)
    builder.info.write_to_directory(folder)


def png(pixels: np.ndarray) -> Any:
    import io

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return io.BytesIO(out.getvalue())
