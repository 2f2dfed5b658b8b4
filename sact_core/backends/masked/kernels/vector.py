"""The arithmetic of the engine as LLVM vector code.

A *tile* is a few output positions by one or two vectors of output channels. It
stays in registers while its kernel reads the input rows where they lie, through
a list of positions: nothing is ever gathered. Each function here emits a whole
loop nest as LLVM instructions, which compiles in a tenth of a second; `depthwise` has
one more, and `plain` holds the same functions as ordinary loops.

Weights are packed by panels of channels, ``[panel][tap][in][channel]``. Positions
past ``valid`` are computed and dropped, so a list is padded to whole tiles with any
position.

An array that is read or written is of float32, or of uint16 for bfloat16, whose type
chooses the code. A product's source and weights are of the same kind. Bfloat16 is
multiplied in pairs: weights are packed ``[panel][tap][in / 2][channel][2]``, and sums
and biases are float32. So are eight-bit integers, in arrays of uint8, in fours,
``[panel][tap][in / 4][channel][4]``; their sums are int32 and become float32 by a
multiplier of their channel, which lies with the biases (see `int8`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sact_core.backends import bfloat16, int8
from sact_core.backends.masked.kernels.cpu import (
    HALF_ROWS,
    MARKS_AT_ONCE,
    TILE_ROWS,
    TILE_VECTORS,
)
from sact_core.backends.simd import HALF, INT, INT32, LANES, VECTOR, WORDS, ZERO, Emitter, constant

Values = list[Any]


def _products(
    emit: Emitter,
    rows: Values,
    vectors: int,
    source: Any,
    taps: tuple[Any, Any, Any],
    weights: Any,
    first_weight: Any,
) -> Values:
    """Sums over taps and input channels for every row, ``rows x vectors`` of them.

    ``rows`` hold where each row begins in ``source``; ``taps`` are their number,
    the distance between two, and the numbers read at each.
    """
    builder = emit.builder
    kind = source.type.pointee
    together = {HALF: 2, int8.BYTE: 4}.get(kind, 1)
    sum_type, nothing = (WORDS, constant(0, WORDS)) if kind == int8.BYTE else (VECTOR, ZERO)
    num_taps, tap_stride, depth = taps
    entry = builder.block
    outer, inner, latch, done = (
        builder.append_basic_block(name) for name in ("taps", "depth", "next_tap", "tile_done")
    )
    builder.branch(outer)

    builder.position_at_end(outer)
    tap, weight = builder.phi(INT), builder.phi(INT)
    sums = [builder.phi(sum_type) for _ in range(len(rows) * vectors)]
    shift = builder.mul(tap, tap_stride)
    starts = [builder.gep(source, [builder.add(row, shift)]) for row in rows]
    builder.branch(inner)

    builder.position_at_end(inner)
    k, w = builder.phi(INT), builder.phi(INT)
    running = [builder.phi(sum_type) for _ in sums]
    places = [builder.add(w, INT(v * LANES * together)) for v in range(vectors)]
    load = partial(bfloat16.load_words, emit) if together > 1 else emit.vector
    columns = [load(weights, place) for place in places]
    new = []
    for r, start in enumerate(starts):
        sums_of_row = running[r * vectors : (r + 1) * vectors]
        if together == 2 and vectors == 1:
            add = partial(bfloat16.add_products_of_word, emit, start, k)
        elif together > 1:
            value = bfloat16.spread_word(emit, start, k)
            add = partial((bfloat16 if together == 2 else int8).add_products, emit, value)
        else:
            add = partial(emit.fma, emit.spread(emit.load(start, k)))
        new += [add(column, total) for column, total in zip(columns, sums_of_row, strict=True)]
    k_next = builder.add(k, INT(together))
    w_next = builder.add(w, INT(vectors * LANES * together))
    builder.cbranch(builder.icmp_signed("<", k_next, depth), inner, latch)

    builder.position_at_end(latch)
    tap_next = builder.add(tap, INT(1))
    builder.cbranch(builder.icmp_signed("<", tap_next, num_taps), outer, done)

    for phi, before, after in [(tap, INT(0), tap_next), (weight, first_weight, w_next)]:
        phi.add_incoming(before, entry)
        phi.add_incoming(after, latch)
    for phi, before, after in [(k, INT(0), k_next), (w, weight, w_next)]:
        phi.add_incoming(before, outer)
        phi.add_incoming(after, inner)
    for total, part, result in zip(sums, running, new, strict=True):
        total.add_incoming(nothing, entry)
        total.add_incoming(result, latch)
        part.add_incoming(total, outer)
        part.add_incoming(result, inner)
    builder.position_at_end(done)
    return new


def _row_starts(emit: Emitter, num_rows: int, base: Any, stride: Any, list_: Any, at: Any) -> Any:
    """Where each row of a tile begins, read through a list of positions."""
    builder = emit.builder
    positions = [emit.index(list_, builder.add(at, INT(r))) for r in range(num_rows)]
    return positions, [emit.times_plus(position, stride, base) for position in positions]


def _with_biases(emit: Emitter, sums: Values, vectors: int, b: Any, b0: Any, m0: Any) -> Values:
    """Sums of a tile with the biases of their channels; those of integers scaled."""
    builder = emit.builder
    biases, multipliers = (
        [emit.vector(b, builder.add(at, INT(v * LANES))) for v in range(vectors)] for at in (b0, m0)
    )
    if sums[0].type == VECTOR:
        return [builder.fadd(total, biases[i % vectors]) for i, total in enumerate(sums)]
    return [
        int8.scaled(emit, total, multipliers[i % vectors], biases[i % vectors])
        for i, total in enumerate(sums)
    ]


def put(emit: Emitter, x: Any, low: Any, pointer: Any, index: Any) -> None:
    """Write a vector as it will be multiplied; as it is where float32 is written."""
    if pointer.type.pointee == int8.BYTE:
        int8.store_bytes(emit, x, low, pointer, index)
    else:
        bfloat16.store_narrowed(emit, x, pointer, index)


def _reads(x: Any) -> tuple[Any, ...]:
    """Types of what every tile kernel is told first.

    How many of its positions are real; the source array, offset and numbers per
    position, the list of positions and the place in it; number of taps, numbers between
    two and numbers read at each; the weights and where the tile's begin, the biases and
    where the tile's begin, and where among them its multipliers.
    """
    number = types.int64
    source = (x, number, number, types.int32[::1], number)
    return (number, *source, *[number] * 3, x, number, types.float32[::1], number, number)


def _writes(y: Any) -> tuple[Any, ...]:
    """Then the target array, offset and numbers per position, and the positions."""
    return (y, types.int64, types.int64, types.int32[::1], types.int64)


def pointers(emit: Emitter, signature: Any, args: Any, which: tuple[int, ...]) -> Iterator[Any]:
    """Where the data of some arguments, arrays, begins."""
    return (emit.data(signature.args[i], args[i]) for i in which)


def make_store_tile(num_rows: int, vectors: int) -> Callable[..., None]:
    """Make the kernel ``target = activate(products + bias)``; last: the activation."""

    @intrinsic
    def store_tile(
        typing, valid, x, x0, x_stride, x_list, x_at, taps, tap_stride, depth, w, w0, b, b0,
        m0, y, y0, y_stride, y_list, y_at, slope, cap, low,
    ):  # fmt: skip
        signature = types.void(*_reads(x), *_writes(y), *[types.float32] * 3)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = Emitter(context, builder)
            (valid, x, x0, x_stride, x_list, x_at, taps, tap_stride, depth, w, w0, b, b0,
             m0, y, y0, y_stride, y_list, y_at, slope, cap, low) = args  # fmt: skip
            x, w, b, y = pointers(emit, signature, args, (1, 9, 11, 14))
            x_list, y_list = (emit.data(types.int32[::1], array) for array in (x_list, y_list))
            _, rows = _row_starts(emit, num_rows, x0, x_stride, x_list, x_at)
            sums = _products(emit, rows, vectors, x, (taps, tap_stride, depth), w, w0)
            sums = _with_biases(emit, sums, vectors, b, b0, m0)
            slopes, caps, lows = (emit.spread(each) for each in (slope, cap, low))
            _, targets = _row_starts(emit, num_rows, y0, y_stride, y_list, y_at)
            for r in range(num_rows):
                with builder.if_then(builder.icmp_signed("<", INT(r), valid)):
                    for v in range(vectors):
                        place = builder.add(targets[r], INT(v * LANES))
                        activated = emit.activate(sums[r * vectors + v], slopes, caps)
                        put(emit, activated, lows, y, place)
            return context.get_dummy_value()

        return signature, codegen

    return store_tile


def make_add_tile(num_rows: int, vectors: int, far: bool = True) -> Callable[..., None]:
    """Make the kernel that adds a residual, ``r = products + bias``.

    Where state and output are ``far``, in maps too large for the nearest caches, they are
    asked for before the products.

    The state ``x`` grows by ``r``. Mode 0, where blocks hand on their state: the column
    sums grow by ``r``. Mode 1, the first unit of a block: the block's output becomes the
    new ``x``, and the column sums grow by it. Mode 2: the output grows by
    ``remainder * r``, the column sums by ``r``. Last arguments: mode, where output,
    remainders and sums begin.
    """

    @intrinsic
    def add_tile(
        typing, valid, x, x0, x_stride, x_list, x_at, taps, tap_stride, depth, w, w0, b, b0,
        m0, y, y0, y_stride, y_list, y_at, mode, out0, left0, sum0,
    ):  # fmt: skip
        signature = types.void(*_reads(x), *_writes(y), *[types.int64] * 4)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = Emitter(context, builder)
            (valid, x, x0, x_stride, x_list, x_at, taps, tap_stride, depth, w, w0, b, b0,
             m0, y, y0, y_stride, y_list, y_at, mode, out0, left0, sum0) = args  # fmt: skip
            x, w, b, y = pointers(emit, signature, args, (1, 9, 11, 14))
            x_list, y_list = (emit.data(types.int32[::1], array) for array in (x_list, y_list))
            _, rows = _row_starts(emit, num_rows, x0, x_stride, x_list, x_at)
            places, targets = _row_starts(emit, num_rows, y0, y_stride, y_list, y_at)
            shift = builder.sub(out0, y0)
            for target in targets if far else ():
                for v in range(0, vectors * LANES, 16):  # a cache line holds 16 floats
                    place = builder.add(target, INT(v))
                    emit.prefetch(y, place)
                    emit.prefetch(y, builder.add(place, shift))
            sums = _products(emit, rows, vectors, x, (taps, tap_stride, depth), w, w0)
            sums = _with_biases(emit, sums, vectors, b, b0, m0)
            is_first = builder.icmp_signed("==", mode, INT(1))
            weighs = builder.icmp_signed("!=", mode, INT(0))
            columns = [emit.vector(y, builder.add(sum0, INT(v * LANES))) for v in range(vectors)]
            for r in range(num_rows):
                skipped = builder.block
                with builder.if_then(builder.icmp_signed("<", INT(r), valid)):
                    grown = []
                    for v in range(vectors):
                        place = builder.add(targets[r], INT(v * LANES))
                        residual = sums[r * vectors + v]
                        state = builder.fadd(emit.vector(y, place), residual)
                        emit.store(state, y, place)
                        gain = builder.select(is_first, state, residual)
                        grown.append(builder.fadd(columns[v], gain))
                        with builder.if_then(weighs):
                            output = builder.add(place, shift)
                            left = emit.spread(emit.load(y, builder.add(left0, places[r])))
                            sofar = emit.fma(left, residual, emit.vector(y, output))
                            emit.store(builder.select(is_first, state, sofar), y, output)
                    taken = builder.block
                for v in range(vectors):
                    phi = builder.phi(VECTOR)
                    phi.add_incoming(columns[v], skipped)
                    phi.add_incoming(grown[v], taken)
                    columns[v] = phi
            for v in range(vectors):
                emit.store(columns[v], y, builder.add(sum0, INT(v * LANES)))
            return context.get_dummy_value()

        return signature, codegen

    return add_tile


def _make_row(combine: Callable[[Emitter, Any, Any], Any], doc: str) -> Callable[..., None]:
    """Make a loop ``y = combine(x, y)`` over ``count`` channels, a multiple of 16."""

    @intrinsic
    def row(typing, count, x, x0, y, y0):
        array = types.float32[::1]
        signature = types.void(types.int64, array, types.int64, array, types.int64)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = Emitter(context, builder)
            count, x, x0, y, y0 = args
            x, y = emit.data(array, x), emit.data(array, y)
            with emit.loop(count, LANES) as k:
                place = builder.add(y0, k)
                new = combine(emit, emit.vector(x, builder.add(x0, k)), emit.vector(y, place))
                emit.store(new, y, place)
            return context.get_dummy_value()

        return signature, codegen

    row.__doc__ = doc
    return row


@intrinsic
def _affine_rows(
    typing, rows, count, x, x0, x_stride, x_list, x_at, w, scale0, shift0, slope, cap,
    low, y, y0, y_stride, y_list, y_at,
):  # fmt: skip
    """``y = activate(x * scale + shift)`` for ``count`` channels of listed places."""
    places = types.int32[::1]
    signature = types.void(
        *(types.int64, types.int64),
        *(x, types.int64, types.int64, places, types.int64),
        *(w, types.int64, types.int64, *[types.float32] * 3),
        *(y, types.int64, types.int64, places, types.int64),
    )

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder)
        (rows, count, x, x0, x_stride, x_list, x_at, w, scale0, shift0, slope, cap,
         low, y, y0, y_stride, y_list, y_at) = args  # fmt: skip
        x, w, y = pointers(emit, signature, args, (2, 7, 13))
        x_list, y_list = (emit.data(places, each) for each in (x_list, y_list))
        slopes, caps, lows = (emit.spread(each) for each in (slope, cap, low))
        rounds_twice = y.type.pointee == int8.BYTE  # for the same bits everywhere
        # Two rows share what is read of the weights; an odd last one is its own neighbour.
        with emit.loop(rows, 2) as i:
            following = builder.add(i, INT(1))
            inside = builder.icmp_signed("<", following, rows)
            pair = []
            for number in (i, builder.select(inside, following, i)):
                source = emit.index(x_list, builder.add(x_at, number))
                target = emit.index(y_list, builder.add(y_at, number))
                source = emit.times_plus(source, x_stride, x0)
                pair.append((source, emit.times_plus(target, y_stride, y0)))
            with emit.loop(count, LANES) as k:
                scale = emit.vector(w, builder.add(scale0, k))
                shift = emit.vector(w, builder.add(shift0, k))
                values = []
                for source, _ in pair:
                    value = emit.vector(x, builder.add(source, k))
                    if rounds_twice:
                        values.append(builder.fadd(builder.fmul(value, scale), shift))
                    else:
                        values.append(emit.fma(value, scale, shift))
                for value, (_, target) in zip(values, pair, strict=True):
                    activated = emit.activate(value, slopes, caps)
                    put(emit, activated, lows, y, builder.add(target, k))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _pool_rows(
    typing, rows, count, x, x0, x_stride, x_list, x_at, below,
    out_count, front, y, y0, y_stride, y_list, y_at,
):  # fmt: skip
    """Mean of 2x2 places, ``below`` floats apart, into channels from ``front`` on.

    ``count`` channels are read, a multiple of 16, and ``out_count`` written: zeros
    around the means. Channels read past the real ones are zeros, and so is what
    they reach: the front of the next place.
    """
    array, places, number = types.float32[::1], types.int32[::1], types.int64
    one_side = (array, number, number, places, number)
    signature = types.void(number, number, *one_side, number, number, number, *one_side)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder)
        (rows, count, x, x0, x_stride, x_list, x_at, below,
         out_count, front, y, y0, y_stride, y_list, y_at) = args  # fmt: skip
        x, y = emit.data(array, x), emit.data(array, y)
        x_list, y_list = emit.data(places, x_list), emit.data(places, y_list)
        quarter = constant(0.25)
        with emit.loop(rows, 1) as i:
            source = emit.index(x_list, builder.add(x_at, i))
            target = emit.index(y_list, builder.add(y_at, i))
            source = emit.times_plus(source, x_stride, x0)
            target = emit.times_plus(target, y_stride, y0)
            with emit.loop(out_count, LANES) as k:
                emit.store(ZERO, y, builder.add(target, k))
            with emit.loop(count, LANES) as k:
                upper = builder.add(source, k)
                lower = builder.add(upper, below)
                pairs = [
                    builder.fadd(emit.vector(x, left), emit.vector(x, builder.add(left, x_stride)))
                    for left in (upper, lower)
                ]
                mean = builder.fmul(builder.fadd(*pairs), quarter)
                emit.store(mean, y, builder.add(builder.add(target, front), k))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _sigmoid_rows(typing, count, x, x0):
    """``x = 1 / (1 + exp(-x))``, ``count`` times and up to 15 times more.

    The exponential is 2^n exp(r) with n whole and r at most ln(2) / 2 either way,
    by a polynomial of degree 6; both are correct to a unit or two of float32.
    """
    array = types.float32[::1]
    signature = types.void(types.int64, array, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder)
        count, x, x0 = args
        x = emit.data(array, x)
        with emit.loop(count, LANES) as k:
            place = builder.add(x0, k)
            z = builder.fsub(ZERO, emit.vector(x, place))
            for word, limit in ((">", 87.0), ("<", -87.0)):
                beyond = builder.fcmp_ordered(word, z, constant(limit))
                z = builder.select(beyond, constant(limit), z)
            # Adding and taking off 1.5 x 2^23 rounds to whole numbers.
            n = builder.fadd(builder.fmul(z, constant(1.4426950408889634)), constant(12582912.0))
            n = builder.fsub(n, constant(12582912.0))
            r = emit.fma(n, constant(-0.693359375), z)  # ln(2) in two parts
            r = emit.fma(n, constant(2.12194440e-4), r)
            total = constant(1 / 720)
            for coefficient in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
                total = emit.fma(total, r, constant(coefficient))
            bits = builder.add(builder.fptosi(n, WORDS), constant(127, WORDS))
            power = builder.bitcast(builder.shl(bits, constant(23, WORDS)), VECTOR)
            one = constant(1.0)
            answer = builder.fdiv(one, emit.fma(total, power, one))
            emit.store(answer, x, place)
        return context.get_dummy_value()

    return signature, codegen


pool_rows: Callable[..., None] = _pool_rows
sigmoid_rows: Callable[..., None] = _sigmoid_rows


@intrinsic
def _either_mark(typing, count, marks, x0, step, y0):
    """Whether one of three places, ``step`` apart, is marked.

    ``count`` times, and up to `MARKS_AT_ONCE` - 1 times more.
    """
    array = types.uint8[::1]
    signature = types.void(types.int64, array, types.int64, types.int64, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder)
        count, marks, x0, step, y0 = args
        marks = emit.data(array, marks)
        kind = ir.VectorType(ir.IntType(8), MARKS_AT_ONCE).as_pointer()

        def at(index: Any) -> Any:
            return builder.bitcast(builder.gep(marks, [index]), kind)

        with emit.loop(count, MARKS_AT_ONCE) as i:
            total = None
            for times in range(3):
                place = builder.add(builder.add(x0, i), builder.mul(step, INT(times)))
                part = builder.load(at(place))
                part.align = 1
                total = part if total is None else builder.or_(total, part)
            builder.store(total, at(builder.add(y0, i))).align = 1
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _list_marks(typing, count, marks, x0, base, places, at):
    """List the marked of ``count`` places, the first of which is number ``base``.

    Gives how many there are. Only marked places cost anything; marks past the
    last place are read, and ignored.
    """
    number = types.int64
    signature = number(number, types.uint8[::1], number, number, types.int32[::1], number)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder)
        count, marks, x0, base, places, at = args
        marks, places = emit.data(types.uint8[::1], marks), emit.data(types.int32[::1], places)
        kind = ir.VectorType(ir.IntType(8), MARKS_AT_ONCE)
        whole = ir.IntType(MARKS_AT_ONCE)
        found = cgutils.alloca_once_value(builder, INT(0))
        with emit.loop(count, MARKS_AT_ONCE) as i:
            place = builder.gep(marks, [builder.add(x0, i)])
            values = builder.load(builder.bitcast(place, kind.as_pointer()))
            values.align = 1
            zeros = ir.Constant(kind, [0] * MARKS_AT_ONCE)
            bits = builder.bitcast(builder.icmp_unsigned("!=", values, zeros), whole)
            left = builder.sub(count, i)
            some = builder.sub(builder.shl(whole(1), left), whole(1))
            in_full = builder.icmp_signed(">=", left, INT(MARKS_AT_ONCE))
            bits = builder.and_(bits, builder.select(in_full, whole(-1), some))
            first = builder.add(base, i)
            before, test = builder.block, builder.append_basic_block("any_left")
            body, done = (builder.append_basic_block(name) for name in ("one", "none_left"))
            number_before = builder.load(found)
            builder.branch(test)
            builder.position_at_end(test)
            rest, number_found = builder.phi(whole), builder.phi(INT)
            builder.cbranch(builder.icmp_unsigned("!=", rest, whole(0)), body, done)
            builder.position_at_end(body)
            lowest = builder.cttz(rest, ir.Constant(ir.IntType(1), 1))
            value = builder.trunc(builder.add(first, lowest), INT32)
            builder.store(value, builder.gep(places, [builder.add(at, number_found)]))
            rest_next = builder.and_(rest, builder.sub(rest, whole(1)))
            number_next = builder.add(number_found, INT(1))
            builder.branch(test)
            for phi, start, following in (
                (rest, bits, rest_next),
                (number_found, number_before, number_next),
            ):
                phi.add_incoming(start, before)
                phi.add_incoming(following, body)
            builder.position_at_end(done)
            builder.store(number_found, found)
        return builder.load(found)

    return signature, codegen


list_marks: Callable[..., int] = _list_marks
either_mark: Callable[..., None] = _either_mark
affine_rows: Callable[..., None] = _affine_rows
copy_row = _make_row(lambda emit, x, y: x, "``y = x``.")
add_row = _make_row(lambda emit, x, y: emit.builder.fadd(x, y), "``y = x + y``.")
max_row = _make_row(
    lambda emit, x, y: emit.larger(x, y),
    "``y = max(x, y)``; NaN if either is.",
)
store_tile_wide = make_store_tile(TILE_ROWS, TILE_VECTORS)
store_half_wide = make_store_tile(HALF_ROWS, TILE_VECTORS)
store_tile_narrow = make_store_tile(TILE_ROWS, 1)
add_tile_wide = make_add_tile(TILE_ROWS, TILE_VECTORS)
add_half_wide = make_add_tile(HALF_ROWS, TILE_VECTORS)
add_tile_narrow = make_add_tile(TILE_ROWS, 1, far=False)
