"""What a checkpoint of TensorFlow holds besides the weights: slots, averages, scopes."""

from __future__ import annotations

import numpy as np
import pytest

from sact_core.import_tf import import_checkpoint
from tests import tf_writer
from tests.tf_checkpoints import CONFIGS, assert_params, imported, tf_variables

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
