"""A run's last state, looked at before it is gone on with: whether it is one of this run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

#: Numbers that a row of metrics has, see `sact_core.train.report`.
ALWAYS = (
    *("epoch", "step", "train/Total Loss", "train/Accuracy", "train/hours"),
    *("train/images_per_second", "train/share_waiting_for_data"),
)


def state_problem(
    state: Any, learner: dict[str, Any], params: list[Tensor], steps_per_epoch: int, num_steps: int
) -> str | None:
    """Say what is wrong with a state, as half a sentence; None where nothing is.

    Parameters
    ----------
    state : object
        As it was kept.
    learner : dict
        What `sact_core.train.learner.Learner.state` gives before a step of this run.
    params : list of Tensor
        Parameters in the optimiser's order, of which each has its moments after a step.
    steps_per_epoch, num_steps : int
        Of this run.
    """
    if not isinstance(state, dict):
        return "it is no record"
    optimiser = state.get("optimiser")
    like = dict(learner)
    if isinstance(optimiser, dict) and optimiser.get("state"):
        adam = "betas" in like["optimiser"]["param_groups"][0]
        moments = {
            index: (
                {"step": torch.zeros(()), "exp_avg": value, "exp_avg_sq": value}
                if adam
                else {"momentum_buffer": value}
            )
            for index, value in enumerate(params)
        }
        like["optimiser"] = like["optimiser"] | {"state": moments}
    for name, value in like.items():
        if problem := _difference(state.get(name), value, name):
            return problem
    for name in ("left_out", "left_out_of_test"):
        if not _names_images(state.get(name, {})):
            return f"{name} names no images"
    return _progress_problem(state.get("progress"), steps_per_epoch, num_steps)


def _difference(found: Any, like: Any, name: str) -> str | None:
    """Where a value is not built as another one, or is not finite."""
    if isinstance(like, Tensor):
        if not isinstance(found, Tensor) or (found.shape, found.dtype) != (like.shape, like.dtype):
            return f"{name} has another shape or type"
        return None if torch.isfinite(found).all() else f"{name} holds NaN or infinite numbers"
    if isinstance(like, dict):
        if not isinstance(found, dict) or found.keys() != like.keys():
            return f"{name} has other parts"
        parts = [(found[key], like[key], f"{name}/{key}") for key in like]
    elif isinstance(like, list | tuple):
        if not isinstance(found, type(like)) or len(found) != len(like):
            return f"{name} has other parts"
        parts = [(found[i], like[i], f"{name}/{i}") for i in range(len(like))]
    elif _is_number(like):
        return None if _is_number(found) and found >= 0 else f"{name} is no such number"
    else:
        return None if found is like else f"{name} is another"
    return next(filter(None, (_difference(*part) for part in parts)), None)


def _progress_problem(found: Any, steps_per_epoch: int, num_steps: int) -> str | None:
    """What is wrong with `sact_core.train.loop.Progress`."""
    if not isinstance(found, dict):
        return "it has no progress"
    epoch, step, seconds = (found.get(name) for name in ("epoch", "step", "seconds"))
    if not isinstance(epoch, int) or not isinstance(step, int):
        return "its progress is no number"
    if not isinstance(seconds, int | float) or not _is_number(found.get("best")):
        return "its progress is no number"
    taken = epoch * steps_per_epoch + step
    if (
        not (min(epoch, step) >= 0 and 0 <= seconds < math.inf)
        or step > steps_per_epoch
        or (taken > num_steps and (step or taken - steps_per_epoch >= num_steps))
    ):
        return f"its progress is not between 0 and {num_steps} steps"
    sums, rows = found.get("sums"), found.get("rows")
    if not isinstance(sums, dict) or not all(map(_is_number, sums.values())):
        return "its sums are no numbers"
    if not isinstance(rows, list) or len(rows) != epoch or not all(map(_is_row, rows)):
        return f"it has no metrics of {epoch} epochs"
    known = {"epoch", "step", "seconds", "best", "sums", "rows"}
    return None if found.keys() == known else "its progress has other parts"


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not all(isinstance(name, str) for name in row):
        return False
    needed = list(ALWAYS)
    kind = next((name for name in ("Accuracy", "Agreement") if f"eval/{name}" in row), "Accuracy")
    if f"eval/{kind}" in row:
        needed += [f"eval/{kind}", "Total Flops/mean", "flops_share"]
    for name in row:
        if name.endswith("/flops_share"):  # at an end of a range of tau
            needed += [name, f"{name.removesuffix('/flops_share')}/{kind}"]
    return all(_is_number(row.get(name)) for name in needed)


def _names_images(found: Any) -> bool:
    """Whether it is what `sact_core.data.records.Unreadable` found."""
    return isinstance(found, dict) and all(
        isinstance(index, int)
        and isinstance(named, tuple | list)
        and len(named) == 2
        and all(isinstance(text, str) for text in named)
        for index, named in found.items()
    )


def _is_number(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and math.isfinite(value)
