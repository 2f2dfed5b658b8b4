"""Read a TensorFlow V2 checkpoint (a "tensor bundle") without TensorFlow.

A checkpoint ``PREFIX`` is an index, ``PREFIX.index``, and one or more shards of
raw tensor bytes, ``PREFIX.data-00000-of-00001``. The index is a sorted string
table as in LevelDB: blocks of prefix-compressed keys, each block followed by its
compression (none or Snappy) and a masked CRC-32C, and a footer that points to a
block of block positions. The empty key holds a ``BundleHeaderProto``, every
other key names a tensor and holds a ``BundleEntryProto``: type, shape, shard,
offset, size and CRC. These two small messages are decoded here by hand; the
wire format needs thirty lines and no generated code.

Sources: tensorflow/core/lib/io/format.cc, tensorflow/core/protobuf/
tensor_bundle.proto, tensorflow/core/util/tensor_bundle; google/leveldb,
doc/table_format.md.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sact_core.extras import need
from sact_core.import_tf.locate import NoCheckpoint, locate
from sact_core.import_tf.object_graph import GRAPH, MAX_GRAPH_BYTES, names_by_key
from sact_core.import_tf.slices import Slice, parse_slice, places, slice_key
from sact_core.import_tf.table import MAX_TABLE_BYTES, table
from sact_core.wire import Malformed, fields, masked_crc, message, whole

_MAX_SHARDS, _MAX_NAME_BYTES = 10_000, 4096
_VERSION = 1  # of the bundle format, as a reader

#: TensorFlow's DataType numbers that variables have; the others by number only.
DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    19: "float16",
}


class BundleError(ValueError):
    """The files are no TensorFlow V2 checkpoint, or are truncated or damaged."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies.

    Attributes
    ----------
    dtype : str
        NumPy's name of the type, or ``"type 20"`` and the like for others.
    shape : tuple of int
        Its sides; ``()`` for a scalar.
    shard, offset, size : int
        Which data file, and the range of bytes in it.
    crc32c : int
        Masked CRC-32C of these bytes.
    slices : tuple of Slice
        Where its parts lie, if it is stored in parts under other keys.
    """

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc32c: int
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """An open checkpoint: what is in it, nothing of it read yet.

    Attributes
    ----------
    prefix : str
        Path without ``.index``.
    num_shards : int
        How many data files there are.
    big_endian : bool
        Byte order of the tensors.
    entries : dict of str to Entry
        By variable name, sorted.
    parts : dict of bytes to Entry
        Parts of partitioned variables, by their keys.
    """

    prefix: str
    num_shards: int
    big_endian: bool
    entries: dict[str, Entry]
    parts: dict[bytes, Entry]

    @property
    def paths(self) -> list[Path]:
        """The index and every data file."""
        shards = (self._shard_path(i) for i in range(self.num_shards))
        return [Path(f"{self.prefix}.index"), *shards]

    def read(self, name: str) -> np.ndarray:
        """Read one tensor, or put it together from its parts, and verify every CRC.

        Returns
        -------
        np.ndarray
            In the machine's byte order; bfloat16 as float32, which holds every one.

        Raises
        ------
        BundleError
            If its type is not supported, its size does not fit its shape, its
            parts do not make up the whole, its shard is missing or too short, or
            its CRC does not match.
        """
        entry = self.entries[name]
        if not entry.slices:
            return self._read(name, entry)
        try:
            where = places(name, entry.shape, entry.slices)
        except Malformed as error:
            raise BundleError(f"{self.prefix}.index is damaged: {error}") from None
        found = []
        for part, place in zip(entry.slices, where, strict=True):
            one = self.parts.get(slice_key(name.encode(), part))
            shape = tuple(side.stop - side.start for side in place)
            if one is None or (one.shape, one.dtype) != (shape, entry.dtype) or one.slices:
                raise BundleError(f"{self.prefix}.index is damaged: a part of {name} is missing")
            found.append(self._read(f"a part of {name}", one))
        values = np.empty(entry.shape, found[0].dtype)
        for place, part_values in zip(where, found, strict=True):
            values[place] = part_values
        return values

    def _read(self, name: str, entry: Entry) -> np.ndarray:
        if entry.dtype not in DTYPES.values():
            raise BundleError(f"{name} has {entry.dtype}, which is not supported")
        stored = "uint16" if entry.dtype == "bfloat16" else entry.dtype
        dtype = np.dtype(stored).newbyteorder(">" if self.big_endian else "<")
        if entry.size != math.prod(entry.shape) * dtype.itemsize:
            raise BundleError(
                f"{name} takes {entry.size} bytes, which does not fit its shape {entry.shape}"
            )
        data = self._bytes(name, entry)
        if masked_crc(data) != entry.crc32c:
            path = self._shard_path(entry.shard)
            raise BundleError(f"{path} is damaged: the checksum of {name} does not match")
        values = np.frombuffer(data, dtype).reshape(entry.shape).astype(stored)
        if entry.dtype == "bfloat16":  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values

    def _bytes(self, name: str, entry: Entry) -> bytes:
        path = self._shard_path(entry.shard)
        try:
            with open(path, "rb") as file:
                length = file.seek(0, 2)
                if entry.offset + entry.size > length:
                    raise BundleError(
                        f"{path} is truncated: {name} ends at byte {entry.offset + entry.size}, "
                        f"the file at {length}"
                    )
                file.seek(entry.offset)
                return file.read(entry.size)
        except FileNotFoundError:
            raise BundleError(f"the data file {path} is missing") from None

    def by_name(self) -> Bundle:
        """Give it with entries by the variables' names, where objects' places are the keys.

        Raises
        ------
        BundleError
            If the graph of the objects is damaged.
        """
        graph = self.entries.get(GRAPH)
        if graph is None or graph.size > MAX_GRAPH_BYTES:
            return self
        try:
            names = names_by_key(self._bytes(GRAPH, graph))
        except Malformed as error:
            raise BundleError(f"{self._shard_path(graph.shard)} {error}") from None
        entries = {names.get(key, key): each for key, each in self.entries.items()}
        return replace(self, entries=dict(sorted(entries.items())))

    def hashes(self) -> list[dict[str, str | int]]:
        """Name, length in bytes and SHA-256 of every file, to say where numbers came from."""
        found: list[dict[str, str | int]] = []
        for path in self.paths:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                found.append({"name": path.name, "bytes": file.tell(), "sha256": digest})
        return found

    def _shard_path(self, shard: int) -> Path:
        return Path(f"{self.prefix}.data-{shard:05d}-of-{self.num_shards:05d}")


def open_bundle(prefix: str | Path) -> Bundle:
    """Read the index of a checkpoint.

    Parameters
    ----------
    prefix : str or Path
        What ``tf.train.Saver`` was given, such as ``model.ckpt-1000``. The name
        of one of its files will do too, or their folder: `locate`.

    Raises
    ------
    BundleError
        If there is no index, or it is no such table, truncated or damaged, or
        needs a newer reader.
    MissingPackage
        If a package for its compression and checksums is not installed.
    """
    need("import-tf", "reading a TensorFlow checkpoint")
    try:
        prefix = locate(prefix)
    except NoCheckpoint as error:
        raise BundleError(str(error)) from None
    path = Path(f"{prefix}.index")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise BundleError(f"{path} is too large for an index of variables")
    data = path.read_bytes()
    try:
        return _parse_index(prefix, data)
    except Malformed as error:
        raise BundleError(f"{path} {error}") from None


def _parse_index(prefix: str, data: bytes) -> Bundle:
    pairs = dict(table(data))
    if b"" not in pairs:
        raise Malformed("is a table, but no TensorFlow checkpoint: it has no header")
    num_shards, big_endian = _header(pairs.pop(b""))
    entries, parts = {}, {}
    for key, value in pairs.items():
        if key.startswith(b"\x00"):  # a part of a partitioned variable, whose own entry says so
            parts[key] = _entry("a part of a variable", value)
            continue
        if len(key) > _MAX_NAME_BYTES:
            raise Malformed("is damaged: a name is far too long")
        name = key.decode("utf-8", "backslashreplace")
        entries[name] = _entry(name, value)
        if entries[name].shard >= num_shards:
            raise Malformed(f"is damaged: {name} lies in shard {entries[name].shard}")
    return Bundle(prefix, num_shards, big_endian, entries, parts)


def _header(data: bytes) -> tuple[int, bool]:
    """BundleHeaderProto: 1 num_shards, 2 endianness, 3 version (1 producer, 2 min_consumer)."""
    num_shards, endianness, min_consumer = 0, 0, 0
    for field, value in fields(data):
        if field == 1:
            num_shards = whole(value)
        elif field == 2:
            endianness = whole(value)
        elif field == 3:
            for part, number in fields(message(value)):
                min_consumer = whole(number) if part == 2 else min_consumer
    if min_consumer > _VERSION:
        raise Malformed(f"needs a reader of version {min_consumer}, newer than {_VERSION}")
    if not 1 <= num_shards <= _MAX_SHARDS or endianness > 1:
        raise Malformed("is damaged: its header makes no sense")
    return num_shards, endianness == 1


def _entry(name: str, data: bytes) -> Entry:
    """BundleEntryProto: 1 dtype, 2 shape, 3 shard, 4 offset, 5 size, 6 CRC, 7 slices."""
    numbers = dict.fromkeys((1, 3, 4, 5, 6), 0)
    shape: tuple[int, ...] = ()
    slices: list[Slice] = []
    for field, value in fields(data):
        if field == 2:
            shape = _shape(message(value))
        elif field == 7:
            slices.append(parse_slice(message(value)))
        elif field in numbers:
            numbers[field] = whole(value)
    if max(numbers.values()) >= 1 << 63 or max(shape, default=0) >= 1 << 63:
        raise Malformed(f"is damaged: {name} has a negative size")
    dtype = DTYPES.get(numbers[1], f"type {numbers[1]}")
    return Entry(dtype, shape, numbers[3], numbers[4], numbers[5], numbers[6], tuple(slices))


def _shape(data: bytes) -> tuple[int, ...]:
    """TensorShapeProto: 2 dim (1 size)."""
    sides = []
    for field, value in fields(data):
        if field == 2:
            side = 0
            for part, number in fields(message(value)):
                side = whole(number) if part == 1 else side
            sides.append(side)
    return tuple(sides)
