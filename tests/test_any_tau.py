"""One network for every tau: three backends, prices per image, budgets, refusals."""

from __future__ import annotations

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sact_core.backends import BACKENDS
from sact_core.backends.budget import find_tau
from sact_core.backends.masked.shifts import Shifts
from sact_core.backends.reference import read_tau_shift
from sact_core.config import NetworkConfig
from sact_core.flops import dense_flops
from sact_core.network import TAU_PIECES
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.taus import check_taus
from tests.networks import (
    MARGIN,
    assert_results_agree,
    halting_margin,
    images_with_margin,
    random_net,
    random_params,
)

LOW, HIGH = 0.002, 0.2
RANGE = {"tau_conditioned": True, "tau_low": LOW, "tau_high": HIGH}
CIFAR = RANGE | {
    "units_per_block": (4, 3, 3), "base_channels": 4, "halting": "sact", "halting_bias": -2.0,
}  # fmt: skip
IMAGENET = CIFAR | {"family": "imagenet", "units_per_block": (2, 3, 1, 2), "num_classes": 7}
CASES = {
    "cifar sact": CIFAR,
    "cifar sact 1x1": CIFAR | {"sact_kernel_size": 1},
    "cifar act": CIFAR | {"halting": "act"},
    "imagenet sact": IMAGENET,
    "imagenet act": IMAGENET | {"halting": "act"},
}


class AtTau:
    """A network that is always asked for the same prices."""

    def __init__(self, net, tau):
        self.net, self.tau, self.config = net, tau, net.config

    def forward(self, x, **options):
        return self.net.forward(x, tau=self.tau, **options)


# --- three backends ---


@pytest.mark.parametrize("tau", [LOW, 0.013, HIGH, "each"])
@pytest.mark.parametrize("case", CASES)
def test_backends_agree(rng, case, tau):
    config = CASES[case]
    tau = np.geomspace(LOW, HIGH, 3) if tau == "each" else tau
    ref_net = random_net(rng, **config)
    x, ref = images_with_margin(rng, AtTau(ref_net, tau), (3, 8, 12, 3))
    assert halting_margin(ref, ref_net.config.eps) > MARGIN
    np.testing.assert_array_equal(ref.taus, np.broadcast_to(tau, 3))
    for backend in BACKENDS[1:]:
        net = random_net(rng, backend, ref_net.engine.params, **config)
        comp = net.forward(x, keep_outputs=True, tau=tau)
        assert_results_agree(comp, ref)
        np.testing.assert_array_equal(comp.taus, ref.taus)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("halting", ["act", "sact"])
def test_each_image_runs_at_its_own_tau(rng, halting, backend):
    config = CIFAR | {"halting": halting}
    ref_net = random_net(rng, **config)
    taus = np.geomspace(LOW, HIGH, 4)[[2, 0, 3, 1]]
    x, _ = images_with_margin(rng, AtTau(ref_net, taus), (4, 8, 8, 3))
    net = random_net(rng, backend, ref_net.engine.params, **config)
    whole = net.forward(x, tau=taus)
    for i, tau in enumerate(taus):
        alone = net.forward(x[i : i + 1], tau=float(tau))
        np.testing.assert_allclose(alone.logits, whole.logits[i : i + 1], rtol=0, atol=1e-4)
        assert alone.flops == whole.flops[i]
        for alone_block, block in zip(alone.blocks, whole.blocks, strict=True):
            np.testing.assert_array_equal(alone_block.num_units[0], block.num_units[i])
    assert len(set(whole.flops.tolist())) > 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tau_that_is_left_out_is_the_checkpoints_default(rng, backend):
    net = random_net(rng, backend, **CIFAR, tau_default=0.05)
    x = rng.standard_normal((2, 8, 8, 3), dtype=np.float32)
    one, other = net.forward(x), net.forward(x, tau=0.05)
    np.testing.assert_array_equal(one.logits, other.logits)
    np.testing.assert_array_equal(one.taus, [0.05, 0.05])
    moved = net.at_tau(0.1)
    assert (net.tau, moved.tau) == (0.05, 0.1)
    np.testing.assert_array_equal(moved.forward(x).taus, [0.1, 0.1])
    np.testing.assert_array_equal(moved.forward(x).logits, net.forward(x, tau=0.1).logits)


