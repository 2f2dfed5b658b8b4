"""Which images a checkpoint is shown where nothing is said: those it was evaluated on.

Its training images would flatter it, so every command and page that takes a data
set for a checkpoint asks here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sact_core.data.source import is_folder, splits_of

#: What the authors' checkpoints, which say nothing, were evaluated on.
AUTHORS = ("cifar10", "test")


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
        evaluated on; of another data set ``test``, and of a folder without splits
        what training would hold out.

    Returns
    -------
    dataset, split : str
        As `sact_core.data.source.open_split` takes them.
    """
    name, recorded = recorded_split(provenance)
    name = name or AUTHORS[0]
    if split or not dataset:
        return dataset or name, split or recorded or AUTHORS[1]
    if recorded is not None and _is_same(dataset, name):
        return dataset, recorded
    if not is_folder(dataset):
        return dataset, AUTHORS[1]
    splits = splits_of(dataset)
    if splits is None:
        return dataset, AUTHORS[1]
    # The folder may be its own, moved: what it held out then is held out still.
    if recorded is not None and recorded.startswith("held-out:"):
        return dataset, recorded
    return dataset, splits[1]


def _is_same(one: str, other: str) -> bool:
    """Whether two names mean one data set, in whatever version or from wherever."""
    if is_folder(one) or is_folder(other):
        return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()
    return one.partition(":")[0] == other.partition(":")[0]
