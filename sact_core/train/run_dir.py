"""The folder of a training run: everything that it needs to go on, or to be read.

::

    config.json        the whole recipe
    command.txt        the command that started it
    metrics.jsonl      one JSON object an epoch, under the authors' names
    state.pt           last state: parameters, optimiser, place in the run
    last.h5, best.h5   checkpoints: after the last epoch, and of the best accuracy
    events.*           the same metrics for TensorBoard

Every file but the events is written beside and renamed. ``state.pt`` loads with
``torch.load(weights_only=True)``, which executes nothing.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from sact_core.files import write_bytes
from sact_core.train.recipes import TrainingConfig, config_to_dict


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

    def start(self, config: TrainingConfig, command: str, resume: bool) -> None:
        """Make the folder, or check that it holds this very run.

        Raises
        ------
        RunError
            If the folder holds a run and ``resume`` is off, if the recipe differs
            (every differing key is listed), or if it cannot be written to.
        """
        file = self.path / "config.json"
        values = config_to_dict(config)
        try:
            if file.exists():
                if not resume:
                    raise RunError(
                        f"{self.path} holds a run already: go on with --resume, or choose "
                        f"another --run-dir"
                    )
                self._check_same(json.loads(file.read_text()), values)
                return
            if resume and self.path.exists() and any(self.path.iterdir()):
                raise RunError(f"{self.path} holds no run to resume: config.json is missing")
            self.path.mkdir(parents=True, exist_ok=True)
            write_bytes(file, json.dumps(values, indent=2).encode())
            write_bytes(self.path / "command.txt", command.encode() + b"\n")
        except json.JSONDecodeError:
            raise RunError(f"{file} is damaged: choose another --run-dir") from None
        except OSError as error:
            raise RunError(f"cannot use {self.path}: {error.strerror or error}") from None

    def _check_same(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        flat_old, flat_new = _flat(old), _flat(json.loads(json.dumps(new)))
        changed = sorted(
            key
            for key in flat_old.keys() | flat_new.keys()
            if flat_old.get(key) != flat_new.get(key)
        )
        if changed:
            details = ", ".join(f"{k} {flat_old.get(k)} -> {flat_new.get(k)}" for k in changed)
            raise RunError(f"{self.path} was started with another recipe: {details}")

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

    def load_state(self) -> dict[str, Any] | None:
        """Give the state kept last, or None where none is.

        Raises
        ------
        RunError
            If the file is damaged.
        """
        import torch

        file = self.path / "state.pt"
        if not file.exists():
            return None
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
            raise RunError(f"{file} is damaged ({reason}): start again elsewhere") from None

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Write all epochs' metrics.

        Raises
        ------
        RunError
            If they cannot be written.
        """
        self._write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_bytes(self.path / name, data)
        except OSError as error:
            raise RunError(str(error.strerror or error)) from None


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read a run's metrics, oldest first; an empty list where there are none.

    Parameters
    ----------
    path : path
        The run directory. A half-written line is left out.
    """
    file = Path(path) / "metrics.jsonl"
    rows = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
