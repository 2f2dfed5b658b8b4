"""The vocabulary of vector code, held to NumPy's whole numbers and to torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numba import njit

from sact_core.backends import jit, simd

pytestmark = pytest.mark.skipif(jit.INTERPRETED, reason="needs compiled vectors")

#: Lower halves of float32: nothing, below, at and above the middle of two bfloat16.
LOWER = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
#: Every bfloat16 before every one of them: ties of both parities, subnormal numbers,
#: the largest, infinities, every NaN.
BITS = ((np.arange(1 << 16, dtype=np.uint32) << 16)[:, None] | LOWER).ravel()


@njit
def copy(x, y):
    for k in range(0, len(x), simd.LANES):
        simd.store(y, k, simd.load(x, k))


def rounded(bits):
    """Float32 to bfloat16 by comparing distances, as a textbook has it."""
    wide = bits.astype(np.int64)
    below = wide & ~0xFFFF
    distance = wide - below
    odd = (below >> 16) & 1
    up = (distance > 0x8000) | ((distance == 0x8000) & (odd == 1))
    return ((below >> 16) + up).astype(np.uint16)


def is_nan(halves):
    return (halves & 0x7FFF) > 0x7F80


def test_every_bfloat16_is_read_as_it_is():
    halves = np.arange(1 << 16, dtype=np.uint16)
    wide = np.zeros(len(halves), np.float32)
    copy(halves, wide)
    np.testing.assert_array_equal(wide.view(np.uint32), halves.astype(np.uint32) << 16)


def test_float32_is_rounded_to_the_nearest_bfloat16_ties_to_even():
    x = BITS.view(np.float32)
    halves = np.zeros(len(x), np.uint16)
    copy(x, halves)
    numbers = ~np.isnan(x)
    np.testing.assert_array_equal(halves[numbers], rounded(BITS)[numbers])
    # A NaN stays one, with its sign; infinities stay; past the largest comes infinity.
    assert is_nan(halves[~numbers]).all()
    np.testing.assert_array_equal(halves[~numbers] >> 15, (BITS[~numbers] >> 31))
    largest = np.array([0x7F7F7FFF, 0x7F7F8000, 0xFF7FFFFF, 0x7F800000], np.uint32)
    assert rounded(largest).tolist() == [0x7F7F, 0x7F80, 0xFF80, 0x7F80]


def test_what_arithmetic_made_is_rounded_alike_and_quicker():
    @njit
    def copy_computed(x, y):
        for k in range(0, len(x), simd.LANES):
            simd.store_computed(y, k, simd.load(x, k))

    x = BITS.view(np.float32)
    halves = np.zeros(len(x), np.uint16)
    copy_computed(x, halves)
    numbers, made = ~np.isnan(x), np.isnan(x) & ((BITS & 0xFFFF) == 0)
    np.testing.assert_array_equal(halves[numbers], rounded(BITS)[numbers])
    assert is_nan(halves[made]).all()


def test_rounding_is_that_of_torch():
    x = BITS.view(np.float32)
    halves = np.zeros(len(x), np.uint16)
    copy(x, halves)
    ref = torch.from_numpy(x).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    # Torch may write another NaN, and take subnormal numbers for zero, by processor.
    same = np.isfinite(x) & (np.abs(x) >= np.finfo(np.float32).tiny) | np.isinf(x)
    np.testing.assert_array_equal(halves[same], ref[same])


def test_a_bfloat16_survives_reading_and_writing():
    halves = np.arange(1 << 16, dtype=np.uint16)
    again = np.zeros_like(halves)
    copy(halves, again)
    kept = ~is_nan(halves)
    np.testing.assert_array_equal(again[kept], halves[kept])
    assert is_nan(again[~kept]).all()


def test_words_are_those_of_numpy(rng):
    x, y, z = rng.normal(0, 4, (3, 16)).astype(np.float32)

    @njit
    def run(x, y, z, out, sums):
        a, b, c = simd.load(x, 0), simd.load(y, 0), simd.load(z, 0)
        words = (
            a + b, a - b, a * b, a / b, simd.spread(x[3]), simd.fma(a, b, c), simd.larger(a, b),
            simd.where_positive(a, b, c), simd.activate(a, simd.spread(y[0]), simd.spread(z[0])),
        )  # fmt: skip
        at = 0
        for word in words:
            simd.store(out, at, word)
            at += 16
        sums[0] = simd.total(a)

    y[0], z[0] = 0.1, 3.0
    out, sums = np.zeros((9, 16), np.float32), np.zeros(1, np.float32)
    run(x, y, z, out.ravel(), sums)
    exact = [x + y, x - y, x * y, x / y, np.full(16, x[3])]
    np.testing.assert_array_equal(out[:5], exact)
    np.testing.assert_allclose(out[5], x.astype(np.float64) * y + z, rtol=1e-6)
    np.testing.assert_array_equal(out[6], np.maximum(x, y))
    np.testing.assert_array_equal(out[7], np.where(x > 0, y, z))
    np.testing.assert_array_equal(out[8], np.minimum(np.maximum(x, y[0] * x), z[0]))
    np.testing.assert_allclose(sums[0], x.sum(), rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_activation_of_what_is_no_number(value):
    @njit
    def run(x, out):
        simd.store(out, 0, simd.activate(simd.load(x, 0), simd.spread(x[16]), simd.spread(x[17])))

    out = np.zeros(16, np.float32)
    run(np.array([value] * 16 + [0.5, 6], np.float32), out)
    np.testing.assert_array_equal(out, np.full(16, min(value, 6.0), np.float32))
