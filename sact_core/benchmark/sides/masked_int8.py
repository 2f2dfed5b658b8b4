"""The masked engine in int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from sact_core.benchmark.sides import masked
from sact_core.benchmark.sides.base import Built, Kind, Side
from sact_core.benchmark.sides.calibration import calibration_images
from sact_core.network import Plan
from sact_core.quantisation import Quantisation, hash_params, quantised_convs

#: The scales that were found last, by the weights and images that they are of.
_found: dict[str, Quantisation] = {}


def lacks() -> str:
    """Say that this processor does not multiply eight-bit integers; nothing where it does."""
    from sact_core.backends.precision import precisions

    return "" if "int8" in precisions() else "this processor does not multiply int8"


def build(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    x: np.ndarray,
    threads: int,
    taus: np.ndarray | None = None,
) -> Built:
    """The engine as a user has it, calibrated on the images that it is measured on.

    Raises
    ------
    ValueError
        If this machine does not compute in int8, or the network cannot be.
    """
    scales = replace(_scales(plan, params, x), params_hash=hash_params(params))
    return masked.build(plan, params, x, threads, taus, precision="int8", quantisation=scales)


def _scales(plan: Plan, params: Mapping[str, np.ndarray], x: np.ndarray) -> Quantisation:
    """Scales, found once for weights and images: networks that halt elsewhere share them."""
    from sact_core.calibrate.scales import find_scales
    from sact_core.checkpoint import Checkpoint
    from sact_core.config import default_preprocessing

    names = [f"{conv.name}/weight" for conv in quantised_convs(plan)]
    key = hash_params({name: params[name] for name in names} | {"x": x})
    if key not in _found:
        network = Checkpoint(plan.config, dict(params), default_preprocessing(plan.config.family))
        _found.clear()
        _found[key] = find_scales(network, calibration_images(x))
    return _found[key]


SIDE = Side(
    "masked-int8",
    "masked, int8",
    Kind.OWN,
    build,
    number_format="int8",
    prepare=partial(masked.prepare, precision="int8"),
    lacks=lacks,
)
