"""Open an HDF5 file that may come from anybody: plain numbers and short texts only.

HDF5 can point at other files, at itself in a circle, at compressed bytes that
swell without bound and at plugins. Here a file is opened read-only, links other
than plain ones are never followed, sizes are told before memory is taken, and
whatever libhdf5 stumbles over is told as one error of the caller's own kind.
"""

from __future__ import annotations

import collections
import io
import math
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_MAX_LINKS = 100_000
_MAX_DEPTH = 16
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: What libhdf5 raises at damaged files, depending on where it stumbles.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError)


class Opened:
    """A context with the file open.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or its contents.
    error : type of ValueError
        What errors of libhdf5, on entering and inside the context, become.

    Attributes
    ----------
    root : h5py.File
        The open file.
    size : int
        Its length in bytes.
    label : str
        What to call it in messages.

    Raises
    ------
    error
        On entering, if it is no HDF5 file or is truncated or damaged.
    OSError
        On entering, if there is no such file or it cannot be opened.
    """

    def __init__(self, source: str | Path | bytes, error: type[ValueError]):
        self.source = source
        self.error = error
        self.label = "the file" if isinstance(source, bytes) else str(source)

    def __enter__(self) -> Opened:
        if isinstance(self.source, bytes):
            start, self.size = self.source[:8], len(self.source)
        else:
            with open(self.source, "rb") as plain:
                start, self.size = plain.read(8), os.fstat(plain.fileno()).st_size
        if start != _SIGNATURE:
            what = "is no HDF5 file" if start else "is empty"
            raise self.error(f"{self.label} {what}")
        handle = io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source
        try:
            self.root = h5py.File(handle, "r", locking=False)
        except _DAMAGE as error:
            raise self.error(f"{self.label} is truncated or damaged ({error})") from error
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.root.close()
        if isinstance(error, _DAMAGE) and not isinstance(error, self.error):
            raise self.error(f"{self.label} is damaged ({error})") from error


def int_attribute(root: h5py.File, name: str) -> int | None:
    """A scalar whole number; None if it is absent or of another kind."""
    if not h5py.h5a.exists(root.id, name.encode()):
        return None
    attribute = h5py.h5a.open(root.id, name.encode())
    if attribute.get_type().get_class() != h5py.h5t.INTEGER or attribute.shape != ():
        return None
    value = np.zeros((), np.int64)
    attribute.read(value)
    return int(value)


def text_attribute(root: h5py.File, name: str, most: int) -> bytes | None:
    """A scalar fixed-length text; None if it is absent, of another kind or too long.

    Fixed length, so that its size is known before memory is taken.
    """
    if not h5py.h5a.exists(root.id, name.encode()):
        return None
    attribute = h5py.h5a.open(root.id, name.encode())
    kind = attribute.get_type()
    if kind.get_class() != h5py.h5t.STRING or kind.is_variable_str() or attribute.shape != ():
        return None
    if kind.get_size() > most:
        return None
    text = np.zeros((), f"S{kind.get_size()}")
    attribute.read(text)
    return bytes(text[()])


def find_datasets(
    root: h5py.File, group_name: str, problems: list[str]
) -> dict[str, h5py.h5d.DatasetID]:
    """Every data set below the one group of a file, following plain links only.

    Parameters
    ----------
    root : h5py.File
        The open file.
    group_name : str
        Name of the group. Anything beside it is a problem.
    problems : list of str
        Gains a line for everything that is refused.

    Returns
    -------
    dict of str to h5py.h5d.DatasetID
        By path below the group. Nothing of them has been read.
    """
    found: dict[str, h5py.h5d.DatasetID] = {}
    names = _link_names(root.id, "/", problems)
    problems += [
        f"unexpected: /{_readable(name)} beside the group {group_name}"
        for name in names
        if name != group_name.encode()
    ]
    if group_name.encode() not in names:
        problems.append(f"missing: the group {group_name}")
        return {}
    seen = {_address(root.id)}
    queue = collections.deque([(root.id, group_name.encode(), "")])
    num_links = 0
    while queue:
        group, link, path = queue.popleft()
        shown = path or group_name
        num_links += 1
        if num_links > _MAX_LINKS or path.count("/") > _MAX_DEPTH:
            problems.append(f"{shown}: too many or too deep groups")
            return {}
        if group.links.get_info(link).type != h5py.h5l.TYPE_HARD:
            problems.append(f"{shown} is a link to elsewhere, which is refused")
            continue
        node = h5py.h5o.open(group, link)
        address = _address(node)
        if address in seen:
            problems.append(f"{shown} is a second link to the same object, which is refused")
            continue
        seen.add(address)
        if isinstance(node, h5py.h5g.GroupID):
            start = f"{path}/" if path else ""
            queue += [
                (node, name, start + _readable(name)) for name in _link_names(node, shown, problems)
            ]
        elif isinstance(node, h5py.h5d.DatasetID) and path:
            found[path] = node
        else:
            problems.append(f"{shown} is neither a group nor a data set")
    return found


def shape(dataset: h5py.h5d.DatasetID) -> tuple[int, ...]:
    """Sides of a data set; ``(0,)`` for one without any numbers."""
    space = dataset.get_space()
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        return (0,)
    return tuple(int(side) for side in space.get_simple_extent_dims())


def storage_problem(name: str, dataset: h5py.h5d.DatasetID, file_size: int) -> str | None:
    """Say why the float32 numbers do not lie plainly in this file, all of them; else None."""
    if not dataset.get_type().equal(h5py.h5t.IEEE_F32LE):
        return f"wrong type: {name} is not little-endian float32"
    properties = dataset.get_create_plist()
    if properties.get_layout() != h5py.h5d.CONTIGUOUS or properties.get_nfilters():
        return f"{name} is compressed, chunked or virtual; numbers must be stored plainly"
    if properties.get_external_count():
        return f"{name} lies in another file, which is refused"
    size = 4 * math.prod(shape(dataset))
    offset = dataset.get_offset()
    if dataset.get_storage_size() != size or offset is None or offset + size > file_size:
        return f"{name} is only partly in the file"
    return None


def _link_names(group: h5py.h5g.GroupID, shown: str, problems: list[str]) -> list[bytes]:
    if group.get_num_objs() > _MAX_LINKS:
        problems.append(f"{shown} holds more than {_MAX_LINKS} objects")
        return []
    names: list[bytes] = []
    group.links.iterate(names.append)
    return names


def _readable(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")[:200]


def _address(node: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(node)
    return info.fileno, info.addr
