"""What another number format changes: answers, unit counts, FLOPs and logits, counted."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.evaluate.run import Job, inputs
from sact_core.processes import Processes

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.data.records import Unreadable
    from sact_core.result import Result


@dataclass
class Changes:
    """Two runs of the same images, one in each of two formats.

    Attributes
    ----------
    precisions : tuple of str
        What is measured, and what it is held against.
    count : int
        Images.
    right, flops : np.ndarray [shape=(2,), int64]
        Right answers and FLOPs of either.
    same : int
        Images that both answer alike.
    units, differ : int
        Unit counts, one for each position or image of a block that halts; and those that
        differ.
    halting_error, halting_scores : float
        Sum of what halting scores that both read differ by, and how many there are.
    logit : float
        Largest difference of a logit; ``largest_logit`` is the largest there is.
    """

    precisions: tuple[str, str]
    count: int = 0
    same: int = 0
    units: int = 0
    differ: int = 0
    halting_scores: int = 0
    halting_error: float = 0.0
    logit: float = 0.0
    largest_logit: float = 0.0

    def __post_init__(self) -> None:
        self.right, self.flops = np.zeros(2, np.int64), np.zeros(2, np.int64)

    def update(self, narrow: Result, wide: Result, labels: np.ndarray) -> None:
        """Count a batch; labels [shape=(n,), int64]."""
        answers = [each.logits.argmax(1) for each in (narrow, wide)]
        self.count += len(labels)
        self.right += [int((each == labels).sum()) for each in answers]
        self.flops += [int(each.flops.sum()) for each in (narrow, wide)]
        self.same += int((answers[0] == answers[1]).sum())
        self.logit = max(self.logit, float(np.abs(narrow.logits - wide.logits).max()))
        self.largest_logit = max(self.largest_logit, float(np.abs(wide.logits).max()))
        for one, other in zip(narrow.blocks, wide.blocks, strict=True):
            if one.num_units is None or one.halting_proba is None:
                continue
            if one.halting_proba.shape[-1] == 0:  # a single unit never halts
                continue
            assert other.num_units is not None
            assert other.halting_proba is not None
            self.units += one.num_units.size
            self.differ += int((one.num_units != other.num_units).sum())
            error = np.abs(one.halting_proba.astype(np.float64) - other.halting_proba)
            self.halting_scores += int(np.isfinite(error).sum())
            self.halting_error += float(np.nansum(error))

    def summary(self) -> dict[str, Any]:
        """Everything as plain JSON values; each pair is of the two formats, in order."""
        n = max(self.count, 1)
        found: dict[str, Any] = {
            "precision": self.precisions[0],
            "against": self.precisions[1],
            "num_examples": self.count,
            "accuracy": (self.right / n).tolist(),
            "same_answers": self.same / n,
            "flops": (self.flops / n).tolist(),
            "largest_logit_change": self.logit,
            "largest_logit": self.largest_logit,
        }
        if self.units:
            found["unit_counts_that_differ"] = self.differ / self.units
            found["mean_halting_score_change"] = self.halting_error / max(self.halting_scores, 1)
        return found

    def table(self) -> str:
        """The same for people."""
        narrow, wide = self.precisions
        n = max(self.count, 1)
        right, flops = self.right / n, self.flops / n
        lines = [
            f"{'':24}{wide:>12}{narrow:>12}",
            f"{'accuracy':24}{right[1]:12.2%}{right[0]:12.2%}",
            f"{'MFLOPs':24}{flops[1] / 1e6:12.2f}{flops[0] / 1e6:12.2f}",
            "",
            f"{'same answers':36}{self.same / n:12.2%}",
        ]
        if self.units:
            lines += [
                f"{'unit counts that differ':36}{self.differ / self.units:12.2%}",
                f"{'mean change of a halting score':36}"
                f"{self.halting_error / max(self.halting_scores, 1):12.2g}",
            ]
        change = f"largest change of a logit, of {self.largest_logit:.3g}"
        return "\n".join([*lines, f"{change:36}{self.logit:12.2g}"])


def check_against(args: argparse.Namespace, processes: Processes) -> None:
    """Refuse what ``--against`` does not go with."""
    others = (args.watch, args.sizes, args.taus, args.rival, args.target_flops, args.labels_from)
    if any(each is not None for each in (*others, args.per_image)) or args.table:
        raise ValueError("--against goes with one checkpoint, its labels and --tau, and no more")
    if processes.world > 1:
        raise ValueError("--against runs in a single process, without torchrun")


def count_changes(job: Job, against: Net, left_out: Unreadable) -> Changes:
    """Run the images of a job in the network's own format and in another.

    Parameters
    ----------
    job : Job
        Its network is what is measured.
    against : Net
        The same network in another format, at the same tau.
    left_out : Unreadable
        Gets the images that cannot be read.

    Raises
    ------
    ValueError
        If both formats are the same, no image can be read, or one cannot be run.
    """
    if against.precision == job.net.precision:
        raise ValueError(f"--against {against.precision} is the format that is measured itself")
    found = Changes((job.net.precision, against.precision))
    with job.progress(Processes()) as done:
        for x, labels in inputs(job, left_out=left_out):
            found.update(job.net.forward(x), against.forward(x), labels)
            done(len(labels))
    if not found.count:
        raise ValueError(f"not one image of {job.source.name} {job.source.split} can be read")
    return found
