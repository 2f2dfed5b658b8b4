"""Write small TensorFlow V2 checkpoints, so that their reader is tested without any.

Written from the format's description, apart from the code that reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cramjam
import google_crc32c
import numpy as np

snappy = cramjam.snappy.compress_raw

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "complex64": 8, "float16": 19}


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def num_shared(key: bytes, last: bytes) -> int:
    """With how many bytes both begin."""
    num = min(len(key), len(last))
    one, other = (np.frombuffer(each, np.uint8, num) for each in (key, last))
    differ = np.flatnonzero(one != other)
    return int(differ[0]) if len(differ) else num


def block(pairs: list[tuple[bytes, bytes]], restart_interval: int) -> bytes:
    out, restarts, last = bytearray(), [], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i % restart_interval == 0:
            restarts.append(len(out))
        else:
            shared = num_shared(key, last)
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(
    pairs: list[tuple[bytes, bytes]],
    per_block: int = 1000,
    restart_interval: int = 16,
    compress: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """A sorted string table with ``per_block`` entries in every block."""
    file = bytearray()

    def add(contents: bytes) -> bytes:
        kind = b"\0"
        if compress:
            contents, kind = bytes(compress(contents)), b"\1"
        handle = varint(len(file)) + varint(len(contents))
        file.extend(contents + kind + struct.pack("<I", masked_crc(contents + kind)))
        return handle

    index = []
    for start in range(0, len(pairs), per_block):
        part = pairs[start : start + per_block]
        index.append((part[-1][0], add(block(part, restart_interval))))
    meta = add(struct.pack("<II", 0, 1))
    footer = meta + add(block(index, 1))
    return bytes(file) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def header(num_shards: int, big_endian: bool = False, min_consumer: int = 0) -> bytes:
    version = b"\x08\x01" + (b"\x10" + varint(min_consumer) if min_consumer else b"")
    endianness = b"\x10\x01" if big_endian else b""
    return b"\x08" + varint(num_shards) + endianness + b"\x1a" + varint(len(version)) + version


def entry(array: np.ndarray, shard: int, offset: int, data: bytes, **changes: int) -> bytes:
    """A BundleEntryProto; ``changes`` may replace its ``dtype``, ``size`` or ``crc``."""
    dims = b"".join(
        b"\x12" + varint(1 + len(varint(side))) + b"\x08" + varint(side) for side in array.shape
    )
    message = b"\x08" + varint(changes.get("dtype", DTYPES.get(str(array.dtype), 0)))
    message += b"\x12" + varint(len(dims)) + dims
    message += b"\x18" + varint(shard) + b"\x20" + varint(offset)
    message += b"\x28" + varint(changes.get("size", len(data)))
    return message + b"\x35" + struct.pack("<I", changes.get("crc", masked_crc(data)))


def signed(number: int) -> bytes:
    """A number from -64 to 8191 as a key holds it."""
    if number < 64:
        return bytes([0x80 ^ (number & 0xFF)])
    return struct.pack(">H", 0xC000 | number)


def part_key(name: str, extents: list[tuple[int, int] | None]) -> bytes:
    """The key of a part: a number 0, the name and its end, and the number of axes first."""
    numbers = b"".join(signed(a) + signed(n) for a, n in (e or (0, -1) for e in extents))
    return b"\x00" + name.encode() + b"\x00\x01" + bytes([1, len(extents)]) + numbers


def part_message(extents: list[tuple[int, int] | None]) -> bytes:
    """A TensorSliceProto, as the field of a BundleEntryProto."""
    slices = b""
    for extent in extents:
        one = b"" if extent is None else b"\x08" + varint(extent[0]) + b"\x10" + varint(extent[1])
        slices += b"\x0a" + varint(len(one)) + one
    return b"\x3a" + varint(len(slices)) + slices


def write_bundle(
    prefix: str | Path,
    variables: dict[str, np.ndarray],
    num_shards: int = 1,
    big_endian: bool = False,
    min_consumer: int = 0,
    changes: dict[str, dict[str, int]] | None = None,
    parts: dict[str, list[list[tuple[int, int] | None]]] | None = None,
    **options: Any,
) -> None:
    """Write a whole checkpoint; ``options`` go to `table`.

    ``parts`` has, by the names of variables that are stored in parts, the begin and length
    of each part along each axis.
    """
    shards = [bytearray() for _ in range(num_shards)]
    pairs = [(b"", header(num_shards, big_endian, min_consumer))]
    for i, (name, array) in enumerate(sorted(variables.items())):
        shard = i % num_shards
        array = np.asarray(array)
        if parts and name in parts:
            whole = entry(array, 0, 0, b"", size=0, crc=0)
            pairs.append((name.encode(), whole + b"".join(map(part_message, parts[name]))))
            for extents in parts[name]:
                where = tuple(slice(None) if e is None else slice(e[0], sum(e)) for e in extents)
                data = array[where].astype(array.dtype.newbyteorder("<")).tobytes()
                one = entry(array[where], shard, len(shards[shard]), data)
                pairs.append((part_key(name, extents), one))
                shards[shard] += data
            continue
        data = array.astype(array.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
        more = (changes or {}).get(name, {})
        pairs.append((name.encode(), entry(array, shard, len(shards[shard]), data, **more)))
        shards[shard] += data
    pairs.sort()
    Path(f"{prefix}.index").write_bytes(table(pairs, **options))
    for i, shard_bytes in enumerate(shards):
        Path(f"{prefix}.data-{i:05d}-of-{num_shards:05d}").write_bytes(shard_bytes)
