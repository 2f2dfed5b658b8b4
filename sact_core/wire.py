"""TensorFlow's files: protobuf's wire format, as far as small messages need it, and checksums."""

from __future__ import annotations

from collections.abc import Iterator


class Malformed(Exception):
    """What is wrong, as the end of a sentence that starts with the file's name."""


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a message: numbers as int, messages and texts as bytes."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 2:
            length, at = varint(data, at)
            value, at = data[at : at + length], at + length
        elif tag & 7 in (1, 5):
            width = 8 if tag & 7 == 1 else 4
            value, at = int.from_bytes(data[at : at + width], "little"), at + width
        else:
            raise Malformed("is damaged: an entry has an unknown wire type")
        if at > len(data):
            raise Malformed("is damaged: an entry is cut off")
        yield tag >> 3, value


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Malformed("is truncated or damaged: a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Malformed("is damaged: a number has too many digits")


def whole(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise Malformed("is damaged: a message stands where a number should")
    return value


def message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise Malformed("is damaged: a number stands where a message should")
    return value


def put_varint(value: int) -> bytes:
    """A number, at least 0, seven bits a byte."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def put_field(number: int, value: bytes) -> bytes:
    """A message or text as a field of another message."""
    return put_varint(number << 3 | 2) + put_varint(len(value)) + value


def masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and offset as LevelDB and TensorFlow store it."""
    import google_crc32c

    crc = int(google_crc32c.value(data))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
