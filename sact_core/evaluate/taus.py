"""One network at several taus: accuracy against FLOPs, and whether work falls with tau.

For a network that was trained for a range of tau. Every image is run at every tau,
so that the taus can be compared image by image: at equal features more tau halts no
later, but what has halted elsewhere changes the features of later units, so the
whole network may do more work at more tau. How often it does, and how much more, is
counted here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.commands import find_budget
from sact_core.config import NetworkConfig
from sact_core.data.records import Unreadable
from sact_core.evaluate.run import inputs, placed_inputs
from sact_core.measures.metrics import Metrics, rights
from sact_core.taus import check_taus, tau_range

if TYPE_CHECKING:
    from sact_core.backends.budget import Budget
    from sact_core.evaluate.run import Job
    from sact_core.processes import Processes

MOST_TAUS = 1000


@dataclass
class Rises:
    """How often more tau meant more work.

    Attributes
    ----------
    images : int
        Images that did more work at any tau than at the one before.
    steps : list of int
        At each tau but the first: images that did more work than at the one before.
    largest, total : float
        The largest rise, and the sum of all, in shares of dense.
    """

    images: int
    steps: list[int]
    largest: float = 0.0
    total: float = 0.0

    def add(self, shares: np.ndarray) -> None:
        """Take in shares of dense [shape=(taus, n)] of a batch, tau rising."""
        rises = np.maximum(np.diff(shares, axis=0), 0)
        self.images += int((rises > 0).any(axis=0).sum())
        self.steps = [a + b for a, b in zip(self.steps, (rises > 0).sum(1).tolist(), strict=True)]
        self.largest = max(self.largest, float(rises.max(initial=0)))
        self.total += float(rises.sum())

    def merge(self, other: Rises) -> None:
        """Take in what another share of the images gave."""
        self.images += other.images
        self.steps = [a + b for a, b in zip(self.steps, other.steps, strict=True)]
        self.largest = max(self.largest, other.largest)
        self.total += other.total

    def sentence(self, count: int) -> str:
        """Say it of so many images."""
        if not self.images:
            return f"More tau never meant more work, for any of the {count:,} images."
        mean = self.total / sum(self.steps)
        return (
            f"More tau meant more work somewhere on this curve for {self.images:,} of the "
            f"{count:,} images ({self.images / count:.2%}): {mean:.3%} of dense on average, "
            f"{self.largest:.3%} at most."
        )


@dataclass
class TauCurve:
    """One network's metrics by tau, the lowest first."""

    job: Job
    taus: list[float]
    metrics: dict[float, Metrics] = field(default_factory=dict)
    rises: Rises = field(default_factory=lambda: Rises(0, []))

    def as_json(self) -> dict[str, Any]:
        """All numbers, as plain JSON values."""
        source, steps = self.job.source, [0, *self.rises.steps]
        return {
            "network": self.job.net.config.name,
            "precision": self.job.net.precision,
            "dataset": source.name,
            "split": source.split,
            "image_size": self.job.net.preprocessing.image_size,
            "skipped": Unreadable(next(iter(self.metrics.values())).left_out).record(),
            "rows": [
                {"tau": tau, "count": metrics.count}
                | metrics.summary()
                | {"Dense Flops/mean": metrics.dense.mean, "more_work_than_before": step}
                for (tau, metrics), step in zip(self.metrics.items(), steps, strict=True)
            ],
            "more_work_for_more_tau": {
                "images": self.rises.images,
                "mean_share_of_dense": self.rises.total / max(sum(self.rises.steps), 1),
                "largest_share_of_dense": self.rises.largest,
            },
        }


def parse_taus(
    given: str | Sequence[str], config: NetworkConfig, clamp: bool = False
) -> list[float]:
    """Read taus such as ``0.002,0.02,0.2``, or how many to spread over the range, ``9``.

    Parameters
    ----------
    given : str or sequence of str
        In one word or several. A single whole number above 1 is a count; they are spread
        evenly in the logarithm, both ends included.
    config : NetworkConfig
        Whose range counts.
    clamp : bool
        Take the nearest end for a tau outside of the range.

    Returns
    -------
    list of float
        Each once, the lowest first.

    Raises
    ------
    ValueError
        If it is neither, a tau is not in the range, or the network is not
        conditioned on tau.
    """
    low, high = tau_range(config)
    text = given if isinstance(given, str) else " ".join(given)
    word = text.strip()
    if word.isascii() and word.isdigit() and int(word) > 1:
        if int(word) > MOST_TAUS:
            raise ValueError(f"--taus spreads at most {MOST_TAUS} over the range, got {word}")
        spread = np.geomspace(low, high, int(word))
        # Rounded as far as they are printed, but for the ends.
        return [low, *(float(f"{tau:.4g}") for tau in spread[1:-1]), high]
    try:
        taus = np.array([float(part) for part in text.replace(",", " ").split() or [text]])
    except ValueError:
        raise ValueError(
            f"--taus takes taus such as 0.002,0.02,0.2, or how many to spread over the range, "
            f"such as 9; got {text!r}"
        ) from None
    checked = check_taus(config, taus, len(taus), clamp)
    assert checked is not None
    return sorted(set(checked.tolist()))


