"""Networks that give NaN or infinite numbers: refused, alike on every backend."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
from PIL import Image

from sact_core import average, export_maps, objects, ponder, saliency
from sact_core import checkpoint as checkpoints
from sact_core.backends import BACKENDS, NotFinite, backend_module, dense
from sact_core.backends.masked.kernels import plain, vector
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.evaluate import __main__ as evaluate
from sact_core.halting import MAX_LOGIT, advance, start
from sact_core.plans import build_plan
from sact_core.result import Result
from sact_core.train import __main__ as train
from sact_core.train import read_metrics
from tests.networks import OPTIONS, random_net, random_params
from tests.test_objects import write_boxes
from tests.test_saliency import write_example
from tests.training import flags

CIFAR = {"units_per_block": (2, 4, 2), "base_channels": 4, "num_classes": 3}
IMAGENET = {
    "family": "imagenet", "units_per_block": (2, 4, 2, 2), "base_channels": 2, "num_classes": 3,
}  # fmt: skip
KINDS = [
    pytest.param(CIFAR | {"halting": "sact", "halting_bias": -0.5}, id="cifar-sact"),
    pytest.param(CIFAR | {"halting": "act", "halting_bias": -0.5}, id="cifar-act"),
    pytest.param(IMAGENET | {"halting": "sact", "halting_bias": -0.5}, id="imagenet-sact"),
]


def engines(config, params):
    """Every backend's engine, the masked one with and without vector code."""
    plan = build_plan(config)
    found = {
        name: backend_module(name).Engine(plan, params, **OPTIONS.get(name, {}))
        for name in BACKENDS
    }
    found["plain"] = backend_module("masked").Engine(plan, params, vectors=False)
    return found


def bias_of(config, unit):
    branch = "local_conv" if config.halting == "sact" else "global_conv"
    return f"block2/{unit}/halting_proba/{branch}/bias"


# --- one definition of a halting score that is NaN ---


def test_the_rule_lets_a_nan_score_run_every_unit():
    state = start((3,), 3, eps=0.0)
    columns = np.array([[0.25, np.nan, 1.0], [0.75, 0.5, np.nan]], np.float32)
    weights = []
    for column in (*columns, None):
        state, weight = advance(state, column)
        weights.append(weight)
    assert state.num_units.tolist() == [2, 3, 1]
    np.testing.assert_array_equal(state.remainder, [0.75, np.nan, 1])
    # The third stopped before its NaN, which nobody read.
    np.testing.assert_array_equal(np.transpose(weights)[[0, 2]], [[0.25, 0.75, 0], [1, 0, 0]])


@pytest.mark.parametrize("options", KINDS)
def test_a_nan_score_goes_on_and_costs_nan_on_every_backend(rng, options):
    config = NetworkConfig(**options)
    params = random_params(rng, config)
    params[bias_of(config, "unit1")][:] = np.nan
    x = rng.standard_normal((2, 32, 32, 3), dtype=np.float32)
    for name, engine in engines(config, params).items():
        first, second = engine.forward(x).blocks[:2]
        assert np.isfinite(first.ponder_cost).all(), name
        assert (second.num_units == 4).all(), name
        assert np.isnan(second.ponder_cost).all(), name
        assert np.isnan(second.halting_proba[..., 0]).all(), name


@pytest.mark.parametrize("options", KINDS)
def test_a_nan_score_that_nobody_reads_changes_nothing(rng, options):
    config = NetworkConfig(**options, eps=0.5)
    params = random_params(rng, config)
    x = rng.standard_normal((8, 32, 32, 3), dtype=np.float32)
    for name, value in params.items():
        if name.startswith("block2/unit1/halting_proba/") and name.endswith("/weight"):
            value *= 0.01  # no score is 0 or 1
    # Half of the scores after the first unit reach 1 - eps.
    proba = engines(config, params)["reference"].forward(x).blocks[1].halting_proba[..., 0]
    params[bias_of(config, "unit1")] -= np.median(np.log(proba / (1 - proba)))
    refs = {name: engine.forward(x).blocks[1] for name, engine in engines(config, params).items()}
    params[bias_of(config, "unit2")][:] = np.nan
    for name, engine in engines(config, params).items():
        ref, comp = refs[name], engine.forward(x).blocks[1]
        stopped = ref.num_units == 1
        assert stopped.any(), name
        assert not stopped.all(), name
        np.testing.assert_array_equal(np.isnan(comp.ponder_cost), ~stopped, err_msg=name)
        np.testing.assert_array_equal(comp.ponder_cost[stopped], ref.ponder_cost[stopped])
        np.testing.assert_array_equal(comp.num_units, np.where(stopped, 1, 4), err_msg=name)


