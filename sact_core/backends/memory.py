"""How much memory a run needs, and how much there is."""

from __future__ import annotations

from pathlib import Path

from sact_core.flops import dense_positions
from sact_core.network import Plan

#: Copies of a block's largest feature map that are alive at once: a unit's input,
#: its pre-activation, what goes into and comes out of a convolution (each padded
#: or masked once more) and the block's weighted output. The stem has fewer.
LIVE_MAPS = 10
LIVE_STEM_MAPS = 3


def estimate_memory(plan: Plan, shape: tuple[int, ...], keep_outputs: bool = False) -> int:
    """Estimate the bytes that a forward pass takes at its peak.

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
    positions = dense_positions(plan, (height, width))
    largest = max(
        positions[conv.name] * max(conv.out_channels, conv.in_channels * conv.stride**2)
        for unit in plan.units
        for conv in unit.convs
    )
    ends = [conv for conv in (plan.stem, plan.head) if conv is not None]
    largest_end = max(positions[conv.name] * conv.out_channels for conv in ends)
    stem = max(largest_end, height * width * channels)
    numbers = max(LIVE_MAPS * largest, LIVE_STEM_MAPS * stem)
    for block, (rows, columns) in zip(plan.blocks, plan.block_sizes((height, width)), strict=True):
        places = rows * columns if plan.config.by_position else int(plan.config.by_image)
        numbers += 4 * places * len(block.units)  # distribution, probabilities, their parts
        if keep_outputs:
            numbers += rows * columns * block.units[-1].out_channels
    return 4 * n * numbers


def available_memory() -> int | None:
    """Give the bytes of memory that this process may still take; None where unknown."""
    try:
        free = 1024 * _numbers(Path("/proc/meminfo"))["MemAvailable:"]
    except (OSError, KeyError):
        return None
    try:  # a container's own limit; what it holds of files can be given up
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text()) - _numbers(group / "memory.stat")["file"]
    except (OSError, KeyError, ValueError):
        return free
    return max(min(free, limit - used), 0)


def _numbers(path: Path) -> dict[str, int]:
    """Read lines such as ``MemAvailable: 1024 kB``."""
    words = [line.split() for line in path.read_text().splitlines()]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}
