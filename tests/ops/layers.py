"""Normalisation, pooling, activation and rows of every backend."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from sact_core.backends import dense, reference
from sact_core.backends.masked.kernels import conv, ends, layout, plain, vector
from sact_core.config import NetworkConfig
from sact_core.network import BatchNorm, Conv
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests import naive
from tests.flat import Flat, bordered, from_bfloat16, padded, places_of
from tests.ops.convolutions import dense_network, inside
from tests.ops.operation import draw_active, drawn


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