def set_all(params, wanted, value):
    """Give every number of the parameters whose names match a value, every second its opposite."""
    for name, values in params.items():
        if re.fullmatch(wanted, name):
            flat = values.reshape(-1)
            flat[:] = value
            flat[1::2] = -value
    return params


#: What overflows, in one order of summation or another.
OVERFLOWS = [r"local_conv/weight", r"global_conv/weight", r"(local|global)_conv/bias"]


@pytest.mark.parametrize("value", [3e38, -3e38, 2e36])
@pytest.mark.parametrize("part", OVERFLOWS)
@pytest.mark.parametrize("options", KINDS)
def test_halting_logits_that_overflow_are_nan_in_any_order_of_summation(rng, options, part, value):
    config = NetworkConfig(**options)
    params = set_all(random_params(rng, config), rf"block2/unit1/halting_proba/{part}", value)
    x = rng.standard_normal((2, 32, 32, 3), dtype=np.float32)
    found = {name: engine.forward(x).blocks[1] for name, engine in engines(config, params).items()}
    broken = np.isnan(found["reference"].ponder_cost)
    by_image = config.halting == "act"
    assert broken.any() or (by_image and part.startswith("local_conv"))
    for name, block in found.items():
        np.testing.assert_array_equal(np.isnan(block.ponder_cost), broken, err_msg=name)
        np.testing.assert_array_equal(block.num_units, found["reference"].num_units, err_msg=name)
        assert (block.num_units[broken] == 4).all(), name


@pytest.mark.parametrize("logit", [-1e31, -1e29, -50.0, 50.0, 1e29, 1e31])
@pytest.mark.parametrize("options", KINDS)
def test_the_largest_halting_logit_is_the_same_on_every_backend(rng, options, logit):
    config = NetworkConfig(**options)
    params = random_params(rng, config)
    set_all(params, r"block2/unit1/halting_proba/.*conv/weight", 0.0)
    params[bias_of(config, "unit1")][:] = logit
    x = rng.standard_normal((2, 32, 32, 3), dtype=np.float32)
    wanted = np.nan if abs(logit) > MAX_LOGIT else float(logit > 0)
    for name, engine in engines(config, params).items():
        block = engine.forward(x).blocks[1]
        np.testing.assert_allclose(block.halting_proba[..., 0], wanted, atol=1e-6, err_msg=name)
        if logit > 0 and np.isfinite(wanted):
            assert (block.num_units == 1).all(), name


@pytest.mark.parametrize("halting", ["none", "sact"])
@pytest.mark.parametrize("conv", ["conv1", "conv2"])
def test_minus_infinity_does_not_get_lost_in_an_activation(rng, conv, halting):
    options = IMAGENET | {"halting": halting}
    config = NetworkConfig(**options)
    params = random_params(rng, config)
    for name in (f"block2/unit2/{conv}/weight", f"block2/unit2/{conv}/bn/gamma"):
        params[name][:] = -3e38 if name.endswith("weight") else 1
    if config.halts:
        params[bias_of(config, "unit1")][:] = -30  # everybody reaches the unit
    x = rng.standard_normal((1, 32, 32, 3), dtype=np.float32)
    for name, engine in engines(config, params).items():
        assert not np.isfinite(engine.forward(x).logits).any(), name


# --- refused through Net ---


def overflowing(params, block="block2"):
    """Make a block's activations overflow float32; every number stays finite."""
    for name, value in params.items():
        if name.startswith(f"{block}/unit2/") and name.endswith("/weight"):
            value[:] = np.where(value < 0, np.float32(-1e30), np.float32(1e30))
    return params


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", KINDS)
def test_an_overflowing_block_is_named(rng, backend, options):
    params = overflowing(random_params(rng, NetworkConfig(**options)))
    # Nobody stops before the unit that overflows.
    params[bias_of(NetworkConfig(**options), "unit1")][:] = -30
    net = random_net(rng, backend, params, **options)
    with pytest.raises(NotFinite, match=r"^the results of .* the ponder cost of block2 came out"):
        net.forward(rng.standard_normal((1, 32, 32, 3), dtype=np.float32))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", [CIFAR, IMAGENET])
