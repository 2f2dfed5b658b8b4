"""Flat arrays as the masked engine's kernels take them, with fences between the regions."""

from __future__ import annotations

import numpy as np

from sact_core.backends.masked.kernels.cpu import TILE_ROWS, WIDE

#: Numbers of a fence: as many as any kernel reads or writes at once, and more.
FENCE = 80

#: What fences, and outputs that nobody has written, hold: a NaN like no other, bit by bit.
UNTOUCHED = {4: np.uint32(0x7FC0DEAD), 2: np.uint16(0x7FCD), 1: np.uint8(0xAD)}
BITS = {4: np.uint32, 2: np.uint16, 1: np.uint8}


def padded(count):
    """The next multiple of 16."""
    return -(-count // 16) * 16


class Flat:
    """One array of regions, each between fences.

    Parameters
    ----------
    dtype : type
        float32, uint16 (bfloat16), int32 or uint8.
    **regions : np.ndarray or int
        What each region holds; a number: so many elements, not yet written. ``room`` of
        a region, named ``…_room``, is what a kernel may write behind it.
    """

    def __init__(self, dtype, **regions):
        dtype, size = np.dtype(dtype), FENCE
        room = {k.removesuffix("_room"): v for k, v in regions.items() if k.endswith("_room")}
        self.places, self._open = {}, []
        parts = {k: v for k, v in regions.items() if not k.endswith("_room")}
        for name, values in parts.items():
            count = values if isinstance(values, int) else np.size(values)
            self.places[name] = (size, count)
            size = padded(size + count + room.get(name, 0)) + FENCE
        self.bits = np.full(size, UNTOUCHED[dtype.itemsize], BITS[dtype.itemsize])
        self.all = self.bits.view(dtype)
        for name, values in parts.items():
            if not isinstance(values, int):
                self[name][:] = np.ravel(values)
            at, count = self.places[name]
            self._open.append((at + count, at + count + room.get(name, 0)))
        self._before = self.bits.copy()

    def at(self, name):
        """Where a region begins."""
        return self.places[name][0]

    def __getitem__(self, name):
        at, count = self.places[name]
        return self.all[at : at + count]

    def written(self, name):
        """Which elements of a region were written, if only with what was there but for fences."""
        at, count = self.places[name]
        return self.bits[at : at + count] != self._before[at : at + count]

    def assert_untouched(self, *written):
        """Nothing has changed but the regions named and their room."""
        same = self.bits == self._before
        for name in written:
            at, count = self.places[name]
            same[at : at + count] = True
        for begin, end in self._open:
            same[begin:end] = True
        assert same.all(), f"written outside of {written}: {np.flatnonzero(~same)[:20]}"


def bordered(x, border=1):
    """A map [h, w, c] inside a border of zeros, channels padded to a multiple of 16."""
    more = padded(x.shape[2]) - x.shape[2] if x.shape[2] != 3 else 0  # the image has three
    return np.pad(x, ((border, border), (border, border), (0, more)))


def places_of(positions, size, border=1, stride=1):
    """Places of positions [n, 2] of a map of that size with a border.

    Filled up to whole tiles with a position that is not listed, if there is one.
    """
    row = size[1] + 2 * border
    rows, columns = (np.asarray(positions).reshape(-1, 2) * stride + border).T
    listed = rows * row + columns
    inside = np.add.outer((np.arange(size[0]) + border) * row, np.arange(size[1]) + border)
    others = np.setdiff1d(inside, listed)
    spare = others[-1] if len(others) else listed[-1]
    return np.append(listed, np.repeat(spare, TILE_ROWS)).astype(np.int32)


def panels(weight, pad_input=True):
    """Weights [kh, kw, in, out] as ``[panel][tap][in][channel]``, channels padded."""
    _, _, cin, cout = weight.shape
    more = padded(cin) - cin if pad_input else 0
    rows = np.pad(weight, ((0, 0), (0, 0), (0, more), (0, padded(cout) - cout)))
    rows = rows.reshape(-1, padded(cout))
    cuts = range(0, padded(cout), WIDE)
    return np.concatenate([rows[:, c : c + WIDE].ravel() for c in cuts]).astype(np.float32)


def pair_panels(weight):
    """The same of bfloat16, ``[panel][tap][in / 2][channel][2]``; bits [uint16]."""
    _, _, cin, cout = weight.shape
    rows = np.pad(weight, ((0, 0), (0, 0), (0, padded(cin) - cin), (0, padded(cout) - cout)))
    pairs = to_bfloat16(rows).reshape(-1, 2, padded(cout)).swapaxes(1, 2)
    cuts = range(0, padded(cout), WIDE)
    return np.concatenate([pairs[:, c : c + WIDE].ravel() for c in cuts])


def to_bfloat16(x):
    """Round float32 to the nearest bfloat16, ties to even; its bits [uint16]."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits):
    """The float32 of some bits [uint16]."""
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)
