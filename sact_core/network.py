"""The plan of a network as plain data, and the result that every backend gives.

All backends, the FLOP counter and the importer walk the plan made by
`build_plan`. It holds names, shapes and facts, never arithmetic: each backend
computes on its own, so that an error of one cannot hide in the others.

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

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sact_core.config import NetworkConfig

Pads = tuple[tuple[int, int], tuple[int, int]]

#: Pieces of the line that leads from log tau to a shift of a halting logit.
TAU_PIECES = 8

#: How far fresh parameters shift a halting logit from one end of the range to the other.
TAU_SPAN = 4.5

#: Parameters of a batch normalisation, in the order of the authors' files.
BATCH_NORM_PARAMS = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class BatchNorm:
    """A batch normalisation over the channels.

    ``name`` is its path; ``eps`` is added to the variance; ``slope`` is the
    negative slope of the activation that follows (0 for ReLU, 1 for none).
    """

    name: str
    channels: int
    eps: float
    slope: float


@dataclass(frozen=True)
class Conv:
    """A convolution.

    ``padding`` is ``"same"`` (TensorFlow's rule: the odd pixel goes behind) or
    ``"explicit"`` (half the kernel on every side, whatever the stride). ``bn``
    is the batch normalisation applied to its output, if any.
    """

    name: str
    weight_shape: tuple[int, int, int, int]  # height, width, in, out
    stride: int = 1
    bias: bool = False
    padding: str = "same"
    bn: BatchNorm | None = None

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

    ``convs`` run one after another on the pre-activation ``preact(x)``.
    ``shortcut`` is ``"identity"`` (the raw input), ``"preact"`` (the
    pre-activation), ``"pool"`` (2x2 average pooling of the raw input, zero
    channels half in front and half behind) or a convolution of the
    pre-activation. ``masked`` is True where SACT silences the residual at
    positions that have halted: in every unit but the first of its block.
    """

    name: str
    in_channels: int
    out_channels: int
    stride: int
    preact: BatchNorm
    convs: tuple[Conv, ...]
    shortcut: str | Conv
    halting: HaltingBranch | None
    masked: bool

    @cached_property
    def grown_convs(self) -> int:
        """How many leading convolutions work on the mask grown by one pixel.

        Those before the last 3x3, whose output that convolution reads around
        every active position: one in either family.
        """
        return max(i for i, conv in enumerate(self.convs) if conv.weight_shape[0] == 3)


@dataclass(frozen=True)
class Block:
    """Units that share a spatial size and a halting sum. Named ``block1`` on."""

    name: str
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class Plan:
    """The whole network.

    ``pool`` says whether a 3x3 max pooling of stride 2 ("same", padded with
    minus infinity) follows the stem. ``head_first`` is ``"mean"`` where the
    spatial mean comes before the last batch normalisation (CIFAR) and
    ``"bn"`` where it comes after (ImageNet). ``divisor`` is what the sides of
    the input must be a multiple of; ``bn_decay`` is the decay of the moving
    statistics in training.
    """

    config: NetworkConfig
    stem: Conv
    pool: bool
    blocks: tuple[Block, ...]
    postnorm: BatchNorm
    head_first: str
    logits: Conv
    divisor: int
    bn_decay: float

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
        return (*found, self.logits)

    @property
    def batch_norms(self) -> tuple[BatchNorm, ...]:
        """Every batch normalisation, halting branches included."""
        found: list[BatchNorm] = []
        for unit in self.units:
            found.append(unit.preact)
            found += [conv.bn for conv in unit.convs if conv.bn is not None]
            branch = unit.halting
            if branch is not None:
                found += [branch.local_bn] if branch.local_bn else []
                found.append(branch.global_bn)
        return (*found, self.postnorm)

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


@dataclass(frozen=True, eq=False)
class BlockResult:
    """What one block did. The halting fields are None in a vanilla network.

    Attributes
    ----------
    name : str
        ``block1`` and so on.
    flops : np.ndarray [shape=(n,), int64]
        FLOPs that each image needed.
    ponder_cost : np.ndarray [shape=(n, h, w), float32]
        ``num_units + remainder``, in units. ACT: [shape=(n,)].
    num_units : np.ndarray [shape=(n, h, w), int32]
        Units run at each position. ACT: [shape=(n,)].
    halting_distribution : np.ndarray [shape=(n, h, w, units), float32]
        Weight of each unit's output. ACT: [shape=(n, units)].
    halting_proba : np.ndarray [shape=(n, h, w, units - 1), float32]
        Probability read after each unit, NaN where the position had stopped
        before it. ACT: [shape=(n, units - 1)].
    size : tuple of int
        Height and width of the block's maps.
    output : np.ndarray [shape=(n, h, w, channels), float32], optional
        The block's output, where it was asked for.
    seconds : tuple of float, optional
        Time of each unit for the whole batch, where it was asked for.
    """

    name: str
    flops: np.ndarray
    size: tuple[int, int]
    ponder_cost: np.ndarray | None = None
    num_units: np.ndarray | None = None
    halting_distribution: np.ndarray | None = None
    halting_proba: np.ndarray | None = None
    output: np.ndarray | None = None
    seconds: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What a network did with a batch.

    Attributes
    ----------
    logits : np.ndarray [shape=(n, classes), float32]
        Output before the softmax.
    flops : np.ndarray [shape=(n,), int64]
        FLOPs that each image needed: two per multiply-add, convolutions only.
    blocks : tuple of BlockResult
        One per block.
    positions : dict of str to np.ndarray [shape=(n,), int64]
        Output positions computed by each convolution, by its name; what the
        FLOPs are counted from.
    input_size : tuple of int
        Height and width of the input.
    taus : np.ndarray [shape=(n,), float64], optional
        The price of a unit that each image was run at, in a network conditioned on it.
    """

    logits: np.ndarray
    flops: np.ndarray
    blocks: tuple[BlockResult, ...]
    positions: dict[str, np.ndarray]
    input_size: tuple[int, int]
    taus: np.ndarray | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits [shape=(n, classes), float32]."""
        exp = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return exp / exp.sum(axis=1, keepdims=True)

    def map(self, metric: str = "ponder_cost") -> np.ndarray:
        """Sum the blocks' maps at the input's resolution.

        Each block's map is enlarged by nearest neighbour, source index
        ``floor(i * h / H)``, as in the authors' ``sact_map``. An ACT network
        gives the same value at every position of an image.

        Parameters
        ----------
        metric : str
            ``"ponder_cost"`` or ``"num_units"``.

        Returns
        -------
        np.ndarray [shape=(n, H, W), float32]
            In units, summed over the blocks.

        Raises
        ------
        ValueError
            If the metric is unknown or the network is vanilla.
        """
        if metric not in ("ponder_cost", "num_units"):
            raise ValueError(f"metric must be ponder_cost or num_units, got {metric!r}")
        height, width = self.input_size
        total = np.zeros((len(self.logits), height, width), np.float32)
        for block in self.blocks:
            values = getattr(block, metric)
            if values is None:
                raise ValueError(
                    "a vanilla network has no ponder map: every position runs every unit"
                )
            if values.ndim == 1:
                values = values[:, None, None]
            rows = np.arange(height) * values.shape[1] // height
            columns = np.arange(width) * values.shape[2] // width
            total += values[:, rows][:, :, columns]
        return total


def build_plan(config: NetworkConfig) -> Plan:
    """Lay out the network that a config describes.

    Parameters
    ----------
    config : NetworkConfig
        Any valid config.

    Returns
    -------
    Plan
        Its layers, names and shapes; no weights.
    """
    return _cifar_plan(config) if config.family == "cifar" else _imagenet_plan(config)


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


def check_params(plan: Plan, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """List everything that does not fit the plan, one line each.

    Parameters
    ----------
    plan : Plan
        The network.
    shapes : dict of str to tuple of int
        Name and shape of the parameters at hand.
    """
    wanted = plan.param_shapes
    problems = [f"missing: {name} {wanted[name]}" for name in wanted if name not in shapes]
    problems += [f"unexpected: {name} {shapes[name]}" for name in shapes if name not in wanted]
    problems += [
        f"wrong shape: {name} is {shapes[name]}, should be {wanted[name]}"
        for name in wanted
        if name in shapes and tuple(shapes[name]) != wanted[name]
    ]
    return problems


def require_params(plan: Plan, params: Mapping[str, np.ndarray]) -> None:
    """Refuse parameters that do not fit the plan.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray
        The parameters at hand.

    Raises
    ------
    ValueError
        If names or shapes differ; everything that does is listed.
    """
    problems = check_params(plan, {name: np.shape(value) for name, value in params.items()})
    if problems:
        raise ValueError("the parameters do not fit the network: " + "; ".join(problems))


def init_params(plan: Plan, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw fresh parameters as the authors initialise them.

    He normal weights (fan-in, truncated at two deviations), zero biases but
    ``config.halting_bias`` for the halting logits, unit gammas and variances. Over
    the range of tau, if any, halting logits rise evenly by `TAU_SPAN`.

    Parameters
    ----------
    plan : Plan
        The network.
    seed : int
        Seed of the generator; the same seed gives the same parameters.

    Returns
    -------
    dict of str to np.ndarray [float32]
        Every parameter of ``plan.param_shapes``.

    References
    ----------
    He et al. 2015, arXiv:1502.01852.
    """
    rng = np.random.default_rng(seed)
    params: dict[str, np.ndarray] = {}
    for name, shape in plan.param_shapes.items():
        part = name.rsplit("/", 1)[1]
        if part == "weight":
            params[name] = _he_normal(rng, shape)
        else:
            fill = 1.0 if part in ("gamma", "moving_variance") else 0.0
            params[name] = np.full(shape, fill, np.float32)
    for unit in plan.units:
        if unit.halting is not None:
            biased = unit.halting.local_conv or unit.halting.global_conv
            params[f"{biased.name}/bias"][:] = plan.config.halting_bias
            shift = unit.halting.tau_shift
            if shift is not None:  # softplus of it is an even share of the span
                params[shift.name][:] = np.log(np.expm1(TAU_SPAN / shift.pieces))
    return params


def _he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    draw = rng.standard_normal(shape)
    while (far := np.abs(draw) > 2).any():
        draw[far] = rng.standard_normal(int(far.sum()))
    # 0.8796 is the deviation of a normal truncated at two deviations.
    return (draw * np.sqrt(2 / np.prod(shape[:3])) / 0.87962566).astype(np.float32)


def _pad(side: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    if padding == "explicit":
        return kernel // 2, kernel // 2
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _halting_branch(config: NetworkConfig, unit: str, channels: int) -> HaltingBranch | None:
    """Halting branch of a unit; its norms are followed by the leaky ReLU in CIFAR only."""
    if config.halting == "none":
        return None
    eps, slope = (1e-3, 0.1) if config.family == "cifar" else (1e-5, 1.0)
    root = f"{unit}/halting_proba"
    act = config.halting == "act"
    global_bn = BatchNorm(f"{root}/global_bn", channels, eps, slope)
    global_conv = Conv(f"{root}/global_conv", (1, 1, channels, 1), bias=act)
    shift = TauShift(f"{root}/tau_shift", TAU_PIECES) if config.tau_conditioned else None
    if act:
        return HaltingBranch(global_bn, global_conv, tau_shift=shift)
    side = config.sact_kernel_size
    return HaltingBranch(
        global_bn,
        global_conv,
        BatchNorm(f"{root}/local_bn", channels, eps, slope),
        Conv(f"{root}/local_conv", (side, side, channels, 1), bias=True),
        shift,
    )


def _cifar_plan(config: NetworkConfig) -> Plan:
    eps, slope = 1e-3, 0.1
    channels = config.base_channels
    stem = Conv("stem", (3, 3, 3, channels), bias=True)
    blocks = []
    for b, num_units in enumerate(config.units_per_block):
        width = config.base_channels * 2**b
        units = []
        for u in range(num_units):
            name = f"block{b + 1}/unit{u + 1}"
            stride = 2 if b and not u else 1
            # The authors apply the leaky ReLU twice after conv1: 0.1 * 0.1.
            bn1 = BatchNorm(f"{name}/conv1/bn", width, eps, slope * slope)
            first = Conv(f"{name}/conv1", (3, 3, channels, width), stride, bn=bn1)
            second = Conv(f"{name}/conv2", (3, 3, width, width), bias=True)
            last = u == num_units - 1
            units.append(
                Unit(
                    name,
                    channels,
                    width,
                    stride,
                    preact=BatchNorm(f"{name}/preact", channels, eps, slope),
                    convs=(first, second),
                    shortcut=("pool" if b else "preact") if not u else "identity",
                    halting=None if last else _halting_branch(config, name, width),
                    masked=config.halting == "sact" and u > 0,
                )
            )
            channels = width
        blocks.append(Block(f"block{b + 1}", tuple(units)))
    return Plan(
        config,
        stem,
        pool=False,
        blocks=tuple(blocks),
        postnorm=BatchNorm("postnorm", channels, eps, slope),
        head_first="mean",
        logits=Conv("logits", (1, 1, channels, config.num_classes), bias=True),
        divisor=4,
        bn_decay=0.9,
    )


def _imagenet_plan(config: NetworkConfig) -> Plan:
    eps = 1e-5
    channels = 64  # the stem's width does not follow base_channels
    stem = Conv("stem", (7, 7, 3, channels), 2, bias=True, padding="explicit")
    blocks = []
    for b, num_units in enumerate(config.units_per_block):
        narrow = config.base_channels * 2**b
        depth = 4 * narrow
        units = []
        for u in range(num_units):
            name = f"block{b + 1}/unit{u + 1}"
            stride = 2 if b and not u else 1
            bn1 = BatchNorm(f"{name}/conv1/bn", narrow, eps, 0.0)
            bn2 = BatchNorm(f"{name}/conv2/bn", narrow, eps, 0.0)
            shortcut = Conv(f"{name}/shortcut", (1, 1, channels, depth), stride, bias=True)
            last = u == num_units - 1
            units.append(
                Unit(
                    name,
                    channels,
                    depth,
                    stride,
                    preact=BatchNorm(f"{name}/preact", channels, eps, 0.0),
                    convs=(
                        Conv(f"{name}/conv1", (1, 1, channels, narrow), bn=bn1),
                        Conv(
                            f"{name}/conv2",
                            (3, 3, narrow, narrow),
                            stride,
                            padding="explicit",
                            bn=bn2,
                        ),
                        Conv(f"{name}/conv3", (1, 1, narrow, depth), bias=True),
                    ),
                    shortcut="identity" if channels == depth and stride == 1 else shortcut,
                    halting=None if last else _halting_branch(config, name, depth),
                    masked=config.halting == "sact" and u > 0,
                )
            )
            channels = depth
        blocks.append(Block(f"block{b + 1}", tuple(units)))
    return Plan(
        config,
        stem,
        pool=True,
        blocks=tuple(blocks),
        postnorm=BatchNorm("postnorm", channels, eps, 0.0),
        head_first="bn",
        logits=Conv("logits", (1, 1, channels, config.num_classes), bias=True),
        divisor=1,
        bn_decay=0.997,
    )
