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

import numpy as np

from sact_core.benchmark.cases import Case

#: Threads of an idle process spin for a while before they sleep.
PAUSE = 0.05


class SideError(ChildProcessError):
    """A measured process failed; the message holds the end of what it said.

    Attributes
    ----------
    reason : str
        What it said, alone.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class Process:
    """One side of a measurement: a process that waits for orders.

    Parameters
    ----------
    side : str
        One of `sact_core.benchmark.sides.SIDES`.
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
        self.facts: dict[str, Any] = {}

    def wait(self) -> None:
        """Return when the side is built and warm; its `facts` are known then."""
        if not self.ready:
            self.facts = self._answer()
            self.ready = True

    def set_ratio(self, ratio: float) -> dict[str, Any]:
        """Halt so that this share of the dense FLOPs is needed, on the masked engine.

        Returns
        -------
        dict
            The ``reach`` of `steer.set_reach` that does it, mean ``flops`` of an image
            and active ``positions``.
        """
        return self._order(f"ratio {ratio}")

    def set_reach(self, reach: float) -> None:
        """Halt as another side does that was asked for a ratio."""
        self._order(f"reach {reach!r}")

    def set_images(self, path: str) -> None:
        """Take another batch (``.npy``) than the case's, of whatever size."""
        self._order(f"images {path}")

    def set_tau(self, tau: float) -> None:
        """Take this price of a unit, of a network that is conditioned on it."""
        self._order(f"tau {tau!r}")

    def answers(self, x: np.ndarray) -> tuple[np.ndarray, list[float] | None]:
        """Run another batch of the same shape once.

        Parameters
        ----------
        x : np.ndarray [shape=(n, h, w, 3), float32]

        Returns
        -------
        logits : np.ndarray [shape=(n, classes), float32]
        flops : list of float, optional
            Of each image, by the masked engine; None of other sides.
        """
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/x.npy", x)
            flops: list[float] | None = self._order(f"answers {folder}")["flops"]
            logits: np.ndarray = np.load(f"{folder}/logits.npy")
            return logits, flops

    def logits(self) -> np.ndarray:
        """Run once; give logits [shape=(n, classes), float32]."""
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/logits.npy"
            self._order(f"logits {path}")
            logits: np.ndarray = np.load(path)
            return logits

    def measure(self, seconds: float) -> dict[str, Any]:
        """Run for about so long.

        Returns
        -------
        dict
            ``seconds`` of each run; ``memory`` in bytes: the most that the process has
            held, had held before the network was built, and held while it ran; ``joules`` that the
            processor took for a run, None where the machine does not tell.
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
        text = self._errors.read().strip()
        said = text.splitlines()[-1] if text else "nothing"
        if "No working C++ compiler" in text:
            said = "it needs a C++ compiler, which is not here: install one, such as g++"
        reason = said.removeprefix("ValueError: ")
        raise SideError(f"the {self.side} side ended early and said: {said}", reason)
