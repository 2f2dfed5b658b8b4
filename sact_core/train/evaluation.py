"""Test images of a run as a network's input, from memory or decoded ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from sact_core.config import Preprocessing
from sact_core.data import Examples, Source
from sact_core.preprocess import normalise, prepare
from sact_core.records import Unreadable

BATCH = 100  # larger ones leave the processor's cache
AHEAD = 2  # batches


def inputs(
    test: Examples | Source, preprocessing: Preprocessing, num_workers: int, left_out: Unreadable
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give test images batch by batch, in constant memory.

    Parameters
    ----------
    test : Examples or Source
        Images in memory, which have the right size, or to be read.
    preprocessing : Preprocessing
        How they are prepared.
    num_workers : int
        Threads that decode.
    left_out : Unreadable
        Gets those that cannot be read.

    Yields
    ------
    images : np.ndarray [shape=(n, h, w, 3), float32]
    labels : np.ndarray [shape=(n,), int64]
    """
    if isinstance(test, Examples):
        for begin in range(0, len(test), BATCH):
            part = slice(begin, begin + BATCH)
            yield normalise(test.images[part], preprocessing.kind), test.labels[part]
        return
    source = test

    def one(index: int) -> list[tuple[np.ndarray, int]]:
        found = source.readable([index], left_out)
        return [(prepare(image, preprocessing), label) for image, label, _ in found]

    waiting: deque[list[Future[list[tuple[np.ndarray, int]]]]] = deque()

    def oldest() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        found = [pair for future in waiting.popleft() for pair in future.result()]
        if found:
            yield np.stack([x for x, _ in found]), np.array([y for _, y in found], np.int64)

    with ThreadPoolExecutor(max(1, num_workers), "prepare") as pool:
        for chunk in source.chunks(BATCH):
            waiting.append([pool.submit(one, index) for index in chunk])
            if len(waiting) > AHEAD:
                yield from oldest()
        while waiting:
            yield from oldest()
