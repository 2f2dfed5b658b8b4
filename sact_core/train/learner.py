"""A network, its optimiser and one training step.

Source: arXiv:1612.02297, eq. 9 and section 4.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sact_core.backends import dense
from sact_core.checkpoint import Checkpoint
from sact_core.flops import UnitPrices, count_flops, dense_flops
from sact_core.network import Plan
from sact_core.plans import build_plan
from sact_core.processes import Processes
from sact_core.taus import check_taus
from sact_core.train.answers import Answers
from sact_core.train.batches import Batch
from sact_core.train.ema import WeightAverage
from sact_core.train.optimisers import Anchor, make_optimiser
from sact_core.train.recipes import TrainingConfig
from sact_core.train.targets import blended, maps_apart, relative_prices


@dataclass(frozen=True)
class Seen:
    """A forward pass over a batch.

    ``objective`` is what the gradient is taken of: the loss without its L2 part,
    which the optimiser adds. ``total`` has all parts; ``cross_entropy`` is that of the
    labels alone, not smoothed, mixed or distilled, as evaluation has it.
    """

    objective: Tensor
    total: float
    cross_entropy: float
    accuracy: float
    ponder: float
    traces: list[dense.BlockTrace]
    size: tuple[int, int, int]  # images, height, width


@dataclass(frozen=True)
class Passed:
    """The same on the device, where nobody has waited for it; all but traces are scalars."""

    objective: Tensor
    total: Tensor
    cross_entropy: Tensor
    accuracy: Tensor
    ponder: Tensor
    traces: list[dense.BlockTrace]


class Learner:
    """The network of one process, and how it learns.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    params : dict of str to np.ndarray
        What to start from.
    teachers : sequence of Checkpoint
        Whose soft labels are mixed in: of two the mean of their logits.
    device : str
        torch device.
    processes : Processes
        Who learns along.
    unit_prices : UnitPrices, optional
        What a unit of each block costs, see `sact_core.backends.dense.loss`.
    answers : Answers, optional
        What the teacher answers, where every image is cut in few ways.
    """

    def __init__(
        self,
        config: TrainingConfig,
        params: dict[str, np.ndarray],
        teachers: Sequence[Checkpoint] = (),
        device: str = "cpu",
        processes: Processes | None = None,
        unit_prices: UnitPrices | None = None,
        answers: Answers | None = None,
    ) -> None:
        self.config, self._unit_prices, self._answers = config, unit_prices, answers
        self.device = torch.device(device)
        self.plan: Plan = build_plan(config.network)
        # torch.compile has its own ways of fusing.
        fused = not config.compile
        made = dense.Network(self.plan, params, fused, config.freeze_bn)
        self.network = made.to(self.device)
        self._forward: Callable[..., Any] = self.network
        if config.compile:
            self._forward = torch.compile(self.network)
        if processes is not None and processes.world > 1:
            # Strides of dimensions of size 1, as halting branches have, mean nothing.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            self._forward = torch.nn.parallel.DistributedDataParallel(self._forward)
        self._teachers: list[dense.Network] = []
        for teacher in teachers:
            made = dense.Network(build_plan(teacher.config), teacher.params, True, config.freeze_bn)
            self._teachers.append(made.to(self.device).eval().requires_grad_(False))
        self._average = WeightAverage(self.network, config.ema) if config.ema else None
        if not config.backbone_lr:
            for name, value in self.network.named_parameters():
                value.requires_grad_("/halting_proba/" in name)
        self.optimiser = make_optimiser(config, self.network)
        self._weights = [v for k, v in self.network.named_parameters() if k.endswith("/weight")]
        self._anchor = Anchor(self.network, config.anchor) if config.anchor else None

    def look(self, batch: Batch) -> Seen:
        """Run a batch forward."""
        x = torch.from_numpy(batch.images).to(self.device).permute(0, 3, 1, 2)
        labels = torch.from_numpy(batch.labels).to(self.device)
        taus = None if batch.taus is None else torch.from_numpy(batch.taus).to(self.device)
        larger = None
        if batch.larger is not None:
            larger = torch.from_numpy(batch.larger).to(self.device).permute(0, 3, 1, 2)
        mixed = None
        if batch.shares is not None and batch.others is not None:
            parts = (
                torch.from_numpy(each).to(self.device) for each in (batch.shares, batch.others)
            )
            mixed = next(parts), next(parts)
        target = None if self._answers is None else self._kept(x, batch, self._answers)
        found = self.forward(x, labels, taus, target, larger=larger, mixed=mixed)
        scalars = found.total, found.cross_entropy, found.accuracy, found.ponder
        total, entropy, accuracy, ponder = map(float, scalars)
        size = len(x), x.shape[2], x.shape[3]
        return Seen(found.objective, total, entropy, accuracy, ponder, found.traces, size)

    def forward(
        self,
        x: Tensor,
        labels: Tensor,
        taus: Tensor | None = None,
        target: Tensor | None = None,
        *,
        larger: Tensor | None = None,
        mixed: tuple[Tensor, Tensor] | None = None,
    ) -> Passed:
        """Run a batch forward that is on the device already, without waiting for anything.

        Parameters
        ----------
        x : Tensor [shape=(n, 3, h, w), float32]
            Preprocessed images, best stored channels last.
        labels : Tensor [shape=(n,), int64]
            Classes; of no meaning where the recipe is without labels.
        taus : Tensor [shape=(n,), float64], optional
            As in `sact_core.train.batches.Batch`.
        target : Tensor [shape=(n, classes), float32], optional
            What the teacher answers; it is asked where left out.
        larger : Tensor, optional
            As ``x``: what the teacher sees in its place.
        mixed : tuple of Tensor [shape=(n,)], optional
            ``shares`` and ``others`` of `sact_core.train.batches.Batch`.
        """
        config = self.config
        self.network.train()
        tau: float | Tensor = config.tau
        told: dict[str, Any] = {}
        if taus is not None:
            tau = told["tau"] = taus
        maps: list[Tensor] | None = None
        if config.match_maps:  # at the network's own size
            target, maps = self._taught(x, True)
        if self._teachers and (target is None or larger is not None):
            target = self._taught(x if larger is None else larger)[0]
        if target is not None and config.labels == "none":
            labels = target.argmax(1)
        if target is not None and config.difficulty:
            tau = tau * relative_prices(target, labels, config.difficulty)
        if maps is not None:
            told["keep_outputs"] = True
        with self._autocast():
            logits, traces = self._forward(x, **told)
        wanted = labels
        if mixed is not None and config.labels == "given":
            wanted = blended(labels, *mixed, logits.shape[1])
        parts = dense.loss(
            self.network,
            logits,
            traces,
            wanted,
            tau,
            label_smoothing=config.label_smoothing,
            unit_prices=self._unit_prices,
        )
        objective = parts.total
        if target is not None:
            objective = objective + self._distilled(logits, target, parts.cross_entropy)
        if maps is not None:
            objective = objective + config.match_maps * maps_apart(traces, maps)
        with torch.no_grad():
            total = objective.detach()
            if config.optimiser == "sgd":  # of AdamW's decay there is no loss
                squares = torch.nn.utils.get_total_norm(self._weights).square()
                total = total + config.l2 / 2 * squares
            entropy = F.cross_entropy(logits.float(), labels)
            accuracy = (logits.argmax(1) == labels).float().mean()
        return Passed(objective, total, entropy, accuracy, parts.ponder.detach(), traces)

    def learn(self, seen: Seen, rate_factor: float) -> None:
        """Take a step at a share of the peak learning rate."""
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(seen.objective)
        self.step(rate_factor)

    def step(self, rate_factor: float) -> None:
        """Take a step along the gradients that are there."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * rate_factor * group["scale"]
        if self._anchor is not None:
            self._anchor.pull()
        self.optimiser.step()
        if self._average is not None:
            self._average.update(self.network)

    @property
    def networks(self) -> list[dense.Network]:
        """All that runs here: the network that learns, its average and its teacher, if any."""
        average = None if self._average is None else self._average.network
        return [each for each in (self.network, average, *self._teachers) if each is not None]

    @property
    def shown(self) -> dense.Network:
        """The network to evaluate and to write: the average of its weights where one is kept."""
        return self.network if self._average is None else self._average.network

    def flops(self, seen: Seen) -> float:
        """Mean FLOPs of an image of the batch."""
        n, *size = seen.size
        positions = dense.count_positions(self.plan, seen.traces, n, (size[0], size[1]))
        return float(count_flops(self.plan, positions).total.mean())

    def flops_share(self, seen: Seen) -> float:
        """The same as a share of dense, at the size of the batch."""
        return self.flops(seen) / int(dense_flops(self.plan, seen.size[1:]).total[0])

    @property
    def params(self) -> list[Tensor]:
        """Parameters in the order of the optimiser's state."""
        return [value for group in self.optimiser.param_groups for value in group["params"]]

    @property
    def learning_rate(self) -> float:
        """That of the last step, where it is largest."""
        return float(max(group["lr"] for group in self.optimiser.param_groups))

    def is_finite(self) -> bool:
        """Whether every parameter and moving statistic is a finite number."""
        return all(bool(torch.isfinite(v).all()) for v in self.network.state_dict().values())

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        found = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        if self._anchor is not None:
            found["anchor"] = self._anchor.state()
        return found if self._average is None else found | {"average": self._average.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self._average is not None:
            self._average.load(state["average"])
        if self._anchor is not None:
            self._anchor.load(state["anchor"])

    @property
    def teacher(self) -> dense.Network | None:
        """Whose answers are learnt, if anybody's; the first of two."""
        return next(iter(self._teachers), None)

    def _kept(self, x: Tensor, batch: Batch, answers: Answers) -> Tensor:
        """What the teacher answers to a batch, asked where nobody has yet."""
        assert batch.view is not None
        assert batch.picked is not None

        def ask(missing: np.ndarray) -> np.ndarray:
            told: np.ndarray = self._taught(x[torch.from_numpy(missing)])[0].float().cpu().numpy()
            return told

        return torch.from_numpy(answers.of(batch.view, batch.picked, ask)).to(x.device)

    def _taught(self, x: Tensor, keeps: bool = False) -> tuple[Tensor, list[Tensor]]:
        """What the teachers answer to a batch, and blocks' outputs of one if they are kept."""
        answers: list[Tensor] = []
        with torch.no_grad(), self._autocast():
            for teacher in self._teachers:
                taus = check_taus(teacher.plan.config, None, len(x))
                told = {} if taus is None else {"tau": torch.from_numpy(taus).to(x.device)}
                logits, traces = teacher(x, keep_outputs=keeps, **told)
                answers.append(logits.float() if len(self._teachers) > 1 else logits)
            target = answers[0] if len(answers) == 1 else torch.stack(answers).mean(0)
        return target, [trace.output for trace in traces if trace.output is not None]

    def _distilled(self, logits: Tensor, target: Tensor, entropy: Tensor) -> Tensor:
        """What the teacher's soft labels change of the loss.

        Source: Hinton et al. 2015, arXiv:1503.02531.
        """
        heat, share = self.config.distill_temperature, self.config.distill_weight
        soft = F.kl_div(
            F.log_softmax(logits / heat, 1),
            F.log_softmax(target / heat, 1),
            reduction="batchmean",
            log_target=True,
        )
        return share * (heat * heat * soft - entropy)

    def _autocast(self) -> torch.autocast:
        enabled = self.config.amp == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)
