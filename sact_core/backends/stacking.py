"""Images put together by size, as many as memory has room for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from sact_core.backends.memory import batch_that_fits
from sact_core.network import Plan

Tag = TypeVar("Tag")


def stacked(
    inputs: Iterable[tuple[np.ndarray, Tag]], plan: Plan, wanted: int, num_processes: int = 1
) -> Iterator[tuple[np.ndarray, list[Tag]]]:
    """Put inputs of one size together, as they come.

    An input is asked for when there is room for it, so that of whatever makes them (files
    of photographs, above all) no more is in memory than is run together.

    Parameters
    ----------
    inputs : iterable of (x, tag)
        ``x`` [shape=(1, H, W, 3), float32] is one image; the tag is handed on with it.
    plan : Plan
        The network that will run them.
    wanted, num_processes : int
        As for `sact_core.backends.memory.batch_that_fits`.

    Yields
    ------
    x : np.ndarray [shape=(n, H, W, 3), float32]
        Images of one size.
    tags : list
        Theirs. Images keep their order as long as their sizes do not differ.

    Raises
    ------
    ValueError
        If there is no memory for a single image.
    """
    fits: dict[tuple[int, int], int] = {}
    waiting: dict[tuple[int, int], list[tuple[np.ndarray, Tag]]] = {}
    taken = 0.0
    for x, tag in inputs:
        size = (x.shape[1], x.shape[2])
        if size not in fits:
            fits[size] = batch_that_fits(plan, size, wanted, num_processes)
        waiting.setdefault(size, []).append((x, tag))
        taken += 1 / fits[size]
        if taken > 1 - 1e-6:
            yield from _batches(waiting)
            waiting, taken = {}, 0.0
    yield from _batches(waiting)


def _batches(
    waiting: dict[tuple[int, int], list[tuple[np.ndarray, Tag]]],
) -> Iterator[tuple[np.ndarray, list[Tag]]]:
    for together in waiting.values():
        yield np.concatenate([x for x, _ in together]), [tag for _, tag in together]
