"""Scales for int8: how they are found, kept beside the weights, and refused."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from PIL import Image

from sact_core import calibrate, checkpoint
from sact_core.backends import Net, reference
from sact_core.calibrate import scales, weights
from sact_core.calibrate.__main__ import METHODS, main
from sact_core.checkpoint import CheckpointError, content_hash, read, write
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.quantisation import (
    MAX_PRODUCTS,
    Quantisation,
    hash_params,
    quantise_weight,
    quantised_convs,
    require_scales,
)
from tests.networks import any_tau_checkpoint
from tests.test_masked import make_plan, steered_params
from tests.test_ponder import write_network

WEIGHT = "block2/unit1/conv1"


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "net.h5")


@pytest.fixture
def photos(tmp_path, rng):
    """Photographs of two sizes, of no class."""
    (tmp_path / "photos").mkdir()
    for number in range(6):
        pixels = rng.integers(0, 256, (20, 24 + number % 2, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def calibrated(network, photos, tmp_path, *more):
    out = tmp_path / "int8.h5"
    assert main([network, "--dataset", str(photos), "--out", str(out), *more]) == 0
    return out


@pytest.mark.parametrize("method", METHODS)
def test_scales_stand_beside_the_weights_with_their_origin(
    network, photos, tmp_path, capsys, method
):
    out = calibrated(network, photos, tmp_path, "--method", method, "--num-examples", "5")
    assert "scales of 12 convolutions" in capsys.readouterr().out
    before, after = read(network), read(out)
    found = after.quantisation
    assert before.quantisation is None
    assert found.about | {"method": method, "num_examples": 5, "seed": 0} == found.about
    assert found.about["command"][2] == "sact_core.calibrate"
    require_scales(build_plan(after.config), after.params, found)
    # All that there was is as it was, and whoever does not know them does not see them.
    assert content_hash(before) == content_hash(after)
    with h5py.File(network) as old, h5py.File(out) as new:
        assert list(old) == list(new) == ["params"]
        for name in before.params:
            np.testing.assert_array_equal(old["params"][name], new["params"][name])
        kept = new[f"params/{WEIGHT}/weight"].attrs
        for name in ("int8_scales", "int8_input", "int8_shifts"):
            assert kept[name].dtype == np.float32
        assert set(new.attrs) - set(old.attrs) == {"int8"}
    again = tmp_path / "again.h5"
    write(again, after)
    assert again.read_bytes() == out.read_bytes()


def test_the_draw_is_the_seeds(network, photos, tmp_path):
    first, second, third = (
        read(calibrated(network, photos, tmp_path, "--force", "--num-examples", "3", "--seed", s))
        for s in "001"
    )
    assert first.quantisation.inputs == second.quantisation.inputs != third.quantisation.inputs


def changed(path, edit):
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def set_attribute(name, key, value):
    def edit(file):
        file[f"params/{name}/weight"].attrs[key] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_attribute(WEIGHT, "int8_input", np.float32([0, 3])), "reads is 0, not above 0"),
        (set_attribute(WEIGHT, "int8_input", np.float32([np.nan, 3])), "reads is nan, not above 0"),
        (set_attribute(WEIGHT, "int8_input", np.float32([1, 256])), "reads is 256, not 0 to 255"),
        (set_attribute(WEIGHT, "int8_input", np.float32([1, 0.5])), "reads is 0.5, no whole nu"),
        (set_attribute(WEIGHT, "int8_input", np.float32([1, 3])), "changed or damaged after they"),
        (set_attribute(WEIGHT, "int8_input", np.float64([1, 3])), f"missing: scales of {WEIGHT}"),
        (set_attribute(WEIGHT, "int8_scales", np.float32([1, 3])), f"missing: scales of {WEIGHT}"),
        (set_attribute(WEIGHT, "int8_scales", np.zeros(4, np.float32)), "a weight scale of"),
        (set_attribute(WEIGHT, "int8_shifts", np.float32([1, 3])), "are not 4 numbers"),
        (set_attribute(WEIGHT, "int8_shifts", np.full(4, np.nan, np.float32)), "not 4 finite"),
        (set_attribute(WEIGHT, "int8_shifts", np.ones(4, np.float32)), "changed or damaged"),
        (lambda file: file.attrs.modify("int8", np.bytes_(b"[]")), "does not tell of scales"),
        (lambda file: file.attrs.create("int8", 3), "does not tell of scales"),
    ],
)
def test_damaged_scales_are_one_sentence(network, photos, tmp_path, edit, message):
    out = changed(calibrated(network, photos, tmp_path), edit)
    with pytest.raises(CheckpointError, match=message):
        read(out)


def test_scales_of_other_weights_or_none_are_refused(network, photos, tmp_path):
    found = read(calibrated(network, photos, tmp_path))
    plan = build_plan(found.config)
    other = found.params | {f"{WEIGHT}/weight": found.params[f"{WEIGHT}/weight"] * 2}
    with pytest.raises(ValueError, match="were found for other weights than these: make new"):
        require_scales(plan, other, found.quantisation)
    with pytest.raises(ValueError, match=r"needs scales, .* with python -m sact_core.calibrate"):
        require_scales(plan, found.params, None)
    broken = replace(found.quantisation, inputs=found.quantisation.inputs | {WEIGHT: (0.0, 0)})
    with pytest.raises(ValueError, match=r"cannot be used: the scale of what .* is 0, not above"):
        require_scales(plan, found.params, broken)
    with pytest.raises(CheckpointError, match="not above 0"):
        write(tmp_path / "broken.h5", replace(found, quantisation=broken))
    # Such a file is read: in float32 it is what it was.
    write(tmp_path / "other.h5", replace(found, params=other))
    assert read(tmp_path / "other.h5").quantisation is not None


def save(folder, pixels, count):
    folder.mkdir()
    for number in range(count):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(folder)


def test_what_cannot_be_calibrated_is_one_sentence(network, photos, tmp_path, capsys):
    def said(*more, of=network):
        assert main([of, "--out", str(tmp_path / "out.h5"), *more]) == 2
        assert not (tmp_path / "out.h5").exists()
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    flat = np.full((20, 20, 3), 7, np.uint8)
    (tmp_path / "empty").mkdir()
    assert "photographs" in said("--dataset", str(tmp_path / "empty"))
    assert "all alike" in said("--dataset", save(tmp_path / "alike", flat, 3))
    assert "one image is too few" in said("--dataset", save(tmp_path / "one", flat, 1))
    data = ("--dataset", str(photos))
    assert "--num-examples must be at least 1" in said(*data, "--num-examples", "0")
    assert "is for --method percentile" in said(*data, "--percentile", "99")
    assert "above 50" in said(*data, "--method", "percentile", "--percentile", "50")
    assert "seed must be at least 0" in said(*data, "--seed", "-1")
    with h5py.File(network, "r") as file:
        names = [n for n in file["params/block1/unit1/preact"] if n in ("gamma", "beta")]
    assert sorted(names) == ["beta", "gamma"]
    params = read(network).params
    quiet = {f"block1/unit1/preact/{n}": 0 * params[f"block1/unit1/preact/{n}"] for n in names}
    loud = {"stem/weight": params["stem/weight"] + np.float32(3e38)}
    for change, message in ((quiet, "is 0 everywhere on these 6"), (loud, "overflows on these")):
        other = replace(read(network), params=params | change)
        write(tmp_path / "other.h5", other)
        assert message in said(*data, of=str(tmp_path / "other.h5"))


def test_the_mobile_family_is_calibrated(photos, tmp_path, capsys, monkeypatch):
    """Its depthwise convolutions too; and runs in int8 then."""
    monkeypatch.setenv("SACT_FORCE_PRECISION", "1")
    config = NetworkConfig("mobile", (1,) * 7, num_classes=3, halting="none")
    plan = build_plan(config)
    network = checkpoint.Checkpoint(config, init_params(plan), default_preprocessing("mobile"))
    write(tmp_path / "mobile.h5", network)
    found = read(calibrated(str(tmp_path / "mobile.h5"), photos, tmp_path)).quantisation
    assert "scales of 21 convolutions" in capsys.readouterr().out
    channels = {conv.name: conv.out_channels for conv in plan.convs if conv.groups > 1}
    assert {name: len(found.weights[name]) for name in channels} == channels
    expansions = [conv.name for unit in plan.units[1:] for conv in unit.convs[:1]]
    assert min(found.inputs[name][1] for name in expansions) > 0  # the state is signed
    # What a ReLU6 leaves is not, and ends at 6.
    others = {*found.inputs} - {*expansions, "head"}
    assert {found.inputs[name][1] for name in others} == {0}
    assert max(found.inputs[name][0] for name in others) <= np.float32(6 / 255)
    net = Net.from_checkpoint(read(tmp_path / "int8.h5"), "masked", "int8")
    assert net.forward(np.ones((1, 32, 33, 3), np.float32)).precision == "int8"


def test_only_what_is_needed_is_looked_at(rng):
    """Of every convolution, the positions at which its outputs are needed, and around."""
    plan = make_plan(units=(2, 1, 1), base_channels=2)
    params = steered_params(plan, rng)
    shown = {}

    def observe(conv, values, needed):
        assert len(values) == len(needed)
        shown[conv.name] = values[needed]

    x = np.full((1, 16, 16, 3), 1.2, np.float32)  # the second unit's positions halt before it
    x[0, 6, 8] = 9.0  # but for this one
    result = reference.Engine(plan, params).forward(x, observe=observe)
    assert {conv.name for conv in quantised_convs(plan)} == set(shown)
    needed = result.positions
    assert needed["block1/unit2/conv2"] == (result.blocks[0].num_units > 1).sum()
    assert len(shown["block1/unit1/conv1"]) == 256
    active = result.blocks[0].num_units[0] > 1
    for name, reach in (("block1/unit2/conv1", 2), ("block1/unit2/conv2", 1)):
        assert len(shown[name]) == reference.grow(active[None], reach).sum() < 256


@pytest.mark.parametrize("kind", ["sact", "act"])
def test_units_that_nobody_reaches_have_scales_all_the_same(rng, kind):
    plan = make_plan(units=(3, 2, 2), base_channels=2, halting=kind)
    params = steered_params(plan, rng)
    for name, value in params.items():
        if "halting" in name and name.endswith("bias"):
            value += 1000  # everything halts after its first unit
    found = checkpoint.Checkpoint(plan.config, params, default_preprocessing("cifar"))
    batches = [rng.standard_normal((2, 16, 16, 3), np.float32) for _ in range(2)]
    result = reference.Engine(plan, params).forward(batches[0])
    assert max(block.num_units.max() for block in result.blocks) == 1
    made = scales.find_scales(found, batches)
    require_scales(plan, params, made)


def test_taus_of_the_whole_range_are_looked_at(monkeypatch):
    found = any_tau_checkpoint()
    seen = []
    forward = reference.Engine.forward

    def spied(self, x, *, taus, **more):
        seen.extend(taus)
        return forward(self, x, taus=taus, **more)

    monkeypatch.setattr(reference.Engine, "forward", spied)
    rng = np.random.default_rng(3)
    batches = [rng.standard_normal((8, 16, 16, 3), np.float32) for _ in range(4)]
    scales.find_scales(found, batches)
    share = np.log(np.array(seen) / 0.001) / np.log(100)
    assert (np.diff(np.sort(share)) < 0.06).all()
    assert share.min() < 0.06
    assert share.max() > 0.94


def test_a_spread_is_a_histogram_of_all(rng):
    parts = [rng.standard_normal(500, np.float32) * scale for scale in (1e-3, 30, 4, 0)]
    spread = scales.Spread()
    for part in [*parts, np.empty(0, np.float32)]:
        spread.add(part)
    together = np.concatenate(parts)
    ref, _ = np.histogram(together, scales.NUM_BINS, (-spread.reach, spread.reach))
    assert spread.counts.sum() == len(together)
    assert np.abs(np.cumsum(spread.counts) - np.cumsum(ref)).max() <= 2  # rounded at an edge
    assert spread.ends("range") == (together.min(), together.max())
    assert spread.reach < 2 * np.abs(together).max()


def test_percentiles_leave_as_many_out_at_either_end(rng):
    spread = scales.Spread()
    values = rng.standard_normal(200_000).astype(np.float32)
    spread.add(values)
    low, high = spread.ends("percentile", 99)
    assert np.mean(values < low) == pytest.approx(0.01, rel=0.05)
    assert np.mean(values > high) == pytest.approx(0.01, rel=0.05)
    assert spread.ends("percentile", 100) == spread.ends("range")
    positive = scales.Spread()
    positive.add(np.abs(values) + 1)
    assert positive.ends("percentile", 99)[0] == 0  # so that 0 is met


def rounding_error(values, low, high):
    scale, zero = scales.scale_of(low, high)
    levels = np.clip(np.rint(values / scale) + zero, 0, 255)
    return np.mean((values - scale * (levels - zero)) ** 2)


def test_the_least_squared_error_is_less_than_the_ranges(rng):
    values = rng.laplace(0, 1, 100_000).astype(np.float32)
    values[values < 0] *= np.float32(0.1)  # as a leaky ReLU leaves them
    values[0] = 60
    spread = scales.Spread()
    spread.add(values)
    best = rounding_error(values, *spread.ends("mse"))
    tried = [
        rounding_error(values, s * spread.low, t * 60) for s in (1, 0.6) for t in (1, 0.5, 0.2)
    ]
    assert best <= 1.02 * min(tried)
    assert best < 0.95 * rounding_error(values, *spread.ends("range"))
    weight = rng.standard_normal((3, 3, 8, 5), np.float32)
    weight[..., 3] = 0
    found = {method: weights.weight_scales(weight, method) for method in ("range", "mse")}
    errors = {
        method: ((quantise_weight(weight, each) * each - weight) ** 2).sum(axis=(0, 1, 2))
        for method, each in found.items()
    }
    assert (errors["mse"] <= errors["range"]).all()
    assert found["range"][3] == 1
    kept = np.abs(quantise_weight(weight, found["range"])).max(axis=(0, 1, 2))
    assert kept.tolist() == [127, 127, 127, 0, 127]


@pytest.mark.parametrize("depthwise", [False, True])
def test_sums_of_what_is_never_negative_are_right_on_the_average(rng, depthwise):
    """Scales of weights do least harm to sums, and the mean that they leave is known."""
    shape = (3, 3, 1, 8) if depthwise else (1, 1, 24, 8)
    weight = (rng.standard_normal(shape) ** 3).astype(np.float32)
    channels = 8 if depthwise else 24
    taps = rng.gamma(8, rng.uniform(0.1, 3, channels), (9 if depthwise else 1, 4000, channels))
    moments = weights.Moments(channels)
    for part in np.array_split(taps.astype(np.float32).reshape(-1, channels), 7):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, taps.mean(axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(moments.variance, taps.var(axis=(0, 1)), rtol=1e-3)

    def sums(values):
        if depthwise:
            return (taps * values.reshape(9, 1, 8)).sum(axis=0)
        return taps[0] @ values.reshape(24, 8)

    errors = {}
    for name, seen in (("sums", moments), ("weights", None)):
        found = weights.weight_scales(weight, "mse", seen)
        away = sums(quantise_weight(weight, found) * found) - sums(weight)
        shift = weights.mean_error(weight, found, moments)
        assert shift.dtype == np.float32
        np.testing.assert_allclose(shift, away.mean(axis=0), atol=0.05 * away.std())
        errors[name] = (away**2).mean(axis=0)
    assert (errors["sums"] < 1.1 * errors["weights"]).all()
    assert errors["sums"].mean() < 0.6 * errors["weights"].mean()


def test_files_without_shifts_are_read_as_they_were(network, photos, tmp_path):
    found = read(calibrated(network, photos, tmp_path))
    assert set(found.quantisation.shifts) == set(found.quantisation.weights)
    write(tmp_path / "old.h5", replace(found, quantisation=replace(found.quantisation, shifts={})))
    old = read(tmp_path / "old.h5").quantisation
    assert not old.shifts
    require_scales(build_plan(found.config), found.params, old)


def test_zero_is_met_exactly_and_sums_have_room():
    for low, high in ((-0.3, 7.1), (0.0, 1.0), (-5.0, 0.0)):
        scale, zero = scales.scale_of(low, high)
        assert 0 <= zero <= 255
        assert scale * (0 - zero) == pytest.approx(low, abs=scale / 2 + 1e-6)
        assert scale * (255 - zero) == pytest.approx(high, abs=scale / 2 + 1e-6)
    assert scales.scale_of(0.0, 0.0) == (0.0, 0)
    assert MAX_PRODUCTS * 255 * 127 < 2**31 <= (MAX_PRODUCTS + 1) * 255 * 127


def test_the_record_is_plain_and_bounded(network, photos, tmp_path):
    found = read(calibrated(network, photos, tmp_path))
    assert json.dumps(found.quantisation.about)
    for about, message in (({"x": object()}, "not plain JSON"), ({"x": "y" * 70_000}, "bytes")):
        strange = replace(found.quantisation, about=about)
        with pytest.raises(CheckpointError, match=message):
            write(tmp_path / "strange.h5", replace(found, quantisation=strange))
    assert hash_params(found.params) == found.quantisation.params_hash
    assert isinstance(found.quantisation, Quantisation)
    assert calibrate.__doc__
    assert checkpoint.scales.read.__doc__
