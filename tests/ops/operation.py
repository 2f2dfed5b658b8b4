"""What a row of the table of operations is, and what rows draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sact_core.backends.masked.kernels import cpu

#: Sides that compute at listed positions only.
LISTED = ("vectors", "plain", "vectors bfloat16", "plain bfloat16")

#: Lists of positions.
LISTS = ("none", "one", "some", "all")

#: Largest difference from float64, as a share of the largest value.
CLOSE = {"float32": 3e-6, "bfloat16": 2e-2}

#: To the last bit.
EXACT = {"float32": 0.0}


@dataclass(frozen=True)
class Operation:
    """A row, for several shapes.

    Attributes
    ----------
    draw : callable
        Called with a generator and a shape; gives the arguments of all that follow.
    ref : callable
        `naive`'s answer: an array or a tuple of them.
    sides : dict of str to callable
        Who computes it, by name.
    shapes : list of dict
    close : dict of str to float
        Tolerance by number format; 0: to the last bit.
    kernels : str
        The names of the compiled functions that it covers.
    """

    draw: Callable[..., dict[str, Any]]
    ref: Callable[..., Any]
    sides: dict[str, Callable[..., Any]]
    shapes: list[dict[str, Any]]
    close: dict[str, float] = field(default_factory=lambda: CLOSE)
    kernels: str = ""


def compiled(**sides: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Sides in vector code, which plain Python cannot run."""
    return {} if cpu.INTERPRETED else {name.replace("_", " "): f for name, f in sides.items()}


def listed(
    side: Callable[[bool], Callable[..., Any]], number: str = ""
) -> dict[str, Callable[..., Any]]:
    """Both ways of the masked engine."""
    both = compiled(vectors=side(True)) | {"plain": side(False)}
    return {f"{name} {number}".strip(): way for name, way in both.items()}


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def draw_active(rng: np.random.Generator, height: int, width: int, which: str) -> np.ndarray:
    active = np.full((height, width), which == "all")
    if which == "one":
        active[rng.integers(height), rng.integers(width)] = True
    elif which == "some":
        active = rng.random((height, width)) < 0.4
        active[0, 0], active[-1, -1] = True, False
    return active
