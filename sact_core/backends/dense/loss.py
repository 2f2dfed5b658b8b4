"""The training loss of the authors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from sact_core.backends.dense.network import BlockTrace, Network


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
    unit_prices: Sequence[float] | None = None,
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
    unit_prices : sequence of float, optional
        What a unit of each block costs, in units of tau, as
        `sact_core.flops.unit_prices` gives it; 1 where left out.

    References
    ----------
    arXiv:1612.02297, eq. 9.
    """
    ponder, price = logits.new_zeros(()), logits.new_zeros(())
    if unit_prices is None:
        unit_prices = (1.0,) * len(traces)
    for trace, unit_price in zip(traces, unit_prices, strict=True):
        if trace.ponder_cost is not None:
            mean = trace.ponder_cost.mean()
            ponder = ponder + mean
            if isinstance(tau, Tensor):
                each = trace.ponder_cost.reshape(len(logits), -1).mean(1)
                price = price + unit_price * (tau.to(each) * each).mean()
            else:
                price = price + unit_price * mean
    if not isinstance(tau, Tensor):
        price = tau * price
    squares = logits.new_zeros(())
    if l2:
        for name, weight in network.named_parameters():
            if name.endswith("/weight"):
                squares = squares + weight.square().sum()
    entropy = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return Loss(entropy, ponder, price, l2 / 2 * squares)
