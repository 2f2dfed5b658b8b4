"""What threads make ahead comes in order, and so do their errors."""

from __future__ import annotations

import threading
import time

import pytest

from sact_core.ahead import BATCHES, Ahead, batches_ahead


def test_steps_come_in_order_and_errors_come_through():
    def make(step):
        if step == 7:
            raise ValueError("no more")
        return step * 10

    ahead = Ahead(make, range(2, 20))
    made = iter(ahead)
    assert [next(made) for _ in range(5)] == [20, 30, 40, 50, 60]
    with pytest.raises(ValueError, match="no more"):
        next(made)
    assert ahead.waited >= 0
    ahead.close()


def test_a_thread_that_nobody_needs_stops():
    stopped = Ahead(lambda step: None, range(1000))
    assert next(iter(stopped)) is None
    stopped.close()
    assert not stopped._thread.is_alive()


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_batches_come_in_order_whoever_is_quicker(num_workers):
    def one(index):
        time.sleep(0.002 * (index % 3 == 0))
        return index

    batches = [range(4), range(4, 5), [], [9, 7, 8]]
    comp = list(batches_ahead(one, batches, num_workers))
    assert comp == [[0, 1, 2, 3], [4], [], [9, 7, 8]]


def test_no_more_is_made_than_is_soon_needed():
    begun = []
    batches = batches_ahead(begun.append, [[i] for i in range(50)], 2)
    next(batches)
    assert len(begun) <= BATCHES + 1
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_an_error_comes_with_its_batch():
    def one(index):
        if index == 3:
            raise OSError("gone")
        return index

    batches = batches_ahead(one, [[0, 1], [2, 3]], 2)
    assert next(batches) == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(batches)
