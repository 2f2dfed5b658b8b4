"""Compile once what every process of tests would compile for itself: ``python -m tests.warm``."""

from __future__ import annotations

import os
import time

from sact_core.backends import PRECISIONS
from sact_core.backends.masked.warm import warm
from tests import survivor


def main() -> None:
    """Fill Numba's cache: the masked engine in every format, and the kernels of training."""
    began = time.perf_counter()
    os.environ["SACT_FORCE_PRECISION"] = "1"  # on any processor, as tests do
    for precision in PRECISIONS:
        warm(precision)
    survivor.warm_up()
    print(f"Compiled what the tests need: {time.perf_counter() - began:.1f} s.")


if __name__ == "__main__":
    main()
