"""Steps of an epoch whose images have mixed sizes: one size each, at the same cost.

Source: FixRes, Touvron et al. 2019, arXiv:1906.06423, on what a network loses at sizes
that it was not taught at; batches that grow as images shrink: Hoffer et al. 2019,
arXiv:1908.08986.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sact_core.train.recipes import SIZE_STEP, TrainingConfig


@dataclass(frozen=True)
class Portion:
    """The images of a step: their side in pixels, the first one's place, how many."""

    side: int
    begin: int
    count: int


def sides(config: TrainingConfig) -> list[int]:
    """Sides that images may have, in pixels, where there is a size."""
    if config.size_low is None or config.size_high is None:
        return [] if config.image_size is None else [config.image_size]
    return list(range(config.size_low, config.size_high + 1, SIZE_STEP))


def count_images(config: TrainingConfig, side: int, world: int = 1) -> int:
    """Images of a step of a side: in pixels, as many as ``batch_size`` of ``image_size``.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    side : int
        In pixels.
    world : int
        Processes, which get the same number, at least two each.
    """
    if config.size_low is None or config.image_size is None:
        return config.batch_size
    share = config.batch_size * (config.image_size / side) ** 2 / world
    return max(round(share), 2) * world


@lru_cache(maxsize=4)
def portions(config: TrainingConfig, epoch: int, num_steps: int, world: int) -> list[Portion]:
    """Draw the sizes of an epoch's steps: all as often, give or take one.

    Images of an epoch are taken in their order; of steps that take more than there are in
    all, some begin again from the first.
    """
    known = sides(config)
    rng = np.random.default_rng([config.seed, 4, epoch])
    drawn = rng.permutation(np.resize(rng.permutation(known), num_steps)).tolist()
    found, begin = [], 0
    for side in drawn:
        count = count_images(config, side, world)
        found.append(Portion(side, begin, count))
        begin += count
    return found
