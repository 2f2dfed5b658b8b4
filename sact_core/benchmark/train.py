"""What a training step costs with halting, against the vanilla step of the same network.

All sides take turns, A B C A B C, and a ratio is the median over the rounds of a
turn over the vanilla turn of the same round, so that a machine whose speed
drifts, or that others use too, bends every side alike. The networks are those
of training, forward, backward and optimiser step on one batch of noise; images
are ready, since their share is measured in training itself.

``fused`` are the single passes of `sact_core.backends.dense.fused` that training
uses on a CPU; ``plain`` is PyTorch alone.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sact_core.config import NetworkConfig

#: Most that a SACT step may cost, in vanilla steps of the same network.
BAR = 1.25

#: Side by side: halting and whether fused.
SIDES: dict[str, tuple[str, bool]] = {
    "vanilla": ("none", True),
    "sact": ("sact", True),
    "act": ("act", True),
    "vanilla plain": ("none", False),
    "sact plain": ("sact", False),
    "act plain": ("act", False),
}

Turns = dict[str, list[float]]


def measure_steps(
    network: NetworkConfig,
    batch_size: int = 128,
    formats: Sequence[str] = ("bf16", "off"),
    sides: Sequence[str] = tuple(SIDES),
    rounds: int = 9,
    threads: int | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Time training steps in turn.

    Parameters
    ----------
    network : NetworkConfig
        Its ``halting`` is replaced by that of each side.
    batch_size : int
        Images of a step.
    formats : sequence of str
        ``"bf16"`` and ``"off"`` (float32).
    sides : sequence of str
        Of `SIDES`; ``"vanilla"`` is always measured.
    rounds : int
        Turns of each side.
    threads : int, optional
        Threads of torch; its own setting where left out.
    device : str
        torch device.
    say : callable
        Told the results as they come.

    Returns
    -------
    list of dict
        A row for each format and side: median milliseconds of a step, images a
        second, and the ratios to the vanilla step with and without fusing.

    Raises
    ------
    ValueError
        If a number is below 1 or a side unknown.
    """
    import torch

    if min(batch_size - 1, rounds, 1 if threads is None else threads) < 1:
        raise ValueError("--batch-size must be at least 2, --rounds and --threads at least 1")
    unknown = sorted(set(sides) - set(SIDES))
    if unknown:
        raise ValueError(f"unknown sides {', '.join(unknown)}: there are {', '.join(SIDES)}")
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    rows = []
    try:
        for amp in formats:
            steps = {
                side: _step(network, batch_size, amp, *SIDES[side], device)
                for side in dict.fromkeys(["vanilla", *sides])
            }
            found = _rows(_turns(steps, rounds), amp, batch_size, torch.get_num_threads())
            rows += found
            for row in found:
                say(describe(row))
    finally:
        torch.set_num_threads(before)
    return rows


def describe(row: dict[str, Any]) -> str:
    """Say a row in one line."""
    return (
        f"{'bfloat16' if row['amp'] == 'bf16' else 'float32':9} {row['side']:14} "
        f"{row['ms']:8.1f} ms {row['images_per_second']:7.0f} images/s "
        f"{row['ratio']:6.3f} x vanilla"
    )


def _step(
    network: NetworkConfig, batch_size: int, amp: str, halting: str, fused: bool, device: str
) -> Callable[[], None]:
    """Make a training step on a batch of noise."""
    from sact_core.parameters import init_params
    from sact_core.plans import build_plan
    from sact_core.train.batches import Batch
    from sact_core.train.learner import Learner
    from sact_core.train.recipes import TrainingConfig

    config = TrainingConfig(dataclasses.replace(network, halting=halting), amp=amp, nesterov=True)
    plan = build_plan(config.network)
    learner = Learner(config, init_params(plan), device=device)
    learner.network.fused = fused
    side = network.facts.image_size
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch_size, side, side, 3)).astype(np.float32)
    batch = Batch(images, rng.integers(0, network.num_classes, batch_size))
    # The weights hardly move, so that every turn does the same work.
    return lambda: learner.learn(learner.look(batch), 1e-6)


def _turns(steps: dict[str, Callable[[], None]], rounds: int) -> Turns:
    """Seconds of every side's turns; the first round warms up."""
    import torch

    turns: Turns = {side: [] for side in steps}
    for number in range(rounds + 1):
        for side, step in steps.items():
            begin = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number:
                turns[side].append(time.perf_counter() - begin)
    return turns


def _rows(turns: Turns, amp: str, batch_size: int, threads: int) -> list[dict[str, Any]]:
    rows = []
    for side, times in turns.items():
        seconds = statistics.median(times)
        ratios = [mine / other for mine, other in zip(times, turns["vanilla"], strict=True)]
        rows.append(
            {
                "amp": amp,
                "side": side,
                "batch_size": batch_size,
                "threads": threads,
                "ms": 1e3 * seconds,
                "images_per_second": batch_size / seconds,
                "ratio": statistics.median(ratios),
            }
        )
    return rows
