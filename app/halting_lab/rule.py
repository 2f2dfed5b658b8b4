"""The halting rule for the lab: presets, words, steps; plain functions, no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sact_core.backends import backend_module
from sact_core.halting import Halting, halt, halting_threshold, start, step

MAX_UNITS = 12
MAX_ROWS = 8
COLUMNS = ("unit", "score h", "running sum", "reached", "weight p", "left for the rest")


@dataclass(frozen=True)
class Preset:
    """Scores worth looking at."""

    scores: np.ndarray
    why: str
    eps: float = 0.01


PRESETS = {
    "Typical": Preset(
        np.array(
            [
                [0.1, 0.3, 0.7, 0.5],
                [0.05, 0.1, 0.2, 0.3],
                [0.6, 0.5, 0.2, 0.1],
                [0.995, 0.4, 0.3, 0.2],
            ]
        ),
        "Four positions of one feature map that stop after 3, 5, 2 and 1 units.",
    ),
    "Stops at once": Preset(
        np.array([[0.99, 0.2, 0.2, 0.2]]),
        "The first score reaches 1 − ε: one unit, remainder 1, the least ponder cost there is, 2.",
    ),
    "Never stops": Preset(
        np.array([[0.02, 0.02, 0.02, 0.02]]),
        "The sum never gets there: the last unit stops it, and takes nearly all the weight.",
    ),
    "Exact tie": Preset(
        np.array([[0.5, 0.25, 0.25, 0.1]]),
        "Half, a quarter and a quarter make exactly 1 in binary: with ε = 0 the third unit just "
        "stops it.",
        0.0,
    ),
    "All zero": Preset(
        np.array([[0.0, 0.0, 0.0, 0.0]]),
        "No score at all: all the weight, 1, is left for the last unit.",
    ),
    "All one": Preset(
        np.array([[1.0, 1.0, 1.0, 1.0]]),
        "Stops after the first unit; what the others say is never read.",
    ),
    "A hair short": Preset(
        np.array([[0.9, 0.089, 0.5, 0.5]]),
        "0.989 is not 0.99: a hair short of the line costs a whole unit more.",
    ),
}
DEFAULT = "0.1 0.3 0.7 0.5"


@dataclass(frozen=True)
class Step:
    """One unit of the rule."""

    row: tuple[int, float | None, float, str, float, float]
    words: str


def read_scores(text: str) -> np.ndarray:
    """Read scores as the lab writes them: rows separated by ``;``.

    Raises
    ------
    ValueError
        If a number is no number or outside [0, 1], rows have different lengths,
        or there are too many.
    """
    try:
        rows = [[float(word) for word in row.replace(",", " ").split()] for row in text.split(";")]
    except ValueError:
        raise ValueError("Scores must be numbers, such as 0.1 0.3 0.7 0.5.") from None
    rows = [row for row in rows if row]
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError("Every row must have the same number of scores, at least one.")
    scores = np.array(rows)
    if len(rows) > MAX_ROWS or scores.shape[1] > MAX_UNITS - 1:
        raise ValueError(f"At most {MAX_ROWS} rows of {MAX_UNITS - 1} scores fit here.")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("Scores must lie between 0 and 1.")
    return scores


def write_scores(scores: np.ndarray) -> str:
    """Write scores so that `read_scores` gives them back, to 1e-6."""
    return " ; ".join(" ".join(f"{value:.6g}" for value in row) for row in scores)


def read(scores: np.ndarray, num_units: int) -> np.ndarray:
    """The scores that were read [shape=(units - 1,)]: NaN after the stop."""
    return np.where(np.arange(1, len(scores) + 1) <= num_units, scores, np.nan)


def explain(scores: np.ndarray, halting: Halting, row: int, eps: float, thing: str) -> str:
    """Say in words why it stopped."""
    num_units, units = int(halting.num_units[row]), len(scores) + 1
    total = float(np.cumsum(scores, dtype=np.float32)[num_units - 1]) if num_units < units else 0
    if num_units < units:
        return (
            f"This {thing} **stopped after unit {num_units}**: its scores add up to {total:.4g}, "
            f"which reaches {1 - eps:g}."
        )
    total = float(np.sum(scores))
    return (
        f"This {thing} **ran all {units} units**: its scores add up to {total:.4g} only, below "
        f"{1 - eps:g}, so the last unit stopped it."
    )


def steps(scores: np.ndarray, eps: float) -> list[Step]:
    """Follow one position through the unit-by-unit form of the rule."""
    units = len(scores) + 1
    state = start((), units, eps)
    found: list[Step] = []
    for unit in range(units):
        if not state.active:
            break
        last = unit == units - 1
        score = None if last else float(scores[unit])
        state, weight = step(state, None if last else np.asarray(scores[unit], np.float32))
        left = 0.0 if not state.active else float(state.remainder)
        stops = not state.active
        if last:
            words = (
                f"Unit {unit + 1} is the last: it stops whatever is left and takes the weight "
                f"{float(weight):.4g}."
            )
        elif stops:
            words = (
                f"After unit {unit + 1} the sum is {float(state.cumsum):.4g} ≥ {1 - eps:g}: it "
                f"stops. The unit takes what is left, the remainder {float(weight):.4g}, instead "
                f"of its score."
            )
        else:
            words = (
                f"After unit {unit + 1} the sum is {float(state.cumsum):.4g} < {1 - eps:g}: it "
                f"goes on. The unit takes its score, {float(weight):.4g}, as weight; "
                f"{left:.4g} is left."
            )
        reached = "last unit" if last else "yes" if stops else "no"
        row = (unit + 1, score, float(state.cumsum), reached, float(weight), left)
        found.append(Step(row, words))
    return found


def equation(scores: np.ndarray, eps: float) -> str:
    """The ponder cost with this position's numbers put in, as LaTeX."""
    halting = halt(np.asarray(scores, np.float32), eps)
    num_units = int(halting.num_units)
    before = "".join(f" - {value:g}" for value in scores[: num_units - 1])
    return rf"\rho = {num_units} + (1{before}) = {float(halting.ponder_cost):.4g}"


