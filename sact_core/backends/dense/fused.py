"""Parts of the network as single passes over memory, with their gradients, on a CPU.

torch spends more on a normalisation and its activation than on the convolution
that follows where channels are few. Here `kernels` does each such part in one
pass forward and two back, normalisations that read the same tensor share their
batch statistics, and nothing but the input is kept for the gradient. The
formulas are those of `network`; only rounding differs.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sact_core.backends.dense import kernels

#: Scale, offset and slope of an activated normalisation: ``activate(x * scale + offset)``.
Affine = tuple[np.ndarray, np.ndarray, float]

#: How torch runs an autograd function, which it leaves without types.
Apply = Callable[..., tuple[Tensor, ...]]

#: A network that diverges overflows; its loss says so.
_quiet = np.errstate(over="ignore", invalid="ignore")


def fits(x: Tensor) -> bool:
    """Say whether a map [n, c, h, w] can be worked on here."""
    n, c, h, w = x.shape
    small = x.dtype in (torch.float32, torch.bfloat16)
    whole = c % kernels.LANES == 0 and n * h * w > 1
    return x.device.type == "cpu" and small and whole and not kernels.INTERPRETED


def norm(
    x: Tensor, gamma: Tensor, beta: Tensor, eps: float, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise by the batch's moments and activate.

    Parameters
    ----------
    x : Tensor [shape=(n, c, h, w), float32 or bfloat16]
        Any map that `fits`.
    gamma, beta : Tensor [shape=(c,), float32]
        Scale and offset after normalising.
    eps : float
        Added to the variance.
    slope : float
        Negative slope of the activation.

    Returns
    -------
    y : Tensor [shape=(n, c, h, w)]
    image_mean : Tensor [shape=(n, c), float32]
        Spatial mean of ``x``, differentiable.
    mean, variance : Tensor [shape=(c,), float32]
        Moments of the batch, the variance biased; no gradient.
    """
    apply: Apply = _Norm.apply
    y, image_mean, mean, variance = apply(x, gamma, beta, eps, slope)
    return y, image_mean, mean, variance


