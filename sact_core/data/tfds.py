"""Splits of prepared TFDS data sets, read without TensorFlow."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.data.images import ImageError
from sact_core.data.published import published
from sact_core.data.records import DataError, Record, Records
from sact_core.data.source import Source
from sact_core.data.tfds_module import load_tfds
from sact_core.data.tfrecord import Shard, TfrecordRecords, open_shard
from sact_core.extras import need
from sact_core.files import read_small
from sact_core.texts import shown
from sact_core.untrusted_json import from_json

#: Examples that are read together where only small features of them are.
LOT = 500

MAX_INFO_BYTES = 16 << 20


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
    tfds, builder, get = _prepared(name, data_dir)
    try:
        features = builder.info.features
        names = tuple(features["label"].names)
        features["image"]
    except (KeyError, AttributeError, TypeError):
        raise DataError(f"data set {name!r} has no images with one label each") from None
    try:
        parts = builder.info.splits[split].file_instructions
    except (ValueError, AssertionError, KeyError) as error:
        raise DataError(f"cannot open split {split!r} of {name!r}: {_reason(error)}") from None
    if not parts and not builder.info.splits[split.partition("[")[0]].num_examples:
        raise DataError(
            f"{builder.data_dir} does not say how many images its files hold, as early versions of "
            f"TFDS did not: prepare it anew with {get}"
        )
    encoded = isinstance(features["image"], tfds.features.Image)
    kind = builder.info.file_format.value
    if kind == "array_record":
        for part in parts:
            _check_array_record(Path(part.filename), part.examples_in_shard, get)
        decoders = {"image": tfds.decode.SkipDecoding()} if encoded else None
        records: Records = TfdsRecords(builder.as_data_source(split=split, decoders=decoders))
    elif kind == "tfrecord" and encoded:
        records = TfrecordRecords([_open_tfrecord(part, get) for part in parts])
    else:
        what = kind if encoded else f"{kind} with images that are not encoded"
        raise DataError(
            f"{builder.data_dir} is prepared as {what}, which cannot be read without TensorFlow: "
            f"prepare it as ArrayRecord with {get}"
        )
    sliced = re.fullmatch(r"(\w+)\[.*\]", split)
    whole = None if sliced is None else int(builder.info.splits[sliced[1]].num_examples)
    return Source(name, split, names, records, slice_of=whole)


def open_features(
    name: str, split: str, features: Sequence[str], data_dir: str | Path | None
) -> Iterator[dict[str, Any]]:
    """Give some features of every example of a split, in the order of the file.

    Parameters
    ----------
    name, split, data_dir
        As in `sact_core.data.splits.open_split`.
    features : sequence of str
        Their names.

    Raises
    ------
    DataError
        If the data set, the split or a feature is absent, or cannot be read without TensorFlow.
    MissingPackage
        If TensorFlow Datasets is not installed.
    """
    tfds, builder, get = _prepared(name, data_dir)
    lacking = [each for each in features if each not in builder.info.features]
    if lacking:
        raise DataError(f"data set {name!r} has no feature {lacking[0]!r}")
    if builder.info.file_format.value != "array_record":
        raise DataError(
            f"{builder.data_dir} is prepared as {builder.info.file_format.value}, of which "
            f"{features[0]!r} cannot be read without TensorFlow: prepare it as ArrayRecord with "
            f"{get}"
        )
    try:
        parts = builder.info.splits[split].file_instructions
    except (ValueError, AssertionError, KeyError) as error:
        raise DataError(f"cannot open split {split!r} of {name!r}: {_reason(error)}") from None
    for part in parts:
        _check_array_record(Path(part.filename), part.examples_in_shard, get)
    images = {k for k, v in builder.info.features.items() if isinstance(v, tfds.features.Image)}
    skipped = {name: tfds.decode.SkipDecoding() for name in images - set(features)}
    source = builder.as_data_source(split=split, decoders=skipped or None)
    try:
        for begin in range(0, len(source), LOT):
            yield from source.__getitems__(list(range(begin, min(begin + LOT, len(source)))))
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise DataError(f"{builder.data_dir} cannot be read: {_reason(error)}") from None


def download_command(name: str, data_dir: str | Path | None = None) -> str:
    """Give the command that prepares a TFDS data set.

    It is ours where we know the archive; otherwise TFDS's own, which takes TensorFlow.
    """
    known = published(name)
    if known is None:
        return tfds_command(name, data_dir)
    where = "" if data_dir is None else f" --data-dir {shlex.quote(shown(data_dir))}"
    url = f"'{known.url}'" if "?" in known.url else known.url
    return f"python -m sact_core.prepare {known.name} --archive {url}{where}"


def ways_to_get(name: str, data_dir: str | Path | None = None) -> str:
    """Say how a data set is prepared: with our command where we know the archive, with TFDS's."""
    theirs = tfds_command(name, data_dir)
    if published(name) is None:
        return f"{theirs} (where TensorFlow is installed: pip install tensorflow)"
    return (
        f"{download_command(name, data_dir)} (or, where TensorFlow is installed, pip install "
        f"tensorflow, with {theirs})"
    )


