"""Products of bfloat16: the processor, its double in float64, and plain loops, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit, types

from sact_core.backends import bfloat16, jit, simd
from tests import naive

pytestmark = pytest.mark.interpreted

#: Who computes; plain Python has no vectors.
WAYS = ["plain"] if jit.INTERPRETED else ["plain", "vectors", "vectors in float64"]

#: Bits of bfloat16 at which something ends: zeros, subnormal numbers, the smallest and the
#: largest, infinities, one and what is nearest to it.
EDGES = [0, 1, 0x7F, 0x80, 0x81, 0x3F7F, 0x3F80, 0x3F81, 0x7F7F, 0x7F80]
EDGES = np.array([bits | sign for bits in EDGES for sign in (0, 0x8000)], np.uint16)


def drawn_bits(rng, count, spread):
    """Bits of bfloat16 whose exponents are that far from 1's, and now and then an edge."""
    exponent = np.clip(127 + rng.integers(-spread, spread + 1, count), 0, 254)
    bits = (exponent << 7 | rng.integers(0, 128, count) | rng.integers(0, 2, count) << 15).astype(
        np.uint16
    )
    at_edge = rng.random(count) < 0.05
    return np.where(at_edge, rng.choice(EDGES, count), bits)


def make_vector_words():
    """The words of `bfloat16` in compiled functions, anew."""

    @simd.intrinsic
    def add_products(typing, a, b, total, out, index):
        def codegen(context, builder, signature, args):
            emit = simd.Emitter(context, builder)
            a, b, total, out = (emit.data(signature.args[i], args[i]) for i in range(4))
            twice = builder.add(args[4], args[4])
            pairs = (bfloat16.load_words(emit, each, twice) for each in (a, b))
            sums = bfloat16.add_products(emit, *pairs, emit.vector(total, args[4]))
            emit.store(sums, out, args[4])
            return context.get_dummy_value()

        return types.void(a, b, total, out, types.int64), codegen

    @simd.intrinsic
    def store_narrowed(typing, x, out, index):
        def codegen(context, builder, signature, args):
            emit = simd.Emitter(context, builder)
            x, out = (emit.data(signature.args[i], args[i]) for i in range(2))
            bfloat16.store_narrowed(emit, emit.vector(x, args[2]), out, args[2])
            return context.get_dummy_value()

        return types.void(x, out, types.int64), codegen

    @njit
    def add(a, b, total, out):
        for k in range(0, len(total), simd.LANES):
            add_products(a, b, total, out, k)

    @njit
    def narrow(x, out):
        for k in range(0, len(x), simd.LANES):
            store_narrowed(x, out, k)

    return add, narrow


@njit
def add_plainly(a, b, total, out):
    for i in range(len(total)):
        upper = bfloat16.add_product(
            total[i], bfloat16.get(a, 2 * i + 1), bfloat16.get(b, 2 * i + 1)
        )
        out[i] = bfloat16.add_product(upper, bfloat16.get(a, 2 * i), bfloat16.get(b, 2 * i))


@njit
def narrow_plainly(x, out):
    for i in range(len(x)):
        bfloat16.put(out, i, x[i])


@pytest.fixture(params=WAYS)
def words(request, monkeypatch):
    """Sums of products, and rounding, by each of the ways."""
    if request.param == "plain":
        return add_plainly, narrow_plainly
    if request.param == "vectors in float64":
        monkeypatch.setattr(bfloat16, "is_native", lambda: False)
    return make_vector_words()


def assert_same_bits(comp, ref):
    """The same bits, or any NaN for a NaN."""
    np.testing.assert_array_equal(np.isnan(comp), np.isnan(ref))
    numbers = ~np.isnan(ref)
    np.testing.assert_array_equal(comp[numbers].view(np.uint32), ref[numbers].view(np.uint32))


@pytest.mark.parametrize("spread", [3, 40, 127])
def test_sums_of_products_are_the_textbooks(rng, words, spread):
    count = 1600
    a, b = drawn_bits(rng, (2, 2 * count), spread)
    total = (drawn_bits(rng, count, 2 * spread).astype(np.uint32) << 16).view(np.float32)
    out = np.zeros(count, np.float32)
    with np.errstate(all="ignore"):
        total = total * (1 + rng.random(count, np.float32))
        words[0](a, b, total, out)
        wide = [(each.astype(np.uint32) << 16).view(np.float32).reshape(-1, 2) for each in (a, b)]
        ref = naive.add_products_of_pairs(*wide, total)
    assert_same_bits(out, ref)
    assert np.isfinite(ref).mean() > 0.5


def test_sums_just_below_the_smallest_number_become_it_or_zero(words):
    """Rounded to 24 bits, as if there were smaller numbers, and only then taken for zero."""
    least = np.float32(2.0**-126)
    below = np.float32([4, 2, 1.5, 1, 0.5, 0]).repeat(16) * np.float32(2.0**-77)
    total = np.full(len(below), least)
    a, b = np.zeros((2, 2 * len(below)), np.float32)
    a[1::2], b[1::2] = -below, 2.0**-74  # 2.0**-151 at the least that counts
    halves = [(each.view(np.uint32) >> 16).astype(np.uint16) for each in (a, b)]
    out = np.zeros(len(below), np.float32)
    words[0](*halves, total, out)
    ref = np.float32([0, 0, 0, 2.0**-126, 2.0**-126, 2.0**-126]).repeat(16)
    np.testing.assert_array_equal(out, ref)


def test_rounding_is_to_the_nearest_and_takes_subnormal_numbers_for_zero(words):
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    upper = np.arange(0, 1 << 16, 7 if jit.INTERPRETED else 1, dtype=np.uint32)
    bits = ((upper << 16)[:, None] | lower).ravel()
    x = bits.view(np.float32)[: len(bits) // 16 * 16]
    bits = bits[: len(x)]
    out = np.zeros(len(x), np.uint16)
    words[1](x, out)
    wide = (out.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(all="ignore"):
        ref = naive.to_bfloat16(x)
    assert_same_bits(wide, np.where(np.abs(x) < 2.0**-126, np.copysign(np.float32(0), x), ref))
    np.testing.assert_array_equal(out >> 15, bits >> 31)  # the sign, a NaN's too


def test_float32_is_written_as_it_is(rng, words):
    x = rng.standard_normal(64, np.float32)
    out = np.zeros_like(x)
    words[1](x, out)
    np.testing.assert_array_equal(out, x)
