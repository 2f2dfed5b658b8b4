"""How dear one image can be made: gradient ascent on the ponder cost.

Source: Madry et al. 2018, arXiv:1706.06083 (projected gradient ascent by signs); on cost
instead of loss as Haque et al. 2020, arXiv:1905.04270, and Hong et al. 2021,
arXiv:2010.02432, do with other adaptive networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.config import KINDS

if TYPE_CHECKING:
    from torch import Tensor

    from sact_core.backends import Net

STEPS = 40
#: Bound on the change of a value of a pixel, of 255, and how much of it is one step.
BOUND, STEP = 8, 0.125


def dearer(
    net: Net,
    pixels: np.ndarray,
    bound: int = BOUND,
    steps: int = STEPS,
    seed: int = 0,
    done: Callable[[int], object] = lambda steps: None,
) -> np.ndarray:
    """Change images, no value of a pixel by more than a bound, so that they cost more.

    Parameters
    ----------
    net : Net
        On the dense backend, which gives gradients; it halts.
    pixels : np.ndarray [shape=(n, H, W, 3), uint8]
        Images as the network sees them.
    bound : int
        Largest change, of 255.
    steps : int
        Of gradient ascent on the mean ponder cost, from a random start within the bound.
    seed : int
        Of the start.
    done : callable
        Told after each step.

    Returns
    -------
    np.ndarray [shape=(n, H, W, 3), uint8]
        Of each image the step that cost most, rounded within the bound; the image itself
        where none cost more.

    Raises
    ------
    ValueError
        If the network has no ponder cost, or is not on the dense backend.
    """
    import torch

    if not net.config.halts:
        raise ValueError(f"{net.config.name} never halts: each image costs the same")
    if net.backend != "dense":
        raise ValueError("gradients are the dense backend's: give --backend dense")
    network = net.engine.network  # type: ignore[attr-defined]
    device = next(network.parameters()).device
    tau = None if net.tau is None else torch.full((len(pixels),), net.tau, dtype=torch.float64)

    def cost(x: Tensor) -> Tensor:
        given = None if tau is None else tau.to(device)
        _, traces = network(_input(x, net.preprocessing.kind), tau=given)
        parts = [trace.ponder_cost.reshape(len(x), -1).mean(1) for trace in traces]
        return torch.stack(parts).sum(0)

    whole = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float()
    start = np.random.default_rng(seed).uniform(-bound, bound, whole.shape).astype(np.float32)
    low, high = (whole - bound).clamp(min=0), (whole + bound).clamp(max=255)
    x = (whole + torch.from_numpy(start).to(device)).clamp(low, high)
    best = whole.clone()
    with torch.no_grad():
        dearest = cost(whole)
    for step in range(steps + 1):
        x = x.detach().requires_grad_(step < steps)
        # What is kept is what can be shown: whole values of pixels.
        with torch.no_grad():
            shown = x.round().clamp(low, high)
            costs = cost(shown)
            better = costs > dearest
            best[better], dearest[better] = shown[better], costs[better]
        if step < steps:
            (slope,) = torch.autograd.grad(cost(x).sum(), x)
            x = (x + STEP * bound * slope.sign()).clamp(low, high)
        done(1)
    found: np.ndarray = best.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
    return found


def sum_up(before: np.ndarray, after: np.ndarray, dense: int, seed: int = 0) -> dict[str, Any]:
    """Say what the change did to FLOPs [shape=(n,), int64] of each image, and what all cost.

    ``times_as_dear_interval`` is that of the mean over images; null of one image.
    """
    from sact_core.measures.ranks import RESAMPLES, Estimate

    risen = after / before
    drawn = np.random.default_rng(seed).integers(0, len(risen), (RESAMPLES, len(risen)))
    _, *ends = Estimate.of(float(risen.mean()), risen[drawn].mean(1)).as_json()
    return {
        "images": len(before),
        "flops": float(before.mean()),
        "flops_changed": float(after.mean()),
        "share_of_dense": float(before.mean() / dense),
        "share_of_dense_changed": float(after.mean() / dense),
        "largest_share_of_dense": float(before.max() / dense),
        "largest_share_of_dense_changed": float(after.max() / dense),
        "times_as_dear": float(risen.mean()),
        "times_as_dear_interval": ends if len(risen) > 1 else None,
        "times_as_dear_at_most": float(risen.max()),
    }


def _input(x: Tensor, kind: str) -> Tensor:
    """What `sact_core.preprocess.normalise` makes of values of pixels [n, 3, h, w], on tensors."""
    scale = KINDS[kind].scale
    if scale is not None:
        offset, factor = scale
        return (x / 255 - offset) * factor
    n = x[0].numel()
    mean = x.mean((1, 2, 3), keepdim=True)
    spread = x.std((1, 2, 3), unbiased=False, keepdim=True)
    return (x - mean) / spread.clamp(min=n**-0.5)
