"""Import of the authors' checkpoints: names, configs, and every bit of the numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sact_core.config import NetworkConfig
from sact_core.import_tf import (
    config_from_tf,
    import_checkpoint,
    params_from_tf,
    tf_name,
    to_tf_names,
)
from sact_core.import_tf.bundle import open_bundle
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import need_shared
from tests.tf_checkpoints import CONFIGS, assert_params, fails, tf_variables

AUTHORS = [
    "cifar_act_2",
    "cifar_act_2_3_4",
    "cifar_act_5",
    "cifar_sact_1_2_3",
    "cifar_sact_2",
    "cifar_sact_5",
    "cifar_sact_5_snappy",
    "cifar_vanilla_1_2_3",
    "cifar_vanilla_2",
    "cifar_vanilla_5",
    "imagenet_act_small",
    "imagenet_sact_small",
    "imagenet_vanilla_small",
    "train_cifar_act_3.after3",
    "train_cifar_sact_2.after3",
    "train_imagenet_sact_2_2_2_2.after3",
]


# --- names ---


@pytest.mark.parametrize(
    ("family", "ours", "theirs"),
    [
        ("cifar", "stem/weight", "resnet_residual/Conv/weights"),
        ("cifar", "postnorm/gamma", "resnet_residual/BatchNorm/gamma"),
        ("cifar", "logits/bias", "resnet_residual/logits/biases"),
        (
            "cifar",
            "block2/unit3/preact/moving_mean",
            "resnet_residual/block_2/unit_3/residual/preact/moving_mean",
        ),
        (
            "cifar",
            "block1/unit10/conv1/bn/beta",
            "resnet_residual/block_1/unit_10/residual/conv1/BatchNorm/beta",
        ),
        (
            "cifar",
            "block1/unit1/halting_proba/local_conv/weight",
            "resnet_residual/block_1/unit_1/halting_proba/local_conv/weights",
        ),
        ("imagenet", "stem/bias", "resnet_v2/conv1/biases"),
        ("imagenet", "postnorm/moving_variance", "resnet_v2/postnorm/moving_variance"),
        (
            "imagenet",
            "block3/unit23/shortcut/weight",
            "resnet_v2/block3/unit_23/bottleneck_v2/shortcut/weights",
        ),
        (
            "imagenet",
            "block4/unit1/conv2/bn/gamma",
            "resnet_v2/block4/unit_1/bottleneck_v2/conv2/BatchNorm/gamma",
        ),
        (
            "imagenet",
            "block1/unit1/halting_proba/global_bn/gamma",
            "resnet_v2/block1/unit_1/halting_proba/global_bn/gamma",
        ),
    ],
)
def test_names(family, ours, theirs):
    assert tf_name(family, ours) == theirs


def test_a_name_of_no_parameter_is_refused():
    with pytest.raises(ValueError, match="'block1/weight' is no parameter of the cifar family"):
        tf_name("cifar", "block1/weight")


@pytest.mark.parametrize(
    "name",
    [
        "cifar_vanilla_5",
        "cifar_act_5",
        "cifar_sact_5",
        "imagenet_vanilla_101",
        "imagenet_act_101",
        "imagenet_sact_101",
    ],
)
def test_names_and_shapes_of_the_full_size_networks(reference_dir, name):
    listed = json.loads((reference_dir / f"variables_{name}.json").read_text())
    shapes = {v["name"]: tuple(v["shape"]) for v in listed}
    family, halting, _ = name.split("_")
    config = config_from_tf(shapes)
    assert config == NetworkConfig(
        family,
        (5, 5, 5) if family == "cifar" else (3, 4, 23, 3),
        16 if family == "cifar" else 64,
        10 if family == "cifar" else 1001,
        halting.replace("vanilla", "none"),
    )
    plan = build_plan(config)
    names = to_tf_names(plan)
    del shapes["global_step"]
    assert {names[n]: shape for n, shape in plan.param_shapes.items()} == shapes


# --- numbers ---


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.family}-{c.halting}")
def test_config_and_numbers_come_back(config):
    ref = init_params(build_plan(config), seed=2)
    comp_config, comp = params_from_tf(tf_variables(config, seed=2))
    assert comp_config == config
    assert list(comp) == list(ref)
    for name, values in ref.items():
        np.testing.assert_array_equal(comp[name], values)


@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_checkpoints_are_imported_bit_for_bit(reference_dir, name):
    index = reference_dir / f"{name}.ckpt.index"
    arrays = np.load(reference_dir / f"{name.split('.')[0].removesuffix('_snappy')}.npz")
    start = "after3/" if name.endswith(".after3") else "var/"
    ref = {key.removeprefix(start): arrays[key] for key in arrays if key.startswith(start)}
    ref.pop("global_step", None)
    comp = import_checkpoint(str(index))
    config = comp.config
    units = arrays["model"].tolist()
    assert config.units_per_block == tuple(units * 3 if len(units) == 1 else units)
    assert config.base_channels == arrays["base_channels"]
    assert config.num_classes == arrays["num_classes"]
    assert config.halting == str(arrays["model_type"]).replace("vanilla", "none")
    assert config.family == name.removeprefix("train_").split("_")[0]
    names = to_tf_names(build_plan(config))
    assert set(names.values()) == set(ref)
    for ours, theirs in names.items():
        assert comp.params[ours].dtype == np.float32
        assert comp.params[ours].tobytes() == ref[theirs].tobytes()


def test_all_of_the_authors_checkpoints_are_there(reference_dir):
    found = [path.name.removesuffix(".ckpt.index") for path in reference_dir.glob("*.ckpt.index")]
    assert found == AUTHORS


# --- what is wrong is listed ---


def test_every_unfit_variable_is_listed():
    variables = tf_variables(CONFIGS[0])
    del variables["resnet_residual/logits/biases"]
    variables["resnet_residual/Conv/biases"] = np.zeros(9, np.float32)
    variables["resnet_residual/BatchNorm/beta"] = np.zeros(16)
    variables["resnet_residual/logits/scale"] = np.zeros(1, np.float32)
    variables["other/Momentum"] = np.zeros(1, np.float32)  # the slot of nothing
    with pytest.raises(ValueError, match="do not make up a ResNet-10 SACT") as caught:
        params_from_tf(variables)
    for part in (
        "missing: resnet_residual/logits/biases (10,)",
        "wrong shape: resnet_residual/Conv/biases is (9,), should be (4,)",
        "wrong type: resnet_residual/BatchNorm/beta is float64, should be float32",
        "unknown: resnet_residual/logits/scale (1,)",
        "unknown: other/Momentum (1,)",
    ):
        assert part in str(caught.value)
    assert str(caught.value).count("\n") == 5


def test_a_unit_that_is_missing_is_listed():
    variables = tf_variables(NetworkConfig("cifar", (1, 3, 1), 2, 2))
    gap = {name: v for name, v in variables.items() if "block_2/unit_2" not in name}
    with pytest.raises(ValueError, match="missing: resnet_residual/block_2/unit_2/residual/conv1"):
        params_from_tf(gap)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "not those of one network"),
        (["resnet_v2_101/conv1/weights"], "not those of one network"),
        (["resnet_v2/conv1/weights", "resnet_residual/Conv/weights"], "not those of one network"),
        (["resnet_v2/conv1/weights"], "lack resnet_v2/block1/unit_1/bottleneck_v2/conv1/weights"),
        (["resnet_residual/block_4/unit_1/x"], "have a block 4; cifar networks have 3"),
        (["resnet_residual/block_0/unit_1/x"], "have a block 0"),
    ],
)
def test_no_network_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        config_from_tf(dict.fromkeys(names, (1, 1, 1, 1)))


def test_too_many_units_are_refused():
    shapes = {name: v.shape for name, v in tf_variables(CONFIGS[2]).items()}
    shapes["resnet_residual/block_1/unit_999999999/x"] = (1,)
    with pytest.raises(ValueError, match="units_per_block must be a whole number from 1 to 512"):
        config_from_tf(shapes)


def test_long_lists_are_cut():
    variables = {f"{name}x": v for name, v in tf_variables(CONFIGS[0]).items()}
    variables |= {k: v for k, v in tf_variables(CONFIGS[0]).items() if k.endswith("weights")}
    with pytest.raises(ValueError, match="do not make up") as caught:
        params_from_tf(variables)
    assert len(str(caught.value).splitlines()) == 22
    assert str(caught.value).endswith("more")


# --- what TensorFlow wrote ---


@pytest.mark.parametrize("name", ["ema", "adagradda", "proximal", "partitioned"])
def test_what_tensorflow_2_wrote(name):
    folder = need_shared("cases", "tf_checkpoints") / name
    bundle = open_bundle(folder / "model.ckpt-7")
    raw = import_checkpoint(folder, weights="raw")
    names = to_tf_names(build_plan(raw.config))
    assert_params(raw, {theirs: bundle.read(theirs) for theirs in names.values()})
    left = raw.provenance["imported"].get("left_out")
    assert (
        left
        == {
            "ema": "63 of Momentum, 63 of ExponentialMovingAverage, global_step, "
            "total_loss/ExponentialMovingAverage",
            "adagradda": "126 of AdagradDA, global_step",
            "proximal": "63 of ProximalAdagrad, global_step",
            "partitioned": "global_step",
        }[name]
    )
    assert bool(bundle.parts) == (name == "partitioned")
    if name == "ema":
        made = import_checkpoint(folder)
        average = "ExponentialMovingAverage"
        assert_params(made, {t: bundle.read(f"{t}/{average}") for t in names.values()})


def test_tensorflows_negative_variances_are_refused_in_one_sentence(tmp_path, capsys):
    # Its optimizer moved them as it moves weights; TensorFlow computes NaN from them too.
    folder, out = need_shared("cases", "tf_checkpoints") / "adagradda", tmp_path / "it.h5"
    assert fails(capsys, folder, "--out", out) == (
        "error: the checkpoint cannot be written: below 0: block1/unit1/preact/moving_variance "
        "holds 4 negative numbers, which no variance has, and so do 10 more parameters\n"
    )
    assert not out.exists()
