"""A data set on the disk, as TFDS lays it out: descriptions as JSON, examples as ArrayRecord.

It is written into a folder of its own beside and renamed, so that it is there whole or
not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sact_core.data.published import Published
from sact_core.data.records import DataError
from sact_core.data.tfrecord import make_example
from sact_core.files import write_bytes

Example = dict[str, bytes | int]
_FEATURES = "tensorflow_datasets.core.features"
_MARK = ".incomplete_sact-"


@dataclass(frozen=True)
class DataSet:
    """What is to be written.

    Attributes
    ----------
    about : Published
        Name, version and description.
    labels : dict of str to tuple of str
        Names of the classes, by the feature that holds a class.
    texts : tuple of str
        Features that hold a text.
    shape : tuple of int
        Height, width and channels of images; -1 where they differ.
    counts : dict of str to int
        Images of every split.
    examples : callable
        Gives the examples of a split: ``image`` encoded, texts as bytes, labels as numbers.
    """

    about: Published
    labels: dict[str, tuple[str, ...]]
    texts: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: dict[str, int]
    examples: Callable[[str], Iterator[Example]]


def folder_of(about: Published, root: Path) -> Path:
    """Where a data set stands below TFDS's folder."""
    return root / about.name / about.version


def write_data_set(
    data: DataSet, root: Path, step: Callable[[], object] = lambda: None
) -> dict[str, int]:
    """Write a data set; one that is there is replaced when the new one is whole.

    Parameters
    ----------
    data : DataSet
        What to write.
    root : Path
        TFDS's folder; made if it is absent.
    step : callable
        Called after every image.

    Returns
    -------
    dict of str to int
        Images of every split.

    Raises
    ------
    DataError
        If it could not be written whole.
    OSError
        If the folder cannot be made or written to.
    """
    folder = folder_of(data.about, root)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _beside(folder) as made:
        sizes = {split: _write_split(data, split, made, step) for split in data.counts}
        for name, classes in data.labels.items():
            write_bytes(made / f"{name}.labels.txt", "".join(f"{c}\n" for c in classes).encode())
        write_bytes(made / "features.json", json.dumps(_features(data), indent=4).encode())
        write_bytes(made / "dataset_info.json", json.dumps(_info(data, sizes), indent=2).encode())
        if folder.is_dir():
            _replace_files(folder, made, data.about.name.split("/")[0])
        else:
            made.rename(folder)
    return data.counts


def clear_unfinished(about: Published, root: Path) -> None:
    """Remove what preparations of this program that were killed have left; nobody else's."""
    folder = folder_of(about, root)
    for left in folder.parent.glob(f"{folder.name}{_MARK}*"):
        with _locked(left) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """Lend a folder; it goes again unless it was renamed."""
    made = Path(tempfile.mkdtemp(prefix=f"{folder.name}{_MARK}", dir=folder.parent))
    try:
        made.chmod(0o777 & ~_umask())
        with _locked(made):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder against other processes; whether none has it. Always, without locks."""
    try:
        import fcntl
    except ImportError:  # not on this system
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except OSError:
        free = False
    try:
        yield free
    finally:
        os.close(handle)


def _write_split(data: DataSet, split: str, folder: Path, step: Callable[[], object]) -> int:
    """Write the file of a split; give the bytes of its examples."""
    from array_record.python import array_record_module

    name = data.about.name.split("/")[0]
    path = folder / f"{name}-{split}.array_record-00000-of-00001"
    num_bytes = count = 0
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    try:
        for example in data.examples(split):
            record = make_example(example)
            writer.write(record)
            num_bytes, count = num_bytes + len(record), count + 1
            step()
        writer.close()
        reader = array_record_module.ArrayRecordReader(str(path))
        found = reader.num_records()
        reader.close()
    except RuntimeError as error:  # of the library, where the disk is full
        free = shutil.disk_usage(folder).free
        raise DataError(
            f"{split} cannot be written ({str(error).strip().partition(chr(10))[0]}); "
            f"{free / 2**20:,.0f} MiB are free"
        ) from None
    if (found, count) != (data.counts[split],) * 2:
        raise DataError(
            f"only {found:,} of {data.counts[split]:,} images of {split} could be written: is "
            f"the disk full?"
        )
    with open(path, "rb") as written:
        os.fsync(written.fileno())
    return num_bytes


def _replace_files(folder: Path, made: Path, name: str) -> None:
    """Put a whole data set in the place of another; files that are no part of one stay.

    The description goes first and comes last: without it no data set is seen.
    """
    shard = re.compile(rf"{re.escape(name)}-\w+\.\w+-\d{{5}}-of-\d{{5}}")
    new = {path.name for path in made.iterdir()}
    (folder / "dataset_info.json").unlink(missing_ok=True)
    for old in list(folder.iterdir()):
        if shard.fullmatch(old.name) and old.name not in new:
            old.unlink()
    for file in sorted(new, key=lambda file: file == "dataset_info.json"):
        os.replace(made / file, folder / file)


def _info(data: DataSet, sizes: Mapping[str, int]) -> dict[str, Any]:
    name, _, config = data.about.name.partition("/")
    return {
        **({"configName": config} if config else {}),
        "description": data.about.description,
        "fileFormat": "array_record",
        "location": {"urls": [data.about.homepage]},
        "moduleName": data.about.module,
        "name": name,
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split,
                "numBytes": str(sizes[split]),
                "shardLengths": [str(count)],
            }
            for split, count in data.counts.items()
        ],
        "supervisedKeys": {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}},
        "version": data.about.version,
    }


def _features(data: DataSet) -> dict[str, Any]:
    sides = [str(side) for side in data.shape]
    found: dict[str, Any] = {
        "image": {
            "image": {"dtype": "uint8", "shape": {"dimensions": sides}},
            "pythonClassName": f"{_FEATURES}.image_feature.Image",
        }
    }
    for text in data.texts:
        found[text] = {"pythonClassName": f"{_FEATURES}.text_feature.Text", "text": {}}
    for label, classes in data.labels.items():
        found[label] = {
            "classLabel": {"numClasses": str(len(classes))},
            "pythonClassName": f"{_FEATURES}.class_label_feature.ClassLabel",
        }
    return {
        "featuresDict": {"features": dict(sorted(found.items()))},
        "pythonClassName": f"{_FEATURES}.features_dict.FeaturesDict",
    }


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
