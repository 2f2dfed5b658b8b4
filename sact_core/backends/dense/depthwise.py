"""Gradients of depthwise convolutions on a CPU, where torch's are slow.

A step of EfficientNet-Lite spends most of its time on the gradient of 5x5 weights, and in
bfloat16 on that of inputs of stride 2: 20 and 38 ms where these loops take one. All else
is torch's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sact_core.backends.dense import fused, gradients

SIDE = 5  # of kernels whose weights' gradients are summed here


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, pad: int) -> Tensor:
    """Convolve every channel by itself; as `torch.nn.functional.conv2d`.

    Parameters
    ----------
    x : Tensor [shape=(n, c, h, w), float32 or bfloat16]
        Any map that `sact_core.backends.dense.fused.fits`.
    weight : Tensor [shape=(c, 1, k, k), float32]
        The kernels.
    bias : Tensor [shape=(c,), float32], optional
        Added to every position.
    stride, pad : int
        Of both axes; ``pad`` zeros on all four sides.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    weight = weight.to(x.dtype)
    y: Tensor = _Convolve.apply(x, weight, stride, pad)  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias.to(x.dtype)[:, None, None]


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, pad: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.numbers = stride, pad
        return F.conv2d(x, weight, None, stride, pad, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        stride, pad = ctx.numbers
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        gy = gy.to(x.dtype).contiguous(memory_format=torch.channels_last)
        n, c, h, w = x.shape
        side = weight.shape[2]
        shape = h, w, c, gy.shape[2], gy.shape[3], side, stride, pad
        gx = gweight = None
        if wants_x and stride > 1:
            taps = weight.detach()[:, 0].float().permute(1, 2, 0).contiguous().view(-1).numpy()
            gx = torch.empty_like(x)
            fused.run(gradients.of_input, n, fused.flat(gy), taps, *shape, fused.flat(gx))
            wants_x = False
        if wants_weight and side == SIDE:
            sums = np.empty((n, side * side, c), np.float32)
            fused.run(gradients.of_weight, n, fused.flat(x), fused.flat(gy), *shape, sums.ravel())
            found = torch.from_numpy(sums.sum(0, np.float64).astype(np.float32))
            gweight = found.view(side, side, c).permute(2, 0, 1)[:, None].to(weight.dtype)
            wants_weight = False
        if wants_x or wants_weight:
            rest = torch.ops.aten.convolution_backward(
                *(gy, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], c),
                [wants_x, wants_weight, False],
            )
            gx = rest[0] if wants_x else gx
            gweight = rest[1] if wants_weight else gweight
        return gx, gweight, None, None
