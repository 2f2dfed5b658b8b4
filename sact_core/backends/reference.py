"""NumPy backend: compute every position of every unit, then mask.

The plain restatement that the other backends are compared with; clear before
fast. It shows the saving of a mask in its FLOPs, never in its time.

Source: Figurnov et al. 2017, arXiv:1612.02297, and the authors' published
networks, whose details decide where the paper is silent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sact_core.config import NetworkConfig
from sact_core.flops import count_flops
from sact_core.halting import MAX_LOGIT, Halting, advance, halt, start
from sact_core.network import BatchNorm, Block, Conv, HaltingBranch, Pads, Plan, Unit
from sact_core.result import BlockResult, Result
from sact_core.taus import require_prices

__all__ = ["Engine", "halt"]

Params = dict[str, np.ndarray]

#: Is shown what a convolution of a unit, or the head, reads [shape=(positions, channels)],
#: and at which of these positions it is needed [shape=(positions,), bool].
Observer = Callable[[Conv, np.ndarray, np.ndarray], None]


class Engine:
    """Runs a plan, one unit after another, on whole maps.

    Parameters
    ----------
    plan : Plan
        The network.
    params : dict of str to np.ndarray [float32]
        Every parameter of ``plan.param_shapes``.
    """

    def __init__(self, plan: Plan, params: Params) -> None:
        self.plan = plan
        self.params = {name: np.asarray(params[name], np.float32) for name in plan.param_shapes}

    def forward(
        self,
        x: np.ndarray,
        *,
        keep_outputs: bool = False,
        keep_seconds: bool = False,
        taus: np.ndarray | None = None,
        observe: Observer | None = None,
    ) -> Result:
        """Run a batch.

        Parameters
        ----------
        x : np.ndarray [shape=(n, H, W, 3), float32]
            Preprocessed images.
        keep_outputs : bool
            Keep the output of every block.
        keep_seconds : bool
            Measure the time of every unit.
        taus : np.ndarray [shape=(n,), float64], optional
            Price of a unit for each image; given if and only if the network is
            conditioned on it.
        observe : callable, optional
            Is shown, for every convolution of a unit and for the head, what it reads, and
            where that is needed.

        Returns
        -------
        Result
            Logits, FLOPs and what each block did.

        Raises
        ------
        ValueError
            As `sact_core.taus.require_prices`.
        """
        # A network may overflow: its caller is told by the results, not by warnings.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._forward(x, keep_outputs, keep_seconds, taus, observe)

    def _forward(
        self,
        x: np.ndarray,
        keep_outputs: bool,
        keep_seconds: bool,
        taus: np.ndarray | None,
        observe: Observer | None,
    ) -> Result:
        plan, params = self.plan, self.params
        n, *input_size = x.shape[:3]
        positions: dict[str, np.ndarray] = {}
        require_prices(plan.config, taus)

        x = conv_same(x, plan.stem, params)
        positions[plan.stem.name] = _everywhere(x)
        if plan.pool:
            x = max_pool(x)
        blocks = []
        for block in plan.blocks:
            x, result, counted = self._run_block(block, x, taus, keep_seconds, observe)
            positions |= counted
            blocks.append(replace(result, output=x) if keep_outputs else result)

        if plan.head is not None:
            if observe is not None:
                shown = x.reshape(-1, x.shape[3])
                observe(plan.head, shown, np.ones(len(shown), bool))
            x = conv_same(x, plan.head, params)
            positions[plan.head.name] = _everywhere(x)
        if plan.postnorm is not None and plan.head_first == "bn":
            x = batch_norm(x, plan.postnorm, params)
        features = x.mean(axis=(1, 2), keepdims=True)
        if plan.postnorm is not None and plan.head_first == "mean":
            features = batch_norm(features, plan.postnorm, params)
        logits = conv_same(features, plan.logits, params)  # [n, 1, 1, classes]
        positions[plan.logits.name] = np.ones(n, np.int64)

        count = count_flops(plan, positions)
        return Result(
            logits=logits[:, 0, 0],
            flops=count.total,
            blocks=tuple(replace(block, flops=count.block(block.name)) for block in blocks),
            positions=positions,
            input_size=(input_size[0], input_size[1]),
        )

    def _run_block(
        self,
        block: Block,
        x: np.ndarray,
        taus: np.ndarray | None,
        keep_seconds: bool,
        observe: Observer | None,
    ) -> tuple[np.ndarray, BlockResult, dict[str, np.ndarray]]:
        """Run the units of a block; give its output, its result and its positions."""
        config = self.plan.config
        positions: dict[str, np.ndarray] = {}
        seconds: list[float] = []
        weights: list[np.ndarray] = []  # columns of the halting distribution
        probas: list[np.ndarray] = []
        output = np.zeros((1, 1, 1, 1), np.float32)
        n, *size = x.shape[:3]
        size = [-(-side // block.units[0].stride) for side in size]
        state = start((n, *size) if config.by_position else (n,), len(block.units), config.eps)

        for unit in block.units:
            began = time.perf_counter()
            active = state.active
            positions |= count_positions(unit, config.by_image, active, x.shape)
            if observe is not None:
                _show_inputs(x, unit, self.params, active, observe)
            x = residual_unit(x, unit, self.params, active if unit.masked else None)
            if config.halts:
                proba = None
                if unit.halting is not None:
                    shift = read_tau_shift(taus, unit.halting, config, self.params)
                    proba = read_halting_proba(x, unit.halting, self.params, shift)
                    proba = proba[..., 0] if config.by_position else proba[:, 0, 0, 0]
                    probas.append(np.where(active, proba, np.float32(np.nan)))
                state, weight = advance(state, proba)
                weights.append(weight)
                # [n, h, w, 1] for SACT, [n, 1, 1, 1] for ACT
                weight, on = (
                    np.expand_dims(each, tuple(range(each.ndim, 4))) for each in (weight, active)
                )
                # What overflows in an image that has halted does not count: 0 times it is NaN.
                if config.block_output == "last":
                    output = np.where(on, x, output)
                else:
                    output = output + np.where(on, x * weight, np.float32(0))
            seconds.append(time.perf_counter() - began)

        result = BlockResult(
            name=block.name,
            flops=np.zeros(n, np.int64),  # counted when the whole network has run
            size=(size[0], size[1]),
            seconds=tuple(seconds) if keep_seconds else None,
        )
        if not config.halts:
            return x, result, positions
        halting = Halting(np.stack(weights, axis=-1), state.num_units, state.remainder)
        result = replace(
            result,
            ponder_cost=halting.ponder_cost,
            num_units=halting.num_units,
            halting_distribution=halting.distribution,
            halting_proba=np.stack(probas, axis=-1)
            if probas
            else np.zeros((*state.active.shape, 0), np.float32),
        )
        return output, result, positions


def residual_unit(
    x: np.ndarray, unit: Unit, params: Params, active: np.ndarray | None
) -> np.ndarray:
    """Add a residual to the shortcut; where ``active`` is False, add nothing.

    Parameters
    ----------
    x : np.ndarray [shape=(n, h, w, in), float32]
    unit : Unit
    params : dict of str to np.ndarray
    active : np.ndarray [shape=(n, h', w'), bool], optional
        Positions that have not halted. None: all.

    Returns
    -------
    np.ndarray [shape=(n, h', w', out), float32]
    """
    preact = x if unit.preact is None else batch_norm(x, unit.preact, params)
    residual = preact
    for conv in unit.convs:
        residual = conv_same(residual, conv, params)
    if active is not None:
        residual = np.where(active[..., None], residual, np.float32(0))
    if unit.shortcut is None:
        return residual
    if isinstance(unit.shortcut, Conv):
        shortcut = conv_same(preact, unit.shortcut, params)
    elif unit.shortcut == "pool":
        shortcut = pool_and_widen(x, unit.out_channels)
    else:
        shortcut = preact if unit.shortcut == "preact" else x
    y: np.ndarray = shortcut + residual
    return y


def read_tau_shift(
    taus: np.ndarray | None, branch: HaltingBranch, config: NetworkConfig, params: Params
) -> np.ndarray | None:
    """Read what a price adds to a unit's halting logits; see `sact_core.network.TauShift`.

    Parameters
    ----------
    taus : np.ndarray [shape=(n,), float64], optional
        In the range of ``config``; None where it has none.
    branch : HaltingBranch
    config : NetworkConfig
    params : dict of str to np.ndarray

    Returns
    -------
    np.ndarray [shape=(n, 1, 1, 1), float32], optional
        0 at the low end, rising; None where the network is not conditioned on tau.
    """
    if branch.tau_shift is None or taus is None:
        return None
    assert config.tau_low is not None
    assert config.tau_high is not None
    t = np.log(taus / config.tau_low) / np.log(config.tau_high / config.tau_low)  # 0 to 1
    shift = np.zeros(len(taus))
    for k, w in enumerate(params[branch.tau_shift.name].astype(np.float64)):
        shift += np.logaddexp(0, w) * np.clip(branch.tau_shift.pieces * t - k, 0, 1)
    return shift.astype(np.float32).reshape(-1, 1, 1, 1)


def read_halting_proba(
    x: np.ndarray, branch: HaltingBranch, params: Params, shift: np.ndarray | None = None
) -> np.ndarray:
    """Read the chance of stopping off a unit's output.

    Parameters
    ----------
    x : np.ndarray [shape=(n, h, w, channels), float32]
    branch : HaltingBranch
    params : dict of str to np.ndarray
    shift : np.ndarray [shape=(n, 1, 1, 1), float32], optional
        What tau adds to the logits.

    Returns
    -------
    np.ndarray [shape=(n, h, w, 1), float32]
        In [0, 1]; NaN where the logit overflows. ACT: [shape=(n, 1, 1, 1)].
    """
    mean = x.mean(axis=(1, 2), keepdims=True)
    logit = conv_same(batch_norm(mean, branch.global_bn, params), branch.global_conv, params)
    if branch.local_bn is not None and branch.local_conv is not None:
        local = batch_norm(x, branch.local_bn, params)
        logit = conv_same(local, branch.local_conv, params) + logit
    if shift is not None:
        logit = logit + shift
    logit = np.where(np.abs(logit) <= np.float32(MAX_LOGIT), logit, np.float32(np.nan))
    proba: np.ndarray = np.exp(-np.logaddexp(np.float32(0), -logit))  # sigmoid, safe at any size
    return proba


def conv_same(x: np.ndarray, conv: Conv, params: Params) -> np.ndarray:
    """Convolve, add the bias, and apply the batch normalisation that follows, if any.

    Parameters
    ----------
    x : np.ndarray [shape=(n, h, w, in), float32]
    conv : Conv
    params : dict of str to np.ndarray

    Returns
    -------
    np.ndarray [shape=(n, h', w', out), float32]
    """
    weight = params[f"{conv.name}/weight"]
    height, width = conv.output_size(x.shape[1:3])
    x = _pad(x, conv.pads(x.shape[1:3]), 0.0)
    y = np.zeros((len(x), height, width, conv.weight_shape[3]), np.float32)
    for i in range(conv.weight_shape[0]):
        for j in range(conv.weight_shape[1]):
            rows = slice(i, i + (height - 1) * conv.stride + 1, conv.stride)
            columns = slice(j, j + (width - 1) * conv.stride + 1, conv.stride)
            y += _mix_channels(x[:, rows, columns], weight[i, j], conv.groups)
    if conv.bias:
        y += params[f"{conv.name}/bias"]
    return y if conv.bn is None else batch_norm(y, conv.bn, params)


def batch_norm(x: np.ndarray, bn: BatchNorm, params: Params) -> np.ndarray:
    """Normalise with the moving statistics, then activate: (leaky) ReLU, ReLU6 or nothing.

    Parameters
    ----------
    x : np.ndarray [shape=(..., channels), float32]
    bn : BatchNorm
    params : dict of str to np.ndarray
    """
    gamma, beta, mean, variance = (
        params[f"{bn.name}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    y = (x - mean) * (gamma / np.sqrt(variance + np.float32(bn.eps))) + beta
    y = y if bn.slope == 1 else np.where(y > 0, y, y * np.float32(bn.slope))
    return y if bn.cap == math.inf else np.minimum(y, np.float32(bn.cap))


def max_pool(x: np.ndarray) -> np.ndarray:
    """Take the largest of 3x3, stride 2, TensorFlow's "same" padding.

    Parameters
    ----------
    x : np.ndarray [shape=(n, h, w, channels), float32]

    Returns
    -------
    np.ndarray [shape=(n, ceil(h / 2), ceil(w / 2), channels), float32]
    """
    # (0, 1) on even sides, (1, 1) on odd ones.
    top, left = ((side % 2, 1) for side in x.shape[1:3])
    windows = sliding_window_view(_pad(x, (top, left), -np.inf), (3, 3), axis=(1, 2))
    largest: np.ndarray = windows[:, ::2, ::2].max(axis=(-2, -1))
    return largest


def pool_and_widen(x: np.ndarray, channels: int) -> np.ndarray:
    """Average 2x2 with stride 2, then add zero channels, half on either side.

    Parameters
    ----------
    x : np.ndarray [shape=(n, h, w, in), float32]
    channels : int
        Channels of the result.
    """
    n, h, w, c = x.shape
    pooled = x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
    front = (channels - c) // 2
    return np.pad(pooled, ((0, 0), (0, 0), (0, 0), (front, channels - c - front)))


def count_positions(
    unit: Unit, by_image: bool, active: np.ndarray, input_shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Count the output positions that each convolution of a unit needs.

    Parameters
    ----------
    unit : Unit
    by_image : bool
        Whether images halt as a whole, so that a unit runs for those that have not.
    active : np.ndarray [shape=(n, h', w') or (n,), bool]
        What had not halted before the unit.
    input_shape : tuple of int
        Shape of the unit's input.

    Returns
    -------
    dict of str to np.ndarray [shape=(n,), int64]
        By the name of the convolution.
    """
    n = input_shape[0]
    one = np.ones(n, np.int64)
    runs = active.astype(np.int64) if by_image else one
    positions = {}
    size = (input_shape[1], input_shape[2])
    if isinstance(unit.shortcut, Conv):
        height, width = unit.shortcut.output_size(size)
        positions[unit.shortcut.name] = height * width * runs
    for conv, halo in zip(unit.convs, unit.halos, strict=True):
        size = conv.output_size(size)
        if unit.masked:
            positions[conv.name] = grow(active, halo).sum(axis=(1, 2), dtype=np.int64)
        else:
            positions[conv.name] = size[0] * size[1] * runs
    if unit.halting is not None:
        local, everywhere = unit.halting.local_conv, unit.halting.global_conv
        if local is not None:
            positions[local.name] = positions[unit.convs[-1].name]
        positions[everywhere.name] = runs
    return positions


