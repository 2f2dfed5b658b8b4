"""The masked engine, in any precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sact_core.benchmark.sides.base import Built, Kind, Side
from sact_core.network import Plan
from sact_core.quantisation import Quantisation
from sact_core.result import Result


def prepare(threads: int, precision: str = "float32") -> None:
    """Load compiled kernels."""
    from sact_core.backends.masked.warm import warm

    warm(precision)


def build(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    x: np.ndarray,
    threads: int,
    taus: np.ndarray | None = None,
    precision: str = "float32",
    quantisation: Quantisation | None = None,
) -> Built:
    """The engine as a user has it; in int8 with these scales.

    Raises
    ------
    ValueError
        If this machine does not compute in this precision.
    """
    from sact_core.backends.masked import Engine

    engine = Engine(
        plan, dict(params), num_threads=threads, precision=precision, quantisation=quantisation
    )
    fed: dict[str, Any] = {"x": x, "taus": taus}

    def result() -> Result:
        return engine.forward(fed["x"], taus=fed["taus"])

    def feed(x: np.ndarray, taus: np.ndarray | None) -> None:
        fed.update(x=x, taus=taus)

    return Built(lambda: result().logits, engine.precision, engine.team, feed, result)


SIDE = Side("masked", "masked", Kind.OWN, build, prepare=prepare)
