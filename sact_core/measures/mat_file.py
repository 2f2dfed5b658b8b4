"""Read one array of numbers from a MATLAB file, as fixations are published in.

Files of version 5 (``save`` with ``-v6`` or ``-v7``) are read here; those of
version 7.3 are HDF5 files. A file may come from anybody: nothing in it is run,
and what it says of sizes is checked before memory is taken.

Source: MATLAB's documentation, "MAT-File Level 5 File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

MAX_BYTES = 1 << 28  # of a file, and of an array: more than any photograph's fixations take
HEADER_BYTES = 128
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
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise MatError(f"{path} is larger than {MAX_BYTES >> 20} MiB")
    if data[512:520] == b"\x89HDF\r\n\x1a\n" or data[:8] == b"\x89HDF\r\n\x1a\n":
        return _read_hdf5(path, name)
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or len(data) < HEADER_BYTES:
        raise MatError(f"{path} is no MATLAB file of version 5 or later")
    found = []
    try:
        for kind, body in _elements(data[HEADER_BYTES:], order):
            if kind == COMPRESSED:
                kind, body = next(_elements(_inflate(body), order))
            if kind == MATRIX:
                parts = _elements(body, order)
                flags, shape, variable = (next(parts)[1] for _ in range(3))
                found.append(variable.decode("latin-1"))
                if found[-1] == name:
                    return _array(flags, shape, parts, order)
    except MatError as error:
        raise MatError(f"{path}: {error}") from None
    except (struct.error, ValueError, IndexError, StopIteration, RuntimeError, zlib.error):
        raise MatError(f"{path} is truncated or damaged") from None
    raise _absent(path, name, found)


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and contents of one element after another."""
    at = 0
    while at < len(data):
        (word,) = struct.unpack_from(order + "I", data, at)
        if word >> 16:  # short form: length and type share a word, four bytes follow
            kind, length, begin = word & 0xFFFF, word >> 16, at + 4
            after = at + 8
        else:
            kind, (length,), begin = word, struct.unpack_from(order + "I", data, at + 4), at + 8
            after = begin + (length if kind == COMPRESSED else -(-length // 8) * 8)
        if begin + length > len(data):
            raise ValueError("truncated")
        yield kind, data[begin : begin + length]
        at = after


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(data, MAX_BYTES)
    if inflater.unconsumed_tail:
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
        columns = np.repeat(np.arange(sides[1]), np.diff(starts))
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
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            found = list(file)
            # A link may lead to another file: only what lies here is read.
            here = isinstance(file.get(name, getlink=True), h5py.HardLink)
            dataset = file[name] if here else None
            if isinstance(dataset, h5py.Dataset) and dataset.dtype.kind in "biuf":
                if dataset.size * 8 > MAX_BYTES:
                    raise MatError(f"{path}: an array of shape {dataset.shape} is too large")
                values: np.ndarray = dataset[()]
                return values.T  # MATLAB writes columns first
    except (OSError, RuntimeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise MatError(f"{path} is truncated or damaged ({reason})") from None
    raise _absent(path, name, [key for key in found if not key.startswith("#")])


def _absent(path: Path, name: str, found: list[str]) -> MatError:
    there = ", ".join(map(repr, found[:5])) or "nothing"
    return MatError(f"{path} holds no array of numbers {name!r}; it holds {there}")
