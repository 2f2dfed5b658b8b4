"""Run directories, read for the page; plain functions, no Streamlit."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from app import figures
from app.folders import runs_dir
from sact_core.data.folders import files_in
from sact_core.train import read_metrics

MAX_FILE_BYTES = 16 << 20
#: A run whose files are younger, in seconds, is taken to be on.
LIVE_SECONDS = 300.0


@dataclass(frozen=True)
class TrainingRun:
    """A run directory.

    Attributes
    ----------
    name : str
        Its folder, below the folder of runs.
    recipe : dict
        Every setting, flat.
    command, resume : str
        What started it, and what goes on; may be empty.
    rows : list of dict
        Metrics, one an epoch.
    live : bool
        Whether it is on, by the age of its files.
    problems : tuple of str
        What could not be read.
    checkpoints : tuple of str
        Names under which its checkpoints can be chosen.
    """

    name: str
    recipe: dict[str, str]
    command: str
    resume: str
    rows: list[dict[str, Any]]
    live: bool
    problems: tuple[str, ...]
    checkpoints: tuple[str, ...]

    @property
    def tested(self) -> dict[str, Any]:
        """Metrics of the last epoch after which it was tested; empty before."""
        return next((row for row in reversed(self.rows) if "eval/Accuracy" in row), {})

    @property
    def epochs(self) -> float:
        """Epochs that were asked for."""
        try:
            return float(self.recipe.get("epochs", "nan"))
        except ValueError:
            return math.nan


def names() -> list[str]:
    """Runs in the folder, the youngest first."""
    folder = runs_dir()
    found = [p.parent for p in files_in(folder, "config.json") if p.name == "config.json"]
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(found, key=lambda path: -_touched(path))
        if path != folder
    ][:200]


def read(name: str) -> TrainingRun | None:
    """Read a listed run; None where there is none of that name."""
    if name not in names():
        return None
    path = runs_dir() / name
    problems = []
    recipe: dict[str, str] = {}
    try:
        recipe = _flat(json.loads(_text(path / "config.json")))
    except (ValueError, OSError):
        problems.append("config.json cannot be read.")
    try:
        rows = [row for row in read_metrics(path) if isinstance(row, dict)]
    except (ValueError, OSError):
        rows = []
        problems.append("metrics.jsonl cannot be read.")
    try:
        command = _text(path / "command.txt").strip()
    except (ValueError, OSError):
        command = ""
    resume = command if not command or "--resume" in command.split() else f"{command} --resume"
    age = time.time() - _touched(path)
    epochs = float(rows[-1].get("epoch", 0)) if rows else 0.0
    over = _number(recipe.get("epochs")) <= epochs
    return TrainingRun(
        name,
        recipe,
        command,
        resume,
        rows,
        age < LIVE_SECONDS and not over,
        tuple(problems),
        tuple(
            f"{runs_dir().name}/{name}/{file}"
            for file in ("best", "last")
            if (path / f"{file}.h5").exists()
        ),
    )


def charts(found: Sequence[TrainingRun], many: bool) -> dict[str, go.Figure]:
    """Loss, accuracy, FLOPs and units per block over epochs, by title."""

    def series(keys: dict[str, str]) -> dict[str, tuple[list[float], list[float]]]:
        lines = {}
        for run in found:
            for key, label in keys.items():
                pairs = [
                    (row["epoch"], row[key])
                    for row in run.rows
                    if isinstance(row.get(key), int | float) and "epoch" in row
                ]
                if pairs:
                    name = f"{run.name}: {label}" if many else label
                    lines[name] = ([float(e) for e, _ in pairs], [float(v) for _, v in pairs])
        return lines

    blocks = sorted(
        {key for run in found for row in run.rows for key in row if key.endswith("num_units_mean")}
    )
    made = {
        "Loss": figures.training(
            series(
                {"train/Total Loss": "train, total", "eval/Cross Entropy": "test, cross-entropy"}
            ),
            "loss",
        ),
        "Accuracy": figures.training(
            series({"train/Accuracy": "train", "eval/Accuracy": "test"}), "right", percent=True
        ),
        "FLOPs": figures.training(
            series({"flops_share": "of dense"}), "share of dense", percent=True, top=1.05
        ),
    }
    units = series({key: re.sub(r"^block_?(\d+)/.*", r"block \1", key) for key in blocks})
    if units:
        made["Units run, by block"] = figures.training(units, "units, mean")
    return made


def _touched(path: Path) -> float:
    times = [0.0]
    for file in ("metrics.jsonl", "state.pt", "config.json"):
        try:
            times.append((path / file).stat().st_mtime)
        except OSError:
            continue
    return max(times)


def _text(file: Path) -> str:
    if file.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{file.name} is too large")
    return file.read_text(encoding="utf-8")


def _flat(values: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value) if not isinstance(value, str) else value
    return flat


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else math.inf
    except ValueError:
        return math.inf