def branch(
    x: Tensor,
    own: tuple[Tensor, Tensor, float],
    local: tuple[Tensor, Tensor, float],
    weight: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Normalise the same map twice: for the next unit, and for the halting branch.

    Parameters
    ----------
    x : Tensor [shape=(n, c, h, w), float32 or bfloat16]
        Any map that `fits`.
    own, local : tuple of (gamma, beta, slope)
        Of the next unit's pre-activation and of the branch.
    weight : Tensor [shape=(1, c, 3, 3), float32]
        The branch's convolution.
    eps : float
        Added to the variance by both.

    Returns
    -------
    y : Tensor [shape=(n, c, h, w)]
        The next unit's pre-activation.
    logit : Tensor [shape=(n, h, w), float32]
        The branch's convolution, without its bias.
    image_mean, mean, variance : Tensor
        As in `norm`.
    """
    apply: Apply = _Branch.apply
    y, logit, image_mean, mean, variance = apply(x, *own, *local, weight, eps)
    return y, logit, image_mean, mean, variance


def fixed_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, eps: float, slope: float
) -> Tensor:
    """Normalise by given moments and activate, without a gradient; else as `norm`."""
    x = x.contiguous(memory_format=torch.channels_last)
    affine = _affine(gamma, beta, slope, *_fixed(mean, variance, eps))
    y = torch.empty_like(x)
    n, c, h, w = x.shape
    run(kernels.norm_forward, n, flat(x), h * w, c, *affine, flat(y))
    return y


def fixed_branch(
    x: Tensor, norms: list[tuple[Tensor, Tensor, Tensor, Tensor, float, float]], weight: Tensor
) -> tuple[Tensor, Tensor]:
    """As `branch` without a gradient; ``norms`` hold the arguments of two `fixed_norm`."""
    x = x.contiguous(memory_format=torch.channels_last)
    own, local = (
        _affine(gamma, beta, slope, *_fixed(mean, variance, eps))
        for gamma, beta, mean, variance, eps, slope in norms
    )
    n, c, h, w = x.shape
    y, logit = torch.empty_like(x), torch.empty(n, h, w)
    maps = flat(y), flat(logit)
    run(kernels.branch_forward, n, flat(x), h, w, c, own, local, _taps(weight), *maps)
    return y, logit


def gate(
    x: Tensor, residual: Tensor, output: Tensor, active: Tensor, left: Tensor
) -> tuple[Tensor, Tensor]:
    """Add a residual where positions are active, and to the block's output by its weight.

    Parameters
    ----------
    x, residual, output : Tensor [shape=(n, c, h, w)]
        The unit's input and residual, and the block's output so far.
    active, left : Tensor [shape=(n, h, w)]
        Whether a position takes part; the weight not yet given away.

    Returns
    -------
    Tensor, Tensor
        ``x + active * residual`` and ``output + left * residual``.
    """
    apply: Apply = _Gate.apply
    after, weighted = apply(x, residual, output, active, left)
    return after, weighted


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float, slope: float) -> Any:
        x = x.contiguous(memory_format=torch.channels_last)
        image_mean, mean, variance = _moments(x)
        inverse = 1 / np.sqrt(variance + eps)
        affine = _affine(gamma, beta, slope, mean, inverse)
        y = torch.empty_like(x)
        n, c, h, w = x.shape
        run(kernels.norm_forward, n, flat(x), h * w, c, *affine, flat(y))
        ctx.save_for_backward(x)
        ctx.numbers = affine, mean, inverse
        return _results(ctx, mean, variance, y, _tensor(image_mean))

    @staticmethod
    def backward(ctx: Any, gy: Tensor, gmean: Tensor, *_: Any) -> Any:
        (x,) = ctx.saved_tensors
        affine, mean, inverse = ctx.numbers
        n, c, h, w = x.shape
        gy = _like(gy, x)
        sums, products = np.empty((2, n, c), np.float32)
        middle = mean.astype(np.float32)
        both = flat(x), flat(gy), h * w, c, *affine
        run(kernels.norm_backward_sums, n, *both, middle, sums.ravel(), products.ravel())
        s, p = sums.sum(0, np.float64), products.sum(0, np.float64)
        level, tilt = _plane(x, mean, inverse, affine[0] * s, affine[0] * p, gmean)
        gx = torch.empty_like(x)
        run(kernels.norm_backward, n, *both, level, tilt, flat(gx))
        return gx, _tensor(p * inverse), _tensor(s), None, None


class _Branch(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        own_gamma: Tensor,
        own_beta: Tensor,
        own_slope: float,
        local_gamma: Tensor,
        local_beta: Tensor,
        local_slope: float,
        weight: Tensor,
        eps: float,
    ) -> Any:
        x = x.contiguous(memory_format=torch.channels_last)
        image_mean, mean, variance = _moments(x)
        inverse = 1 / np.sqrt(variance + eps)
        own = _affine(own_gamma, own_beta, own_slope, mean, inverse)
        local = _affine(local_gamma, local_beta, local_slope, mean, inverse)
        taps = _taps(weight)
        n, c, h, w = x.shape
        y = torch.empty_like(x)
        logit = torch.empty(n, h, w)
        run(kernels.branch_forward, n, flat(x), h, w, c, own, local, taps, flat(y), flat(logit))
        ctx.save_for_backward(x)
        ctx.numbers = own, local, taps, mean, inverse
        return _results(ctx, mean, variance, y, logit, _tensor(image_mean))

    @staticmethod
    def backward(ctx: Any, gy: Tensor, glogit: Tensor, gmean: Tensor, *_: Any) -> Any:
        (x,) = ctx.saved_tensors
        own, local, taps, mean, inverse = ctx.numbers
        n, c, h, w = x.shape
        gy, glogit = _like(gy, x), glogit.contiguous()
        sums, gtaps = np.empty((n, 4, c), np.float32), np.empty((n, 9, c), np.float32)
        both = flat(x), flat(gy), flat(glogit), h, w, c, own, local
        middle = mean.astype(np.float32)
        run(kernels.branch_backward_sums, n, *both, middle, taps, sums.ravel(), gtaps.ravel())
        s1, p1, s2, p2 = sums.sum(0, np.float64)
        level, tilt = _plane(
            x, mean, inverse, own[0] * s1 + local[0] * s2, own[0] * p1 + local[0] * p2, gmean
        )
        gx = torch.empty_like(x)
        run(kernels.branch_backward, n, *both, taps, level, tilt, flat(gx))
        gweight = _tensor(gtaps.sum(0, np.float64)).view(3, 3, c).permute(2, 0, 1)[None]
        own_grads = _tensor(p1 * inverse), _tensor(s1), None
        local_grads = _tensor(p2 * inverse), _tensor(s2), None
        return gx, *own_grads, *local_grads, gweight, None


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor, output: Tensor, active: Tensor, left: Tensor
    ) -> Any:
        x, residual, output = (
            value.contiguous(memory_format=torch.channels_last) for value in (x, residual, output)
        )
        active, left = active.float().contiguous(), left.contiguous()
        new_x, new_output = torch.empty_like(x), torch.empty_like(output)
        n, c, h, w = x.shape
        sources = (flat(value) for value in (x, residual, output, active, left))
        run(kernels.gate_forward, n, *sources, h * w, c, flat(new_x), flat(new_output))
        ctx.save_for_backward(residual, active, left)
        return new_x, new_output

    @staticmethod
    def backward(ctx: Any, gx: Tensor, goutput: Tensor) -> Any:
        residual, active, left = ctx.saved_tensors
        gx, goutput = _like(gx, residual), _like(goutput, residual)
        gresidual, gleft = torch.empty_like(residual), torch.empty_like(left)
        n, c, h, w = residual.shape
        sources = (flat(value) for value in (residual, gx, goutput, active, left))
        run(kernels.gate_backward, n, *sources, h * w, c, flat(gresidual), flat(gleft))
        return gx, gresidual, goutput, None, gleft


@_quiet
def _moments(x: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spatial means [n, c], batch means and biased variances [c] of a map, float64.

    Sums are taken around a value of each channel, so that a mean far from zero
    costs no precision.
    """
    n, c, h, w = x.shape
    shift = x[0, :, 0, 0].float().numpy()
    sums, squares = np.empty((2, n, c), np.float32)
    run(kernels.moments, n, flat(x), h * w, c, shift, sums.ravel(), squares.ravel())
    away = sums.mean(0, np.float64) / (h * w)
    variance = squares.mean(0, np.float64) / (h * w) - away * away
    return sums / np.float64(h * w) + shift, away + shift, np.maximum(variance, 0)


@_quiet
def _affine(
    gamma: Tensor, beta: Tensor, slope: float, mean: np.ndarray, inverse: np.ndarray
) -> Affine:
    scale = gamma.detach().numpy() * inverse
    offset = beta.detach().numpy() - mean * scale
    return scale.astype(np.float32), offset.astype(np.float32), slope


def _taps(weight: Tensor) -> np.ndarray:
    """A filter [1, c, 3, 3] as [9 * c]."""
    return weight.detach()[0].permute(1, 2, 0).contiguous().view(-1).numpy()


def _fixed(mean: Tensor, variance: Tensor, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse deviation, float64."""
    return mean.double().numpy(), 1 / np.sqrt(variance.double().numpy() + eps)


@_quiet
def _plane(
    x: Tensor,
    mean: np.ndarray,
    inverse: np.ndarray,
    sums: np.ndarray,
    products: np.ndarray,
    gmean: Tensor,
) -> tuple[np.ndarray, np.ndarray]:
    """What the moments send back to ``x``: ``x * tilt + level``, a level per image."""
    n, _, h, w = x.shape
    count = n * h * w
    tilt = -products * inverse**2 / count
    level = -sums / count - tilt * mean + gmean.numpy() / (h * w)
    return level.astype(np.float32).ravel(), tilt.astype(np.float32)


def _results(ctx: Any, mean: np.ndarray, variance: np.ndarray, *results: Tensor) -> Any:
    moments = _tensor(mean), _tensor(variance)
    ctx.mark_non_differentiable(*moments)
    return *results, *moments


@_quiet
def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _like(gradient: Tensor, x: Tensor) -> Tensor:
    return gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)


def flat(value: Tensor) -> np.ndarray:
    """The memory of a tensor, positions times channels; bfloat16 as uint16."""
    value = value.detach()
    if value.ndim == 4:
        value = value.permute(0, 2, 3, 1)
    value = value.view(-1)
    if value.dtype == torch.bfloat16:
        return value.view(torch.uint16).numpy()
    return value.numpy()


def run(kernel: Callable[..., None], n: int, *args: Any) -> None:
    """Run a kernel over all images, on as many threads as torch may use."""
    threads = min(torch.get_num_threads(), n)
    if threads == 1:
        kernel(*args, 0, n)
        return
    cuts = [n * t // threads for t in range(threads + 1)]
    rest = [_pool(threads).submit(kernel, *args, *cuts[t : t + 2]) for t in range(1, threads)]
    kernel(*args, *cuts[:2])
    for part in rest:
        part.result()


@lru_cache(1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, "sact-train")
