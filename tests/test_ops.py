"""One table of operations: every kernel of every backend against `naive`, row by row.

An operation is a draw of arguments, `naive`'s answer to them, and the sides that compute
it. A new kernel is one more row of `TABLE`, or one more side of a row: a test below
misses kernels that no row names. ``python -m tests.test_ops`` prints who computes what.

The masked engine's arrays are flat: each region lies between fences, which must be
untouched in the end, as must be inputs, and outputs at positions that were not listed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numba import njit

from sact_core import halting
from sact_core.backends import dense, masked, reference
from sact_core.backends.dense import kernels as training
from sact_core.backends.dense.network import _max_pool_same
from sact_core.backends.masked.kernels import (
    conv,
    cpu,
    depthwise,
    ends,
    layout,
    places,
    plain,
    vector,
)
from sact_core.config import NetworkConfig
from sact_core.network import BatchNorm, Conv
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests import naive
from tests.flat import (
    Flat,
    bordered,
    from_bfloat16,
    padded,
    pair_panels,
    panels,
    places_of,
    to_bfloat16,
)

pytestmark = pytest.mark.interpreted

#: Sides that compute at listed positions only.
LISTED = ("vectors", "plain", "vectors bfloat16", "plain bfloat16")

#: Lists of positions.
LISTS = ("none", "one", "some", "all")

#: Largest difference from float64, as a share of the largest value.
CLOSE = {"float32": 3e-6, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Operation:
    """A row, for several shapes.

    Attributes
    ----------
    draw : callable
        Called with a generator and a shape; gives the arguments of all that follow.
    ref : callable
        `naive`'s answer: an array or a tuple of them.
    sides : dict of str to callable
        Who computes it, by name.
    shapes : list of dict
    close : dict of str to float
        Tolerance by number format; 0: to the last bit.
    kernels : str
        The names of the compiled functions that it covers.
    """

    draw: Callable[..., dict[str, Any]]
    ref: Callable[..., Any]
    sides: dict[str, Callable[..., Any]]
    shapes: list[dict[str, Any]]
    close: dict[str, float] = field(default_factory=lambda: CLOSE)
    kernels: str = ""


def compiled(**sides: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Sides in vector code, which plain Python cannot run."""
    return {} if cpu.INTERPRETED else {name.replace("_", " "): f for name, f in sides.items()}


def listed(
    side: Callable[[bool], Callable[..., Any]], number: str = ""
) -> dict[str, Callable[..., Any]]:
    """Both ways of the masked engine."""
    both = compiled(vectors=side(True)) | {"plain": side(False)}
    return {f"{name} {number}".strip(): way for name, way in both.items()}


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def draw_active(rng: np.random.Generator, height: int, width: int, which: str) -> np.ndarray:
    active = np.full((height, width), which == "all")
    if which == "one":
        active[rng.integers(height), rng.integers(width)] = True
    elif which == "some":
        active = rng.random((height, width)) < 0.4
        active[0, 0], active[-1, -1] = True, False
    return active


# --- convolutions ---

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
        elif mode == 2:
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
        sums = floats["sums"][:real] if mode else np.zeros(real)
        parts = (inside(floats, name, active, real)[..., :real] for name in ("y", "out"))
        return (*parts, sums)

    return run


# --- the same of bfloat16, whose products are added in pairs ---


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
        sums = floats["sums"][:real] if mode else np.zeros(real)
        parts = (inside(floats, name, active, real)[..., :real] for name in ("y", "out"))
        return (*parts, sums)

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


# --- normalisation, pooling, activation, rows ---


def draw_norm(rng, size=(5, 7), channels=20, slope=0.1, cap=np.inf, which="some"):
    return {
        "x": drawn(rng, *size, channels),
        "gamma": rng.uniform(0.5, 1.5, channels).astype(np.float32),
        "beta": drawn(rng, channels),
        "mean": drawn(rng, channels),
        "variance": rng.uniform(0.5, 2, channels).astype(np.float32),
        "bn": BatchNorm("stem/bn", channels, 1e-3, slope, cap),
        "active": draw_active(rng, *size, which),
    }


def naive_norm(x, gamma, beta, mean, variance, bn, active):
    return naive.activate(naive.normalise(x, gamma, beta, mean, variance, bn.eps), bn.slope, bn.cap)


