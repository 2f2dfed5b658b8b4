"""Convolutions of every channel by itself, as LLVM vector code; see `vector`.

Weights lie by taps, ``[tap][channel]`` in float32, whatever is read, unless that is of
eight-bit integers. These are multiplied in fours as elsewhere (see `int8`): four taps of
a channel make a word, and their weights lie as ``[tap / 4][channel][4]``, zeros beyond
the last tap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from sact_core.backends import bfloat16, int8
from sact_core.backends.masked.kernels.vector import Values, pointers, put
from sact_core.backends.simd import INT, INT32, LANES, WORDS, Emitter, constant

#: Places that are computed together, and share what is read of the weights.
ROWS = 8

_BYTES = ir.VectorType(int8.BYTE, LANES)


class _Window(NamedTuple):
    """The taps of a kernel: its side, numbers from tap to tap, and more from row to row."""

    side: Any
    distance: Any
    turn: Any


@intrinsic
def _depthwise_rows(
    typing, rows, count, x, x0, x_stride, x_list, x_at, side, row_stride, w, w0, b, b0, m0,
    slope, cap, low, y, y0, y_stride, y_list, y_at,
):  # fmt: skip
    """``y = activate(products + bias)`` for ``count`` channels of listed places.

    ``x0`` is where place 0 reads first: a square of ``side`` places, ``x_stride`` numbers
    apart in a row and ``row_stride`` from row to row.
    """
    number, places, floats = types.int64, types.int32[::1], types.float32[::1]
    weights = x if x.dtype == types.uint8 else floats
    signature = types.void(
        *(number, number, x, number, number, places, number, number, number),
        *(weights, number, floats, number, number, *[types.float32] * 3),
        *(y, number, number, places, number),
    )

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder)
        (rows, count, x, x0, x_stride, x_list, x_at, side, row_stride, w, w0, b, b0, m0,
         slope, cap, low, y, y0, y_stride, y_list, y_at) = args  # fmt: skip
        x, w, b, y = pointers(emit, signature, args, (2, 9, 11, 17))
        x_list, y_list = (emit.data(places, each) for each in (x_list, y_list))
        slopes, caps, lows = (emit.spread(each) for each in (slope, cap, low))
        turn = builder.sub(row_stride, builder.mul(side, x_stride))  # beyond a row's end
        window = _Window(side, x_stride, turn)
        with emit.loop(rows, ROWS) as i:
            ends = []
            for j in range(ROWS):
                place = builder.add(i, INT(j))  # past the last it is the first again
                place = builder.select(builder.icmp_signed("<", place, rows), place, i)
                source = emit.index(x_list, builder.add(x_at, place))
                target = emit.index(y_list, builder.add(y_at, place))
                source = emit.times_plus(source, x_stride, x0)
                ends.append((source, emit.times_plus(target, y_stride, y0)))
            with emit.loop(count, LANES) as c:
                sources = [builder.gep(x, [builder.add(source, c)]) for source, _ in ends]
                bias = emit.vector(b, builder.add(b0, c))
                if x.type.pointee == int8.BYTE:
                    first = builder.add(w0, builder.mul(c, INT(4)))
                    distance = builder.mul(count, INT(4))
                    multiplier = emit.vector(b, builder.add(m0, c))
                    sums = _sums_of_fours(emit, sources, window, (w, first, distance))
                    sums = [int8.scaled(emit, total, multiplier, bias) for total in sums]
                else:
                    weights = w, builder.add(w0, c), count
                    sums = _sums(emit, sources, window, weights, bias)
                for total, (_, target) in zip(sums, ends, strict=True):
                    activated = emit.activate(total, slopes, caps)
                    put(emit, activated, lows, y, builder.add(target, c))
        return context.get_dummy_value()

    return signature, codegen


def _sums(
    emit: Emitter, sources: Values, window: _Window, weights: tuple[Any, Any, Any], bias: Any
) -> Values:
    """``bias`` and the products of a window of every source.

    ``weights`` are the array, where the first vector lies, and the distance to the next.
    """
    array, first, distance = weights

    def add(places: Iterator[Any], at: Any, sums: Values) -> Values:
        factor, place = emit.vector(array, at), next(places)
        return [
            emit.fma(emit.vector(source, place), factor, total)
            for source, total in zip(sources, sums, strict=True)
        ]

    return _over_taps(emit, window, 1, (first, distance), [bias] * len(sources), add)


def _sums_of_fours(
    emit: Emitter, sources: Values, window: _Window, weights: tuple[Any, Any, Any]
) -> Values:
    """The products of a window of every source, of bytes, in int32."""
    array, first, distance = weights

    def add(places: Iterator[Any], at: Any, sums: Values) -> Values:
        factors = bfloat16.load_words(emit, array, at)
        four = [next(places) for _ in range(4)]
        return [
            int8.add_products(emit, _in_words(emit, source, four), factors, total)
            for source, total in zip(sources, sums, strict=True)
        ]

    nothing = [constant(0, WORDS)] * len(sources)
    return _over_taps(emit, window, 4, (first, distance), nothing, add)


def _over_taps(
    emit: Emitter,
    window: _Window,
    together: int,
    weights: tuple[Any, Any],
    begin: Values,
    add: Callable[[Iterator[Any], Any, Values], Values],
) -> Values:
    """Sums of all taps of a window, so many ``together``.

    ``add`` is given where these lie from the first on, where their weights do, and the sums
    before them. Behind the last tap comes the last again.
    """
    builder = emit.builder
    taps = builder.mul(window.side, window.side)
    entry = builder.block
    loop, done = (builder.append_basic_block(name) for name in ("depthwise", "depthwise_done"))
    builder.branch(loop)

    builder.position_at_end(loop)
    tap, column, at, weight = (builder.phi(INT) for _ in range(4))
    sums = [builder.phi(each.type) for each in begin]
    after = {weight: builder.add(weight, weights[1])}
    places, tap_next, column_next, at_next = [], tap, column, at
    for _ in range(together):
        places.append(at_next)
        tap_next = builder.add(tap_next, INT(1))
        beside, moved = builder.add(column_next, INT(1)), builder.add(at_next, window.distance)
        at_end = builder.icmp_signed("==", beside, window.side)
        column_next = builder.select(at_end, INT(0), beside)
        moved = builder.select(at_end, builder.add(moved, window.turn), moved)
        goes_on = builder.icmp_signed("<", tap_next, taps)
        at_next = builder.select(goes_on, moved, at_next)
    new = add(iter(places), weight, sums)
    after |= {tap: tap_next, column: column_next, at: at_next}
    builder.cbranch(goes_on, loop, done)

    for phi, value in after.items():
        phi.add_incoming(weights[0] if phi is weight else INT(0), entry)
        phi.add_incoming(value, loop)
    for phi, first, total in zip(sums, begin, new, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(total, loop)
    builder.position_at_end(done)
    return new


def _in_words(emit: Emitter, source: Any, places: Values) -> Any:
    """16 words of the bytes that lie at four places; the lowest is of the first."""
    builder = emit.builder
    loaded = []
    for place in places:
        address = builder.bitcast(builder.gep(source, [place]), _BYTES.as_pointer())
        loaded.append(builder.load(address))
        loaded[-1].align = 1

    def lanes(a: Any, b: Any, order: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(INT32, len(order)), order)
        return builder.shuffle_vector(a, b, mask)

    halves = [lanes(loaded[i], loaded[i + 1], list(range(2 * LANES))) for i in (0, 2)]
    whole = lanes(halves[0], halves[1], list(range(4 * LANES)))
    by_channel = [LANES * part + channel for channel in range(LANES) for part in range(4)]
    words = lanes(whole, ir.Constant(whole.type, ir.Undefined), by_channel)
    return builder.bitcast(words, WORDS)


depthwise_rows: Callable[..., None] = _depthwise_rows


def weights_by_channel(narrow, wide):
    """Where weights of depthwise convolutions lie: with others only where they are bytes."""
    return narrow if narrow.dtype == np.uint8 else wide


@overload(weights_by_channel)
def _weights_by_channel(narrow, wide):
    if narrow.dtype == types.uint8:
        return lambda narrow, wide: narrow
    return lambda narrow, wide: wide
