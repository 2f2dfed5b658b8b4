"""The ponder-map HDF5 file: write, read, colour limits.

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

import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sact_core.config import NetworkConfig, to_dict
from sact_core.files import write_bytes, written_beside
from sact_core.network import Result

FORMAT = "sact-explorer ponder maps"
METRICS = ("ponder_cost", "num_units")
#: Percentiles of all maps that the colours run between, as the authors draw them.
PERCENTILES = (0.1, 99.9)
_CHUNK_BYTES = 1 << 18
_BLOCK_IMAGES = 64  # read at a time

Rows = dict[str, np.ndarray]


class MapError(ValueError):
    """The file holds no ponder maps that can be read; the message says why."""


# --- write ---


def block_scopes(config: NetworkConfig) -> tuple[str, ...]:
    """Name the blocks as the authors do: ``block_1`` (CIFAR) or ``block1`` (ImageNet)."""
    underscore = "_" if config.family == "cifar" else ""
    return tuple(f"block{underscore}{i + 1}" for i in range(len(config.units_per_block)))


def rows(
    config: NetworkConfig,
    x: np.ndarray,
    result: Result,
    names: Sequence[str],
    labels: Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Rows:
    """Lay out a batch as the file holds it.

    Parameters
    ----------
    config : NetworkConfig
        The network.
    x : np.ndarray [shape=(n, H, W, 3), float32]
        Its input.
    result : Result
        What it did.
    names : sequence of str
        What each image is called.
    labels : sequence of int, optional
        Class numbers; -1 where unknown.
    batch_size : int, optional
        Columns of the authors' FLOPs arrays; ``n`` if left out.

    Returns
    -------
    dict of str to np.ndarray
        By data set, each with ``n`` rows.

    Raises
    ------
    ValueError
        If the network is vanilla: it has no maps.
    """
    n = len(x)
    flops_of = _flops_layout(config.halting, batch_size or n)
    found: Rows = {"images": x, "flops": flops_of(result.flops, 2), "flops_exact": result.flops}
    for metric in METRICS:
        total = result.map(metric)  # refuses vanilla networks
        if config.halting == "sact":  # the authors write none for ACT
            found[f"{metric}_map"] = total[..., None]
    for scope, block in zip(block_scopes(config), result.blocks, strict=True):
        distribution = block.halting_distribution
        assert distribution is not None
        found |= {
            f"{scope}/ponder_cost": np.asarray(block.ponder_cost),
            f"{scope}/num_units": np.asarray(block.num_units, np.float32),
            f"{scope}/halting_distribution": distribution,
            f"{scope}/flops": flops_of(block.flops, distribution.shape[-1]),
            f"{scope}/flops_exact": block.flops,
        }
    return found | {
        "logits": result.logits,
        "predictions": result.logits.argmax(axis=1).astype(np.int64),
        "labels": np.array([-1] * n if labels is None else labels, np.int64),
        "names": np.array(list(names), object),
    }


def attributes(
    config: NetworkConfig, class_names: Sequence[str], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect what a file says once: block names, config, class names, where it comes from."""
    return {
        "block_scopes": list(block_scopes(config)),
        "format": FORMAT,
        "config": json.dumps(to_dict(config)),
        "class_names": list(class_names),
        "provenance": json.dumps(provenance),
    }


def write(path: str | Path, found: Rows, about: Mapping[str, Any]) -> None:
    """Write a file of few images, beside ``path`` and renamed.

    Parameters
    ----------
    path : str or Path
        Where to; an existing file is replaced.
    found : dict of str to np.ndarray
        What `rows` gives.
    about : dict
        What `attributes` gives.

    Raises
    ------
    OSError
        As `sact_core.files.write_bytes`.
    """
    image = io.BytesIO()
    with h5py.File(image, "w", track_order=False) as file:
        _write_attributes(file, about)
        for name, values in found.items():
            _create(file, name, len(values), values)[:] = values
    write_bytes(path, image.getvalue())


def merge(parts: Sequence[str | Path], path: str | Path, about: Mapping[str, Any]) -> int:
    """Join files into one, a few images at a time.

    Parameters
    ----------
    parts : sequence of path
        Files of one network and one input size, in order.
    path : str or Path
        Where to; written beside and renamed.
    about : dict
        What `attributes` gives.

    Returns
    -------
    int
        Number of images.

    Raises
    ------
    MapError
        If a part cannot be read or does not fit the others.
    OSError
        As `sact_core.files.written_beside`.
    """
    total = 0
    for part in parts:
        with MapFile(part) as file:
            total += file.num_images
    with written_beside(path) as beside:
        try:
            with h5py.File(beside, "w") as out:
                _write_attributes(out, about)
                start = 0
                for part in parts:
                    with MapFile(part) as file:
                        _append(out, file, start, total)
                        start += file.num_images
        except RuntimeError as error:  # what h5py makes of some failed writes
            raise OSError(f"cannot write {path}: {error}") from error
    return total


# --- read ---


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
        return self._dataset(f"{metric}_map")[index, ..., 0]

    def map_chunks(self, metric: str = "ponder_cost") -> Iterator[np.ndarray]:
        """All maps, a few images at a time [shape=(k, H, W, 1), float32]."""
        maps = self._dataset(f"{metric}_map")
        for start in range(0, self.num_images, _BLOCK_IMAGES):
            yield maps[start : start + _BLOCK_IMAGES]

    def mean_costs(self, metric: str = "ponder_cost") -> np.ndarray:
        """Mean of every image's map [shape=(n,), float64], in units."""
        means = [c.mean(axis=(1, 2, 3), dtype=np.float64) for c in self.map_chunks(metric)]
        return np.concatenate(means)

    def image(self, index: int) -> np.ndarray:
        """One image as it was given to the network [shape=(H, W, 3), float32]."""
        return self._dataset("images")[index]

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


