"""A source of arrays, for tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from sact_core.data.images import ImageError
from sact_core.data.records import Record
from sact_core.data.source import Source


@dataclasses.dataclass
class Arrays:
    """Records of arrays, some of which cannot be read, repeated as often as asked for."""

    images: Sequence[np.ndarray]
    broken: Collection[int]
    count: int

    def __len__(self) -> int:
        return self.count

    def get(self, indices: Sequence[int]) -> list[Record | ImageError]:
        return [
            ImageError(f"image {i} is broken\nin two lines")
            if i in self.broken
            else Record(self.images[i % len(self.images)], i % 3, f"{i}.png")
            for i in indices
        ]


def in_memory(
    images: Sequence[np.ndarray], broken: Collection[int] = (), count: int | None = None
) -> Source:
    """Images of three classes in turn, called by their numbers."""
    records = Arrays(images, broken, len(images) if count is None else count)
    return Source("it", "test", ("a", "b", "c"), records)
