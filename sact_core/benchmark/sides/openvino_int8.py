"""OpenVINO on the network without halting, quantised by NNCF."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from sact_core.benchmark.sides.base import Kind, Side
from sact_core.benchmark.sides.calibration import calibration_images
from sact_core.benchmark.sides.openvino import PACKAGES, build_compiled, prepare


def quantised(model: Any, x: np.ndarray) -> Any:
    """The model with the scales that NNCF finds on the images that are measured."""
    import nncf

    batches = [np.ascontiguousarray(e.transpose(0, 3, 1, 2)) for e in calibration_images(x)]
    return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))


def number_format_of(compiled: Any) -> str:
    """In what most convolutions of a compiled model multiply, by its own account."""
    found = [
        str(node.get_rt_info()["runtimePrecision"].value)
        for node in compiled.get_runtime_model().get_ops()
        if str(node.get_rt_info()["layerType"].value) == "Convolution"
    ]
    whole = sum(each in ("u8", "i8") for each in found)
    return "int8" if found and 2 * whole > len(found) else "float32"


build = partial(
    build_compiled, number_format="int8", convert=quantised, read_format=number_format_of
)

SIDE = Side(
    "openvino-int8",
    "OpenVINO, int8 by NNCF",
    Kind.DENSE,
    build,
    number_format="int8",
    packages=(*PACKAGES, "nncf"),
    prepare=prepare,
)
