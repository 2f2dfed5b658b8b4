"""TFRecord files of TFDS, its default format, read without TensorFlow.

A file is a row of records: length (8 bytes) and its checksum, data and theirs. Data of
TFDS is a ``tf.train.Example``: values by the names of features. Records have no index,
so a file's lengths are read once, when it is opened.

Source: tensorflow/core/lib/io/record_writer.h; tensorflow/core/example/example.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.data.images import ImageError
from sact_core.data.records import DataError, Record
from sact_core.wire import (
    Malformed,
    fields,
    masked_crc,
    message,
    put_field,
    put_varint,
    varint,
    whole,
)

_HEADER = struct.Struct("<QI")
_CRC_BYTES = 4

#: What a name stands under, in the order of preference.
NAMES = ("id", "file_name", "image/file_name")


@dataclass(frozen=True, eq=False)
class Shard:
    """One file, or a part of it.

    Attributes
    ----------
    path : Path
        The file.
    offsets, lengths : np.ndarray [shape=(n,), int64]
        Where the data of each record begins, and its bytes.
    """

    path: Path
    offsets: np.ndarray
    lengths: np.ndarray


def open_shard(path: Path, num_records: int, skip: int = 0, take: int | None = None) -> Shard:
    """Find the records of a file.

    Parameters
    ----------
    path : Path
        The file.
    num_records : int
        How many it must have.
    skip, take : int, optional
        Leave out the first ones; and take no more than so many.

    Raises
    ------
    DataError
        If it is compressed, damaged or cut, or has another number of records.
    OSError
        If it cannot be opened.
    """
    size = path.stat().st_size
    found: list[tuple[int, int]] = []
    with open(path, "rb") as file:
        at = 0
        while at < size:
            header = file.read(_HEADER.size)
            length, crc = _HEADER.unpack(header) if len(header) == _HEADER.size else (0, 0)
            if masked_crc(header[:8]) != crc and len(header) == _HEADER.size:
                raise DataError(f"{path} {_foreign(header) if at == 0 else _damaged(at)}")
            begin, at = at + _HEADER.size, at + _HEADER.size + length + _CRC_BYTES
            if at > size:
                raise DataError(f"{path} is cut off after {len(found):,} of {num_records:,} images")
            found.append((begin, length))
            file.seek(at)
    if len(found) != num_records:
        raise DataError(
            f"{path} has {len(found):,} images where {num_records:,} are noted: its preparation "
            f"was not finished, or it is another data set's"
        )
    table = np.array(found, np.int64).reshape(-1, 2)[skip : None if take is None else skip + take]
    return Shard(path, table[:, 0], table[:, 1])


@dataclass(frozen=True, eq=False)
class TfrecordRecords:
    """Examples of some files, images left encoded.

    Attributes
    ----------
    shards : list of Shard
        In the order of the split.
    """

    shards: list[Shard]

    def __len__(self) -> int:
        return sum(len(shard.offsets) for shard in self.shards)

    def get(self, indices: Sequence[int]) -> list[Record | ImageError]:
        """Read records; an error where a checksum or a message is wrong."""
        starts = np.cumsum([0, *(len(shard.offsets) for shard in self.shards)])
        found: dict[int, Record | ImageError] = {}
        # By file: each is opened once, and only while it is read.
        for number in sorted({int(i) for i in np.searchsorted(starts, indices, "right") - 1}):
            shard, start = self.shards[number], int(starts[number])
            ours = [i for i in indices if start <= i < start + len(shard.offsets)]
            try:
                with open(shard.path, "rb") as file:
                    for i in ours:
                        file.seek(int(shard.offsets[i - start]))
                        data = file.read(int(shard.lengths[i - start]) + _CRC_BYTES)
                        found[i] = _record(data, i)
            except OSError as error:
                why = f"{shard.path} cannot be read: {error.strerror or error}"
                found |= {i: _problem(i, why) for i in ours if i not in found}
        return [found[i] for i in indices]


def parse_example(data: bytes) -> dict[str, list[Any]]:
    """Parse a ``tf.train.Example``.

    Returns
    -------
    dict of str to list
        Bytes or whole numbers by the name of the feature; others are empty.

    Raises
    ------
    Malformed
        If it is none.
    """
    found: dict[str, list[Any]] = {}
    for number, features in fields(data):
        if number != 1:
            continue
        for _, entry in fields(message(features)):
            name, value = b"", b""
            for part, content in fields(message(entry)):
                if part == 1:
                    name = message(content)
                elif part == 2:
                    value = message(content)
            found[name.decode("utf-8", "backslashreplace")] = _values(value)
    return found


def make_example(values: Mapping[str, bytes | int]) -> bytes:
    """Make a ``tf.train.Example`` of one value of each feature, by their names."""
    found = b""
    for name, value in sorted(values.items()):
        if isinstance(value, bytes):
            feature = put_field(1, put_field(1, value))
        else:
            feature = put_field(3, put_field(1, put_varint(value)))
        found += put_field(1, put_field(1, name.encode()) + put_field(2, feature))
    return put_field(1, found)


def _values(feature: bytes) -> list[Any]:
    """A list of bytes (field 1) or of whole numbers (field 3), which may be packed."""
    found: list[Any] = []
    for kind, values in fields(feature):
        for _, value in fields(message(values)) if kind in (1, 3) else ():
            if kind == 1:
                found.append(message(value))
            elif isinstance(value, int):
                found.append(_signed(value))
            else:
                at = 0
                while at < len(value):
                    number, at = varint(value, at)
                    found.append(_signed(number))
    return found


def _record(data: bytes, index: int) -> Record | ImageError:
    data, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    try:
        if len(crc) < _CRC_BYTES or masked_crc(data) != int.from_bytes(crc, "little"):
            raise Malformed("is damaged: its checksum is wrong")
        values = parse_example(data)
        [image], [label] = values.get("image", []), values.get("label", [])
        name = next((values[key][0] for key in NAMES if values.get(key)), str(index))
        name = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
        return Record(message(image), whole(label), name)
    except Malformed as error:
        return _problem(index, f"example {index} {error}")
    except ValueError:
        return _problem(index, f"example {index} has not one image and one label")


def _problem(index: int, why: str) -> ImageError:
    problem = ImageError(why)
    problem.name = f"example {index}"
    return problem


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _damaged(at: int) -> str:
    return f"is damaged at byte {at:,}: the checksum of a length is wrong"


def _foreign(header: bytes) -> str:
    if header[:2] == b"\x1f\x8b" or header[:1] == b"\x78":
        kind = "gzip" if header[:1] == b"\x1f" else "zlib"
        return f"is compressed with {kind}, which TFDS does not do: unpack it first"
    return "is no TFRecord file, or damaged: the checksum of its first length is wrong"
