"""Products of bfloat16 with sums in float32, as AVX512-BF16 computes them, to the bit.

The instruction multiplies pairs: of the two bfloat16 in a 32-bit word the upper one's
product is added first, then the lower one's, each sum rounded once to the nearest float32,
ties to even. Subnormal numbers count as zero, in what is given and in every sum. What is
stored to be multiplied is rounded so, too. Where a processor has no such instruction the
same numbers come from float64: a product of two bfloat16 has 16 bits, so float64 holds it
whole, and rounding its sum with a float32 twice is the same as once (Figueroa 1995).

The first half adds instructions to a function that is being built, as `simd.Emitter`; the
second is for plain loops, compiled or not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import extending, types

from sact_core.backends import jit
from sact_core.backends.simd import (
    HALF,
    HALVES,
    INT32,
    LANES,
    VECTOR,
    WORDS,
    Emitter,
    constant,
    intrinsic,
)

#: Below it a float32 is subnormal; and so is a sum that was below the other one before it
#: was rounded.
SMALLEST, SMALLEST_SUM = 2.0**-126, 2.0**-126 - 2.0**-151

binding.initialize_native_asmparser()  # for `add_products_of_word`

_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)


class _BFloat(ir.types.Type):  # type: ignore[misc]
    """LLVM's bfloat16, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_PAIRS, _NARROW = ir.VectorType(_BFloat(), 2 * LANES), ir.VectorType(_BFloat(), LANES)


def is_native() -> bool:
    """Whether the processor that Numba compiles for multiplies pairs of bfloat16."""
    return "+avx512bf16" in jit.cpu_features()


def load_words(emit: Emitter, pointer: Any, index: Any) -> Any:
    """Read 16 words, a pair each of bfloat16, from an element on."""
    loaded = emit.builder.load(_words_at(emit, pointer, index, WORDS))
    loaded.align = 2 if pointer.type.pointee == HALF else 1
    return loaded


def spread_word(emit: Emitter, pointer: Any, index: Any) -> Any:
    """Read one word, as 16 times the same."""
    word = emit.builder.load(_words_at(emit, pointer, index, INT32))
    word.align = 2 if pointer.type.pointee == HALF else 1
    undefined = ir.Constant(WORDS, ir.Undefined)
    one = emit.builder.insert_element(undefined, word, INT32(0))
    return emit.builder.shuffle_vector(one, undefined, constant(0, WORDS))


def add_products(emit: Emitter, a: Any, b: Any, total: Any) -> Any:
    """``(total + a[1] * b[1]) + a[0] * b[0]`` for 16 pairs of each."""
    builder = emit.builder
    if is_native():
        kind = ir.FunctionType(VECTOR, [VECTOR, _PAIRS, _PAIRS])
        dot = emit.function("llvm.x86.avx512bf16.dpbf16ps.512", kind)
        return builder.call(dot, [total, *(builder.bitcast(each, _PAIRS) for each in (a, b))])
    total = _or_zero(emit, total, total, SMALLEST)
    for upper in (True, False):
        halves = [_half_of(emit, pairs, upper) for pairs in (a, b)]
        factors = [_or_zero(emit, half, half, SMALLEST) for half in halves]
        product = builder.fmul(*(builder.fpext(factor, _DOUBLES) for factor in factors))
        exact = builder.fadd(builder.fpext(total, _DOUBLES), product)
        total = _or_zero(emit, builder.fptrunc(exact, VECTOR), exact, SMALLEST_SUM)
    return total


def add_products_of_word(emit: Emitter, pointer: Any, index: Any, b: Any, total: Any) -> Any:
    """As `add_products`, where ``a`` is one word that lies at an element, 16 times the same.

    The processor spreads it as it multiplies, where LLVM knows a separate instruction only:
    with one product for every word that is read, this takes two thirds of the time.
    """
    if not is_native():
        return add_products(emit, spread_word(emit, pointer, index), b, total)
    builder = emit.builder
    place = builder.gep(pointer, [index])
    kind = ir.FunctionType(VECTOR, [VECTOR, WORDS, place.type])
    # That it reads memory has to be said, lest it be moved past what writes it.
    code, about = "vdpbf16ps ($3){1to16}, $2, $0", "=v,0,v,r,~{memory}"
    return builder.asm(kind, code, about, [total, b, place], False)


