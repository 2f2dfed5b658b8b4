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
from app.texts import MAX_TEXT, short
from sact_core.checkpoint import read_header
from sact_core.data.folders import files_in
from sact_core.files import read_small
from sact_core.texts import cut, escaped, shown
from sact_core.train import is_training, read_metrics, read_points

MAX_FILE_BYTES = 16 << 20
#: Where no lock tells, a run whose files are younger, in seconds, is taken to be on.
LIVE_SECONDS = 300.0
#: What is shown of a run that may be anybody's: characters of its command, lines of its
#: recipe, lines of one chart, points of one line, and the largest number.
MAX_COMMAND, MAX_SETTINGS, MAX_BLOCKS, MAX_POINTS, MAX_NUMBER = 8000, 500, 8, 600, 1e15
#: What lines are called that have points within epochs; the epoch's own mean elsewhere.
TRAINED = ("train/Total Loss", "train/Cross Entropy", "train/Accuracy", "train/flops_share")


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
    points : list of dict
        Of training within epochs, whose ``epoch`` is a fraction.
    left : float, optional
        Seconds that it will take yet, where it is on and that is known.
    done : bool
        Whether it has taken all of its steps.
    live : bool
        Whether it is on: by its lock, or by the age of its files where that cannot tell.
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
    points: list[dict[str, Any]]
    left: float | None
    done: bool
    live: bool
    problems: tuple[str, ...]
    checkpoints: tuple[str, ...]

    @property
    def tested(self) -> dict[str, Any]:
        """Metrics of the last epoch after which it was tested; empty before."""
        return next((row for row in reversed(self.rows) if "eval/Accuracy" in row), {})

    @property
    def progress(self) -> tuple[str, float, float]:
        """What was asked for, epochs or steps, how many were taken, and how many asked for."""
        return _progress(self.recipe, self.rows)


def names() -> list[str]:
    """Runs in the folder, the youngest first."""
    return list(_folders())


def read(name: str) -> TrainingRun | None:
    """Read a listed run; None where there is none of that name."""
    path = _folders().get(name)
    if path is None:
        return None
    problems = []
    recipe: dict[str, str] = {}
    try:
        recipe = _flat(json.loads(_text(path / "config.json")))
    except (ValueError, OSError, RecursionError):
        problems.append("config.json cannot be read.")
    try:
        rows = [_numbers(row) for row in read_metrics(path)]
    except (ValueError, OSError, TypeError, RecursionError):
        rows = []
        problems.append("metrics.jsonl cannot be read.")
    try:
        points = [_numbers(row) for row in read_points(path)]
        points = [point for point in points if math.isfinite(point.get("epoch", math.inf))]
    except (ValueError, OSError, TypeError, RecursionError):
        points = []
        problems.append("points.jsonl cannot be read.")
    try:
        command = cut(escaped(_text(path / "command.txt").strip(), keep="\n"), MAX_COMMAND)
    except (ValueError, OSError):
        command = ""
    resume = command if not command or "--resume" in command.split() else f"{command} --resume"
    done = _is_done(path, recipe, rows)
    locked = is_training(path)
    on = time.time() - _touched(path) < LIVE_SECONDS if locked is None else locked
    return TrainingRun(
        name,
        recipe,
        command,
        resume,
        rows,
        points,
        _left(points) if on and not done else None,
        done,
        on and not done,
        tuple(problems),
        tuple(
            f"{runs_dir().name}/{name}/{file}"
            for file in ("best", "last")
            if (path / f"{file}.h5").exists()
        ),
    )


