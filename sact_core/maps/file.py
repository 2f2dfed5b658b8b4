"""The ponder-map HDF5 file: its layout, and reading it image by image.

The layout is that of the authors' exporter, so that their drawing script reads
our files and we read theirs. Per image, all float32 and compressed with LZF::

    images                       [n, H, W, 3]   the network's input
    flops, BLOCK/flops           [n, batch]     SACT: the image's count, repeated
                                                over the batch, as the original does
                                 [n]            ACT, and blocks of one unit
    ponder_cost_map              [n, H, W, 1]   the blocks' maps enlarged and summed
    num_units_map                [n, H, W, 1]
    BLOCK/ponder_cost            [n, h, w]      ACT: [n]
    BLOCK/num_units              [n, h, w]      ACT: [n]
    BLOCK/halting_distribution   [n, h, w, U]   ACT: [n, U]

where the attribute ``block_scopes`` lists the BLOCKs under the authors' names
(``block_1`` in the CIFAR family, ``block1`` in the ImageNet family). Beside
these stand, under names of our own: ``flops_exact`` and ``BLOCK/flops_exact``
[n, int64], ``logits`` [n, classes], ``predictions`` and ``labels`` [n, int64; -1
where unknown], ``names`` [n, text], ``class_names``, and the attributes
``format``, ``config`` and ``provenance`` (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

METRICS = ("ponder_cost", "num_units")
BLOCK_IMAGES = 64  # read at a time


class MapError(ValueError):
    """The file holds no ponder maps that can be read; the message says why."""


class MapFile:
    """An open file of ponder maps, ours or the authors', read image by image.

    Parameters
    ----------
    path : str or Path
        The file. Use it as a context manager.

    Attributes
    ----------
    root : h5py.File
        The open file.
    num_images : int
        How many there are.
    block_scopes : tuple of str
        Names of the blocks.
    units_per_block : tuple of int
        Units of each block, from the halting distributions.
    class_names : tuple of str
        One per class, or empty where they are unknown.
    provenance : dict
        Where the maps come from; empty in the authors' files.
    part : tuple of int
        First image, one past the last and total of an export of which this file
        is a part; empty in a whole file.

    Raises
    ------
    MapError
        If it is no file of ponder maps, or is truncated or damaged.
    OSError
        If there is no such file or it cannot be opened.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with open(self.path, "rb") as plain:
            plain.read(1)  # a missing file is an ordinary OSError
        try:
            self.root = h5py.File(self.path, "r", locking=False)
        except OSError as error:
            raise MapError(f"{path} is no HDF5 file, or is truncated ({error})") from None
        try:
            self._read_layout()
        except MapError:
            self.root.close()
            raise
        except (KeyError, AttributeError, TypeError, ValueError, RuntimeError, OSError) as error:
            self.root.close()
            raise MapError(f"{path} is no file of ponder maps ({error})") from None

    def __enter__(self) -> MapFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.root.close()

    def check_maps(self) -> None:
        """Make sure that there is a whole set of maps to draw.

        Raises
        ------
        MapError
            If the file is one part of an export, or of an ACT network, or its
            maps do not fit its images.
        """
        if self.part:
            raise MapError(
                f"{self.path} is only a part of an export (images {self.part[0]} to "
                f"{self.part[1]} of {self.part[2]}); run the export again to finish it"
            )
        for metric in METRICS:
            if f"{metric}_map" not in self.root:
                raise MapError(
                    f"{self.path} holds no maps by position: ACT decides for an image as a whole"
                )
            if self._dataset(f"{metric}_map").shape != (*self._dataset("images").shape[:3], 1):
                raise MapError(f"{self.path} is damaged: its maps do not fit its images")

    def map(self, index: int, metric: str = "ponder_cost") -> np.ndarray:
        """One image's map [shape=(H, W), float32], in units."""
        values: np.ndarray = self._dataset(f"{metric}_map")[index, ..., 0]
        return values

    def map_chunks(self, metric: str = "ponder_cost") -> Iterator[np.ndarray]:
        """All maps, a few images at a time [shape=(k, H, W, 1), float32]."""
        maps = self._dataset(f"{metric}_map")
        for start in range(0, self.num_images, BLOCK_IMAGES):
            yield maps[start : start + BLOCK_IMAGES]

    def mean_costs(self, metric: str = "ponder_cost") -> np.ndarray:
        """Mean of every image's map [shape=(n,), float64], in units."""
        means = [c.mean(axis=(1, 2, 3), dtype=np.float64) for c in self.map_chunks(metric)]
        return np.concatenate(means)

    def image(self, index: int) -> np.ndarray:
        """One image as it was given to the network [shape=(H, W, 3), float32]."""
        image: np.ndarray = self._dataset("images")[index]
        return image

    def name(self, index: int) -> str:
        """What the image is called; its index in the authors' files."""
        if "names" not in self.root:
            return str(index)
        name = self.root["names"][index]
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)

    def caption(self, index: int) -> str:
        """What was predicted and what it is, where known."""
        parts = []
        for dataset, words in (("predictions", ""), ("labels", "is ")):
            number = int(self.root[dataset][index]) if dataset in self.root else -1
            if number >= 0:
                named = number < len(self.class_names)
                parts.append(words + (self.class_names[number] if named else f"class {number}"))
        return ", ".join(parts)

    def _read_layout(self) -> None:
        images = self._dataset("images")
        self.num_images = len(images)
        scopes = self.root.attrs["block_scopes"]
        self.block_scopes = tuple(s.decode() if isinstance(s, bytes) else str(s) for s in scopes)
        self.units_per_block = tuple(
            self._dataset(f"{scope}/halting_distribution").shape[-1] for scope in self.block_scopes
        )
        names = self.root["class_names"].asstr()[()] if "class_names" in self.root else ()
        self.class_names = tuple(names)
        self.provenance = json.loads(self.root.attrs.get("provenance", "{}"))
        if not self.num_images or images.ndim != 4 or images.shape[3] != 3:
            raise MapError(f"{self.path} holds no images")
        self.part = tuple(map(int, self.root.attrs.get("part", ())))

    def _dataset(self, name: str) -> h5py.Dataset:
        dataset = self.root[name]
        if not isinstance(dataset, h5py.Dataset):
            raise MapError(f"{self.path} is no file of ponder maps ({name} is a group)")
        return dataset
