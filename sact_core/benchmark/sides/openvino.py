"""OpenVINO on the exported network, in one number format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sact_core.benchmark.sides.base import Built, require_format, require_threads
from sact_core.network import Plan

PACKAGES = ("onnx", "openvino")

#: OpenVINO's own names of number formats.
NAMES = {"float32": "f32", "bfloat16": "bf16"}


def prepare(threads: int) -> None:
    """Load OpenVINO and its CPU plugin."""
    import openvino

    openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")


def build_compiled(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    x: np.ndarray,
    threads: int,
    taus: np.ndarray | None = None,
    *,
    number_format: str,
    convert: Callable[[Any, np.ndarray], Any] | None = None,
    read_format: Callable[[Any], str] | None = None,
) -> Built:
    """Compile the exported network for one number format, which is always asked for.

    Without a hint OpenVINO computes in bfloat16 wherever the processor can, and it
    takes fewer threads than it was told without a word: both are read back. ``convert``
    makes another model of it by the images, whose other numbers are of float32, and
    ``read_format`` reads what it computes in off the compiled one.

    Raises
    ------
    ValueError
        If it computes in another number format, or with another number of threads.
    """
    import openvino

    from sact_core.export_onnx import INPUT, make_model

    core = openvino.Core()
    model = core.read_model(make_model(plan, params).SerializeToString())
    if convert is not None:
        model = convert(model, x)
    settings = {
        "INFERENCE_PRECISION_HINT": NAMES.get(number_format, NAMES["float32"]),
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(model, "CPU", settings)
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    found = next((name for name, short in NAMES.items() if hint in (name, short)), hint)
    if read_format is not None:
        found = read_format(compiled)
    require_format("OpenVINO", found, number_format)
    require_threads("OpenVINO", compiled.get_property("INFERENCE_NUM_THREADS"), threads)
    request = compiled.create_infer_request()

    def feed(x: np.ndarray, taus: np.ndarray | None) -> None:
        batch = np.ascontiguousarray(x.transpose(0, 3, 1, 2))  # [n, 3, h, w]
        request.set_tensor(INPUT, openvino.Tensor(batch))

    feed(x, None)

    def run() -> np.ndarray:
        request.infer()
        logits: np.ndarray = request.get_tensor("logits").data.copy()
        return logits

    return Built(run, found, threads, feed)
