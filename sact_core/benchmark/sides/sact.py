"""PyTorch's network with halting, in eager mode: everything computed, then masked."""

from __future__ import annotations

from sact_core.benchmark.sides.base import Kind, Side
from sact_core.benchmark.sides.pytorch import build_network, prepare

SIDE = Side(
    "sact",
    "PyTorch eager, with halting",
    Kind.HALTING,
    build_network,
    packages=("torch",),
    prepare=prepare,
)