def tfds_command(name: str, data_dir: str | Path | None = None) -> str:
    """Give TFDS's own command that downloads and prepares a data set, with TensorFlow."""
    where = "" if data_dir is None else f"data_dir='{shown(data_dir)}', "
    return (
        f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', {where}"
        f"file_format='array_record').download_and_prepare()\""
    )


def data_root(data_dir: str | Path | None) -> Path:
    """Where TFDS keeps its data, unless told otherwise."""
    given = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(given).expanduser()


def is_builder(name: str) -> bool:
    """Whether TFDS knows a data set of this name."""
    return name in load_tfds().list_builders(with_community_datasets=False)


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


def _prepared(name: str, data_dir: str | Path | None) -> tuple[Any, Any, str]:
    """TFDS itself, its description of a prepared data set, and how that is prepared anew."""
    need("data", f"data set {name!r}, of TensorFlow Datasets and no folder,")
    import absl.logging

    absl.logging.set_verbosity(absl.logging.ERROR)  # it advises OpenCV at every start
    tfds = load_tfds()
    root = data_root(data_dir)
    get = ways_to_get(name, data_dir)
    base = re.split("[/:]", name)[0]
    if not (root / base).is_dir() and not is_builder(base):
        raise DataError(f"{name!r} is neither a TFDS data set nor a folder of class folders")
    absent = DataError(
        f"{_absence(name, root)}: download it with {get} or say where it is with --data-dir"
    )
    if not (root / base).is_dir():
        raise absent
    builder = _builder(name, root, absent, get)
    if not Path(builder.data_dir).is_dir():
        there = _other_version(name, Path(builder.data_dir).parent, root)
        if there is None:
            raise absent
        builder = _builder(there, root, absent, get)
    if not builder.info.splits:
        raise DataError(f"{builder.data_dir} has no dataset_info.json: prepare it anew with {get}")
    return tfds, builder, get


def _builder(name: str, root: Path, absent: DataError, get: str) -> Any:
    """TFDS's description of a prepared data set."""
    tfds = load_tfds()
    base = re.split("[/:]", name)[0]
    try:
        return tfds.builder(name, data_dir=root)
    except Exception as error:  # of its own, of protobuf, of JSON, of files
        for file in sorted((root / base).rglob("dataset_info.json")):
            if reason := _info_problem(file):
                raise DataError(
                    f"{file} is damaged ({reason}): prepare it anew with {get}"
                ) from None
        lacking = tfds.core.registered.DatasetNotFoundError
        if isinstance(error, AssertionError | FileNotFoundError | NotImplementedError | lacking):
            raise absent from None
        raise DataError(f"cannot open data set {name!r} in {root}: {_reason(error)}") from None


def _other_version(name: str, folder: Path, root: Path) -> str | None:
    """Name the newest version in a data set's folder; None where there is none, or one was named.

    TFDS itself looks for that version alone which it would prepare today.
    """
    if ":" in name or not folder.is_dir():
        return None
    named = (re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", path.name) for path in folder.iterdir())
    found = sorted(tuple(map(int, version.groups())) for version in named if version is not None)
    if not found:
        return None
    return f"{folder.relative_to(root).as_posix()}:{'.'.join(map(str, found[-1]))}"


def _absence(name: str, root: Path) -> str:
    """Say that a data set is not there, or only a part of it, which TFDS leaves when stopped."""
    base = re.split("[/:]", name)[0]
    begun = sorted((root / base).rglob("*.incomplete*"))
    more = f" (the preparation that left {begun[0]} was not finished)" if begun else ""
    return f"data set {name!r} is not in {root}{more}"


def _info_problem(file: Path) -> str | None:
    """What is wrong with a data set's description of itself, or None."""
    try:
        values = from_json(read_small(file, MAX_INFO_BYTES, "a data set's description"))
        splits = values["splits"]
        {split["name"]: [int(length) for length in split["shardLengths"]] for split in splits}
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:
        return "it is no JSON, or not whole"
    except (KeyError, TypeError, AttributeError):
        return "it does not tell its splits"
    return None


def _check_array_record(path: Path, num_records: int, get: str) -> None:
    from array_record.python import array_record_module

    _check_present(path, get)
    reader = array_record_module.ArrayRecordReader(str(path))
    found = reader.num_records()
    with contextlib.suppress(RuntimeError):  # what is wrong with the file, once more
        reader.close()
    if found != num_records:
        has = f"has {found:,} images where {num_records:,} are noted" if found else "has no index"
        raise DataError(
            f"{path} {has}: it is cut off, damaged, or its preparation was not finished; prepare "
            f"it anew with {get}"
        )


def _open_tfrecord(part: Any, get: str) -> Shard:
    path = Path(part.filename)
    _check_present(path, get)
    try:
        return open_shard(path, part.examples_in_shard, part.skip, part.take)
    except DataError as error:
        raise DataError(f"{error}; prepare it anew with {get}") from None


def _check_present(path: Path, get: str) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing: prepare the data set anew with {get}")


def _reason(error: Exception) -> str:
    """The first line that says something; TFDS puts what it was doing before it."""
    line = next((text for text in str(error).strip().splitlines() if text), type(error).__name__)
    return re.sub(r"^(\w+: )?Failed to construct dataset .*?\}\": ", "", line)
