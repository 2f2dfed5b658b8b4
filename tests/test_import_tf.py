"""Import of the authors' checkpoints: names, configs, and every bit of the numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sact_core import checkpoint
from sact_core.config import NetworkConfig
from sact_core.import_tf import (
    config_from_tf,
    import_checkpoint,
    params_from_tf,
    tf_name,
    to_tf_names,
)
from sact_core.import_tf.__main__ import main
from sact_core.import_tf.bundle import open_bundle
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests import tf_writer
from tests.conftest import need_shared

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

CONFIGS = [
    NetworkConfig("cifar", (1, 2, 1), 4, 10, "sact"),
    NetworkConfig("cifar", (2, 1, 3), 2, 5, "act"),
    NetworkConfig("cifar", (1, 1, 1), 2, 3),
    NetworkConfig("imagenet", (1, 2, 1, 3), 2, 1001, "sact", sact_kernel_size=1),
    NetworkConfig("imagenet", (2, 1, 1, 1), 1, 4, "act"),
    NetworkConfig("imagenet", (1, 1, 2, 1), 1, 4),
]


def tf_variables(config, seed=0):
    plan = build_plan(config)
    params = init_params(plan, seed)
    return {theirs: params[ours] for ours, theirs in to_tf_names(plan).items()}


@pytest.fixture
def prefix(tmp_path):
    """A small SACT checkpoint with slots and a global step."""
    variables = tf_variables(CONFIGS[0])
    slots = {f"{name}/Momentum": values for name, values in variables.items()}
    step = {"global_step": np.array(64_000, np.int64)}
    tf_writer.write_bundle(tmp_path / "model.ckpt", variables | slots | step)
    return str(tmp_path / "model.ckpt")


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


# --- what else a checkpoint holds ---


def imported(folder, variables, **options):
    tf_writer.write_bundle(folder / "model.ckpt", variables)
    made = import_checkpoint(folder / "model.ckpt", **options)
    return made, made.provenance["imported"]


def assert_params(made, variables, change=lambda v: v):
    for ours, theirs in to_tf_names(build_plan(made.config)).items():
        np.testing.assert_array_equal(made.params[ours], change(variables[theirs]), err_msg=ours)


SLOTS = (  # noqa: SIM905
    "Momentum RMSProp RMSProp_1 RMSProp_2 Adam Adam_1 Adagrad Adadelta Adadelta_1 Ftrl Ftrl_1 "
    "AdagradDA AdagradDA_1 ProximalAdagrad AdamW AdamW_1 AdaMax Nadam LARSOptimizer AddSign "
    "PowerSign MyOwn_1 SLOW"
).split()  # fmt: skip


@pytest.mark.parametrize("before", ["", "OptimizeLoss/", "training/"])
def test_slots_of_every_optimiser_are_left_out(tmp_path, before):
    variables = tf_variables(CONFIGS[0])
    slots = {f"{before}{n}/{slot}": v for n, v in variables.items() for slot in SLOTS}
    made, about = imported(tmp_path, variables | slots)
    assert made.config == CONFIGS[0]
    assert_params(made, variables)
    count = len(variables)
    kinds = {slot.partition("_")[0] for slot in SLOTS}
    assert f"{3 * count} of RMSProp" in about["left_out"]
    assert about["left_out"].endswith(f" and {len(kinds) - 8} more")
    assert about["weights"] == "raw"


def test_counters_and_settings_of_wrappers_are_left_out(tmp_path):
    variables = tf_variables(CONFIGS[1])
    flag, step = np.zeros((1,), np.int32), np.array(7, np.int64)
    others = {"stop_flag": flag, "OptimizeLoss/learning_rate": np.float32(0.1)}
    others |= {"beta1_power": np.float32(0.9), "beta1_power_1": np.float32(0.9), "steps": step}
    others |= {"total_loss/ExponentialMovingAverage": np.float32(0.5)}
    others |= {f"{n}/{what}": np.float32(1) for n in list(variables)[:3] for what in ("biased",)}
    others |= {f"input/{i}": flag for i in range(200)}
    made, about = imported(tmp_path, variables | others)
    assert_params(made, variables)
    for part in ("3 of biased", "beta1_power_1", "OptimizeLoss/learning_rate", "200 of input/"):
        assert part in about["left_out"]


@pytest.mark.parametrize("before", ["", "averages/"])
def test_moving_averages_or_raw_weights(tmp_path, before):
    variables = tf_variables(CONFIGS[0])
    averaged = [name for name in variables if "moving_" not in name]
    averages = {f"{before}{n}/ExponentialMovingAverage": variables[n] + 1 for n in averaged}
    made, about = imported(tmp_path, variables | averages)
    assert_params(made, variables | {n: variables[n] + 1 for n in averaged})
    assert about == {
        "weights": "averaged",
        "num_averaged": len(averaged),
        "num_raw": len(variables) - len(averaged),
    }
    made, again = imported(tmp_path, variables | averages, weights="averaged")
    assert again == about
    made, about = imported(tmp_path, variables | averages, weights="raw")
    assert_params(made, variables)
    assert about["weights"] == "raw"
    assert about["left_out"] == f"{len(averaged)} of ExponentialMovingAverage"
    with pytest.raises(ValueError, match="holds no moving averages"):
        imported(tmp_path, variables, weights="averaged")


def test_averages_alone(tmp_path):
    variables = tf_variables(CONFIGS[2])
    made, about = imported(
        tmp_path, {f"{n}/ExponentialMovingAverage": v for n, v in variables.items()}
    )
    assert_params(made, variables)
    assert (about["weights"], about["num_raw"]) == ("averaged", 0)


def test_a_scope_before_all_names_is_stripped(tmp_path):
    variables = tf_variables(CONFIGS[0])
    scoped = {f"tower/model/{name}": v for name, v in variables.items()}
    slots = {f"{name}/Adam": v for name, v in scoped.items()}
    slots |= {f"OptimizeLoss/{name}/Momentum": v for name, v in scoped.items()}
    made, about = imported(tmp_path, scoped | slots)
    assert_params(made, variables)
    assert about["scope"] == "tower/model/"
    count = len(variables)
    assert about["left_out"] == f"{count} of Momentum, {count} of Adam"


def test_of_several_networks_one_must_be_named(tmp_path):
    student, teacher = tf_variables(CONFIGS[0], 1), tf_variables(CONFIGS[2], 2)
    both = {f"student/{n}": v for n, v in student.items()}
    both |= {f"teacher/{n}": v for n, v in teacher.items()}
    both |= {f"teacher/{n}/ExponentialMovingAverage": v + 1 for n, v in teacher.items()}
    with pytest.raises(ValueError, match="several networks are there: say which with --scope, of"):
        imported(tmp_path, both)
    made, about = imported(tmp_path, both, scope="student")
    assert_params(made, student)
    assert about["left_out"] == f"{2 * len(teacher)} of teacher/"
    made, _ = imported(tmp_path, both, scope="teacher/", weights="raw")
    assert made.config == CONFIGS[2]
    assert_params(made, teacher)
    with pytest.raises(ValueError, match="there is no network in scope 'x': say which"):
        imported(tmp_path, both, scope="x")
    # One without a scope is the one that is meant.
    made, _ = imported(tmp_path, both | tf_variables(CONFIGS[1], 3))
    assert made.config == CONFIGS[1]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_become_single_precision(tmp_path, dtype):
    variables = {n: v.astype(dtype) for n, v in tf_variables(CONFIGS[0]).items()}
    made, about = imported(tmp_path, variables)
    assert_params(made, variables, lambda v: v.astype(np.float32))
    assert all(v.dtype == np.float32 for v in made.params.values())
    assert about["converted_from"] == np.dtype(dtype).name


def test_what_single_precision_does_not_hold_is_refused(tmp_path):
    variables = {n: v.astype(np.float64) for n, v in tf_variables(CONFIGS[2]).items()}
    variables["resnet_residual/logits/biases"][0] = 1e300
    with pytest.raises(ValueError, match="biases holds numbers that are too large for single"):
        imported(tmp_path, variables)
    variables["resnet_residual/logits/biases"] = np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="wrong type: resnet_residual/logits/biases is int64"):
        imported(tmp_path, variables)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["resnet_v2_101/block1/unit_1/bottleneck_v2/conv1/weights"], "slim's own resnet_v2_101"),
        (["resnet_v1_50/conv1/weights"], "slim's own resnet_v1_50, whose strides and names are"),
        (["dense/kernel", "dense/bias"], "these are dense/bias, dense/kernel"),
        ([f"v{i}" for i in range(5000)], "these are v0, v1, v10 and 4,997 more"),
        (["a\x1b[2J"], "these are a\\x1b[2J"),
        (["global_step"], "these are global_step"),
    ],
)
def test_another_network_is_named(tmp_path, names, said):
    with pytest.raises(ValueError, match="not those of one network of the authors") as caught:
        imported(tmp_path, dict.fromkeys(names, np.zeros(1, np.float32)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def field(number, value):
    return tf_writer.varint(number << 3 | 2) + tf_writer.varint(len(value)) + value


def test_objects_of_tensorflow_2_are_known_by_their_names(tmp_path):
    variables = tf_variables(CONFIGS[0])
    keys = [f"model/vs/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(len(variables))]
    nodes = b""
    for key, name in zip(keys, variables, strict=True):
        attribute = field(1, b"VARIABLE_VALUE") + field(2, name.encode()) + field(3, key.encode())
        nodes += field(1, field(1, field(2, b"child")) + field(2, attribute))
    text = np.frombuffer(tf_writer.varint(len(nodes)) + bytes(4) + nodes, np.uint8)
    stored = dict(zip(keys, variables.values(), strict=True))
    graph = "_CHECKPOINTABLE_OBJECT_GRAPH"
    tf_writer.write_bundle(tmp_path / "ck-1", stored | {graph: text}, changes={graph: {"dtype": 7}})
    assert_params(import_checkpoint(tmp_path / "ck-1"), variables)
    # Another network; a graph of nothing.
    for data, said in ((text[:1].copy() * 0, "tf.train.Checkpoint or Keras"), (text[:9], "is ")):
        tf_writer.write_bundle(
            tmp_path / "ck-2", stored | {graph: data}, changes={graph: {"dtype": 7}}
        )
        with pytest.raises(ValueError, match=said):
            import_checkpoint(tmp_path / "ck-2")


# --- which checkpoint is meant ---


def save(folder, name, seed, state=None):
    folder.mkdir(exist_ok=True)
    tf_writer.write_bundle(folder / name, tf_variables(CONFIGS[2], seed))
    if state is not None:
        (folder / "checkpoint").write_text(f'model_checkpoint_path: "{state}"\n')


def assert_takes(path, seed):
    assert_params(import_checkpoint(path), tf_variables(CONFIGS[2], seed))


def test_of_a_folder_the_newest_is_taken(tmp_path):
    run = tmp_path / "run"
    save(run, "model.ckpt-1000", 1)
    save(run, "model.ckpt-900", 2)
    assert_takes(run, 1)  # of most steps, though it is older
    save(run, "model.ckpt-5", 3, "model.ckpt-5")  # begun anew
    assert_takes(run, 3)
    assert_takes(run / "checkpoint", 3)
    save(run, "model.ckpt-7", 4, "/where/it/was/trained/model.ckpt-7")
    assert_takes(run, 4)
    assert_takes(run / "checkpoint", 4)
    save(run, "model.ckpt-8", 5, "C:\\\\runs\\\\model.ckpt-8")
    assert_takes(run, 5)
    (run / "checkpoint").write_text('model_checkpoint_path: "gone-12"\n')
    assert_takes(run, 1)
    with pytest.raises(ValueError, match="names gone-12, which is not there: name its folder or"):
        import_checkpoint(run / "checkpoint")
    for text in ("", "hello", "model_checkpoint_path: 3"):
        (run / "checkpoint").write_text(text)
        with pytest.raises(ValueError, match="names no checkpoint"):
            import_checkpoint(run / "checkpoint")
        assert_takes(run, 1)
    (tmp_path / "saved").mkdir()
    save(tmp_path / "saved" / "variables", "variables", 6)
    assert_takes(tmp_path / "saved", 6)


def test_any_file_of_a_checkpoint_will_do(tmp_path):
    save(tmp_path / "run", "model.ckpt-3", 1)
    for ending in ("", ".index", ".meta", ".data-00000-of-00001"):
        assert_takes(tmp_path / "run" / f"model.ckpt-3{ending}", 1)


def test_what_is_no_checkpoint_is_named(tmp_path, capsys):
    def said(path):
        text = fails(capsys, path, "--out", tmp_path / "out.h5")
        assert text.count("\n") == 1
        return text

    (tmp_path / "run").mkdir()
    assert "holds no TensorFlow V2 checkpoint: no file NAME.index" in said(tmp_path / "run")
    (tmp_path / "old.ckpt").write_bytes(tf_writer.table([(b"", b"")]))
    assert "of TensorFlow's first format (V1), which is not read: load it" in said(
        tmp_path / "old.ckpt"
    )
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "old.ckpt"\n')
    assert "first format (V1)" in said(tmp_path)
    (tmp_path / "old-1-00000-of-00002").write_bytes(tf_writer.table([(b"", b"")]))
    assert "first format (V1)" in said(tmp_path / "old-1")
    for start, kind in (
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file: a checkpoint of this program needs no import"),
        (b"\x1f\x8b", "packed: unpack it"),
        (b"PK\x03\x04", "a ZIP file"),
        (b"\0" * 257 + b"ustar", "packed: unpack it"),
        (b"", "no TensorFlow V2 checkpoint"),
        (b"hello", "no TensorFlow V2 checkpoint"),
    ):
        (tmp_path / "file").write_bytes(start)
        assert f"{tmp_path / 'file'} is {kind}" in said(tmp_path / "file")
    (tmp_path / "a.data-00000-of-00001").write_bytes(b"")
    assert "which says where in a.data-00000-of-00001 everything lies" in said(tmp_path / "a")
    (tmp_path / "b.meta").write_bytes(b"")
    assert "beside b.meta, which holds no numbers" in said(tmp_path / "b.meta")


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


# --- the command ---


def test_the_command_writes_a_checkpoint(tmp_path, prefix, capsys):
    out = tmp_path / "model.h5"
    assert main([prefix, "--out", str(out), "--eps", "0.1", "--class-names", "cifar10"]) == 0
    assert "ResNet-10 SACT, cifar family, units (1, 2, 1), 4 base channels, 10 classes" in (
        capsys.readouterr().out
    )
    comp = checkpoint.read(out)
    assert comp.config.eps == 0.1
    assert comp.preprocessing.image_size == 32
    assert comp.class_names[:2] == ("airplane", "automobile")
    assert comp.provenance["global_step"] == 64_000
    assert comp.provenance["files"][0]["name"] == "model.ckpt.index"
    assert comp.provenance["command"].endswith("--class-names cifar10")
    ref = init_params(build_plan(CONFIGS[0]))
    for name, values in ref.items():
        np.testing.assert_array_equal(comp.params[name], values)


def test_imagenet_gets_its_preprocessing_and_background(tmp_path):
    tf_writer.write_bundle(tmp_path / "m", tf_variables(CONFIGS[3]), num_shards=2)
    (tmp_path / "names.txt").write_text("\n".join(f"name {i}" for i in range(1000)))
    out, names = str(tmp_path / "m.h5"), str(tmp_path / "names.txt")
    assert main([str(tmp_path / "m"), "--out", out, "--class-names", names]) == 0
    comp = checkpoint.read(out)
    assert comp.class_names[:2] == ("background", "name 0")
    assert (comp.preprocessing.kind, comp.preprocessing.image_size) == ("imagenet", 224)
    assert comp.preprocessing.crop_fraction == 0.875
    assert main([str(tmp_path / "m"), "--out", out, "--image-size", "320", "--force"]) == 0
    assert checkpoint.read(out).preprocessing.image_size == 320
    assert checkpoint.read(out).class_names == ()


def test_the_command_says_what_it_took(tmp_path, capsys):
    variables = {f"model/{n}": v.astype("f8") for n, v in tf_variables(CONFIGS[2]).items()}
    extra = {f"{n}/ExponentialMovingAverage": v for n, v in variables.items() if "weights" in n}
    slots = {f"{n}/Momentum": v for n, v in variables.items()}
    tf_writer.write_bundle(tmp_path / "m-3", variables | extra | slots)
    out = tmp_path / "m.h5"
    assert main([str(tmp_path), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  taken from m-3.index, scope model/",
        f"  moving averages of {len(extra)} variables, {len(variables) - len(extra)} have none "
        "(--weights raw takes those of the last step)",
        "  float64 became float32",
        f"  left out: {len(variables)} of Momentum",
    ]
    assert checkpoint.read(out).provenance["imported"]["weights"] == "averaged"
    assert main([str(tmp_path), "--out", str(out), "--force", "--weights", "raw"]) == 0
    assert checkpoint.read(out).provenance["imported"]["weights"] == "raw"


def fails(capsys, *argv):
    """Run the command, which must fail; give the one thing that it says."""
    assert main([str(arg) for arg in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_an_existing_file_is_kept(tmp_path, prefix, capsys):
    out = tmp_path / "model.h5"
    out.write_bytes(b"precious")
    assert "exists; give --force to replace it" in fails(capsys, prefix, "--out", out)
    assert out.read_bytes() == b"precious"
    assert main([prefix, "--out", str(out), "--force"]) == 0


def test_mistakes_are_one_sentence(tmp_path, prefix, capsys):
    out = tmp_path / "model.h5"
    assert "there is no file" in fails(capsys, tmp_path / "none", "--out", out)
    assert "eps must be from 0 to 1" in fails(capsys, prefix, "--out", out, "--eps", "2")
    assert "image_size must be" in fails(capsys, prefix, "--out", out, "--image-size", "0")
    assert "does not exist" in fails(capsys, prefix, "--out", tmp_path / "no" / "m.h5")
    assert "there is no file" in fails(
        capsys, prefix, "--out", out, "--class-names", tmp_path / "no"
    )
    (tmp_path / "names").write_text("one\ntwo\n")
    assert "class_names has 2 names for 10 classes" in fails(
        capsys, prefix, "--out", out, "--class-names", tmp_path / "names"
    )
    (tmp_path / "names").write_bytes(b"\xff\xfe")
    assert "no UTF-8" in fails(capsys, prefix, "--out", out, "--class-names", tmp_path / "names")
    (tmp_path / "names").write_text(" \n")
    assert "no class names" in fails(
        capsys, prefix, "--out", out, "--class-names", tmp_path / "names"
    )
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-20_000])
    assert "is truncated" in fails(capsys, prefix, "--out", out)
    assert not out.exists()
