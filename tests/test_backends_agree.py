"""Three backends, each with its own arithmetic, on the same random networks.

Halting is a threshold, so rounding could flip a count: every test first makes
sure that no running sum is near ``1 - eps``, then demands equal counts.
"""

from __future__ import annotations

import numpy as np
import pytest

from sact_core.backends import BACKENDS, backend_module, masked
from sact_core.config import NetworkConfig
from sact_core.plans import build_plan
from tests.networks import (
    MARGIN,
    OPTIONS,
    assert_results_agree,
    halting_margin,
    images_with_margin,
    random_net,
    random_params,
)

OTHERS = [backend for backend in BACKENDS if backend != "reference"]


def assert_backends_agree(rng, shape, backends=OTHERS, **config):
    """Run one random network on every backend; give the reference's result."""
    ref_net = random_net(rng, **config)
    x, ref = images_with_margin(rng, ref_net, shape)
    assert halting_margin(ref, ref_net.config.eps) > MARGIN
    for backend in backends:
        net = random_net(rng, backend, ref_net.engine.params, **config)
        assert_results_agree(net.forward(x, keep_outputs=True), ref)
    return ref


def assert_varied(result, units):
    """Some positions stop early and some late, or the comparison would say little."""
    counts = np.concatenate([block.num_units.ravel() for block in result.blocks])
    assert counts.min() < max(units)
    assert len(np.unique(counts)) > 1


@pytest.mark.parametrize("sact_kernel_size", [1, 3])
@pytest.mark.parametrize("size", [(4, 4), (8, 12), (16, 8), (12, 12)])
@pytest.mark.parametrize("units", [(3, 3, 3), (1, 2, 4)])
def test_cifar_sact(rng, units, size, sact_kernel_size):
    result = assert_backends_agree(
        rng,
        (2, *size, 3),
        units_per_block=units,
        base_channels=4,
        halting="sact",
        sact_kernel_size=sact_kernel_size,
        halting_bias=-0.5,
    )
    assert_varied(result, units)


@pytest.mark.parametrize("sact_kernel_size", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 40), (7, 65)])
def test_imagenet_sact(rng, size, sact_kernel_size):
    units = (2, 3, 1, 2)
    result = assert_backends_agree(
        rng,
        (2, *size, 3),
        family="imagenet",
        units_per_block=units,
        base_channels=4,
        num_classes=7,
        halting="sact",
        sact_kernel_size=sact_kernel_size,
        halting_bias=-0.5,
    )
    assert_varied(result, units)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_act_stops_images_at_different_units(rng, family):
    units = (4, 1, 5) if family == "cifar" else (4, 1, 5, 2)
    result = assert_backends_agree(
        rng,
        (7, 16, 20, 3),
        family=family,
        units_per_block=units,
        base_channels=4,
        halting="act",
        halting_bias=-1.0,
    )
    assert_varied(result, units)
    assert len(np.unique(result.flops)) > 1


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_vanilla(rng, family):
    result = assert_backends_agree(
        rng,
        (3, 16, 20, 3),
        family=family,
        units_per_block=(2, 1, 3) if family == "cifar" else (2, 1, 3, 1),
        base_channels=4,
    )
    assert len(np.unique(result.flops)) == 1


@pytest.mark.parametrize("eps", [0.0, 0.001, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("halting", ["act", "sact"])
def test_any_slack(rng, halting, eps):
    result = assert_backends_agree(
        rng,
        (2, 8, 8, 3),
        units_per_block=(3, 4, 2),
        base_channels=4,
        halting=halting,
        halting_bias=-0.5,
        eps=eps,
    )
    if eps == 1.0:
        assert all((block.num_units == 1).all() for block in result.blocks)


@pytest.mark.parametrize("halting", ["act", "sact"])
@pytest.mark.parametrize(("halting_bias", "stops_at"), [(1e4, 1), (-1e4, 4)])
@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_all_stop_at_once_and_none_ever_stops(rng, family, halting_bias, stops_at, halting):
    result = assert_backends_agree(
        rng,
        (2, 16, 16, 3),
        family=family,
        units_per_block=(4,) * (3 if family == "cifar" else 4),
        base_channels=4,
        halting=halting,
        halting_bias=halting_bias,
    )
    assert all((block.num_units == stops_at).all() for block in result.blocks)


@pytest.mark.parametrize("halting", ["none", "act", "sact"])
def test_blocks_of_one_unit(rng, halting):
    result = assert_backends_agree(
        rng, (2, 8, 8, 3), units_per_block=(1, 1, 1), base_channels=4, halting=halting
    )
    for block in result.blocks:
        if halting != "none":
            assert (block.num_units == 1).all()
            assert (block.ponder_cost == 2).all()
            assert block.halting_proba.shape[-1] == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 5), (3, 3)])
