"""How weights move: the optimiser, and what holds them near to where they started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sact_core.backends import dense
from sact_core.train.recipes import TrainingConfig


def make_optimiser(config: TrainingConfig, network: dense.Network) -> torch.optim.Optimizer:
    """Make the optimiser of a recipe, for all parameters that learn.

    L2, or AdamW's decay, falls on convolution weights only. Halting branches and the
    rest have groups of their own, whose ``scale`` is their share of the learning rate.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, value in network.named_parameters():
        if value.requires_grad:
            key = (is_halting(name), name.endswith("/weight"))
            groups.setdefault(key, []).append(value)
    parts: list[dict[str, Any]] = [
        {
            "params": values,
            "weight_decay": config.l2 if is_weight else 0.0,
            "scale": config.halting_lr if of_halting else config.backbone_lr,
        }
        for (of_halting, is_weight), values in groups.items()
    ]
    if config.optimiser == "adamw":
        return torch.optim.AdamW(parts, lr=config.learning_rate)
    return torch.optim.SGD(
        parts,
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
    )


def is_halting(name: str) -> bool:
    """Whether a parameter is of a halting branch."""
    return "/halting_proba/" in name


class Anchor:
    """Holds all parameters but those of halting branches to where they started.

    Source: L2-SP, Li et al. 2018, arXiv:1802.01483.

    Parameters
    ----------
    network : dense.Network
        As it starts.
    weight : float
        Of half the squared distance, in the loss.
    """

    def __init__(self, network: dense.Network, weight: float) -> None:
        self._weight = weight
        self._held = {
            name: (value, value.detach().clone())
            for name, value in network.named_parameters()
            if not is_halting(name) and value.requires_grad
        }

    def pull(self) -> None:
        """Add to the gradients that are there."""
        for value, start in self._held.values():
            if value.grad is not None:
                value.grad.add_(value.detach() - start, alpha=self._weight)

    def state(self) -> dict[str, Tensor]:
        """Where everything started."""
        return {name: start for name, (_, start) in self._held.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over where another run of the same recipe started."""
        for name, (_, start) in self._held.items():
            start.copy_(state[name])
