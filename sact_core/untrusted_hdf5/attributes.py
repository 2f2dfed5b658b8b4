"""Attributes whose size is known before memory is taken."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np


def int_attribute(root: h5py.File, name: str) -> int | None:
    """A scalar whole number; None if it is absent or of another kind."""
    if not h5py.h5a.exists(root.id, name.encode()):
        return None
    attribute = h5py.h5a.open(root.id, name.encode())
    if attribute.get_type().get_class() != h5py.h5t.INTEGER or attribute.shape != ():
        return None
    value = np.zeros((), np.int64)
    attribute.read(value)
    return int(value)


def ints_attribute(root: h5py.File, name: str, count: int) -> tuple[int, ...] | None:
    """So many whole numbers; None if it is absent, of another kind or another length."""
    if not h5py.h5a.exists(root.id, name.encode()):
        return None
    attribute = h5py.h5a.open(root.id, name.encode())
    if attribute.get_type().get_class() != h5py.h5t.INTEGER or attribute.shape != (count,):
        return None
    found = np.zeros(count, np.int64)
    attribute.read(found)
    return tuple(map(int, found))


def floats_attribute(node: Any, name: str, count: int) -> np.ndarray | None:
    """So many float32 [shape=(count,)]; None if it is absent, of another kind or length.

    Parameters
    ----------
    node : h5py.h5o.ObjectID
        Such as a data set's.
    name : str
    count : int
    """
    if not h5py.h5a.exists(node, name.encode()):
        return None
    attribute = h5py.h5a.open(node, name.encode())
    if not attribute.get_type().equal(h5py.h5t.IEEE_F32LE) or attribute.shape != (count,):
        return None
    found = np.zeros(count, np.float32)
    attribute.read(found)
    return found


def text_attribute(root: h5py.File, name: str, most: int) -> bytes | None:
    """A scalar fixed-length text; None if it is absent, of another kind or too long.

    Fixed length, so that its size is known before memory is taken.
    """
    if not h5py.h5a.exists(root.id, name.encode()):
        return None
    attribute = h5py.h5a.open(root.id, name.encode())
    kind = attribute.get_type()
    if kind.get_class() != h5py.h5t.STRING or kind.is_variable_str() or attribute.shape != ():
        return None
    if kind.get_size() > most:
        return None
    text = np.zeros((), f"S{kind.get_size()}")
    attribute.read(text)
    return bytes(text[()])
