"""The images of a run: those it trains on, those it is tested on, those it cannot read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sact_core.ahead import batches_ahead
from sact_core.backends.memory import batch_that_fits
from sact_core.config import Preprocessing
from sact_core.data.records import DataError, Unreadable
from sact_core.data.source import Examples, Source
from sact_core.network import Plan
from sact_core.preprocess import normalise, prepare
from sact_core.processes import Processes
from sact_core.train.batches import Augmenter, Batch
from sact_core.train.decode import bytes_to_keep
from sact_core.train.photographs import PhotographAugmenter
from sact_core.train.recipes import TrainingConfig
from sact_core.train.start import training_preprocessing

TEST_BATCH = 100  # larger ones leave the processor's cache


class Feed:
    """Training and test images, in memory or decoded when they are needed.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    train, test : Examples or Source
        In memory, or, with resized crops, to be decoded.
    processes : Processes
        Who shares each batch.
    num_workers : int
        Threads that decode images which are not in memory.

    Attributes
    ----------
    side : int
        Of the network's input, in pixels.
    preprocessing : Preprocessing
        How images are prepared for evaluation.
    class_names : tuple of str
        Of both.
    num_train : int
        Images of an epoch.
    left_out, left_out_of_test : Unreadable
        Images that cannot be read, as far as they were met.
    test_batch : int
        Most test images at a time.
    """

    def __init__(
        self,
        config: TrainingConfig,
        train: Examples | Source,
        test: Examples | Source,
        processes: Processes,
        num_workers: int,
    ) -> None:
        side = train.images.shape[1] if isinstance(train, Examples) else config.image_size
        assert side is not None
        self.side: int = side
        self.test_batch = TEST_BATCH
        self.preprocessing = training_preprocessing(config, side)
        self.class_names = train.class_names
        self._test, self._processes, self._num_workers = test, processes, num_workers
        self._augmenter: Augmenter | PhotographAugmenter
        kind = self.preprocessing.kind
        if isinstance(train, Examples):
            self._augmenter = Augmenter(train.images, train.labels, config, kind)
            self.left_out = train.left_out
        else:
            keep_bytes = bytes_to_keep(processes.world)
            self._augmenter = PhotographAugmenter(train, config, kind, num_workers, keep_bytes)
            self.left_out = self._augmenter.left_out
        self.left_out_of_test = test.left_out if isinstance(test, Examples) else Unreadable()
        self.num_train = len(self.order(0))

    @property
    def augmenter(self) -> Augmenter | PhotographAugmenter:
        """What makes the batches."""
        return self._augmenter

    def order(self, epoch: int) -> np.ndarray:
        """Order of the training images in an epoch [shape=(n,), int64]."""
        return self._augmenter.order(epoch)

    def batch(self, epoch: int, step: int, order: np.ndarray) -> Batch:
        """Make this process' share of a step's batch."""
        return self._augmenter.batch(
            epoch, step, order, self._processes.rank, self._processes.world
        )

    def test_inputs(self, plan: Plan) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give test images as `test_batches`, as many at a time as a network has memory for.

        Raises
        ------
        DataError
            If not one of them can be read.
        ValueError
            If there is no memory for a single one.
        """
        count, size = 0, (self.side, self.side)
        batch_size = batch_that_fits(plan, size, self.test_batch, self._processes.world)
        for images, labels in test_batches(
            self._test, self.preprocessing, self._num_workers, self.left_out_of_test, batch_size
        ):
            count += len(images)
            yield images, labels
        if not count:
            raise DataError(f"not one image of {self._test.name} {self._test.split} can be read")

    def share_left_out(self) -> None:
        """Tell all processes what each could not read: they meet different images."""
        if isinstance(self._augmenter, PhotographAugmenter):
            for found in self._processes.gather(list(self.left_out.found.items())):
                self.left_out.found.update({index: (name, why) for index, (name, why) in found})

    def counts(self) -> tuple[int, int]:
        """Training and test images that can be read, as far as is known."""
        if isinstance(self._test, Examples):
            return self.num_train, len(self._test)
        return self.num_train - len(self.left_out), len(self._test) - len(self.left_out_of_test)

    def describe(self, record: dict[str, Any]) -> None:
        """Add to a run's provenance what could not be read."""
        for part, left_out in (("data_set", self.left_out), ("metrics", self.left_out_of_test)):
            if left_out:
                record[part]["skipped"] = left_out.record()

    def skipped(self) -> list[str]:
        """Say what could not be read, a line for training and one for test images."""
        names = ("training images", "test images")
        found = zip(names, self.counts(), (self.left_out, self.left_out_of_test), strict=True)
        return [left.line(count + len(left), what) for what, count, left in found if left]

    def state(self) -> dict[str, Any]:
        """What could not be read so far, to be kept with a run's state."""
        return {
            "left_out": dict(self.left_out.found),
            "left_out_of_test": dict(self.left_out_of_test.found),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.left_out.found.update(state.get("left_out", {}))
        self.left_out_of_test.found.update(state.get("left_out_of_test", {}))


def test_batches(
    test: Examples | Source,
    preprocessing: Preprocessing,
    num_workers: int,
    left_out: Unreadable,
    batch_size: int,
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
    batch_size : int
        Images at a time.

    Yields
    ------
    images : np.ndarray [shape=(n, h, w, 3), float32]
    labels : np.ndarray [shape=(n,), int64]
    """
    if isinstance(test, Examples):
        for begin in range(0, len(test), batch_size):
            part = slice(begin, begin + batch_size)
            yield normalise(test.images[part], preprocessing.kind), test.labels[part]
        return

    def one(index: int) -> list[tuple[np.ndarray, int]]:
        found = test.readable([index], left_out)
        return [(prepare(image, preprocessing), label) for image, label, _ in found]

    for batch in batches_ahead(one, test.chunks(batch_size), num_workers):
        found = [pair for pairs in batch for pair in pairs]
        if found:
            yield np.stack([x for x, _ in found]), np.array([y for _, y in found], np.int64)
