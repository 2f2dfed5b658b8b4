"""How far prices of a unit shift the halting logits: a table for the masked engine."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sact_core.network import TAU_PIECES, Plan


class Shifts:
    """The lines from log tau to a shift, of all units at once.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray
        Its parameters.
    """

    def __init__(self, plan: Plan, params: Mapping[str, np.ndarray]) -> None:
        self.config = plan.config
        self._slopes = np.zeros((TAU_PIECES + 1, len(plan.units)))  # the last: past the end
        for u, unit in enumerate(plan.units):
            if unit.halting is not None and unit.halting.tau_shift is not None:
                w = np.asarray(params[unit.halting.tau_shift.name], np.float64)
                self._slopes[:TAU_PIECES, u] = np.maximum(w, 0) + np.log1p(np.exp(-np.abs(w)))
        # Where each piece begins. Rounded sums rise where exact ones do.
        self._begins = np.zeros_like(self._slopes)
        np.cumsum(self._slopes[:-1], axis=0, out=self._begins[1:])

    @np.errstate(over="ignore", invalid="ignore")  # refused where results are looked at
    def at(self, taus: np.ndarray | None, num_images: int) -> np.ndarray:
        """Shifts of the halting logits [shape=(num_images, units), float32].

        Parameters
        ----------
        taus : np.ndarray [shape=(num_images,), float64], optional
            Prices in the network's range; None where it is not conditioned on tau.
        num_images : int
            How many images there are.
        """
        if taus is None:
            return np.zeros((num_images, self._slopes.shape[1]), np.float32)
        low, high = self.config.tau_low, self.config.tau_high
        assert low is not None
        assert high is not None
        # A ratio's logarithm is exactly 0 at the low end, which a difference of two is not.
        along = np.clip(np.log(taus / low) / math.log(high / low), 0, 1) * TAU_PIECES
        piece = along.astype(np.int64)
        shift = self._begins[piece] + self._slopes[piece] * (along - piece)[:, None]
        single: np.ndarray = shift.astype(np.float32)
        return single
