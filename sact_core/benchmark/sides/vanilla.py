"""PyTorch's network without halting, in eager mode."""

from __future__ import annotations

from sact_core.benchmark.sides.base import Kind, Side
from sact_core.benchmark.sides.pytorch import build_network, prepare

SIDE = Side(
    "vanilla", "PyTorch eager", Kind.DENSE, build_network, packages=("torch",), prepare=prepare
)