# --- colour limits ---


def unit_limits(units_per_block: Sequence[int], metric: str = "ponder_cost") -> tuple[float, float]:
    """Least and greatest value that a map of a network can have, in units.

    A position runs one unit of a block at least, and all of them at most; its
    ponder cost adds the remainder, 1 after one unit and at most 1 else.
    """
    extra = len(units_per_block) if metric == "ponder_cost" else 0
    return float(len(units_per_block) + extra), float(sum(units_per_block) + extra)


def percentile_limits(
    chunks: Callable[[], Iterable[np.ndarray]], percentiles: tuple[float, float] = PERCENTILES
) -> tuple[float, float]:
    """Percentiles over all values of many maps, exact, in little memory.

    Twice the maps are gone through: once to count the upper halves of the
    numbers' bit patterns, which sort as the numbers do, once to count the lower
    halves around the ranks that are asked for.

    Parameters
    ----------
    chunks : callable
        Gives the maps anew at each call, as arrays [float32, not negative].
    percentiles : tuple of float
        From 0 to 100. Between two values the result is interpolated, as in
        ``np.percentile``.

    Returns
    -------
    tuple of float
        The percentiles.

    Raises
    ------
    ValueError
        If there are no values, or one is negative or no number.
    """
    upper = np.zeros(1 << 16, np.int64)
    for bits in map(_sortable_bits, chunks()):
        upper += np.bincount(bits >> 16, minlength=1 << 16)
    total = int(upper.sum())
    if not total:
        raise ValueError("there are no maps")
    ranks = [percentile / 100 * (total - 1) for percentile in percentiles]
    wanted = sorted({r for rank in ranks for r in (math.floor(rank), math.ceil(rank))})
    ends = np.cumsum(upper)
    halves = {rank: int(np.searchsorted(ends, rank, "right")) for rank in wanted}
    lower = {half: np.zeros(1 << 16, np.int64) for half in halves.values()}
    for bits in map(_sortable_bits, chunks()):
        for half, counts in lower.items():
            counts += np.bincount(bits[bits >> 16 == half] & 0xFFFF, minlength=1 << 16)
    values = {}
    for rank, half in halves.items():
        before = int(ends[half - 1]) if half else 0
        rest = int(np.searchsorted(np.cumsum(lower[half]), rank - before, "right"))
        values[rank] = float(np.uint32(half << 16 | rest).view(np.float32))
    low, high = (
        values[math.floor(r)] + (values[math.ceil(r)] - values[math.floor(r)]) * (r % 1)
        for r in ranks
    )
    return low, high


# --- private ---


def _sortable_bits(values: np.ndarray) -> np.ndarray:
    """Bit patterns [shape=(size,), uint32] that sort as the numbers, all 0 or more, do."""
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    if flat.size and not flat.min() >= 0:
        raise ValueError("a map holds a negative number or NaN")
    bits: np.ndarray = (flat + np.float32(0)).view(np.uint32)  # no negative zero
    return bits


def _flops_layout(halting: str, batch_size: int) -> Callable[[np.ndarray, int], np.ndarray]:
    """The authors' shape of FLOPs: SACT gives a row per image, of the batch's length."""

    def layout(flops: np.ndarray, num_units: int) -> np.ndarray:
        counts = flops.astype(np.float32)
        if halting == "sact" and num_units > 1:
            return np.repeat(counts[:, None], batch_size, axis=1)
        return counts

    return layout


def _write_attributes(file: h5py.File, about: Mapping[str, Any]) -> None:
    for name, value in about.items():
        if name == "class_names":
            if value:  # as a data set: attributes are limited to 64 KiB
                file.create_dataset(name, data=value, dtype=h5py.string_dtype())
        else:
            file.attrs[name] = value


def _create(file: h5py.File, name: str, total: int, like: Any) -> h5py.Dataset:
    """A data set of ``total`` rows like ``like``'s, in chunks of whole images."""
    text = like.dtype.kind == "O"
    row_bytes = max(1, int(np.prod(like.shape[1:])) * (16 if text else like.dtype.itemsize))
    images = max(1, min(total, _CHUNK_BYTES // row_bytes))
    return file.create_dataset(
        name,
        (total, *like.shape[1:]),
        h5py.string_dtype() if text else like.dtype,
        chunks=(images, *like.shape[1:]),
        compression="lzf",
        shuffle=not text,
        track_times=False,
    )


def _append(out: h5py.File, part: MapFile, start: int, total: int) -> None:
    """Copy the rows of one part to their place."""
    found: list[str] = []
    part.root.visititems(
        lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
    )
    for name in found:
        if name == "class_names":
            continue
        source = part.root[name]
        if name not in out:
            if start:
                raise MapError(f"{part.path} does not fit the other parts: it adds {name}")
            _create(out, name, total, source)
        if out[name].shape[1:] != source.shape[1:]:
            raise MapError(f"{part.path} does not fit the other parts: {name} {source.shape}")
        for row in range(0, len(source), _BLOCK_IMAGES):
            block = source[row : row + _BLOCK_IMAGES]
            out[name][start + row : start + row + len(block)] = block
