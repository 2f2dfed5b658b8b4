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
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sact_core.extras import need
from sact_core.import_tf.table import table
from sact_core.wire import Malformed, fields, masked_crc, message, whole

_MAX_INDEX_BYTES = 1 << 28
_MAX_SHARDS = 10_000
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
    sliced : bool
        Whether the tensor is stored in parts under other keys.
    """

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc32c: int
    sliced: bool


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
    """

    prefix: str
    num_shards: int
    big_endian: bool
    entries: dict[str, Entry]

    @property
    def paths(self) -> list[Path]:
        """The index and every data file."""
        shards = (self._shard_path(i) for i in range(self.num_shards))
        return [Path(f"{self.prefix}.index"), *shards]

    def read(self, name: str) -> np.ndarray:
        """Read one tensor and verify its CRC.

        Returns
        -------
        np.ndarray
            In the machine's byte order.

        Raises
        ------
        BundleError
            If its type is not supported, it is stored in slices, its size does
            not fit its shape, its shard is missing or too short, or its CRC does
            not match.
        """
        entry = self.entries[name]
        if entry.sliced:
            raise BundleError(f"{name} is a partitioned variable, which is not supported")
        if entry.dtype not in DTYPES.values():
            raise BundleError(f"{name} has {entry.dtype}, which is not supported")
        dtype = np.dtype(entry.dtype).newbyteorder(">" if self.big_endian else "<")
        if entry.size != math.prod(entry.shape) * dtype.itemsize:
            raise BundleError(
                f"{name} takes {entry.size} bytes, which does not fit its shape {entry.shape}"
            )
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
                data = file.read(entry.size)
        except FileNotFoundError:
            raise BundleError(f"the data file {path} is missing") from None
        if masked_crc(data) != entry.crc32c:
            raise BundleError(f"{path} is damaged: the checksum of {name} does not match")
        return np.frombuffer(data, dtype).reshape(entry.shape).astype(entry.dtype)

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
        of one of its files will do too.

    Raises
    ------
    BundleError
        If there is no index, or it is no such table, truncated or damaged, or
        needs a newer reader.
    MissingPackage
        If a package for its compression and checksums is not installed.
    """
    need("import-tf", "reading a TensorFlow checkpoint")
    prefix = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", str(prefix))
    path = Path(f"{prefix}.index")
    if not path.is_file():
        raise BundleError(
            f"there is no file {path}; PREFIX is the common part of the names of a TensorFlow V2 "
            f"checkpoint, PREFIX.index and PREFIX.data-00000-of-00001"
        )
    if path.stat().st_size > _MAX_INDEX_BYTES:
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
    entries = {}
    for key, value in pairs.items():
        if key.startswith(b"\x00"):
            continue  # a slice of a partitioned variable, whose own entry says so
        name = key.decode("utf-8", "backslashreplace")
        entries[name] = _entry(name, value)
        if entries[name].shard >= num_shards:
            raise Malformed(f"is damaged: {name} lies in shard {entries[name].shard}")
    return Bundle(prefix, num_shards, big_endian, entries)


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
    sliced = False
    for field, value in fields(data):
        if field == 2:
            shape = _shape(message(value))
        elif field == 7:
            sliced = True
        elif field in numbers:
            numbers[field] = whole(value)
    if max(numbers.values()) >= 1 << 63 or max(shape, default=0) >= 1 << 63:
        raise Malformed(f"is damaged: {name} has a negative size")
    dtype = DTYPES.get(numbers[1], f"type {numbers[1]}")
    return Entry(dtype, shape, numbers[3], numbers[4], numbers[5], numbers[6], sliced)


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
