"""Read one array of numbers from a MATLAB file, as fixations are published in.

Files of version 5 (``save`` with ``-v6`` or ``-v7``) are read here; those of
version 7.3 are HDF5 files. A file may come from anybody: nothing in it is run,
and what it says of sizes is checked before memory is taken.

Source: MATLAB's documentation, "MAT-File Level 5 File Format".
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from sact_core.files import require_ordinary

MAX_BYTES = 1 << 28  # of a file, and of an array: more than any photograph's fixations take
MAX_VARIABLES = 10_000
MAX_ELEMENTS = 100_000
HEADER_BYTES = 128
HEAD_BYTES = 1 << 12  # of an array: its flags, shape and name
MATRIX, COMPRESSED = 14, 15
SPARSE = 5
#: How numbers may be stored, by their type in the file.
NUMBERS = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"},
    **{7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
#: Classes of arrays that hold numbers: double, single, and whole numbers of all sizes.
NUMERIC = range(6, 16)


class MatError(ValueError):
    """The file cannot be read, or holds no such array; the message says why."""


def read_mat(path: str | Path, name: str) -> np.ndarray:
    """Read one array of numbers.

    Parameters
    ----------
    path : str or Path
        The file.
    name : str
        The variable.

    Returns
    -------
    np.ndarray [shape=as saved]
        Of the type that the numbers are stored in; a sparse array in full.

    Raises
    ------
    MatError
        If it is no such file, is truncated or damaged, or holds no array of real
        numbers of that name.
    OSError
        If there is no such file or it cannot be opened.
    """
    path = Path(path)
    facts = require_ordinary(path, MatError)
    if facts.st_size > MAX_BYTES:
        raise MatError(f"{path} is larger than {MAX_BYTES >> 20} MiB")
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES)
    if data[512:520] == b"\x89HDF\r\n\x1a\n" or data[:8] == b"\x89HDF\r\n\x1a\n":
        return _read_hdf5(path, name)
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or len(data) < HEADER_BYTES:
        raise MatError(f"{path} is no MATLAB file of version 5 or later")
    found = []
    try:
        for kind, body in _elements(data[HEADER_BYTES:], order):
            if kind == COMPRESSED:
                # Only the array that is wanted is unpacked whole.
                if (there := _name(_inflate(body, HEAD_BYTES), order)) != name:
                    found.append(there)
                    continue
                kind, body = next(_elements(_inflate(body, MAX_BYTES), order))
            if kind == MATRIX:
                parts = _elements(body, order)
                flags, shape, variable = (next(parts)[1] for _ in range(3))
                found.append(variable.decode("latin-1"))
                if found[-1] == name:
                    return _array(flags, shape, parts, order)
            if len(found) > MAX_VARIABLES:
                raise MatError(f"it holds more than {MAX_VARIABLES} variables")
    except MatError as error:
        raise MatError(f"{path}: {error}") from None
    except (struct.error, ValueError, IndexError, StopIteration, RuntimeError, zlib.error):
        raise MatError(f"{path} is truncated or damaged") from None
    raise _absent(path, name, found)


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and contents of one element after another."""
    at, view = 0, memoryview(data)  # whose slices are no copies
    for _ in range(MAX_ELEMENTS):
        if at >= len(data):
            return
        (word,) = struct.unpack_from(order + "I", data, at)
        if word >> 16:  # short form: length and type share a word, four bytes follow
            kind, length, begin = word & 0xFFFF, word >> 16, at + 4
            after = at + 8
        else:
            kind, (length,), begin = word, struct.unpack_from(order + "I", data, at + 4), at + 8
            after = begin + (length if kind == COMPRESSED else -(-length // 8) * 8)
        if begin + length > len(data):
            raise ValueError("truncated")
        yield kind, bytes(view[begin : begin + length])
        at = after
    raise ValueError("too many elements")


def _name(head: bytes, order: str) -> str | None:
    """Name of the array that a compressed element begins with; None where it is no array."""
    (kind,) = struct.unpack_from(order + "I", head)
    if kind != MATRIX:
        return None
    parts = _elements(head[8:], order)
    return [next(parts)[1] for _ in range(3)][2].decode("latin-1")


def _inflate(data: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(data, most)
    if inflater.unconsumed_tail and most == MAX_BYTES:
        raise MatError(f"its array is larger than {MAX_BYTES >> 20} MiB")
    return plain


def _array(
    flags: bytes, shape: bytes, parts: Iterator[tuple[int, bytes]], order: str
) -> np.ndarray:
    """Put an array together from what follows its name."""
    (word,) = struct.unpack_from(order + "I", flags)
    kind, is_complex = word & 0xFF, bool(word & 0x0800)
    sides = tuple(np.frombuffer(shape, order + "i4").tolist())
    if kind not in (*NUMERIC, SPARSE) or is_complex:
        raise MatError("the variable is no array of real numbers")
    if min(sides, default=-1) < 0 or 8 * math.prod(sides) > MAX_BYTES:
        raise MatError(f"an array of shape {sides} is too large, or none at all")
    if kind == SPARSE:
        rows, starts, values = (_numbers(*next(parts), order) for _ in range(3))
        counts = np.diff(starts)
        # Before so many numbers are made: as many as there are, and where there is room.
        if len(sides) != 2 or len(counts) != sides[1] or starts[0] or counts.min(initial=0) < 0:
            raise ValueError("no sparse array")
        if not starts[-1] <= min(len(rows), len(values)) or rows.min(initial=0) < 0:
            raise ValueError("no sparse array")
        columns = np.repeat(np.arange(sides[1]), counts)
        whole = np.zeros(sides, values.dtype)
        whole[rows[: len(columns)], columns] = values[: len(columns)]
        return whole
    values = _numbers(*next(parts), order)
    return values.reshape(sides, order="F")


def _numbers(kind: int, body: bytes, order: str) -> np.ndarray:
    if kind not in NUMBERS:
        raise ValueError(f"type {kind} holds no numbers")
    return np.frombuffer(body, order + NUMBERS[kind]).astype(NUMBERS[kind])


def _read_hdf5(path: Path, name: str) -> np.ndarray:
    from sact_core import untrusted_hdf5

    with untrusted_hdf5.Opened(path, MatError, user_block=True) as file:
        if "/" in name or not untrusted_hdf5.holds(file, name):
            raise _absent(path, name, [key for key in file.root if not key.startswith("#")])
        dataset = untrusted_hdf5.numbers(file, name, range(1, 33), MAX_BYTES)
        values: np.ndarray = dataset[()]
        return values.T  # MATLAB writes columns first


def _absent(path: Path, name: str, found: Iterable[str | None]) -> MatError:
    named = (repr(one)[:100] for one in found if one is not None)
    there = ", ".join(itertools.islice(named, 5)) or "nothing"
    return MatError(f"{path} holds no array of numbers {name!r}; it holds {there}")
