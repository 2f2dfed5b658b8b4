"""PyTorch backend: training, and dense inference on CPU or CUDA.

Every unit runs at every position of every image; what had halted is masked
away, as in the authors' TensorFlow code. So this backend saves nothing and is
what the masked engine is measured against; it is also the differentiable
network that training needs.

Activations are NCHW inside (stored channels last); inputs and results are NHWC
as everywhere else.

Source: arXiv:1612.02297, section 3 and the authors' published networks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sact_core.flops import count_flops
from sact_core.halting import Halting, check_halting_proba, halting_threshold
from sact_core.network import BatchNorm, Block, BlockResult, Conv, Plan, Result, Unit


def halt(halting_proba: np.ndarray, eps: float = 0.01) -> Halting:
    """Decide where each position stops; the contract of `sact_core.halting.halt`.

    Parameters
    ----------
    halting_proba : np.ndarray [shape=(..., units - 1), float32]
        Chance of stopping after each unit, in [0, 1].
    eps : float
        Halting slack, in [0, 1].

    Raises
    ------
    ValueError
        As `sact_core.halting.halt`.
    """
    proba = torch.tensor(check_halting_proba(halting_proba))
    with torch.no_grad():
        distribution, num_units, remainder = halt_tensors(proba, float(halting_threshold(eps)))
    return Halting(distribution.numpy(), num_units.numpy(), remainder.numpy())


def halt_tensors(proba: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Decide where each position stops, differentiably.

    Parameters
    ----------
    proba : Tensor [shape=(..., units - 1), float32]
        Chance of stopping after each unit.
    threshold : float
        ``1 - eps``.

    Returns
    -------
    distribution : Tensor [shape=(..., units)]
        Differentiable in every probability before the stop.
    num_units : Tensor [shape=(...), int32]
        Units run.
    remainder : Tensor [shape=(...)]
        With slope -1 in every probability before the stop and 0 in the rest.
    """
    state = HaltingTensors.start(proba[..., 0] if proba.shape[-1] else proba.sum(-1), threshold)
    weights = [state.advance(proba[..., unit]) for unit in range(proba.shape[-1])]
    weights.append(state.finish())
    return torch.stack(weights, -1), state.num_units, state.remainder


