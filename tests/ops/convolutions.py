"""Convolutions and residuals of every backend, as rows of `tests.test_ops`.

The masked engine's arrays are flat: each region lies between fences, which must be
untouched in the end, as must be inputs, and outputs at positions that were not listed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numba import njit

from sact_core.backends import dense, reference
from sact_core.backends.masked.kernels import conv, cpu
from sact_core.config import NetworkConfig
from sact_core.network import BatchNorm, Conv
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests import naive
from tests.flat import Flat, bordered, padded, panels, places_of
from tests.ops.operation import LISTS, draw_active, drawn

SMALL = build_plan(NetworkConfig(units_per_block=(1, 1, 1), base_channels=2, num_classes=2))


def draw_conv(
    rng, size=(5, 7), side=3, stride=1, cin=16, cout=16, padding="same", groups=1, slope=0.1,
    cap=np.inf, which="some",
):  # fmt: skip
    weight = drawn(rng, side, side, cin // groups, cout)
    bn = BatchNorm("stem/bn", cout, 1e-3, slope, cap)
    what = Conv("stem", weight.shape, stride, True, padding, bn, groups)
    height, width = what.output_size(size)
    return {
        "x": drawn(rng, *size, cin),
        "weight": weight,
        "bias": drawn(rng, cout),
        "what": what,
        "active": draw_active(rng, height, width, which),
    }


def naive_conv(x, weight, bias, what, active):
    pads = what.pads(x.shape[:2])
    y = naive.conv_in_groups(x[None], weight, what.stride, pads, what.groups)[0] + bias
    return naive.activate(y, what.bn.slope, what.bn.cap)


def params_of(what, weight, bias):
    """Parameters of a convolution whose normalisation does nothing but activate."""
    ones = np.ones(what.out_channels, np.float32)
    eps = np.float32(what.bn.eps)
    parts = {
        "gamma": ones,
        "beta": 0 * ones,
        "moving_mean": 0 * ones,
        "moving_variance": ones - eps,
    }
    return {
        "stem/weight": weight, "stem/bias": bias, **{f"stem/bn/{k}": v for k, v in parts.items()}
    }  # fmt: skip


def reference_conv(x, weight, bias, what, active):
    return reference.conv_same(x[None], what, params_of(what, weight, bias))[0]


def dense_network(what, params, fused=False):
    """A network that begins with a convolution."""
    plan = replace(SMALL, stem=what)
    return dense.Network(plan, init_params(plan) | params, fused=fused).eval()


def dense_conv(bfloat16: bool):
    def run(x, weight, bias, what, active):
        network = dense_network(what, params_of(what, weight, bias))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            y = network._layer(torch.from_numpy(x).permute(2, 0, 1)[None], what)
        return y.float()[0].permute(1, 2, 0).numpy()

    return run


@njit
def store_panels(vectors, spare, p, count, x, w, listed, y):
    conv.store_panels(vectors, spare, p, 0, count, x, w, w, listed, y)


@njit
def add_panels(vectors, spare, p, s, count, x, w, listed, y):
    conv.add_panels(vectors, spare, p, s, 0, count, x, w, w, listed, y)


def product(x, weight, bias, what, active, **regions):
    """The engine's arrays for a convolution, and the convolution as its kernels are told it."""
    side, channels = weight.shape[0], padded(weight.shape[3])
    border = max(1, side // 2)
    source = bordered(x, border)
    depth, row = source.shape[2], source.shape[1] * source.shape[2]
    floats = Flat(np.float32, x=source, **regions)
    more = channels - len(bias)
    weights = Flat(np.float32, w=panels(weight, x.shape[2] != 3), b=np.pad(bias, (0, more)))
    positions = np.argwhere(active)
    lists = Flat(
        np.int32,
        x=places_of(positions, x.shape[:2], border, what.stride),
        y=places_of(positions, active.shape),
    )
    (top, _), (left, _) = what.pads(x.shape[:2])
    # As many rows and columns before the position as are padded, from the border's corner.
    corner = floats.at("x") - top * row - left * depth
    p = conv.Product(
        rows=len(positions), packed=False, x0=corner, x_stride=depth, x_list=lists.at("x"),
        taps=side if side > 1 else 1, tap_stride=row if side > 1 else 0, depth=side * depth,
        w0=weights.at("w"), b0=weights.at("b"), m0=0, channels=channels,
        target=int(conv.TO_FLOATS), y0=floats.at("y"), y_stride=channels, y_list=lists.at("y"),
        slope=np.float32(what.bn.slope), cap=np.float32(what.bn.cap), low=np.float32(0),
    )  # fmt: skip
    return floats, weights, lists, p


def inside(floats, name, active, channels):
    """A region's map without its border, which nobody may write to, NaN where not written."""
    height, width = active.shape
    shape = (height + 2, width + 2, padded(channels))
    written = floats.written(name).reshape(shape)
    assert not written[[0, -1]].any()
    assert not written[:, [0, -1]].any()
    core = written[1:-1, 1:-1]
    assert not core[~active].any()
    return floats[name].reshape(shape)[1:-1, 1:-1]


def engine_conv(vectors: bool):
    def run(x, weight, bias, what, active):
        height, width = active.shape
        channels = padded(len(bias))
        size = (height + 2) * (width + 2) * channels
        floats, weights, lists, p = product(x, weight, bias, what, active, y=size)
        spare = Flat(np.float32, room=cpu.WIDE)
        count = -(-channels // cpu.WIDE)
        arrays = floats.all, weights.all, lists.all, floats.all
        store_panels(vectors, spare["room"], p, count, *arrays)
        floats.assert_untouched("y")
        spare.assert_untouched("room")
        weights.assert_untouched()
        lists.assert_untouched()
        y = inside(floats, "y", active, len(bias))
        assert (y[active][:, len(bias) :] == 0).all()  # channels that only fill a vector
        return y[..., : len(bias)]

    return run


@njit
def store_depthwise(vectors, p, x, w, listed, y):
    conv.store_depthwise(vectors, p, x, w, w, listed, y)


def engine_depthwise(vectors: bool):
    def run(x, weight, bias, what, active):
        height, width = active.shape
        channels = padded(len(bias))
        more = channels - len(bias)
        size = (height + 2) * (width + 2) * channels
        floats, _, lists, p = product(x, weight, bias, what, active, y=size)
        taps = np.pad(weight[:, :, 0], ((0, 0), (0, 0), (0, more)))
        weights = Flat(np.float32, w=taps, b=np.pad(bias, (0, more)))
        p = p._replace(w0=weights.at("w"), b0=weights.at("b"))
        store_depthwise(vectors, p, floats.all, weights.all, lists.all, floats.all)
        floats.assert_untouched("y")
        weights.assert_untouched()
        lists.assert_untouched()
        return inside(floats, "y", active, len(bias))[..., : len(bias)]

    return run


#: Side, channels and size that no multiple of anything fits.
CONVS = [
    *({"which": which, "cin": 20, "cout": 36} for which in LISTS),
    *({"which": which, "side": 1, "cin": 20, "cout": 36} for which in LISTS),
    {"cout": 64, "size": (4, 4), "which": "all"},  # whole tiles and halves of them
    {"cin": 1, "cout": 1, "size": (1, 1), "which": "all"},
    {"cin": 3, "cout": 18, "which": "all"},  # the image
    {"cin": 3, "cout": 18, "side": 7, "stride": 2, "padding": "explicit", "size": (9, 12)},
    *(
        {"stride": 2, "size": size, "cin": 10, "cout": 20, "padding": padding}
        for size in [(6, 8), (5, 7), (1, 1)]
        for padding in ("same", "explicit")
    ),
    {"stride": 2, "side": 1, "size": (5, 8), "cin": 10, "cout": 20},
    {"slope": 0.0, "cap": 6.0},
    {"slope": 1.0},
]


def draw_residual(rng, mode=2, **shape):
    found = draw_conv(rng, slope=1.0, **shape)
    state = drawn(rng, *found["active"].shape, len(found["bias"]))
    left = rng.random(found["active"].shape, np.float32)
    return {**found, "state": state, "output": drawn(rng, *state.shape), "left": left, "mode": mode}


def naive_residual(x, weight, bias, what, active, state, output, left, mode):
    residual = naive_conv(x, weight, bias, what, active)
    new_state, new_output = state.astype(float), output.astype(float)
    sums = np.zeros(len(bias))
    for i, j in np.argwhere(active):
        new_state[i, j] += residual[i, j]
        if mode == 1:
            new_output[i, j] = new_state[i, j]
            sums += new_state[i, j]
            continue
        if mode == 2:
            new_output[i, j] += float(left[i, j]) * residual[i, j]
        sums += residual[i, j]
    return new_state, new_output, sums


def engine_residual(vectors: bool):
    def run(x, weight, bias, what, active, state, output, left, mode):
        channels, real = padded(len(bias)), len(bias)
        floats, weights, lists, p = product(
            x, weight, bias, what, active, y=bordered(state), out=bordered(output),
            left=np.pad(left, 1), sums=channels,
        )  # fmt: skip
        s = conv.Sum(mode, floats.at("out"), floats.at("left"), floats.at("sums"))
        spare = Flat(np.float32, room=cpu.WIDE)
        count = -(-channels // cpu.WIDE)
        arrays = floats.all, weights.all, lists.all, floats.all
        add_panels(vectors, spare["room"], p, s, count, *arrays)
        floats.assert_untouched("y", "out", "sums")
        spare.assert_untouched("room")
        weights.assert_untouched()
        lists.assert_untouched()
        if mode == 0:
            assert not floats.written("out").any()
        parts = (inside(floats, name, active, real)[..., :real] for name in ("y", "out"))
        return (*parts, floats["sums"][:real])

    return run
