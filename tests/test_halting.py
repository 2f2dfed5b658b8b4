"""The halting rule: the authors' numbers, numbers by hand, both forms, every error.

Every backend has a `halt` of its own under the same contract, so each check of
the rule runs on all of them.
"""

from __future__ import annotations

import numpy as np
import pytest

from sact_core import halting
from sact_core.backends import BACKENDS, backend_module
from tests import naive

pytestmark = pytest.mark.interpreted

ACT_FILES = [
    "halting_act_U01_eps0.01",
    "halting_act_U02_eps0.01",
    "halting_act_U03_eps0.01",
    "halting_act_U03_eps1",
    "halting_act_U04_eps0.25",
    "halting_act_U05_eps0.01",
    "halting_act_U05_eps0.5",
    "halting_act_U06_eps0",
    "halting_act_U07_eps0.125",
    "halting_act_U09_eps0.01",
    "halting_act_U16_eps0.001",
    "halting_act_U18_eps0.01",
]
ACT_RUN_FILES = [
    "halting_actrun_U01_mixed",
    "halting_actrun_U05_early",
    "halting_actrun_U05_mixed",
    "halting_actrun_U09_early",
    "halting_actrun_U09_mixed",
]
SACT_FILES = [
    "halting_sact_given_U01_eps0.01",
    "halting_sact_given_U03_eps0.01",
    "halting_sact_given_U04_eps0",
    "halting_sact_given_U05_eps0.25",
    "halting_sact_given_U08_eps0.01",
    "halting_sact_given_U18_eps0.01",
    "halting_sact_residual_U02_eps0.01",
    "halting_sact_residual_U05_eps0.01",
    "halting_sact_residual_U09_eps0.1",
]


@pytest.fixture(params=BACKENDS)
def halt(request):
    """The halting rule of each backend."""
    return backend_module(request.param).halt


def run_by_steps(proba, eps):
    """Run `start` and `step` over [..., units - 1] as a masked engine does.

    Stopped positions are handed NaN, which must not matter.
    """
    units = proba.shape[-1] + 1
    state = halting.start(proba.shape[:-1], units, eps)
    weights, actives = [], []
    for u in range(units):
        actives.append(state.active)
        given = np.where(state.active, proba[..., u], np.nan) if u < units - 1 else None
        state, weight = halting.step(state, given)
        weights.append(weight)
    assert not state.active.any()
    return halting.Halting(np.stack(weights, -1), state.num_units, state.remainder), actives


def assert_same_halting(comp, ref):
    np.testing.assert_array_equal(comp.num_units, ref.num_units)
    np.testing.assert_array_equal(comp.distribution, ref.distribution)
    np.testing.assert_array_equal(comp.remainder, ref.remainder)


# --- the authors' numbers ---


