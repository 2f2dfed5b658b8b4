"""Training photographs, decoded when a step needs them.

Large JPEG files are decoded at a half, a quarter or an eighth of their size where
the crop is that much larger than the network's input, which is several times
quicker. A set that is small enough stays in memory decoded; that changes nothing
but the time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sact_core.backends.memory import available_memory
from sact_core.data.records import Unreadable
from sact_core.data.source import Source

#: Decoded pixels kept in memory at most; a set that is larger is not kept at all.
KEEP_BYTES = 1 << 32

#: Share of the free memory that they may take.
KEEP_SHARE = 0.25

Shrink = Callable[[int, int], int]


def bytes_to_keep(num_processes: int) -> int:
    """Bytes of decoded pixels that each of some processes on this machine may keep."""
    there = available_memory()
    most = KEEP_BYTES if there is None else min(KEEP_BYTES, int(KEEP_SHARE * there))
    return most // num_processes


class Decoder:
    """Decodes examples of a split, from any number of threads.

    Parameters
    ----------
    source : Source
        The split.
    keep_bytes : int
        Keep decoded images where all of them together take no more than so much.

    Attributes
    ----------
    left_out : Unreadable
        Images that could not be read so far.
    """

    def __init__(self, source: Source, keep_bytes: int = KEEP_BYTES) -> None:
        self.source = source
        self.left_out = Unreadable()
        self._keep_bytes = keep_bytes
        self._held: dict[int, _Kept] | None = {}
        self._num_bytes = 0
        self._lock = threading.Lock()

    def read(self, index: int, shrink: Shrink) -> tuple[np.ndarray, int] | None:
        """Decode one example.

        Parameters
        ----------
        index : int
            Which one.
        shrink : callable
            As for `sact_core.data.images.read_image`.

        Returns
        -------
        pixels : np.ndarray [shape=(h, w, 3), uint8]
            Of the whole photograph.
        label : int
            Its class.

        None where it cannot be read; ``left_out`` says why.
        """
        held = self._held
        kept = None if held is None else held.get(index)
        if kept is not None:
            height, width = kept.pixels.shape[:2]
            if not kept.shrinks or shrink(width, height) == 1:
                return kept.pixels, kept.label
        factors: list[int] = []

        def noted(width: int, height: int) -> int:
            factors.append(shrink(width, height))
            return factors[-1]

        found = list(self.source.readable([index], self.left_out, noted))
        if not found:
            return None
        pixels, label, _ = found[0]
        if held is not None and kept is None and factors in ([], [1]):
            self._keep(index, _Kept(pixels, label, bool(factors)))
        return pixels, label

    def _keep(self, index: int, kept: _Kept) -> None:
        with self._lock:
            if self._held is None or index in self._held:
                return
            self._held[index] = kept
            self._num_bytes += kept.pixels.nbytes
            if self._num_bytes / len(self._held) * len(self.source) > self._keep_bytes:
                self._held = None


@dataclass(frozen=True)
class _Kept:
    """A decoded example; ``shrinks`` where it could be decoded smaller."""

    pixels: np.ndarray
    label: int
    shrinks: bool
