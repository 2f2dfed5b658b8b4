"""The kernels of the training step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sact_core.backends.dense import kernels as training
from tests import naive
from tests.flat import Flat, from_bfloat16, to_bfloat16
from tests.ops.operation import Operation, compiled, drawn


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
