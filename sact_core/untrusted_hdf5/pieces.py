"""One data set of a file that holds what it likes: plain numbers, or a list of texts."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from sact_core.untrusted_hdf5.heap import ENTRY, Texts
from sact_core.untrusted_hdf5.opened import Opened, damage_told
from sact_core.untrusted_hdf5.plain import shape

#: Least size of a chunk that may be refused as too large: a chunk is read whole.
CHUNK_BYTES = 1 << 22
#: Of a group whose contents are asked for.
MAX_CHILDREN = 1000
#: How far a chunk may swell: zlib's best is 1032.
_SWELLS = 1100
_TEXT_ENTRY = ENTRY.itemsize
_ZLIB, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000


def holds(file: Opened, name: str) -> bool:
    """Whether something of a name stands at the top of a file; a link is not followed."""
    with damage_told(file):
        return bool(file.root.id.links.exists(name.encode()))


def children(file: Opened, path: str = "") -> list[str]:
    """What stands in a group, by its path, or at the top of a file; nothing is opened.

    Raises
    ------
    file.error
        As `node`, or if there is too much.
    """
    group = node(file, path) if path else file.root.id
    names: list[bytes] = []
    with damage_told(file):
        if not isinstance(group, h5py.h5g.GroupID) or group.get_num_objs() > MAX_CHILDREN:
            raise file.error(f"{file.label}: {path or 'it'} is no group of a few things")
        group.links.iterate(names.append)
        return [name.decode() for name in names]


def node(file: Opened, path: str) -> h5py.h5g.GroupID | h5py.h5d.DatasetID | None:
    """Open a group or data set by plain links; None where there is nothing of that name.

    Raises
    ------
    file.error
        If a link leads to elsewhere, in the file or out of it, or to another kind of thing.
    """
    found: Any = file.root.id
    with damage_told(file):
        for name in path.split("/"):
            link = name.encode()
            if not isinstance(found, h5py.h5g.GroupID) or not found.links.exists(link):
                return None
            if found.links.get_info(link).type != h5py.h5l.TYPE_HARD:
                raise file.error(f"{file.label}: {path} is a link to elsewhere, which is refused")
            found = h5py.h5o.open(found, link)
    if not isinstance(found, h5py.h5g.GroupID | h5py.h5d.DatasetID):
        raise file.error(f"{file.label}: {path} is neither a group nor a data set")
    return found


def numbers(
    file: Opened, path: str, ranks: Sequence[int], most_bytes: int | None = None
) -> h5py.Dataset:
    """A data set of plain numbers, of which nothing has been read.

    Parameters
    ----------
    file : Opened
        The file.
    path : str
        Where it is.
    ranks : sequence of int
        How many sides it may have.
    most_bytes : int, optional
        What it may take in memory as a whole. Left out, any size that lies in the file
        is taken, for a caller that reads it row by row.

    Raises
    ------
    file.error
        If it is absent or a group, holds no real numbers, has other sides, or does
        not lie in this file, all of it, in a form that is read in bounded memory.
    """
    dataset = _dataset(file, path)
    with damage_told(file):
        return _numbers(file, path, dataset, ranks, most_bytes)


def _numbers(
    file: Opened,
    path: str,
    dataset: h5py.h5d.DatasetID,
    ranks: Sequence[int],
    most_bytes: int | None,
) -> h5py.Dataset:
    kind = dataset.get_type()
    if kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) or kind.get_size() > 8:
        raise file.error(f"{file.label}: {path} holds no plain numbers")
    if dataset.get_space().get_simple_extent_type() == h5py.h5s.NULL:  # which h5py gives no shape
        raise file.error(f"{file.label}: {path} holds no numbers at all")
    sides = shape(dataset)
    if len(sides) not in ranks:
        raise file.error(
            f"{file.label}: {path} has {len(sides)} dimensions, not {' or '.join(map(str, ranks))}"
        )
    if most_bytes is not None and math.prod(sides) * max(8, kind.get_size()) > most_bytes:
        raise file.error(f"{file.label}: {path} of shape {sides} is too large")
    _check_storage(file, path, dataset, most_bytes)
    return h5py.Dataset(dataset)


def texts(file: Opened, path: str, most: int, most_bytes: int) -> Texts | h5py.Dataset:
    """A list of texts, none of which has been read; all of them may be, with `damage_told`.

    The length of a text is a number in the file, for which libhdf5 takes memory before
    it sees that nothing of the kind is there, and it goes round in circles where they
    are damaged: texts of any length are read without it.

    Parameters
    ----------
    file : Opened
        The file.
    path : str
        A data set of one dimension.
    most, most_bytes : int
        How many there may be, and of how many bytes in all.

    Raises
    ------
    file.error
        If it is absent, holds no texts, too many or too long ones, or as `numbers`.
    """
    dataset = _dataset(file, path)
    with damage_told(file):
        return _texts(file, path, dataset, most, most_bytes)


def _texts(
    file: Opened, path: str, dataset: h5py.h5d.DatasetID, most: int, most_bytes: int
) -> Texts | h5py.Dataset:
    kind, sides = dataset.get_type(), shape(dataset)
    if kind.get_class() != h5py.h5t.STRING or len(sides) != 1:
        raise file.error(f"{file.label}: {path} holds no list of texts")
    _check_storage(file, path, dataset, None)
    if sides[0] <= most:
        if not kind.is_variable_str():
            if sides[0] * kind.get_size() <= most_bytes:
                return h5py.Dataset(dataset)
        elif (entries := _entries(file, path, dataset))["length"].sum() <= most_bytes:
            return Texts(lambda at, size: _bytes(file, at, size), file.size, entries)
    raise file.error(f"{file.label}: {path} holds too many or too long texts")


def _dataset(file: Opened, path: str) -> h5py.h5d.DatasetID:
    found = node(file, path)
    if found is None:
        raise file.error(f"{file.label} has no {path}")
    if not isinstance(found, h5py.h5d.DatasetID):
        raise file.error(f"{file.label}: {path} is a group")
    return found


def _check_storage(
    file: Opened, path: str, dataset: h5py.h5d.DatasetID, most_bytes: int | None
) -> None:
    """Refuse a data set that is not wholly in the file, or swells without bound."""
    properties, sides = dataset.get_create_plist(), shape(dataset)
    kind, stored = dataset.get_type(), dataset.get_storage_size()
    size = kind.get_size()
    if kind.get_class() == h5py.h5t.STRING and kind.is_variable_str():
        size = _TEXT_ENTRY
    claimed = math.prod(sides) * size
    if properties.get_external_count():
        raise file.error(f"{file.label}: {path} lies in another file, which is refused")
    layout = properties.get_layout()
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, h5py.h5d.COMPACT) or (
        filters - {_ZLIB, _SHUFFLE, _FLETCHER32, _LZF}
    ):
        raise file.error(f"{file.label}: {path} is virtual, or compressed in a way that is refused")
    whole = stored == claimed
    if layout == h5py.h5d.CHUNKED:
        chunk = properties.get_chunk()
        in_chunk = math.prod(chunk) * size
        if in_chunk > max(CHUNK_BYTES, claimed // max(sides[0], 1), most_bytes or 0):
            raise file.error(f"{file.label}: {path} is stored in chunks that are too large")
        wanted = math.prod(-(-side // part) for side, part in zip(sides, chunk, strict=True))
        whole = claimed <= _SWELLS * stored and dataset.get_num_chunks() == wanted
        if not filters:
            whole = whole and stored == wanted * in_chunk
    elif layout == h5py.h5d.CONTIGUOUS and claimed:
        offset = dataset.get_offset()
        whole = whole and offset is not None and offset + claimed <= file.size
    if not whole or stored > file.size:
        raise file.error(f"{file.label}: {path} is only partly in the file")


def _entries(file: Opened, path: str, dataset: h5py.h5d.DatasetID) -> np.ndarray:
    """Where texts of any length are [shape=(n,), dtype=ENTRY], without reading one."""
    properties, (total,) = dataset.get_create_plist(), shape(dataset)
    addresses = file.root.id.get_create_plist().get_sizes()[0]
    if addresses != 8 or properties.get_layout() == h5py.h5d.COMPACT:
        raise file.error(f"{file.label}: {path} holds its texts in a way that is refused")
    if not total:
        raw = b""
    elif properties.get_layout() == h5py.h5d.CONTIGUOUS:
        raw = _bytes(file, dataset.get_offset(), _TEXT_ENTRY * total)
    else:
        begins = range(0, total, properties.get_chunk()[0])
        raw = b"".join(_opaque_chunk(dataset, begin) for begin in begins)
    return np.frombuffer(raw[: _TEXT_ENTRY * total], ENTRY)


def _opaque_chunk(dataset: h5py.h5d.DatasetID, begin: int) -> bytes:
    """Bytes of a chunk of entries of texts, unpacked by libhdf5 and not looked at further.

    The chunk is put as it is into a file in memory, which calls its entries opaque.
    """
    properties = dataset.get_create_plist()
    (length,) = properties.get_chunk()
    skipped, packed = dataset.read_direct_chunk((begin,))
    plain = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plain.set_chunk((length,))
    filters = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    for code, flags, values, _ in (f for i, f in enumerate(filters) if not skipped >> i & 1):
        plain.set_filter(code, flags, values)
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, _TEXT_ENTRY)
    with h5py.File(io.BytesIO(), "w") as memory:
        twin = h5py.h5d.create(memory.id, b"twin", kind, h5py.h5s.create_simple((length,)), plain)
        twin.write_direct_chunk((0,), bytes(packed))
        found = np.zeros(length, f"V{_TEXT_ENTRY}")
        twin.read(h5py.h5s.ALL, h5py.h5s.ALL, found, kind)
    return found.tobytes()


def _bytes(file: Opened, offset: int, size: int) -> bytes:
    if isinstance(file.source, bytes):
        return file.source[offset : offset + size]
    with open(file.source, "rb") as plain:
        plain.seek(offset)
        return plain.read(size)
