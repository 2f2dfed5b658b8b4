"""Trains in children of one process and does them harm; started by test_train.

Reads a JSON list of jobs from stdin, each ``{"argv": [...], "harm": name, "at": n}``,
runs ``sact_core.train`` with them one after another and prints a JSON list of
``{"code", "out", "err"}``. A child killed by signal 9 has the code -9. Imports are
paid once.

Harms, each at its n-th occasion: ``kill`` after a step, ``kill_half`` with half of
a file written, ``kill_whole`` before the file is renamed, ``kill_renamed`` after;
``interrupt`` sends Ctrl-C; ``full`` fills the disk; ``nan`` spoils a batch.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sact_core import files
from sact_core.backends import dense
from sact_core.config import NetworkConfig
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.train import __main__ as command
from sact_core.train import loop
from sact_core.train.batches import Batch
from sact_core.train.learner import Learner
from sact_core.train.recipes import TrainingConfig


def at_occasion(number: int, before: Any, function: Any, after: Any = None) -> Any:
    """Wrap a function so that something happens around its n-th call."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and before is not None:
            before(*args, **kwargs)
        found = function(*args, **kwargs)
        if calls == number and after is not None:
            after()
        return found

    return wrapped


def die(*args: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_half_way(path: Path, contents: bytes) -> None:
    with open(path, "wb") as file:
        file.write(contents[: len(contents) // 2])
        file.flush()
        die()


def fill_disk(path: Path, contents: bytes) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def spoil(learner: Learner, batch: Any) -> None:
    batch.images[:] = float("nan")


def harm(kind: str, at: int) -> None:
    if kind == "kill":
        Learner.learn = at_occasion(at, None, Learner.learn, die)  # type: ignore[method-assign]
    elif kind == "interrupt":
        press = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
        Learner.learn = at_occasion(at, None, Learner.learn, press)  # type: ignore[method-assign]
    elif kind == "nan":
        Learner.look = at_occasion(at, spoil, Learner.look)  # type: ignore[method-assign]
    elif kind == "kill_half":
        Path.write_bytes = at_occasion(at, die_half_way, Path.write_bytes)  # type: ignore[method-assign]
    elif kind == "full":
        Path.write_bytes = at_occasion(at, fill_disk, Path.write_bytes)  # type: ignore[method-assign]
    elif kind == "kill_whole":
        files._sync = at_occasion(at, None, files._sync, die)
    elif kind == "kill_renamed":
        files._sync_folder = at_occasion(at, None, files._sync_folder, die)
    else:
        assert kind == "none", kind


def run(job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            code = 99
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                harm(job["harm"], job["at"])
                code = command.main(job["argv"])
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}


def warm_up() -> None:
    """Import and compile now, once, what a run would."""
    import tqdm  # noqa: F401

    network = NetworkConfig(units_per_block=(2, 1, 1), base_channels=16, halting="sact")
    config = TrainingConfig(network)
    learner = Learner(config, init_params(build_plan(network)))
    images = np.zeros((2, 8, 8, 3), np.float32)
    learner.learn(learner.look(Batch(images, np.zeros(2, np.int64))), 1.0)
    dense.infer(learner.network.eval(), images)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warm_up()
    loop.SAVE_SECONDS = 0.0  # after every step
    print(json.dumps([run(job) for job in json.load(sys.stdin)]))
