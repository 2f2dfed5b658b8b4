"""The differentiable network.

Source: arXiv:1612.02297, section 3 and the authors' published networks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sact_core.backends.dense.halting import HaltingTensors
from sact_core.halting import MAX_LOGIT
from sact_core.network import TAU_PIECES, BatchNorm, Block, Conv, HaltingBranch, Plan, Unit
from sact_core.taus import require_prices


@dataclass
class BlockTrace:
    """What a block did, as tensors; maps are [n, h, w] (SACT) or [n] (ACT)."""

    ponder_cost: Tensor | None = None
    num_units: Tensor | None = None
    weights: list[Tensor] = field(default_factory=list)
    probas: list[Tensor] = field(default_factory=list)
    actives: list[Tensor] = field(default_factory=list)  # before each unit
    output: Tensor | None = None
    seconds: list[float] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)


class Network(nn.Module):
    """The differentiable network of a plan.

    Parameters
    ----------
    plan : Plan
        What to build.
    params : mapping of str to np.ndarray
        Every parameter of ``plan.param_shapes``, HWIO weights.
    fused : bool
        On a CPU, do in single passes what `fused` can: the same numbers but for
        rounding, in about half the time.
    frozen : bool
        Leave batch normalisations outside halting branches as they are: in training
        too they normalise by their moving statistics, which do not move. Those that
        follow a convolution are folded into it, which saves a pass each way.

    Notes
    -----
    In training mode batch statistics cover all positions, halted ones
    included, and the moving variance takes the biased batch variance.
    """

    def __init__(
        self,
        plan: Plan,
        params: Mapping[str, np.ndarray],
        fused: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.fused = fused
        self.frozen = frozen
        for name in plan.param_shapes:
            value = torch.tensor(np.asarray(params[name], np.float32))
            part = name.rsplit("/", 1)[1]
            if part == "weight":
                plain = value.permute(3, 2, 0, 1)
                # A copy: else dimensions of size 1 keep HWIO's strides, which bfloat16
                # gradients of halting branches refuse on processors that emulate it.
                value = torch.empty(plain.shape, memory_format=torch.channels_last).copy_(plain)
            if part.startswith("moving"):
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, nn.Parameter(value))

    def params(self) -> dict[str, np.ndarray]:
        """Copy the parameters out, HWIO weights, by their names."""
        found = {}
        for name, value in self.state_dict().items():
            array = value.detach().float().cpu()
            if name.endswith("/weight"):
                array = array.permute(2, 3, 1, 0)
            found[name] = np.ascontiguousarray(array.numpy())
        return {name: found[name] for name in self.plan.param_shapes}

    def forward(
        self,
        x: Tensor,
        keep_outputs: bool = False,
        keep_seconds: bool = False,
        tau: Tensor | None = None,
    ) -> tuple[Tensor, list[BlockTrace]]:
        """Compute logits [n, classes] from an image batch [n, 3, h, w].

        ``tau`` [n] is the price of a unit for each image; given if and only if the
        network is conditioned on it.
        """
        plan = self.plan
        require_prices(plan.config, tau)
        pieces = None if tau is None else self._tau_pieces(tau)
        x = self._layer(x, plan.stem)
        if plan.pool:
            x = _max_pool_same(x)
        traces = []
        for block in plan.blocks:
            trace = BlockTrace()
            x = self._block(block, x, trace, keep_seconds, pieces)
            trace.size = (x.shape[2], x.shape[3])
            if keep_outputs:
                trace.output = x
            traces.append(trace)
        if plan.head is not None:
            x = self._layer(x, plan.head)
        if plan.postnorm is not None and plan.head_first == "bn":
            x = self._bn(x, plan.postnorm)
        x = x.mean((2, 3), keepdim=True)
        if plan.postnorm is not None and plan.head_first == "mean":
            x = self._bn(x, plan.postnorm)
        return self._conv(x, plan.logits).flatten(1).float(), traces

    def _block(
        self,
        block: Block,
        x: Tensor,
        trace: BlockTrace,
        keep_seconds: bool,
        pieces: Tensor | None,
    ) -> Tensor:
        config = self.plan.config
        state: HaltingTensors | None = None
        output: Tensor | None = None
        preact: Tensor | None = None  # of the unit to come, where it is known already
        for u, unit in enumerate(block.units):
            begin = time.perf_counter() if keep_seconds else 0.0
            if preact is None:
                preact = x if unit.preact is None else self._bn(x, unit.preact)
            shortcut, residual = self._unit(unit, x, preact)
            preact = None
            if state is None or output is None:  # vanilla, or the first unit of a block
                x = output = residual if shortcut is None else shortcut + residual
            else:
                assert shortcut is not None
                x, output = self._advance(unit, shortcut, residual, output, state)
            if config.halts:
                if state is None:
                    shape_of = x[:, 0] if config.by_position else x[:, 0, 0, 0]
                    state = HaltingTensors.start(shape_of, 1.0 - config.eps)
                trace.actives.append(state.active)
                if unit.halting is None:
                    weight = state.finish()
                else:
                    logit, preact = self._halting_logit(unit.halting, block.units[u + 1], x)
                    logit = self._shifted(logit, unit.halting, pieces)
                    if not torch.is_grad_enabled():  # a training's loss tells of overflow
                        logit = logit.where(logit.abs() <= MAX_LOGIT, torch.nan)
                    proba = torch.sigmoid(logit)
                    trace.probas.append(proba)
                    weight = state.advance(proba)
                trace.weights.append(weight)
            if keep_seconds:
                trace.seconds.append(time.perf_counter() - begin)
        if state is not None:
            trace.num_units = state.num_units
            trace.ponder_cost = state.num_units + state.remainder
        assert output is not None
        if state is not None and config.block_output == "last":
            return _last_for_mean(x, output)
        return output

    def _advance(
        self, unit: Unit, x: Tensor, residual: Tensor, output: Tensor, state: HaltingTensors
    ) -> tuple[Tensor, Tensor]:
        """Add a later unit's residual to its input, and to the block's output.

        The weights sum to 1, so the weighted sum of the units' outputs is the
        first output plus each later residual times the weight not yet given away.
        """
        left = state.left
        if self._is_fused(x) and unit.masked:
            from sact_core.backends.dense import fused

            return fused.gate(x, residual, output, state.active, left)
        kept = residual
        stays = unit.masked or self.plan.config.block_output == "last"
        if stays and torch.is_grad_enabled():
            kept = residual * _spread(state.active, residual)
        elif not torch.is_grad_enabled():
            # A residual that overflows where it is not needed does not count.
            halted = ~state.active[:, None]  # [n, 1, h, w] (SACT), [n, 1]
            halted = halted if halted.ndim == 4 else halted[..., None, None]
            kept = residual = residual.masked_fill(halted, 0.0)
        return x + kept, output + residual * _spread(left, residual)

    def _unit(self, unit: Unit, x: Tensor, preact: Tensor) -> tuple[Tensor | None, Tensor]:
        """Give a unit's shortcut, if any, and residual, both [n, c, h, w]."""
        residual = preact
        for conv in unit.convs:
            residual = self._layer(residual, conv)
        if unit.shortcut is None:
            return None, residual
        if isinstance(unit.shortcut, Conv):
            return self._conv(preact, unit.shortcut), residual
        if unit.shortcut == "preact":
            return preact, residual
        if unit.shortcut == "pool":
            x = F.avg_pool2d(x, unit.stride, unit.stride) if unit.stride > 1 else x
            extra = unit.out_channels - unit.in_channels
            x = F.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))
        return x, residual

    def _halting_logit(
        self, branch: HaltingBranch, following: Unit, x: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Halting logits [n, h, w] (SACT) or [n] (ACT), float32.

        Together with the pre-activation of the following unit where both come
        from the same pass.
        """
        preact: Tensor | None = None
        local: Tensor | None = None
        own = following.preact
        apart = self.training and self.frozen  # by other moments than the branch
        if own is not None and own.cap == math.inf and self._is_fused(x) and not apart:
            preact, local, mean = self._fused_branch(x, branch, own)
        else:
            mean = x.mean((2, 3), keepdim=True)
            if branch.local_bn is not None and branch.local_conv is not None:
                local = self._conv(self._bn(x, branch.local_bn), branch.local_conv)[:, 0].float()
        logit = self._conv(self._bn(mean, branch.global_bn), branch.global_conv)[:, 0].float()
        return (logit[:, 0, 0] if local is None else local + logit), preact

    def _tau_pieces(self, tau: Tensor) -> Tensor:
        """How much of every piece of the line tau has passed [n, pieces], in [0, 1]."""
        config = self.plan.config
        assert config.tau_low is not None
        assert config.tau_high is not None
        # The logarithm of a ratio is exactly 0 at the low end, whoever computes it.
        span = math.log(config.tau_high / config.tau_low)
        along = (tau.double() / config.tau_low).log() / span * TAU_PIECES
        steps = torch.arange(TAU_PIECES, dtype=torch.float64, device=tau.device)
        return (along[:, None] - steps).clamp(0, 1).float()

    def _shifted(self, logit: Tensor, branch: HaltingBranch, pieces: Tensor | None) -> Tensor:
        """Add what tau asks for; logits [n, h, w] (SACT) or [n] (ACT)."""
        if branch.tau_shift is None or pieces is None:
            return logit
        slopes = F.softplus(self._parameter(branch.tau_shift.name))
        shift = (pieces * slopes).sum(1)
        return logit + shift.reshape(-1, *(1,) * (logit.ndim - 1))

    def _layer(self, x: Tensor, conv: Conv) -> Tensor:
        """Convolve, then normalise and activate, where the plan says so."""
        if conv.bn is not None and self._is_frozen(conv.bn):
            return self._folded(x, conv, conv.bn)
        x = self._conv(x, conv)
        return x if conv.bn is None else self._bn(x, conv.bn)

    def _folded(self, x: Tensor, conv: Conv, bn: BatchNorm) -> Tensor:
        """Convolve with a frozen normalisation in the weights, then activate."""
        gamma, beta, slope = self._affine(bn)
        mean, variance = self._moving(bn)
        scale = gamma * torch.rsqrt(variance + bn.eps)
        weight = self._parameter(f"{conv.name}/weight") * scale[:, None, None, None]
        bias = beta - mean * scale
        if conv.bias:
            bias = bias + self._parameter(f"{conv.name}/bias") * scale
        x = self._convolved(x, conv, weight, bias)
        if slope == 0.0:
            return F.relu(x) if bn.cap == math.inf else F.hardtanh(x, 0.0, bn.cap)
        x = x if slope == 1.0 else F.leaky_relu(x, slope)
        return x if bn.cap == math.inf else x.clamp(max=bn.cap)

    def _conv(self, x: Tensor, conv: Conv) -> Tensor:
        weight = self._parameter(f"{conv.name}/weight")
        bias = self._parameter(f"{conv.name}/bias") if conv.bias else None
        return self._convolved(x, conv, weight, bias)

    def _convolved(self, x: Tensor, conv: Conv, weight: Tensor, bias: Tensor | None) -> Tensor:
        (top, bottom), (left, right) = conv.pads((x.shape[2], x.shape[3]))
        if conv.groups == conv.out_channels > 1 and self.training and self._is_fused(x):
            from sact_core.backends.dense import depthwise

            pad = top if top == bottom == left == right else 0
            if not pad:
                x = F.pad(x, (left, right, top, bottom))
            return depthwise.convolve(x, weight, bias, conv.stride, pad)
        if top == bottom and left == right:
            return F.conv2d(x, weight, bias, conv.stride, (top, left), groups=conv.groups)
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, weight, bias, conv.stride, groups=conv.groups)

    def _bn(self, x: Tensor, bn: BatchNorm) -> Tensor:
        """Normalise, then activate."""
        fused = self._is_fused(x) and not (self.training and self._is_frozen(bn))
        y = self._fused_norm(x, bn) if fused else self._plain_norm(x, bn)
        return y if bn.cap == math.inf else y.clamp(max=bn.cap)

    def _is_frozen(self, bn: BatchNorm) -> bool:
        return self.frozen and "/halting_proba/" not in bn.name

    def _plain_norm(self, x: Tensor, bn: BatchNorm) -> Tensor:
        if self.training and not self._is_frozen(bn):
            # torch would add the unbiased batch variance; the authors' code adds
            # the biased one. So torch fills scratch copies, which autograd keeps.
            mean, variance = (torch.zeros_like(moving) for moving in self._moving(bn))
            count = x.numel() // x.shape[1]
            x = self._normalise(x, bn, mean, variance, True)
            self._follow(bn, mean, variance * ((count - 1) / count))
        else:
            x = self._normalise(x, bn, *self._moving(bn), False)
        if bn.slope == 0.0 and self.training:
            return F.relu(x)  # which would hide in inference that a sum is minus infinity
        return x if bn.slope == 1.0 else F.leaky_relu(x, bn.slope)

    def _normalise(
        self, x: Tensor, bn: BatchNorm, mean: Tensor, variance: Tensor, by_batch: bool
    ) -> Tensor:
        """Normalise by the moments given, or by the batch's, stored in them."""
        gamma, beta, _ = self._affine(bn)
        return F.batch_norm(x, mean, variance, gamma, beta, by_batch, 1.0, bn.eps)

    def _parameter(self, name: str) -> Tensor:
        value = self._parameters[name]
        assert value is not None
        return value

    def _moving(self, bn: BatchNorm) -> tuple[Tensor, Tensor]:
        mean = self._buffers[f"{bn.name}/moving_mean"]
        variance = self._buffers[f"{bn.name}/moving_variance"]
        assert mean is not None
        assert variance is not None
        return mean, variance

    def _follow(self, bn: BatchNorm, mean: Tensor, variance: Tensor) -> None:
        """Move the moving statistics towards a batch's moments."""
        decay = self.plan.bn_decay
        with torch.no_grad():
            for moving, batch in zip(self._moving(bn), (mean, variance), strict=True):
                moving.mul_(decay).add_(batch, alpha=1 - decay)

    def _affine(self, bn: BatchNorm) -> tuple[Tensor, Tensor, float]:
        return self._parameter(f"{bn.name}/gamma"), self._parameter(f"{bn.name}/beta"), bn.slope

    def _is_fused(self, x: Tensor) -> bool:
        if not self.fused or (torch.is_grad_enabled() and not self.training):
            return False
        from sact_core.backends.dense import fused  # brings Numba

        return fused.fits(x)

    def _fused_norm(self, x: Tensor, bn: BatchNorm) -> Tensor:
        from sact_core.backends.dense import fused

        gamma, beta, slope = self._affine(bn)
        if not self.training:
            return fused.fixed_norm(x, gamma, beta, *self._moving(bn), bn.eps, slope)
        y, _, mean, variance = fused.norm(x, gamma, beta, bn.eps, slope)
        self._follow(bn, mean, variance)
        return y

    def _fused_branch(
        self, x: Tensor, branch: HaltingBranch, own: BatchNorm
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Give pre-activation, local logits [n, h, w] if any, spatial mean [n, c, 1, 1]."""
        from sact_core.backends.dense import fused

        local, conv = branch.local_bn, branch.local_conv
        gamma, beta, slope = self._affine(own)
        if local is None or conv is None:
            if not self.training:
                return self._fused_norm(x, own), None, x.mean((2, 3), keepdim=True)
            y, image_mean, mean, variance = fused.norm(x, gamma, beta, own.eps, slope)
            self._follow(own, mean, variance)
            return y, None, image_mean[:, :, None, None]
        weight = self._parameter(f"{conv.name}/weight")
        bias = self._parameter(f"{conv.name}/bias")
        if weight.shape[2] == 1:
            weight = F.pad(weight, (1, 1, 1, 1))
        if not self.training:
            norms = [
                (*self._affine(bn)[:2], *self._moving(bn), bn.eps, bn.slope) for bn in (own, local)
            ]
            y, logit = fused.fixed_branch(x, norms, weight)
            return y, logit + bias, x.mean((2, 3), keepdim=True)
        assert local.eps == own.eps
        y, logit, image_mean, mean, variance = fused.branch(
            x, (gamma, beta, slope), self._affine(local), weight, own.eps
        )
        self._follow(own, mean, variance)
        self._follow(local, mean, variance)
        return y, logit + bias, image_mean[:, :, None, None]


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """Broadcast one value per position [n, h, w], or per image [n], over the channels."""
    if values.ndim == 1:
        return values[:, None, None, None].to(like.dtype)
    wide = values[:, None].to(like.dtype)
    if like.dtype == torch.bfloat16 and like.device.type == "cpu":
        # Copied first: a broadcast over few channels keeps torch from using its vectors.
        return wide.expand_as(like).contiguous(memory_format=torch.channels_last)
    return wide


def _last_for_mean(last: Tensor, mean: Tensor) -> Tensor:
    """Give the outputs at which positions stopped, with the gradient of their mean.

    A score decides where a position stops, which has no gradient. That of the mean says
    whether a unit's output had served better than the one that was handed on
    (straight-through, Bengio et al. 2013, arXiv:1308.3432).
    """
    if not torch.is_grad_enabled():
        return last
    return last.detach() + (mean - mean.detach())


def _max_pool_same(x: Tensor) -> Tensor:
    """3x3 max pooling, stride 2, padded as TensorFlow's "SAME" with minus infinity."""
    height, width = x.shape[2], x.shape[3]
    pads = [
        value
        for side in (width, height)
        for total in (max((-(-side // 2) - 1) * 2 + 3 - side, 0),)
        for value in (total // 2, total - total // 2)
    ]
    return F.max_pool2d(F.pad(x, pads, value=float("-inf")), 3, 2)
