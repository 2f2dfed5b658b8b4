"""The training loss of the authors."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from sact_core.backends.dense.network import BlockTrace, Network


@dataclass(frozen=True)
class Loss:
    """The authors' training loss and its parts, as tensors."""

    cross_entropy: Tensor
    ponder: Tensor
    price: Tensor
    regularization: Tensor

    @property
    def total(self) -> Tensor:
        """Cross-entropy + tau x ponder + L2."""
        return self.cross_entropy + self.price + self.regularization


def loss(
    network: Network,
    logits: Tensor,
    traces: list[BlockTrace],
    labels: Tensor,
    tau: float | Tensor = 0.0,
    l2: float = 0.0,
    label_smoothing: float = 0.0,
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

    References
    ----------
    arXiv:1612.02297, eq. 9.
    """
    ponder, price = logits.new_zeros(()), logits.new_zeros(())
    for trace in traces:
        if trace.ponder_cost is not None:
            ponder = ponder + trace.ponder_cost.mean()
            if isinstance(tau, Tensor):
                each = trace.ponder_cost.reshape(len(logits), -1).mean(1)
                price = price + (tau.to(each) * each).mean()
    if not isinstance(tau, Tensor):
        price = tau * ponder
    squares = logits.new_zeros(())
    if l2:
        for name, weight in network.named_parameters():
            if name.endswith("/weight"):
                squares = squares + weight.square().sum()
    entropy = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return Loss(entropy, ponder, price, l2 / 2 * squares)
