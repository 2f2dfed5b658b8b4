"""The sides of a measurement of inference: one file for each, and this list of them."""

from sact_core.benchmark.sides import (
    compiled,
    early_exit,
    frozen,
    frozen_bf16,
    gather,
    masked,
    masked_bf16,
    onnx_runtime,
    openvino_bf16,
    openvino_f32,
    sact,
    vanilla,
)
from sact_core.benchmark.sides.base import Built, Kind, Side

#: Every side by its name, in the order in which they take turns.
SIDES: dict[str, Side] = {
    module.SIDE.name: module.SIDE
    for module in (
        *(masked, masked_bf16, vanilla, compiled, frozen, frozen_bf16),
        *(openvino_f32, openvino_bf16, onnx_runtime, gather, early_exit, sact),
    )
}

__all__ = ["SIDES", "Built", "Kind", "Side"]