@pytest.mark.parametrize("halting", ["none", "act", "sact"])
def test_tiny_images(rng, halting, size):
    assert_backends_agree(
        rng,
        (2, *size, 3),
        family="imagenet",
        units_per_block=(2, 2, 2, 2),
        base_channels=4,
        halting=halting,
        halting_bias=-0.5,
    )


@pytest.mark.parametrize("base_channels", [2, 6, 18])
def test_channels_that_are_no_power_of_two(rng, base_channels):
    assert_backends_agree(
        rng,
        (1, 8, 8, 3),
        units_per_block=(3, 2, 2),
        base_channels=base_channels,
        num_classes=3,
        halting="sact",
        halting_bias=-0.5,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("halting", ["none", "act", "sact"])
def test_an_image_does_not_depend_on_its_batch(rng, halting, backend):
    config = {
        "units_per_block": (3, 3, 3),
        "base_channels": 4,
        "halting": halting,
        "halting_bias": -0.5,
    }
    ref_net = random_net(rng, **config)
    x, _ = images_with_margin(rng, ref_net, (3, 8, 8, 3))
    net = random_net(rng, backend, ref_net.engine.params, **config)
    whole = net.forward(x)
    for i in range(len(x)):
        alone = net.forward(x[i : i + 1])
        np.testing.assert_allclose(alone.logits, whole.logits[i : i + 1], rtol=0, atol=1e-4)
        assert alone.flops == whole.flops[i]
        for alone_block, block in zip(alone.blocks, whole.blocks, strict=True):
            if halting != "none":
                np.testing.assert_array_equal(alone_block.num_units[0], block.num_units[i])


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_and_seconds_come_only_when_asked_for(rng, backend):
    net = random_net(rng, backend, units_per_block=(1, 2, 3), base_channels=4, halting="sact")
    x = rng.standard_normal((2, 8, 8, 3), dtype=np.float32)
    for block in net.forward(x).blocks:
        assert block.output is None
        assert block.seconds is None
    for block, units in zip(
        net.forward(x, keep_outputs=True, keep_seconds=True).blocks, (1, 2, 3), strict=True
    ):
        assert block.output.shape[:3] == (2, *block.size)
        assert len(block.seconds) == units
        assert min(block.seconds) >= 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_input_gives_the_same_bits(rng, backend):
    net = random_net(rng, backend, base_channels=4, halting="sact", halting_bias=-0.5)
    x = rng.standard_normal((2, 16, 16, 3), dtype=np.float32)
    kept = x.copy()
    x.flags.writeable = False
    first, second = net.forward(x), net.forward(x)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(first.logits, second.logits)
    np.testing.assert_array_equal(first.map(), second.map())


# --- exact ties ---


def undecided(rng, **config):
    """Plan and parameters of a network whose halting probabilities are all exactly 0.5."""
    config = NetworkConfig(base_channels=4, num_classes=3, **config)
    params = random_params(rng, config)
    for name, value in params.items():
        if "/halting_proba/" in name and name.endswith(("/weight", "/bias")):
            value[:] = 0
    return build_plan(config), params


@pytest.mark.interpreted
@pytest.mark.parametrize("side", [*BACKENDS, "plain loops"])
@pytest.mark.parametrize("halting", ["act", "sact"])
@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize(
    ("eps", "num_units", "distribution"),
    [
        (0.5, 1, [1, 0, 0, 0]),  # 0.5 >= 1 - 0.5: stops at once
        (0.0, 2, [0.5, 0.5, 0, 0]),  # 0.5 + 0.5 >= 1: after the second
        (1.0, 1, [1, 0, 0, 0]),
        (0.49, 2, [0.5, 0.5, 0, 0]),  # no tie: 0.5 < 0.51
    ],
)
def test_a_sum_that_meets_the_threshold_stops(
    rng, side, halting, family, eps, num_units, distribution
):
    units = (4, 4, 4) if family == "cifar" else (4, 4, 4, 4)
    plan, params = undecided(rng, family=family, units_per_block=units, halting=halting, eps=eps)
    if side == "plain loops":
        engine = masked.Engine(plan, params, num_threads=1, vectors=False)
    else:
        engine = backend_module(side).Engine(plan, params, **OPTIONS.get(side, {}))
    x = rng.standard_normal((2, 8, 12, 3), dtype=np.float32)
    result = engine.forward(x)
    for block in result.blocks:
        assert (block.num_units == num_units).all()
        weights = np.broadcast_to(np.float32(distribution), block.halting_distribution.shape)
        np.testing.assert_array_equal(block.halting_distribution, weights)
        cost = num_units + np.float32(distribution[num_units - 1])
        np.testing.assert_array_equal(block.ponder_cost, cost)
        assert (block.halting_proba[..., :num_units] == 0.5).all()
        assert np.isnan(block.halting_proba[..., num_units:]).all()
        places = block.size[0] * block.size[1]
        for u in range(4):  # what has stopped costs nothing
            counted = result.positions[f"{block.name}/unit{u + 1}/conv2"]
            np.testing.assert_array_equal(counted, places if u < num_units else 0)
