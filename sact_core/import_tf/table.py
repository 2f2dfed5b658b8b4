"""A sorted string table, as LevelDB lays it out: keys and values, checksums verified.

Blocks of prefix-compressed keys, each followed by its compression (none or
Snappy) and a masked CRC-32C; a footer points to a block of block positions.

Source: google/leveldb, doc/table_format.md; tensorflow/core/lib/io/format.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from sact_core.wire import Malformed, masked_crc, varint

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # compression, CRC
_MAX_BLOCK_BYTES = 1 << 26
#: Of all keys and values together, which take little of a file where they begin alike.
MAX_TABLE_BYTES, MAX_KEYS = 1 << 26, 100_000


def table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table in order, every checksum verified."""
    if len(data) < _FOOTER_BYTES:
        raise Malformed("is truncated: it is too short for an index")
    footer = data[-_FOOTER_BYTES:]
    if struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise Malformed("is no index of a TensorFlow V2 checkpoint, or is truncated")
    _, at = _handle(footer, 0)  # the block of metadata, which TensorFlow leaves empty
    (offset, size), _ = _handle(footer, at)
    last, end, num_keys, num_bytes = None, 0, 0, 0
    for _, value in _block(data, offset, size):
        (offset, size), _ = _handle(value, 0)
        if offset < end:
            raise Malformed("is damaged: its blocks are not in order")
        end = offset + size + _TRAILER_BYTES
        for key, entry in _block(data, offset, size):
            num_keys, num_bytes = num_keys + 1, num_bytes + len(key) + len(entry)
            if num_keys > MAX_KEYS or num_bytes > MAX_TABLE_BYTES:
                raise Malformed("holds far more than an index of variables does")
            if last is not None and key <= last:
                raise Malformed("is damaged: its keys are not in order")
            last = key
            yield key, entry


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    end = offset + size
    if end + _TRAILER_BYTES + _FOOTER_BYTES > len(data):
        raise Malformed("is truncated or damaged: a block ends behind the file")
    contents, kind = data[offset:end], data[end]
    stored = struct.unpack_from("<I", data, end + 1)[0]
    if masked_crc(data[offset : end + 1]) != stored:
        raise Malformed("is damaged: the checksum of a block does not match")
    if kind == 1:
        contents = _decompress(contents)
    elif kind != 0:
        raise Malformed(f"is damaged or too new: a block has the unknown compression {kind}")
    return _block_entries(contents)


def _decompress(contents: bytes) -> bytes:
    import cramjam

    try:
        if cramjam.snappy.decompress_raw_len(contents) > _MAX_BLOCK_BYTES:
            raise Malformed("is damaged: a compressed block is far too large")
        return bytes(cramjam.snappy.decompress_raw(contents))
    except cramjam.DecompressionError as error:
        raise Malformed(f"is damaged: a block does not decompress ({error})") from None


def _block_entries(contents: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Entries ``shared, rest, value length, rest of the key, value``; then restart points.

    The restart points serve searching; reading in order needs only their number.
    """
    if len(contents) < 4:
        raise Malformed("is damaged: a block is too short")
    num_restarts = struct.unpack("<I", contents[-4:])[0]
    end = len(contents) - 4 - 4 * num_restarts
    if end < 0:
        raise Malformed("is damaged: a block has too many restart points")
    key, at = b"", 0
    while at < end:
        shared, at = varint(contents, at)
        rest, at = varint(contents, at)
        length, at = varint(contents, at)
        if shared > len(key) or at + rest + length > end:
            raise Malformed("is damaged: an entry ends behind its block")
        key = key[:shared] + contents[at : at + rest]
        at += rest + length
        yield key, contents[at - length : at]