@pytest.mark.parametrize("backend", BACKENDS)
def test_engines_are_told_prices_if_and_only_if_the_network_takes_them(rng, backend):
    x = rng.standard_normal((2, 8, 8, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="is conditioned on tau: give its engine taus"):
        random_net(rng, backend, **CIFAR).engine.forward(x)
    plain = {k: v for k, v in CIFAR.items() if k not in RANGE}
    with pytest.raises(ValueError, match="not conditioned on tau: give its engine no taus"):
        random_net(rng, backend, **plain).engine.forward(x, taus=np.full(2, 0.05))


def test_another_default_leaves_config_and_plan_alone(rng):
    net = random_net(rng, **CIFAR, tau_default=0.05)
    moved = net.at_tau(0.1)
    assert moved.plan is net.plan is moved.engine.plan
    assert moved.config is net.config
    assert moved.plan.config.tau_default == moved.config.tau_default == 0.05


@pytest.mark.parametrize("backend", BACKENDS)
def test_at_the_low_end_it_is_the_network_without_a_shift(rng, backend):
    plain = CIFAR | dict.fromkeys(("tau_conditioned",), False)
    plain = {k: v for k, v in plain.items() if k not in ("tau_low", "tau_high")}
    params = random_params(rng, NetworkConfig(**CIFAR))
    fewer = {name: value for name, value in params.items() if not name.endswith("/tau_shift")}
    assert len(params) - len(fewer) == 7  # every unit but the last of each block
    x = rng.standard_normal((2, 8, 8, 3), dtype=np.float32)
    comp = random_net(rng, backend, params, **CIFAR).forward(x, tau=LOW)
    ref = random_net(rng, backend, fewer, **plain).forward(x)
    np.testing.assert_array_equal(comp.logits, ref.logits)
    np.testing.assert_array_equal(comp.flops, ref.flops)
    assert ref.taus is None


def test_the_shift_costs_no_flops():
    with_tau = build_plan(NetworkConfig(**CIFAR))
    values = dataclasses.replace(
        with_tau.config, tau_conditioned=False, tau_low=None, tau_high=None, tau_default=None
    )
    ones = (dense_flops(plan, (8, 8)).total for plan in (with_tau, build_plan(values)))
    assert len({int(total[0]) for total in ones}) == 1


# --- more tau never halts later, at equal features ---


def shift_on_every_backend(params, config, taus):
    """Shifts of the first unit's logits [shape=(n,)], by backend."""
    import torch

    from sact_core.backends.dense import Network

    plan = build_plan(config)
    branch = plan.units[0].halting
    network = Network(plan, params)
    with torch.inference_mode():
        pieces = network._tau_pieces(torch.from_numpy(taus))
        dense = network._shifted(torch.zeros(len(taus)), branch, pieces).numpy()
    return {
        "reference": read_tau_shift(taus, branch, config, params).ravel(),
        "masked": Shifts(plan, params).at(taus, len(taus))[:, 0],
        "dense": dense,
    }


@settings(max_examples=40, deadline=None)
@example([0.0] * TAU_PIECES, 0.914051057624971, 2.0, [0.0, 0.0])  # logarithms that differ
@given(
    raw=st.lists(st.floats(-30, 30, width=32), min_size=TAU_PIECES, max_size=TAU_PIECES),
    low=st.floats(1e-6, 1.0),
    ratio=st.floats(1.01, 1e6),
    where=st.lists(st.floats(0, 1), min_size=2, max_size=20),
)
def test_a_shift_never_falls(raw, low, ratio, where):
    config = NetworkConfig(
        units_per_block=(2, 1, 1), base_channels=2, halting="act",
        tau_conditioned=True, tau_low=low, tau_high=low * ratio,
    )  # fmt: skip
    params = init_params(build_plan(config))
    params["block1/unit1/halting_proba/tau_shift"][:] = raw
    t = np.unique([0, *where, *np.linspace(0, 1, TAU_PIECES + 1)])
    taus = np.unique(np.clip(low * ratio**t, low, config.tau_high))
    shifts = shift_on_every_backend(params, config, taus)
    for backend, shift in shifts.items():
        assert shift.dtype == np.float32, backend
        assert (np.diff(shift) >= 0).all(), backend
        assert shift[0] == 0, backend
        np.testing.assert_allclose(
            shift, shifts["reference"], rtol=1e-5, atol=1e-5, err_msg=backend
        )
    ends = np.logaddexp(0, np.array(raw, np.float64)).sum()
    assert shifts["reference"][-1] == pytest.approx(ends, rel=1e-4, abs=1e-6)


def test_fresh_networks_shift_evenly_by_the_span():
    config = NetworkConfig(**CIFAR)
    shifts = shift_on_every_backend(
        init_params(build_plan(config)), config, np.geomspace(LOW, HIGH, 9)
    )
    for backend, shift in shifts.items():
        np.testing.assert_allclose(shift, np.linspace(0, 4.5, 9), atol=1e-5, err_msg=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_units_halt_no_later_for_more_tau(rng, backend):
    """Before the first unit of block 1 has halted, the features are equal."""
    net = random_net(rng, backend, **CIFAR)
    x = rng.standard_normal((1, 8, 8, 3), dtype=np.float32)
    taus = np.geomspace(LOW, HIGH, 9)
    first = np.stack([net.forward(x, tau=t).blocks[0].halting_proba[0, ..., 0] for t in taus])
    rise = np.diff(first, axis=0)
    assert (rise >= 0).all()
    assert rise.max() > 0.01


# --- budgets ---


def share_of(net, results):
    spent = sum(int(result.flops.sum()) for result in results)
    return spent / sum(
        len(result.flops) * int(dense_flops(net.plan, result.input_size).total[0])
        for result in results
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_budget_is_spent(rng, backend):
    net = random_net(rng, backend, **CIFAR)
    images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    most, least = (share_of(net, [net.run(images, tau=tau)]) for tau in (LOW, HIGH))
    assert least < most - 0.1
    for target in (least + 0.3 * (most - least), least + 0.7 * (most - least)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = net.run(images, target_flops=target)
        assert share_of(net, [result]) == pytest.approx(target, abs=0.01)
        assert len(set(result.taus.tolist())) == 1
        again = net.run(images, tau=float(result.taus[0]))
        np.testing.assert_array_equal(again.logits, result.logits)


def test_a_list_shares_one_budget(rng):
    net = random_net(rng, "masked", **CIFAR)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((40, 32), (32, 64))]
    ends = [share_of(net, net.run(images, fit="keep", tau=tau)) for tau in (LOW, HIGH)]
    target = sum(ends) / 2
    results = net.run(images, fit="keep", target_flops=target, keep_outputs=True)
    assert len({float(result.taus[0]) for result in results}) == 1
    assert results[0].input_size != results[1].input_size
    assert results[0].blocks[0].output is not None
    assert share_of(net, results) == pytest.approx(target, abs=0.01)


@pytest.mark.parametrize(("end", "target"), [(LOW, 1.0), (HIGH, 0.001)])
def test_a_budget_out_of_reach_is_the_nearest_end_and_a_warning(rng, end, target):
    net = random_net(rng, "masked", **CIFAR | {"halting_bias": 0.0})
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    match = rf"no tau spends {target:.1%} of dense on these images: tau {end:g} comes nearest with"
    with pytest.warns(UserWarning, match=match):
        result = net.run(images, target_flops=target)
    np.testing.assert_array_equal(result.taus, [end, end])


def test_the_search_ends_at_a_crossing_and_asks_little():
    config = NetworkConfig(**CIFAR)
    for jump in (0.003, 0.05):  # work that falls in one step, and rises again a little
        asked = []

        def spend(tau, jump=jump, asked=asked):
            asked.append(tau)
            return 0.8 if tau < jump else 0.3 + 0.01 * (0.06 < tau < 0.1)

        found = find_tau(spend, config, 0.6)
        assert found.share == 0.8
        assert found.tau < jump
        assert found.warning is not None
        assert len(asked) == 14
        assert max(tau for tau in asked if tau < jump) > 0.99 * jump
    line = find_tau(lambda tau: 1 - np.log(tau / LOW) / np.log(HIGH / LOW), config, 0.25)
    assert line.tau == pytest.approx(LOW**0.25 * HIGH**0.75, rel=0.01)
    assert line.warning is None


# --- what is refused ---


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tau": 0.0019}, "tau 0.0019 is outside of the range .* 0.002 to 0.2; clamp_tau"),
        ({"tau": 0.3}, "tau 0.3 is outside of the range that ResNet-22 SACT any tau was trained"),
        ({"tau": [0.01, 0.3]}, "tau 0.3 is outside of the range"),
        ({"tau": 0.0}, "tau must be a number above 0, got 0"),
        ({"tau": -1.0, "clamp_tau": True}, "tau must be a number above 0, got -1"),
        ({"tau": float("nan")}, "tau must be a number above 0, got nan"),
        ({"tau": [0.01, float("nan")], "clamp_tau": True}, "above 0, got nan"),
        ({"tau": float("inf"), "clamp_tau": True}, "above 0, got inf"),
        ({"tau": [0.01]}, "one for each of the 2 images, got 1 numbers"),
        ({"tau": [0.01] * 3}, "one for each of the 2 images, got 3 numbers"),
        ({"tau": np.full((2, 1), 0.01)}, r"got 2 rows, shape \(2, 1\)"),
        ({"tau": "much"}, "tau must be a number, or one per image, got 'much'"),
        ({"tau": [[0.01], [0.01, 0.02]]}, "tau must be a number, or one per image"),
    ],
)
def test_bad_prices_are_refused(rng, options, match):
    net = random_net(rng, "masked", **CIFAR)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    for run in (net.run, lambda images, **options: net.run(list(images), **options)):
        with pytest.raises(ValueError, match=match):
            run(images, **options)
    with pytest.raises(ValueError, match=match):
        net.forward(images.astype(np.float32), **options)


@pytest.mark.parametrize("target", [0, 0.0, -0.5, 1.01, float("nan"), float("inf"), "half", True])
def test_bad_budgets_are_refused(rng, target):
    net = random_net(rng, "masked", **CIFAR)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match=r"must be a share of dense in \(0, 1\], got"):
        net.run(images, target_flops=target)
    with pytest.raises(ValueError, match="give tau or target_flops, not both"):
        net.run(images, target_flops=0.5, tau=0.01)


