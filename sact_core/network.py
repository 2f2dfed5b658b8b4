"""The plan of a network as plain data.

All backends, the FLOP counter and the importer walk the plan made by
`sact_core.plans.build_plan`. It holds names, shapes and facts, never arithmetic:
each backend computes on its own, so that an error of one cannot hide in the others.

Conventions of the whole project, said once
-------------------------------------------
Activations are NHWC float32, convolution weights HWIO float32; only the dense
backend transposes. A parameter's name is its path in the checkpoint, such as
``block2/unit3/conv1/weight``. Batch normalisations hold ``gamma``, ``beta``,
``moving_mean`` and ``moving_variance``.

Source: the authors' published networks (CIFAR pre-activation ResNets and
ResNet v2 bottlenecks), arXiv:1612.02297, section 4; He et al. 2016,
arXiv:1603.05027.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sact_core.config import NetworkConfig

Pads = tuple[tuple[int, int], tuple[int, int]]

#: Pieces of the line that leads from log tau to a shift of a halting logit.
TAU_PIECES = 8

#: Parameters of a batch normalisation, in the order of the authors' files.
BATCH_NORM_PARAMS = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class BatchNorm:
    """A batch normalisation over the channels, and the activation that follows.

    ``name`` is its path; ``eps`` is added to the variance. The activation is
    ``min(y if y > 0 else slope * y, cap)``: ``slope`` is 0 for ReLU and ReLU6, 1
    for none; ``cap`` is 6 for ReLU6 and infinite elsewhere.
    """

    name: str
    channels: int
    eps: float
    slope: float
    cap: float = math.inf


@dataclass(frozen=True)
class Conv:
    """A convolution.

    ``padding`` is ``"same"`` (TensorFlow's rule: the odd pixel goes behind) or
    ``"explicit"`` (half the kernel on every side, whatever the stride). ``bn``
    is the batch normalisation applied to its output, if any. Channels in and out
    are split evenly into ``groups``, in order, and each group out reads its group
    in alone; in a depthwise convolution every channel is a group.
    """

    name: str
    weight_shape: tuple[int, int, int, int]  # height, width, in of one group, out
    stride: int = 1
    bias: bool = False
    padding: str = "same"
    bn: BatchNorm | None = None
    groups: int = 1

    @property
    def in_channels(self) -> int:
        """Channels of the input, all groups together."""
        return self.weight_shape[2] * self.groups

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.weight_shape[3]

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the output for an input of ``size``."""
        height, width = (-(-side // self.stride) for side in size)
        return height, width

    def pads(self, size: tuple[int, int]) -> Pads:
        """Zeros before and after each axis, ``((top, bottom), (left, right))``."""
        top, left = (
            _pad(side, kernel, self.stride, self.padding)
            for side, kernel in zip(size, self.weight_shape[:2], strict=True)
        )
        return top, left


@dataclass(frozen=True)
class TauShift:
    """What tau adds to a unit's halting logits; ``name`` is its one parameter.

    ``pieces`` raw numbers ``w`` make a line that never falls::

        t = (log tau - log tau_low) / (log tau_high - log tau_low)
        shift = sum over k of softplus(w[k]) * clip(pieces * t - k, 0, 1)

    It is 0 at ``tau_low``, where the logit is that of the features alone. As a
    shift is added and never falls, at equal features more tau halts no later.
    """

    name: str
    pieces: int


@dataclass(frozen=True)
class HaltingBranch:
    """What reads the halting probability off a unit's output.

    SACT: sigmoid of ``local_conv(local_bn(x)) + global_conv(mean(global_bn))``,
    where the global branch normalises the spatial mean of ``x``. ACT has the
    global branch only. ``tau_shift`` is added where the network is conditioned
    on tau.
    """

    global_bn: BatchNorm
    global_conv: Conv
    local_bn: BatchNorm | None = None
    local_conv: Conv | None = None
    tau_shift: TauShift | None = None


@dataclass(frozen=True)
class Unit:
    """A residual unit.

    ``convs`` run one after another on the pre-activation ``preact(x)``, on ``x``
    itself where there is none. ``shortcut`` is ``"identity"`` (the raw input),
    ``"preact"`` (the pre-activation), ``"pool"`` (2x2 average pooling of the raw
    input, zero channels half in front and half behind), a convolution of the
    pre-activation, or None where the last convolution's output is all there is.
    ``masked`` is True where SACT silences the residual at positions that have
    halted: in every unit but the first of its block.
    """

    name: str
    in_channels: int
    out_channels: int
    stride: int
    preact: BatchNorm | None
    convs: tuple[Conv, ...]
    shortcut: str | Conv | None
    halting: HaltingBranch | None
    masked: bool

    @cached_property
    def halos(self) -> tuple[int, ...]:
        """How many pixels beyond the active positions each convolution is needed at.

        As far as the convolutions that follow in the unit read around them: half a
        kernel for each, so 1 before one 3x3, 2 before a 5x5, 0 for the last.
        """
        halves = [(max(conv.weight_shape[:2]) - 1) // 2 for conv in self.convs]
        return tuple(sum(halves[i + 1 :]) for i in range(len(halves)))


@dataclass(frozen=True)
class Block:
    """Units that share a spatial size and a halting sum. Named ``block1`` on.

    Only the first unit may change the size or the number of channels; every other
    one adds a residual to its raw input, so that what has halted stays as it is.

    Raises
    ------
    ValueError
        If another unit does.
    """

    name: str
    units: tuple[Unit, ...]

    def __post_init__(self) -> None:
        for unit in self.units[1:]:
            if (
                unit.shortcut != "identity"
                or unit.stride > 1
                or unit.in_channels != unit.out_channels
            ):
                raise ValueError(
                    f"{unit.name} does not add to its input: in a block every unit but the first "
                    f"needs an identity shortcut, stride 1 and as many channels out as in"
                )


@dataclass(frozen=True)
class Plan:
    """The whole network.

    ``pool`` says whether a 3x3 max pooling of stride 2 ("same", padded with
    minus infinity) follows the stem. ``head`` is a convolution of the last block's
    output, if any, and ``postnorm`` the last batch normalisation, if any.
    ``head_first`` is ``"mean"`` where the spatial mean comes before ``postnorm``
    (CIFAR) and ``"bn"`` where it comes after (ImageNet). ``divisor`` is what the
    sides of the input must be a multiple of; ``bn_decay`` is the decay of the
    moving statistics in training.
    """

    config: NetworkConfig
    stem: Conv
    pool: bool
    blocks: tuple[Block, ...]
    postnorm: BatchNorm | None
    head_first: str
    logits: Conv
    divisor: int
    bn_decay: float
    head: Conv | None = None

    @cached_property
    def memo(self) -> dict[Any, Any]:
        """What others have worked out of this plan and would work out again, under their keys."""
        return {}

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """All units, first to last."""
        return tuple(unit for block in self.blocks for unit in block.units)

    @cached_property
    def convs(self) -> tuple[Conv, ...]:
        """Every convolution in the order of execution, halting branches included."""
        found = [self.stem]
        for unit in self.units:
            found += [unit.shortcut] if isinstance(unit.shortcut, Conv) else []
            found += unit.convs
            branch = unit.halting
            if branch is not None:
                found += [branch.local_conv] if branch.local_conv else []
                found.append(branch.global_conv)
        found += [self.head] if self.head is not None else []
        return (*found, self.logits)

    @property
    def batch_norms(self) -> tuple[BatchNorm, ...]:
        """Every batch normalisation, halting branches included."""
        found = [self.stem.bn] if self.stem.bn is not None else []
        for unit in self.units:
            found += [unit.preact] if unit.preact is not None else []
            found += [conv.bn for conv in unit.convs if conv.bn is not None]
            branch = unit.halting
            if branch is not None:
                found += [branch.local_bn] if branch.local_bn else []
                found.append(branch.global_bn)
        found += [self.head.bn] if self.head is not None and self.head.bn is not None else []
        found += [self.postnorm] if self.postnorm is not None else []
        return tuple(found)

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, moving statistics included."""
        shapes: dict[str, tuple[int, ...]] = {}
        for conv in self.convs:
            shapes[f"{conv.name}/weight"] = conv.weight_shape
            if conv.bias:
                shapes[f"{conv.name}/bias"] = (conv.weight_shape[3],)
        for bn in self.batch_norms:
            shapes |= {f"{bn.name}/{part}": (bn.channels,) for part in BATCH_NORM_PARAMS}
        for unit in self.units:
            if unit.halting is not None and unit.halting.tau_shift is not None:
                shapes[unit.halting.tau_shift.name] = (unit.halting.tau_shift.pieces,)
        return shapes

    def block_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width of each block's maps for an input of ``size``.

        Raises
        ------
        ValueError
            If the network cannot take an input of this size.
        """
        check_input_size(self, size)
        here = self.stem.output_size(size)
        if self.pool:
            here = (-(-here[0] // 2), -(-here[1] // 2))
        sizes = []
        for block in self.blocks:
            here = (-(-here[0] // block.units[0].stride), -(-here[1] // block.units[0].stride))
            sizes.append(here)
        return sizes


def check_input_size(plan: Plan, size: tuple[int, int]) -> None:
    """Refuse an input that the network cannot halve.

    Raises
    ------
    ValueError
        If a side is below 1, or, in the CIFAR family, no multiple of 4.
    """
    height, width = size
    if height < 1 or width < 1 or height % plan.divisor or width % plan.divisor:
        need = f"multiples of {plan.divisor}" if plan.divisor > 1 else "at least 1"
        raise ValueError(
            f"{plan.config.name} needs input sides that are {need} pixels, "
            f"got {height} x {width} (height x width)"
        )


def _pad(side: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    if padding == "explicit":
        return kernel // 2, kernel // 2
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2
