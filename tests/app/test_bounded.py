"""What is kept within bounds."""

from __future__ import annotations

import threading
import time

from app.bounded import Bounded


def test_the_least_recently_used_goes_first():
    kept: Bounded[str, int] = Bounded(3)
    for i, key in enumerate("abc"):
        kept.put(key, i)
    assert kept.get("a") == 0  # used now
    assert kept.peek("b") == 1  # only looked at
    kept.put("d", 3)

    assert list(kept) == ["c", "a", "d"]
    assert "b" not in kept
    assert kept.get("b") is None
    assert kept.peek("b") is None


def test_bound_is_in_bytes_and_the_last_stays():
    kept: Bounded[str, bytes] = Bounded(10, len)
    kept.put("a", bytes(6))
    kept.put("b", bytes(4))
    assert list(kept) == ["a", "b"]
    kept.put("a", bytes(7))  # in place of the old one, and the newest
    assert list(kept) == ["a"]
    kept.put("c", bytes(100))
    assert list(kept) == ["c"]
    kept.put("d", bytes(10))
    assert list(kept) == ["d"]
    kept.put("e", bytes(0))
    assert list(kept) == ["d", "e"]
    kept.clear()
    assert len(kept) == 0
    kept.put("f", bytes(10))
    kept.put("g", bytes(0))
    assert len(kept) == 2


def test_threads_make_a_value_once():
    kept: Bounded[str, int] = Bounded(4)
    made: list[int] = []

    def make() -> int:
        time.sleep(0.02)
        made.append(len(made))
        return made[-1]

    threads = [threading.Thread(target=kept.get_or_make, args=("a", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert made == [0]
    assert kept.get("a") == 0
