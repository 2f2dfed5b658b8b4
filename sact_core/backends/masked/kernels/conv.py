"""Convolutions of some listed positions: tiles by panels of channels.

`Product` says what is multiplied and where it goes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sact_core.backends.masked.kernels import depthwise, plain, vector
from sact_core.backends.masked.kernels.cpu import HALF_ROWS, TILE_ROWS, WIDE, kernel, stay_apart


class Product(NamedTuple):
    """A convolution of ``rows`` positions.

    ``x0``, ``x_stride`` and ``x_list``: where the source begins, numbers per
    place, and where its list of places begins; ``packed`` where the source is
    the thread's scratch. ``taps`` reads of ``depth`` numbers each, ``tap_stride``
    apart. ``w0`` and ``b0``: weights and biases of ``channels`` channels, ``m0``: what
    sums of integers are multiplied by. ``y…`` as ``x…`` for the target, which is the
    thread's scratch or the results where ``target`` says so. ``slope`` and ``cap``: of the
    activation; ``low``: what the byte 0 stands for, where bytes are written.
    """

    rows: Any
    packed: Any
    x0: Any
    x_stride: Any
    x_list: Any
    taps: Any
    tap_stride: Any
    depth: Any
    w0: Any
    b0: Any
    m0: Any
    channels: Any
    target: Any
    y0: Any
    y_stride: Any
    y_list: Any
    slope: Any
    cap: Any
    low: Any


class Sum(NamedTuple):
    """Where a residual goes besides the state; see `vector.make_add_tile`."""

    mode: Any
    out0: Any
    left0: Any
    sum0: Any


TO_FLOATS, TO_SCRATCH, TO_RESULTS = np.int64(0), np.int64(1), np.int64(2)


@kernel
def store_panels(vectors, spare, p, panel, last_panel, x, w, b, places, y):
    """Write ``activate(products + bias)``, panels ``panel`` to ``last_panel - 1``.

    The panel is the outer loop, so that its weights stay near while all tiles
    read them.
    """
    stay_apart()
    for n in range(panel, last_panel):
        c = n * WIDE
        width = min(WIDE, p.channels - c)
        wp, yp = p.w0 + c * p.taps * p.depth, p.y0 + c
        bp, mp = p.b0 + c, p.m0 + c
        for i in range(0, p.rows, TILE_ROWS):
            valid = min(TILE_ROWS, p.rows - i)
            if not vectors:
                plain.store_tile(
                    width, spare,
                    valid, x, p.x0, p.x_stride, places, p.x_list + i, p.taps, p.tap_stride,
                    p.depth, w, wp, b, bp, mp, y, yp, p.y_stride, places, p.y_list + i,
                    p.slope, p.cap, p.low,
                )  # fmt: skip
            elif width == WIDE and valid <= HALF_ROWS:
                vector.store_half_wide(
                    valid, x, p.x0, p.x_stride, places, p.x_list + i, p.taps, p.tap_stride,
                    p.depth, w, wp, b, bp, mp, y, yp, p.y_stride, places, p.y_list + i,
                    p.slope, p.cap, p.low,
                )  # fmt: skip
            elif width == WIDE:
                vector.store_tile_wide(
                    valid, x, p.x0, p.x_stride, places, p.x_list + i, p.taps, p.tap_stride,
                    p.depth, w, wp, b, bp, mp, y, yp, p.y_stride, places, p.y_list + i,
                    p.slope, p.cap, p.low,
                )  # fmt: skip
            else:
                vector.store_tile_narrow(
                    valid, x, p.x0, p.x_stride, places, p.x_list + i, p.taps, p.tap_stride,
                    p.depth, w, wp, b, bp, mp, y, yp, p.y_stride, places, p.y_list + i,
                    p.slope, p.cap, p.low,
                )  # fmt: skip


@kernel
def add_panels(vectors, spare, p, s, panel, last_panel, x, w, b, places, y):
    """Add ``products + bias`` to the state and, weighted, to the output."""
    stay_apart()
    for n in range(panel, last_panel):
        c = n * WIDE
        width = min(WIDE, p.channels - c)
        wp, yp = p.w0 + c * p.taps * p.depth, p.y0 + c
        bp, mp = p.b0 + c, p.m0 + c
        for j in range(s.sum0 + c, s.sum0 + c + width):
            y[j] = 0
        for i in range(0, p.rows, TILE_ROWS):
            valid = min(TILE_ROWS, p.rows - i)
            if not vectors:
                plain.add_tile(
                    width, spare,
                    valid, x, p.x0, p.x_stride, places, p.x_list + i, p.taps, p.tap_stride,
                    p.depth, w, wp, b, bp, mp, y, yp, p.y_stride, places, p.y_list + i,
                    s.mode, s.out0 + c, s.left0, s.sum0 + c,
                )  # fmt: skip
            elif width == WIDE and valid <= HALF_ROWS:
                vector.add_half_wide(
                    valid, x, p.x0, p.x_stride, places, p.x_list + i, p.taps, p.tap_stride,
                    p.depth, w, wp, b, bp, mp, y, yp, p.y_stride, places, p.y_list + i,
                    s.mode, s.out0 + c, s.left0, s.sum0 + c,
                )  # fmt: skip
            elif width == WIDE:
                vector.add_tile_wide(
                    valid, x, p.x0, p.x_stride, places, p.x_list + i, p.taps, p.tap_stride,
                    p.depth, w, wp, b, bp, mp, y, yp, p.y_stride, places, p.y_list + i,
                    s.mode, s.out0 + c, s.left0, s.sum0 + c,
                )  # fmt: skip
            else:
                vector.add_tile_narrow(
                    valid, x, p.x0, p.x_stride, places, p.x_list + i, p.taps, p.tap_stride,
                    p.depth, w, wp, b, bp, mp, y, yp, p.y_stride, places, p.y_list + i,
                    s.mode, s.out0 + c, s.left0, s.sum0 + c,
                )  # fmt: skip


@kernel
def store_depthwise(vectors, p, x, w, b, places, y):
    """Write ``activate(products + bias)``, every channel by itself; weights as in `depthwise`."""
    stay_apart()
    if p.rows == 0:
        return
    if vectors:
        depthwise.depthwise_rows(
            p.rows, p.channels, x, p.x0, p.x_stride, places, p.x_list, p.taps, p.tap_stride,
            w, p.w0, b, p.b0, p.m0, p.slope, p.cap, p.low,
            y, p.y0, p.y_stride, places, p.y_list,
        )  # fmt: skip
    else:
        plain.depthwise_rows(
            p.rows, p.channels, x, p.x0, p.x_stride, places, p.x_list, p.taps, p.tap_stride,
            w, p.w0, b, p.b0, p.m0, p.slope, p.cap, p.low,
            y, p.y0, p.y_stride, places, p.y_list,
        )  # fmt: skip


@kernel
def normalise(
    vectors, rows, count, x, x0, x_stride, x_at, w, scale0, shift0, slope, cap,
    low, y, y0, y_stride, y_at, places,
):  # fmt: skip
    """``y = activate(x * scale + shift)`` for ``count`` channels of listed places."""
    if vectors:
        vector.affine_rows(
            rows, count, x, x0, x_stride, places, x_at, w, scale0, shift0, slope, cap,
            low, y, y0, y_stride, places, y_at,
        )  # fmt: skip
    else:
        plain.affine_rows(
            rows, count, x, x0, x_stride, places, x_at, w, scale0, shift0, slope, cap,
            low, y, y0, y_stride, places, y_at,
        )  # fmt: skip


@kernel
def pool(
    vectors, rows, count, x, x0, x_stride, x_at, below,
    out_count, front, y, y0, y_stride, y_at, places,
):  # fmt: skip
    """Mean of 2x2 places into channels from ``front`` on, zeros around."""
    if vectors:
        vector.pool_rows(
            rows, count, x, x0, x_stride, places, x_at, below,
            out_count, front, y, y0, y_stride, places, y_at,
        )  # fmt: skip
    else:
        plain.pool_rows(
            rows, count, x, x0, x_stride, places, x_at, below,
            out_count, front, y, y0, y_stride, places, y_at,
        )  # fmt: skip


@kernel
def copy(vectors, count, x, x0, y, y0):
    """``y = x`` for ``count`` channels of one position."""
    if vectors:
        vector.copy_row(count, x, x0, y, y0)
    else:
        plain.copy_row(count, x, x0, y, y0)


@kernel
def add(vectors, count, x, x0, y, y0):
    """``y = x + y`` for ``count`` channels of one position."""
    if vectors:
        vector.add_row(count, x, x0, y, y0)
    else:
        plain.add_row(count, x, x0, y, y0)


@kernel
def largest(vectors, count, x, x0, y, y0):
    """``y = max(x, y)`` for ``count`` channels of one position."""
    if vectors:
        vector.max_row(count, x, x0, y, y0)
    else:
        plain.max_row(count, x, x0, y, y0)
