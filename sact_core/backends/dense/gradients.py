"""Numba loops of `depthwise`, in the manner of `kernels`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sact_core.backends import jit, simd
from sact_core.backends.simd import LANES, fma, load, spread
from sact_core.backends.simd import store_computed as store

kernel = jit.cached([Path(simd.__file__)], nogil=True, error_model="numpy")


@kernel
def of_weight(x, gy, height, width, channels, rows, columns, side, stride, pad, sums, first, last):
    """Sums over positions of gradients times what their taps read, [images, taps, channels].

    For sides up to 5: a row of the kernel is summed at once.
    """
    wide = width + 2 * pad + 5
    room = np.zeros((height + 2 * pad) * wide * LANES, np.float32)  # one vector of channels
    for i in range(first, last):
        for c in range(0, channels, LANES):
            for r in range(height):
                at = (i * height + r) * width * channels + c
                to = ((r + pad) * wide + pad) * LANES
                for _ in range(width):
                    store(room, to, load(x, at))
                    at += channels
                    to += LANES
            for k in range(side):
                s0 = s1 = s2 = s3 = s4 = spread(np.float32(0))
                for r in range(rows):
                    at = (i * rows + r) * columns * channels + c
                    to = (r * stride + k) * wide * LANES
                    for _ in range(columns):
                        g = load(gy, at)
                        s0 = fma(g, load(room, to), s0)
                        s1 = fma(g, load(room, to + LANES), s1)
                        s2 = fma(g, load(room, to + 2 * LANES), s2)
                        s3 = fma(g, load(room, to + 3 * LANES), s3)
                        s4 = fma(g, load(room, to + 4 * LANES), s4)
                        at += channels
                        to += stride * LANES
                out = (i * side + k) * side * channels + c
                store(sums, out, s0)
                if side > 1:
                    store(sums, out + channels, s1)
                if side > 2:
                    store(sums, out + 2 * channels, s2)
                if side > 3:
                    store(sums, out + 3 * channels, s3)
                if side > 4:
                    store(sums, out + 4 * channels, s4)


@kernel
def of_input(
    gy, weight, height, width, channels, rows, columns, side, stride, pad, gx, first, last
):
    """What every position sends back to those that its taps read; ``weight`` [taps, channels]."""
    wide = width + 2 * pad
    high = height + 2 * pad
    room = np.empty(high * wide * LANES, np.float32)  # one vector of channels
    for i in range(first, last):
        for c in range(0, channels, LANES):
            room[:] = 0
            for r in range(rows):
                at = (i * rows + r) * columns * channels + c
                for q in range(columns):
                    g = load(gy, at)
                    for k in range(side):
                        to = ((r * stride + k) * wide + q * stride) * LANES
                        tap = k * side * channels + c
                        for _ in range(side):
                            store(room, to, fma(g, load(weight, tap), load(room, to)))
                            to += LANES
                            tap += channels
                    at += channels
            for r in range(height):
                at = (i * height + r) * width * channels + c
                to = ((r + pad) * wide + pad) * LANES
                for _ in range(width):
                    store(gx, at, load(room, to))
                    at += channels
                    to += LANES