def norm_params(gamma, beta, mean, variance):
    values = {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": variance}
    return {f"stem/bn/{part}": value for part, value in values.items()}


def reference_norm(x, gamma, beta, mean, variance, bn, active):
    return reference.batch_norm(x[None], bn, norm_params(gamma, beta, mean, variance))[0]


def dense_norm(dtype: torch.dtype, fused: bool):
    def run(x, gamma, beta, mean, variance, bn, active):
        what = Conv("stem", (1, 1, 3, x.shape[2]), bn=bn)
        network = dense_network(what, norm_params(gamma, beta, mean, variance), fused)
        with torch.inference_mode():
            given = torch.from_numpy(x).permute(2, 0, 1)[None].to(dtype)
            assert network._is_fused(given) == fused
            y = network._bn(given, bn)
        return y.float()[0].permute(1, 2, 0).numpy()

    return run


@njit
def normalise(vectors, rows, count, x, x0, x_at, w, scale, shift, slope, cap, y, y0, y_at, listed):
    conv.normalise(
        vectors, rows, count, x, x0, count, x_at, w, scale, shift, slope, cap, np.float32(0),
        y, y0, count, y_at, listed,
    )  # fmt: skip


def engine_norm(vectors: bool, halves: bool = False):
    def run(x, gamma, beta, mean, variance, bn, active):
        real, channels = len(gamma), padded(len(gamma))
        scale = gamma / np.sqrt(variance.astype(float) + bn.eps)
        pad = (0, channels - real)
        weights = Flat(np.float32, scale=np.pad(scale, pad), shift=np.pad(beta - mean * scale, pad))
        source = bordered(x)
        floats = Flat(np.float32, x=source)
        target = Flat(np.uint16 if halves else np.float32, y=source.size)
        at = places_of(np.argwhere(active), active.shape)
        lists = Flat(np.int32, x=at, y=at)
        if active.any():  # the loops run at least once
            normalise(
                vectors, int(active.sum()), channels, floats.all, floats.at("x"), lists.at("x"),
                weights.all, weights.at("scale"), weights.at("shift"), np.float32(bn.slope),
                np.float32(bn.cap), target.all, target.at("y"), lists.at("y"), lists.all,
            )  # fmt: skip
        target.assert_untouched("y")
        for each in (floats, weights, lists):
            each.assert_untouched()
        y = inside(target, "y", active, real)[..., :real]
        return from_bfloat16(y) if halves else y

    return run


def draw_pool(rng, size=(6, 8), cin=10, cout=20):
    return {"x": drawn(rng, *size, cin), "channels": cout}


def dense_pool(x, channels):
    plan = build_plan(NetworkConfig(units_per_block=(1, 1, 1), base_channels=x.shape[2]))
    network = dense.Network(plan, init_params(plan)).eval()
    unit = replace(plan.blocks[1].units[0], out_channels=channels)
    given = torch.from_numpy(x).permute(2, 0, 1)[None]
    with torch.inference_mode():
        shortcut, _ = network._unit(unit, given, given)
    return shortcut[0].permute(1, 2, 0).numpy()


@njit
def pool(vectors, rows, x, x0, x_stride, x_at, below, count, front, y, y0, y_at, listed):
    conv.pool(
        vectors, rows, x_stride, x, x0, x_stride, x_at, below, count, front,
        y, y0, count, y_at, listed,
    )  # fmt: skip


def engine_pool(vectors: bool):
    def run(x, channels):
        height, width = x.shape[0] // 2, x.shape[1] // 2
        positions = np.argwhere(np.ones((height, width), bool))
        source, depth = bordered(x), padded(channels)
        front = (channels - x.shape[2]) // 2
        floats = Flat(np.float32, x=source, y=np.zeros((height + 2, width + 2, depth)))
        lists = Flat(
            np.int32,
            x=places_of(positions, x.shape[:2], stride=2),
            y=places_of(positions, (height, width)),
        )
        cin = source.shape[2]
        pool(
            vectors, len(positions), floats.all, floats.at("x"), cin, lists.at("x"),
            source.shape[1] * cin, depth, front, floats.all, floats.at("y"), lists.at("y"),
            lists.all,
        )  # fmt: skip
        floats.assert_untouched("y")
        lists.assert_untouched()
        y = floats["y"].reshape(height + 2, width + 2, depth)
        # Zeros past the channels reach the next place's front, which may be the border's.
        for border in (y[0], y[-1], y[:, 0], y[:, -1], y[..., channels:]):
            assert (border == 0).all()
        return y[1:-1, 1:-1, :channels]

    return run


class Pooling(NamedTuple):
    """What pooling reads of a thread's `layout.Work`."""

    net: np.ndarray
    blocks: np.ndarray
    floats: np.ndarray
    scratch: np.ndarray
    vectors: bool


@njit
def pool_task(work, task):
    ends.pool_task(work, task)


def engine_max_pool(vectors: bool):
    def run(x):
        (height, width, real), channels = x.shape, padded(x.shape[2])
        size = -(-height // 2), -(-width // 2)
        stem = np.pad(x, ((0, 0), (0, 0), (0, channels - real)))
        floats = Flat(np.float32, y=(size[0] + 2) * (size[1] + 2) * channels)
        net = np.zeros(layout.NUM_FACTS, np.int64)
        net[[layout.STEM_HEIGHT, layout.STEM_WIDTH, layout.STEM_COUT]] = height, width, channels
        net[layout.POOLS] = True
        blocks = np.zeros((1, layout.NUM_BLOCK_FACTS), np.int64)
        blocks[0, [layout.B_IN_HEIGHT, layout.B_IN_WIDTH]] = size
        blocks[0, layout.B_IN_AT] = floats.at("y")
        for task in range(-(-size[0] // layout.POOL_ROWS)):
            # A task finds in its scratch the rows that it reads, from the first of them on.
            begin = max(2 * task * layout.POOL_ROWS - height % 2, 0)
            rows = stem[begin : begin + 2 * layout.POOL_ROWS + 1]
            scratch = Flat(np.float32, x=rows)
            pool_task(Pooling(net, blocks, floats.all, scratch["x"], vectors), task)
            scratch.assert_untouched()
        floats.assert_untouched("y")
        return inside(floats, "y", np.ones(size, bool), real)[..., :real]

    return run


def torch_map(f):
    """A function of maps [n, c, h, w] on one map [h, w, c]."""
    return lambda x: f(torch.from_numpy(x).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()


def draw_scores(rng, count=40):
    x = rng.normal(0, 8, count).astype(np.float32)
    x[: min(count, 6)] = np.float32([0, 100, -100, 88, -88, 1e-7])[: min(count, 6)]
    return {"x": x}


@njit
def sigmoids(vectors, count, x, x0):
    if vectors:
        vector.sigmoid_rows(count, x, x0)
    else:
        plain.sigmoid_rows(count, x, x0)


def engine_sigmoid(vectors: bool):
    def run(x):
        floats = Flat(np.float32, x=x, x_room=15)
        sigmoids(vectors, len(x), floats.all, floats.at("x"))
        floats.assert_untouched("x")
        return floats["x"]

    return run


def draw_rows(rng, count=48, kind="add"):
    x, y = drawn(rng, 2, count)
    x[::5] = y[::5]
    return {"x": x, "y": y, "kind": kind}


def naive_rows(x, y, kind):
    how = {"copy": lambda a, b: a, "add": lambda a, b: a + b, "largest": max}[kind]
    return np.array([how(a, b) for a, b in zip(x, y, strict=True)])


@njit
def work_on_rows(vectors, kind, count, x, x0, y, y0):
    if kind == 0:
        conv.copy(vectors, count, x, x0, y, y0)
    elif kind == 1:
        conv.add(vectors, count, x, x0, y, y0)
    else:
        conv.largest(vectors, count, x, x0, y, y0)


def engine_rows(vectors: bool):
    def run(x, y, kind):
        floats = Flat(np.float32, x=x, y=y)
        which = ["copy", "add", "largest"].index(kind)
        where = floats.all, floats.at("x"), floats.all, floats.at("y")
        work_on_rows(vectors, which, len(x), *where)
        floats.assert_untouched("y")
        return floats["y"]

    return run


# --- halting, lists and marks ---


def draw_proba(rng, shape=(5, 7), units=4, eps=0.01, kind="any"):
    proba = rng.random((*shape, units - 1), np.float32)
    if kind == "ties":  # multiples of 1/8 add up exactly
        proba = rng.integers(0, 9, proba.shape).astype(np.float32) / 8
    return {"proba": proba, "eps": eps}


def naive_halt(proba, eps):
    found = [
        naive.halt(each, eps) for each in proba.reshape(np.prod(proba.shape[:-1]), proba.shape[-1])
    ]
    parts = (np.array(part) for part in zip(*found, strict=True))
    return tuple(part.reshape(*proba.shape[:-1], *part.shape[1:]) for part in parts)


def by_rule(rule):
    def run(proba, eps):
        found = rule(proba, eps)
        return found.distribution, found.num_units, found.remainder

    return run


def by_steps(proba, eps):
    """As the NumPy backend goes from unit to unit."""
    state = halting.start(proba.shape[:-1], proba.shape[-1] + 1, eps)
    weights = []
    for u in range(proba.shape[-1] + 1):
        state, weight = halting.step(state, proba[..., u] if u < proba.shape[-1] else None)
        weights.append(weight)
    return np.stack(weights, -1), state.num_units, state.remainder


def draw_marks(rng, size=(5, 7), which="some"):
    return {"active": draw_active(rng, *size, which)}


def naive_marks(active):
    """The positions around active ones as map and list; all; those left of all."""
    grown = naive.grown(active)
    return grown, np.argwhere(grown), np.argwhere(active | True), np.argwhere(active)


@njit
def work_on_marks(vectors, marks, source, target, spare, every, around, kept, left, height, width):
    places.grow(vectors, marks, source, target, spare, height, width)
    num_around = places.list_marked(vectors, marks, target, around, left, height, width)
    num_all = places.list_all(every, left, height, width, 1, height, width)
    places.list_all(kept, left, height, width, 1, height, width)
    num_marked = places.num_marked(marks[source:], height, width)
    num_kept = places.keep_marked(kept, left, num_all, marks[source:])
    return num_around, num_all, num_kept, num_marked


def engine_marks(vectors: bool):
    def run(active):
        height, width = active.shape
        size, room = (height + 2) * (width + 2), cpu.MARKS_AT_ONCE
        marks = Flat(
            np.uint8, source=np.pad(active, 1).astype(np.uint8), source_room=room,
            target=np.zeros(size), target_room=room, spare=size, spare_room=room,
        )  # fmt: skip
        # Garbage behind a map must not count.
        lists = {
            name: Flat(np.int32, all=active.size + cpu.TILE_ROWS)
            for name in ("every", "around", "kept")
        }
        left = lists["every"].at("all")
        *counts, num_marked = work_on_marks(
            vectors, marks.all, marks.at("source"), marks.at("target"), marks.at("spare"),
            *(each.all for each in lists.values()), left, height, width,
        )  # fmt: skip
        assert num_marked == active.sum()
        marks.assert_untouched("target", "spare")
        for each in lists.values():
            each.assert_untouched("all")
        grown = marks["target"].reshape(height + 2, width + 2)
        assert not grown[[0, -1]].any()
        assert not grown[:, [0, -1]].any()
        found = [grown[1:-1, 1:-1].astype(bool)]
        for name, count in zip(("around", "every", "kept"), counts, strict=True):
            listed = lists[name]["all"]
            assert (listed[count : count + cpu.TILE_ROWS] == listed[max(count - 1, 0)]).all()
            row, column = np.divmod(listed[:count], width + 2)
            found.append(np.stack([row - 1, column - 1], -1))
        return tuple(found)

    return run


def draw_every_other(rng, size=(7, 8), stride=2):
    return {"size": size, "stride": stride}


def naive_every_other(size, stride):
    height, width = size
    out = [
        (y + 1) * (width + 2) + x + 1
        for y in range(0, height, stride)
        for x in range(0, width, stride)
    ]
    mark = [0 < y <= height and 0 < x <= width for y in range(height + 2) for x in range(width + 2)]
    return np.array(out), np.array(mark)


@njit
def list_and_mark(listed, at, marks, height, width, stride, out_height, out_width):
    places.mark_all(marks, height, width)
    return places.list_all(listed, at, height, width, stride, out_height, out_width)


def engine_every_other(size, stride):
    height, width = size
    out = -(-height // stride), -(-width // stride)
    lists = Flat(np.int32, all=out[0] * out[1] + cpu.TILE_ROWS)
    marks = Flat(np.uint8, all=(height + 2) * (width + 2))
    count = list_and_mark(lists.all, lists.at("all"), marks["all"], *size, stride, *out)
    lists.assert_untouched("all")
    marks.assert_untouched("all")
    assert (lists["all"][count:] == lists["all"][count - 1]).all()
    return lists["all"][:count], marks["all"].astype(bool)


# --- the training step's kernels ---


@dataclass
class Passed:
    """Arguments of a kernel of the training step; every array has fences around it."""

    bfloat16: bool
    arrays: dict[str, Flat] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    def give(self, name: str, values: np.ndarray, exact: bool = False) -> np.ndarray:
        """Hand in an array: a map as the number format has it, anything else as float32."""
        wide = exact or not self.bfloat16
        dtype = np.float32 if wide else np.uint16
        self.arrays[name] = Flat(dtype, all=values if wide else to_bfloat16(values))
        return self.arrays[name]["all"]

    def room(self, name: str, count: int, exact: bool = False) -> np.ndarray:
        """Room for a result, as `give`."""
        dtype = np.float32 if exact or not self.bfloat16 else np.uint16
        self.arrays[name] = Flat(dtype, all=count)
        self.outputs = (*self.outputs, name)
        return self.arrays[name]["all"]

    def results(self, **shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """Results by their shapes, once nothing else has changed and each is all written."""
        found = []
        for name, each in self.arrays.items():
            each.assert_untouched(*(["all"] if name in self.outputs else []))
        for name, shape in shapes.items():
            values = self.arrays[name]["all"]
            values = from_bfloat16(values) if values.dtype == np.uint16 else values
            found.append(values.reshape(shape))
        return tuple(found)


def draw_step(rng, images=2, size=(3, 4), channels=32, slope=0.1, bfloat16=False):
    def a_map(*shape):
        values = drawn(rng, *shape)
        return from_bfloat16(to_bfloat16(values)) if bfloat16 else values

    n, (h, w), c = images, size, channels
    active = rng.random((n, h, w)) < 0.6
    return {
        "x": a_map(n, h, w, c), "gy": a_map(n, h, w, c), "output": a_map(n, h, w, c),
        "scale": drawn(rng, c), "offset": drawn(rng, c), "scale2": drawn(rng, c),
        "offset2": drawn(rng, c), "slope": slope, "mean": drawn(rng, c), "tilt": drawn(rng, c),
        "level": drawn(rng, n, c), "taps": drawn(rng, 9, c), "glogit": drawn(rng, n, h, w),
        "active": active, "left": rng.random((n, h, w), np.float32) * active,
        "bfloat16": bfloat16,
    }  # fmt: skip


def step_refs(a):
    """Everything about the first normalisation and the second that several kernels need."""
    x, gy = a["x"].astype(float), a["gy"].astype(float)
    z, z2 = x * a["scale"] + a["offset"], x * a["scale2"] + a["offset2"]
    g = naive.before_activation(z, gy, a["slope"])
    q = naive.activate(z2, 0.0)
    spread = naive.spread_back(a["glogit"], a["taps"].reshape(3, 3, -1))
    g2 = naive.before_activation(z2, spread, 0.0)
    return x, z, g, q, g2


def naive_moments(**a):
    n, c = len(a["x"]), a["x"].shape[3]
    return naive.moments(a["x"].reshape(n, -1, c), a["mean"])


def fused_moments(**a):
    p, (n, h, w, c) = Passed(a["bfloat16"]), a["x"].shape
    training.moments(
        p.give("x", a["x"]), h * w, c, p.give("mean", a["mean"], True),
        p.room("sums", n * c, True), p.room("squares", n * c, True), 0, n,
    )  # fmt: skip
    return p.results(sums=(n, c), squares=(n, c))


def naive_norm_forward(**a):
    return naive.activate(a["x"] * a["scale"].astype(float) + a["offset"], a["slope"])


def affine(p, a, which=""):
    return tuple(p.give(name + which, a[name + which], True) for name in ("scale", "offset"))


def fused_norm_forward(**a):
    p, (n, h, w, c) = Passed(a["bfloat16"]), a["x"].shape
    given = p.give("x", a["x"]), h * w, c, *affine(p, a), a["slope"]
    training.norm_forward(*given, p.room("y", a["x"].size), 0, n)
    return p.results(y=(n, h, w, c))


def naive_norm_backward_sums(**a):
    x, _, g, _, _ = step_refs(a)
    return g.sum((1, 2)), (g * (x - a["mean"])).sum((1, 2))


def fused_norm_backward_sums(**a):
    p, (n, h, w, c) = Passed(a["bfloat16"]), a["x"].shape
    training.norm_backward_sums(
        p.give("x", a["x"]), p.give("gy", a["gy"]), h * w, c, *affine(p, a), a["slope"],
        p.give("mean", a["mean"], True), p.room("sums", n * c, True),
        p.room("products", n * c, True), 0, n,
    )  # fmt: skip
    return p.results(sums=(n, c), products=(n, c))


def naive_norm_backward(**a):
    x, _, g, _, _ = step_refs(a)
    return g * a["scale"] + x * a["tilt"] + a["level"][:, None, None]


def fused_norm_backward(**a):
    p, (n, h, w, c) = Passed(a["bfloat16"]), a["x"].shape
    training.norm_backward(
        p.give("x", a["x"]), p.give("gy", a["gy"]), h * w, c, *affine(p, a), a["slope"],
        p.give("level", a["level"], True), p.give("tilt", a["tilt"], True),
        p.room("gx", a["x"].size), 0, n,
    )  # fmt: skip
    return p.results(gx=(n, h, w, c))


def naive_branch_forward(**a):
    _, z, _, q, _ = step_refs(a)
    weight = a["taps"].reshape(3, 3, -1, 1)
    logit = naive.conv(q, weight, 1, ((1, 1), (1, 1)))[..., 0]
    return naive.activate(z, a["slope"]), logit


def both(p, a):
    return (*affine(p, a), a["slope"]), (*affine(p, a, "2"), 0.0)


def fused_branch_forward(**a):
    p, (n, h, w, c) = Passed(a["bfloat16"]), a["x"].shape
    training.branch_forward(
        p.give("x", a["x"]), h, w, c, *both(p, a), p.give("taps", a["taps"], True),
        p.room("y", a["x"].size), p.room("logit", n * h * w, True), 0, n,
    )  # fmt: skip
    return p.results(y=(n, h, w, c), logit=(n, h, w))


def naive_branch_backward_sums(**a):
    x, _, g, q, g2 = step_refs(a)
    away = x - a["mean"]
    sums = [each.sum((1, 2)) for each in (g, g * away, g2, g2 * away)]
    return np.stack(sums, 1), naive.filter_gradient(q, a["glogit"])


def fused_branch_backward_sums(**a):
    p, (n, h, w, c) = Passed(a["bfloat16"]), a["x"].shape
    training.branch_backward_sums(
        p.give("x", a["x"]), p.give("gy", a["gy"]), p.give("glogit", a["glogit"], True), h, w, c,
        *both(p, a), p.give("mean", a["mean"], True), p.give("taps", a["taps"], True),
        p.room("sums", n * 4 * c, True), p.room("gweight", n * 9 * c, True), 0, n,
    )  # fmt: skip
    return p.results(sums=(n, 4, c), gweight=(n, 3, 3, c))


def naive_branch_backward(**a):
    x, _, g, _, g2 = step_refs(a)
    level = a["level"][:, None, None]
    return g * a["scale"] + g2 * a["scale2"] + x * a["tilt"] + level


def fused_branch_backward(**a):
    p, (n, h, w, c) = Passed(a["bfloat16"]), a["x"].shape
    training.branch_backward(
        p.give("x", a["x"]), p.give("gy", a["gy"]), p.give("glogit", a["glogit"], True), h, w, c,
        *both(p, a), p.give("taps", a["taps"], True), p.give("level", a["level"], True),
        p.give("tilt", a["tilt"], True), p.room("gx", a["x"].size), 0, n,
    )  # fmt: skip
    return p.results(gx=(n, h, w, c))


def naive_gate(**a):
    return naive.gate(a["x"], a["gy"], a["output"], a["active"], a["left"])


def fused_gate(**a):
    p, (n, h, w, c) = Passed(a["bfloat16"]), a["x"].shape
    sources = [p.give(name, a[name]) for name in ("x", "gy", "output")]
    masks = [p.give(name, a[name].astype(np.float32), True) for name in ("active", "left")]
    rooms = p.room("new_x", a["x"].size), p.room("new_output", a["x"].size)
    training.gate_forward(*sources, *masks, h * w, c, *rooms, 0, n)
    return p.results(new_x=(n, h, w, c), new_output=(n, h, w, c))


def naive_gate_gradients(**a):
    return naive.gate_gradients(a["x"], a["gy"], a["output"], a["active"], a["left"])


def fused_gate_gradients(**a):
    p, (n, h, w, c) = Passed(a["bfloat16"]), a["x"].shape
    sources = [p.give(name, a[name]) for name in ("x", "gy", "output")]
    masks = [p.give(name, a[name].astype(np.float32), True) for name in ("active", "left")]
    rooms = p.room("gresidual", a["x"].size), p.room("gleft", n * h * w, True)
    training.gate_backward(*sources, *masks, h * w, c, *rooms, 0, n)
    return p.results(gresidual=(n, h, w, c), gleft=(n, h, w))


STEPS = [
    {"bfloat16": bfloat16, **shape}
    for bfloat16 in (False, True)
    for shape in (
        {}, {"size": (1, 1), "channels": 16, "images": 1},
        {"size": (1, 5), "channels": 48, "slope": 0.0},
    )
]  # fmt: skip


def step(ref, fused, kernel):
    return Operation(draw_step, ref, compiled(fused=fused), STEPS, kernels=kernel)


EXACT = {"float32": 0.0}

TABLE: dict[str, Operation] = {
    "convolution": Operation(
        draw_conv,
        naive_conv,
        {
            "reference": reference_conv,
            "dense": dense_conv(False),
            "dense bfloat16": dense_conv(True),
            **listed(engine_conv),
        },
        CONVS,
        kernels="store_tile store_tile_wide store_half_wide store_tile_narrow activate",
    ),
    "convolution in groups": Operation(
        draw_conv,
        naive_conv,
        {
            "reference": reference_conv,
            "dense": dense_conv(False),
            "dense bfloat16": dense_conv(True),
        },
        [
            {"groups": 2, "cin": 10, "cout": 6},
            {"groups": 12, "cin": 12, "cout": 12, "stride": 2},  # depthwise
            {"groups": 4, "cin": 8, "cout": 16, "side": 1, "cap": 6.0},
        ],
    ),
    "depthwise convolution": Operation(
        draw_conv,
        naive_conv,
        {"reference": reference_conv, "dense": dense_conv(False), **listed(engine_depthwise)},
        [
            *({"groups": 20, "cin": 20, "cout": 20, "which": which} for which in LISTS),
            {"groups": 32, "cin": 32, "cout": 32, "side": 5, "cap": 6.0, "slope": 0.0},
            {"groups": 18, "cin": 18, "cout": 18, "side": 5, "stride": 2, "size": (9, 6)},
            {"groups": 1, "cin": 1, "cout": 1, "size": (1, 1), "which": "all"},
        ],
        kernels="depthwise_rows by_channel activate",
    ),
    "convolution of pairs": Operation(
        draw_pairs,
        naive_pairs,
        listed(engine_pairs, "bfloat16"),
        [
            *(
                {**shape, "halves": shape.get("slope") != 1.0}
                for shape in CONVS
                if shape.get("cin") != 3
            ),
            # Sums, and then what is multiplied, around the smallest number.
            {"scales": (2.0**-64, 2.0**-64), "which": "all"},
            {"scales": (2.0**-126, 1.0), "which": "all", "side": 1},
            {"halves": False, "cout": 36},
        ],
        {"bfloat16": 0.0},
        kernels="products store_tile store_tile_wide store_half_wide store_tile_narrow",
    ),
    "residual of pairs": Operation(
        draw_pair_residual,
        naive_residual,
        listed(engine_pair_residual, "bfloat16"),
        [
            *({"mode": mode, "which": which, "cout": 36} for mode in (0, 1, 2) for which in LISTS),
            {"cout": 64, "size": (4, 4), "which": "all"},
            {"side": 1, "cin": 20, "cout": 36, "which": "all"},
        ],
        {"bfloat16": CLOSE["float32"]},
        kernels="products add_tile add_tile_wide add_half_wide add_tile_narrow",
    ),
    "depthwise convolution of bfloat16": Operation(
        draw_half_depthwise,
        naive_conv,
        listed(engine_half_depthwise, "bfloat16"),
        [
            *({"groups": 20, "cin": 20, "cout": 20, "which": which} for which in LISTS),
            {"groups": 32, "cin": 32, "cout": 32, "side": 5, "cap": 6.0, "slope": 0.0},
        ],
        {"bfloat16": 2.0**-8},  # one rounding
        kernels="depthwise_rows",
    ),
    "residual": Operation(
        draw_residual,
        naive_residual,
        listed(engine_residual),
        [
            *({"mode": mode, "which": which, "cout": 36} for mode in (0, 1, 2) for which in LISTS),
            {"cout": 64, "size": (4, 4), "which": "all"},
            {"side": 1, "cin": 20, "cout": 36, "which": "all"},
        ],
        kernels="add_tile add_tile_wide add_half_wide add_tile_narrow",
    ),
    "normalisation": Operation(
        draw_norm,
        naive_norm,
        {
            "reference": reference_norm,
            "dense": dense_norm(torch.float32, False),
            "dense bfloat16": dense_norm(torch.bfloat16, False),
            **listed(engine_norm),
            **listed(lambda vectors: engine_norm(vectors, True), "bfloat16"),
        },
        [
            *({"which": which} for which in LISTS),
            {"channels": 1, "size": (1, 1), "which": "all"},
            {"channels": 16, "slope": 0.0, "cap": 6.0},
            {"channels": 64, "slope": 1.0},
        ],
        kernels="affine_rows activate",
    ),
    "fused normalisation": Operation(
        draw_norm,
        naive_norm,
        compiled(
            fused=dense_norm(torch.float32, True), fused_bfloat16=dense_norm(torch.bfloat16, True)
        ),
        [{"channels": 32}, {"channels": 16, "slope": 0.0, "size": (1, 2)}],
    ),
    "2x2 mean pooling": Operation(
        draw_pool,
        lambda x, channels: naive.pool_and_widen(x[None], channels)[0],
        {
            "reference": lambda x, channels: reference.pool_and_widen(x[None], channels)[0],
            "dense": dense_pool,
            **listed(engine_pool),
        },
        [
            {},
            {"cin": 16, "cout": 32},
            {"cin": 2, "cout": 4, "size": (2, 2)},
            {"cin": 18, "cout": 36},
        ],
        kernels="pool_rows",
    ),
    "3x3 max pooling": Operation(
        lambda rng, size: {"x": drawn(rng, *size, 5)},
        lambda x: naive.max_pool(x[None])[0],
        {
            "reference": lambda x: reference.max_pool(x[None])[0],
            "dense": torch_map(_max_pool_same),
            **listed(engine_max_pool),
        },
        [{"size": size} for size in [(6, 8), (5, 7), (1, 1), (2, 9), (19, 4)]],
        EXACT,
        kernels="pool_task",
    ),
    "sigmoid": Operation(
        draw_scores,
        naive.sigmoid,
        listed(engine_sigmoid),
        [{"count": count} for count in (1, 16, 40)],
        kernels="sigmoid_rows sigmoid",
    ),
    "rows": Operation(
        draw_rows,
        naive_rows,
        listed(engine_rows),
        [
            {"kind": kind, "count": count}
            for kind in ("copy", "add", "largest")
            for count in (16, 48)
        ],
        EXACT,
        kernels="copy_row add_row max_row",
    ),
    "halting": Operation(
        draw_proba,
        naive_halt,
        {
            "reference": by_rule(reference.halt),
            "reference by steps": by_steps,
            "dense": by_rule(dense.halt),
            "plain": by_rule(masked.halt),
        },
        [
            {"kind": kind, "units": units, "eps": eps}
            for kind in ("any", "ties")
            for units in (1, 2, 5)
            for eps in (0.0, 0.01, 0.5, 1.0)
        ],
        EXACT,
        kernels="halt_positions",
    ),
    "marks and lists": Operation(
        draw_marks,
        naive_marks,
        listed(engine_marks),
        [
            *({"which": which} for which in LISTS),
            *({"which": which, "size": size} for which in LISTS for size in [(1, 1), (1, 70)]),
            {"size": (17, 30)},
        ],
        EXACT,
        kernels="grow list_marked list_all num_marked keep_marked fill_tile either_mark list_marks",
    ),
    "growing": Operation(
        lambda rng, halo, size: {"active": draw_active(rng, *size, "some"), "halo": halo},
        naive.grown,
        {"reference": lambda active, halo: reference.grow(active[None], halo)[0]},
        [{"halo": halo, "size": size} for halo in (0, 1, 2) for size in [(5, 7), (1, 3)]],
        EXACT,
    ),
    "every position": Operation(
        draw_every_other,
        naive_every_other,
        {"plain": engine_every_other},
        [{"size": size, "stride": stride} for size in [(6, 8), (1, 1)] for stride in (1, 2)],
        EXACT,
        kernels="mark_all list_all fill_tile",
    ),
    "moments": step(naive_moments, fused_moments, "moments"),
    "norm": step(naive_norm_forward, fused_norm_forward, "norm_forward"),
    "sums back through a norm": step(
        naive_norm_backward_sums, fused_norm_backward_sums, "norm_backward_sums"
    ),
    "back through a norm": step(naive_norm_backward, fused_norm_backward, "norm_backward"),
    "norm and halting branch": step(naive_branch_forward, fused_branch_forward, "branch_forward"),
    "sums back through a branch": step(
        naive_branch_backward_sums, fused_branch_backward_sums, "branch_backward_sums"
    ),
    "back through a branch": step(naive_branch_backward, fused_branch_backward, "branch_backward"),
    "gate": step(naive_gate, fused_gate, "gate_forward"),
    "back through a gate": step(naive_gate_gradients, fused_gate_gradients, "gate_backward"),
}

CASES = [
    pytest.param(name, side, shape, id=f"{name}-{side}-{'-'.join(map(str, shape.values()))}")
    for name, operation in TABLE.items()
    for side in operation.sides
    for shape in operation.shapes
]


@pytest.mark.parametrize(("name", "side", "shape"), CASES)
def test_operation(rng, name, side, shape):
    operation = TABLE[name]
    given = operation.draw(rng, **shape)
    copies = {k: v.copy() for k, v in given.items() if isinstance(v, np.ndarray)}
    refs, comps = (
        each if isinstance(each, tuple) else (each,)
        for each in (operation.ref(**given), operation.sides[side](**given))
    )
    for key, value in copies.items():
        np.testing.assert_array_equal(given[key], value, err_msg=f"{key} was overwritten")
    bfloat16 = "bfloat16" in side or shape.get("bfloat16")
    close = operation.close["bfloat16" if bfloat16 else "float32"]
    for comp, ref in zip(comps, refs, strict=True):
        assert comp.shape == ref.shape
        where = np.ones(ref.shape, bool)
        if side in LISTED and not name.startswith("residual") and ref.ndim == 3:
            where[~given.get("active", np.ones(ref.shape[:2], bool))] = False  # not written
        if close == 0:
            np.testing.assert_array_equal(comp[where], ref[where])
        else:
            scale = max(1.0, np.abs(ref).max(initial=0))
            np.testing.assert_allclose(comp[where], ref[where], rtol=0, atol=close * scale)


def is_kernel(module, value):
    if module in (vector, depthwise):
        return isinstance(value, type(vector.affine_rows))
    function = getattr(value, "py_func", value)  # itself, where nothing is compiled
    return inspect.isfunction(function) and function.__module__ == module.__name__


def test_every_kernel_has_a_row():
    """A new kernel must be named by a row of `TABLE`."""
    found = {
        name
        for module in (plain, vector, depthwise, places, training)
        for name, value in vars(module).items()
        if not name.startswith("_") and is_kernel(module, value)
    }
    named = {name for operation in TABLE.values() for name in operation.kernels.split()}
    assert len(found) > 30
    assert found <= named, f"no row of TABLE names {', '.join(sorted(found - named))}"


def support() -> str:
    """Who computes what, as a table."""
    sides = list(dict.fromkeys(side for operation in TABLE.values() for side in operation.sides))
    rows = [["", *sides]]
    for name, operation in TABLE.items():
        marks = [str(len(operation.shapes)) if s in operation.sides else "–" for s in sides]
        rows.append([name, *marks])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(c.ljust(n) for c, n in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    print(support())