def slopes(scores: int, num_units: int) -> np.ndarray:
    """Slope of the ponder cost in every score: -1 before the stop, 0 after."""
    return np.where(np.arange(1, scores + 1) < num_units, -1.0, 0.0)


def sweep(scores: np.ndarray, unit: int, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Ponder cost over one score, all others held [shape=(n,) both]."""
    line = np.linspace(0, 1, 501)
    rows = np.repeat(np.asarray(scores, np.float32)[None], len(line), 0)
    rows[:, unit] = line
    return line, halt(rows, eps).ponder_cost


#: Programs of the rule besides NumPy's, by backend.
PROGRAMS = {"masked": "Numba", "dense": "PyTorch"}


def answers(scores: np.ndarray, eps: float, backends: Sequence[str]) -> list[dict[str, object]]:
    """What NumPy and the programs of some backends say, a row for each position and program."""
    programs = _programs(scores, eps, backends)
    return [
        {
            "row": i + 1,
            "program": name,
            "N": int(halting.num_units[i]),
            "R": round(float(halting.remainder[i]), 6),
            "ρ": round(float(halting.ponder_cost[i]), 6),
            "p": "  ".join(f"{value:.4f}" for value in halting.distribution[i]),
        }
        for i in range(len(scores))
        for name, halting in programs.items()
    ]


def all_agree(scores: np.ndarray, eps: float, backends: Sequence[str]) -> bool:
    """Whether they give the same units, and weights within 1e-6."""
    first, *others = _programs(scores, eps, backends).values()
    return all(
        np.array_equal(first.num_units, other.num_units)
        and np.allclose(first.distribution, other.distribution, rtol=0, atol=1e-6)
        for other in others
    )


def threshold(eps: float) -> float:
    """What the sum is compared with, in single precision."""
    return float(halting_threshold(eps))


def _programs(scores: np.ndarray, eps: float, backends: Sequence[str]) -> dict[str, Halting]:
    proba = np.ascontiguousarray(scores, np.float32)
    found = {"NumPy": halt(proba, eps)}
    for backend in backends:
        found[PROGRAMS[backend]] = backend_module(backend).halt(proba, eps)
    return found
