"""The NumPy backend's parts against loops and closed forms.

Whole networks are in test_golden_networks and test_backends_agree.
"""

from __future__ import annotations

import numpy as np
import pytest

from sact_core.backends import reference
from sact_core.config import NetworkConfig
from sact_core.network import BatchNorm, Conv, HaltingBranch
from sact_core.plans import build_plan
from tests import naive


@pytest.mark.parametrize("padding", ["same", "explicit"])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 4), (9, 8)])
def test_conv_agrees_with_naive(rng, size, kernel, stride, padding):
    conv = Conv("conv", (kernel, kernel, 3, 5), stride, bias=True, padding=padding)
    x = rng.standard_normal((2, *size, 3), dtype=np.float32)
    params = {
        "conv/weight": rng.standard_normal(conv.weight_shape, dtype=np.float32),
        "conv/bias": rng.standard_normal(5, dtype=np.float32),
    }
    ref = naive.conv(x, params["conv/weight"], stride, conv.pads(size)) + params["conv/bias"]
    comp = reference.conv_same(x, conv, params)
    assert comp.dtype == np.float32
    assert comp.shape[1:3] == ref.shape[1:3] == conv.output_size(size)
    np.testing.assert_allclose(comp, ref, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("num_in", "num_out", "groups"), [(6, 6, 6), (6, 12, 6), (6, 4, 2), (6, 9, 3)]
)
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2), (5, 1), (5, 2)])
def test_groups_of_channels_are_convolved_apart(rng, kernel, stride, num_in, num_out, groups):
    shape = (kernel, kernel, num_in // groups, num_out)
    conv = Conv("conv", shape, stride, groups=groups)
    x = rng.standard_normal((2, 6, 5, num_in), dtype=np.float32)
    weight = rng.standard_normal(shape, dtype=np.float32)
    parts = [
        naive.conv(a, b, stride, conv.pads((6, 5)))
        for a, b in zip(np.split(x, groups, -1), np.split(weight, groups, -1), strict=True)
    ]
    ref = np.concatenate(parts, axis=-1)
    comp = reference.conv_same(x, conv, {"conv/weight": weight})
    np.testing.assert_allclose(comp, ref, rtol=0, atol=1e-4)
    assert (conv.in_channels, conv.out_channels) == (num_in, num_out)


def test_an_activation_is_capped():
    bn = BatchNorm("bn", 1, 0.0, 0.0, cap=6.0)
    params = {f"bn/{part}": np.full(1, part == "gamma" or "variance" in part, np.float32)
              for part in ("gamma", "beta", "moving_mean", "moving_variance")}  # fmt: skip
    comp = reference.batch_norm(np.array([[-2], [5.5], [6], [6.5]], np.float32), bn, params)
    np.testing.assert_array_equal(comp[:, 0], [0, 5.5, 6, 6])


@pytest.mark.parametrize("halo", [0, 1, 2, 3])
def test_grow_by_several_pixels(rng, halo):
    active = rng.random((3, 9, 7)) < 0.1
    comp = reference.grow(active, halo)
    for image, grown in zip(active, comp, strict=True):
        for (i, j), value in np.ndenumerate(grown):
            around = image[max(i - halo, 0) : i + halo + 1, max(j - halo, 0) : j + halo + 1]
            assert value == around.any()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (6, 8), (7, 5), (4, 9)])
def test_max_pool_agrees_with_naive(rng, size):
    x = rng.standard_normal((2, *size, 3), dtype=np.float32) - 5  # zeros would win
    np.testing.assert_array_equal(reference.max_pool(x), naive.max_pool(x))


def test_pool_and_widen_by_hand():
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 4, 1)
    comp = reference.pool_and_widen(x, 5)
    assert comp.shape == (1, 1, 2, 5)
    np.testing.assert_array_equal(comp[0, 0], [[0, 0, 2.5, 0, 0], [0, 0, 4.5, 0, 0]])


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.1, 1.0])
def test_batch_norm_by_hand(slope):
    bn = BatchNorm("bn", 2, 1e-3, slope)
    params = {
        "bn/gamma": np.array([2, 3], np.float32),
        "bn/beta": np.array([1, -1], np.float32),
        "bn/moving_mean": np.array([1, 2], np.float32),
        "bn/moving_variance": np.array([3.999, 0.249], np.float32),  # deviations 2 and 1/2
    }
    comp = reference.batch_norm(np.array([[3, 3], [-5, 1]], np.float32), bn, params)
    np.testing.assert_allclose(comp, [[3, 5], [-5 * slope, -7 * slope]], rtol=1e-5, atol=1e-6)
    assert comp.dtype == np.float32


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 7)])
def test_grow_agrees_with_naive(rng, size, share):
    active = rng.random((4, *size)) < share
    comp = reference.grow(active)
    assert comp.dtype == bool
    assert (comp >= active).all()
    assert comp.sum((1, 2)).tolist() == [naive.num_grown(each) for each in active]


def test_grow_by_hand():
    active = np.zeros((1, 5, 6), bool)
    active[0, 1, 1] = active[0, 4, 5] = True
    ref = np.zeros((5, 6), bool)
    ref[:3, :3] = ref[3:, 4:] = True
    np.testing.assert_array_equal(reference.grow(active)[0], ref)


@pytest.mark.parametrize("logit", [-1000.0, -90.0, -3.0, 0.0, 3.0, 90.0, 1000.0])
def test_halting_proba_is_a_sigmoid_at_any_size(logit):
    bn = BatchNorm("bn", 1, 0.0, 1.0)
    conv = Conv("conv", (1, 1, 1, 1), bias=True)
    ones, zeros = np.ones(1, np.float32), np.zeros(1, np.float32)
    params = {
        "bn/gamma": ones,
        "bn/beta": zeros,
        "bn/moving_mean": zeros,
        "bn/moving_variance": ones,
        "conv/weight": np.zeros((1, 1, 1, 1), np.float32),
        "conv/bias": np.full(1, logit, np.float32),
    }
    comp = reference.read_halting_proba(
        np.zeros((1, 2, 2, 1), np.float32), HaltingBranch(bn, conv), params
    )
    assert comp.shape == (1, 1, 1, 1)
    assert 0 <= comp <= 1
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(comp, 1 / (1 + np.exp(-logit)), rtol=1e-5, atol=0)


def test_a_halted_position_keeps_its_value(rng):
    plan = build_plan(NetworkConfig(units_per_block=(2, 1, 1), base_channels=4, halting="sact"))
    unit = plan.blocks[0].units[1]
    params = {
        name: rng.uniform(0.5, 1, shape).astype(np.float32)
        for name, shape in plan.param_shapes.items()
    }
    x = rng.standard_normal((2, 6, 5, 4), dtype=np.float32)
    active = rng.random((2, 6, 5)) < 0.5
    comp = reference.residual_unit(x, unit, params, active)
    np.testing.assert_array_equal(comp[~active], x[~active])
    assert (comp[active] != x[active]).all()
    # Nothing but the halted positions differs from the unit without a mask.
    np.testing.assert_array_equal(
        comp[active], reference.residual_unit(x, unit, params, None)[active]
    )
