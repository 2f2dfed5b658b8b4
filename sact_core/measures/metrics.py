"""The authors' evaluation metrics under the authors' names, streamed.

Memory stays constant however many images go by, and the result does not depend
on how they were cut into batches or shards: whole numbers are summed exactly.

Means and standard deviations run over all images, or all positions of all
images for maps; the divisor of a deviation is ``n - 1``, as in the authors'
streaming metrics. One difference: their FLOPs of SACT networks came as a
``[B, B]`` array for a batch of ``B``, so each image counted ``B`` times. That
leaves means alone but not deviations; here every image counts once.

Source: the authors' published evaluation; loss: arXiv:1612.02297, eq. 9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from sact_core.families import FAMILIES
from sact_core.flops import UnitPrices, dense_flops
from sact_core.network import Plan
from sact_core.result import Result

#: What `Metrics.summary` calls the share that is right: of labels, and of another network's
#: answers.
ACCURACY, AGREEMENT = "eval/Accuracy", "eval/Agreement"

#: With no more classes than this, being among the best five says little.
FEW_CLASSES = 10


def rights(found: Mapping[str, Any]) -> dict[str, str]:
    """Name the shares that are right in a summary, by what they are called for people."""
    names = {"accuracy": ACCURACY, "recall@5": "eval/Recall@5"}
    names |= {"agreement": AGREEMENT, "among 5": f"{AGREEMENT}@5"}
    return {told: name for told, name in names.items() if name in found}


@dataclass
class Spread:
    """Mean and standard deviation of a stream of numbers."""

    count: int = 0
    total: float = 0
    squares: float = 0

    def add(self, values: np.ndarray) -> None:
        """Take in an array; whole numbers are summed exactly."""
        self.count += values.size
        if values.dtype.kind in "iu":
            numbers, counts = np.unique(values, return_counts=True)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                self.total += number * count
                self.squares += number * number * count
        else:
            flat = values.astype(np.float64).ravel()
            self.total += float(flat.sum())
            self.squares += float(flat @ flat)

    def merge(self, other: Spread) -> None:
        """Take in what another stream has seen."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares

    @property
    def mean(self) -> float:
        """Mean; NaN of nothing."""
        return self.total / self.count if self.count else math.nan

    @property
    def std(self) -> float:
        """Standard deviation with divisor ``n - 1``; 0 of a single number."""
        if self.count < 2:
            return 0.0
        above = self.count * self.squares - self.total * self.total
        return math.sqrt(max(above, 0) / (self.count * (self.count - 1)))


