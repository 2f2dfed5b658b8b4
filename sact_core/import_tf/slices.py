"""Partitioned variables: their parts, and the keys that these stand under in an index.

A variable that was created with a partitioner is stored in rectangular parts. Its own
entry tells the parts, each of which is an entry under a key that is made of the name and
of where the part begins and ends, in an encoding that sorts as its values do.

Sources: tensorflow/core/util/saved_tensor_slice_util.cc; tensorflow/core/lib/strings/
ordered_code.cc; tensorflow/core/framework/tensor_slice.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from sact_core.wire import Malformed, fields, message, whole

#: Begin and length along each axis; None for all of an axis.
Slice = tuple[tuple[int, int] | None, ...]

MAX_SLICES, MAX_CELLS = 1000, 1 << 22  # of one variable
MAX_SIDE = 1 << 48


def parse_slice(data: bytes) -> Slice:
    """TensorSliceProto: 1 extent (1 start, 2 length; neither where it is the whole axis)."""
    found: list[tuple[int, int] | None] = []
    for field, value in fields(data):
        if field == 1:
            start, length = 0, None
            for part, number in fields(message(value)):
                if part == 1:
                    start = whole(number)
                elif part == 2:
                    length = whole(number)
            found.append(None if length is None else (start, length))
    return tuple(found)


def slice_key(name: bytes, part: Slice) -> bytes:
    """The key of a part of a variable."""
    extents = [extent or (0, -1) for extent in part]
    numbers = b"".join(_signed(start) + _signed(length) for start, length in extents)
    return _unsigned(0) + _text(name) + _unsigned(len(part)) + numbers


def places(name: str, shape: tuple[int, ...], parts: Sequence[Slice]) -> list[tuple[slice, ...]]:
    """Where the parts of a variable lie in it.

    Raises
    ------
    Malformed
        If they do not make up the whole, each of its numbers once; the message goes on
        from the name.
    """
    if len(parts) > MAX_SLICES or max(shape, default=0) > MAX_SIDE:
        raise Malformed(f"{name} is cut into too many parts, or far too large")
    found = []
    for part in parts:
        if len(part) != len(shape):
            raise Malformed(f"{name} has parts of {len(part)} axes, and {len(shape)} itself")
        extents = [e or (0, side) for e, side in zip(part, shape, strict=True)]
        if any(start + length > side for (start, length), side in zip(extents, shape, strict=True)):
            raise Malformed(f"{name} has parts that lie outside of its shape {shape}")
        found.append(tuple(slice(start, start + length) for start, length in extents))
    # By the sides' marks alone, so that no array of the claimed shape is made.
    marks = [
        sorted({0, side, *(end for f in found for end in (f[axis].start, f[axis].stop))})
        for axis, side in enumerate(shape)
    ]
    if math.prod(len(m) for m in marks) > MAX_CELLS:
        raise Malformed(f"{name} is cut into too many parts")
    times = np.zeros([len(m) - 1 for m in marks], np.int32)
    for where in found:
        times[_cells(where, marks)] += 1
    if (times > 1).any():
        raise Malformed(f"{name} has parts that overlap")
    if (times < 1).any():
        raise Malformed(f"{name} lacks parts: those that are there do not make up the whole")
    return found


def _cells(where: Iterable[slice], marks: Sequence[Sequence[int]]) -> tuple[slice, ...]:
    return tuple(
        slice(m.index(w.start), m.index(w.stop)) for w, m in zip(where, marks, strict=True)
    )


def _unsigned(number: int) -> bytes:
    """Length of the number in bytes, and the number, the highest byte first."""
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([len(data)]) + data


def _signed(number: int) -> bytes:
    """As many leading ones as there are bytes, then the sign; the highest byte first."""
    size = next(n for n in range(1, 9) if -(1 << 7 * n - 1) <= number < 1 << 7 * n - 1)
    ones = ((1 << size) - 1) << (7 * size)
    return ((number % (1 << 8 * size)) ^ ones).to_bytes(size, "big")


def _text(text: bytes) -> bytes:
    """The bytes, the lowest and the highest marked, and an end."""
    marked = {0x00: b"\x00\xff", 0xFF: b"\xff\x00"}
    return b"".join(marked.get(byte, bytes([byte])) for byte in text) + b"\x00\x01"
