"""Folders of class folders: which files are images of which class, and splits.

::

    DIR/train/cat/1.jpg    splits are sub-folders: train, test, …
    DIR/cat/1.jpg          no splits: all, or a share held out for evaluation

A folder without splits has, besides ``all``, the two splits ``held-out:20%`` and
``all-but:20%``, for any percentage: that share of every class, and the rest. The
names of the files decide which ones are held out, so that they are the same in
every run and hardly change when photographs are added.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from sact_core.data.records import DataError, FolderRecords

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

#: Share held out of a folder that has no splits, unless told otherwise.
HOLDOUT = 0.2

Listed = list[tuple[Path, int]]


def list_folder(root: Path, split: str) -> tuple[tuple[str, ...], FolderRecords]:
    """List a split's class names and images.

    Parameters
    ----------
    root : Path
        The folder.
    split : str
        ``all``, the name of a sub-folder, ``held-out:P%`` or ``all-but:P%``.

    Raises
    ------
    DataError
        If there is no such folder or split, or it has no images.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder: give a TFDS name or a folder of class folders")
    parted = re.fullmatch(r"(held-out|all-but):([0-9.]+)%", split)
    where = root if split == "all" or parted else root / split
    if not where.is_dir():
        splits = [path.name for path in _sub_folders(root) if _has_images(path)]
        there = f"it has {', '.join(splits)}" if splits else "it has none, so ask for all, or for"
        there += "" if splits else " all-but:20% and held-out:20%"
        raise DataError(f"{root} has no split {split!r}: {there}")
    classes = [path.name for path in _sub_folders(where)]
    files = [(path, i) for i, name in enumerate(classes) for path in _images(where / name)]
    if not files:
        raise DataError(f"{where} holds no class folders with images")
    if parted:
        held_out = _held_out(files, where, float(parted[2]) / 100)
        files = [pair for pair in files if (pair in held_out) == (parted[1] == "held-out")]
        if not files:
            raise DataError(f"no class of {where} has enough images for the split {split!r}")
    return tuple(classes), FolderRecords(files, where)


def default_splits(root: Path, holdout: float | None) -> tuple[str, str] | None:
    """Name the splits to train and evaluate on.

    Parameters
    ----------
    root : Path
        The folder.
    holdout : float, optional
        Share of every class to hold out for evaluation. Where left out, `HOLDOUT`,
        unless the folder has splits.

    Returns
    -------
    tuple of str, or None
        None where the folder's own ``train`` and ``test`` are meant.

    Raises
    ------
    DataError
        If the share leaves nothing, or the folder has splits of its own.
    """
    has_splits = any(_has_images(path) for name in ("train", "test") for path in [root / name])
    if holdout is None:
        if has_splits:
            return None
        holdout = HOLDOUT
    if not 0 < holdout < 1:
        raise DataError(f"--holdout must be a share above 0 and below 1, got {holdout:g}")
    if has_splits:
        raise DataError(f"{root} has splits of its own: leave --holdout out")
    return f"all-but:{100 * holdout:g}%", f"held-out:{100 * holdout:g}%"


def _held_out(files: Listed, root: Path, share: float) -> set[tuple[Path, int]]:
    """The share of every class: at least one image, and never the last one."""
    if not 0 < share < 1:
        raise DataError(f"a share of {100 * share:g}% cannot be held out")
    found: set[tuple[Path, int]] = set()
    for label in {label for _, label in files}:
        ours = [pair for pair in files if pair[1] == label]
        ours.sort(key=lambda pair: _drawn(pair[0].relative_to(root)))
        found |= set(ours[: min(max(round(share * len(ours)), 1), len(ours) - 1)])
    return found


def _drawn(path: Path) -> bytes:
    """A number that a name draws, the same on every machine."""
    return hashlib.sha256(path.as_posix().encode()).digest()


def _sub_folders(folder: Path) -> list[Path]:
    """Sorted by name; hidden ones, such as editors leave behind, are none of ours."""
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(found, key=lambda path: path.name)


def _images(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]


def _has_images(split: Path) -> bool:
    """Whether a folder holds class folders with images: a class folder itself does not."""
    return split.is_dir() and any(_images(folder) for folder in _sub_folders(split))
