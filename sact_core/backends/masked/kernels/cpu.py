"""What the vector kernels are shaped for: this processor, as Numba targets it.

Read from Numba's own target, so that the shape and Numba's cache, which is kept
per processor, always agree. ``NUMBA_DISABLE_JIT=1`` leaves the plain loops only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from sact_core.backends import bfloat16, int8, jit, simd
from sact_core.backends.jit import INTERPRETED as INTERPRETED
from sact_core.backends.simd import LANES as LANES

# A tile is TILE_ROWS positions by WIDE channels, kept in registers: 16 of the 32
# of AVX-512; elsewhere 6 x 16, which are 12 of the 16 of AVX2 and 24 of the 32
# of NEON.
TILE_ROWS, TILE_VECTORS = (8, 2) if "+avx512f" in jit.cpu_features() else (6, 1)
WIDE = TILE_VECTORS * LANES

#: Positions of the smaller tile that ends a list with no more than that.
HALF_ROWS = TILE_ROWS // 2

#: Bytes in a vector of marks; maps of marks have room for one more at their end.
MARKS_AT_ONCE = 64

#: Numba compiles a function anew for every literal number that it is called
#: with; it does not for these.
ZERO, ONE, TWO, THREE, SIXTEEN = map(np.int64, (0, 1, 2, 3, 16))
NOTHING, EVERYTHING = np.float32(0), np.float32(1)
UNIT_SLOPE, NO_CAP = np.float32(1), np.float32(np.inf)  # of what no activation follows
NO_MARK, MARK = np.uint8(0), np.uint8(1)
FOREVER = np.int64(1 << 62)


#: For every function here. None makes or keeps an array, so none counts references.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only other compiled functions call.

    It gets no wrapper for Python and no cache of its own: its code is part of
    whatever calls it.
    """
    inner: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return njit(**OPTIONS, **inner)(function)


#: Compile a function that Python calls, and keep it; it holds the code of this whole folder.
entry = jit.cached(
    [
        *Path(__file__).parent.glob("*.py"),
        *(Path(str(each.__file__)) for each in (simd, bfloat16, int8)),
    ],
    **OPTIONS,
)


if INTERPRETED:

    def stay_apart() -> None:
        """Keep a function out of its callers."""

    def at_once(index: Any) -> Any:
        """An index of which it is known that it counts from the start."""
        return index

else:

    @intrinsic
    def stay_apart(typing):
        """Keep a function out of its callers: called in it, it forbids LLVM to copy it.

        A folder of functions that call each other compiles in half the time.
        """

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.function.attributes.add("noinline")
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def at_once(typing, index):
        """An index of which it is known that it counts from the start.

        Numba looks at every other one whether it counts from the end. In a loop over
        places that does little else, this takes half of the time.
        """

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return args[0]

        return types.uint64(types.int64), codegen
