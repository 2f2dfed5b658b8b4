"""Labelled images: a TFDS split, or a folder of class folders.

Reading a prepared TFDS data set needs no TensorFlow. Splits are explicit TFDS
strings such as ``train[:98%]``; a folder has the splits named by its
sub-folders (``DIR/train/cat/1.jpg``) or, with none, one split ``all``.

Images come as uint8 RGB, decoded once; how they become a network's input is the
business of `sact_core.preprocess`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 2000  # images decoded at a time: all at once would peak at several times the memory
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class DataError(ValueError):
    """A data set that is absent or cannot be read; the message says what to do."""


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
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str
    split: str

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
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    _records: Any

    def __len__(self) -> int:
        return len(self._records)

    def read(self, indices: range | list[int]) -> list[tuple[np.ndarray, int, str]]:
        """Decode some examples.

        Parameters
        ----------
        indices : range or list of int
            Which ones, counted from 0.

        Returns
        -------
        list of (image, label, id)
            ``image`` [shape=(h, w, 3), uint8]; ``id`` is the data set's own name
            of the example, or its index.
        """
        found = []
        for index, record in zip(indices, self._records.__getitems__(indices), strict=True):
            image = np.asarray(record["image"], np.uint8)
            if image.shape[-1] == 1:
                image = image.repeat(3, -1)
            key = record.get("id", record.get("file_name", record.get("image/file_name", index)))
            key = key.decode() if isinstance(key, bytes) else str(key)
            found.append((image, int(record["label"]), key))
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
        ``train``, ``test``, ``train[:98%]``, …; for a folder the name of a
        sub-folder that holds class folders, or ``all``.
    data_dir : path, optional
        Where TFDS keeps its data; ``TFDS_DATA_DIR`` or ``~/tensorflow_datasets``
        where left out.

    Raises
    ------
    DataError
        If the data set or the split is absent, has no images with labels, or
        cannot be read.
    """
    if os.sep in name or Path(name).is_dir():
        return _open_folder(Path(name), split)
    return _open_tfds(name, split, data_dir)


def load_split(
    name: str,
    split: str,
    data_dir: str | Path | None = None,
    num_examples: int | None = None,
    image_size: int | None = None,
) -> Examples:
    """Decode a split, or the first part of it, into memory.

    Parameters
    ----------
    name, split, data_dir
        As in `open_split`.
    num_examples : int, optional
        Only the first so many.
    image_size : int, optional
        Crop centrally and resize to this side; needed where sizes differ.

    Raises
    ------
    DataError
        As `open_split`; if images differ in size and no ``image_size`` is given.
    """
    source = open_split(name, split, data_dir)
    total = len(source) if num_examples is None else min(num_examples, len(source))
    if total < 1:
        raise DataError(f"{name} {split} has no examples")
    labels = np.empty(total, np.int64)
    images: np.ndarray | None = None
    for chunk in source.chunks(CHUNK, total):
        for index, (image, label, key) in zip(chunk, source.read(chunk), strict=True):
            if image_size is not None and image.shape[:2] != (image_size, image_size):
                from sact_core.preprocess import fit_square

                image = fit_square(image, image_size)
            if images is None:
                images = np.empty((total, *image.shape), np.uint8)
            if image.shape != images.shape[1:]:
                raise DataError(
                    f"{name} {split} has images of several sizes ({image.shape[:2]} at {key}): "
                    f"give an image size"
                )
            images[index] = image
            labels[index] = label
    assert images is not None
    return Examples(images, labels, source.class_names, name, split)


def download_command(name: str) -> str:
    """Give the command that downloads and prepares a TFDS data set."""
    return (
        f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', "
        f"file_format='array_record').download_and_prepare()\""
    )


def _open_tfds(name: str, split: str, data_dir: str | Path | None) -> Source:
    import absl.logging

    absl.logging.set_verbosity(absl.logging.ERROR)  # it advises OpenCV at every start
    import tensorflow_datasets as tfds

    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    absent = DataError(
        f"data set {name!r} is not in {root}: download it with {download_command(name)} "
        f"or say where it is with --data-dir"
    )
    if not (root / name).is_dir():
        if name not in tfds.list_builders(with_community_datasets=False):
            raise DataError(f"{name!r} is neither a TFDS data set nor a folder of class folders")
        raise absent
    try:
        builder = tfds.builder(name, data_dir=root)
        names = tuple(builder.info.features["label"].names)
        records = builder.as_data_source(split=split)
    except KeyError:
        raise DataError(f"data set {name!r} has no image labels") from None
    except (NotImplementedError, FileNotFoundError, AssertionError):
        raise absent from None
    except (ValueError, tfds.core.registered.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"cannot open split {split!r} of {name!r}: {reason}") from None
    return Source(name, split, names, records)


class _FolderRecords:
    """Images of class folders, as TFDS' data source gives its records."""

    def __init__(self, files: list[tuple[Path, int]], root: Path) -> None:
        self.files = files
        self.root = root

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: range | list[int]) -> list[dict[str, Any]]:
        from sact_core.images import read_image

        return [
            {
                "image": read_image(self.files[index][0]),
                "label": self.files[index][1],
                "id": str(self.files[index][0].relative_to(self.root)),
            }
            for index in indices
        ]


def _open_folder(root: Path, split: str) -> Source:
    if not root.is_dir():
        raise DataError(f"{root} is no folder: give a TFDS name or a folder of class folders")
    where = root if split == "all" else root / split
    if not where.is_dir():
        raise DataError(f"{root} has no sub-folder {split!r}; without splits, ask for split 'all'")
    classes = sorted(folder.name for folder in where.iterdir() if folder.is_dir())
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((where / name).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not files:
        raise DataError(f"{where} holds no class folders with images")
    return Source(str(root), split, tuple(classes), _FolderRecords(files, where))
