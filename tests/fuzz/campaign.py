"""Try many inputs of several kinds in another process, and keep those that show a fault."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

HANG_SECONDS = 300.0
START_SECONDS = 300.0  # on a busy machine
PROGRAM = ("-m", "tests.fuzz.worker")


@dataclass(frozen=True)
class Fault:
    """An input that shows one.

    Attributes
    ----------
    kind : str
    seed, number : int
        What makes the input.
    problem : str
        What is wrong, in one line.
    shown : str
        What the input is.
    kept : Path
        The input, and in ``fault.txt`` all that was said.
    """

    kind: str
    seed: int
    number: int
    problem: str
    shown: str
    kept: Path

    def __str__(self) -> str:
        again = f"make fuzz KINDS={self.kind} SEED={self.seed} FIRST={self.number} N=1"
        return (
            f"{self.kind} {self.number}: {self.problem}\n  {self.shown[:500]}\n"
            f"  kept in {self.kept}; again: {again}"
        )


def campaign(
    numbers: dict[str, Iterable[int]], seed: int, keep: Path, hang_seconds: float = HANG_SECONDS
) -> Iterator[tuple[str, int, Fault | None]]:
    """Try inputs; give kind, number and the fault, if there is one, of each.

    Parameters
    ----------
    numbers : dict of str to iterable of int
        Which inputs of each kind.
    seed : int
        What all are made from.
    keep : Path
        Folder for inputs that show a fault.
    hang_seconds : float
        After which an input that gives no answer hangs.
    """
    with tempfile.TemporaryDirectory(prefix="sact-fuzz-") as name, contextlib.ExitStack() as stack:
        worker = None
        for kind, wanted in numbers.items():
            for number in wanted:
                if worker is None:
                    worker = stack.enter_context(_Worker(Path(name)))
                problem, shown, said = worker.ask(kind, seed, number, hang_seconds)
                fault = None
                if problem is not None:
                    kept = keep / f"{kind}-{seed}-{number}"
                    shutil.rmtree(kept, ignore_errors=True)
                    with contextlib.suppress(shutil.Error, FileNotFoundError):
                        shutil.copytree(worker.input, kept, symlinks=True)
                    kept.mkdir(parents=True, exist_ok=True)
                    (kept / "fault.txt").write_text(f"{problem}\n{shown}\n{said}", errors="replace")
                    fault = Fault(kind, seed, number, problem, shown, kept)
                if worker.dead:
                    stack.close()
                    worker = None
                yield kind, number, fault


class _Worker:
    """A process of `tests.fuzz.worker`."""

    def __init__(self, folder: Path) -> None:
        self.input = folder / "input"
        self.dead = False
        self._heard = b""
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed on leaving)
        self._process = subprocess.Popen(
            [sys.executable, *PROGRAM, str(folder)],
            cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip

    def __enter__(self) -> _Worker:
        assert self._answer(START_SECONDS), "the process did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._log.close()

    def ask(self, kind: str, seed: int, number: int, seconds: float) -> tuple[str | None, str, str]:
        """Give the problem, what the input is, and what was said."""
        asked = {"kind": kind, "seed": seed, "number": number, "input": str(self.input)}
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        begun = self._answer(2 * seconds)  # imports and good inputs too
        answer = self._answer(seconds) if begun else None
        if begun and answer:
            return answer["problem"], begun["begun"], answer["said"]
        self.dead = True
        ended = {} in (begun, answer)
        code = self._process.wait() if ended else None
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 20_000))
        said = self._log.read().decode(errors="replace")
        how = "it hangs" if code is None else f"the process ended with {code}"
        when = "" if begun else ", while the input was made"
        return how + when, (begun or {"begun": ""})["begun"], said

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        """What it says; None where it says nothing so long, nothing in it where it ended.

        Two answers may come at once, of which a pipe that is read by lines would keep one
        where `select` does not see it.
        """
        pipe, until = self._process.stdout, time.monotonic() + seconds
        assert pipe is not None
        while b"\n" not in self._heard:
            left = max(0.0, until - time.monotonic())
            if not select.select([pipe], [], [], left)[0]:
                return None
            said = os.read(pipe.fileno(), 1 << 16)
            if not said:
                return {}
            self._heard += said
        line, _, self._heard = self._heard.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found
