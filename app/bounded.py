"""The most recent of what was made, within bounds; no Streamlit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Values by key; once they weigh too much, the least recently used go.

    What came last stays, whatever it weighs. Threads may share one.

    Parameters
    ----------
    limit : int
        What all values together may weigh.
    weigh : callable
        Weight of a value, such as its bytes; every value counts 1 where left out.
    """

    def __init__(self, limit: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self.limit = limit
        self._weigh = weigh
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weight = 0
        self._lock = threading.RLock()

    def get(self, key: K) -> V | None:
        """The value, which counts as used now; None where there is none."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def peek(self, key: K) -> V | None:
        """The value, which does not count as used: the order stays."""
        with self._lock:
            return self._kept[key][0] if key in self._kept else None

    def put(self, key: K, value: V) -> None:
        """Keep a value, in place of another of its key."""
        with self._lock:
            self._drop(key)
            weight = self._weigh(value)
            self._kept[key] = value, weight
            self._weight += weight
            while self._weight > self.limit and len(self._kept) > 1:
                self._drop(next(iter(self._kept)))

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """The value; made where there is none, by one thread at a time."""
        with self._lock:
            if key not in self._kept:
                self.put(key, make())
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def clear(self) -> None:
        """Let everything go."""
        with self._lock:
            self._kept.clear()
            self._weight = 0

    @property
    def weight(self) -> int:
        """What all values weigh together."""
        return self._weight

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def __iter__(self) -> Iterator[K]:
        """Keys, the next to go first."""
        with self._lock:
            return iter(list(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def drop(self, key: K) -> None:
        """Let a value go, if there is one."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: K) -> None:
        if key in self._kept:
            self._weight -= self._kept.pop(key)[1]
