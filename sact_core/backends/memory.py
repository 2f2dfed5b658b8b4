"""How much memory a run needs, and how much there is."""

from __future__ import annotations

import math

from sact_core.flops import dense_positions
from sact_core.network import Plan
from sact_core.resources import available_memory as available_memory

#: How often each map that a unit reads or writes is alive at once where all positions
#: are computed: as it is, normalised, activated, laid out for a convolution. Where
#: units halt, as many times more the unit's output: the block's, masked, weighted.
LIVE_COPIES = 4

#: Of the input and the stem's map.
LIVE_STEM_MAPS = 3

#: Numbers that each unit leaves at a position that halts: its weight and its
#: probability, as read, masked, and gathered for the result; who was active.
HALTING_NUMBERS = 7

#: The masked engine's maps of a block, channels padded to a multiple of 16: input,
#: state, output, pre-activation, what lies between the convolutions, lists and marks.
#: It writes weights and probabilities where they stay.
MASKED_MAPS, MASKED_LANES, MASKED_HALTING_NUMBERS = 8, 16, 2

#: Of a training step: how often each map that a unit reads or writes is kept for the
#: backward pass or alive in it, on the whole. Fewer where the network works in single
#: passes, which keep their input only: where channels are a multiple of `FUSED_LANES`.
FUSED_COPIES, PLAIN_COPIES, FUSED_LANES = 1.3, 2.1, 16

#: Share of the free memory that a batch may take before it is run in parts.
MEMORY_SHARE = 0.5


def estimate_memory(plan: Plan, shape: tuple[int, ...], keep_outputs: bool = False) -> int:
    """Estimate the bytes that a forward pass takes at its peak, on the hungriest backend.

    Parameters
    ----------
    plan : Plan
        The network.
    shape : tuple of int
        Shape of the input, (n, height, width, 3).
    keep_outputs : bool
        Whether every block's output is kept.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    ValueError
        If the network cannot take an input of this size.
    """
    n, height, width, channels = shape
    key = ("estimate_memory", height, width, channels, keep_outputs)
    if key not in plan.memo:  # asked before every run
        plan.memo[key] = _numbers_at_once(plan, height, width, channels, keep_outputs)
    return 4 * n * int(plan.memo[key])


def _numbers_at_once(plan: Plan, height: int, width: int, channels: int, keep_outputs: bool) -> int:
    """Numbers that one image takes at the peak of a forward pass."""
    positions = dense_positions(plan, (height, width))
    halts = plan.config.halts
    ends = [conv for conv in (plan.stem, plan.head) if conv is not None]
    largest_end = max(positions[conv.name] * conv.out_channels for conv in ends)
    dense, masked = LIVE_STEM_MAPS * max(largest_end, height * width * channels), 0
    for unit in plan.units:
        places = positions[unit.convs[-1].name]
        read = places * unit.stride**2 * unit.in_channels
        written = sum(positions[conv.name] * conv.out_channels for conv in unit.convs)
        output = places * unit.out_channels if halts else 0
        dense = max(dense, LIVE_COPIES * (read + written + output))
        lanes = -(-unit.out_channels // MASKED_LANES) * MASKED_LANES
        masked = max(masked, MASKED_MAPS * places * lanes)
    outputs = 0
    for block, (rows, columns) in zip(plan.blocks, plan.block_sizes((height, width)), strict=True):
        places = rows * columns if plan.config.by_position else int(plan.config.by_image)
        dense += HALTING_NUMBERS * places * len(block.units)
        masked += MASKED_HALTING_NUMBERS * places * len(block.units)
        if keep_outputs:
            outputs += rows * columns * block.units[-1].out_channels
    return max(dense, masked) + outputs


def estimate_step(plan: Plan, shape: tuple[int, ...], num_bytes: int = 4) -> int:
    """Estimate the bytes that a training step takes at its peak, forward and backward.

    Parameters
    ----------
    plan : Plan
        The network.
    shape : tuple of int
        Shape of the batch, (n, height, width, 3).
    num_bytes : int
        Of a number of the maps: 4 of float32, 2 of bfloat16.

    Returns
    -------
    int
        Bytes: the maps of all units, which the backward pass reads; and of every
        parameter the value, the gradient and the momentum.

    Raises
    ------
    ValueError
        If the network cannot take an input of this size.
    """
    n, height, width, channels = shape
    positions = dense_positions(plan, (height, width))
    written = [conv for conv in (plan.stem, plan.head) if conv is not None]
    written += [conv for unit in plan.units for conv in unit.convs]
    maps = [(positions[conv.name], conv.out_channels) for conv in written]
    for unit in plan.units:
        places = positions[unit.convs[-1].name]
        maps.append((places * unit.stride**2, unit.in_channels))
        maps += [(places, unit.out_channels)] if plan.config.halts else []
    numbers = sum(
        (PLAIN_COPIES if lanes % FUSED_LANES else FUSED_COPIES) * places * lanes
        for places, lanes in maps
    )
    if plan.pool:  # of every second row and column, the largest and where it was, 64 bits
        numbers += 3 / 4 * positions[plan.stem.name] * plan.stem.out_channels
    params = sum(math.prod(size) for size in plan.param_shapes.values())
    return n * (int(num_bytes * numbers) + 4 * height * width * channels) + 3 * 4 * params


def batch_that_fits(plan: Plan, size: tuple[int, int], wanted: int, num_processes: int = 1) -> int:
    """Say how many images of a size to make and to run together.

    Parameters
    ----------
    plan : Plan
        The network.
    size : tuple of int
        Height and width of its input.
    wanted : int
        How many at most.
    num_processes : int
        Processes that share this machine's memory.

    Returns
    -------
    int
        As many of those as take `MEMORY_SHARE` of the memory that is free, at least one.

    Raises
    ------
    ValueError
        If the network cannot take an input of this size, or there is no memory for a
        single one.
    """
    needed, there = estimate_memory(plan, (1, *size, 3)), available_memory()
    if there is None:
        return wanted
    if needed > there:
        raise ValueError(too_little_memory(1, size, needed, there))
    return max(1, min(wanted, int(MEMORY_SHARE * there / num_processes / needed)))


def too_little_memory(n: int, size: tuple[int, int], needed: int, there: int) -> str:
    """Say how much memory a batch needs and how much there is, in bytes; and what to do."""
    images = "1 image" if n == 1 else f"{n} images"
    return (
        f"{images} of {size[0]} x {size[1]} pixels need{'s' if n == 1 else ''} about "
        f"{needed / 2**30:.1f} GiB of memory, but {there / 2**30:.1f} GiB are free; "
        f"run {'a smaller image' if n == 1 else 'fewer or smaller images at once'}"
    )
