"""A whole test split through a network: kept in parts, so that it can go on.

The caching twin of ``sact_core.data``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import streamlit as st

from app.loaders.checkpoints import Model, net
from app.loaders.folders import InputError, data_dir, sentence
from app.loaders.running import dense_total, forward
from sact_core.backends import Net
from sact_core.data import DataError, Source, download_command, open_split

CHUNK = 100  # images of one part


@dataclass(frozen=True)
class Outcomes:
    """What a network did with many images.

    Attributes
    ----------
    labels, predictions : np.ndarray [shape=(n,), int64]
    flops : np.ndarray [shape=(n,), int64]
    sure : np.ndarray [shape=(n,), float32]
        Probability of the prediction.
    units : np.ndarray [shape=(n,), float32]
        Units that a position ran on average; all of them in vanilla networks.
    dense : np.ndarray [shape=(n,), int64]
        FLOPs if every unit ran.
    """

    labels: np.ndarray
    predictions: np.ndarray
    flops: np.ndarray
    sure: np.ndarray
    units: np.ndarray
    dense: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> np.ndarray:
        """Where the prediction is the label [shape=(n,), bool]."""
        return self.labels == self.predictions


def name_of(model: Model) -> str | None:
    """Data set that a checkpoint was trained on, where it says."""
    data = model.header.provenance.get("data_set")
    name = data.get("name") if isinstance(data, dict) else None
    # It becomes part of a path: a plain name and nothing else.
    return name if isinstance(name, str) and name.isidentifier() else None


def is_here(model: Model) -> bool:
    """Whether the data set of a checkpoint is on this machine."""
    name = name_of(model)
    return name is not None and (data_dir() / name).is_dir()


def how_to_get_it(model: Model) -> str:
    """The command that downloads the data set."""
    return download_command(name_of(model) or "cifar10")


def source(model: Model) -> Source:
    """The test split of a checkpoint.

    Raises
    ------
    InputError
        If it is absent or cannot be read.
    """
    try:
        return _open(name_of(model) or "", "test", str(data_dir()))
    except DataError as error:
        raise InputError(sentence(error)) from None


def run(model: Model, count: int) -> Iterator[tuple[int, Outcomes]]:
    """Run a network over the first images of its test split, part by part.

    Yields
    ------
    done : int
        Images so far.
    outcomes : Outcomes
        Of the part.

    Raises
    ------
    InputError
        If the data set or the checkpoint cannot be used.
    """
    split = source(model)
    network = net(model)
    total = min(count, len(split))
    for begin in range(0, total, CHUNK):
        end = min(begin + CHUNK, total)
        try:
            part = _part(model.digest, split.name, begin, end, network, split)
        except (ValueError, OSError, MemoryError) as error:
            raise InputError(sentence(error)) from None
        yield end, part


def join(parts: list[Outcomes]) -> Outcomes:
    """Put parts together."""
    names = ("labels", "predictions", "flops", "sure", "units", "dense")
    return Outcomes(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def images(model: Model, indices: list[int]) -> list[np.ndarray]:
    """Decode some test images [shape=(h, w, 3), uint8].

    Raises
    ------
    InputError
        If they cannot be read.
    """
    try:
        return [image for image, _, _ in source(model).read(indices)]
    except (ValueError, OSError, IndexError) as error:
        raise InputError(sentence(error)) from None


@st.cache_resource(max_entries=4, show_spinner="Opening the data set …")
def _open(name: str, split: str, folder: str) -> Source:
    return open_split(name, split, folder)


@st.cache_data(max_size="64MB", show_spinner=False)
def _part(digest: str, name: str, begin: int, end: int, _net: Net, _source: Source) -> Outcomes:
    examples = _source.read(range(begin, end))
    pictures = [image for image, _, _ in examples]
    if len({picture.shape for picture in pictures}) == 1:
        results = [forward(_net, np.stack(pictures))]
    else:
        results = [forward(_net, picture[None]) for picture in pictures]
    logits = np.concatenate([result.logits for result in results])
    units, dense = [], []
    for result in results:
        n = len(result.logits)
        total = np.zeros(n, np.float32)
        for block, planned in zip(result.blocks, _net.plan.blocks, strict=True):
            if block.num_units is None:
                total += len(planned.units)
            else:
                total += block.num_units.reshape(n, -1).mean(axis=1)
        units.append(total)
        flops = dense_total(_net, result.input_size)
        dense.append(np.full(n, flops, np.int64))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Outcomes(
        np.array([label for _, label, _ in examples], np.int64),
        logits.argmax(axis=1).astype(np.int64),
        np.concatenate([result.flops for result in results]),
        (shifted.max(axis=1) / shifted.sum(axis=1)).astype(np.float32),
        np.concatenate(units),
        np.concatenate(dense),
    )
