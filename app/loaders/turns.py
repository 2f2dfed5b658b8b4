"""Who runs a network when: one at a time, in the order of asking, and nobody too much.

Kernels use every processor themselves. A visit that asks for many runs, such as a whole
data set, waits for its next one until everybody who has asked meanwhile was served.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.folders import InputError

#: Runs of one visit that may wait or go on at a time.
MOST_QUEUED = 2
#: What one image may cost, in billions of FLOPs: pixels times units times their width.
#: A ResNet-101 at 640 pixels takes 130. ``SACT_MAX_GFLOPS`` sets another limit.
MAX_GFLOPS = 500.0


class Turns:
    """A lock that goes to whoever has waited longest, with few places for one visit."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[tuple[object, object]] = deque()

    def __enter__(self) -> None:
        """Wait for one's turn.

        Raises
        ------
        InputError
            If this visit has too many runs waiting.
        """
        visit, place = visit_of_thread(), object()
        with self._changed:
            if sum(other == visit for other, _ in self._queue) >= MOST_QUEUED:
                raise InputError(
                    f"This visit has {MOST_QUEUED} runs waiting already: try again when they are "
                    "done."
                )
            self._queue.append((visit, place))
            try:
                self._changed.wait_for(lambda: self._queue[0][1] is place)
            except BaseException:
                self._queue.remove((visit, place))
                self._changed.notify_all()
                raise

    def __exit__(self, *_: object) -> None:
        """Let the next one go."""
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()


def visit_of_thread() -> object:
    """Tell visits apart; outside of the app, threads."""
    context = get_script_run_ctx(suppress_warning=True)
    return context.session_id if context is not None else threading.get_ident()


def require_work(flops: int, what: str) -> None:
    """Refuse one image that would keep everybody else waiting.

    Parameters
    ----------
    flops : int
        What it takes if every position runs every unit.
    what : str
        The image and its size, for the message.

    Raises
    ------
    InputError
        With what it takes, what one visit may ask for, and what to do.
    """
    most = max_gflops()
    if flops > most * 1e9:
        raise InputError(
            f"{what} takes {flops / 1e9:,.0f} billion FLOPs, but one visit may ask for {most:,.0f} "
            "at a time, so that others are served: choose a smaller side."
        )


def max_gflops() -> float:
    """The limit of an image's work, as whoever serves the app has set it."""
    try:
        return max(float(os.environ.get("SACT_MAX_GFLOPS", "")), 1.0)
    except ValueError:
        return MAX_GFLOPS
