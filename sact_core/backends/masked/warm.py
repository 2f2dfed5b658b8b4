"""Compile the masked engine's kernels into Numba's cache, once per machine.

    python -m sact_core.backends.masked.warm
    SACT_PRECISION=bfloat16 python -m sact_core.backends.masked.warm
    SACT_PRECISION=int8 python -m sact_core.backends.masked.warm

Without it the first result of the masked backend comes some ten seconds later;
after it, and from the second start on, kernels come from the cache.
"""

from __future__ import annotations

import time

import numpy as np


def warm(precision: str | None = None) -> float:
    """Run a tiny network and the halting rule; give the seconds that it took.

    Parameters
    ----------
    precision : str, optional
        Of the network, as in `sact_core.backends.masked.Engine`.
    """
    begin = time.perf_counter()
    from sact_core.backends import masked
    from sact_core.config import NetworkConfig
    from sact_core.parameters import init_params
    from sact_core.plans import build_plan
    from sact_core.quantisation import unit_scales

    plan = build_plan(NetworkConfig(units_per_block=(1, 1, 1), base_channels=2, halting="sact"))
    params = init_params(plan)
    scales = unit_scales(plan, params)
    engine = masked.Engine(plan, params, precision=precision, quantisation=scales)
    engine.forward(np.zeros((1, 4, 4, 3), np.float32))
    masked.halt(np.zeros((1, 1), np.float32))
    return time.perf_counter() - begin


def main() -> int:
    """Warm the cache and say so."""
    print(f"The masked engine is ready: {warm():.1f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
