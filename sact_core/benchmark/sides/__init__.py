"""The sides of a measurement of inference: one file for each, and this list of them."""

from sact_core.benchmark.sides import (
    compiled,
    early_exit,
    frozen,
    frozen_bf16,
    gather,
    masked,
    masked_bf16,
    masked_int8,
    onnx_runtime,
    onnx_runtime_int8,
    openvino_bf16,
    openvino_f32,
    openvino_int8,
    sact,
    vanilla,
)
from sact_core.benchmark.sides.base import Built, Kind, Side

#: Every side by its name, in the order in which they take turns.
SIDES: dict[str, Side] = {
    module.SIDE.name: module.SIDE
    for module in (
        *(masked, masked_bf16, masked_int8, vanilla, compiled, frozen, frozen_bf16),
        *(openvino_f32, openvino_bf16, openvino_int8, onnx_runtime, onnx_runtime_int8),
        *(gather, early_exit, sact),
    )
}

__all__ = ["SIDES", "Built", "Kind", "Side"]
