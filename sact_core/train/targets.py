"""What a network is to answer, and how far its maps are from a teacher's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sact_core.backends import dense

VARIANCE_EPS = 1e-5


def relative_prices(target: Tensor, labels: Tensor, power: float) -> Tensor:
    """Give what a unit costs each image, as a share of tau: less where the teacher doubts.

    Parameters
    ----------
    target : Tensor [shape=(n, classes)]
        What the teacher answers, before the softmax.
    labels : Tensor [shape=(n,), int64]
        Classes.
    power : float
        0 for one price; the larger, the cheaper are hard images.

    Returns
    -------
    Tensor [shape=(n,), float32]
        In proportion to the softmax of the class to this power; 1 on average.
    """
    log_proba = -F.cross_entropy(target.float(), labels, reduction="none")
    return torch.softmax(power * log_proba, 0) * len(labels)


def blended(labels: Tensor, shares: Tensor, others: Tensor, num_classes: int) -> Tensor:
    """Give the target of images that are mixed with others [shape=(n, classes), float32].

    Parameters
    ----------
    labels, others : Tensor [shape=(n,), int64]
        Classes of an image, and of what it is mixed with.
    shares : Tensor [shape=(n,), float32]
        How much of the image is left.
    num_classes : int
        How many there are.
    """
    one, other = (F.one_hot(each, num_classes).float() for each in (labels, others))
    return shares[:, None] * one + (1 - shares[:, None]) * other


def maps_apart(traces: Sequence[dense.BlockTrace], wanted: Sequence[Tensor]) -> Tensor:
    """Say how far blocks' outputs are from others: mean squares, in variances of the channel.

    Parameters
    ----------
    traces : sequence of BlockTrace
        With their outputs.
    wanted : sequence of Tensor [shape=(n, c, h, w)]
        What they are to be.

    Returns
    -------
    Tensor
        Mean over blocks, of each over channels.
    """
    found = []
    for trace, target in zip(traces, wanted, strict=True):
        assert trace.output is not None
        output, target = trace.output.float(), target.float()
        variance = target.var((0, 2, 3), unbiased=False)
        squares = (output - target).square().mean((0, 2, 3))
        found.append((squares / (variance + VARIANCE_EPS)).mean())
    return torch.stack(found).mean()
