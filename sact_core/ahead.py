"""Reading ahead: threads make what comes next while the last is being used.

Threads, because decoding, resizing and NumPy leave the interpreter to others. What
comes, comes in order, whoever made it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")

STEPS = 4  # made ahead by `Ahead`
BATCHES = 2  # by `batches_ahead`


class Ahead(Generic[T]):
    """What steps need, made ahead by one thread.

    Iterating gives it in order; ``waited`` sums the seconds in which the caller had
    to wait.

    Parameters
    ----------
    make : callable
        Gives what a step needs; what it raises comes at that step.
    steps : range
        Which ones.
    """

    def __init__(self, make: Callable[[int], T], steps: range) -> None:
        self.waited = 0.0
        self._queue: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue(STEPS)
        self._stop = threading.Event()
        self._steps = steps
        self._thread = threading.Thread(target=self._work, args=(make,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        for _ in self._steps:
            begin = time.perf_counter()
            made, error = self._queue.get()
            self.waited += time.perf_counter() - begin
            if error is not None:
                raise error
            yield made  # type: ignore[misc]

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._thread.join()

    def _work(self, make: Callable[[int], T]) -> None:
        for step in self._steps:
            item: tuple[T | None, Exception | None]
            try:
                item = make(step), None
            except Exception as error:
                item = None, error
            while not self._stop.is_set():
                try:
                    self._queue.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._stop.is_set() or item[1] is not None:
                return


def batches_ahead(
    one: Callable[[int], T], batches: Iterable[Iterable[int]], num_workers: int
) -> Iterator[list[T]]:
    """Give batch after batch; the next two are made meanwhile, their parts side by side.

    Parameters
    ----------
    one : callable
        From an index to a part of a batch; called by several threads at once.
    batches : iterable of iterable of int
        The indices of each batch.
    num_workers : int
        Threads; at least one.

    Yields
    ------
    list
        What ``one`` gives for each index of a batch, in their order; what it raises is
        raised here.
    """
    waiting: deque[list[Future[T]]] = deque()
    with ThreadPoolExecutor(max(1, num_workers), "ahead") as pool:
        try:
            for batch in batches:
                waiting.append([pool.submit(one, index) for index in batch])
                if len(waiting) > BATCHES:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)
