"""A whole file of plain numbers, as checkpoints are: everything in it is gone through."""

from __future__ import annotations

import collections
import math
from typing import Any

import h5py

_MAX_LINKS = 100_000
_MAX_DEPTH = 16


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
