"""Splits of prepared TFDS data sets, read without TensorFlow."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.data.images import ImageError
from sact_core.data.records import DataError, Record
from sact_core.data.source import Source
from sact_core.extras import need


def open_tfds(name: str, split: str, data_dir: str | Path | None) -> Source:
    """Open a split of a prepared data set without decoding it.

    Parameters
    ----------
    name, split, data_dir
        As in `sact_core.data.splits.open_split`.

    Raises
    ------
    DataError
        If the data set or the split is absent, has no images with one label each, or
        cannot be read.
    MissingPackage
        If TensorFlow Datasets is not installed.
    """
    need("data", f"data set {name!r}, of TensorFlow Datasets and no folder,")
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


def download_command(name: str, data_dir: str | Path | None = None) -> str:
    """Give the command that downloads and prepares a TFDS data set."""
    where = "" if data_dir is None else f"data_dir='{data_dir}', "
    return (
        f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', {where}"
        f"file_format='array_record').download_and_prepare()\""
    )


@dataclass(frozen=True)
class TfdsRecords:
    """A split of a prepared TFDS data set, images left encoded.

    Attributes
    ----------
    source : tfds data source
        Opened with ``SkipDecoding`` for the image.
    """

    source: Any

    def __len__(self) -> int:
        return len(self.source)

    def get(self, indices: Sequence[int]) -> list[Record | ImageError]:
        """Read records together; one by one where that fails, to find the bad ones."""
        try:
            found = self.source.__getitems__(list(indices))
            return [_record(raw, i) for raw, i in zip(found, indices, strict=True)]
        except Exception as error:  # whatever a damaged file makes the reader raise
            if len(indices) > 1:
                return [record for index in indices for record in self.get([index])]
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            problem = ImageError(f"example {indices[0]} cannot be read: {reason}")
            problem.name = f"example {indices[0]}"
            return [problem]


def _record(raw: dict[str, Any], index: int) -> Record:
    name = raw.get("id", raw.get("file_name", raw.get("image/file_name", index)))
    name = name.decode() if isinstance(name, bytes) else str(name)
    image = raw["image"]
    if not isinstance(image, bytes):
        image = np.asarray(image, np.uint8)
    return Record(image, int(raw["label"]), name)
