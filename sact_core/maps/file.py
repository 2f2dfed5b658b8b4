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
``format``, ``config`` and ``provenance`` (JSON, of a fixed length: that of other
attributes cannot be known before they are read, so they are not).

A file may come from anybody: only what is drawn is looked at, and each piece of it
is checked before it is read, see `sact_core.untrusted_hdf5`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sact_core import untrusted_hdf5
from sact_core.untrusted_json import from_json

METRICS = ("ponder_cost", "num_units")
BLOCK_IMAGES = 64  # read at a time
BLOCK_BYTES = 1 << 26  # of maps read at a time
MAX_PIXELS = 1 << 24  # of an image: drawn in less than 1 GB
MAX_BLOCKS = 64
MAX_TEXTS = 2_000_000
MAX_TEXT_BYTES = 1 << 26  # of all names together
MAX_JSON_BYTES = 1 << 22
MAX_SHOWN = 200  # characters of a name
#: Nothing that a network is given or spends is nearly as large.
MAX_VALUE = 1e9


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
        The open file, for reading more of a file that this program wrote.
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
        If it is no file of ponder maps, is truncated or damaged, or holds what is
        drawn anywhere but plainly in itself.
    OSError
        If there is no such file or it cannot be opened.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._checked: dict[str, h5py.Dataset] = {}
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(untrusted_hdf5.Opened(self.path, MapError))
            self.root = self._file.root
            self._read_layout()
            stack.pop_all()

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
            if not self._holds(f"{metric}_map"):
                raise MapError(
                    f"{self.path} holds no maps by position: ACT decides for an image as a whole"
                )
            if self._numbers(f"{metric}_map", 4).shape != (*self._images.shape[:3], 1):
                raise MapError(f"{self.path} is damaged: its maps do not fit its images")

    def map(self, index: int, metric: str = "ponder_cost") -> np.ndarray:
        """One image's map [shape=(H, W), float32], in units.

        Raises
        ------
        MapError
            If it is damaged, or a value is NaN, infinite or negative.
        """
        return self._read_maps(self._numbers(f"{metric}_map", 4), index, index + 1)[0, ..., 0]

    def map_chunks(self, metric: str = "ponder_cost") -> Iterator[np.ndarray]:
        """All maps, a few images at a time [shape=(k, H, W, 1), float32].

        Raises
        ------
        MapError
            As `map`.
        """
        maps = self._numbers(f"{metric}_map", 4)
        pixels = maps.shape[1] * maps.shape[2]
        at_once = max(1, min(BLOCK_IMAGES, BLOCK_BYTES // (4 * max(pixels, 1))))
        for start in range(0, self.num_images, at_once):
            yield self._read_maps(maps, start, min(start + at_once, self.num_images))

    def mean_costs(self, metric: str = "ponder_cost") -> np.ndarray:
        """Mean of every image's map [shape=(n,), float64], in units.

        Raises
        ------
        MapError
            As `map`.
        """
        means = [c.mean(axis=(1, 2, 3), dtype=np.float64) for c in self.map_chunks(metric)]
        return np.concatenate(means)

    def image(self, index: int) -> np.ndarray:
        """One image as it was given to the network [shape=(H, W, 3), float32].

        Raises
        ------
        MapError
            If it is damaged, or a value is no sensible number.
        """
        with untrusted_hdf5.damage_told(self._file):
            found: np.ndarray = self._images[index].astype(np.float32, copy=False)
        if not (found.min() >= -MAX_VALUE and found.max() <= MAX_VALUE):  # NaN is neither
            raise MapError(f"{self.path} is damaged: image {index} holds NaN or huge numbers")
        return found

    def rows(self) -> dict[str, untrusted_hdf5.Texts | h5py.Dataset]:
        """All that stands there of every image, in the file's order; nothing of it is read.

        Raises
        ------
        MapError
            If it is damaged, or one holds more or fewer rows than there are images.
        """
        paths = untrusted_hdf5.children(self._file)
        for scope in self.block_scopes:
            at = paths.index(scope)
            paths[at : at + 1] = [
                f"{scope}/{name}" for name in untrusted_hdf5.children(self._file, scope)
            ]
        found: dict[str, untrusted_hdf5.Texts | h5py.Dataset] = {}
        for path in paths:
            if path == "names" and self._names is not None:
                found[path] = self._names
            elif path != "class_names":
                found[path] = self._numbers(path, 1, 2, 3, 4)
        for path, values in found.items():
            if len(values) != self.num_images:
                raise MapError(f"{self.path} is damaged: its {path} do not fit its images")
        return found

    def read_rows(
        self, values: untrusted_hdf5.Texts | h5py.Dataset, start: int, stop: int
    ) -> np.ndarray | list[bytes]:
        """Some of what `rows` gives.

        Raises
        ------
        MapError
            If it is damaged.
        """
        with untrusted_hdf5.damage_told(self._file):
            if isinstance(values, untrusted_hdf5.Texts):
                return [values[index] for index in range(start, stop)]
            found: np.ndarray = values[start:stop]
            return found

    def name(self, index: int) -> str:
        """What the image is called; its index in the authors' files."""
        if self._names is None:
            return str(index)
        with untrusted_hdf5.damage_told(self._file):
            return _shown(self._names[index])

    def caption(self, index: int) -> str:
        """What was predicted and what it is, where known."""
        parts = []
        for dataset, words in ((self._predictions, ""), (self._labels, "is ")):
            with untrusted_hdf5.damage_told(self._file):
                number = int(dataset[index]) if dataset is not None else -1
            if number >= 0:
                named = number < len(self.class_names)
                parts.append(words + (self.class_names[number] if named else f"class {number}"))
        return ", ".join(parts)

    def _read_layout(self) -> None:
        if not self._holds("images"):
            raise MapError(f"{self.path} is no file of ponder maps (it has no images)")
        self._images = self._numbers("images", 4)
        self.num_images, height, width, channels = self._images.shape
        if not self.num_images or not height * width or channels != 3:
            raise MapError(f"{self.path} holds no images")
        if height * width > MAX_PIXELS:
            raise MapError(f"{self.path} has images of {height} x {width} pixels, too large")
        self.block_scopes = self._scopes()
        self.units_per_block = tuple(
            self._numbers(f"{scope}/halting_distribution", 2, 4).shape[-1]
            for scope in self.block_scopes
        )
        self._predictions, self._labels = (
            self._by_image(name, "iu") for name in ("predictions", "labels")
        )
        self._names = self._texts("names")
        if self._names is not None and len(self._names) != self.num_images:
            raise MapError(f"{self.path} is damaged: its names do not fit its images")
        classes = self._texts("class_names")
        with untrusted_hdf5.damage_told(self._file):
            self.class_names = () if classes is None else tuple(map(_shown, classes))
        self.provenance = self._provenance()
        self.part = self._part()

    def _scopes(self) -> tuple[str, ...]:
        """Names of the blocks, by their groups: the attribute's texts have any length."""
        for pattern in ("block_{}", "block{}"):
            names = [pattern.format(number) for number in range(1, MAX_BLOCKS + 1)]
            found = tuple(filter(self._holds, names))
            if found and found == tuple(names[: len(found)]):
                return found
        raise MapError(f"{self.path} is no file of ponder maps (it has no blocks)")

    def _provenance(self) -> dict[str, Any]:
        text = untrusted_hdf5.text_attribute(self.root, "provenance", MAX_JSON_BYTES)
        try:
            found = {} if text is None else from_json(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise MapError(f"{self.path} is no file of ponder maps (its provenance is not JSON)")
        return found

    def _part(self) -> tuple[int, ...]:
        if not h5py.h5a.exists(self.root.id, b"part"):
            return ()
        found = untrusted_hdf5.ints_attribute(self.root, "part", 3)
        if found is None:
            raise MapError(f"{self.path} is damaged: it does not say which part it is")
        return found

    def _holds(self, name: str) -> bool:
        return untrusted_hdf5.holds(self._file, name)

    def _numbers(self, path: str, *ranks: int) -> h5py.Dataset:
        """A data set, checked when it is first asked for: that goes through all its chunks."""
        if path not in self._checked:
            self._checked[path] = untrusted_hdf5.numbers(self._file, path, ranks)
        return self._checked[path]

    def _by_image(self, path: str, kinds: str) -> h5py.Dataset | None:
        """A whole number for each image, where there is such a data set."""
        if not self._holds(path):
            return None
        found = self._numbers(path, 1)
        if found.dtype.kind not in kinds or len(found) != self.num_images:
            raise MapError(f"{self.path} is damaged: its {path} do not fit its images")
        return found

    def _texts(self, path: str) -> untrusted_hdf5.Texts | h5py.Dataset | None:
        if not self._holds(path):
            return None
        return untrusted_hdf5.texts(self._file, path, MAX_TEXTS, MAX_TEXT_BYTES)

    def _read_maps(self, maps: h5py.Dataset, start: int, stop: int) -> np.ndarray:
        with untrusted_hdf5.damage_told(self._file):
            found: np.ndarray = maps[start:stop].astype(np.float32, copy=False)
        if not (found.min() >= 0 and found.max() <= MAX_VALUE):  # NaN is neither
            raise MapError(
                f"{self.path} is damaged: maps of images {start} to {stop - 1} hold numbers that "
                f"are NaN, infinite, negative or huge"
            )
        return found


def _shown(text: bytes) -> str:
    """A name as it can be printed: one line, no control characters, not too long."""
    decoded = text[: 4 * MAX_SHOWN].decode("utf-8", "replace")
    plain = "".join(c if c.isprintable() else " " for c in decoded)
    return plain if len(plain) <= MAX_SHOWN else plain[: MAX_SHOWN - 1] + "…"