@dataclass
class HaltingTensors:
    """The halting rule between two units, on tensors of any one shape."""

    threshold: float
    cumsum: Tensor
    remainder: Tensor
    num_units: Tensor
    active: Tensor

    @classmethod
    def start(cls, like: Tensor, threshold: float) -> HaltingTensors:
        """Begin a block with everything active, shaped like a tensor."""
        zeros = torch.zeros_like(like, dtype=torch.float32)
        # The threshold is rounded to float32, as the sums that it is compared with.
        return cls(
            float(np.float32(threshold)),
            zeros,
            zeros + 1,
            torch.zeros_like(like, dtype=torch.int32),
            torch.ones_like(like, dtype=torch.bool),
        )

    def advance(self, proba: Tensor) -> Tensor:
        """Account for a unit that has run; return its weight."""
        self.num_units = self.num_units + self.active
        counted = torch.where(self.active, proba, 0.0)
        self.cumsum = self.cumsum + counted.detach()
        goes_on = self.active & (self.cumsum < self.threshold)
        weight = torch.where(goes_on, counted, torch.where(self.active, self.remainder, 0.0))
        self.remainder = torch.where(goes_on, self.remainder - counted, self.remainder)
        self.active = goes_on
        return weight

    def finish(self) -> Tensor:
        """Account for the last unit; return its weight."""
        self.num_units = self.num_units + self.active
        return torch.where(self.active, self.remainder, 0.0)


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

    Notes
    -----
    In training mode batch statistics cover all positions, halted ones
    included, and the moving variance takes the biased batch variance.
    """

    def __init__(self, plan: Plan, params: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.plan = plan
        for name in plan.param_shapes:
            value = torch.tensor(np.asarray(params[name], np.float32))
            part = name.rsplit("/", 1)[1]
            if part == "weight":
                value = value.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
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
        self, x: Tensor, keep_outputs: bool = False, keep_seconds: bool = False
    ) -> tuple[Tensor, list[BlockTrace]]:
        """Compute logits [n, classes] from an image batch [n, 3, h, w]."""
        plan = self.plan
        x = self._conv(x, plan.stem)
        if plan.pool:
            x = _max_pool_same(x)
        traces = []
        for block in plan.blocks:
            trace = BlockTrace()
            x = self._block(block, x, trace, keep_seconds)
            trace.size = (x.shape[2], x.shape[3])
            if keep_outputs:
                trace.output = x
            traces.append(trace)
        if plan.head_first == "mean":
            x = self._bn(x.mean((2, 3), keepdim=True), plan.postnorm)
        else:
            x = self._bn(x, plan.postnorm).mean((2, 3), keepdim=True)
        return self._conv(x, plan.logits).flatten(1).float(), traces

    def _block(self, block: Block, x: Tensor, trace: BlockTrace, keep_seconds: bool) -> Tensor:
        config = self.plan.config
        state: HaltingTensors | None = None
        output: Tensor | None = None
        for unit in block.units:
            begin = time.perf_counter() if keep_seconds else 0.0
            shortcut, residual = self._unit(unit, x)
            if state is None or output is None:  # vanilla, or the first unit of a block
                x = output = shortcut + residual
            else:
                active, left = state.active, torch.where(state.active, state.remainder, 0.0)
                x = shortcut + (residual * _spread(active, residual) if unit.masked else residual)
                # Weights sum to 1, so the weighted sum of the units' outputs is the first
                # output plus each later residual times the weight not yet given away.
                output = output + residual * _spread(left, residual)
            if config.halting != "none":
                if state is None:
                    shape_of = x[:, 0] if config.halting == "sact" else x[:, 0, 0, 0]
                    state = HaltingTensors.start(shape_of, 1.0 - config.eps)
                trace.actives.append(state.active)
                if unit.halting is None:
                    weight = state.finish()
                else:
                    proba = torch.sigmoid(self._halting_logit(unit, x))
                    trace.probas.append(proba)
                    weight = state.advance(proba)
                trace.weights.append(weight)
            if keep_seconds:
                trace.seconds.append(time.perf_counter() - begin)
        if state is not None:
            trace.num_units = state.num_units
            trace.ponder_cost = state.num_units + state.remainder
        assert output is not None
        return output

    def _unit(self, unit: Unit, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give a unit's shortcut and residual, both [n, c, h, w]."""
        preact = self._bn(x, unit.preact)
        residual = preact
        for conv in unit.convs:
            residual = self._conv(residual, conv)
            if conv.bn is not None:
                residual = self._bn(residual, conv.bn)
        if isinstance(unit.shortcut, Conv):
            return self._conv(preact, unit.shortcut), residual
        if unit.shortcut == "preact":
            return preact, residual
        if unit.shortcut == "pool":
            x = F.avg_pool2d(x, unit.stride, unit.stride) if unit.stride > 1 else x
            extra = unit.out_channels - unit.in_channels
            x = F.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))
        return x, residual

    def _halting_logit(self, unit: Unit, x: Tensor) -> Tensor:
        """Halting logits [n, h, w] (SACT) or [n] (ACT), float32."""
        branch = unit.halting
        assert branch is not None
        mean = self._bn(x.mean((2, 3), keepdim=True), branch.global_bn)
        logit = self._conv(mean, branch.global_conv)[:, 0].float()
        if branch.local_conv is None or branch.local_bn is None:
            return logit[:, 0, 0]
        return self._conv(self._bn(x, branch.local_bn), branch.local_conv)[:, 0].float() + logit

    def _conv(self, x: Tensor, conv: Conv) -> Tensor:
        weight = self._parameters[f"{conv.name}/weight"]
        bias = self._parameters[f"{conv.name}/bias"] if conv.bias else None
        (top, bottom), (left, right) = conv.pads((x.shape[2], x.shape[3]))
        if top == bottom and left == right:
            return F.conv2d(x, weight, bias, conv.stride, (top, left))
        return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, conv.stride)

    def _bn(self, x: Tensor, bn: BatchNorm) -> Tensor:
        """Normalise, then activate."""
        mean = self._buffers[f"{bn.name}/moving_mean"]
        variance = self._buffers[f"{bn.name}/moving_variance"]
        assert mean is not None
        assert variance is not None
        if self.training:
            # torch would add the unbiased batch variance; the authors' code adds
            # the biased one. So torch fills scratch copies, which autograd keeps.
            decay = self.plan.bn_decay
            batch = torch.zeros_like(mean), torch.zeros_like(variance)
            count = x.numel() // x.shape[1]
            x = self._normalise(x, bn, *batch)
            with torch.no_grad():
                mean.mul_(decay).add_(batch[0], alpha=1 - decay)
                variance.mul_(decay).add_(batch[1], alpha=(1 - decay) * (count - 1) / count)
        else:
            x = self._normalise(x, bn, mean, variance)
        if bn.slope == 0.0:
            return F.relu(x)
        return x if bn.slope == 1.0 else F.leaky_relu(x, bn.slope)

    def _normalise(self, x: Tensor, bn: BatchNorm, mean: Tensor, variance: Tensor) -> Tensor:
        """Normalise by the moments given; in training by the batch's, stored in them."""
        gamma, beta = self._parameters[f"{bn.name}/gamma"], self._parameters[f"{bn.name}/beta"]
        return F.batch_norm(x, mean, variance, gamma, beta, self.training, 1.0, bn.eps)


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


