"""Data sets of photographs in class folders: Caltech-101, Imagenette, anybody's own.

Photographs are stored as they are, in an order that their names draw, so that the first
ones of a split are of all classes, as TFDS has it too.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np

from sact_core.data.images import IMAGE_SUFFIXES
from sact_core.data.published import Published
from sact_core.data.records import DataError
from sact_core.prepare.archives import Member, members
from sact_core.prepare.writing import DataSet, Example
from sact_core.texts import shown

#: What the folder of a split is called, and the split.
SPLITS = {"train": "train", "test": "test", "val": "validation", "valid": "validation"}
SPLITS |= {"validation": "validation"}
#: Of every class, where there are no folders of splits.
TEST_SHARE = 0.2
CALTECH_TRAIN = 30  # of every class


@dataclass(frozen=True)
class _Photograph:
    split: str  # empty where its path names none
    category: str
    name: str
    read: Callable[[], bytes]

    @property
    def drawn(self) -> bytes:
        return hashlib.sha256(f"{self.category}/{self.name}".encode()).digest()


def read_photographs(
    about: Published, archive: Path, spool: IO[bytes], step: Callable[[], object] = lambda: None
) -> DataSet:
    """Read an archive or folder of class folders, in folders of splits or not.

    Parameters
    ----------
    about : Published
        The data set. Of ``caltech101`` thirty photographs of every class are drawn for
        training; of others without folders of splits a fifth is for testing.
    archive : Path
        Read once from the beginning to the end.
    spool : file
        Empty and open; keeps the photographs of an archive until they are written.
    step : callable
        Called after every file that was read.

    Raises
    ------
    DataError
        If it is damaged, or holds no photographs in class folders.
    OSError
        If it cannot be opened, or the disk is full.
    """
    names = _class_names(about)
    found = []
    for each in _photographs(archive, spool, step):
        if each.split:  # at the first one: an archive may have gigabytes
            _require_class(each, names, about, archive)
        found.append(each)
    if about.name == "caltech101":
        found = _caltech(found)
    if any(each.split for each in found):
        found = [each for each in found if each.split]
    else:
        found = _held_out(found)
    if not found:
        raise DataError(
            f"{shown(archive)} holds no photographs ({', '.join(IMAGE_SUFFIXES[:4])}, …) in class "
            f"folders, such as cat/1.jpg or train/cat/1.jpg"
        )
    found.sort(key=lambda each: each.drawn)
    names = names or tuple(sorted({each.category for each in found}))
    for each in found:
        _require_class(each, names, about, archive)
    numbers = {name: i for i, name in enumerate(names)}
    texts = () if about.name.startswith("imagenette/") else ("image/file_name",)

    def examples(split: str) -> Iterator[Example]:
        for each in found:
            if each.split == split:
                example: Example = {"image": each.read(), "label": numbers[each.category]}
                yield example | {text: each.name.encode() for text in texts}

    counts = Counter(each.split for each in found)
    order = [split for split in ("train", "validation", "test") if split in counts]
    counts_in_order = {split: counts[split] for split in order}
    return DataSet(about, {"label": names}, texts, (-1, -1, 3), counts_in_order, examples)


def _require_class(
    each: _Photograph, names: Sequence[str], about: Published, archive: Path
) -> None:
    if names and each.category not in names:
        raise DataError(
            f"{shown(archive)} is no archive of {about.name}: it has a class {each.category}; take "
            f"{about.url}"
        )


def _class_names(about: Published) -> tuple[str, ...]:
    """The classes of a data set of TFDS, which numbers them; none of others."""
    if not about.url:
        return ()
    spec = importlib.util.find_spec("tensorflow_datasets")
    assert spec is not None
    assert spec.origin is not None
    file = (
        Path(spec.origin).parent / "image_classification" / f"{about.name.split('/')[0]}_labels.txt"
    )
    return tuple(file.read_text().split())


def _photographs(
    archive: Path, spool: IO[bytes], step: Callable[[], object]
) -> Iterator[_Photograph]:
    """Those in class folders; of an archive, kept aside to be read in another order."""
    for member in members(archive):
        if member.name.lower().endswith(IMAGE_SUFFIXES) and len(member.parts) > 1:
            read = member.read
            if not archive.is_dir():
                start = spool.seek(0, 2)
                size = spool.write(member.read())

                def read(start: int = start, size: int = size) -> bytes:
                    spool.seek(start)
                    return spool.read(size)

            yield _placed(member, read)
        step()


def _placed(member: Member, read: Callable[[], bytes]) -> _Photograph:
    above = member.parts[-3] if len(member.parts) > 2 else ""
    return _Photograph(
        SPLITS.get(above.lower(), ""), shown(member.parts[-2]), shown(member.name), read
    )


def _caltech(found: list[_Photograph]) -> list[_Photograph]:
    """Thirty of every class for training, drawn as often as TFDS draws, not the same ones."""
    classes = defaultdict(list)
    for each in found:
        lower = replace(each, category=each.category.lower(), split="test")
        classes[lower.category].append(lower)
    random = np.random.RandomState(1234)
    placed = []
    for name in sorted(classes):
        ours = sorted(classes[name], key=lambda each: each.name)
        if len(ours) < CALTECH_TRAIN:
            raise DataError(
                f"class {name} has {len(ours)} photographs, fewer than the {CALTECH_TRAIN} that "
                f"are for training: take the whole archive"
            )
        train = set(random.choice(len(ours), CALTECH_TRAIN, replace=False).tolist())
        placed += [
            replace(each, split="train") if i in train else each for i, each in enumerate(ours)
        ]
    return placed


def _held_out(found: list[_Photograph]) -> list[_Photograph]:
    """A fifth of every class for testing: at least one, and never the last one."""
    classes = defaultdict(list)
    for each in found:
        classes[each.category].append(each)
    placed = []
    for ours in classes.values():
        ours.sort(key=lambda each: each.drawn)
        count = min(max(round(TEST_SHARE * len(ours)), 1), len(ours) - 1)
        placed += [
            replace(each, split="test" if i < count else "train") for i, each in enumerate(ours)
        ]
    return placed
