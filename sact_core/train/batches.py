"""Seeded, augmented batches.

What a step sees depends on the seed, the epoch and the step alone: not on how
often the run was interrupted, nor on how many processes share the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sact_core.preprocess import normalise
from sact_core.train.recipes import TrainingConfig
from sact_core.train.schedule import count_steps, small_steps


@dataclass(frozen=True)
class Batch:
    """Images [shape=(n, h, w, 3), float32] and labels [shape=(n,), int64].

    ``taus`` [shape=(n,), float64] is the price of a unit for each image, where the
    network is conditioned on it. With the recipe's ``distill_views``, ``view`` is which of
    the ways to cut an image this is, and ``picked`` [shape=(n,), int64] which images it has.
    ``larger`` [shape=(n, h', w', 3), float32] are the same crops at the teacher's own size,
    where it has one. Where images are mixed, ``shares`` [shape=(n,), float32] is the share of
    the image that has the label, and ``others`` [shape=(n,), int64] is the label of the rest.
    """

    images: np.ndarray
    labels: np.ndarray
    taus: np.ndarray | None = None
    view: int | None = None
    picked: np.ndarray | None = None
    larger: np.ndarray | None = None
    shares: np.ndarray | None = None
    others: np.ndarray | None = None


@dataclass(frozen=True)
class Cuts:
    """How the images of a step are cut, wherever it is done.

    Attributes
    ----------
    picked : np.ndarray [shape=(n,), int64]
        Which images.
    top, left : np.ndarray [shape=(n,), int64]
        Corners of the crops in the padded images, in pixels.
    flipped : np.ndarray [shape=(n,), bool]
        Which of them are mirrored; none where the recipe has no flips.
    hole : np.ndarray [shape=(n, 2), int64]
        Centres of the blanked squares.
    taus : np.ndarray [shape=(n,), float64], optional
        As in `Batch`.
    size : tuple of int
        Height and width of the crops.
    """

    picked: np.ndarray
    top: np.ndarray
    left: np.ndarray
    flipped: np.ndarray
    hole: np.ndarray
    taus: np.ndarray | None
    size: tuple[int, int]


class Augmenter:
    """Random crops, flips and Cutout over whole batches.

    Parameters
    ----------
    images : np.ndarray [shape=(n, h, w, 3), uint8]
        The training images.
    labels : np.ndarray [shape=(n,), int64]
        Their classes.
    config : TrainingConfig
        Its seed and augmentation count.
    kind : str
        How pixel values are scaled, see `sact_core.preprocess.normalise`.

    Raises
    ------
    ValueError
        If the smaller crops of the first steps are not smaller than the images.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, config: TrainingConfig, kind: str
    ) -> None:
        pad = config.crop_padding
        self.size: tuple[int, int] = (images.shape[1], images.shape[2])
        mode: Literal["reflect", "constant"] = (
            "reflect" if config.crop_border == "reflect" else "constant"
        )
        self.padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode)
        self.labels = labels
        self.config = config
        self.kind = kind
        first = config.first_size
        if first is not None and first >= min(self.size):
            raise ValueError(
                f"first_size must be below the side of the images, {min(self.size)} pixels, "
                f"got {first}"
            )
        self._steps_per_epoch, num_steps = count_steps(config, len(labels))
        self._small_steps = small_steps(config, num_steps)

    def __len__(self) -> int:
        return len(self.labels)

    def order(self, epoch: int) -> np.ndarray:
        """Order of the images in an epoch [shape=(n,), int64]."""
        rng = np.random.default_rng([self.config.seed, 1, epoch])
        return rng.permutation(len(self.labels))

    def batch(self, epoch: int, step: int, order: np.ndarray, rank: int, world: int) -> Batch:
        """Make this process' share of a step's batch."""
        cuts = self.cuts(epoch, step, order, rank, world)
        height, width = cuts.size
        rows = cuts.top[:, None] + np.arange(height)
        columns = cuts.left[:, None] + np.arange(width)
        columns[cuts.flipped] = columns[cuts.flipped, ::-1]
        picked = cuts.picked[:, None, None]
        x = normalise(self.padded[picked, rows[:, :, None], columns[:, None, :]], self.kind)
        if self.config.cutout:
            blank_squares(x, cuts.hole, self.config.cutout)
        view = self._view(epoch)
        named = () if view is None else (view, cuts.picked)
        return Batch(x, self.labels[cuts.picked], cuts.taus, *named)

    def cuts(self, epoch: int, step: int, order: np.ndarray, rank: int, world: int) -> Cuts:
        """Draw how this process' share of a step's batch is cut."""
        config = self.config
        begin = step * config.batch_size
        picked = order[begin : begin + config.batch_size]
        n, (height, width) = len(picked), self._size_at(epoch * self._steps_per_epoch + step)
        rng = np.random.default_rng([config.seed, 2, epoch, step])
        most_top, most_left = self.padded.shape[1] - height, self.padded.shape[2] - width
        view = self._view(epoch)
        if view is None:
            top, left, flipped = _draw_cuts(rng, most_top, most_left, n)
        else:  # of all images, whatever the run's seed and order
            drawn = _draw_cuts(np.random.default_rng([4, view]), most_top, most_left, len(self))
            top, left, flipped = (values[picked] for values in drawn)
        hole = rng.integers(0, (height, width), (n, 2))

        share = slice(rank, None, world)
        taus = draw_taus(config, epoch, step, n)
        return Cuts(
            picked[share],
            top[share],
            left[share],
            flipped[share] & config.flip,
            hole[share],
            None if taus is None else taus[share],
            (height, width),
        )

    def _view(self, epoch: int) -> int | None:
        """Which of its few ways every image is cut in, in an epoch."""
        views = self.config.distill_views
        return epoch % views if views else None

    def _size_at(self, step: int) -> tuple[int, int]:
        """Height and width of the crops at a step of the run."""
        first = self.config.first_size
        return (first, first) if first is not None and step < self._small_steps else self.size


