"""Labelled images: a TFDS split, or a folder of class folders.

Reading a prepared TFDS data set needs no TensorFlow. Splits are explicit TFDS
strings such as ``train[:98%]``; those of a folder are told in `sact_core.data.folders`.

Images come as uint8 RGB, decoded once; how they become a network's input is the
business of `sact_core.preprocess`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sact_core.config import Preprocessing
from sact_core.data.folders import default_splits, list_folder
from sact_core.data.images import ImageError
from sact_core.data.records import DataError, Records, TfdsRecords, Unreadable
from sact_core.preprocess import fit_image

Example = tuple[np.ndarray, int, str]  # image [shape=(h, w, 3), uint8], label, name

CHUNK = 2000  # images decoded at a time: all at once would peak at several times the memory


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
        Name of each class.
    records : Records
        Its examples, encoded.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    records: Records

    def __len__(self) -> int:
        return len(self.records)

    def read(self, indices: Sequence[int]) -> list[Example]:
        """Decode some examples.

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
        found = []
        for record in self.records.get(indices):
            if isinstance(record, ImageError):
                raise record
            found.append((record.pixels(), record.label, record.name))
        return found

    def readable(
        self,
        indices: Sequence[int],
        left_out: Unreadable,
        shrink: Callable[[int, int], int] | None = None,
    ) -> list[Example]:
        """Decode those examples that can be read, and note the others in ``left_out``.

        Parameters
        ----------
        indices
            As for `read`.
        left_out : Unreadable
            Gets the others.
        shrink : callable, optional
            As for `sact_core.data.images.read_image`.
        """
        found = []
        for index, record in zip(indices, self.records.get(indices), strict=True):
            try:
                if isinstance(record, ImageError):
                    raise record
                found.append((record.pixels(shrink), record.label, record.name))
            except ImageError as error:
                left_out.add(index, error.name or f"example {index}", error)
        return found

    def chunks(self, size: int, stop: int | None = None) -> Iterator[range]:
        """Ranges of at most ``size`` indices, up to ``stop`` examples."""
        total = len(self) if stop is None else min(stop, len(self))
        for begin in range(0, total, size):
            yield range(begin, min(begin + size, total))


def open_split(name: str, split: str, data_dir: str | Path | None = None) -> Source:
    """Open a split without decoding it.

    Parameters
    ----------
    name : str
        TFDS name (``cifar10``, ``caltech101``, …) or the path of a folder of
        class folders.
    split : str
        ``train``, ``test``, ``train[:98%]``, …; for a folder as
        `sact_core.data.folders.list_folder`.
    data_dir : path, optional
        Where TFDS keeps its data; ``TFDS_DATA_DIR`` or ``~/tensorflow_datasets``
        where left out.

    Raises
    ------
    DataError
        If the data set or the split is absent, has no images with labels, or
        cannot be read.
    """
    if is_folder(name):
        root = Path(name).expanduser()
        class_names, records = list_folder(root, split)
        return Source(str(root), split, class_names, records)
    return _open_tfds(name, split, data_dir)


def load_split(
    name: str,
    split: str,
    data_dir: str | Path | None = None,
    num_examples: int | None = None,
    fit: Preprocessing | None = None,
) -> Examples:
    """Decode a split, or the first part of it, into memory.

    Parameters
    ----------
    name, split, data_dir
        As in `open_split`.
    num_examples, fit
        As in `load_source`.

    Raises
    ------
    DataError
        As `open_split` and `load_source`.
    """
    return load_source(open_split(name, split, data_dir), num_examples, fit)


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
        If the split is empty or not one image can be read, or images are not square
        or differ in size and no ``fit`` is given.
    """
    what = f"{source.name} {source.split}"
    total = len(source) if num_examples is None else min(num_examples, len(source))
    if total < 1:
        raise DataError(f"{what} has no examples")
    labels = np.empty(total, np.int64)
    images: np.ndarray | None = None
    left_out = Unreadable()
    count = 0
    for chunk in source.chunks(CHUNK, total):
        for image, label, name in source.readable(chunk, left_out):
            if fit is not None and image.shape[:2] != (fit.image_size, fit.image_size):
                image = _whole(fit_image(image, fit))
            if images is None:
                images = np.empty((total, *image.shape), np.uint8)
            if image.shape != images.shape[1:] or image.shape[0] != image.shape[1]:
                height, width = image.shape[:2]
                raise DataError(
                    f"{what} has images of other sizes, such as {height} x {width} (height x "
                    f"width) at {name}: give --image-size"
                )
            images[count], labels[count] = image, label
            count += 1
    if images is None:
        raise DataError(f"not one image of {what} can be read")
    return Examples(
        images[:count], labels[:count], source.class_names, source.name, source.split, left_out
    )


def splits_of(name: str, holdout: float | None = None) -> tuple[str, str] | None:
    """Name the splits of a folder to train and evaluate on; None for the usual ones.

    Parameters
    ----------
    name : str
        As in `open_split`.
    holdout : float, optional
        As in `sact_core.data.folders.default_splits`.

    Raises
    ------
    DataError
        If a share is to be held out of a TFDS data set, or as `default_splits`.
    """
    root = Path(name).expanduser()
    if root.is_dir():
        return default_splits(root, holdout)
    if holdout is not None:
        raise DataError(
            f"--holdout is for a folder of class folders; of {name!r}, name the parts with "
            f"--train-split and --eval-split, such as 'train[:80%]' and 'train[80%:]'"
        )
    return None


def download_command(name: str, data_dir: str | Path | None = None) -> str:
    """Give the command that downloads and prepares a TFDS data set."""
    where = "" if data_dir is None else f"data_dir='{data_dir}', "
    return (
        f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', {where}"
        f"file_format='array_record').download_and_prepare()\""
    )


def _whole(pixels: np.ndarray) -> np.ndarray:
    """Pixel values as uint8; a resize may give fractions, from 0 to 1."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.rint(pixels * 255).clip(0, 255).astype(np.uint8)


def is_folder(name: str) -> bool:
    """Tell a folder of images from a TFDS name, which may have a slash in it too."""
    return Path(name).expanduser().is_dir() or name.startswith((".", "~", os.sep))


def _open_tfds(name: str, split: str, data_dir: str | Path | None) -> Source:
    import absl.logging

    absl.logging.set_verbosity(absl.logging.ERROR)  # it advises OpenCV at every start
    import tensorflow_datasets as tfds

    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    absent = DataError(
        f"data set {name!r} is not in {root}: download it with {download_command(name, data_dir)} "
        f"or say where it is with --data-dir"
    )
    base = re.split("[/:]", name)[0]
    if not (root / base).is_dir():
        if base not in tfds.list_builders(with_community_datasets=False):
            raise DataError(f"{name!r} is neither a TFDS data set nor a folder of class folders")
        raise absent
    try:
        builder = tfds.builder(name, data_dir=root)
        features = builder.info.features
        names = tuple(features["label"].names)
        encoded = isinstance(features["image"], tfds.features.Image)
        decoders = {"image": tfds.decode.SkipDecoding()} if encoded else None
        records = TfdsRecords(builder.as_data_source(split=split, decoders=decoders))
    except (KeyError, AttributeError, TypeError):
        raise DataError(f"data set {name!r} has no images with one label each") from None
    except (NotImplementedError, FileNotFoundError, AssertionError):
        raise absent from None
    except (ValueError, tfds.core.registered.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"cannot open split {split!r} of {name!r}: {reason}") from None
    return Source(name, split, names, records)