def test_logits_that_are_not_finite_are_refused(rng, backend, family):
    params = random_params(rng, NetworkConfig(**family))
    params["logits/weight"][:] = 3e38
    params["postnorm/beta"][:] = 100
    net = random_net(rng, backend, params, **family)
    with pytest.raises(NotFinite, match="its logits came out as NaN or infinite"):
        net.forward(rng.standard_normal((2, 32, 32, 3), dtype=np.float32))


def test_the_largest_logits_have_shares_without_a_warning():
    logits = np.array([[3e38, -3e38, 3e38], [0, np.log(3), -1e38]], np.float32)
    comp = Result(logits, np.zeros(2, np.int64), (), {}, (1, 1)).probabilities
    np.testing.assert_allclose(comp, [[0.5, 0, 0.5], [0.25, 0.75, 0]], rtol=1e-6)


@pytest.mark.parametrize("row", [plain.max_row, vector.max_row], ids=["plain", "vector"])
def test_nan_does_not_get_lost_in_the_largest_of_a_pool(row):
    largest = numba.njit(lambda x, y: row(16, x, 0, y, 0))
    for one, other, wanted in ((np.nan, 1, np.nan), (1, np.nan, np.nan), (1, 2, 2), (2, 1, 2)):
        x, y = np.full(16, one, np.float32), np.full(16, other, np.float32)
        largest(x, y)
        np.testing.assert_array_equal(y, np.full(16, wanted, np.float32))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", KINDS)
def test_what_overflows_where_nothing_is_needed_does_not_count(rng, backend, options):
    params = overflowing(random_params(rng, NetworkConfig(**options)))
    params[bias_of(NetworkConfig(**options), "unit1")][:] = 30  # everybody stops before
    net = random_net(rng, backend, params, **options)
    result = net.forward(rng.standard_normal((1, 32, 32, 3), dtype=np.float32))
    assert (result.blocks[1].num_units == 1).all()


# --- files and commands ---


SACT = NetworkConfig(**CIFAR, halting="sact", halting_bias=-0.5)
#: Everybody reaches the unit that overflows.
GOES_ON = bias_of(SACT, "unit1")


def checkpoint(change) -> checkpoints.Checkpoint:
    params = random_params(np.random.default_rng(3), SACT)
    change(params)
    return checkpoints.Checkpoint(SACT, params, Preprocessing("cifar", 16), ("a", "b", "c"))


def break_it(params):
    overflowing(params)[GOES_ON][:] = -30


@pytest.fixture
def broken(tmp_path):
    checkpoints.write(tmp_path / "broken.h5", checkpoint(break_it))
    return str(tmp_path / "broken.h5")


@pytest.mark.parametrize("way", ["write", "read"])
def test_negative_variances_are_refused_and_named(tmp_path, monkeypatch, way):
    name = "block1/unit2/preact/moving_variance"
    made = checkpoint(lambda params: params[name].__setitem__(slice(1, 3), -1e-9))
    if way == "read":
        with monkeypatch.context() as patch:
            patch.setattr("sact_core.checkpoint.writing.values_problems", lambda _: [])
            checkpoints.write(tmp_path / "it.h5", made)
    wanted = rf"below 0: {name} holds 2 negative numbers, which no variance has$"
    with pytest.raises(checkpoints.CheckpointError, match=wanted):
        checkpoints.write(tmp_path / "new.h5", made) if way == "write" else checkpoints.read(
            tmp_path / "it.h5"
        )
    assert not (tmp_path / "new.h5").exists()


def test_many_negative_variances_are_one_sentence():
    made = checkpoint(lambda params: [v.fill(-1) for n, v in params.items() if "variance" in n])
    count = sum("variance" in name for name in made.params)
    first = "block1/unit1/preact/moving_variance"
    wanted = (
        rf"^the checkpoint cannot be written: below 0: {first} holds 4 negative numbers, which no "
        rf"variance has, and so do {count - 1} more parameters$"
    )
    with pytest.raises(checkpoints.CheckpointError, match=wanted):
        checkpoints.content_hash(made)
    made = checkpoint(
        lambda params: [params[f"logits/{n}"].fill(np.nan) for n in ("weight", "bias")]
    )
    with pytest.raises(
        checkpoints.CheckpointError, match=r"infinite numbers, and so does logits/bias$"
    ):
        checkpoints.content_hash(made)


