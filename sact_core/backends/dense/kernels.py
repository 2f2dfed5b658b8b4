"""Numba loops of the training step on a CPU.

One pass over memory does what takes torch several: normalise and activate, read
the halting branch, mask and weight a residual. Arrays are flat, positions times
channels, channels a multiple of 16. Loops run over images ``first`` to
``last - 1``, so that threads can share a batch, and leave one sum per image, so
that their number changes no result.

Arrays are float32 or bfloat16 (uint16); all arithmetic is float32. The vectors
are those of `simd`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit

from sact_core.backends import jit, simd
from sact_core.backends.jit import INTERPRETED as INTERPRETED
from sact_core.backends.simd import LANES as LANES
from sact_core.backends.simd import fma, leak, load, spread, total, where_positive
from sact_core.backends.simd import store_computed as store

kernel = jit.cached([Path(simd.__file__)], nogil=True, error_model="numpy")
inlined = njit(nogil=True, error_model="numpy")


@kernel
def moments(x, positions, channels, shift, sums, squares, first, last):
    """Sums and sums of squares of ``x - shift``, per image and channel."""
    for i in range(first, last):
        for c in range(0, channels, LANES):
            middle = load(shift, c)
            s = q = spread(np.float32(0))
            at = i * positions * channels + c
            for _ in range(positions):
                d = load(x, at) - middle
                s = s + d
                q = fma(d, d, q)
                at += channels
            store(sums, i * channels + c, s)
            store(squares, i * channels + c, q)


@kernel
def norm_forward(x, positions, channels, scale, offset, slope, y, first, last):
    """``y = activate(x * scale + offset)``."""
    slopes = spread(np.float32(slope))
    for i in range(first, last):
        for c in range(0, channels, LANES):
            a, b = load(scale, c), load(offset, c)
            at = i * positions * channels + c
            for _ in range(positions):
                z = fma(load(x, at), a, b)
                store(y, at, leak(z, slopes))
                at += channels


@kernel
def norm_backward_sums(
    x, gy, positions, channels, scale, offset, slope, mean, sums, products, first, last
):
    """Sums of the gradient before the activation, and of it times ``x - mean``."""
    slopes = spread(np.float32(slope))
    for i in range(first, last):
        for c in range(0, channels, LANES):
            a, b, middle = load(scale, c), load(offset, c), load(mean, c)
            s = q = spread(np.float32(0))
            at = i * positions * channels + c
            for _ in range(positions):
                v, g = load(x, at), load(gy, at)
                g = where_positive(fma(v, a, b), g, g * slopes)
                s = s + g
                q = fma(g, v - middle, q)
                at += channels
            store(sums, i * channels + c, s)
            store(products, i * channels + c, q)


@kernel
def norm_backward(x, gy, positions, channels, scale, offset, slope, level, tilt, gx, first, last):
    """``gx = g * scale + x * tilt + level``, with a level per image."""
    slopes = spread(np.float32(slope))
    for i in range(first, last):
        for c in range(0, channels, LANES):
            a, b = load(scale, c), load(offset, c)
            k0, k1 = load(level, i * channels + c), load(tilt, c)
            at = i * positions * channels + c
            for _ in range(positions):
                v, g = load(x, at), load(gy, at)
                g = where_positive(fma(v, a, b), g, g * slopes)
                store(gx, at, fma(g, a, fma(v, k1, k0)))
                at += channels


@inlined
def _taps(weight, channels, c):
    return (
        load(weight, c),
        load(weight, channels + c),
        load(weight, 2 * channels + c),
        load(weight, 3 * channels + c),
        load(weight, 4 * channels + c),
        load(weight, 5 * channels + c),
        load(weight, 6 * channels + c),
        load(weight, 7 * channels + c),
        load(weight, 8 * channels + c),
    )


@inlined
def _pad(g, i, height, width, edged):
    for r in range(height):
        for w in range(width):
            edged[(r + 1) * (width + 2) + w + 1] = g[(i * height + r) * width + w]


@kernel
def branch_forward(x, height, width, channels, own, local, weight, y, logit, first, last):
    """Two activated normalisations of ``x``: one goes to ``y``, one through a 3x3 filter.

    ``own`` and ``local`` are (scale, offset, slope); ``weight`` [9, channels]
    leads to a single channel, ``logit``.
    """
    slope1, slope2 = spread(np.float32(own[2])), spread(np.float32(local[2]))
    row = (width + 2) * channels
    room = np.zeros((height + 2) * row, np.float32)  # the filter's input, with a border
    for i in range(first, last):
        for c in range(0, channels, LANES):
            a1, b1 = load(own[0], c), load(own[1], c)
            a2, b2 = load(local[0], c), load(local[1], c)
            for r in range(height):
                at = (i * height + r) * width * channels + c
                to = (r + 1) * row + channels + c
                for _ in range(width):
                    v = load(x, at)
                    z = fma(v, a1, b1)
                    store(y, at, leak(z, slope1))
                    z = fma(v, a2, b2)
                    store(room, to, leak(z, slope2))
                    at += channels
                    to += channels
        for c in range(0, channels, LANES):
            taps = _taps(weight, channels, c)
            for r in range(height):
                top = r * row + c
                at = (i * height + r) * width
                for w in range(width):
                    middle, low = top + row, top + 2 * row
                    s = load(room, top) * taps[0]
                    s = fma(load(room, top + channels), taps[1], s)
                    s = fma(load(room, top + 2 * channels), taps[2], s)
                    t = load(room, middle) * taps[3]
                    t = fma(load(room, middle + channels), taps[4], t)
                    t = fma(load(room, middle + 2 * channels), taps[5], t)
                    u = load(room, low) * taps[6]
                    u = fma(load(room, low + channels), taps[7], u)
                    u = fma(load(room, low + 2 * channels), taps[8], u)
                    value = total(s + t + u)
                    logit[at + w] = value if c == 0 else logit[at + w] + value
                    top += channels


@kernel
def branch_backward_sums(
    x, gy, glogit, height, width, channels, own, local, mean, weight, sums, gweight, first, last
):
    """What `branch_backward` needs to know of the whole batch.

    ``sums`` [images, 4, channels]: sums of the gradient before the own
    activation, and of it times ``x - mean``; the same for the local one.
    ``gweight`` [images, 9, channels].
    """
    slope1, slope2 = spread(np.float32(own[2])), spread(np.float32(local[2]))
    wide = width + 2
    edged = np.zeros((height + 2) * wide, np.float32)
    for i in range(first, last):
        _pad(glogit, i, height, width, edged)
        for c in range(0, channels, LANES):
            a1, b1 = load(own[0], c), load(own[1], c)
            a2, b2 = load(local[0], c), load(local[1], c)
            mid = load(mean, c)
            taps = _taps(weight, channels, c)
            s1 = p1 = s2 = p2 = spread(np.float32(0))
            g0 = g1 = g2 = g3 = g4 = g5 = g6 = g7 = g8 = spread(np.float32(0))
            for r in range(height):
                at = (i * height + r) * width * channels + c
                top = r * wide
                for _ in range(width):
                    middle, low = top + wide, top + 2 * wide
                    v, g = load(x, at), load(gy, at)
                    d = v - mid
                    g = where_positive(fma(v, a1, b1), g, g * slope1)
                    s1 = s1 + g
                    p1 = fma(g, d, p1)
                    z = fma(v, a2, b2)
                    q = leak(z, slope2)
                    e = spread(edged[low + 2])
                    g0, s = fma(e, q, g0), e * taps[0]
                    e = spread(edged[low + 1])
                    g1, t = fma(e, q, g1), e * taps[1]
                    e = spread(edged[low])
                    g2, s = fma(e, q, g2), fma(e, taps[2], s)
                    e = spread(edged[middle + 2])
                    g3, t = fma(e, q, g3), fma(e, taps[3], t)
                    e = spread(edged[middle + 1])
                    g4, s = fma(e, q, g4), fma(e, taps[4], s)
                    e = spread(edged[middle])
                    g5, t = fma(e, q, g5), fma(e, taps[5], t)
                    e = spread(edged[top + 2])
                    g6, s = fma(e, q, g6), fma(e, taps[6], s)
                    e = spread(edged[top + 1])
                    g7, t = fma(e, q, g7), fma(e, taps[7], t)
                    e = spread(edged[top])
                    g8, s = fma(e, q, g8), fma(e, taps[8], s)
                    s = s + t
                    s = where_positive(z, s, s * slope2)
                    s2 = s2 + s
                    p2 = fma(s, d, p2)
                    at += channels
                    top += 1
            at = 4 * i * channels + c
            store(sums, at, s1)
            store(sums, at + channels, p1)
            store(sums, at + 2 * channels, s2)
            store(sums, at + 3 * channels, p2)
            at = 9 * i * channels + c
            store(gweight, at, g0)
            store(gweight, at + channels, g1)
            store(gweight, at + 2 * channels, g2)
            store(gweight, at + 3 * channels, g3)
            store(gweight, at + 4 * channels, g4)
            store(gweight, at + 5 * channels, g5)
            store(gweight, at + 6 * channels, g6)
            store(gweight, at + 7 * channels, g7)
            store(gweight, at + 8 * channels, g8)


@kernel
def branch_backward(
    x, gy, glogit, height, width, channels, own, local, weight, level, tilt, gx, first, last
):
    """Gradient of ``x``: from both normalisations, ``x * tilt`` and a level per image."""
    slope1, slope2 = spread(np.float32(own[2])), spread(np.float32(local[2]))
    wide = width + 2
    edged = np.zeros((height + 2) * wide, np.float32)
    for i in range(first, last):
        _pad(glogit, i, height, width, edged)
        for c in range(0, channels, LANES):
            a1, b1 = load(own[0], c), load(own[1], c)
            a2, b2 = load(local[0], c), load(local[1], c)
            k0, k1 = load(level, i * channels + c), load(tilt, c)
            taps = _taps(weight, channels, c)
            for r in range(height):
                at = (i * height + r) * width * channels + c
                top = r * wide
                for _ in range(width):
                    middle, low = top + wide, top + 2 * wide
                    v, g = load(x, at), load(gy, at)
                    g = where_positive(fma(v, a1, b1), g, g * slope1)
                    s = spread(edged[low + 2]) * taps[0]
                    t = spread(edged[low + 1]) * taps[1]
                    s = fma(spread(edged[low]), taps[2], s)
                    t = fma(spread(edged[middle + 2]), taps[3], t)
                    s = fma(spread(edged[middle + 1]), taps[4], s)
                    t = fma(spread(edged[middle]), taps[5], t)
                    s = fma(spread(edged[top + 2]), taps[6], s)
                    t = fma(spread(edged[top + 1]), taps[7], t)
                    s = fma(spread(edged[top]), taps[8], s) + t
                    s = where_positive(fma(v, a2, b2), s, s * slope2)
                    store(gx, at, fma(s, a2, fma(g, a1, fma(v, k1, k0))))
                    at += channels
                    top += 1


@kernel
def gate_forward(
    x, residual, output, active, left, positions, channels, new_x, new_output, first, last
):
    """``x + active * residual`` and ``output + left * residual``."""
    for p in range(first * positions, last * positions):
        a, w = spread(active[p]), spread(left[p])
        for at in range(p * channels, (p + 1) * channels, LANES):
            r = load(residual, at)
            store(new_x, at, fma(r, a, load(x, at)))
            store(new_output, at, fma(r, w, load(output, at)))


@kernel
def gate_backward(
    residual, gx, goutput, active, left, positions, channels, gresidual, gleft, first, last
):
    """Gradients of ``residual`` and ``left`` of `gate_forward`."""
    for p in range(first * positions, last * positions):
        a, w = spread(active[p]), spread(left[p])
        s = spread(np.float32(0))
        for at in range(p * channels, (p + 1) * channels, LANES):
            g = load(goutput, at)
            store(gresidual, at, fma(g, w, load(gx, at) * a))
            s = fma(g, load(residual, at), s)
        gleft[p] = total(s)
