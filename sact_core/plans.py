"""Lay out the plan of the network that a config describes.

Source: the authors' published networks (CIFAR pre-activation ResNets and
ResNet v2 bottlenecks), arXiv:1612.02297, section 4; He et al. 2016,
arXiv:1603.05027.
"""

from __future__ import annotations

from sact_core.config import NetworkConfig
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
    return _cifar_plan(config) if config.family == "cifar" else _imagenet_plan(config)


def _halting_branch(config: NetworkConfig, unit: str, channels: int) -> HaltingBranch | None:
    """Halting branch of a unit; its norms are followed by the leaky ReLU in CIFAR only."""
    if not config.halts:
        return None
    eps, slope = (1e-3, 0.1) if config.family == "cifar" else (1e-5, 1.0)
    root = f"{unit}/halting_proba"
    act = config.by_image
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
                    masked=config.by_position and u > 0,
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
                    masked=config.by_position and u > 0,
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
