"""Products of eight-bit integers with sums in 32 bits: exact, the same on every processor.

What is multiplied lies in bytes, from 0 to 255, its weights in signed ones; four
neighbouring input channels are a word, whose four products the instruction of AVX512-VNNI
and AVX-VNNI adds to a sum at once. Sums become float32, to the nearest, times a number and
plus another; both operations round by themselves, never fused, so that plain loops and
every processor give the same bits. What is written to bytes is rounded to the nearest,
ties to even, and counted from ``low``, the negative of the byte that stands for 0; NaN is
written as 0, the least.

The first half adds instructions to a function that is being built, as `simd.Emitter`; the
second is for plain loops, compiled or not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types

from sact_core.backends import bfloat16, jit
from sact_core.backends.simd import LANES, VECTOR, WORDS, Emitter, constant

BYTE = ir.IntType(8)

_BYTES = ir.VectorType(BYTE, LANES)
_EIGHT = ir.VectorType(ir.IntType(32), LANES // 2)

#: Added to a float32 below 2^22 it leaves no room for a fraction: the sum is rounded to a
#: whole number, ties to even, which its bits count on from those of this.
ROUNDING = np.float32(1.5 * 2**23)


def is_native() -> bool:
    """Whether the processor that Numba compiles for adds four products at once."""
    features = jit.cpu_features()
    return "+avx512vnni" in features or "+avxvnni" in features


def add_products(emit: Emitter, a: Any, b: Any, total: Any) -> Any:
    """``total + a[0] * b[0] + … + a[3] * b[3]`` for 16 words of each; ``b`` is signed."""
    builder = emit.builder
    if "+avx512vnni" in jit.cpu_features():
        kind = ir.FunctionType(WORDS, [WORDS] * 3)
        dot = emit.function("llvm.x86.avx512.vpdpbusd.512", kind)
        return builder.call(dot, [total, a, b])
    if is_native():
        kind = ir.FunctionType(_EIGHT, [_EIGHT] * 3)
        dot = emit.function("llvm.x86.avx512.vpdpbusd.256", kind)
        halves = [
            builder.call(dot, [_half_of(emit, words, half) for words in (total, a, b)])
            for half in range(2)
        ]
        return builder.shuffle_vector(*halves, ir.Constant(WORDS, list(range(LANES))))
    for byte in range(4):
        unsigned = builder.and_(
            builder.lshr(a, constant(8 * byte, WORDS)), constant(255, WORDS)
        )  # fmt: skip
        signed = builder.ashr(
            builder.shl(b, constant(24 - 8 * byte, WORDS)), constant(24, WORDS)
        )  # fmt: skip
        total = builder.add(total, builder.mul(unsigned, signed))
    return total


def scaled(emit: Emitter, total: Any, multiplier: Any, bias: Any) -> Any:
    """``total * multiplier + bias`` in float32, each operation rounded."""
    builder = emit.builder
    return builder.fadd(builder.fmul(builder.sitofp(total, VECTOR), multiplier), bias)


def store_bytes(emit: Emitter, x: Any, low: Any, pointer: Any, index: Any) -> None:
    """Write a vector of float32, no more than ``255 + low``, as bytes.

    Parameters
    ----------
    emit : Emitter
    x, low : vectors of float32
        ``low`` is a whole number, from -255 to 0.
    pointer, index
        Where to.
    """
    builder = emit.builder
    rounding = constant(float(ROUNDING))
    x = builder.select(builder.fcmp_ordered(">", x, low), x, low)
    bits, least = (
        builder.bitcast(builder.fadd(each, rounding), WORDS) for each in (x, low)
    )  # fmt: skip
    levels = builder.trunc(builder.sub(bits, least), _BYTES)
    address = builder.bitcast(builder.gep(pointer, [index]), _BYTES.as_pointer())
    builder.store(levels, address).align = 1


def _half_of(emit: Emitter, words: Any, half: int) -> Any:
    lanes = [half * LANES // 2 + lane for lane in range(LANES // 2)]
    undefined = ir.Constant(WORDS, ir.Undefined)
    return emit.builder.shuffle_vector(words, undefined, ir.Constant(_EIGHT, lanes))


# --- one number at a time ---


@extending.register_jitable
def level(x, low):
    """The byte that stands for a float32 that is no more than ``255 + low``."""
    x = x if x > low else low
    return np.int64((x + ROUNDING) - ROUNDING) - np.int64(low)


@extending.register_jitable
def signed(byte):
    """The number from -128 to 127 that a byte of weights is."""
    number = np.int64(byte)
    return number - 256 if number > 127 else number


def put(array, index, x, low):
    """Write a float32: to bytes as `store_bytes`, elsewhere as `bfloat16.put`."""
    if array.dtype == np.uint8:
        array[index] = level(x, low)
    else:
        bfloat16.put(array, index, x)


@extending.overload(put)
def _put(array, index, x, low):
    if array.dtype == types.uint8:

        def put_byte(array, index, x, low):
            array[index] = level(np.float32(x), np.float32(low))

        return put_byte

    def put_other(array, index, x, low):
        bfloat16.put(array, index, x)

    return put_other
