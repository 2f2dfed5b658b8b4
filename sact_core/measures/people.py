"""What people answered on the images of a test split: CIFAR-10H, as its file or as TFDS has it.

Answers are joined to images by the number that the data set's own name of an image ends
in, never by position; whether that is right is seen by how often people's most frequent
answer is the label.

Source: Peterson et al. 2019, arXiv:1908.07086, "Human uncertainty makes classification
more robust" (CIFAR-10H).
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.data.records import DataError
from sact_core.files import require_ordinary
from sact_core.texts import shown

#: Below, the answers are of other images than the labels.
LEAST_AGREEMENT = 0.9
#: Images that people answered on, without which there is nothing to correlate.
LEAST_IMAGES = 3
#: Bytes that a file of answers may have.
MOST_BYTES = 1 << 26
#: The data set of TFDS that has answers.
TFDS_NAME = "cifar10_h"
_NUMBER = re.compile(r"(\d{1,9})(?:\.\w+)?$")


@dataclass(frozen=True, eq=False)
class Answers:
    """What people answered on every image of a test split.

    Attributes
    ----------
    shares : np.ndarray [shape=(m, classes), float64]
        Share of people that chose each class; NaN throughout where nobody answered.
    name : str
        Where they come from.
    numbers : np.ndarray [shape=(m,), int64], optional
        The number of each row's image; the row's own, from 0, where left out. Whether names
        count from 0 or from 1 is found out.
    """

    shares: np.ndarray
    name: str
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.shares)


@dataclass(frozen=True, eq=False)
class Joined:
    """People's answers on the images of a pass.

    Attributes
    ----------
    shares : np.ndarray [shape=(n, classes), float64]
        As of `Answers`.
    agreement : float
        How often the most frequent answer is the label.
    """

    shares: np.ndarray
    agreement: float

    @property
    def answered(self) -> np.ndarray:
        """Images that anybody answered on [shape=(n,), bool]."""
        answered: np.ndarray = ~np.isnan(self.shares).any(1)
        return answered

    @property
    def entropy(self) -> np.ndarray:
        """Of the answers to each image, in bits [shape=(n,), float64]."""
        logs = np.log2(np.where(self.shares > 0, self.shares, 1))
        bits: np.ndarray = np.abs(-(self.shares * logs).sum(1))  # not -0
        return bits

    @property
    def disagreement(self) -> np.ndarray:
        """Share of people who chose another class than most did [shape=(n,), float64]."""
        others: np.ndarray = 1 - self.shares.max(1)
        return others


def read_answers(source: str | Path, data_dir: str | Path | None = None) -> Answers:
    """Read people's answers.

    Parameters
    ----------
    source : str or Path
        A ``.npy`` file of counts [shape=(images, classes)], row by row in the order of the
        official test file; or ``cifar10_h``, of TFDS.
    data_dir : path, optional
        Where TFDS keeps its data.

    Raises
    ------
    DataError
        If it is absent, cannot be read or holds no counts.
    OSError
        If the file cannot be opened.
    """
    if is_of_tfds(source):
        return _read_tfds(str(source), data_dir)
    path = Path(source)
    facts = require_ordinary(path, DataError)
    if facts.st_size > MOST_BYTES:
        raise DataError(
            f"{shown(path)} has {facts.st_size:,} bytes; counts of people's answers are few"
        )
    return answers_of(path.read_bytes(), shown(path))


def is_of_tfds(source: str | Path) -> bool:
    """Whether people's answers are asked for by the name of TFDS's data set, with its version."""
    return re.split("[/:]", str(source))[0] == TFDS_NAME


def answers_of(data: bytes, name: str) -> Answers:
    """Take people's answers from the bytes of a ``.npy`` file.

    Parameters
    ----------
    data : bytes
        Of the file.
    name : str
        What it is called in messages.

    Raises
    ------
    DataError
        If it is no such file or holds no counts.
    """
    counts = _array(data)
    if counts is None:
        raise DataError(f"{name} is no .npy file of numbers")
    if counts.ndim != 2 or not counts.shape[0] or counts.shape[1] < 2:
        raise DataError(
            f"{name} has shape {counts.shape}: people's answers are counts [images, classes]"
        )
    values = counts.astype(np.float64)
    nobody = np.isnan(values).all(1) | (values == 0).all(1)
    there = values[~nobody]
    if not len(there):
        raise DataError(f"{name} has no answer on any of {len(values):,} images")
    if not np.isfinite(there).all() or there.min() < 0:
        raise DataError(f"{name} holds no counts: they are finite, and 0 at least")
    values[nobody] = np.nan
    return Answers(values / values.sum(1, keepdims=True), name)


def join(
    answers: Answers,
    names: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    num_images: int | None = None,
) -> Joined:
    """Find people's answers on some images, by the number in an image's name.

    Parameters
    ----------
    answers : Answers
        Of the whole test split.
    names : np.ndarray [shape=(n,), str]
        The data set's own names of the images, such as ``test_00016``.
    labels : np.ndarray [shape=(n,), int64]
        Their classes.
    num_classes : int
        How many there are.
    num_images : int, optional
        Of the whole test split, where it is known.

    Raises
    ------
    DataError
        If a name has no number, answers are on other classes or on another number of images,
        people answered on fewer than `LEAST_IMAGES` of these, or they agree with the labels on
        less than nine in ten.
    """
    if num_images is not None and len(answers) != num_images:
        raise DataError(
            f"{answers.name} has answers on {len(answers):,} images, but the whole split has "
            f"{num_images:,}: is it of another split?"
        )
    if answers.shares.shape[1] != num_classes:
        raise DataError(
            f"{answers.name} has answers of {answers.shares.shape[1]} classes, the images have "
            f"{num_classes}"
        )
    matches = [_NUMBER.search(name) for name in names.tolist()]
    if None in matches:
        odd = names[matches.index(None)]
        raise DataError(
            f"the image {shown(odd)} has no number in its name, by which people's answers are found"
        )
    numbers = np.array([int(match[1]) for match in matches if match is not None], np.int64)
    tries = []
    for rows in _rows(answers, numbers):
        shares = answers.shares[rows]
        answered = ~np.isnan(shares).any(1)
        agrees = shares[answered].argmax(1) == labels[answered]
        tries.append(Joined(shares, float(agrees.mean()) if answered.any() else 0.0))
    if not tries:
        raise DataError(
            f"{answers.name} has answers on {len(answers):,} images, not on all of images "
            f"{numbers.min():,} to {numbers.max():,}: is it of another split?"
        )
    enough = [joined for joined in tries if joined.answered.sum() >= LEAST_IMAGES]
    if not enough:
        most = max(joined.answered.sum() for joined in tries)
        raise DataError(
            f"{answers.name} has answers on {most} of these {len(numbers):,} images; correlations "
            f"take {LEAST_IMAGES} at least"
        )
    best = max(enough, key=lambda joined: joined.agreement)
    if best.agreement < LEAST_AGREEMENT:
        raise DataError(
            f"{answers.name} agrees with the labels on {best.agreement:.1%} of the images, where "
            f"people would on 99 %: its answers are of other images or in another order"
        )
    return best


def _array(data: bytes) -> np.ndarray | None:
    """The numbers of a ``.npy`` file; None if it is none, or not whole."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, in_columns, dtype = read(file)
    except Exception:  # of a damaged header NumPy raises whatever its parser does
        return None
    # What the header claims is not believed before it is seen to be there.
    rest = data[file.tell() :]
    if any(side < 0 for side in shape):
        return None
    if dtype.kind not in "iuf" or math.prod(shape) * dtype.itemsize != len(rest):
        return None
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if in_columns else "C")


