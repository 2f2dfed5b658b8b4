"""PyTorch's network without halting in bfloat16, compiled with its weights frozen."""

from __future__ import annotations

from functools import partial

from sact_core.benchmark.sides.base import Kind, Side
from sact_core.benchmark.sides.pytorch import build_network, prepare

build = partial(build_network, number_format="bfloat16", compiled=True, frozen=True)

SIDE = Side(
    "frozen-bf16",
    "torch.compile, frozen weights, bfloat16",
    Kind.DENSE,
    build,
    number_format="bfloat16",
    packages=("torch",),
    prepare=prepare,
)
