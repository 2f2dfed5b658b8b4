"""Flat results of the kernels, and the blocks that callers get."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.packing import Sizes
from sact_core.flops import Tariff
from sact_core.network import Conv, Plan
from sact_core.result import BlockResult, Result


@dataclass(frozen=True)
class Outputs:
    """Results of a batch, flat, block after block."""

    arrays: dict[str, np.ndarray]
    blocks: np.ndarray

    @classmethod
    def make(cls, plan: Plan, sizes: Sizes, n: int, keep_outputs: bool) -> Outputs:
        blocks = sizes.blocks.copy()
        sact, vanilla = plan.config.by_position, not plan.config.halts
        floats, counts = n * int(sizes.net[at.CLASSES]), 0  # the logits come first
        nan = []
        for block in blocks:
            inside, units = int(block[at.B_HEIGHT] * block[at.B_WIDTH]), int(block[at.B_UNITS])
            places = 0 if vanilla else n * inside if sact else n
            block[at.B_NUM_UNITS] = counts
            counts += places
            block[at.B_DISTRIBUTION] = floats
            block[at.B_REMAINDER] = floats + places * units
            block[at.B_PROBA] = block[at.B_REMAINDER] + places
            block[at.B_OUTPUT] = block[at.B_PROBA] + places * (units - 1)
            nan.append(slice(int(block[at.B_PROBA]), int(block[at.B_OUTPUT])))
            kept = n * inside * int(block[at.B_COUT]) if keep_outputs else 0
            floats = int(block[at.B_OUTPUT]) + kept
        arrays: dict[str, np.ndarray] = {
            "counts": np.zeros((n, len(plan.units), 2), np.int64),
            "num_units": np.zeros(counts, np.int32),
            "results": np.zeros(floats, np.float32),
        }
        for probabilities in nan:
            arrays["results"][probabilities] = np.nan
        return cls(arrays, blocks)


def read_results(
    plan: Plan,
    sizes: Sizes,
    outputs: Outputs,
    input_size: tuple[int, int],
    account: Account,
    keep_outputs: bool,
    seconds: np.ndarray | None,
    precision: str,
) -> Result:
    """Read the flat results as blocks; ``seconds`` of every unit where they were measured."""
    n = len(outputs.arrays["counts"])
    positions = account.positions(outputs.arrays["counts"])
    total, flops = account.tariff.count(positions)
    blocks, first = [], 0
    for block, facts, block_flops in zip(plan.blocks, outputs.blocks, flops, strict=True):
        units = len(block.units)
        fields: dict[str, Any] = {}
        if seconds is not None:
            fields["seconds"] = tuple(seconds[first : first + units].tolist())
        first += units
        height, width = int(facts[at.B_HEIGHT]), int(facts[at.B_WIDTH])
        if keep_outputs:
            channels = int(facts[at.B_COUT])
            begin = facts[at.B_OUTPUT]
            flat = outputs.arrays["results"][begin : begin + n * height * width * channels]
            whole = flat.reshape(n, height, width, channels)
            fields["output"] = np.ascontiguousarray(whole[..., : block.units[-1].out_channels])
        if plan.config.halts:
            places = (n, height, width) if plan.config.by_position else (n,)
            fields |= _halting_fields(outputs, facts, places, units)
        blocks.append(
            BlockResult(name=block.name, flops=block_flops, size=(height, width), **fields)
        )
    classes = int(sizes.net[at.CLASSES])
    logits = outputs.arrays["results"][: n * classes].reshape(n, classes)
    logits = np.ascontiguousarray(logits[:, : plan.config.num_classes])
    by_name = dict(zip(account.tariff.names, positions, strict=True))
    return Result(logits, total, tuple(blocks), by_name, input_size, precision=precision)


def _halting_fields(
    outputs: Outputs, facts: np.ndarray, places: tuple[int, ...], units: int
) -> dict[str, np.ndarray]:
    total = math.prod(places)

    def cut(name: str, begin: int, columns: int) -> np.ndarray:
        return outputs.arrays[name][begin : begin + total * columns]

    num_units = cut("num_units", facts[at.B_NUM_UNITS], 1).reshape(places)
    remainder = cut("results", facts[at.B_REMAINDER], 1).reshape(places)
    distribution = cut("results", facts[at.B_DISTRIBUTION], units)
    proba = cut("results", facts[at.B_PROBA], units - 1)
    return {
        "ponder_cost": num_units.astype(np.float32) + remainder,
        "num_units": num_units,
        "halting_distribution": distribution.reshape(*places, units),
        "halting_proba": proba.reshape(*places, units - 1),
    }


class Account:
    """Positions and FLOPs of a network's convolutions, from the lengths of the engine's lists.

    Parameters
    ----------
    plan : Plan
        The network.
    input_size : tuple of int
        Height and width of its input.
    """

    def __init__(self, plan: Plan, input_size: tuple[int, int]) -> None:
        self.tariff = Tariff(plan)
        stem, last = plan.stem.output_size(input_size), plan.block_sizes(input_size)[-1]
        self._fixed = np.array([1, math.prod(stem), math.prod(last)], np.int64)
        one, whole_stem, whole_last = range(3)
        columns = {plan.stem.name: whole_stem, plan.logits.name: one}
        if plan.head is not None:
            columns[plan.head.name] = whole_last
        for u, unit in enumerate(plan.units):
            active, grown, runs = (3 + 3 * u + column for column in range(3))
            for conv, halo in zip(unit.convs, unit.halos, strict=True):
                columns[conv.name] = grown if halo else active  # one pixel is all there is here
            if isinstance(unit.shortcut, Conv):
                columns[unit.shortcut.name] = active
            if unit.halting is not None:
                if unit.halting.local_conv is not None:
                    columns[unit.halting.local_conv.name] = active
                columns[unit.halting.global_conv.name] = runs if plan.config.by_image else one
        self._columns = np.array([columns[name] for name in self.tariff.names])

    def positions(self, counts: np.ndarray) -> np.ndarray:
        """Positions by convolution, in the order of execution [shape=(convolutions, n), int64].

        Parameters
        ----------
        counts : np.ndarray [shape=(n, units, 2), int64]
            Lengths of the lists of every unit: active places, and grown by one.
        """
        n, units, _ = counts.shape
        table = np.empty((n, 3 + 3 * units), np.int64)
        table[:, :3] = self._fixed
        by_unit = table[:, 3:].reshape(n, units, 3)
        by_unit[..., :2] = counts
        by_unit[..., 2] = counts[..., 0] > 0
        table[:, 3:] = by_unit.reshape(n, -1)
        found: np.ndarray = table.T[self._columns]
        return found
