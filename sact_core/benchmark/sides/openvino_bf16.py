"""OpenVINO on the network without halting, in bfloat16."""

from __future__ import annotations

from functools import partial

from sact_core.benchmark.sides.base import Kind, Side
from sact_core.benchmark.sides.openvino import PACKAGES, build_compiled, prepare

build = partial(build_compiled, number_format="bfloat16")

SIDE = Side(
    "openvino-bf16",
    "OpenVINO, bfloat16",
    Kind.DENSE,
    build,
    number_format="bfloat16",
    packages=PACKAGES,
    prepare=prepare,
)
