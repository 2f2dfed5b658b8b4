"""The training loss of the authors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sact_core.backends.dense.network import BlockTrace, Network
from sact_core.flops import UnitPrices


@dataclass(frozen=True)
class Loss:
    """The authors' training loss and its parts, as tensors.

    ``ponder`` is in units, whatever a unit of each block costs; ``price`` is what it costs.
    """

    cross_entropy: Tensor
    ponder: Tensor
    price: Tensor
    regularization: Tensor

    @property
    def total(self) -> Tensor:
        """Cross-entropy + price + L2."""
        return self.cross_entropy + self.price + self.regularization


def loss(
    network: Network,
    logits: Tensor,
    traces: list[BlockTrace],
    labels: Tensor,
    tau: float | Tensor = 0.0,
    l2: float = 0.0,
    label_smoothing: float = 0.0,
    unit_prices: UnitPrices | None = None,
) -> Loss:
    """Give the loss of a batch.

    Parameters
    ----------
    network, logits, traces
        A network and what its forward pass gave.
    labels : Tensor [shape=(n,), int64]
        Classes.
    tau : float or Tensor [shape=(n,)]
        Price of a unit: weight of the mean ponder cost, summed over blocks; one for
        all images, or each image's own.
    l2 : float
        Weight of half the sum of squares of every convolution weight, halting
        branches included; biases and normalisations are left out.
    label_smoothing : float
        Share of the target spread over all classes.
    unit_prices : UnitPrices, optional
        What a unit of each block costs, in units of tau, as
        `sact_core.flops.unit_prices` gives it; 1 where it is active, where left out.

    References
    ----------
    arXiv:1612.02297, eq. 9.
    """
    ponder, price = logits.new_zeros(()), logits.new_zeros(())
    prices = unit_prices or UnitPrices((1.0,) * len(traces))
    halos = prices.halos or (((0, 1.0),),) * len(traces)
    for trace, unit_price, halo in zip(traces, prices.blocks, halos, strict=True):
        if trace.ponder_cost is not None:
            ponder = ponder + trace.ponder_cost.mean()
            units = trace.ponder_cost
            if prices.halos is not None:
                units = _with_halo(units, halo)
            paid = units.mean()
            if isinstance(tau, Tensor):
                each = units.reshape(len(logits), -1).mean(1)
                paid = (tau.to(each) * each).mean()
            price = price + unit_price * paid
    if not isinstance(tau, Tensor):
        price = tau * price
    squares = logits.new_zeros(())
    if l2:
        for name, weight in network.named_parameters():
            if name.endswith("/weight"):
                squares = squares + weight.square().sum()
    entropy = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return Loss(entropy, ponder, price, l2 / 2 * squares)


def _with_halo(ponder_cost: Tensor, shares: Sequence[tuple[int, float]]) -> Tensor:
    """What is paid at each position [n, h, w], where parts of a unit reach beyond the active."""
    paid = torch.zeros_like(ponder_cost)
    for halo, share in shares:
        grown = F.max_pool2d(ponder_cost[:, None], 2 * halo + 1, 1, halo)[:, 0]
        paid = paid + share * grown
    return paid