def charts(found: Sequence[TrainingRun], many: bool) -> dict[str, go.Figure]:
    """Loss, accuracy, FLOPs and units per block over epochs, by title.

    What is drawn of training beside tests is of one kind: cross-entropy of labels where the
    run has it, else the total loss, as evaluation has that too.
    """

    def series(
        keys: dict[str, str], of: Sequence[TrainingRun] = found
    ) -> dict[str, tuple[list[float], list[float]]]:
        lines = {}
        for run in of:
            for key, label in keys.items():
                pairs = _line(run, key)
                if pairs:
                    name = f"{run.name}: {label}" if many else label
                    lines[name] = ([float(e) for e, _ in pairs], [float(v) for _, v in pairs])
        return lines

    blocks = sorted(
        {key for run in found for row in run.rows for key in row if key.endswith("num_units_mean")}
    )[:MAX_BLOCKS]
    made = {}
    telling = [run for run in found if _line(run, "train/Cross Entropy")]
    if telling:
        keys = {"train/Cross Entropy": "train", "eval/Cross Entropy": "test"}
        made["Cross-entropy"] = figures.training(series(keys, telling), "cross-entropy")
    others = [run for run in found if run not in telling]
    if others:
        keys = {"train/Total Loss": "train", "eval/Mean Loss": "test"}
        made["Total loss"] = figures.training(series(keys, others), "loss")
    made |= {
        "Accuracy": figures.training(
            series({"train/Accuracy": "train", "eval/Accuracy": "test"}), "right", percent=True
        ),
        "FLOPs": figures.training(
            series({"train/flops_share": "train", "flops_share": "test"}),
            "share of dense",
            percent=True,
            top=1.05,
        ),
    }
    units = series({key: re.sub(r"^block_?(\d+)/.*", r"block \1", key) for key in blocks})
    if units:
        made["Units run, by block"] = figures.training(units, "units, mean")
    return made


def _line(run: TrainingRun, key: str) -> list[tuple[float, float]]:
    """Epochs and values of a metric; within epochs where training tells, thinned out."""
    points = [(p["epoch"], p[key]) for p in run.points if key in p] if key in TRAINED else []
    first = points[0][0] if points else math.inf
    whole = [(row["epoch"], row[key]) for row in run.rows if key in row and "epoch" in row]
    step = -(-len(points) // MAX_POINTS)
    lots = [points[i : i + step] for i in range(0, len(points), step or 1)]
    means = [(lot[-1][0], math.fsum(value for _, value in lot) / len(lot)) for lot in lots]
    return [pair for pair in whole if pair[0] < first] + means


def _left(points: list[dict[str, Any]]) -> float | None:
    """Seconds from now to the end, as the last point foresaw it; None where it is too old."""
    last = points[-1] if points else {}
    left = last.get("seconds_left", math.inf) - (time.time() - last.get("time", math.inf))
    return max(left, 1.0) if -60 < left < MAX_NUMBER else None


def _progress(recipe: dict[str, str], rows: list[dict[str, Any]]) -> tuple[str, float, float]:
    last = rows[-1] if rows else {}
    steps = _number(recipe.get("max_steps"))  # in place of epochs
    if math.isfinite(steps):
        return "Step", _number(last.get("step", 0)), steps
    return "Epoch", _number(last.get("epoch", 0)), _number(recipe.get("epochs"))


def _is_done(path: Path, recipe: dict[str, str], rows: list[dict[str, Any]]) -> bool:
    """Whether all steps were taken, by the last checkpoint, or else by the metrics."""
    try:
        record = read_header(path / "last.h5").provenance
        planned = record.get("steps_planned")
        if planned is not None:
            return _number(record.get("steps", 0)) >= _number(planned)
    except (ValueError, OSError):
        pass  # there is none, or it is damaged
    _, taken, planned = _progress(recipe, rows)
    return math.isfinite(taken) and taken >= planned


def _touched(path: Path) -> float:
    times = [0.0]
    for file in ("metrics.jsonl", "points.jsonl", "state.pt", "config.json"):
        try:
            times.append((path / file).stat().st_mtime)
        except OSError:
            continue
    return max(times)


def _text(file: Path) -> str:
    return read_small(file, MAX_FILE_BYTES, "a run").decode("utf-8")


def _folders() -> dict[str, Path]:
    """Folders of runs by the names that are shown, the youngest first."""
    folder = runs_dir()
    found = [p.parent for p in files_in(folder, "config.json") if p.name == "config.json"]
    young = sorted((p for p in found if p != folder), key=lambda path: -_touched(path))
    return {shown(path.relative_to(folder).as_posix()): path for path in young[:200]}


def _flat(values: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    flat: dict[str, str] = {}
    for key, value in list(values.items())[:MAX_SETTINGS]:
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            text = json.dumps(value) if not isinstance(value, str) else value
            flat[short(f"{prefix}{key}")] = short(text, MAX_TEXT)
    return flat


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    """What can be drawn of a line of metrics."""
    found = {key: _number(value) for key, value in row.items() if not isinstance(value, bool)}
    return {key: value for key, value in found.items() if abs(value) <= MAX_NUMBER}


def _number(value: Any) -> float:
    """A number as it stands in a file; infinite where there is none."""
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return math.inf
