"""Masked backend: compute active positions only.

A unit gathers the rows it needs, multiplies, and scatters. A block stops as
soon as nothing is active.

Source: Figurnov et al. 2017, arXiv:1612.02297, and the authors' published
networks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from sact_core.backends.kernels.halting import halt_positions
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
    proba = check_halting_proba(halting_proba)
    shape, units = proba.shape[:-1], proba.shape[-1] + 1
    flat = np.ascontiguousarray(proba).reshape(int(np.prod(shape)), units - 1)
    distribution = np.empty((len(flat), units), np.float32)
    num_units = np.empty(len(flat), np.int32)
    remainder = np.empty(len(flat), np.float32)
    threshold = halting_threshold(eps)
    halt_positions(flat, threshold, 0, len(flat), distribution, num_units, remainder)
    return Halting(
        distribution.reshape(*shape, units), num_units.reshape(shape), remainder.reshape(shape)
    )


class Engine:
    """Runs a plan at active positions only.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray [float32]
        Every parameter of ``plan.param_shapes``.
    """

    def __init__(self, plan: Plan, params: Mapping[str, np.ndarray]) -> None:
        self.plan = plan
        self.params = {name: np.asarray(params[name], np.float32) for name in plan.param_shapes}

    def forward(
        self, x: np.ndarray, *, keep_outputs: bool = False, keep_seconds: bool = False
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

        Returns
        -------
        Result
            Logits, FLOPs and what each block did.
        """
        plan = self.plan
        input_size = (x.shape[1], x.shape[2])
        positions = {conv.name: np.zeros(len(x), np.int64) for conv in plan.convs}
        x = self._conv_everywhere(x, plan.stem, positions)
        if plan.pool:
            x = _max_pool(x)
        parts = []
        for block in plan.blocks:
            x, part = self._block(block, x, positions, keep_outputs, keep_seconds)
            parts.append(part)
        if plan.head_first == "mean":
            x = self._bn(x.mean((1, 2), keepdims=True), plan.postnorm)
        else:
            x = self._bn(x, plan.postnorm).mean((1, 2), keepdims=True)
        logits = self._conv_everywhere(x, plan.logits, positions)[:, 0, 0]
        count = count_flops(plan, positions)
        blocks = tuple(
            BlockResult(flops=count.block(block.name), **part)
            for block, part in zip(plan.blocks, parts, strict=True)
        )
        return Result(logits, count.total, blocks, positions, input_size)

    def _block(
        self,
        block: Block,
        x: np.ndarray,
        positions: dict[str, np.ndarray],
        keep_outputs: bool,
        keep_seconds: bool,
    ) -> tuple[np.ndarray, dict]:
        kind, threshold = self.plan.config.halting, halting_threshold(self.plan.config.eps)
        n, units = len(x), len(block.units)
        stride = block.units[0].stride
        size = (-(-x.shape[1] // stride), -(-x.shape[2] // stride))
        places = (n, *size) if kind == "sact" else (n,)
        active = np.ones(places, bool)
        cumsum, remainder = np.zeros(places, np.float32), np.ones(places, np.float32)
        num_units = np.zeros(places, np.int32)
        distribution = np.zeros((*places, units), np.float32)
        probas = np.full((*places, units - 1), np.nan, np.float32)
        output = np.zeros((n, *size, block.units[-1].out_channels), np.float32)
        seconds = [0.0] * units
        for u, unit in enumerate(block.units):
            branch = unit.halting
            if kind == "sact" and branch is not None:
                positions[branch.global_conv.name][:] = 1
            if not active.any():
                continue
            began = time.perf_counter()
            # [n, h, w]: who runs this unit
            runs = np.broadcast_to(active if kind == "sact" else active[:, None, None], (n, *size))
            where = np.nonzero(runs)
            if u == 0:
                x = self._shortcut(unit, x, positions) + self._residual(unit, x, where, positions)
            else:
                residual = self._residual(unit, x, where, positions)
                x[where] += residual[where]
            num_units[active] += 1
            weight = np.where(active, remainder, np.float32(0))
            goes_on = np.zeros_like(active)
            if branch is not None:
                logit = self._conv_everywhere(
                    self._bn(x.mean((1, 2), keepdims=True), branch.global_bn), branch.global_conv
                )[:, :, :, 0]
                if branch.local_conv is not None and branch.local_bn is not None:
                    local = self._bn(x, branch.local_bn)
                    at = self._conv_at(local, branch.local_conv, where, positions)
                    logit = logit + at[..., 0]
                else:
                    logit = logit[:, 0, 0]
                    positions[branch.global_conv.name] += active
                with np.errstate(over="ignore"):  # 1 / inf is the 0 that is meant
                    proba = 1 / (1 + np.exp(-logit))
                probas[active, u] = proba[active]
                cumsum = np.where(active, cumsum + proba, cumsum)
                goes_on = active & (cumsum < threshold)
                weight = np.where(goes_on, proba, weight)
                remainder = np.where(goes_on, remainder - proba, remainder)
            if kind != "none":
                distribution[..., u] = weight
                output += x * (weight[..., None] if kind == "sact" else weight[:, None, None, None])
                active = goes_on
            seconds[u] = time.perf_counter() - began
        part: dict = {"name": block.name, "size": size}
        if kind == "none":
            output = x
        else:
            part |= {
                "ponder_cost": num_units.astype(np.float32) + remainder,
                "num_units": num_units,
                "halting_distribution": distribution,
                "halting_proba": probas,
            }
        part["output"] = output.copy() if keep_outputs else None
        part["seconds"] = tuple(seconds) if keep_seconds else None
        return output, part

    def _residual(
        self,
        unit: Unit,
        x: np.ndarray,
        where: tuple[np.ndarray, ...],
        positions: dict[str, np.ndarray],
    ) -> np.ndarray:
        """Residual at ``where``; anything elsewhere."""
        y = self._bn(x, unit.preact)
        n, h, w = x.shape[:3]
        for i, conv in enumerate(unit.convs):
            at = where
            if i < unit.grown_convs and unit.stride == 1:
                near = np.zeros((n, h + 2, w + 2), bool)
                for dy in range(3):
                    for dx in range(3):
                        near[where[0], where[1] + dy, where[2] + dx] = True
                at = np.nonzero(near[:, 1:-1, 1:-1])
            elif i < unit.grown_convs:
                who = np.zeros(n, bool)
                who[where[0]] = True
                at = np.nonzero(np.broadcast_to(who[:, None, None], (n, *conv.output_size((h, w)))))
            y = self._conv_at(y, conv, at, positions)
        return y

    def _shortcut(self, unit: Unit, x: np.ndarray, positions: dict[str, np.ndarray]) -> np.ndarray:
        if isinstance(unit.shortcut, Conv):
            return self._conv_everywhere(self._bn(x, unit.preact), unit.shortcut, positions)
        if unit.shortcut == "preact":
            return self._bn(x, unit.preact)
        if unit.shortcut == "identity":
            return x
        n, h, w, c = x.shape
        pooled = x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))
        front = (unit.out_channels - c) // 2
        return np.pad(pooled, ((0, 0), (0, 0), (0, 0), (front, unit.out_channels - c - front)))

    def _conv_everywhere(
        self, x: np.ndarray, conv: Conv, positions: dict[str, np.ndarray] | None = None
    ) -> np.ndarray:
        where = np.nonzero(np.ones((len(x), *conv.output_size(x.shape[1:3])), bool))
        return self._conv_at(x, conv, where, positions)

    def _conv_at(
        self,
        x: np.ndarray,
        conv: Conv,
        where: tuple[np.ndarray, ...],
        positions: dict[str, np.ndarray] | None = None,
    ) -> np.ndarray:
        weight = self.params[f"{conv.name}/weight"]
        padded = np.pad(x, ((0, 0), *conv.pads(x.shape[1:3]), (0, 0)))
        image, rows, columns = where
        y = np.zeros((len(image), weight.shape[3]), np.float32)
        for i in range(weight.shape[0]):
            for j in range(weight.shape[1]):
                y += padded[image, rows * conv.stride + i, columns * conv.stride + j] @ weight[i, j]
        if conv.bias:
            y += self.params[f"{conv.name}/bias"]
        if conv.bn is not None:
            y = self._bn(y, conv.bn)
        out = np.zeros((len(x), *conv.output_size(x.shape[1:3]), weight.shape[3]), np.float32)
        out[where] = y
        if positions is not None:
            positions[conv.name] += np.bincount(image, minlength=len(x))
        return out

    def _bn(self, x: np.ndarray, bn: BatchNorm) -> np.ndarray:
        gamma, beta, mean, variance = (
            self.params[f"{bn.name}/{part}"]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + np.float32(bn.eps))
        y = x * scale + (beta - mean * scale)
        return np.maximum(y, y * np.float32(bn.slope))


def _max_pool(x: np.ndarray) -> np.ndarray:
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (height % 2, 2), (width % 2, 2), (0, 0)), constant_values=-np.inf)
    h, w = -(-height // 2), -(-width // 2)
    y = padded[:, : 2 * h : 2, : 2 * w : 2]
    for i in range(3):
        for j in range(3):
            y = np.maximum(y, padded[:, i : i + 2 * h : 2, j : j + 2 * w : 2])
    return y
