"""The masked engine in int8."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from sact_core.benchmark.sides import masked
from sact_core.benchmark.sides.base import Built, Kind, Side
from sact_core.benchmark.sides.calibration import calibration_images
from sact_core.network import Plan


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
    from sact_core.calibrate.scales import find_scales
    from sact_core.checkpoint import Checkpoint
    from sact_core.config import default_preprocessing

    network = Checkpoint(plan.config, dict(params), default_preprocessing(plan.config.family))
    scales = find_scales(network, calibration_images(x))
    return masked.build(plan, params, x, threads, taus, precision="int8", quantisation=scales)


SIDE = Side(
    "masked-int8",
    "masked, int8",
    Kind.OWN,
    build,
    number_format="int8",
    prepare=partial(masked.prepare, precision="int8"),
    lacks=lacks,
)
