"""What an image will cost at a size: FLOPs, memory, and whether there is enough."""

from __future__ import annotations

from dataclasses import dataclass

from app.folders import InputError, sentence
from app.loaders.turns import require_work
from app.records import Look
from app.stated import mean_share
from sact_core.backends.memory import available_memory, estimate_memory
from sact_core.flops import dense_flops


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


def cost(look: Look) -> Cost:
    """Say what a network will take for an image.

    Raises
    ------
    InputError
        If the network cannot take an input of this size.
    """
    model = look.model
    try:
        size = look.input_size
        dense = int(dense_flops(model.plan, size).total[0])
        memory = estimate_memory(model.plan, (1, *size, 3))
    except ValueError as error:
        raise InputError(sentence(error)) from None
    return Cost(size, dense, mean_share(model, look.tau), memory, available_memory())


def require_memory(look: Look) -> None:
    """Refuse an image for which there is not enough memory, or that is too much work.

    Raises
    ------
    InputError
        With what it needs, what is free, and what to do.
    """
    needed = cost(look)
    height, width = needed.size
    what = f"{look.picture.name} at {width} × {height} pixels"
    require_work(needed.dense, what)
    if not needed.fits:
        raise InputError(
            f"{what} needs about "
            f"{gigabytes(needed.memory)} of memory, but {gigabytes(needed.free or 0)} are free: "
            f"choose a smaller side."
        )


def gigabytes(count: int) -> str:
    """Bytes for people: ``310 MB``, ``1.2 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
