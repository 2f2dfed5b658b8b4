"""A data set in parts that are small enough to be sent to a machine without a network.

::

    parts.json              what there is: names, shapes and checksums
    train-images-0.npy      uint8 [n, h, w, 3], cut along n
    train-labels.npy        int64 [n]
    test-images-0.npy  …

Arrays are written without pickle and read so; every part is checked when it is stored and
again when it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.data.source import Examples, Source, load_source
from sact_core.data.splits import open_split
from sact_core.files import write_bytes
from sact_core.untrusted_json import from_json

MANIFEST = "parts.json"
MIB, MOST_MIB = 2**20, 60  # most of a part
HEADER = 4096  # more than an array's header takes
ROLES = ("train", "test")


@dataclass(frozen=True)
class Packed:
    """A data set put together again.

    Attributes
    ----------
    dataset : str
        As it was named when it was packed.
    splits : tuple of str
        To learn from and to be tested on, as they were named then.
    train, test : Examples
        Their images.
    """

    dataset: str
    splits: tuple[str, str]
    train: Examples
    test: Examples


def pack(
    dataset: str,
    splits: tuple[str, str],
    data_dir: str | None,
    folder: Path,
    part_mib: int,
    say: Callable[[str], None],
) -> None:
    """Write a data set as parts.

    Parameters
    ----------
    dataset, data_dir
        As `sact_core.data.splits.open_split`.
    splits : tuple of str
        To learn from and to be tested on.
    folder : Path
        Where the parts shall lie; made if need be.
    part_mib : int
        Most of a part, in MiB.
    say : callable
        Told every part.

    Raises
    ------
    ValueError
        If the data set cannot be read whole, the classes of its splits differ, or
        ``part_mib`` is out of range.
    OSError
        If something cannot be written.
    """
    if not 1 <= part_mib <= MOST_MIB:
        raise ValueError(f"--part-mib must be from 1 to {MOST_MIB}, got {part_mib}")
    sources = [open_split(dataset, split, data_dir) for split in splits]
    if sources[0].class_names != sources[1].class_names:
        raise ValueError(f"the classes of {splits[0]} and {splits[1]} of {dataset} differ")
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, Any]] = []

    def write(role: str, what: str, name: str, values: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        data = buffer.getvalue()
        write_bytes(folder / name, data)
        about = {"split": role, "what": what, "shape": list(values.shape), "sha256": _sum(data)}
        parts.append({"file": name, **about})
        say(f"{folder / name}: {len(data) / MIB:.1f} MiB")

    for role, source in zip(ROLES, sources, strict=True):
        images, labels = _whole(source)
        each = max((part_mib * MIB - HEADER) // images[0].nbytes, 1)
        for k, begin in enumerate(range(0, len(images), each)):
            write(role, "images", f"{role}-images-{k}.npy", images[begin : begin + each])
        write(role, "labels", f"{role}-labels.npy", labels)
    about = {"dataset": dataset, "splits": list(splits), "class_names": sources[0].class_names}
    write_bytes(folder / MANIFEST, json.dumps({**about, "parts": parts}, indent=1).encode())


def store(paths: Sequence[Path], folder: Path, say: Callable[[str], None]) -> None:
    """Keep parts where `load` looks for them.

    Parameters
    ----------
    paths : sequence of Path
        Parts, each with its ``parts.json`` beside it.
    folder : Path
        Where to keep them; made if need be.
    say : callable
        Told what is kept and what is missing still.

    Raises
    ------
    ValueError
        If one is no part, or is damaged.
    OSError
        If something cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if path.name == MANIFEST:
            continue
        manifest = _read_manifest(path.parent)
        about = next((part for part in manifest["parts"] if part["file"] == path.name), None)
        if about is None:
            raise ValueError(f"{path} is no part that {path.parent / MANIFEST} tells of")
        data = path.read_bytes()
        if _sum(data) != about["sha256"]:
            raise ValueError(f"{path} is damaged: its checksum is not that of {MANIFEST}")
        write_bytes(folder / path.name, data)
        write_bytes(folder / MANIFEST, (path.parent / MANIFEST).read_bytes())
        say(f"{path.name} is kept")
    manifest = _read_manifest(folder)
    absent = _absent(manifest, folder)
    count = len(manifest["parts"])
    say(f"all {count} parts are there" if not absent else f"missing: {', '.join(absent)}")


def load(folder: Path) -> Packed:
    """Put a data set together from its stored parts.

    Raises
    ------
    ValueError
        If parts are missing or damaged; one sentence.
    """
    manifest = _read_manifest(folder)
    absent = _absent(manifest, folder)
    if absent:
        raise ValueError(
            f"{folder} lacks {len(absent)} of {len(manifest['parts'])} parts: store "
            f"{', '.join(absent)} first"
        )
    found: dict[str, list[np.ndarray]] = {}
    for part in manifest["parts"]:
        data = (folder / part["file"]).read_bytes()
        if _sum(data) != part["sha256"]:
            raise ValueError(f"{folder / part['file']} is damaged: store it again")
        values: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
        found.setdefault(f"{part['split']}-{part['what']}", []).append(values)
    names, (train, test) = tuple(manifest["class_names"]), manifest["splits"]
    examples = []
    for role, split in zip(ROLES, (train, test), strict=True):
        try:
            images = np.concatenate(found[f"{role}-images"])
            labels = np.concatenate(found[f"{role}-labels"])
        except (KeyError, ValueError):
            raise ValueError(f"{folder / MANIFEST} does not tell of a whole data set") from None
        if images.ndim != 4 or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
            raise ValueError(f"the parts in {folder} are no images with a label each")
        examples.append(Examples(images, labels, names, manifest["dataset"], split))
    return Packed(manifest["dataset"], (train, test), *examples)


def _whole(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split of which every image can be read."""
    examples = load_source(source)
    if examples.left_out:
        raise ValueError(examples.left_out.line(len(source), f"images of {source.split}"))
    return examples.images, examples.labels


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        values = from_json(path.read_text())
    except FileNotFoundError:
        raise ValueError(
            f"{path} is not there: pack a data set, and store its parts with it"
        ) from None
    except ValueError:
        values = None
    if not isinstance(values, dict) or not _is_manifest(values):
        raise ValueError(f"{path} is damaged: pack the data set again")
    return values


def _is_manifest(values: dict[str, Any]) -> bool:
    parts, splits, names = (values.get(key) for key in ("parts", "splits", "class_names"))
    return (
        isinstance(values.get("dataset"), str)
        and isinstance(splits, list)
        and len(splits) == 2
        and isinstance(names, list)
        and all(isinstance(name, str) for name in (*splits, *names))
        and isinstance(parts, list)
        and all(map(_is_part, parts))
    )


def _is_part(part: Any) -> bool:
    texts = ("file", "split", "what", "sha256")
    return (
        isinstance(part, dict)
        and all(isinstance(part.get(key), str) for key in texts)
        and Path(part["file"]).name == part["file"]
    )


def _absent(manifest: dict[str, Any], folder: Path) -> list[str]:
    return [part["file"] for part in manifest["parts"] if not (folder / part["file"]).is_file()]


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
