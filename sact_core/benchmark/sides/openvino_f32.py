"""OpenVINO on the network without halting, in float32."""

from __future__ import annotations

from functools import partial

from sact_core.benchmark.sides.base import Kind, Side
from sact_core.benchmark.sides.openvino import PACKAGES, build_compiled, prepare

build = partial(build_compiled, number_format="float32")

SIDE = Side(
    "openvino",
    "OpenVINO",
    Kind.DENSE,
    build,
    number_format="float32",
    packages=PACKAGES,
    prepare=prepare,
)
