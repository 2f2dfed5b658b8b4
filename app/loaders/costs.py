"""What an image will cost at a size: FLOPs, memory, and whether there is enough."""

from __future__ import annotations

from dataclasses import dataclass

from app.loaders.checkpoints import Model, mean_share
from app.loaders.folders import InputError, sentence
from app.loaders.pictures import Picture
from sact_core.backends.memory import available_memory, estimate_memory
from sact_core.flops import dense_flops
from sact_core.preprocess import kept_size


@dataclass(frozen=True)
class Cost:
    """What one image costs before it has run.

    Attributes
    ----------
    size : tuple of int
        Height and width of the network's input.
    dense : int
        FLOPs if every position ran every unit.
    share : float, optional
        Mean share of dense FLOPs on the checkpoint's test images, where known.
    memory : int
        Bytes at the peak, estimated.
    free : int, optional
        Bytes that may still be taken, where known.
    """

    size: tuple[int, int]
    dense: int
    share: float | None
    memory: int
    free: int | None

    @property
    def fits(self) -> bool:
        """Whether there is enough memory, as far as is known."""
        return self.free is None or self.memory <= self.free


def cost(
    model: Model,
    picture: Picture,
    image_size: int | None,
    fit: str | None,
    tau: float | None = None,
) -> Cost:
    """Say what a network will take for an image.

    Parameters
    ----------
    model, picture, image_size, fit, tau
        As in `running.run`.

    Raises
    ------
    InputError
        If the network cannot take an input of this size.
    """
    size = input_size(model, picture, image_size, fit)
    try:
        dense = int(dense_flops(model.plan, size).total[0])
        memory = estimate_memory(model.plan, (1, *size, 3))
    except ValueError as error:
        raise InputError(sentence(error)) from None
    return Cost(size, dense, mean_share(model, tau), memory, available_memory())


def input_size(
    model: Model, picture: Picture, image_size: int | None, fit: str | None
) -> tuple[int, int]:
    """Height and width of the network's input for an image."""
    own = model.header.preprocessing
    side = image_size or own.image_size
    if (fit or own.fit) == "crop":
        return side, side
    height, width = picture.pixels.shape[:2]
    return kept_size((height, width), side, model.plan.divisor)


def require_memory(model: Model, picture: Picture, image_size: int | None, fit: str | None) -> None:
    """Refuse an image for which there is not enough memory.

    Raises
    ------
    InputError
        With what it needs, what is free, and what to do.
    """
    needed = cost(model, picture, image_size, fit)
    if not needed.fits:
        height, width = needed.size
        raise InputError(
            f"{picture.name} at {width} × {height} pixels needs about {gigabytes(needed.memory)} "
            f"of memory, but {gigabytes(needed.free or 0)} are free: choose a smaller side."
        )


def gigabytes(count: int) -> str:
    """Bytes for people: ``310 MB``, ``1.2 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
