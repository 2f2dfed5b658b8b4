"""The masked engine in bfloat16."""

from __future__ import annotations

from functools import partial

from sact_core.benchmark.sides import masked
from sact_core.benchmark.sides.base import Kind, Side

SIDE = Side(
    "masked-bf16",
    "masked, bfloat16",
    Kind.OWN,
    partial(masked.build, precision="bfloat16"),
    number_format="bfloat16",
    prepare=partial(masked.prepare, precision="bfloat16"),
)
