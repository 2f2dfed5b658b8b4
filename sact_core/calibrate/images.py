"""Which images scales are found on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sact_core.data.records import DataError
from sact_core.data.source import Source
from sact_core.data.splits import (
    AUTHORS,
    is_folder,
    open_split,
    path_of,
    recorded_split,
    splits_of,
)
from sact_core.data.unlabelled import open_unlabelled

#: How many, where nothing is said.
NUM_EXAMPLES = 256


def draw(total: int, num_examples: int = NUM_EXAMPLES, seed: int = 0) -> list[int]:
    """Draw so many of all images, or all where there are fewer; their indices, rising."""
    rng = np.random.default_rng(seed)
    return sorted(rng.choice(total, min(num_examples, total), replace=False).tolist())


def open_images(
    provenance: Mapping[str, Any],
    name: str | None = None,
    split: str | None = None,
    data_dir: str | None = None,
) -> Source:
    """Open the images that are named; else what the network was trained on.

    Parameters
    ----------
    provenance : mapping
        Of the checkpoint.
    name : str, optional
        TFDS name or folder of photographs, with classes or without.
    split : str, optional
        Of it; its training images where left out.
    data_dir : str, optional
        Where TFDS keeps its data.

    Raises
    ------
    DataError
        If the data set or the split is absent or cannot be read, or none is named and the
        checkpoint does not say what it was trained on.
    """
    recipe = provenance.get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    if name is None:
        name = recipe.get("dataset") or recorded_split(provenance)[0] or AUTHORS[0]
        split = split or recipe.get("train_split") or "train"
        if not (isinstance(name, str) and isinstance(split, str)):
            raise DataError("the checkpoint does not say what it was trained on: give --dataset")
        if recipe.get("labels") == "none":
            return open_unlabelled(name, split, data_dir)
        return open_split(name, split, data_dir)
    if split is not None:
        return open_split(name, split, data_dir)
    if not is_folder(name):
        return open_split(name, "train", data_dir)
    folder = path_of(name)
    if folder.is_dir() and not any(each.is_dir() for each in folder.iterdir()):
        return open_unlabelled(name, "all", data_dir)
    try:
        splits = splits_of(name)
        return open_split(name, splits[0] if splits else "train", data_dir)
    except DataError:  # no class folders: any photographs
        return open_unlabelled(name, "all", data_dir)