def test_a_variance_of_zero_is_one(tmp_path):
    name = "block1/unit2/preact/moving_variance"
    checkpoints.write(tmp_path / "it.h5", checkpoint(lambda params: params[name].fill(0)))
    assert not checkpoints.read(tmp_path / "it.h5").params[name].any()


@pytest.fixture
def photos(tmp_path, rng):
    for name in ("a/1.png", "a/2.png", "b/1.png", "c/1.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
        write_example(tmp_path / "gaze", name[0], int(name[2]), pixels, pixels[..., 0] < 99)
    return tmp_path / "photos"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("command", ["evaluate", "ponder", "export_maps", "objects", "saliency"])
def test_commands_say_it_in_one_sentence(tmp_path, broken, photos, capsys, command, backend):
    boxes = write_boxes(tmp_path / "boxes.json", {"1.png": [[0, 0, 0.6, 0.6]]})
    main, argv = {
        "evaluate": (evaluate.main, ["--dataset", photos, "--split", "all"]),
        "ponder": (ponder.main, [*sorted(photos.glob("a/*.png")), "--out", tmp_path / "out"]),
        "export_maps": (
            export_maps.main, [photos, "--out", tmp_path / "out.h5"],
        ),
        "objects": (objects.main, [photos / "b", "--boxes", boxes]),
        "saliency": (saliency.main, [tmp_path / "gaze", "--blur", 0, "--centre-weight", 0]),
    }[command]  # fmt: skip
    code = main([*map(str, argv), "--checkpoint", broken, "--backend", backend])
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert said.err.startswith("error: the results of ResNet-18 SACT are not finite: the ponder")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out.h5").exists()
    assert not list(Path(tmp_path).glob("out/*"))


# --- training ---


def test_an_evaluation_that_overflows_is_left_out_and_told(
    noise_data_set, tmp_path, monkeypatch, capsys
):
    infer, calls = dense.infer, []

    def overflow_first(network, images, **options):
        result = infer(network, images, **options)
        calls.append(len(images))
        logits = np.full_like(result.logits, np.nan) if len(calls) == 1 else result.logits
        return replace(result, logits=logits)

    monkeypatch.setattr(dense, "infer", overflow_first)
    assert train.main(flags(noise_data_set, tmp_path / "run", "--epochs", "2")) == 0
    said = capsys.readouterr().out
    assert said.count("warning: no evaluation after epoch 1: the results of ResNet-") == 1
    first, second = read_metrics(tmp_path / "run")
    assert first["epoch"] == 1
    assert not any(name.startswith(("eval/", "Total Flops")) for name in first)
    assert 0 <= second["eval/Accuracy"] <= 1
    best = checkpoints.read_header(tmp_path / "run" / "best.h5")
    assert best.provenance["epochs"] == 2


def test_an_average_that_overflows_is_not_written(noise_data_set, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    assert train.main(flags(noise_data_set, run, "--epochs", "1")) == 0
    made = checkpoints.read(run / "last.h5")
    made.params["logits/weight"][:] = 3e38
    made.params["postnorm/beta"][:] = 100
    checkpoints.write(tmp_path / "broken.h5", made)
    capsys.readouterr()
    files, out = [str(tmp_path / "broken.h5")] * 2, tmp_path / "average.h5"
    code = average.main([*files, "--out", str(out), "--num-batches", "1"])
    said = capsys.readouterr()
    assert code == 2
    assert said.err.startswith("error: the results of ResNet-")
    assert said.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", [CIFAR, IMAGENET])
def test_scales_that_overflow_are_refused_without_a_warning(rng, backend, family):
    # Warnings are errors here: folding the scale into weights must not say a word of its own.
    config = NetworkConfig(**family)
    params = random_params(rng, config)
    for name, value in params.items():
        if name.endswith("conv1/bn/gamma"):
            value[:] = 3e38
        elif name.endswith("conv1/bn/moving_variance"):
            value[:] = 1e-30
    net = random_net(rng, backend, params, **family)
    with pytest.raises(NotFinite, match="came out"):
        net.forward(rng.standard_normal((1, 32, 32, 3), dtype=np.float32))
