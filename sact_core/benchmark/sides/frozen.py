"""PyTorch's network without halting, compiled with its weights frozen."""

from __future__ import annotations

from functools import partial

from sact_core.benchmark.sides.base import Kind, Side
from sact_core.benchmark.sides.pytorch import build_network, prepare

build = partial(build_network, compiled=True, frozen=True)

SIDE = Side(
    "frozen",
    "torch.compile, frozen weights",
    Kind.DENSE,
    build,
    packages=("torch",),
    prepare=prepare,
)
