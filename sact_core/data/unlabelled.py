"""Photographs without labels, of several data sets and folders as one split.

Whatever a data set's splits and a folder's sub-folders say, all photographs count, and a
share of each set is held out: ``held-out:5%`` and ``all-but:5%`` of all. Names in a
folder and places in a data set decide which ones, so that they are the same in every run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from sact_core.data.folders import drawn, photographs
from sact_core.data.images import ImageError
from sact_core.data.records import DataError, FileRecords, Grouped, Record, Records
from sact_core.data.source import Source
from sact_core.data.splits import is_folder
from sact_core.data.tfds import open_tfds
from sact_core.texts import shown

#: Between the names of data sets, where there are several.
JOINT = " + "

#: Share held out of each, unless told otherwise.
HOLDOUT = 0.05


@dataclass(frozen=True)
class Joined:
    """Records of several splits, in any order, without their labels.

    Attributes
    ----------
    parts : tuple of Records
        Where they are.
    places : list of (int, int)
        Of each record, its part and its index there.
    """

    parts: tuple[Records, ...]
    places: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.places)

    def get(self, indices: Sequence[int]) -> list[Record | ImageError]:
        """Read records, those that follow each other in a part together."""
        found: list[Record | ImageError] = []
        for part, run in groupby((self.places[i] for i in indices), lambda place: place[0]):
            found += self.parts[part].get([index for _, index in run])
        return [each if isinstance(each, ImageError) else replace(each, label=-1) for each in found]

    def groups(self) -> list[Hashable]:
        """Part of each record, and what it belongs to there."""
        inside = [part.groups() if isinstance(part, Grouped) else None for part in self.parts]
        return [
            (part, None if (known := inside[part]) is None else known[index])
            for part, index in self.places
        ]

    def ordered(self, order: Sequence[int]) -> Joined:
        """The same records in another order."""
        return Joined(self.parts, [self.places[index] for index in order])


def names_of(dataset: str) -> list[str]:
    """Give the names that one text joins; a folder's name may have the joint in it."""
    whole = Path(dataset).expanduser().is_dir()
    return [dataset] if whole else [name.strip() for name in dataset.split(JOINT)]


def open_unlabelled(dataset: str, split: str, data_dir: str | Path | None = None) -> Source:
    """Open photographs without decoding them.

    Parameters
    ----------
    dataset : str
        TFDS names and folders, one or several joined by ``" + "``. A folder may hold
        photographs at any depth.
    split : str
        ``all``, ``held-out:P%`` or ``all-but:P%``.
    data_dir : path, optional
        As in `sact_core.data.splits.open_split`.

    Returns
    -------
    Source
        Every label is -1.

    Raises
    ------
    DataError
        If a data set or folder is absent, has no photographs or too few to hold one out,
        or there is no such split.
    """
    parted = re.fullmatch(r"(held-out|all-but):([0-9.]+)%", split)
    share = float(parted[2]) / 100 if parted else 0.0
    if split != "all" and not 0 < share < 1:
        raise DataError(
            f"without labels there is no split {split!r}: ask for all, or for held-out:5% and "
            f"all-but:5%"
        )
    parts: list[Records] = []
    places: list[tuple[int, int]] = []
    digest = hashlib.sha256()
    for number, name in enumerate(names_of(dataset)):
        source = _whole(name, data_dir)
        parts.append(source.records)
        digest.update(f"{len(source)} {source.digest}\n".encode())
        kept = range(len(source))
        if parted:
            held_out = _held_out(source, share)
            kept = [i for i in kept if (i in held_out) == (parted[1] == "held-out")]  # type: ignore[assignment]
        places += [(number, index) for index in kept]
    name = JOINT.join(shown(each) for each in names_of(dataset))
    return Source(name, split, (), Joined(tuple(parts), places), digest.hexdigest())


def unlabelled_splits(share: float = HOLDOUT) -> tuple[str, str]:
    """Name the splits to train and evaluate on.

    Raises
    ------
    DataError
        If the share leaves nothing.
    """
    if not 0 < share < 1:
        raise DataError(f"--holdout must be a share above 0 and below 1, got {share:g}")
    return f"all-but:{100 * share:g}%", f"held-out:{100 * share:g}%"


def _whole(name: str, data_dir: str | Path | None) -> Source:
    if not is_folder(name):
        return open_tfds(name, "all", data_dir)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise DataError(f"{name} is no folder: give a TFDS name or a folder of photographs")
    return photographs([folder])


def _held_out(source: Source, share: float) -> set[int]:
    """Indices of a share: at least one, and never all."""
    if len(source) < 2:
        raise DataError(f"{source.name} has one photograph, of which none can be held out")
    files = source.records.files if isinstance(source.records, FileRecords) else None
    names = [Path(str(i)) if files is None else Path(files[i][2]) for i in range(len(source))]
    order = sorted(range(len(source)), key=lambda i: drawn(names[i]))
    return set(order[: min(max(round(share * len(order)), 1), len(order) - 1)])