@pytest.mark.parametrize("halting", ["none", "act", "sact"])
def test_other_networks_take_no_tau(rng, halting):
    net = random_net(rng, "masked", units_per_block=(2, 1, 1), base_channels=2, halting=halting)
    images = np.zeros((1, 32, 32, 3), np.uint8)
    for options in ({"tau": 0.01}, {"tau": [0.01]}, {"target_flops": 0.5}):
        with pytest.raises(ValueError, match=r"this ResNet-10.* is not conditioned on tau"):
            net.run(images, **options)
    with pytest.raises(ValueError, match="is not conditioned on tau"):
        net.at_tau(0.01)
    assert net.run(images).taus is None


def test_a_price_outside_is_clamped_when_asked(rng):
    net = random_net(rng, "masked", **CIFAR)
    x = rng.standard_normal((2, 8, 8, 3), dtype=np.float32)
    comp = net.forward(x, tau=[1e-9, 7.0], clamp_tau=True)
    np.testing.assert_array_equal(comp.taus, [LOW, HIGH])
    np.testing.assert_array_equal(comp.logits, net.forward(x, tau=[LOW, HIGH]).logits)
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    clamped = net.run(list(images), tau=[1e-9, 7.0], clamp_tau=True)
    assert [float(result.taus[0]) for result in clamped] == [LOW, HIGH]
    assert net.at_tau(7.0, clamp_tau=True).tau == HIGH


def test_prices_are_checked_without_copies_of_the_callers(rng):
    config = NetworkConfig(**CIFAR)
    given = np.array([0.01, 0.02])
    taus = check_taus(config, given, 2)
    taus[0] = 0.1
    assert given[0] == 0.01
    for tau, count in itertools.product((0.01, np.float32(0.01), np.array(0.01)), (1, 3)):
        assert check_taus(config, tau, count).shape == (count,)
    assert check_taus(NetworkConfig(), None, 2) is None
