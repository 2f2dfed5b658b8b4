"""CIFAR-10 and CIFAR-100 from their binary archives, images in the official order.

A file is a row of images: one byte a label (of CIFAR-100 two: the superclass, the class),
then 3,072 bytes, red, green and blue planes of 32 rows of 32.

Source: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sact_core.data.published import PUBLISHED
from sact_core.data.records import DataError
from sact_core.prepare.archives import members
from sact_core.prepare.writing import DataSet, Example
from sact_core.texts import shown

SIDE = 32
_NAMES_10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclass(frozen=True)
class _Layout:
    files: dict[str, tuple[str, ...]]  # of each split, in order
    names: dict[str, str]  # of each label, in order: the file of its classes' names
    counts: dict[str, int]


_LAYOUTS = {
    "cifar10": _Layout(
        {
            "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        {"label": "batches.meta.txt"},
        {"label": 10},
    ),
    "cifar100": _Layout(
        {"train": ("train.bin",), "test": ("test.bin",)},
        {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
        {"coarse_label": 20, "label": 100},
    ),
}


def read_cifar(name: str, archive: Path) -> DataSet:
    """Read an archive.

    Parameters
    ----------
    name : str
        ``"cifar10"`` or ``"cifar100"``.
    archive : Path
        The binary version, packed, or the folder that it unpacks to.

    Raises
    ------
    DataError
        If it is another one, lacks a file, or one is damaged.
    OSError
        If it cannot be opened.
    """
    layout = _LAYOUTS[name]
    wanted = {file for files in layout.files.values() for file in files}
    wanted |= set(layout.names.values())
    found: dict[str, bytes] = {}
    others = []
    for member in members(archive):
        if member.name in wanted and member.name not in found:
            found[member.name] = member.read()
        else:
            others.append(member.name)
    lacking = [file for files in layout.files.values() for file in files if file not in found]
    if lacking:
        raise DataError(f"{shown(archive)} {_absence(name, lacking, set(found), others)}")
    labels = {key: _class_names(layout, key, found, archive) for key in layout.names}
    splits = {}
    for split, files in layout.files.items():
        pixels = [_records(found[file], file, layout, archive) for file in files]
        splits[split] = np.concatenate(pixels)
    return DataSet(
        PUBLISHED[name],
        labels,
        ("id",),
        (SIDE, SIDE, 3),
        {split: len(rows) for split, rows in splits.items()},
        lambda split: _examples(splits[split], split, tuple(labels)),
    )


def _records(data: bytes, file: str, layout: _Layout, archive: Path) -> np.ndarray:
    """Labels and planes of every image of a file [shape=(n, labels + 3072), uint8]."""
    width = len(layout.names) + 3 * SIDE * SIDE
    if not data or len(data) % width:
        raise DataError(
            f"{shown(archive)} is damaged: {file} has {len(data):,} bytes, which are not whole "
            f"images of {width:,}; download it again"
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, width)
    for column, key in enumerate(layout.names):
        if (most := int(rows[:, column].max())) >= layout.counts[key]:
            raise DataError(f"{shown(archive)} is damaged: {file} has a {key} {most}")
    return rows


def _examples(rows: np.ndarray, split: str, labels: tuple[str, ...]) -> Iterator[Example]:
    from PIL import Image

    for index, row in enumerate(rows):
        planes = row[len(labels) :].reshape(3, SIDE, SIDE)
        png = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))).save(png, "PNG")
        example: Example = {"id": f"{split}_{index:05d}".encode(), "image": png.getvalue()}
        yield example | {key: int(row[column]) for column, key in enumerate(labels)}


def _class_names(
    layout: _Layout, key: str, found: dict[str, bytes], archive: Path
) -> tuple[str, ...]:
    file = layout.names[key]
    if file not in found and layout.counts[key] == len(_NAMES_10):
        return _NAMES_10
    text = found.get(file, b"").decode("utf-8", "replace")
    names = tuple(name.strip() for name in text.splitlines() if name.strip())
    if len(names) != layout.counts[key]:
        raise DataError(
            f"{shown(archive)} has {len(names)} names in {file} where {layout.counts[key]} should "
            f"be: download it again"
        )
    return names


def _absence(name: str, lacking: list[str], found: set[str], others: list[str]) -> str:
    """Say what an archive is that lacks files."""
    url = PUBLISHED[name].url
    other = "cifar100" if name == "cifar10" else "cifar10"
    if any(file in others for files in _LAYOUTS[other].files.values() for file in files):
        return f"is {other}, not {name}: take {url}"
    plain = {file.removesuffix(".bin") for file in lacking}
    if plain & set(others):
        return (
            f"is the version for Python, whose pickled files are never opened here: take the "
            f"binary one, {url}"
        )
    if any(other.endswith(".mat") for other in others):
        return f"is the version for MATLAB: take the binary one, {url}"
    if found:
        return f"lacks {', '.join(lacking)}: take the whole archive, {url}"
    return f"is no archive of {name}: take {url}"
