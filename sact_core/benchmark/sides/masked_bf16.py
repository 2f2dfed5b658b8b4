"""The masked engine in bfloat16."""

from __future__ import annotations

from functools import partial

from sact_core.benchmark.sides import masked
from sact_core.benchmark.sides.base import Kind, Side


def lacks() -> str:
    """Say that this processor does not multiply bfloat16; nothing where it does."""
    from sact_core.backends.precision import precisions

    return "" if "bfloat16" in precisions() else "this processor does not multiply bfloat16"


SIDE = Side(
    "masked-bf16",
    "masked, bfloat16",
    Kind.OWN,
    partial(masked.build, precision="bfloat16"),
    number_format="bfloat16",
    prepare=partial(masked.prepare, precision="bfloat16"),
    lacks=lacks,
)
