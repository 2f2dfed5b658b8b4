"""Lay out the plan of the network that a config describes, from the facts of its family."""

from __future__ import annotations

from sact_core.config import NetworkConfig
from sact_core.families import Activation, End, Family, Layer, Stage
from sact_core.network import (
    TAU_PIECES,
    BatchNorm,
    Block,
    Conv,
    HaltingBranch,
    Plan,
    TauShift,
    Unit,
)


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
    family = config.facts
    stem = _end(family, "stem", family.stem, 3, config)
    channels = stem.out_channels
    blocks = []
    for b, (stage, num_units) in enumerate(
        zip(family.stages, config.units_per_block, strict=True), start=1
    ):
        units = []
        for u in range(1, num_units + 1):
            units.append(_unit(config, stage, (b, u), channels, last=u == num_units))
            channels = units[-1].out_channels
        blocks.append(Block(f"block{b}", tuple(units)))
    head = None if family.head is None else _end(family, "head", family.head, channels, config)
    channels = channels if head is None else head.out_channels
    return Plan(
        config,
        stem,
        pool=family.pool,
        blocks=tuple(blocks),
        postnorm=_norm(family, "postnorm", channels, family.postnorm),
        head_first=family.head_first,
        logits=Conv("logits", (1, 1, channels, config.num_classes), bias=True),
        divisor=family.divisor,
        bn_decay=family.bn_decay,
        head=head,
    )


def _end(family: Family, name: str, end: End, num_in: int, config: NetworkConfig) -> Conv:
    """Lay out the stem or the head."""
    channels = config.base_channels if end.channels is None else end.channels
    return Conv(
        name,
        (end.kernel, end.kernel, num_in, channels),
        end.stride,
        bias=end.norm is None,
        padding=end.padding,
        bn=_norm(family, f"{name}/bn", channels, end.norm),
    )


def _unit(
    config: NetworkConfig, stage: Stage, place: tuple[int, int], channels: int, last: bool
) -> Unit:
    """Lay out a unit; ``place`` is its block and its place in it, from 1."""
    family = config.facts
    first = place[1] == 1
    name = "block{}/unit{}".format(*place)
    stride = stage.stride if first else 1
    outer = stage.outer * config.base_channels
    inner = stage.inner * config.base_channels or stage.expansion * channels
    convs: list[Conv] = []
    for layer in family.layers:
        here = convs[-1].out_channels if convs else channels
        width = {"inner": inner, "outer": outer}[layer.width]
        if not layer.widens or width > here:
            step = stride if layer.strided else 1
            convs.append(_layer(family, f"{name}/{layer.name}", layer, stage, here, width, step))

    shortcut: str | Conv | None = "identity"
    if stride > 1 or channels != outer:
        shortcut = family.changing_shortcut
        if shortcut == "conv":
            shape = (1, 1, channels, outer)
            shortcut = Conv(f"{name}/shortcut", shape, stride, bias=True)
    elif place == (1, 1):
        shortcut = family.first_shortcut
    return Unit(
        name,
        channels,
        outer,
        stride,
        preact=_norm(family, f"{name}/preact", channels, family.preact),
        convs=tuple(convs),
        shortcut=shortcut,
        halting=None if last else _halting_branch(config, name, outer),
        masked=config.by_position and not first,
    )


def _layer(
    family: Family, name: str, layer: Layer, stage: Stage, num_in: int, num_out: int, stride: int
) -> Conv:
    kernel = stage.kernel if layer.kernel is None else layer.kernel
    groups = num_in if layer.depthwise else 1
    return Conv(
        name,
        (kernel, kernel, num_in // groups, num_out),
        stride,
        bias=layer.norm is None,
        padding=layer.padding,
        bn=_norm(family, f"{name}/bn", num_out, layer.norm),
        groups=groups,
    )


def _halting_branch(config: NetworkConfig, unit: str, channels: int) -> HaltingBranch | None:
    if not config.halts:
        return None
    family = config.facts
    root = f"{unit}/halting_proba"
    global_bn = _norm(family, f"{root}/global_bn", channels, family.halting_norm)
    local_bn = _norm(family, f"{root}/local_bn", channels, family.halting_norm)
    assert global_bn is not None
    global_conv = Conv(f"{root}/global_conv", (1, 1, channels, 1), bias=config.by_image)
    shift = TauShift(f"{root}/tau_shift", TAU_PIECES) if config.tau_conditioned else None
    if config.by_image:
        return HaltingBranch(global_bn, global_conv, tau_shift=shift)
    side = config.sact_kernel_size
    local_conv = Conv(f"{root}/local_conv", (side, side, channels, 1), bias=True)
    return HaltingBranch(global_bn, global_conv, local_bn, local_conv, shift)


def _norm(
    family: Family, name: str, channels: int, activation: Activation | None
) -> BatchNorm | None:
    """Lay out a batch normalisation and what follows it; None where there is none."""
    if activation is None:
        return None
    return BatchNorm(name, channels, family.bn_eps, activation.slope, activation.cap)
