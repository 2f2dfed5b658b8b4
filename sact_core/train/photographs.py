"""Training images of natural size: decoded, cropped and coloured by parallel workers.

Every step decodes the images that it needs, so that memory stays constant however
large the set. Workers are threads, because decoding and resizing, which Pillow
does, leave the interpreter to others. What a step sees depends on the seed, the
epoch, the step and the place in the batch alone.

An image becomes

1. a random crop of `TrainingConfig.min_area` to all of its area, with an aspect
   from 3/4 to 4/3, resized to a square. Half of them are averaged over what a
   new pixel covers, half are sampled between neighbours, as the two ways of
   evaluation do;
2. mirrored, half of them;
3. brighter or darker, of more or less contrast and saturation, of shifted hue;
4. scaled, and blanked in a square where Cutout is on;
5. mixed with another image of the step, where mixup is on.

The images of a step may have another size than those of the next, and the teacher may
see the same crops at a size of its own.

Source: the crops of Szegedy et al. 2015, arXiv:1409.4842, section 6, as in
TensorFlow-Slim's Inception preprocessing, which the authors trained with (there
the least area is 0.05 and the way of resizing random too). The ranges of colour
at strength 1 are TensorFlow-Slim's. Its changes of colour are made in one linear
step here: hue turns about the grey axis, as in YIQ, and clipping comes last. Mixup:
Zhang et al. 2018, arXiv:1710.09412.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from sact_core.data.records import DataError, Unreadable
from sact_core.data.source import Source
from sact_core.preprocess import normalise
from sact_core.train.batches import Batch, blank_squares, draw_shares, draw_taus
from sact_core.train.decode import KEEP_BYTES, Decoder, Shrink
from sact_core.train.recipes import TrainingConfig
from sact_core.train.schedule import count_steps
from sact_core.train.sizes import Portion, portions

ASPECTS = (3 / 4, 4 / 3)
ATTEMPTS = 10  # at a crop that fits; then the largest central one
MOST_IN_A_ROW = 1000  # unreadable images, before a data set is given up

#: Changes of colour at strength 1: up to so much more or less.
BRIGHTNESS = 32.0  # of 255
CONTRAST = 0.5
SATURATION = 0.5
HUE = 0.2  # of a turn

TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
FROM_YIQ = np.linalg.inv(TO_YIQ)


class PhotographAugmenter:
    """Random crops, flips, colours and Cutout of images of any size.

    Parameters
    ----------
    source : Source
        The training images.
    config : TrainingConfig
        Its seed and augmentation count; ``image_size`` must be given.
    kind : str
        How pixel values are scaled, see `sact_core.preprocess.normalise`.
    num_workers : int
        Threads that decode and crop.
    keep_bytes : int
        Memory for decoded images, see `sact_core.train.decode`.
    """

    def __init__(
        self,
        source: Source,
        config: TrainingConfig,
        kind: str,
        num_workers: int = 2,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        assert config.image_size is not None
        self.source, self.config, self.kind = source, config, kind
        self._decoder = Decoder(source, keep_bytes)
        self._pool = ThreadPoolExecutor(max(1, num_workers), "decode")

    @property
    def left_out(self) -> Unreadable:
        """Images that could not be read so far.

        The next one of the epoch's order takes the place of such an image.
        """
        return self._decoder.left_out

    def order(self, epoch: int) -> np.ndarray:
        """Order of the images in an epoch [shape=(n,), int64]."""
        count = min(self.config.num_train_examples or len(self.source), len(self.source))
        return np.random.default_rng([self.config.seed, 1, epoch]).permutation(count)

    def batch(self, epoch: int, step: int, order: np.ndarray, rank: int, world: int) -> Batch:
        """Make this process' share of a step's batch."""
        config = self.config
        portion = self._portion(epoch, step, len(order), world)
        ours = list(range(portion.count)[rank::world])
        shares = draw_shares(config, epoch, step, portion.count)
        # In a step, the first image is mixed with the last, the second with the last but one.
        partners = [] if shares is None else [portion.count - 1 - i for i in ours]
        wanted = sorted({*ours, *partners})
        sides = (portion.side, *([config.teacher_size] if config.teacher_size else []))
        made = list(
            self._pool.map(lambda i: self._one(epoch, portion.begin + i, order, sides), wanted)
        )
        at = {i: number for number, i in enumerate(wanted)}
        own = [at[i] for i in ours]
        labels = np.array([label for _, label, _ in made], np.int64)
        holes = np.array([hole for _, _, hole in made])
        sets = []
        for number, side in enumerate(sides):
            x = normalise(np.stack([images[number] for images, _, _ in made]), self.kind)
            if config.cutout:
                blank_squares(x, holes * side // portion.side, config.cutout * side / portion.side)
            if shares is not None:
                kept = shares[ours].astype(np.float32)[:, None, None, None]
                x = x[own] * kept + x[[at[i] for i in partners]] * (1 - kept)
            sets.append(x)
        taus = draw_taus(config, epoch, step, portion.count)
        return Batch(
            sets[0],
            labels[own],
            None if taus is None else taus[rank::world],
            larger=sets[1] if len(sets) > 1 else None,
            shares=None if shares is None else shares[ours].astype(np.float32),
            others=None if shares is None else labels[[at[i] for i in partners]],
        )

    def _portion(self, epoch: int, step: int, num_images: int, world: int) -> Portion:
        config = self.config
        if config.size_low is not None:
            num_steps, _ = count_steps(config, num_images)
            return portions(config, epoch, num_steps, world)[step]
        assert config.image_size is not None
        begin = step * config.batch_size
        return Portion(config.image_size, begin, min(config.batch_size, num_images - begin))

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown()

    def _one(
        self, epoch: int, place: int, order: np.ndarray, sides: tuple[int, ...]
    ) -> tuple[list[np.ndarray], int, tuple[int, int]]:
        """Crop at a place, of every side [shape=(side, side, 3), uint8], label, Cutout's centre."""
        config = self.config
        seed = [config.seed, 2, epoch, place]

        def shrink(width: int, height: int) -> int:
            box = draw_box(np.random.default_rng(seed), (width, height), config.min_area)
            return shrinkage(box, max(sides))

        image, label = self._readable(place, order, shrink)
        rng = np.random.default_rng(seed)
        box = draw_box(rng, image.size, config.min_area)
        sampled, mirrored = rng.random(2) < 0.5
        changes = rng.uniform(-1, 1, 4) * config.colour
        hole = tuple(rng.integers(0, sides[0], 2).tolist())
        found = []
        for side in sides:
            size = (side, side)
            if sampled:
                cut = image.transform(
                    size, Image.Transform.EXTENT, box, resample=Image.Resampling.BILINEAR
                )
            else:
                cut = image.resize(size, Image.Resampling.BILINEAR, box=box)
            if config.flip and mirrored:
                cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            if config.colour:
                cut = recolour(cut, *changes.tolist())
            found.append(np.asarray(cut))
        return found, label, hole

    def _readable(self, place: int, order: np.ndarray, shrink: Shrink) -> tuple[Image.Image, int]:
        for further in range(min(MOST_IN_A_ROW, len(order))):
            index = int(order[(place + further) % len(order)])
            found = self._decoder.read(index, shrink)
            if found is not None:
                return Image.fromarray(found[0]), found[1]
        raise DataError(
            f"{self.source.name} {self.source.split} has {min(MOST_IN_A_ROW, len(order)):,} "
            f"images in a row that cannot be read; the last: {self.left_out.found[index][1]}"
        )


