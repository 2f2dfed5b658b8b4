"""Processes that are measured in turn."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from sact_core.benchmark.cases import Case

#: Threads of an idle process spin for a while before they sleep.
PAUSE = 0.05


class SideError(ChildProcessError):
    """A measured process failed; the message holds the end of what it said."""


class Side:
    """One side of a measurement: a process that waits for orders.

    Parameters
    ----------
    side : str
        See `worker.Worker`.
    case : Case
        The network and its input.
    threads : int
        Threads that it may use.
    """

    def __init__(self, side: str, case: Case, threads: int) -> None:
        self.side = side
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sact_core.benchmark.worker"),
                *(side, json.dumps(case.to_dict()), str(threads)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "TORCHDYNAMO_VERBOSE": "0"},
        )
        self.ready = False

    def wait(self) -> None:
        """Return when the side is built and warm."""
        if not self.ready:
            self._answer()
            self.ready = True

    def set_ratio(self, ratio: float) -> dict[str, Any]:
        """Halt so that this share of the dense FLOPs is needed."""
        return self._order(f"ratio {ratio}")

    def measure(self, seconds: float) -> dict[str, Any]:
        """Run for about so long; give the ``seconds`` of each run and ``memory`` in bytes.

        ``memory`` is the most that the process has held, and had held before the
        network was built.
        """
        time.sleep(PAUSE)
        return self._order(f"measure {seconds}")

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.terminate()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._process.wait()
        self._errors.close()

    def _order(self, line: str) -> dict[str, Any]:
        self.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # why it ended is found below
            print(line, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()[-1:] or ["nothing"]
        raise SideError(f"the {self.side} side ended early and said: {said[0]}")
