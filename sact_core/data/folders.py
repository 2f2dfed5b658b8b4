"""Folders of images: which files are photographs, of which class, and splits.

::

    DIR/train/cat/1.jpg    splits are sub-folders: train, test, …
    DIR/cat/1.jpg          no splits: all, or a share held out for evaluation

A folder without splits has, besides ``all``, the two splits ``held-out:20%`` and
``all-but:20%``, for any percentage: that share of every class, and the rest. The
names of the files decide which ones are held out, so that they are the same in
every run and hardly change when photographs are added.

What other programs leave behind is no photograph of ours, wherever folders are
searched: hidden names (``.ipynb_checkpoints`` and ``._1.jpg`` hold copies and parts
of photographs), `sact_core.data.walk.SYSTEM_NAMES`, and folders named like images,
which hold thumbnails.

Symbolic links are followed by one rule wherever folders are searched. A link to a file is
read. A link to a folder is entered, be it a class or below one, unless it leads back into
the tree that is searched: to a folder of it, which has its own name there, or to one that
holds it. A file that a tree has under several names by links counts once, under its own
name where that is among them: what is held out is not trained on by another name.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sact_core.data.images import IMAGE_SUFFIXES, is_image_file
from sact_core.data.records import MAX_NAMED, DataError, FileRecords, num_bytes
from sact_core.data.source import Source
from sact_core.data.walk import File, once, sub_folders, walk
from sact_core.texts import shown

#: What people call the folders of splits that are not trained on; the first that is there is
#: evaluated on.
EVALUATED = ("test", "val", "valid", "validation", "dev", "eval")

#: Share held out of a folder that has no splits, unless told otherwise.
HOLDOUT = 0.2

Listed = list[tuple[Path, int]]


def images_in(folder: Path, deep: bool = True, others: list[Path] | None = None) -> list[Path]:
    """List the photographs of a folder, sorted.

    Parameters
    ----------
    folder, deep
        As for `files_in`.
    others : list of Path, optional
        Gets the files that are none.
    """
    found, rest = _photographs_of(walk(folder, deep)[1])
    if others is not None:
        others += rest
    return found


def files_in(folder: Path, endings: str | tuple[str, ...], deep: bool = True) -> list[Path]:
    """Find the files of a folder that people put there, under all their names, sorted.

    Parameters
    ----------
    folder : Path
        Itself it may have any name.
    endings : str or tuple of str
        How their names end, in lower case.
    deep : bool
        Those of its sub-folders too.
    """
    paths = (file.path for file in walk(folder, deep)[1])
    return sorted(path for path in paths if path.name.lower().endswith(endings))


def named_photographs(paths: Sequence[str | Path]) -> list[tuple[Path, Path]]:
    """List photographs, and all photographs below folders, with what they are called.

    Parameters
    ----------
    paths : sequence of str or Path
        A file that is named is taken whatever its name, and whether it is there or not.

    Returns
    -------
    list of (Path, Path)
        Each file, in the order of ``paths`` and sorted in a folder; and its own name, of those
        of a folder their path in it.

    Raises
    ------
    DataError
        If there is none.
    """
    found: list[tuple[Path, Path]] = []
    for path in map(Path, paths):
        if path.is_dir():
            others: list[Path] = []
            found += [(p, p.relative_to(path)) for p in images_in(path, True, others)]
            _say_left_out(path, others, "no photograph")
        else:
            found.append((path, Path(path.name)))
    if not found:
        raise DataError(f"there are no photographs in {', '.join(map(str, paths))}")
    return found


def photographs(paths: Sequence[str | Path]) -> Source:
    """Take photographs, and all photographs below folders, as `named_photographs`.

    Returns
    -------
    Source
        Without classes: every label is -1.

    Raises
    ------
    DataError
        If there is none.
    OSError
        If a path does not exist.
    """
    for path in map(Path, paths):
        path.stat()
    found = [(path, -1, shown(name)) for path, name in named_photographs(paths)]
    listed = "\n".join(f"{path} {num_bytes(path)}" for path, *_ in found)
    digest = hashlib.sha256(os.fsencode(listed)).hexdigest()
    return Source("photographs", "all", (), FileRecords(found), digest)


def list_folder(root: Path, split: str) -> tuple[tuple[str, ...], FileRecords]:
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
        If there is no such folder or split, it has no images, or a class has none
        in any split.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder: give a TFDS name or a folder of class folders")
    parted = re.fullmatch(r"(held-out|all-but):([0-9.]+)%", split)
    where = root if split == "all" or parted else root / split
    if not where.is_dir():
        splits = [path.name for path in sub_folders(root) if _has_images(path)]
        there = f"it has {', '.join(splits)}" if splits else "it has none, so ask for all, or for"
        there += "" if splits else " all-but:20% and held-out:20%"
        raise DataError(f"{root} has no split {split!r}: {there}")
    walked, found = walk(where)
    classes = [path.name for path in sub_folders(where) if path in walked]
    numbers = {name: i for i, name in enumerate(classes)}
    others = [file.path for file in found if file.path.parent == where]
    others = list(filter(is_image_file, others))  # of no class
    within = [file for file in found if _top(file.path, where) in numbers]
    ours, rest = _photographs_of(within)
    files = sorted(((path, numbers[_top(path, where)]) for path in ours), key=lambda pair: pair[1])
    others += rest
    _say_left_out(where, sorted(others), "or place no photograph of a class")
    if not files:
        raise DataError(f"{where} holds no class folders with images")
    _refuse_empty_classes(root, where, classes, {label for _, label in files})
    if parted:
        held_out = _held_out(files, where, float(parted[2]) / 100)
        files = [pair for pair in files if (pair in held_out) == (parted[1] == "held-out")]
        if not files:
            raise DataError(f"no class of {where} has enough images for the split {split!r}")
    named = [(path, label, shown(path.relative_to(where))) for path, label in files]
    return tuple(map(shown, classes)), FileRecords(named)


def evaluated_split(root: Path) -> str | None:
    """Name the split of a folder that is to be evaluated on; None where it has no splits.

    A folder of another name than ``test`` is one beside ``train``, or where there is nothing
    but splits.
    """
    known = {*EVALUATED, "train"}
    found = [name for name in EVALUATED if _has_images(root / name)]
    if _has_images(root / "train") or "test" in found:
        return found[0] if found else EVALUATED[0]
    whole = all(path.name in known for path in sub_folders(root))
    return found[0] if found and whole else None


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


def _say_left_out(folder: Path, others: Sequence[Path], what: str) -> None:
    """Count and name, once, the files that are not taken for photographs of a folder."""
    if not others:
        return
    names = [shown(path.relative_to(folder)) for path in others]
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    count = f"{len(names):,} files are" if len(names) > 1 else "one file is"
    _log_once(
        f"{shown(folder)}: {count} left out, by name {what}: {', '.join(names[:MAX_NAMED])}{more}"
    )


@functools.lru_cache(maxsize=256)
def _log_once(sentence: str) -> None:
    logging.getLogger(__name__).warning(sentence)


def _refuse_empty_classes(root: Path, where: Path, classes: list[str], full: set[int]) -> None:
    """Refuse classes without an image, unless another split has some of theirs."""
    others = [] if where == root else [path for path in sub_folders(root) if path != where]
    empty = [
        name
        for i, name in enumerate(classes)
        if i not in full and not any(_any_image(split / name) for split in others)
    ]
    if empty:
        more = f" and {len(empty) - MAX_NAMED} more" if len(empty) > MAX_NAMED else ""
        named = ", ".join(map(repr, map(shown, empty[:MAX_NAMED]))) + more
        raise DataError(
            f"{where} has no images ({', '.join(IMAGE_SUFFIXES)}) of the class"
            f"{'es' if len(empty) > 1 else ''} {named}: put some there, or remove the empty folder"
        )


def _held_out(files: Listed, root: Path, share: float) -> set[tuple[Path, int]]:
    """The share of every class: at least one image, and never the last one."""
    if not 0 < share < 1:
        raise DataError(f"a share of {100 * share:g}% cannot be held out")
    found: set[tuple[Path, int]] = set()
    for label in {label for _, label in files}:
        ours = [pair for pair in files if pair[1] == label]
        ours.sort(key=lambda pair: drawn(pair[0].relative_to(root)))
        found |= set(ours[: min(max(round(share * len(ours)), 1), len(ours) - 1)])
    return found


def drawn(path: Path) -> bytes:
    """A number that a name draws, the same on every machine."""
    return hashlib.sha256(os.fsencode(path.as_posix())).digest()


def _photographs_of(files: Iterable[File]) -> tuple[list[Path], list[Path]]:
    """Photographs, each once, and the files that are none; both sorted."""
    photos: list[File] = []
    rest: list[Path] = []
    for file in files:
        if is_image_file(file.path):
            photos.append(file)
        else:
            rest.append(file.path)
    return once(photos), sorted(rest)


def _top(path: Path, where: Path) -> str:
    """Name of the folder below a top that a file lies in or below; of a file there, its own."""
    return path.relative_to(where).parts[0]


def _has_images(split: Path) -> bool:
    """Whether a folder holds class folders with images: a class folder itself does not."""
    return split.is_dir() and any(_any_image(folder) for folder in sub_folders(split))


def _any_image(folder: Path) -> bool:
    return any(is_image_file(file.path) for file in walk(folder)[1])
