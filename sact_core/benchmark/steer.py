"""Networks with random weights whose halting follows the image.

The first channel of the image carries a smooth field of numbers in [0, 1). It
passes through the network untouched (a channel to which no residual adds, or that
is handed on where a unit has no shortcut), and every halting branch compares it with
a threshold. So a measurement can ask for any share of the dense FLOPs, on maps that
look like those of trained networks: blobs that work on, among positions that halted
early. What a convolution costs does not depend on its weights. In an ACT network every
image halts after the same units.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sact_core.backends import backend_module
from sact_core.flops import count_flops, dense_flops
from sact_core.network import BatchNorm, Conv, Plan, Unit
from sact_core.parameters import init_params
from sact_core.plans import build_plan

#: How sharply a halting probability falls around its threshold.
STEEPNESS = 400.0


def steered_params(plan: Plan, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw parameters whose halting reads the first channel of the image.

    Until `set_reach` is called, nothing halts before its last unit.

    Parameters
    ----------
    plan : Plan
        A network that halts.
    seed : int
        Seed of the weights.
    """
    params = init_params(plan, seed)
    _carry(params, plan.stem, 0, 0)
    for unit, channel in _channels(plan):
        if unit.preact is not None:
            _pass_through(params, unit.preact, channel)
        if isinstance(unit.shortcut, Conv):
            _carry(params, unit.shortcut, channel, channel)
        if unit.shortcut is None:
            for conv in unit.convs:
                _carry(params, conv, channel, channel)
        else:
            _carry(params, unit.convs[-1], None, channel)
        if unit.halting is None:
            continue
        params[f"{unit.halting.global_conv.name}/weight"][:] = 0
        if unit.halting.local_bn is not None and unit.halting.local_conv is not None:
            _pass_through(params, unit.halting.local_bn, channel)
            weight = params[f"{unit.halting.local_conv.name}/weight"]
            weight[:] = 0
            weight[weight.shape[0] // 2, weight.shape[1] // 2, channel] = -STEEPNESS
    set_reach(plan, params, np.inf)
    return params


def set_reach(plan: Plan, params: dict[str, np.ndarray], reach: float) -> None:
    """Choose how far the positions go.

    After unit ``u`` of ``U``, a share ``min(1, reach * (1 - u / U))`` of them is
    still active; of ACT, every image is, if that share is half or more.
    """
    for block in plan.blocks:
        for u, unit in enumerate(block.units[:-1], start=1):
            assert unit.halting is not None
            local = unit.halting.local_conv
            if local is None:
                goes_on = reach * (1 - u / len(block.units)) >= 0.5
                bias = params[f"{unit.halting.global_conv.name}/bias"]
                bias[:] = -STEEPNESS if goes_on else STEEPNESS
                continue
            share = min(1.0, reach * (1 - u / len(block.units)))
            threshold = 1 - share if share < 1 else -1.0
            params[f"{local.name}/bias"][:] = STEEPNESS * threshold


def steering_images(n: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Make images whose first channel is a smooth field, evenly spread over [0, 1).

    Parameters
    ----------
    n : int
        Images.
    size : tuple of int
        Height and width in pixels.
    seed : int
        Seed of the fields; the other channels are noise.

    Returns
    -------
    np.ndarray [shape=(n, height, width, 3), float32]
    """
    rng = np.random.default_rng(seed)
    height, width = size
    x = rng.standard_normal((n, height, width, 3)).astype(np.float32)
    y, z = np.mgrid[:height, :width].astype(np.float32)
    for image in x:
        field = np.zeros(size, np.float32)
        for _ in range(6):  # hills of different width and height
            top, left = rng.uniform(0, 1, 2) * size
            spread = rng.uniform(0.02, 0.08) * height * width
            hill = np.exp(-((y - top) ** 2 + (z - left) ** 2) / spread)
            field += np.float32(rng.uniform(0.3, 1)) * hill
        ranks = np.empty(height * width, np.float32)
        ranks[np.argsort(field, axis=None)] = np.arange(height * width)
        image[..., 0] = ranks.reshape(size) / (height * width)
    return x


def reach_for(plan: Plan, x: np.ndarray, ratio: float) -> float:
    """Find the reach at which the images need that share of the dense FLOPs.

    Where a position halts does not depend on the network's width, so a narrow
    one is tried.

    Parameters
    ----------
    plan : Plan
        The network.
    x : np.ndarray [shape=(n, height, width, 3), float32]
        Images that are tried, from `steering_images`.
    ratio : float
        Wanted FLOPs over the FLOPs of the network in which nothing halts.
    """
    narrow = build_plan(dataclasses.replace(plan.config, base_channels=2))
    params = steered_params(narrow)
    engine = backend_module("masked").Engine
    dense = int(dense_flops(plan, (x.shape[1], x.shape[2])).total[0])
    low, high = 0.0, float(max(len(block.units) for block in plan.blocks))
    for _ in range(12):
        middle = (low + high) / 2
        set_reach(narrow, params, middle)
        positions = engine(narrow, params, precision="float32").forward(x).positions
        if count_flops(plan, positions).total.mean() < ratio * dense:
            low = middle
        else:
            high = middle
    return high


def _channels(plan: Plan) -> list[tuple[Unit, int]]:
    """Every unit, and the channel of its output that carries the field."""
    found, channel = [], 0
    for unit in plan.units:
        # Pooling adds half of the new channels in front. Its preact does not matter.
        if unit.shortcut == "pool":
            channel += (unit.out_channels - unit.in_channels) // 2
        found.append((unit, channel))
    return found


def _carry(params: dict[str, np.ndarray], conv: Conv, start: int | None, end: int) -> None:
    """Make channel ``end`` of a convolution a copy of channel ``start``, or zero."""
    weight = params[f"{conv.name}/weight"]
    weight[..., end] = 0
    if start is not None:
        row, column = weight.shape[0] // 2, weight.shape[1] // 2
        weight[row, column, start % weight.shape[2], end] = 1  # of its group
    if conv.bias:
        params[f"{conv.name}/bias"][end] = 0
    if conv.bn is not None:
        _pass_through(params, conv.bn, end)


def _pass_through(params: dict[str, np.ndarray], bn: BatchNorm, channel: int) -> None:
    """Make a batch normalisation leave a channel as it is."""
    if channel < bn.channels:
        params[f"{bn.name}/gamma"][channel] = 1
        params[f"{bn.name}/beta"][channel] = 0
        params[f"{bn.name}/moving_mean"][channel] = 0
        params[f"{bn.name}/moving_variance"][channel] = 1 - bn.eps