def grow(active: np.ndarray, halo: int = 1) -> np.ndarray:
    """Add to the active positions every position within ``halo`` rows and columns of one.

    Parameters
    ----------
    active : np.ndarray [shape=(n, h, w), bool]
    halo : int
        In pixels; 0 adds none.
    """
    padded = np.pad(active, ((0, 0), (halo, halo), (halo, halo)))
    side = 2 * halo + 1
    windows = sliding_window_view(padded, (side, side), axis=(1, 2))
    grown: np.ndarray = windows.max(axis=(-2, -1))
    return grown


def _mix_channels(x: np.ndarray, weight: np.ndarray, groups: int) -> np.ndarray:
    """Multiply each group's channels [..., in] by its columns of a weight [in of one, out]."""
    if groups == 1:
        return np.tensordot(x, weight, axes=1)
    parts = x.reshape(*x.shape[:-1], groups, -1)  # [n, h, w, groups, in of one]
    columns = weight.reshape(len(weight), groups, -1)  # [in of one, groups, out of one]
    mixed: np.ndarray = np.einsum("nhwgi,igo->nhwgo", parts, columns)
    shaped: np.ndarray = mixed.reshape(*x.shape[:-1], weight.shape[1])
    return shaped


def _pad(x: np.ndarray, pads: Pads, value: float) -> np.ndarray:
    if not any(map(any, pads)):
        return x
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


def _show_inputs(
    x: np.ndarray, unit: Unit, params: Params, active: np.ndarray, observe: Observer
) -> None:
    """Show what the convolutions of a unit read, and where it is needed."""
    read = x if unit.preact is None else batch_norm(x, unit.preact, params)

    def show(conv: Conv, halo: int) -> None:
        n, h, w, c = read.shape
        needed = np.broadcast_to(active.reshape(n, 1, 1) if active.ndim == 1 else True, (n, h, w))
        if unit.masked:
            needed = grow(active, halo + max(conv.weight_shape[:2]) // 2)
        observe(conv, read.reshape(-1, c), needed.reshape(-1))

    if isinstance(unit.shortcut, Conv):
        show(unit.shortcut, 0)
    for conv, halo in zip(unit.convs, unit.halos, strict=True):
        show(conv, halo)
        if conv is not unit.convs[-1]:
            read = conv_same(read, conv, params)


def _everywhere(x: np.ndarray) -> np.ndarray:
    n, h, w, _ = x.shape
    return np.full(n, h * w, np.int64)
