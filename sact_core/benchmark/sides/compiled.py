"""PyTorch's network without halting, by ``torch.compile``."""

from __future__ import annotations

from functools import partial

from sact_core.benchmark.sides.base import Kind, Side
from sact_core.benchmark.sides.pytorch import build_network, prepare

build = partial(build_network, compiled=True)

SIDE = Side("compiled", "torch.compile", Kind.DENSE, build, packages=("torch",), prepare=prepare)