class Metrics:
    """Everything that the authors' evaluation prints.

    Parameters
    ----------
    plan : Plan
        The network.
    tau : float
        Price of a unit in the loss.
    regularization : float
        The L2 part of the loss, see `l2_loss`.
    unit_prices : UnitPrices, optional
        What a unit of each block costs in the loss, in units of tau, as
        `sact_core.flops.unit_prices` gives it; 1 where left out.
    agreement : bool
        Whether labels are what another network answers.
    """

    def __init__(
        self,
        plan: Plan,
        tau: float = 0.0,
        regularization: float = 0.0,
        unit_prices: UnitPrices | None = None,
        agreement: bool = False,
    ) -> None:
        self.agreement = agreement
        self.plan = plan
        self.tau = tau
        self.regularization = regularization
        self.unit_prices = unit_prices or UnitPrices.even(plan)
        self.count = 0
        self.right = 0
        self.right_of_5 = 0
        self.entropy = 0.0
        #: Images that could not be read: by index, name and reason.
        self.left_out: dict[int, tuple[str, str]] = {}
        self.flops = Spread()
        self.dense = Spread()  # FLOPs of the same images if every unit ran
        self.blocks: dict[str, dict[str, Spread]] = {}
        # Units that are paid for where they are computed, which is not where they are active.
        self.paid = [Spread() for _ in self.unit_prices.halos or ()]
        for block in plan.blocks:
            halting = ["ponder_cost", "num_units"] if plan.config.halts else []
            self.blocks[block.name] = {name: Spread() for name in [*halting, "flops"]}

    def update(self, result: Result, labels: np.ndarray) -> None:
        """Take in a batch.

        Parameters
        ----------
        result : Result
            Of any backend.
        labels : np.ndarray [shape=(n,), int64]
            Classes.
        """
        logits = result.logits.astype(np.float64)
        mine = np.take_along_axis(logits, labels[:, None], 1)
        top = logits.max(1, keepdims=True)
        self.count += len(labels)
        self.right += int((logits.argmax(1) == labels).sum())
        self.right_of_5 += int(((logits > mine).sum(1) < 5).sum())
        self.entropy += float((np.log(np.exp(logits - top).sum(1)) + (top - mine)[:, 0]).sum())
        self.flops.add(result.flops)
        self.dense.add(dense_flops(self.plan, result.input_size).total.repeat(len(labels)))
        for block in result.blocks:
            for name, spread in self.blocks[block.name].items():
                spread.add(getattr(block, name))
        for block, halos, paid in zip(
            result.blocks, self.unit_prices.halos or (), self.paid, strict=False
        ):
            assert block.ponder_cost is not None
            paid.add(_with_halo(block.ponder_cost, halos))

    def merge(self, other: Metrics) -> None:
        """Take in what another shard of the same data has seen."""
        self.add_counts(other.counts())

    def counts(self) -> dict[str, Any]:
        """Give all that was counted as plain JSON values, for another process to take in."""
        return {
            "numbers": [self.count, self.right, self.right_of_5, self.entropy],
            "spreads": [astuple(spread) for spread in self._spreads()],
            "left_out": [(index, *what) for index, what in self.left_out.items()],
        }

    def add_counts(self, counts: Mapping[str, Any]) -> None:
        """Take in what `counts` gave in another process; whole numbers stay exact."""
        count, right, right_of_5, entropy = counts["numbers"]
        self.count += count
        self.right += right
        self.right_of_5 += right_of_5
        self.entropy += entropy
        for spread, others in zip(self._spreads(), counts["spreads"], strict=True):
            spread.merge(Spread(*others))
        self.left_out |= {index: (name, reason) for index, name, reason in counts["left_out"]}

    def summary(self) -> dict[str, float]:
        """Give the metrics so far by the authors' names.

        ``eval/Mean Loss`` is cross-entropy + tau x ponder cost + L2, as in the
        published evaluation, the ponder cost of each block times what its units cost;
        ``eval/Cross Entropy`` is its first part.
        ``eval/Recall@5`` is given for more than ten classes.

        Where labels are another network's answers, ``eval/Agreement`` is in place of the
        accuracy, ``eval/Agreement@5`` (its answer is among five) in place of the recall,
        and there is no loss.
        """
        count = max(self.count, 1)
        entropy = self.entropy / count
        costs = [s["ponder_cost"] for s in self.blocks.values() if "ponder_cost" in s]
        paid = zip(self.unit_prices.blocks, self.paid or costs, strict=False)
        ponder = sum(price * spread.mean for price, spread in paid)
        found = {AGREEMENT if self.agreement else ACCURACY: self.right / count}
        if self.plan.config.num_classes > FEW_CLASSES:
            recall = f"{AGREEMENT}@5" if self.agreement else "eval/Recall@5"
            found[recall] = self.right_of_5 / count
        if not self.agreement:
            found["eval/Mean Loss"] = entropy + self.tau * ponder + self.regularization
            found["eval/Cross Entropy"] = entropy
        found |= {"Total Flops/mean": self.flops.mean, "Total Flops/std": self.flops.std}
        for block, spreads in self.blocks.items():
            name = authors_block_name(self.plan.config.family, block)
            for metric, spread in spreads.items():
                found |= {f"{name}/{metric}_mean": spread.mean, f"{name}/{metric}_std": spread.std}
        return found

    def _spreads(self) -> list[Spread]:
        inside = [spread for spreads in self.blocks.values() for spread in spreads.values()]
        return [self.flops, self.dense, *self.paid, *inside]


def _with_halo(ponder_cost: np.ndarray, halos: Sequence[tuple[int, float]]) -> np.ndarray:
    """What is paid at each position [n, h, w]: a share by the dearest position so near."""
    paid = np.zeros(ponder_cost.shape)
    for halo, share in halos:
        around = np.pad(ponder_cost, ((0, 0), (halo, halo), (halo, halo)), mode="edge")
        near = np.lib.stride_tricks.sliding_window_view(around, (2 * halo + 1,) * 2, axis=(1, 2))
        paid += share * near.max((-2, -1))
    return paid


def l2_loss(params: Mapping[str, np.ndarray], l2: float) -> float:
    """Half the sum of squares of all convolution weights, times ``l2``.

    Parameters
    ----------
    params : mapping of str to np.ndarray
        Parameters by name; biases and normalisations do not count.
    l2 : float
        The weight.
    """
    weights = (v for name, v in params.items() if name.endswith("/weight"))
    return l2 / 2 * sum(float(np.square(v, dtype=np.float64).sum()) for v in weights)


def authors_block_name(family: str, name: str) -> str:
    """Name ``block1`` as the authors do: ``block_1`` in the CIFAR family."""
    return FAMILIES[family].scope_of(int(name.removeprefix("block")))
