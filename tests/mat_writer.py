"""Write variables of MATLAB's file format, version 5, as its description lays them out."""

from __future__ import annotations

import struct


def element(order, kind, data):
    padding = b"" if kind == 15 else bytes(-len(data) % 8)
    return struct.pack(order + "II", kind, len(data)) + data + padding


def matrix(array, name="fixLocs", order="<", kind=9, stored=2):
    """A variable as the format's description lays it out; class and type of the numbers."""
    numbers = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
    inside = element(order, 6, struct.pack(order + "II", kind, 0))
    inside += element(order, 5, struct.pack(order + f"{array.ndim}i", *array.shape))
    inside += element(order, 1, name.encode()) + element(order, stored, numbers)
    return element(order, 14, inside)


def header(order="<"):
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(order + "HH", 0x0100, 0x4D49)