def _draw_cuts(
    rng: np.random.Generator, most_top: int, most_left: int, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw corners of crops and which are mirrored, for so many images."""
    top, left = (rng.integers(0, most + 1, n) for most in (most_top, most_left))
    return top, left, rng.random(n) < 0.5


def draw_taus(config: TrainingConfig, epoch: int, step: int, n: int) -> np.ndarray | None:
    """Draw a price of a unit for every image of a step, evenly in the logarithm.

    Source: training on a distribution of loss weights, Dosovitskiy and Djolonga,
    "You Only Train Once", ICLR 2020.

    Parameters
    ----------
    config : TrainingConfig
        Its seed and its network's range count.
    epoch, step : int
        Place in the run.
    n : int
        Images of the step, over all processes.

    Returns
    -------
    np.ndarray [shape=(n,), float64], optional
        None where the network is not conditioned on tau.
    """
    low, high = config.network.tau_low, config.network.tau_high
    if low is None or high is None:
        return None
    rng = np.random.default_rng([config.seed, 3, epoch, step])
    return np.clip(np.exp(rng.uniform(np.log(low), np.log(high), n)), low, high)


def draw_shares(config: TrainingConfig, epoch: int, step: int, n: int) -> np.ndarray | None:
    """Draw for every image of a step how much of it is left when it is mixed with another.

    Parameters
    ----------
    config, epoch, step, n
        As for `draw_taus`.

    Returns
    -------
    np.ndarray [shape=(n,), float64], optional
        At least one half; None without mixup.
    """
    if not config.mixup:
        return None
    rng = np.random.default_rng([config.seed, 5, epoch, step])
    shares = rng.beta(config.mixup, config.mixup, n)
    return np.maximum(shares, 1 - shares)


def blank_squares(images: np.ndarray, centres: np.ndarray, side: float) -> None:
    """Set a square of every image to 0, in place: Cutout.

    Source: DeVries and Taylor 2017, arXiv:1708.04552.

    Parameters
    ----------
    images : np.ndarray [shape=(n, h, w, 3), float32]
        Scaled images.
    centres : np.ndarray [shape=(n, 2), int]
        Row and column of each square's centre; it may hang over the edge.
    side : float
        Of the squares, in pixels.
    """
    height, width = images.shape[1:3]
    blank_rows = np.abs(np.arange(height) + 0.5 - centres[:, :1]) < side / 2
    blank_columns = np.abs(np.arange(width) + 0.5 - centres[:, 1:]) < side / 2
    images[blank_rows[:, :, None] & blank_columns[:, None, :]] = 0
