"""Labelled images, read one by one or held in memory.

Images come as uint8 RGB, decoded once; how they become a network's input is the
business of `sact_core.preprocess`. Photographs are large and many: whoever needs
them smaller makes each one smaller before the next one is decoded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sact_core.backends.memory import available_memory
from sact_core.config import Preprocessing
from sact_core.data.images import ImageError
from sact_core.data.records import (
    DataError,
    Grouped,
    Record,
    Records,
    Unreadable,
    spread_order,
)
from sact_core.preprocess import fit_image

Example = tuple[np.ndarray, int, str]  # image [shape=(h, w, 3), uint8], label, name

#: Records that are read together, encoded, since one by one takes longer: so many at
#: first, and from then on so many bytes.
FIRST_LOT, LOT_BYTES, LARGEST_LOT = 8, 1 << 24, 2000


@dataclass(frozen=True)
class Examples:
    """A split in memory.

    Attributes
    ----------
    images : np.ndarray [shape=(n, h, w, 3), uint8]
        RGB images of one size.
    labels : np.ndarray [shape=(n,), int64]
        Class numbers.
    class_names : tuple of str
        Name of each class.
    name, split : str
        Where they come from.
    left_out : Unreadable
        Images that could not be read.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str
    split: str
    left_out: Unreadable = field(default_factory=Unreadable)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Source:
    """A split that is read image by image: natural sizes, constant memory.

    Attributes
    ----------
    name, split : str
        Where it comes from.
    class_names : tuple of str
        Name of each class; none where labels are unknown, which are -1 then.
    records : Records
        Its examples, encoded.
    digest : str
        Tells one list of files from another; empty where name and split do.
    slice_of : int, optional
        Examples of the split that this one is a slice of, where it is one and that is known.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    records: Records
    digest: str = ""
    slice_of: int | None = None

    def __len__(self) -> int:
        return len(self.records)

    @property
    def whole(self) -> int | None:
        """Examples of the whole split that these are all or a slice of; None where unknown."""
        if self.slice_of is None and not re.search(r"[\[:+]", self.split):
            return len(self)
        return self.slice_of

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from other splits, as plain JSON values."""
        if self.digest and not self.class_names:
            return {self.name: self.digest}
        return {
            "data_set": self.name,
            "split": self.split,
            "size": len(self),
            **({"digest": self.digest} if self.digest else {}),
        }

    def spread(self) -> Source:
        """The same examples, in an order whose first ones stand for all.

        A folder has one class after another; then they take turns. What a data set of TFDS has
        is shuffled already.
        """
        if not isinstance(self.records, Grouped):
            return self
        order = spread_order(self.records.groups())
        digest = hashlib.sha256(f"{self.digest} spread".encode()).hexdigest()
        return replace(self, records=self.records.ordered(order), digest=digest)

    def encoded(
        self, indices: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Record | ImageError]]:
        """Give examples with their indices, not decoded, a few of them in memory at a time.

        Parameters
        ----------
        indices : range or list of int, optional
            Which ones, counted from 0; all where left out.
        """
        indices = range(len(self)) if indices is None else indices
        begin, size = 0, FIRST_LOT
        while begin < len(indices):
            lot = indices[begin : begin + size]
            records = self.records.get(lot)
            yield from zip(lot, records, strict=True)
            begin += len(lot)
            average = sum(map(_num_bytes, records)) // len(lot)
            size = min(max(1, LOT_BYTES // max(average, 1)), LARGEST_LOT)

    def read(self, indices: Sequence[int]) -> list[Example]:
        """Decode some examples, all of which are held in memory, as they are.

        Parameters
        ----------
        indices : range or list of int
            Which ones, counted from 0.

        Returns
        -------
        list of (image, label, name)
            ``image`` [shape=(h, w, 3), uint8]; ``name`` is the data set's own name
            of the example, or its index.

        Raises
        ------
        ImageError
            If one cannot be read; the message names it.
        """
        return list(self.each(indices))

    def each(self, indices: Sequence[int]) -> Iterator[Example]:
        """Decode some examples, one when it is asked for; else as `read`."""
        return (_decoded(record) for _, record in self.encoded(indices))

    def readable(
        self,
        indices: Sequence[int],
        left_out: Unreadable,
        shrink: Callable[[int, int], int] | None = None,
    ) -> Iterator[Example]:
        """Decode those examples that can be read, one when it is asked for.

        Parameters
        ----------
        indices
            As for `read`.
        left_out : Unreadable
            Gets the others, when they are met.
        shrink : callable, optional
            As for `sact_core.data.images.read_image`.

        Yields
        ------
        image, label, name
            As of `read`.
        """
        for index, record in self.encoded(indices):
            try:
                example = _decoded(record, shrink)
            except ImageError as error:
                left_out.add(index, error.name or f"example {index}", error)
            else:
                yield example

    def chunks(self, size: int, stop: int | None = None) -> Iterator[range]:
        """Ranges of at most ``size`` indices, up to ``stop`` examples."""
        total = len(self) if stop is None else min(stop, len(self))
        for begin in range(0, total, size):
            yield range(begin, min(begin + size, total))


def load_source(
    source: Source, num_examples: int | None = None, fit: Preprocessing | None = None
) -> Examples:
    """Decode a split, or the first part of it, into memory.

    Parameters
    ----------
    source : Source
        The split.
    num_examples : int, optional
        Only the first so many.
    fit : Preprocessing, optional
        Bring every image to the size that this says; needed where sizes differ.

    Raises
    ------
    DataError
        If the split is empty or not one image can be read, images are not square or
        differ in size and no ``fit`` is given, or they need more memory than is free.
    """
    what = f"{source.name} {source.split}"
    total = len(source) if num_examples is None else min(num_examples, len(source))
    if total < 1:
        raise DataError(f"{what} has no examples")
    labels = np.empty(total, np.int64)
    images: np.ndarray | None = None
    left_out = Unreadable()
    count = 0
    for image, label, name in source.readable(range(total), left_out):
        if fit is not None and image.shape[:2] != (fit.image_size, fit.image_size):
            image = _whole(fit_image(image, fit))
        height, width = image.shape[:2]
        if height != width or (images is not None and image.shape != images.shape[1:]):
            raise DataError(
                f"{what} has images of other sizes, such as {height} x {width} (height x "
                f"width) at {name}: give --image-size"
            )
        if images is None:
            _require_memory(what, total, image)
            images = np.empty((total, *image.shape), np.uint8)
        images[count], labels[count] = image, label
        count += 1
    if images is None:
        raise DataError(f"not one image of {what} can be read")
    return Examples(
        images[:count], labels[:count], source.class_names, source.name, source.split, left_out
    )


def _decoded(
    record: Record | ImageError, shrink: Callable[[int, int], int] | None = None
) -> Example:
    if isinstance(record, ImageError):
        raise record
    return record.pixels(shrink), record.label, record.name


def _num_bytes(record: Record | ImageError) -> int:
    """Bytes that an example takes while it is not decoded; a file is not open yet."""
    image = None if isinstance(record, ImageError) else record.image
    if isinstance(image, np.ndarray):
        return image.nbytes
    return len(image) if isinstance(image, bytes) else 0


def _require_memory(what: str, total: int, image: np.ndarray) -> None:
    there, needed = available_memory(), total * image.nbytes
    if there is not None and needed > there:
        raise DataError(
            f"the {total:,} images of {what} need {needed / 2**30:.1f} GiB of memory at "
            f"{image.shape[1]} x {image.shape[0]} pixels, but {there / 2**30:.1f} GiB are free: "
            f"give a smaller --image-size"
        )


def _whole(pixels: np.ndarray) -> np.ndarray:
    """Pixel values as uint8; a resize may give fractions, from 0 to 1."""
    if pixels.dtype == np.uint8:
        return pixels
    levels: np.ndarray = np.rint(pixels * 255).clip(0, 255).astype(np.uint8)
    return levels