def store_narrowed(emit: Emitter, x: Any, pointer: Any, index: Any) -> None:
    """Write a vector as it will be multiplied; as it is where float32 is written.

    To bfloat16 it is rounded to the nearest, ties to even; a NaN stays one.
    """
    builder = emit.builder
    if pointer.type.pointee != HALF:
        emit.store(x, pointer, index)
    elif is_native():
        kind = ir.FunctionType(_NARROW, [VECTOR])
        convert = emit.function("llvm.x86.avx512bf16.cvtneps2bf16.512", kind)
        narrow = builder.bitcast(builder.call(convert, [x]), HALVES)
        builder.store(narrow, _words_at(emit, pointer, index, HALVES)).align = 2
    else:
        emit.store(_or_zero(emit, x, x, SMALLEST), pointer, index)


def _words_at(emit: Emitter, pointer: Any, index: Any, kind: Any) -> Any:
    return emit.builder.bitcast(emit.builder.gep(pointer, [index]), kind.as_pointer())


def _half_of(emit: Emitter, pairs: Any, upper: bool) -> Any:
    """One of every pair, as float32."""
    if upper:
        bits = emit.builder.and_(pairs, constant(0xFFFF0000, WORDS))
    else:
        bits = emit.builder.shl(pairs, constant(16, WORDS))
    return emit.builder.bitcast(bits, VECTOR)


def _or_zero(emit: Emitter, x: Any, measure: Any, least: float) -> Any:
    """``x``, or a zero of its sign where ``measure`` is nearer to zero than ``least``."""
    builder = emit.builder
    above, below = (constant(sign * least, measure.type) for sign in (-1, 1))
    small = builder.and_(
        builder.fcmp_ordered(">", measure, above), builder.fcmp_ordered("<", measure, below)
    )
    sign = builder.and_(builder.bitcast(x, WORDS), constant(0x80000000, WORDS))
    return builder.select(small, builder.bitcast(sign, VECTOR), x)


# --- one number at a time ---

if jit.INTERPRETED:

    def bits_of(x: Any) -> int:
        """The bits of a float32."""
        return int(np.float32(x).view(np.uint32))

    def of_bits(bits: Any) -> Any:
        """The float32 of some bits."""
        return np.uint32(bits).view(np.float32)

else:

    @intrinsic
    def bits_of(typing, x):
        """The bits of a float32."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.zext(builder.bitcast(args[0], INT32), ir.IntType(64))

        return types.int64(types.float32), codegen

    @intrinsic
    def of_bits(typing, bits):
        """The float32 of some bits."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(builder.trunc(args[0], INT32), ir.FloatType())

        return types.float32(types.int64), codegen


def get(array, index):
    """Read an element; bfloat16, in an array of uint16, as the float32 that it is."""
    if array.dtype == np.uint16:
        return of_bits(int(array[index]) << 16)
    return array[index]


def put(array, index, x):
    """Write a float32; to bfloat16, in an array of uint16, as `store_narrowed`."""
    array[index] = narrowed(bits_of(x)) if array.dtype == np.uint16 else x


@extending.register_jitable
def narrowed(bits):
    """The bits of the bfloat16 that stands for the float32 of some bits."""
    size = bits & 0x7FFFFFFF
    if size < 0x800000:
        return (bits ^ size) >> 16
    if size > 0x7F800000:
        return bits >> 16 | 0x40
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


@extending.register_jitable
def add_product(total, a, b):
    """``total + a * b`` of two bfloat16, given as float32 as the sum is."""
    exact = np.float64(_or_nothing(total)) + np.float64(_or_nothing(a)) * _or_nothing(b)
    if abs(exact) < SMALLEST_SUM:
        return np.float32(exact * 0)
    return np.float32(exact)


@extending.register_jitable
def _or_nothing(x):
    return x * np.float32(0) if abs(x) < SMALLEST else x


@extending.overload(get)
def _get(array, index):
    if array.dtype == types.uint16:
        return lambda array, index: of_bits(np.int64(array[index]) << 16)
    return lambda array, index: array[index]


@extending.overload(put)
def _put(array, index, x):
    if array.dtype == types.uint16:

        def put_half(array, index, x):
            array[index] = narrowed(bits_of(np.float32(x)))

        return put_half

    def put_float(array, index, x):
        array[index] = x

    return put_float
