"""The masked engine's convolutions of bfloat16, whose products are added in pairs."""

from __future__ import annotations

import numpy as np
from numba import njit

from sact_core.backends.masked.kernels import conv, cpu
from tests import naive
from tests.flat import Flat, bordered, from_bfloat16, padded, pair_panels, to_bfloat16
from tests.ops.convolutions import draw_conv, draw_residual, inside, product, store_depthwise


def draw_pairs(rng, scales=(1.0, 1.0), halves=True, **shape):
    """Inputs and weights that bfloat16 holds; ``halves``: whether it holds the output too."""
    found = draw_conv(rng, **shape)
    for name, scale in zip(("x", "weight"), scales, strict=True):
        found[name] = from_bfloat16(to_bfloat16(found[name] * np.float32(scale)))
        found["bias"] *= np.float32(scale)
    return {**found, "halves": halves}


def naive_pairs(x, weight, bias, what, active, halves):
    y = naive.conv_of_pairs(x, weight, what.stride, what.pads(x.shape[:2])) + bias
    y = naive.activate_single(y, what.bn.slope, what.bn.cap)
    return naive.to_bfloat16(y) if halves else y


def engine_pairs(vectors: bool):
    def run(x, weight, bias, what, active, halves):
        height, width = active.shape
        channels = padded(len(bias))
        size = (height + 2) * (width + 2) * channels
        source, weights, biases, lists, p = pair_product(x, weight, bias, what, active)
        target = Flat(np.uint16 if halves else np.float32, y=size)
        spare = Flat(np.float32, room=cpu.WIDE)
        p = p._replace(y0=target.at("y"))
        store_pairs(
            vectors, spare["room"], p, -(-channels // cpu.WIDE), source.all, weights.all,
            biases.all, lists.all, target.all,
        )  # fmt: skip
        target.assert_untouched("y")
        spare.assert_untouched("room")
        for each in (source, weights, biases, lists):
            each.assert_untouched()
        y = inside(target, "y", active, len(bias))
        assert (y[active][:, len(bias) :] == 0).all()
        y = y[..., : len(bias)]
        return from_bfloat16(y) if halves else y

    return run


@njit
def store_pairs(vectors, spare, p, count, x, w, b, listed, y):
    conv.store_panels(vectors, spare, p, 0, count, x, w, b, listed, y)


def pair_product(x, weight, bias, what, active):
    """As `product`: source, weights, biases and lists, and the convolution."""
    _, _, lists, p = product(x, weight, bias, what, active, y=0)
    border = max(1, weight.shape[0] // 2)
    map_ = bordered(x, border)
    depth, row = map_.shape[2], map_.shape[1] * map_.shape[2]
    source = Flat(np.uint16, x=to_bfloat16(map_))
    weights = Flat(np.uint16, w=pair_panels(weight))
    biases = Flat(np.float32, b=np.pad(bias, (0, padded(len(bias)) - len(bias))))
    (top, _), (left, _) = what.pads(x.shape[:2])
    corner = source.at("x") - top * row - left * depth
    return source, weights, biases, lists, p._replace(
        x0=corner, w0=weights.at("w"), b0=biases.at("b")
    )  # fmt: skip


def draw_pair_residual(rng, mode=2, **shape):
    found = draw_residual(rng, mode, **shape)
    for name in ("x", "weight"):
        found[name] = from_bfloat16(to_bfloat16(found[name]))
    return found


@njit
def add_pairs(vectors, spare, p, s, count, x, w, b, listed, y):
    conv.add_panels(vectors, spare, p, s, 0, count, x, w, b, listed, y)


def engine_pair_residual(vectors: bool):
    def run(x, weight, bias, what, active, state, output, left, mode):
        channels, real = padded(len(bias)), len(bias)
        source, weights, biases, lists, p = pair_product(x, weight, bias, what, active)
        floats = Flat(
            np.float32, y=bordered(state), out=bordered(output), left=np.pad(left, 1), sums=channels
        )
        s = conv.Sum(mode, floats.at("out"), floats.at("left"), floats.at("sums"))
        spare = Flat(np.float32, room=cpu.WIDE)
        add_pairs(
            vectors, spare["room"], p._replace(y0=floats.at("y")), s, -(-channels // cpu.WIDE),
            source.all, weights.all, biases.all, lists.all, floats.all,
        )  # fmt: skip
        floats.assert_untouched("y", "out", "sums")
        for each in (source, weights, biases, lists):
            each.assert_untouched()
        parts = (inside(floats, name, active, real)[..., :real] for name in ("y", "out"))
        return (*parts, floats["sums"][:real])

    return run


def draw_half_depthwise(rng, **shape):
    found = draw_conv(rng, **shape)
    return {**found, "x": from_bfloat16(to_bfloat16(found["x"]))}


def engine_half_depthwise(vectors: bool):
    def run(x, weight, bias, what, active):
        height, width = active.shape
        channels, more = padded(len(bias)), padded(len(bias)) - len(bias)
        source, _, _, lists, p = pair_product(x, weight, bias, what, active)
        taps = np.pad(weight[:, :, 0], ((0, 0), (0, 0), (0, more)))
        weights = Flat(np.float32, w=taps, b=np.pad(bias, (0, more)))
        target = Flat(np.uint16, y=(height + 2) * (width + 2) * channels)
        p = p._replace(w0=weights.at("w"), b0=weights.at("b"), y0=target.at("y"))
        store_depthwise(vectors, p, source.all, weights.all, lists.all, target.all)
        target.assert_untouched("y")
        for each in (source, weights, lists):
            each.assert_untouched()
        return from_bfloat16(inside(target, "y", active, len(bias))[..., : len(bias)])

    return run
