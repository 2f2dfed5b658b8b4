"""Small networks with random parameters, and how two results are compared."""

from __future__ import annotations

import numpy as np

from sact_core.backends import Net
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing, default_preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan

#: How far every running sum must be from ``1 - eps`` before counts are compared.
MARGIN = 1e-4
OPTIONS = {"dense": {"num_threads": 1}}


def random_params(rng, config):
    """Draw parameters that make a network halt here and there.

    Fresh ones would not do: their normalisations do nothing and their halting
    scores hardly differ.
    """
    plan = build_plan(config)
    params = init_params(plan, seed=int(rng.integers(2**32)))
    for name, value in params.items():
        part = name.rsplit("/", 1)[1]
        if part == "gamma":
            value[:] = rng.uniform(0.5, 1.5, value.shape)
        elif part == "moving_variance":
            value[:] = rng.uniform(0.5, 2.0, value.shape)
        elif part in ("beta", "moving_mean"):
            value[:] = rng.normal(0, 0.3, value.shape)
        elif part == "bias" and "/halting_proba/" not in name:
            value[:] = rng.normal(0, 0.2, value.shape)
        elif part == "tau_shift":
            value[:] = rng.normal(-1, 1, value.shape)
    return params


def random_net(rng, backend="reference", params=None, **config):
    """Build a network on one backend; with random parameters unless some are given."""
    config = NetworkConfig(**config)
    params = random_params(rng, config) if params is None else params
    checkpoint = Checkpoint(config, params, default_preprocessing(config.family))
    return build_net(checkpoint, backend)


def any_tau_checkpoint(units_per_block=(2, 2, 2)):
    """A small CIFAR network for any tau from 0.001 to 0.1, whose work falls with tau."""
    config = NetworkConfig(
        units_per_block=units_per_block, base_channels=2, num_classes=3, halting="sact",
        halting_bias=-1.0, tau_conditioned=True, tau_low=0.001, tau_high=0.1,
    )  # fmt: skip
    return Checkpoint(config, init_params(build_plan(config), 0), Preprocessing("cifar", 16))


def build_net(checkpoint, backend):
    """Build a network; torch gets one thread, which is quicker at these sizes."""
    return Net.from_checkpoint(checkpoint, backend, **OPTIONS.get(backend, {}))


def halting_margin(result, eps):
    """Smallest distance of any running sum from ``1 - eps``, where it was still read."""
    margin = np.inf
    for block in result.blocks:
        if block.halting_proba is not None and block.halting_proba.shape[-1]:
            sums = np.cumsum(block.halting_proba.astype(np.float64), axis=-1)
            if not np.isnan(sums).all():
                margin = min(margin, np.nanmin(np.abs(sums - (1 - eps))))
    return margin


def images_with_margin(rng, net, shape):
    """Draw inputs of which no running sum is near the threshold; give them and the result."""
    for _ in range(50):
        # Each image with a brightness and contrast of its own, so that ACT sees them differ.
        x = rng.standard_normal(shape, dtype=np.float32)
        x = x * rng.uniform(0.2, 2, (len(x), 1, 1, 1)) + rng.normal(0, 1, (len(x), 1, 1, 3))
        x = x.astype(np.float32)
        result = net.forward(x, keep_outputs=True)
        if halting_margin(result, net.config.eps) > MARGIN:
            return x, result
    raise AssertionError("no batch keeps its distance from the threshold; use fewer positions")


def assert_close(comp, ref, name):
    """Within 1e-4 of the largest value."""
    scale = max(1.0, float(np.abs(ref).max(initial=0)))
    np.testing.assert_allclose(comp, ref, rtol=0, atol=1e-4 * scale, err_msg=name)


def assert_results_agree(comp, ref):
    """Compare two results of one input; counts and FLOPs must be equal."""
    largest = float(np.abs(ref.logits).max())
    assert comp.logits.dtype == np.float32
    np.testing.assert_allclose(comp.logits, ref.logits, rtol=0, atol=1e-4 * largest)
    assert comp.input_size == ref.input_size
    assert comp.positions.keys() == ref.positions.keys()
    for name, count in ref.positions.items():
        np.testing.assert_array_equal(comp.positions[name], count, err_msg=name)
        assert comp.positions[name].dtype == np.int64
    np.testing.assert_array_equal(comp.flops, ref.flops)
    assert comp.flops.dtype == np.int64
    assert [block.name for block in comp.blocks] == [block.name for block in ref.blocks]
    for comp_block, ref_block in zip(comp.blocks, ref.blocks, strict=True):
        assert_blocks_agree(comp_block, ref_block)


def assert_blocks_agree(comp, ref):
    """Compare what two backends say of one block."""
    assert comp.size == ref.size
    np.testing.assert_array_equal(comp.flops, ref.flops, err_msg=ref.name)
    assert comp.flops.dtype == np.int64
    assert (comp.output is None) == (ref.output is None)
    if ref.output is not None:
        assert_close(comp.output, ref.output, f"{ref.name} output")
    if ref.num_units is None:
        assert comp.num_units is None
        assert comp.ponder_cost is None
        assert comp.halting_distribution is None
        assert comp.halting_proba is None
        return
    np.testing.assert_array_equal(comp.num_units, ref.num_units, err_msg=ref.name)
    assert comp.num_units.dtype == np.int32
    for field in ("ponder_cost", "halting_distribution", "halting_proba"):
        comp_values, ref_values = getattr(comp, field), getattr(ref, field)
        name = f"{ref.name} {field}"
        assert comp_values.dtype == np.float32, name
        assert comp_values.shape == ref_values.shape, name
        # NaN in the same places: probabilities that were never read.
        np.testing.assert_allclose(comp_values, ref_values, rtol=0, atol=1e-4, err_msg=name)