def count_positions(
    plan: Plan, traces: list[BlockTrace], n: int, input_size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Count the output positions that each convolution needed, per image.

    Parameters
    ----------
    plan : Plan
        The network.
    traces : list of BlockTrace
        What its blocks did.
    n : int
        Images in the batch.
    input_size : tuple of int
        Height and width of the network's input.

    Returns
    -------
    dict of str to np.ndarray [shape=(n,), int64]
        By convolution name; what `sact_core.flops.count_flops` takes.
    """
    ones = np.ones(n, np.int64)
    positions = {plan.logits.name: ones}
    size = plan.stem.output_size(input_size)
    positions[plan.stem.name] = ones * (size[0] * size[1])
    if plan.pool:
        size = (-(-size[0] // 2), -(-size[1] // 2))
    for block, trace in zip(plan.blocks, traces, strict=True):
        for u, unit in enumerate(block.units):
            ran = ones  # images that ran the unit: all but in ACT
            if plan.config.halting == "act":
                ran = trace.actives[u].cpu().numpy().astype(np.int64)
            masks = _mask_counts(trace.actives[u]) if unit.masked else None
            for i, conv in enumerate(unit.convs):
                size = conv.output_size(size)
                if masks is None:
                    positions[conv.name] = ran * (size[0] * size[1])
                else:
                    positions[conv.name] = masks[i < unit.grown_convs]
            if isinstance(unit.shortcut, Conv):
                positions[unit.shortcut.name] = ran * (size[0] * size[1])
            if unit.halting is not None:
                positions[unit.halting.global_conv.name] = ran
                if unit.halting.local_conv is not None:
                    own = ran * (size[0] * size[1]) if masks is None else masks[0]
                    positions[unit.halting.local_conv.name] = own
    return positions


def _mask_counts(active: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Active positions per image, and those grown by one pixel."""
    mask = active[:, None].float()
    grown = F.max_pool2d(mask, 3, 1, 1)
    own, wide = (m.sum((1, 2, 3), dtype=torch.int64).cpu().numpy() for m in (mask, grown))
    return own, wide


class Engine:
    """Dense inference on CPU or CUDA.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray
        Its parameters.
    device : str
        ``"cpu"``, ``"cuda"`` or any other torch device.
    num_threads : int, optional
        Threads of torch in this process; torch's own setting where left out.
        The caller's setting is put back after every call.

    Raises
    ------
    ValueError
        If the device is not to be had, or ``num_threads`` is below 1.
    """

    def __init__(
        self,
        plan: Plan,
        params: Mapping[str, np.ndarray],
        device: str = "cpu",
        num_threads: int | None = None,
    ) -> None:
        if num_threads is not None and num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, got {num_threads!r}")
        self.plan = plan
        self.num_threads = num_threads
        try:
            self.device = torch.device(device)
            self.network = Network(plan, params).to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"device {device!r} is not to be had: {reason}") from None

    def forward(
        self, x: np.ndarray, *, keep_outputs: bool = False, keep_seconds: bool = False
    ) -> Result:
        """Run a batch.

        Parameters
        ----------
        x : np.ndarray [shape=(n, h, w, 3), float32]
            Preprocessed images.
        keep_outputs : bool
            Keep each block's output.
        keep_seconds : bool
            Time each unit. On CUDA these are launch times only.

        Returns
        -------
        Result
        """
        before = torch.get_num_threads()
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        try:
            with torch.inference_mode():
                batch = torch.from_numpy(np.ascontiguousarray(x)).to(self.device)
                logits, traces = self.network(batch.permute(0, 3, 1, 2), keep_outputs, keep_seconds)
        finally:
            torch.set_num_threads(before)
        size = (x.shape[1], x.shape[2])
        positions = count_positions(self.plan, traces, len(x), size)
        counts = count_flops(self.plan, positions)
        blocks = tuple(
            _block_result(block, trace, counts.block(block.name))
            for block, trace in zip(self.plan.blocks, traces, strict=True)
        )
        return Result(_numpy(logits), counts.total, blocks, positions, size)


def _block_result(block: Block, trace: BlockTrace, flops: np.ndarray) -> BlockResult:
    seconds = tuple(trace.seconds) or None
    output = None if trace.output is None else _numpy(trace.output.permute(0, 2, 3, 1))
    if trace.num_units is None or trace.ponder_cost is None:
        return BlockResult(block.name, flops, trace.size, output=output, seconds=seconds)
    nothing = trace.ponder_cost.new_zeros((*trace.ponder_cost.shape, 0))
    probas = [
        torch.where(active, proba, torch.nan)
        for active, proba in zip(trace.actives, trace.probas, strict=False)
    ]
    return BlockResult(
        block.name,
        flops,
        trace.size,
        ponder_cost=_numpy(trace.ponder_cost),
        num_units=_numpy(trace.num_units),
        halting_distribution=_numpy(torch.stack(trace.weights, -1)),
        halting_proba=_numpy(torch.stack(probas, -1) if probas else nothing),
        output=output,
        seconds=seconds,
    )


def _numpy(value: Tensor) -> np.ndarray:
    return np.ascontiguousarray(value.cpu().numpy())


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """Broadcast one value per position [n, h, w], or per image [n], over the channels."""
    if values.ndim == 1:
        return values[:, None, None, None].to(like.dtype)
    wide = values[:, None].to(like.dtype)
    if like.dtype == torch.bfloat16 and like.device.type == "cpu":
        # Copied first: a broadcast over few channels keeps torch from using its vectors.
        return wide.expand_as(like).contiguous(memory_format=torch.channels_last)
    return wide


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
