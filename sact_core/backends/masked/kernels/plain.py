"""The functions of `vector` as plain loops.

They take over where vector code is not wanted, and run under
``NUMBA_DISABLE_JIT=1`` as ordinary Python.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from sact_core.backends.bfloat16 import add_product, get
from sact_core.backends.int8 import put, signed
from sact_core.backends.masked.kernels.cpu import kernel


@kernel
def store_tile(
    width, sums, valid, x, x0, x_stride, x_list, x_at, taps, tap_stride, depth, w, w0, b, b0,
    m0, y, y0, y_stride, y_list, y_at, slope, cap, low,
):  # fmt: skip
    """``target = activate(products + bias)`` for ``width`` channels, a multiple of 16."""
    first = len(sums) - width  # the end of the scratch is free
    for r in range(valid):
        row = x0 + x_list[x_at + r] * x_stride
        products(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0)
        target = y0 + y_list[y_at + r] * y_stride
        for j in range(width):
            put(y, target + j, activate(sums[first + j], slope, cap), low)


@kernel
def add_tile(
    width, sums, valid, x, x0, x_stride, x_list, x_at, taps, tap_stride, depth, w, w0, b, b0,
    m0, y, y0, y_stride, y_list, y_at, mode, out0, left0, sum0,
):  # fmt: skip
    """Add a residual to the state and, weighted, to the output; see `vector`."""
    first = len(sums) - width  # the end of the scratch is free
    for r in range(valid):
        row = x0 + x_list[x_at + r] * x_stride
        products(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0)
        place = y_list[y_at + r]
        target, output = y0 + place * y_stride, out0 + place * y_stride
        for j in range(width):
            residual = sums[first + j]
            state = y[target + j] + residual
            y[target + j] = state
            if mode == 1:
                y[output + j] = state
                y[sum0 + j] += state
            else:
                if mode == 2:
                    y[output + j] += y[left0 + place] * residual
                y[sum0 + j] += residual


@kernel
def affine_rows(
    rows, count, x, x0, x_stride, x_list, x_at, w, scale0, shift0, slope, cap,
    low, y, y0, y_stride, y_list, y_at,
):  # fmt: skip
    """``y = activate(x * scale + shift)`` for ``count`` channels of listed places."""
    for i in range(rows):
        source = x0 + x_list[x_at + i] * x_stride
        target = y0 + y_list[y_at + i] * y_stride
        for k in range(count):
            value = x[source + k] * w[scale0 + k] + w[shift0 + k]
            put(y, target + k, activate(value, slope, cap), low)


@kernel
def pool_rows(
    rows, count, x, x0, x_stride, x_list, x_at, below,
    out_count, front, y, y0, y_stride, y_list, y_at,
):  # fmt: skip
    """Mean of 2x2 places into channels from ``front`` on, zeros around; see `vector`."""
    for i in range(rows):
        source = x0 + x_list[x_at + i] * x_stride
        target = y0 + y_list[y_at + i] * y_stride
        for k in range(out_count):
            y[target + k] = 0
        for k in range(min(count, out_count - front)):
            upper = x[source + k] + x[source + x_stride + k]
            lower = x[source + below + k] + x[source + below + x_stride + k]
            y[target + front + k] = (upper + lower) * 0.25


@kernel
def depthwise_rows(
    rows, count, x, x0, x_stride, x_list, x_at, side, row_stride, w, w0, b, b0, m0,
    slope, cap, low, y, y0, y_stride, y_list, y_at,
):  # fmt: skip
    """Convolve ``count`` channels of listed places, each by itself; see `depthwise`."""
    for i in range(rows):
        source = x0 + x_list[x_at + i] * x_stride
        target = y0 + y_list[y_at + i] * y_stride
        for c in range(count):
            total = by_channel(x, source, x_stride, side, row_stride, count, c, w, w0, b, b0, m0)
            put(y, target + c, activate(total, slope, cap), low)


@kernel
def activate(x, slope, cap):
    """``min(max(x, slope * x), cap)``; NaN stays NaN."""
    leaked = x * slope
    x = leaked if leaked > x else x
    return cap if x > cap else x


@kernel
def sigmoid_rows(count, x, x0):
    """``x = 1 / (1 + exp(-x))``, ``count`` times."""
    for k in range(x0, x0 + count):
        x[k] = sigmoid(x[k])


@kernel
def sigmoid(x):
    """Logistic function in float32; the exponential never overflows."""
    small = np.exp(-abs(x))
    return (np.float32(1) if x >= 0 else small) / (np.float32(1) + small)


@kernel
def copy_row(count, x, x0, y, y0):
    """``y = x``."""
    for k in range(count):
        y[y0 + k] = x[x0 + k]


@kernel
def add_row(count, x, x0, y, y0):
    """``y = x + y``."""
    for k in range(count):
        y[y0 + k] += x[x0 + k]


@kernel
def max_row(count, x, x0, y, y0):
    """``y = max(x, y)``; NaN if either is."""
    for k in range(count):
        value = x[x0 + k]
        if value > y[y0 + k] or np.isnan(value):
            y[y0 + k] = value


def products(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0):
    """Bias and the sum over taps and input channels, for one position."""
    if x.dtype == np.uint16:
        _in_pairs(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0)
    elif x.dtype == np.uint8:
        _in_fours(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0)
    else:
        _one_by_one(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0)


@overload(products)
def _products(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0):
    chosen = {types.uint16: _in_pairs, types.uint8: _in_fours}.get(x.dtype, _one_by_one)

    def run(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0):
        chosen(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0)

    return run


@kernel
def _one_by_one(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0):
    for j in range(width):
        sums[first + j] = b[b0 + j]
    for t in range(taps):
        for k in range(depth):
            value = x[row + t * tap_stride + k]
            weight = w0 + (t * depth + k) * width
            for j in range(width):
                sums[first + j] += value * w[weight + j]


@kernel
def _in_pairs(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0):
    """As the instruction for pairs of bfloat16 does it, to the bit; see `bfloat16`."""
    for j in range(width):
        sums[first + j] = 0
    for t in range(taps):
        for k in range(0, depth, 2):
            at = row + t * tap_stride + k
            lower, upper = get(x, at), get(x, at + 1)
            weight = w0 + (t * depth + k) * width
            for j in range(0, width):
                total = add_product(sums[first + j], upper, get(w, weight + 2 * j + 1))
                sums[first + j] = add_product(total, lower, get(w, weight + 2 * j))
    for j in range(width):
        sums[first + j] += b[b0 + j]


@kernel
def _in_fours(sums, first, width, x, row, taps, tap_stride, depth, w, w0, b, b0, m0):
    """Eight-bit integers, their sum exact, scaled once; see `int8`."""
    for j in range(width):
        total = np.int64(0)
        for t in range(taps):
            for k in range(depth):
                four = w0 + (t * depth + k // 4 * 4) * width
                weight = signed(w[four + 4 * j + k % 4])
                total += np.int64(x[row + t * tap_stride + k]) * weight
        sums[first + j] = np.float32(total) * b[m0 + j] + b[b0 + j]


def by_channel(x, source, x_stride, side, row_stride, count, c, w, w0, b, b0, m0):
    """Bias and the sum over the taps of a depthwise convolution, for one channel."""
    chosen = _taps_in_fours if x.dtype == np.uint8 else _taps_one_by_one
    return chosen(x, source, x_stride, side, row_stride, count, c, w, w0, b, b0, m0)


@overload(by_channel)
def _by_channel(x, source, x_stride, side, row_stride, count, c, w, w0, b, b0, m0):
    chosen = _taps_in_fours if x.dtype == types.uint8 else _taps_one_by_one

    def run(x, source, x_stride, side, row_stride, count, c, w, w0, b, b0, m0):
        return chosen(x, source, x_stride, side, row_stride, count, c, w, w0, b, b0, m0)

    return run


@kernel
def _taps_one_by_one(x, source, x_stride, side, row_stride, count, c, w, w0, b, b0, m0):
    total = b[b0 + c]
    for t in range(side * side):
        value = get(x, source + t // side * row_stride + t % side * x_stride + c)
        total += value * w[w0 + t * count + c]
    return total


@kernel
def _taps_in_fours(x, source, x_stride, side, row_stride, count, c, w, w0, b, b0, m0):
    """Eight-bit integers, their sum exact, scaled once; see `int8`."""
    total = np.int64(0)
    for t in range(side * side):
        weight = signed(w[w0 + (t // 4 * count + c) * 4 + t % 4])
        total += np.int64(x[source + t // side * row_stride + t % side * x_stride + c]) * weight
    return np.float32(total) * b[m0 + c] + b[b0 + c]


@kernel
def either_mark(count, marks, x0, step, y0):
    """Whether one of three places, ``step`` apart, is marked; ``count`` times."""
    for i in range(count):
        x = x0 + i
        marks[y0 + i] = marks[x] | marks[x + step] | marks[x + 2 * step]


@kernel
def list_marks(count, marks, x0, base, places, at):
    """List the marked of ``count`` places, the first of which is number ``base``."""
    found = 0
    for i in range(count):
        places[at + found] = base + i
        found += int(marks[x0 + i])  # a byte would overflow in plain Python
    return found