def assert_golden(comp, arrays, prefix=""):
    np.testing.assert_array_equal(comp.num_units, arrays[f"{prefix}num_units"])
    for name, values in (
        ("ponder_cost", comp.ponder_cost),
        ("halting_distribution", comp.distribution),
    ):
        np.testing.assert_allclose(values, arrays[prefix + name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ACT_FILES)
def test_act_agrees_with_the_authors(reference_dir, halt, name):
    arrays = np.load(reference_dir / f"{name}.npz")
    proba, eps = arrays["halting_proba"], float(arrays["eps"])
    # Rows that hang on float32 rounding (row_is_bit_exact) are not left out.
    assert_golden(halt(proba, eps), arrays)
    assert_golden(run_by_steps(proba, eps)[0], arrays)
    assert halting.halting_threshold(eps) == arrays["threshold_f32"]


@pytest.mark.parametrize("name", ACT_RUN_FILES)
def test_act_over_units_agrees_with_the_authors(reference_dir, halt, name):
    arrays = np.load(reference_dir / f"{name}.npz")
    proba = np.moveaxis(arrays["probas"][:-1], 0, -1)  # [n, units - 1]
    comp = halt(proba, float(arrays["eps"]))
    steps, actives = run_by_steps(proba, float(arrays["eps"]))
    for driver in ("wrapper", "early"):
        if f"{driver}/num_units" not in arrays:
            assert (driver, proba.shape[-1]) == ("wrapper", 0)  # the original cannot run it
            continue
        assert_golden(comp, arrays, f"{driver}/")
        assert_golden(steps, arrays, f"{driver}/")
        outputs = np.einsum("nu,un...->n...", comp.distribution, arrays["states"])
        np.testing.assert_allclose(outputs, arrays[f"{driver}/outputs"], rtol=0, atol=1e-5)
        flops = sum(
            active * flops for active, flops in zip(actives, arrays["unit_flops"], strict=True)
        )
        np.testing.assert_array_equal(flops, arrays[f"{driver}/flops"])


@pytest.mark.parametrize("name", SACT_FILES)
def test_sact_agrees_with_the_authors(reference_dir, halt, name):
    arrays = np.load(reference_dir / f"{name}.npz")
    proba = np.moveaxis(arrays["probas"][:-1], 0, -1)  # [n, h, w, units - 1]
    eps = float(arrays["eps"])
    comp = halt(proba, eps)
    steps, actives = run_by_steps(proba, eps)
    assert_golden(comp, arrays)
    assert_golden(steps, arrays)
    if len(actives) > 1:  # units 2 on are masked
        np.testing.assert_array_equal(np.stack(actives[1:]), arrays["residual_masks"])
    states = arrays["states"] if "states" in arrays else arrays["unit_states"]
    outputs = np.einsum("nhwu,unhwc->nhwc", comp.distribution, states)
    np.testing.assert_allclose(outputs, arrays["outputs"], rtol=0, atol=1e-5)


# --- numbers by hand ---


@pytest.mark.parametrize(
    ("proba", "eps", "distribution", "num_units"),
    [
        ([0.1, 0.3, 0.7, 0.5], 0.01, [0.1, 0.3, 0.6, 0, 0], 3),
        ([], 0.01, [1], 1),  # a block of one unit
        ([0, 0, 0], 0.01, [0, 0, 0, 1], 4),  # never stops by itself
        ([1, 1, 1], 0.01, [1, 0, 0, 0], 1),
        ([0, 1, 0], 0.01, [0, 1, 0, 0], 2),
        ([0, 0, 1], 0.01, [0, 0, 1, 0], 3),
        ([0.5, 0.25, 0.5], 0.25, [0.5, 0.5, 0, 0], 2),  # hits 1 - eps exactly
        ([0.75, 0.25], 0.25, [1, 0, 0], 1),
        ([np.nextafter(np.float32(0.75), 0), 0.25], 0.25, [0.75, 0.25, 0], 2),  # just misses
        ([0.5, 0.5, 0.5], 0, [0.5, 0.5, 0, 0], 2),  # no slack: the sum must reach 1
        ([0.5, 0.25, 0.125], 0, [0.5, 0.25, 0.125, 0.125], 4),
        ([0, 0.5], 1, [1, 0, 0], 1),  # all slack: one unit
    ],
)
def test_by_hand(halt, proba, eps, distribution, num_units):
    proba = np.array(proba, np.float32)
    comp = halt(proba, eps)
    np.testing.assert_allclose(comp.distribution, distribution, rtol=0, atol=1e-6)
    assert comp.num_units == num_units
    remainder = distribution[num_units - 1]
    np.testing.assert_allclose(comp.remainder, remainder, rtol=0, atol=1e-6)
    np.testing.assert_allclose(comp.ponder_cost, num_units + remainder, rtol=0, atol=1e-6)
    assert_golden(
        run_by_steps(proba, eps)[0],
        {
            "num_units": num_units,
            "ponder_cost": comp.ponder_cost,
            "halting_distribution": comp.distribution,
        },
    )


def test_the_threshold_is_rounded_once(halt):
    """``float32(1 - eps)``; ``float32(1) - float32(eps)`` is the next number for this eps."""
    threshold = np.float32(0.942)
    assert np.float32(1) - np.float32(0.058) > threshold
    assert halting.halting_threshold(0.058) == threshold
    below = np.nextafter(threshold, np.float32(0))
    assert halt(np.array([[threshold, 0], [below, 0]], np.float32), 0.058).num_units.tolist() == [
        1,
        3,
    ]


# --- any probabilities ---


def probabilities(rng, kind, shape):
    if kind == "uniform":
        return rng.random(shape, np.float32)
    if kind == "low":
        return rng.random(shape, np.float32) ** 4
    # Multiples of 1/16 add up exactly, so that many sums hit the threshold.
    return rng.integers(0, 17, shape).astype(np.float32) / 16


@pytest.mark.parametrize("eps", [0.0, 0.01, 0.125, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["uniform", "low", "ties"])
@pytest.mark.parametrize("shape", [(0,), (1,), (300, 0), (400, 4), (2, 9, 11, 7), (3, 5, 31)])
def test_agrees_with_naive(rng, halt, shape, kind, eps):
    proba = probabilities(rng, kind, shape)
    comp = halt(proba, eps)
    assert comp.distribution.shape == (*shape[:-1], shape[-1] + 1)
    assert comp.num_units.shape == comp.remainder.shape == comp.ponder_cost.shape == shape[:-1]
    assert comp.num_units.dtype == np.int32
    assert comp.distribution.dtype == comp.remainder.dtype == comp.ponder_cost.dtype == np.float32
    ref_distribution = np.empty_like(comp.distribution)
    ref_num_units = np.empty(shape[:-1], int)
    ref_remainder = np.empty(shape[:-1])
    for index in np.ndindex(shape[:-1]):
        ref_distribution[index], ref_num_units[index], ref_remainder[index] = naive.halt(
            proba[index], eps
        )
    np.testing.assert_array_equal(comp.num_units, ref_num_units)
    np.testing.assert_allclose(comp.distribution, ref_distribution, rtol=0, atol=1e-6)
    np.testing.assert_allclose(comp.remainder, ref_remainder, rtol=0, atol=1e-6)
    np.testing.assert_allclose(comp.distribution.sum(-1), 1, rtol=0, atol=1e-5)


@pytest.mark.parametrize("eps", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["uniform", "low", "ties"])
@pytest.mark.parametrize("shape", [(0,), (50, 0), (50, 1), (2, 6, 5, 8)])
def test_unit_by_unit_equals_at_once(rng, shape, kind, eps):
    proba = probabilities(rng, kind, shape)
    ref = halting.halt(proba, eps)
    comp, actives = run_by_steps(proba, eps)
    assert_same_halting(comp, ref)
    for u, active in enumerate(actives):
        np.testing.assert_array_equal(active, ref.num_units > u)


@pytest.mark.parametrize("units", [1, 4])
def test_nothing_to_halt(halt, units):
    comp = halt(np.zeros((0, 3, units - 1), np.float32))
    assert comp.distribution.shape == (0, 3, units)
    assert comp.num_units.shape == comp.ponder_cost.shape == (0, 3)


def test_one_more_axis_changes_nothing(rng, halt):
    proba = rng.random((4, 6, 5), np.float32)
    ref, comp = halt(proba.reshape(24, 5)), halt(proba)
    assert_same_halting(
        halting.Halting(
            comp.distribution.reshape(24, 6),
            comp.num_units.reshape(24),
            comp.remainder.reshape(24),
        ),
        ref,
    )


def test_other_layouts_and_number_types(rng, halt):
    proba = rng.integers(0, 17, (5, 7, 3)) / 16  # float64, exact in float32
    ref = halt(proba.astype(np.float32))
    assert_same_halting(halt(proba), ref)
    assert_same_halting(halt(proba.tolist()), ref)
    assert_same_halting(halt(np.asfortranarray(proba)), ref)
    assert_same_halting(halt(np.repeat(proba, 2, axis=-1).astype(np.float32)[..., ::2]), ref)
    whole = rng.integers(0, 2, (9, 3))
    assert_same_halting(halt(whole), halt(whole.astype(np.float32)))


def test_the_input_is_left_alone(rng, halt):
    proba = rng.random((20, 4), np.float32)
    kept = proba.copy()
    proba.flags.writeable = False
    halt(proba)
    np.testing.assert_array_equal(proba, kept)


def test_step_leaves_the_state_alone(rng):
    before = halting.start((30,), 3)
    copies = [before.cumsum.copy(), before.remainder.copy(), before.num_units.copy()]
    after, _ = halting.step(before, rng.random(30, np.float32))
    assert after is not before
    assert before.active.all()
    for kept, now in zip(copies, (before.cumsum, before.remainder, before.num_units), strict=True):
        np.testing.assert_array_equal(kept, now)
    assert (before.unit, after.unit) == (0, 1)


# --- errors ---


@pytest.mark.parametrize(
    ("proba", "match"),
    [
        ([0.5, np.nan], "halting_proba holds NaN"),
        ([0.5, 1.5], r"halting_proba must be in \[0, 1\]"),
        ([0.5, -0.1], r"halting_proba must be in \[0, 1\]"),
        ([0.5, np.inf], r"halting_proba must be in \[0, 1\]"),
        ([0.5, -np.inf], r"halting_proba must be in \[0, 1\]"),
        ([0.5, 1 + 1e-12], r"halting_proba must be in \[0, 1\]"),  # 1 in float32
        ([0.5, -1e-60], r"halting_proba must be in \[0, 1\]"),  # 0 in float32
        (0.5, "halting_proba must have shape"),
        (["0.5"], "halting_proba must be an array of numbers"),
        ([0.5, None], "halting_proba must be an array of numbers"),
        ([0.5 + 0.1j], "halting_proba must be an array of numbers"),
        ([[0.5], [0.5, 0.5]], "halting_proba must be an array of numbers"),
        (None, "halting_proba must be an array of numbers"),
    ],
)
def test_bad_probabilities_are_refused(halt, proba, match):
    with pytest.raises(ValueError, match=match):
        halt(proba)


@pytest.mark.parametrize("eps", [-0.01, 1.01, np.nan, np.inf, "0.01", None, [0.1, 0.2]])
def test_bad_eps_is_refused(halt, eps):
    with pytest.raises(ValueError, match=r"eps must be a number in \[0, 1\]"):
        halt(np.zeros((2, 3), np.float32), eps)
    with pytest.raises(ValueError, match=r"eps must be a number in \[0, 1\]"):
        halting.start((2,), 4, eps)


@pytest.mark.parametrize("units", [0, -1, 2.0, "3", None])
def test_start_refuses_a_block_without_units(units):
    with pytest.raises(ValueError, match="units must be a whole number, at least 1"):
        halting.start((2,), units)


def test_step_refuses_what_does_not_fit():
    state = halting.start((2,), 2)
    with pytest.raises(ValueError, match="halting_proba is needed at every unit but the last"):
        halting.step(state)
    with pytest.raises(ValueError, match=r"halting_proba must have shape \(2,\), got \(3,\)"):
        halting.step(state, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="halting_proba holds NaN"):
        halting.step(state, np.array([0.5, np.nan], np.float32))
    with pytest.raises(ValueError, match=r"halting_proba must be in \[0, 1\]"):
        halting.step(state, np.array([0.5, 1.5], np.float32))
    state, _ = halting.step(state, np.array([0.5, 1.0], np.float32))
    state, _ = halting.step(state)
    with pytest.raises(ValueError, match="the block has only 2 units and all have run"):
        halting.step(state)