def measure_taus(job: Job, taus: Sequence[float], processes: Processes) -> TauCurve:
    """Evaluate a network at every tau, together with the other processes.

    Parameters
    ----------
    job : Job
        The network and the data.
    taus : sequence of float
        In the network's range, rising.
    processes : Processes
        Who shares the images.

    Raises
    ------
    ValueError, OSError
        As `sact_core.evaluate.evaluate`; if another process has stopped.
    """
    curve = TauCurve(job, list(taus))

    def fresh() -> dict[float, Metrics]:
        return {tau: job.metrics(tau) for tau in taus}

    mine, rises = fresh(), Rises(0, [0] * (len(taus) - 1))
    with job.progress(processes) as done:
        left_out = Unreadable(mine[taus[0]].left_out)
        for x, labels, places in placed_inputs(job, (processes.rank, processes.world), left_out):
            shares = []
            for tau, metrics in mine.items():
                result = job.net.forward(x, tau=tau)
                metrics.update(result, labels)
                if job.by_image is not None:
                    job.by_image.add(job.net, result, labels, places, tau)
                shares.append(result.flops / dense_of(job, result.input_size))
            rises.add(np.array(shares))
            done(len(labels))
    if job.by_image is not None:
        job.by_image.gather(processes)
    curve.metrics, curve.rises = fresh(), Rises(0, [0] * (len(taus) - 1))
    counts = {"metrics": [metrics.counts() for metrics in mine.values()], "rises": vars(rises)}
    for theirs in processes.gather(counts):
        for metrics, values in zip(curve.metrics.values(), theirs["metrics"], strict=True):
            metrics.add_counts(values)
        curve.rises.merge(Rises(**theirs["rises"]))
    return curve


def find_tau(job: Job, target: float, processes: Processes) -> tuple[Budget, int]:
    """Find the tau that spends a share of dense on the first images, without their labels.

    As `sact_core.commands.find_budget`.
    """
    from sact_core.backends.budget import NUM_IMAGES

    first = job.first(NUM_IMAGES)
    return find_budget(job.net, target, lambda: (x for x, _ in inputs(first)), processes)


def check_budget(job: Job, target: float) -> None:
    """Refuse a budget that cannot be looked for.

    Raises
    ------
    ValueError
        If it is not in (0, 1] or the network is not conditioned on tau.
    """
    from sact_core.backends.budget import check_target

    tau_range(job.net.config)
    check_target(target)


def print_taus(
    curve: TauCurve, file: str, as_json: bool, more: Mapping[str, Any] | None = None
) -> None:
    """Print a curve, as a table or as one JSON object with more in it."""
    if as_json:
        from sact_core.checkpoint import read_header

        about = {"content_hash": read_header(file).content_hash} | curve.as_json()
        print(json.dumps(about | {"fit": curve.job.net.preprocessing.fit} | dict(more or {})))
        return
    job, first = curve.job, next(iter(curve.metrics.values()))
    print(
        f"{job.net.config.name}, {file}: {first.count:,} images of {job.source.name} "
        f"{job.source.split}, {job.net.computed_by}\n\n{taus_table(curve)}"
    )
    if left_out := Unreadable(first.left_out):
        print(left_out.line(job.num_examples))


def taus_table(curve: TauCurve) -> str:
    """Lay out the metrics for people, and say whether work fell with tau."""
    found = {tau: metrics.summary() for tau, metrics in curve.metrics.items()}
    first = next(iter(found.values()))
    told = rights(first)
    blocks = [key for key in first if key.endswith("num_units_mean")]
    head = f"{'tau':>9}" + "".join(f"{name:>10}" for name in told)
    head += f"{'MFLOPs':>11}{'std':>9}{'of dense':>10}{'more work':>11}  mean units"
    lines = [head]
    for (tau, row), step in zip(found.items(), [None, *curve.rises.steps], strict=True):
        line = f"{tau:>9.4g}" + "".join(f"{row[key]:>10.2%}" for key in told.values())
        mean, std = row["Total Flops/mean"], row["Total Flops/std"]
        line += f"{mean / 1e6:>11,.1f}{std / 1e6:>9,.1f}"
        line += f"{mean / curve.metrics[tau].dense.mean:>10.1%}"
        line += f"{'' if step is None else f'{step:,}':>11}"
        lines.append(line + "  " + " / ".join(f"{row[key]:.2f}" for key in blocks))
    count = next(iter(curve.metrics.values())).count
    if len(found) > 1:
        lines += ["", "more work: images that did more than at the tau before."]
        lines.append(curve.rises.sentence(count))
    return "\n".join(lines)


def dense_of(job: Job, size: tuple[int, int]) -> int:
    """FLOPs of an image of which every position runs every unit."""
    from sact_core.flops import dense_flops

    return int(dense_flops(job.net.plan, size).total[0])
