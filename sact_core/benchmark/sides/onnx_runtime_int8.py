"""ONNX Runtime on the network without halting, quantised by its own tool: QDQ."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sact_core.benchmark.sides.base import Built, Kind, Side, require_format
from sact_core.benchmark.sides.calibration import calibration_images
from sact_core.benchmark.sides.onnx_runtime import PACKAGES, open_session, prepare
from sact_core.network import Plan


def build(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    x: np.ndarray,
    threads: int,
    taus: np.ndarray | None = None,
) -> Built:
    """Quantise the exported network, weights by channel and signed, the rest unsigned.

    Raises
    ------
    ValueError
        If it takes another number of threads, or nothing was quantised.
    """
    import onnx
    from onnxruntime import quantization

    from sact_core.export_onnx import INPUT, make_model

    images = [np.ascontiguousarray(each.transpose(0, 3, 1, 2)) for each in calibration_images(x)]
    batches = iter([{INPUT: each} for each in images])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Hands out the images, a batch at a time."""

        def get_next(self) -> dict[str, np.ndarray] | None:
            """The next batch; None behind the last."""
            found: dict[str, np.ndarray] | None = next(batches, None)
            return found

    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(make_model(plan, params), given)
        quantization.quantize_static(
            given,
            made,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        model = onnx.load(made)
    kinds = {node.op_type for node in model.graph.node}
    found = "int8" if "QuantizeLinear" in kinds else "float32"
    require_format("ONNX Runtime", found, "int8")
    return open_session(model.SerializeToString(), x, threads, found)


SIDE = Side(
    "onnxruntime-int8",
    "ONNX Runtime, int8",
    Kind.DENSE,
    build,
    number_format="int8",
    packages=PACKAGES,
    prepare=prepare,
)
