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
    tau: float
    regularization: Tensor

    @property
    def total(self) -> Tensor:
        """Cross-entropy + tau x ponder + L2."""
        return self.cross_entropy + self.tau * self.ponder + self.regularization


def loss(
    network: Network,
    logits: Tensor,
    traces: list[BlockTrace],
    labels: Tensor,
    tau: float = 0.0,
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
    tau : float
        Price of a unit: weight of the mean ponder cost, summed over blocks.
    l2 : float
        Weight of half the sum of squares of every convolution weight, halting
        branches included; biases and normalisations are left out.
    label_smoothing : float
        Share of the target spread over all classes.

    References
    ----------
    arXiv:1612.02297, eq. 9.
    """
    ponder = logits.new_zeros(())
    for trace in traces:
        if trace.ponder_cost is not None:
            ponder = ponder + trace.ponder_cost.mean()
    squares = logits.new_zeros(())
    if l2:
        for name, weight in network.named_parameters():
            if name.endswith("/weight"):
                squares = squares + weight.square().sum()
    entropy = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return Loss(entropy, ponder, tau, l2 / 2 * squares)