def _rows(answers: Answers, numbers: np.ndarray) -> list[np.ndarray]:
    """Rows of the answers that images of these numbers may have, where all have one."""
    theirs = np.arange(len(answers)) if answers.numbers is None else answers.numbers
    order, found = np.argsort(theirs, kind="stable"), []
    for shift in (0, -1, 1):  # images are counted from 0 or from 1, answers too
        wanted = numbers + shift
        at = np.searchsorted(theirs, wanted, sorter=order).clip(max=len(order) - 1)
        rows = order[at]
        if (theirs[rows] == wanted).all():
            found.append(rows)
    return found


def _read_tfds(name: str, data_dir: str | Path | None) -> Answers:
    """Read TFDS's ``cifar10_h``, whose test split has the images in another order."""
    from sact_core.data.tfds import open_features

    rows = open_features(name, "test", ("id", "soft_label"), data_dir)
    numbers, shares = [], []
    for row in rows:
        match = _NUMBER.search(_text(row["id"]))
        if match is None:
            raise DataError(f"{name} has an image without a number: {shown(_text(row['id']))}")
        numbers.append(int(match[1]))
        shares.append(np.asarray(row["soft_label"], np.float64))
    if not shares:
        raise DataError(f"{name} has no images")
    return Answers(np.stack(shares), name, np.array(numbers, np.int64))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
