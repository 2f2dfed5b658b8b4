"""ONNX Runtime on an ACT network that leaves out, by ``If``, the units that no image needs."""

from __future__ import annotations

from functools import partial

from sact_core.benchmark.sides.base import Kind, Side
from sact_core.benchmark.sides.onnx_runtime import PACKAGES, build_session, prepare

build = partial(build_session, early_exit=True)

SIDE = Side(
    "early-exit", "ONNX Runtime, early exit", Kind.EXIT, build, packages=PACKAGES, prepare=prepare
)