def draw_box(
    rng: np.random.Generator, size: tuple[int, int], min_area: float
) -> tuple[float, float, float, float]:
    """Draw a crop: left, top, right and bottom, in pixels.

    Parameters
    ----------
    rng : Generator
        It draws as often whatever comes out.
    size : tuple of int
        Width and height of the image.
    min_area : float
        Least share of the image's area, in (0, 1]. The area is uniform from it to
        1, the logarithm of the aspect uniform over `ASPECTS`, the place uniform.
    """
    width, height = size
    areas = rng.uniform(min_area, 1, ATTEMPTS) * width * height
    aspects = np.exp(rng.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1]), ATTEMPTS))
    right, down = rng.random(2)
    for area, aspect in zip(areas.tolist(), aspects.tolist(), strict=True):
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if w <= width and h <= height:
            break
    else:
        w = min(width, height * ASPECTS[1])
        h = min(height, width / ASPECTS[0])
        right = down = 0.5
    left, top = right * (width - w), down * (height - h)
    return left, top, min(left + w, width), min(top + h, height)


def shrinkage(box: tuple[float, float, float, float], side: int) -> int:
    """Give the largest of 1, 2, 4 and 8 that leaves a crop at least ``side`` pixels."""
    left, top, right, bottom = box
    smaller = min(right - left, bottom - top)
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or smaller / factor >= side)


def recolour(
    image: Image.Image, brightness: float, contrast: float, saturation: float, hue: float
) -> Image.Image:
    """Change an image's colours in one linear step.

    Parameters
    ----------
    image : Image
        RGB.
    brightness, contrast, saturation, hue : float
        From -1 to 1; 0 changes nothing.
    """
    cos, sin = math.cos(2 * math.pi * HUE * hue), math.sin(2 * math.pi * HUE * hue)
    colourful = 1 + SATURATION * saturation
    turn = np.array([[1, 0, 0], [0, colourful * cos, -colourful * sin], [0, sin, cos]])
    turn[2, 1:] *= colourful
    matrix = FROM_YIQ @ turn @ TO_YIQ * (1 + CONTRAST * contrast)
    mean = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    # Contrast is about the mean brightness; a turn and saturation leave it alone.
    grey = float(TO_YIQ[0] @ np.array(mean))
    offset = BRIGHTNESS * brightness - CONTRAST * contrast * grey
    rows = np.column_stack([matrix, np.full(3, offset)])
    return image.convert("RGB", tuple(rows.ravel().tolist()))
