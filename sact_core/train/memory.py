"""Whether a run fits into memory, asked before an image set is decoded or a folder begun."""

from __future__ import annotations

from sact_core.ahead import STEPS
from sact_core.backends.memory import available_memory, estimate_step
from sact_core.data.records import Unreadable
from sact_core.data.source import Source
from sact_core.plans import build_plan
from sact_core.processes import Processes
from sact_core.train.recipes import TrainingConfig
from sact_core.train.sizes import count_images, sides


def require_memory(
    config: TrainingConfig, train: Source, test: Source, processes: Processes
) -> None:
    """Refuse a run on processors that needs more memory than is free.

    Counted are one step, the batches made ahead of it and, with padded crops, the
    decoded images. Photographs that resized crops keep decoded are not: they take no
    more than a share of what is free.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    train, test : Source
        Its images. Where no image size is asked for, the first that can be read is
        decoded, to see theirs.
    processes : Processes
        Who shares each batch; those on this machine share its memory.

    Raises
    ------
    ValueError
        If there is too little, or the network cannot take images of this size.
    """
    side, there = _side(config, train), available_memory()
    if side is None or there is None:
        return
    plan = build_plan(config.network)
    pixels = 3 * side * side
    num_bytes = 2 if config.amp == "bf16" else 4
    step = 0
    for each in sides(config) or [side]:
        num = count_images(config, each, processes.world) // processes.world
        shown = each**2 + (config.teacher_size or 0) ** 2
        most = estimate_step(plan, (num, each, each, 3), num_bytes) + STEPS * num * 4 * 3 * shown
        step = max(step, most)
    kept = 0
    if config.crop == "padded":
        num_train = min(config.num_train_examples or len(train), len(train))
        padded = 3 * (side + 2 * config.crop_padding) ** 2
        kept = num_train * (pixels + padded) + len(test) * pixels
    needed = processes.here * (step + kept)
    if needed > there:
        images = (
            f", {processes.here * kept / 2**30:.1f} GiB of it for decoded images" if kept else ""
        )
        raise ValueError(
            f"training with batches of {config.batch_size} images of {side} x {side} pixels needs "
            f"about {needed / 2**30:.1f} GiB of memory{images}, but {there / 2**30:.1f} GiB are "
            f"free: give a smaller --batch-size or --image-size"
        )


def _side(config: TrainingConfig, train: Source) -> int | None:
    """Side of the images trained on; None if it cannot be told, as whoever decodes will say."""
    if config.image_size is not None:
        return config.image_size
    found = next(train.readable(range(len(train)), Unreadable()), None)
    height, width = (0, 1) if found is None else found[0].shape[:2]
    return int(height) if height == width else None
