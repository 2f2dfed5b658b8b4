"""Texts of any length, read without libhdf5, which goes round in circles in a damaged heap.

A data set of such texts holds of each its length and where it is: the address of a
collection in the file and a number in it. A collection begins with ``GCOL``, version,
three bytes and its size; in it stand objects one after another: number, count of
references, four bytes, size and the text, padded to 8 bytes. Number 0 ends it.

Source: HDF5 File Format Specification 3.0, III.E, "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import numpy as np

#: Length of a text, address of its collection, number in it.
ENTRY = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])

_COLLECTION = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HH4xQ")


class Texts:
    """A list of texts, each read when it is asked for.

    Parameters
    ----------
    read : callable
        Told an offset in the file and a number of bytes, gives these, or fewer at its end.
    file_size : int
        Bytes of the file.
    entries : np.ndarray [shape=(n,), dtype=ENTRY]
        Where they are.

    Raises
    ------
    ValueError
        When a text is asked for that is not where it should be.
    """

    def __init__(
        self, read: Callable[[int, int], bytes], file_size: int, entries: np.ndarray
    ) -> None:
        self._read, self._entries = read, entries
        self._collections: dict[int, dict[int, tuple[int, int]]] = {}
        self._left = file_size // _OBJECT.size  # objects that can be in the file, all told

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> bytes:
        length, address, number = (int(part) for part in self._entries[index])
        if length == 0:
            return b""
        if address not in self._collections:
            self._collections[address] = self._objects(address)
        at, size = self._collections[address].get(number, (0, 0))
        if size < length:
            raise ValueError(f"text {index} is not in its collection")
        return self._read(at, length).split(b"\0", 1)[0]

    def _objects(self, address: int) -> dict[int, tuple[int, int]]:
        """Offset and size of every object of a collection, by its number."""
        head = self._read(address, _COLLECTION.size)
        if len(head) < _COLLECTION.size:
            raise ValueError("a collection of texts is behind the file")
        mark, version, size = _COLLECTION.unpack(head)
        if mark != b"GCOL" or version != 1:
            raise ValueError("there is no collection of texts where one should be")
        found: dict[int, tuple[int, int]] = {}
        at, end = address + _COLLECTION.size, address + size
        while at + _OBJECT.size <= end:
            head = self._read(at, _OBJECT.size)
            if len(head) < _OBJECT.size:
                raise ValueError("a collection of texts ends behind the file")
            number, _, size = _OBJECT.unpack(head)
            self._left -= 1
            if self._left < 0:
                raise ValueError("collections of texts overlap")
            if number == 0:
                break
            at += _OBJECT.size
            found[number] = (at, min(size, end - at))
            at += -(-size // 8) * 8
        return found
