"""Write ponder maps: a batch as the file lays it out, a file of few, many files joined."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sact_core.config import NetworkConfig, to_dict
from sact_core.files import write_bytes, written_beside
from sact_core.maps.file import BLOCK_IMAGES, METRICS, MapError, MapFile
from sact_core.maps.spill import Spill, ctrl_c_held
from sact_core.result import Result
from sact_core.texts import shown, shown_values
from sact_core.untrusted_hdf5 import Texts

FORMAT = "sact-explorer ponder maps"
MAX_FIXED = 60_000  # bytes; an attribute of the older HDF5 that the authors use takes 64 KiB
_CHUNK_BYTES = 1 << 18

Rows = dict[str, np.ndarray]


def block_scopes(config: NetworkConfig) -> tuple[str, ...]:
    """Name the blocks as the authors do: ``block_1`` (CIFAR) or ``block1`` (ImageNet)."""
    family = config.facts
    return tuple(family.scope_of(i + 1) for i in range(len(config.units_per_block)))


def map_rows(
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
    flops_of = _flops_layout(config.by_position, batch_size or n)
    found: Rows = {"images": x, "flops": flops_of(result.flops, 2), "flops_exact": result.flops}
    for metric in METRICS:
        total = result.map(metric)  # refuses vanilla networks
        if config.by_position:  # the authors write none for ACT
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


def map_attributes(
    config: NetworkConfig, class_names: Sequence[str], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect what a file says once: block names, config, class names, where it comes from."""
    return {
        "block_scopes": list(block_scopes(config)),
        "format": FORMAT,
        "config": json.dumps(to_dict(config)),
        "class_names": [shown(name) for name in class_names],
        "provenance": _fixed(json.dumps(shown_values(provenance))),
    }


def write_maps(path: str | Path, found: Rows, about: Mapping[str, Any]) -> None:
    """Write a file of few images, beside ``path`` and renamed.

    Parameters
    ----------
    path : str or Path
        Where to; an existing file is replaced.
    found : dict of str to np.ndarray
        What `map_rows` gives.
    about : dict
        What `map_attributes` gives.

    Raises
    ------
    OSError
        As `sact_core.files.write_bytes`.
    """
    image = io.BytesIO()
    with h5py.File(image, "w", track_order=False) as file:
        _write_attributes(file, about)
        for name, values in found.items():
            _create(file, name, len(values), values.dtype, values.shape[1:])[:] = values
    write_bytes(path, image.getvalue())


def merge_maps(parts: Sequence[str | Path], path: str | Path, about: Mapping[str, Any]) -> int:
    """Join files into one, a few images at a time.

    Parameters
    ----------
    parts : sequence of path
        Files of one network and one input size, in order.
    path : str or Path
        Where to; written beside and renamed.
    about : dict
        What `map_attributes` gives.

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
    with (
        written_beside(path) as beside,
        contextlib.closing(Spill(beside)) as disk,
        ctrl_c_held() as stop_if_asked,
    ):
        with h5py.File(disk, "w") as out:
            _write_attributes(out, about)
            start = 0
            for part in parts:
                with MapFile(part) as file:
                    for _ in _append(out, file, start, total):
                        disk.check()
                        stop_if_asked()
                    start += file.num_images
        disk.check()
    return total


def _flops_layout(by_position: bool, batch_size: int) -> Callable[[np.ndarray, int], np.ndarray]:
    """The authors' shape of FLOPs: SACT gives a row per image, of the batch's length."""

    def layout(flops: np.ndarray, num_units: int) -> np.ndarray:
        counts = flops.astype(np.float32)
        if by_position and num_units > 1:
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


def _create(
    file: h5py.File, name: str, total: int, dtype: np.dtype[Any], sides: tuple[int, ...]
) -> h5py.Dataset:
    """A data set of ``total`` rows, texts or numbers, in chunks of whole images."""
    text = dtype.kind == "O"
    row_bytes = max(1, int(np.prod(sides)) * (16 if text else dtype.itemsize))
    images = max(1, min(total, _CHUNK_BYTES // row_bytes))
    return file.create_dataset(
        name,
        (total, *sides),
        h5py.string_dtype() if text else dtype,
        chunks=(images, *sides),
        compression="lzf",
        shuffle=not text,
        track_times=False,
    )


def _append(out: h5py.File, part: MapFile, start: int, total: int) -> Iterator[None]:
    """Copy the rows of one part to their place, some each time that it is asked."""
    for name, source in part.rows().items():
        sides = () if isinstance(source, Texts) else source.shape[1:]
        if name not in out:
            if start:
                raise MapError(f"{part.path} does not fit the other parts: it adds {name}")
            kind = np.dtype(object) if isinstance(source, Texts) else source.dtype
            _create(out, name, total, kind, sides)
        # Held open: HDF5 packs a chunk anew whenever the data set that it is of is closed.
        target = out[name]
        if target.shape[1:] != sides:
            raise MapError(f"{part.path} does not fit the other parts: {name} {sides}")
        for row in range(0, part.num_images, BLOCK_IMAGES):
            block = part.read_rows(source, row, min(row + BLOCK_IMAGES, part.num_images))
            target[start + row : start + row + len(block)] = block
            yield


def _fixed(text: str) -> np.bytes_ | str:
    """A text of fixed length, where an attribute can hold it; readers need not trust its length."""
    return np.bytes_(text.encode()) if len(text) < MAX_FIXED else text
