"""Whether the backends agree on an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.loaders.checkpoints import net
from app.loaders.running import run
from app.records import Look, Run


@dataclass(frozen=True)
class Agreement:
    """How far a backend is from the reference on one image.

    Attributes
    ----------
    backend : str
        Which one.
    seconds : float
        How long it took.
    logits : float
        Largest difference, over the largest logit.
    ponder_cost : float
        Largest difference, in units; 0 for vanilla networks.
    num_units, close : int
        Positions that ran another number of units, and how many of those lie
        within 1e-4 of the threshold, where rounding decides.
    positions : int
        Positions of all blocks.
    flops_equal : bool
        Whether the FLOPs are equal, as whole numbers.
    precision : str
        What its convolutions multiplied.
    """

    backend: str
    seconds: float
    logits: float
    ponder_cost: float
    num_units: int
    close: int
    positions: int
    flops_equal: bool
    precision: str = "float32"

    @property
    def ok(self) -> bool:
        """Whether it agrees as closely as rounding lets it."""
        differs = self.num_units > self.close
        near = self.num_units > 0  # where rounding decides, costs and FLOPs follow
        exact = self.flops_equal and self.ponder_cost <= 1e-3
        return not differs and self.logits <= 1e-3 and (exact or near)


def agreement(look: Look) -> list[Agreement]:
    """Run all three backends in float32 and compare them with the reference. Imports torch.

    Where other runs take another precision, the masked engine in that comes last, which
    rounds and need not agree.

    Raises
    ------
    InputError
        As `run`.
    """
    ref = run(look, "reference")
    kinds = dict.fromkeys(
        [("masked", "float32"), ("dense", "float32"), ("masked", net(look.model).precision)]
    )
    return [_compare(ref, run(look, *kind), kind[0], look.model.config.eps) for kind in kinds]


def _compare(ref: Run, comp: Run, backend: str, eps: float) -> Agreement:
    largest = float(np.abs(ref.result.logits).max()) or 1.0
    cost, differing, close, positions = 0.0, 0, 0, 0
    for one, other in zip(ref.result.blocks, comp.result.blocks, strict=True):
        if one.num_units is None or one.ponder_cost is None or one.halting_proba is None:
            continue
        assert other.num_units is not None
        assert other.ponder_cost is not None
        different = one.num_units != other.num_units
        sums = np.cumsum(np.nan_to_num(one.halting_proba.astype(np.float64)), axis=-1)
        near = (np.abs(sums - (1 - eps)) < 1e-4).any(axis=-1)
        positions += different.size
        differing += int(different.sum())
        close += int((different & near).sum())
        if not different.all():
            gap = np.abs(one.ponder_cost - other.ponder_cost)[~different]
            cost = max(cost, float(gap.max()))
    return Agreement(
        backend,
        comp.seconds,
        float(np.abs(ref.result.logits - comp.result.logits).max()) / largest,
        cost,
        differing,
        close,
        positions,
        bool((ref.result.flops == comp.result.flops).all()),
        comp.result.precision,
    )
