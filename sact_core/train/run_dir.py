"""The folder of a training run: everything that it needs to go on, or to be read.

::

    config.json        the whole recipe
    images.json        how many images each split had at the start, and which
    command.txt        the command that started it
    metrics.jsonl      one JSON object an epoch, under the authors' names
    points.jsonl       the same of training within epochs, see `sact_core.train.points`
    state.pt           last state: parameters, optimiser, place in the run
    last.h5, best.h5   checkpoints: after the last epoch, and of the best test accuracy
    events.*           the same metrics for TensorBoard
    watch.jsonl        what sact_core.evaluate --watch found, one JSON object a checkpoint

Every file but the events and the points is written beside and renamed. ``state.pt`` loads with
``torch.load(weights_only=True)``, which executes nothing.

``train/Total Loss`` is a mean over an epoch while the weights move, with label
smoothing, distillation and L2; ``train/Cross Entropy`` that of the labels alone, as
``eval/Cross Entropy`` is, on crops; ``eval/…``, ``Total Flops/…`` and the blocks'
metrics are those of `sact_core.measures.metrics` after the epoch.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import zipfile
from pathlib import Path
from typing import Any

from sact_core.files import clear_leftovers, read_small, write_bytes
from sact_core.processes import Processes
from sact_core.train.recipes import TrainingConfig, config_from_dict, config_to_dict
from sact_core.untrusted_json import from_json

MAX_BYTES = 64 << 20  # of a recipe, which lists a data set's classes

#: What a run writes beside and renames; ``watch.jsonl`` is another process's.
FILES = (
    "config.json",
    "images.json",
    "command.txt",
    "metrics.jsonl",
    "state.pt",
    "last.h5",
    "best.h5",
)
#: Those of them that are lost for good where another run replaces them.
_PRECIOUS = ("metrics.jsonl", "state.pt", "last.h5", "best.h5")


class RunError(ValueError):
    """A run directory that cannot be used as asked; the message says what to do."""


class RunDir:
    """A run directory.

    Parameters
    ----------
    path : path
        The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: int | None = None

    @property
    def has_state(self) -> bool:
        """Whether a state is kept."""
        return (self.path / "state.pt").exists()

    def recorded(self) -> dict[str, Any] | None:
        """Give the recipe of the run that is there; None where there is none.

        Raises
        ------
        RunError
            If it cannot be read.
        """
        file = self.path / "config.json"
        try:
            values = from_json(read_small(file, MAX_BYTES, "a recipe"))
            if not isinstance(values, dict):
                raise ValueError
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"cannot use {self.path}: {error.strerror or error}") from None
        except ValueError:
            raise RunError(f"{file} is damaged: choose another --run-dir") from None
        # What a recipe of an earlier version does not say has its default value.
        with contextlib.suppress(ValueError, TypeError):
            return config_to_dict(config_from_dict(values))
        return values

    def start(
        self,
        config: TrainingConfig,
        command: str,
        resume: bool,
        images: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        """Make the folder, or check that it holds this very run; keep others out of it.

        ``images`` tells size and digest of every split.

        Raises
        ------
        RunError
            If the folder holds a run and ``resume`` is off, if the recipe differs
            (every differing key is listed) or images were added, removed or replaced
            (told by their number), if it holds a checkpoint but no recipe, if another
            process trains in it, or if it cannot be written to.
        """
        try:
            old = self.recorded()
            if old is not None and not resume:
                raise RunError(
                    f"{self.path} holds a run already: go on with --resume, or choose "
                    f"another --run-dir"
                )
            if old is None:
                self._check_free()
            else:
                self._check_same(old, config_to_dict(config))
                self._check_images(images or {})
            self.path.mkdir(parents=True, exist_ok=True)
            self._keep_others_out()
            clear_leftovers(self.path, FILES.__contains__)
            if old is None:
                write_bytes(self.path / "command.txt", command.encode() + b"\n")
                values = json.dumps(config_to_dict(config), indent=2)
                write_bytes(self.path / "images.json", json.dumps(images or {}).encode())
                write_bytes(self.path / "config.json", values.encode())
        except OSError as error:
            raise RunError(f"cannot use {self.path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Let others in again."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _keep_others_out(self) -> None:
        try:
            import fcntl
        except ImportError:  # not on this system
            return
        self._lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        for tries_left in reversed(range(3)):  # `is_training` has it for a moment only
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if tries_left:
                    time.sleep(0.05)
        self.close()
        raise RunError(f"another process is training in {self.path}")

    def _check_free(self) -> None:
        for name in _PRECIOUS:
            if (self.path / name).exists():
                raise RunError(
                    f"{self.path / name} exists, but no config.json tells of its run: choose "
                    f"another --run-dir"
                )

    def _check_same(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        flat_old, flat_new = _flat(old), _flat(new)
        changed = sorted(
            key
            for key in flat_old.keys() | flat_new.keys()
            if flat_old.get(key) != flat_new.get(key)
        )
        if changed:
            details = ", ".join(f"{k} {flat_old.get(k)} -> {flat_new.get(k)}" for k in changed)
            raise RunError(f"{self.path} was started with another recipe: {details}")

    def _check_images(self, now: dict[str, dict[str, Any]]) -> None:
        try:
            file = self.path / "images.json"
            then = from_json(read_small(file, MAX_BYTES, "what is said of images"))
        except FileNotFoundError:  # a run of an earlier version
            return
        except ValueError:
            then = None
        parts = then.values() if isinstance(then, dict) else [None]
        if not all(isinstance(p, dict) and isinstance(p.get("size"), int) for p in parts):
            raise RunError(f"{self.path / 'images.json'} is damaged: choose another --run-dir")
        changed = []
        for split in sorted(then.keys() & now.keys()):
            before, after = then[split].get("size"), now[split]["size"]
            if before != after:
                changed.append(f"{split} had {before:,} and has {after:,}")
            elif then[split].get("digest") != now[split].get("digest"):
                changed.append(f"{split} has {after:,} as before, but not the same files")
        if changed:
            raise RunError(
                f"{self.path} was started with other images: {', '.join(changed)}; give it those "
                f"that it had, or start again in another --run-dir"
            )

    def save_state(self, state: dict[str, Any]) -> None:
        """Keep the state of the run.

        Raises
        ------
        RunError
            If it cannot be written; the state before it stays.
        """
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        self._write("state.pt", buffer.getvalue())

    def load_state(self, processes: Processes | None = None) -> dict[str, Any] | None:
        """Give the state kept last, or None where none is.

        Parameters
        ----------
        processes : Processes, optional
            Who trains along; the first reads, for the others may not see its folder.

        Raises
        ------
        RunError
            If the file is damaged.
        Stopped
            If another process has stopped.
        """
        import torch

        processes = processes or Processes()
        file, data = self.path / "state.pt", None
        try:
            if processes.is_first and file.exists():
                data = file.read_bytes()
        except OSError as error:
            self.refuse_state(error.strerror or str(error))
        data = processes.hand_out(data)
        if data is None:
            return None
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as parts:  # torch looks at no checksums
                broken = parts.testzip()
            state: dict[str, Any] = torch.load(
                io.BytesIO(data), map_location="cpu", weights_only=True
            )
        except Exception as error:  # both raise many kinds for a damaged file
            broken = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        self.refuse_state(broken)
        return state

    def refuse_state(self, problem: str | None) -> None:
        """Say that the state kept last is damaged, where it has a problem.

        Raises
        ------
        RunError
            If there is one.
        """
        if problem is not None:
            raise RunError(
                f"{self.path / 'state.pt'} is damaged ({problem}): start again elsewhere"
            )

    def write_metrics(self, rows: list[dict[str, Any]], name: str = "metrics.jsonl") -> None:
        """Write all epochs' metrics.

        Raises
        ------
        RunError
            If they cannot be written.
        """
        self._write(name, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_bytes(self.path / name, data)
        except OSError as error:
            raise RunError(str(error.strerror or error)) from None


def is_training(path: str | Path) -> bool | None:
    """Say whether a process trains in a run directory; None where this cannot be told.

    It is told by the lock that a run holds, of this machine's processes alone: None
    without locks on this system, or where the folder has none.

    Parameters
    ----------
    path : path
        The run directory.
    """
    try:
        import fcntl
    except ImportError:  # not on this system
        return None
    try:
        lock = os.open(Path(path) / ".lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a folder of a network that has no locks
        return None
    finally:
        os.close(lock)
    return False


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read a run's metrics, oldest first; an empty list where there are none.

    What was found by watching the run fills in what the run itself did not
    evaluate.

    Parameters
    ----------
    path : path
        The run directory. A half-written line is left out.
    """
    rows = read_rows(Path(path) / "metrics.jsonl")
    watched = {row.get("step"): row for row in read_rows(Path(path) / "watch.jsonl")}
    return [watched.get(row.get("step"), {}) | row for row in rows]


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line, leaving out what is none."""
    rows = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        with contextlib.suppress(ValueError):
            row = from_json(line)
            if isinstance(row, dict):
                rows.append(row)
    return rows


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
