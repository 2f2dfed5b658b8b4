"""What training did within its epochs: ``points.jsonl``, which grows line by line.

A point has ``epoch``, a fraction, and ``step``; means since the point before it, under the
names that metrics of whole epochs have; and ``seconds_left``, counted from ``time``, which is
in seconds since 1970.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sact_core.train.run_dir import read_rows
from sact_core.untrusted_json import from_json

FILE = "points.jsonl"
#: Of an epoch, evenly; and seconds after which there is one more where steps are slow.
AN_EPOCH, SECONDS = 20, 30.0
#: Sums of a step that a point has the means of: name, sum, and the sum that it is divided by.
MEANS = (
    ("train/Total Loss", "loss", "steps"),
    ("train/Cross Entropy", "entropy", "entropy_steps"),
    ("train/Accuracy", "accuracy", "steps"),
    ("train/flops_share", "flops_shares", "flops_steps"),
)


class Points:
    """The points of a run, as they are written.

    Parameters
    ----------
    folder : path
        The run directory.
    steps_per_epoch, num_steps : int
        Of the run.
    done : int
        Steps taken before; what the file says of later ones is dropped.
    """

    def __init__(
        self, folder: str | Path, steps_per_epoch: int, num_steps: int, done: int = 0
    ) -> None:
        self._path = Path(folder) / FILE
        self._steps_per_epoch, self._num_steps, self._first = steps_per_epoch, num_steps, done
        self._began = self._last = time.monotonic()
        self._sums: dict[str, float] = {}
        self._file: int | None = None

    def left(self, step: int) -> float | None:
        """Seconds that the run will take yet, evaluations included; None where unknown."""
        done = step - self._first
        if done < 1:
            return None
        return (time.monotonic() - self._began) * (self._num_steps - step) / done

    def add(self, step: int, sums: Mapping[str, float]) -> None:
        """Count a step; write a point where one is due.

        Parameters
        ----------
        step : int
            Steps so far, this one included.
        sums : mapping of str to float
            Of this step alone, as `MEANS` names them.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        within = step % self._steps_per_epoch or self._steps_per_epoch
        due = within * AN_EPOCH // self._steps_per_epoch
        before = (within - 1) * AN_EPOCH // self._steps_per_epoch
        if due == before and time.monotonic() - self._last < SECONDS:
            return
        point = {"epoch": step / self._steps_per_epoch, "step": step, "time": time.time()}
        for name, total, count in MEANS:
            if self._sums.get(count):
                point[name] = self._sums[total] / self._sums[count]
        self._sums, self._last = {}, time.monotonic()
        left = self.left(step)
        self._write(point if left is None else point | {"seconds_left": left})

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, point: dict[str, Any]) -> None:
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
                os.ftruncate(self._file, _kept(self._path, self._first))
            line = (json.dumps(point) + "\n").encode()
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise type(error)(f"cannot write {self._path}: {reason}") from error


def read_points(path: str | Path) -> list[dict[str, Any]]:
    """Read a run's points within epochs, oldest first; an empty list where there are none.

    Parameters
    ----------
    path : path
        The run directory. A half-written line is left out.
    """
    return read_rows(Path(path) / FILE)


def _kept(file: Path, done: int) -> int:
    """Bytes of the points up to a step; a half-written line and what follows is not of them."""
    length = 0
    with file.open("rb") as lines:
        for line in lines:
            try:
                step = from_json(line.decode())["step"]
                if not line.endswith(b"\n") or step > done:
                    break
            except (ValueError, TypeError, KeyError):
                break
            length += len(line)
    return length
