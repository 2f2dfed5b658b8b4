"""The halting rule on tensors, differentiable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sact_core.halting import Halting, check_halting_proba, halting_threshold


def halt(halting_proba: np.ndarray, eps: float = 0.01) -> Halting:
    """Decide where each position stops; the contract of `sact_core.halting.halt`.

    Parameters
    ----------
    halting_proba : np.ndarray [shape=(..., units - 1), float32]
        Chance of stopping after each unit, in [0, 1].
    eps : float
        Halting slack, in [0, 1].

    Raises
    ------
    ValueError
        As `sact_core.halting.halt`.
    """
    proba = torch.tensor(check_halting_proba(halting_proba))
    with torch.no_grad():
        distribution, num_units, remainder = halt_tensors(proba, float(halting_threshold(eps)))
    return Halting(distribution.numpy(), num_units.numpy(), remainder.numpy())


def halt_tensors(proba: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Decide where each position stops, differentiably.

    Parameters
    ----------
    proba : Tensor [shape=(..., units - 1), float32]
        Chance of stopping after each unit.
    threshold : float
        ``1 - eps``.

    Returns
    -------
    distribution : Tensor [shape=(..., units)]
        Differentiable in every probability before the stop.
    num_units : Tensor [shape=(...), int32]
        Units run.
    remainder : Tensor [shape=(...)]
        With slope -1 in every probability before the stop and 0 in the rest.
    """
    state = HaltingTensors.start(proba[..., 0] if proba.shape[-1] else proba.sum(-1), threshold)
    weights = [state.advance(proba[..., unit]) for unit in range(proba.shape[-1])]
    weights.append(state.finish())
    return torch.stack(weights, -1), state.num_units, state.remainder


@dataclass
class HaltingTensors:
    """The halting rule between two units, on tensors of any one shape."""

    threshold: float
    cumsum: Tensor
    remainder: Tensor
    num_units: Tensor
    active: Tensor

    @classmethod
    def start(cls, like: Tensor, threshold: float) -> HaltingTensors:
        """Begin a block with everything active, shaped like a tensor."""
        zeros = torch.zeros_like(like, dtype=torch.float32)
        # The threshold is rounded to float32, as the sums that it is compared with.
        return cls(
            float(np.float32(threshold)),
            zeros,
            zeros + 1,
            torch.zeros_like(like, dtype=torch.int32),
            torch.ones_like(like, dtype=torch.bool),
        )

    @property
    def left(self) -> Tensor:
        """The weight not yet given away; 0 where a position has stopped."""
        return self.remainder * self.active

    def advance(self, proba: Tensor) -> Tensor:
        """Account for a unit that has run; return its weight."""
        # Products with masks instead of torch.where, which is several times slower; but
        # NaN times 0 is NaN, and what stands where nothing is read must not count.
        if not torch.is_grad_enabled():
            proba = proba.masked_fill(~self.active, 0.0)
        left = self.left
        self.num_units = self.num_units + self.active
        self.cumsum = self.cumsum + proba.detach() * self.active
        # Not "below": a sum with NaN reaches no threshold and goes on.
        self.active = self.active > (self.cumsum >= self.threshold)
        counted = proba * self.active
        self.remainder = self.remainder - counted
        return counted + (left - left * self.active)

    def finish(self) -> Tensor:
        """Account for the last unit; return its weight."""
        self.num_units = self.num_units + self.active
        return self.left
