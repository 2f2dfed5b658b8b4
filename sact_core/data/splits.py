"""Splits by name: of a TFDS data set, or of a folder of class folders.

Splits are explicit TFDS strings such as ``train[:98%]``; those of a folder are told in
`sact_core.data.folders`. Where nothing is said, a checkpoint is shown the images that it
was evaluated on: its training images would flatter it, so every command and page that
takes a data set for a checkpoint asks here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sact_core.config import Preprocessing
from sact_core.data.folders import default_splits, evaluated_split, list_folder
from sact_core.data.records import DataError
from sact_core.data.source import Examples, Source, load_source
from sact_core.data.tfds import open_tfds
from sact_core.texts import shown, unshown

#: What the authors' checkpoints, which say nothing, were evaluated on.
AUTHORS = ("cifar10", "test")


def open_split(name: str, split: str, data_dir: str | Path | None = None) -> Source:
    """Open a split without decoding it.

    Parameters
    ----------
    name : str
        TFDS name (``cifar10``, ``caltech101``, …) or the path of a folder of
        class folders.
    split : str
        ``train``, ``test``, ``train[:98%]``, …; for a folder as
        `sact_core.data.folders.list_folder`.
    data_dir : path, optional
        Where TFDS keeps its data; ``TFDS_DATA_DIR`` or ``~/tensorflow_datasets``
        where left out.

    Raises
    ------
    DataError
        If the data set or the split is absent, has no images with labels, or
        cannot be read.
    """
    if is_folder(name):
        root = path_of(name)
        class_names, records = list_folder(root, split)
        return Source(shown(root), split, class_names, records, records.digest())
    return open_tfds(name, split, data_dir)


def load_split(
    name: str,
    split: str,
    data_dir: str | Path | None = None,
    num_examples: int | None = None,
    fit: Preprocessing | None = None,
) -> Examples:
    """Decode a split, or the first part of it, into memory.

    Parameters
    ----------
    name, split, data_dir
        As in `open_split`.
    num_examples, fit
        As in `sact_core.data.source.load_source`.

    Raises
    ------
    DataError
        As `open_split` and `sact_core.data.source.load_source`.
    """
    return load_source(open_split(name, split, data_dir), num_examples, fit)


def splits_of(name: str, holdout: float | None = None) -> tuple[str, str] | None:
    """Name the splits of a folder to train and evaluate on; None for the usual ones.

    Parameters
    ----------
    name : str
        As in `open_split`.
    holdout : float, optional
        As in `sact_core.data.folders.default_splits`.

    Raises
    ------
    DataError
        If a share is to be held out of a TFDS data set, or as `default_splits`.
    """
    root = path_of(name)
    if root.is_dir():
        return default_splits(root, holdout)
    if holdout is not None:
        raise DataError(
            f"--holdout is for a folder of class folders; of {name!r}, name the parts with "
            f"--train-split and --eval-split, such as 'train[:80%]' and 'train[80%:]'"
        )
    return None


def recorded_split(provenance: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Data set and split that a checkpoint says it was evaluated on; None where it does not."""
    found = []
    for part, key in (("data_set", "name"), ("metrics", "split")):
        record = provenance.get(part)
        value = record.get(key) if isinstance(record, dict) else None
        found.append(value if isinstance(value, str) else None)
    return found[0], found[1]


def evaluation_split(
    provenance: Mapping[str, Any], dataset: str | None = None, split: str | None = None
) -> tuple[str, str]:
    """Choose the data set and the split to run a checkpoint on.

    Parameters
    ----------
    provenance : mapping
        Of the checkpoint.
    dataset : str, optional
        TFDS name or folder of class folders, if one is asked for; the checkpoint's
        own where left out, CIFAR-10 where it does not say.
    split : str, optional
        If one is asked for. Where left out, the split that the checkpoint was
        evaluated on; of another data set ``test``, of a folder with splits ``test`` or
        ``val``, and of one without what training would hold out.

    Returns
    -------
    dataset, split : str
        As `open_split` takes them.
    """
    name, recorded = recorded_split(provenance)
    name = name or AUTHORS[0]
    if split or not dataset:
        return dataset or name, split or recorded or AUTHORS[1]
    if recorded is not None and _is_same(dataset, name):
        return dataset, recorded
    if not is_folder(dataset):
        return dataset, AUTHORS[1]
    root = path_of(dataset)
    own = evaluated_split(root) if root.is_dir() else None
    splits = None if own is not None else splits_of(dataset)
    if splits is None:
        return dataset, own or AUTHORS[1]
    # The folder may be its own, moved: what it held out then is held out still.
    if recorded is not None and recorded.startswith("held-out:"):
        return dataset, recorded
    return dataset, splits[1]


def is_folder(name: str) -> bool:
    """Tell a folder of images from a TFDS name, which may have a slash in it too."""
    return path_of(name).is_dir() or name.startswith((".", "~", os.sep))


def path_of(name: str) -> Path:
    """Path of a folder by its name, or as a checkpoint holds it, see `sact_core.texts.shown`."""
    path = Path(name).expanduser()
    return path if path.is_dir() else unshown(path)


def _is_same(one: str, other: str) -> bool:
    """Whether two names mean one data set, in whatever version or from wherever."""
    if is_folder(one) or is_folder(other):
        one, other = (shown(path_of(name).resolve()) for name in (one, other))
        return one == other
    return one.partition(":")[0] == other.partition(":")[0]
