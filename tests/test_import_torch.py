"""Import of state dicts of PyTorch: names, shapes, every bit; and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from functools import partial

import numpy as np
import pytest
import torch

from sact_core import checkpoint as checkpoints
from sact_core.backends.dense import Network
from sact_core.config import NetworkConfig
from sact_core.data.imagenet import imagenet_classes
from sact_core.families import FAMILIES
from sact_core.import_torch import import_state_dict
from sact_core.import_torch.__main__ import main
from sact_core.import_torch.convert import PUBLISHED
from sact_core.import_torch.names import Table
from sact_core.plans import build_plan
from tests import exits
from tests.networks import random_params

#: As people write a pre-activation ResNet: blocks and units from 0 in lists.
ROWS = {
    "stem": "conv1",
    "block{block}/unit{unit}/conv1": "layer{block}.{unit0}.conv1",
    "block{block}/unit{unit}/conv2": "layer{block}.{unit0}.conv2",
    "block{block}/unit{unit}/preact": "layer{block}.{unit0}.bn1",
    "block{block}/unit{unit}/conv1/bn": "layer{block}.{unit0}.bn2",
    "postnorm": "bn",
    "postnorm/gamma": "scale",
    "logits": "fc",
}


def state_of(params, names):
    """What PyTorch calls parameters: weights out, in, height, width, and counters."""
    state = {}
    for ours, theirs in names.items():
        value = torch.tensor(params[ours])
        state[theirs] = value.permute(3, 2, 0, 1).contiguous() if value.ndim == 4 else value
        if ours.endswith("/moving_mean"):
            state[theirs.replace("running_mean", "num_batches_tracked")] = torch.tensor(7)
    return state


def lite0(rng):
    """Random parameters of EfficientNet-Lite0, and its state dict."""
    config = NetworkConfig("mobile", FAMILIES["mobile"].units(0), 8, 1000)
    params = random_params(rng, config)
    names = Table(PUBLISHED["efficientnet-lite0"].rows).names(build_plan(config))
    state = state_of(params, names)
    state["_fc.weight"] = state["_fc.weight"][:, :, 0, 0]
    return config, params, state


@pytest.fixture
def saved(rng, tmp_path):
    """A small CIFAR network under foreign names, on disk with its table."""
    config = NetworkConfig(units_per_block=(1, 2, 1), base_channels=4, num_classes=3)
    params = random_params(rng, config)
    state = state_of(params, Table(ROWS).names(build_plan(config)))
    torch.save(state, tmp_path / "net.pth")
    (tmp_path / "names.json").write_text(json.dumps(ROWS))
    return config, params, state


def assert_imported(made, config, params):
    assert made.config == config
    assert list(made.params) == list(build_plan(config).param_shapes)
    for name, value in made.params.items():
        np.testing.assert_array_equal(value, params[name], err_msg=name)
        assert value.dtype == np.float32
        assert value.flags["C_CONTIGUOUS"]


fails = partial(exits.fails, main)


def sentence(capsys, path, *flags, kind="cifar"):
    text = fails(capsys, path, "--as", kind, "--out", path.parent / "out.h5", *flags)
    assert text.count("\n") == 1
    assert not (path.parent / "out.h5").exists()
    return text


# --- what is taken ---


def test_every_bit_of_a_published_network(rng, tmp_path, capsys):
    config, params, state = lite0(rng)
    assert len(state) == 296  # as the published file
    torch.save(state, tmp_path / "lite0.pth")
    out = tmp_path / "lite0.h5"
    assert main([f"{tmp_path / 'lite0.pth'}", "--as", "efficientnet-lite0", "--out", f"{out}"]) == 0
    assert "EfficientNet-Lite0, mobile family, units (1, 2, 2, 3, 3, 4, 1), 8 base channels, " in (
        capsys.readouterr().out
    )
    made = checkpoints.read(out)
    assert_imported(made, config, params)
    assert (made.preprocessing.kind, made.preprocessing.image_size) == ("mobile", 224)
    assert made.class_names == tuple(imagenet_classes().values())
    assert made.provenance["origin"]["licence"].startswith("Apache-2.0")
    assert made.provenance["imported"] == {"as": "efficientnet-lite0"}
    assert made.provenance["files"][0]["name"] == "lite0.pth"
    assert len(made.provenance["files"][0]["sha256"]) == 64


def test_a_published_network_with_classes_of_its_own(rng, tmp_path):
    config, _, state = lite0(rng)
    state["_fc.weight"], state["_fc.bias"] = state["_fc.weight"][:10], state["_fc.bias"][:10]
    torch.save({"epoch": 3, "model": state}, tmp_path / "ten.pth")
    made = import_state_dict(tmp_path / "ten.pth", "efficientnet-lite0")
    assert (made.config.num_classes, made.class_names) == (10, ())
    assert made.config.units_per_block == config.units_per_block


@pytest.mark.parametrize("old", [False, True])
def test_a_family_by_a_table(saved, tmp_path, old):
    config, params, state = saved
    wrapped = {f"module.{name}": value for name, value in state.items()}
    path = tmp_path / "net.pth"
    torch.save({"state_dict": wrapped}, path, _use_new_zipfile_serialization=not old)
    assert_imported(import_state_dict(path, "cifar", Table(ROWS)), config, params)


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig("cifar", (1, 3, 1), 4, 5, "sact", sact_kernel_size=1),
        NetworkConfig("imagenet", (2, 1, 1, 2), 2, 5, "act"),
        NetworkConfig("mobile", (1, 2, 1, 1, 3, 1, 1), 4, 5, "sact"),
        NetworkConfig("mobile", (1, 1, 1, 1, 1, 1, 1), 4, 5),
    ],
)
def test_the_dense_backends_own_names_need_no_table(rng, tmp_path, config):
    params = random_params(rng, config)
    torch.save(Network(build_plan(config), params).state_dict(), tmp_path / "net.pth")
    made = import_state_dict(tmp_path / "net.pth", config.family, eps=config.eps)
    assert_imported(made, config, params)


def test_units_are_told_where_names_do_not(rng, tmp_path, capsys):
    config, params, state = lite0(rng)
    path, out = tmp_path / "net.pth", tmp_path / "net.h5"
    torch.save(state, path)
    (tmp_path / "names.json").write_text(json.dumps(PUBLISHED["efficientnet-lite0"].rows))
    flags = ["--names", tmp_path / "names.json"]
    assert "looks like efficientnet-lite0, not mobile: give --as efficientnet-lite0" in sentence(
        capsys, path, *flags, kind="mobile"
    )
    flags += ["--units", "0", "--class-names", "imagenet", "--image-size", "256"]
    assert main([str(a) for a in (path, "--as", "mobile", "--out", out, *flags)]) == 0
    made = checkpoints.read(out)
    assert_imported(made, config, params)
    assert (made.preprocessing.image_size, made.class_names[281]) == (256, "tabby")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_numbers_become_single_precision(saved, tmp_path, capsys, dtype):
    _, _, state = saved
    state = {name: value.to(dtype) if value.ndim else value for name, value in state.items()}
    torch.save(state, tmp_path / "net.pth")
    flags = ["--as", "cifar", "--names", f"{tmp_path / 'names.json'}"]
    assert main([f"{tmp_path / 'net.pth'}", *flags, "--out", f"{tmp_path / 'net.h5'}"]) == 0
    name = str(dtype).removeprefix("torch.")
    assert f"  {name} became float32\n" in capsys.readouterr().out
    made = checkpoints.read(tmp_path / "net.h5")
    ref = state["conv1.weight"].float().permute(2, 3, 1, 0)
    np.testing.assert_array_equal(made.params["stem/weight"], ref)
    if dtype == torch.float64:
        state["fc.bias"][0] = 1e300
        torch.save(state, tmp_path / "net.pth")
        assert "fc.bias holds numbers that are too large" in sentence(
            capsys, tmp_path / "net.pth", *flags[2:]
        )


# --- what is refused ---


def test_all_that_does_not_fit_is_in_one_error(rng, tmp_path, capsys):
    _, _, state = lite0(rng)
    del state["_fc.weight"], state["_bn0.running_var"]
    state["_conv_stem.weight"] = torch.zeros(32, 3, 5, 5)
    state["_bn1.bias"] = torch.zeros(1280, dtype=torch.int64)
    state["_blocks.0._se_reduce.weight"] = torch.zeros(8, 32, 1, 1)
    torch.save(state, tmp_path / "net.pth")
    said = fails(
        capsys, tmp_path / "net.pth", "--as", "efficientnet-lite0", "--out", tmp_path / "out.h5"
    )
    assert said.splitlines() == [
        "error: the tensors do not make up a network EfficientNet-Lite0 (mobile, units "
        "(1, 2, 2, 3, 3, 4, 1)):",
        "- missing: _fc.weight (1000, 1280, 1, 1)",
        "- missing: _bn0.running_var (32,)",
        "- unknown: _blocks.0._se_reduce.weight (8, 32, 1, 1)",
        "- wrong shape: _conv_stem.weight is (32, 3, 5, 5), should be (32, 3, 3, 3)",
        "- wrong type: _bn1.bias is int64, should be float32",
    ]
    assert not (tmp_path / "out.h5").exists()


def test_another_network_is_named(rng, tmp_path, saved, capsys):
    _, _, state = lite0(rng)
    torch.save(state, tmp_path / "lite0.pth")
    for kind in ("efficientnet-lite1", "mobile", "cifar"):
        assert f"looks like efficientnet-lite0, not {kind}: give --as efficientnet-lite0" in (
            sentence(capsys, tmp_path / "lite0.pth", kind=kind)
        )
    state["_conv_stem.weight"] = torch.zeros(32, 3, 5, 5)  # neither of them
    torch.save(state, tmp_path / "lite0.pth")
    said = fails(
        capsys, tmp_path / "lite0.pth", "--as", "efficientnet-lite1", "--out", tmp_path / "out.h5"
    )
    assert said.startswith("error: the tensors do not make up a network EfficientNet-Lite1")
    assert "\n- missing: _blocks.16._expand_conv.weight" in said
    assert len(said.splitlines()) == 10
    assert said.splitlines()[-1].startswith("… and ")
    assert "it is another network, or --names or --units should say" in sentence(
        capsys, tmp_path / "lite0.pth"
    )
    assert "the names do not tell" in sentence(capsys, tmp_path / "net.pth")


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_of_a_file_is_executed(tmp_path, capsys):
    path, mark = tmp_path / "net.pth", tmp_path / "executed"
    for old in (False, True):
        torch.save({"a": Harmful(mark)}, path, _use_new_zipfile_serialization=not old)
        assert "none was executed: save network.state_dict() with" in sentence(capsys, path)
    for protocol in range(2, 6):
        path.write_bytes(pickle.dumps({"a": Harmful(mark)}, protocol))
        assert "holds more than tensors and plain values" in sentence(capsys, path)
    torch.save(torch.nn.Linear(2, 2), path)
    assert "holds more than tensors and plain values" in sentence(capsys, path)
    assert not mark.exists()


def test_what_is_no_state_dict_is_named(saved, tmp_path, capsys):
    path = tmp_path / "net.pth"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1], b"", b"hello", b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(damaged)
        assert "is no file of PyTorch, or damaged or only a part of one" in sentence(capsys, path)
    for values in ([torch.zeros(2)], {}, {"epoch": 3}, torch.zeros(2), {1: torch.zeros(2)}):
        torch.save(values, path)
        assert "holds no state dict, which gives every tensor its name" in sentence(capsys, path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", 100 * b"a")
    assert "is a compressed archive, which PyTorch does not write" in sentence(capsys, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/code/network.py", "")
    assert "is a program of TorchScript, which is not executed" in sentence(capsys, path)


def test_a_tensor_without_its_numbers_fills_no_memory(saved, tmp_path, capsys):
    _, _, state = saved
    state["huge"] = torch.zeros(1).expand(1 << 20, 1 << 20)  # one number, seen many times
    state["sparse"] = torch.zeros(2, 2).to_sparse()
    torch.save(state, tmp_path / "net.pth")
    flags = ["--names", tmp_path / "names.json", "--out", tmp_path / "out.h5"]
    said = fails(capsys, tmp_path / "net.pth", "--as", "cifar", *flags)
    assert said.splitlines()[1:] == [
        "- unknown: huge (1048576, 1048576)",
        "- unknown: sparse (2, 2)",
    ]
    del state["huge"]
    state["fc.bias"] = state.pop("sparse")[0]
    torch.save(state, tmp_path / "net.pth")
    said = fails(capsys, tmp_path / "net.pth", "--as", "cifar", *flags)
    assert said.splitlines()[1:] == ["- wrong shape: fc.bias is (2,), should be (3,)"]
    state["fc.bias"] = torch.zeros(3).to_sparse()
    torch.save(state, tmp_path / "net.pth")
    said = fails(capsys, tmp_path / "net.pth", "--as", "cifar", *flags)
    assert said.splitlines()[1:] == [
        "- wrong type: fc.bias is sparse or quantised, should be float32"
    ]


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ("{", "is no table of names, which is a JSON object"),
        ("[]", "must be a JSON object of texts, such as"),
        ('{"stem": 3}', "must be a JSON object of texts, such as"),
        ("{}", "the names do not tell the units"),
        (json.dumps({k: v for k, v in ROWS.items() if k != "stem"}), "has none for stem/weight"),
        (json.dumps(ROWS | {"logits": "classifier"}), "the file lacks classifier.weight"),
        (json.dumps(ROWS | {"logits/weight": "fc.bias"}), "the file lacks fc.bias, a weight"),
    ],
)
def test_a_table_that_does_not_do(saved, tmp_path, capsys, rows, match):
    (tmp_path / "names.json").write_text(rows)
    assert match in sentence(capsys, tmp_path / "net.pth", "--names", tmp_path / "names.json")


def test_one_tensor_is_no_two_parameters(saved, tmp_path, capsys):
    (tmp_path / "names.json").write_text(json.dumps(ROWS | {"postnorm/moving_mean": "bn.bias"}))
    flags = ["--names", tmp_path / "names.json", "--out", tmp_path / "out.h5"]
    said = fails(capsys, tmp_path / "net.pth", "--as", "cifar", *flags)
    assert "- one tensor for several parameters: bn.bias" in said


def test_mistakes_are_one_sentence(saved, tmp_path, capsys):
    path, names = tmp_path / "net.pth", ["--names", tmp_path / "names.json"]
    assert "there is no file" in sentence(capsys, tmp_path / "absent.pth")
    assert "there is no file" in sentence(capsys, path, "--names", tmp_path / "absent.json")
    assert "eps must be from 0 to 1" in sentence(capsys, path, *names, "--eps", "2")
    assert "image_size must be" in sentence(capsys, path, *names, "--image-size", "0")
    assert "units must look like" in sentence(capsys, path, *names, "--units", "many")
    assert "--names and --units are for families" in sentence(
        capsys, path, *names, kind="efficientnet-lite0"
    )
    (tmp_path / "out.h5").write_bytes(b"precious")
    assert "exists; give --force" in fails(
        capsys, path, "--as", "cifar", *names, "--out", tmp_path / "out.h5"
    )
    assert (tmp_path / "out.h5").read_bytes() == b"precious"


# --- the thousand classes ---


def test_the_thousand_classes():
    classes = imagenet_classes()
    assert len(classes) == len(set(classes.values())) == 1000
    assert list(classes) == sorted(classes)  # their numbers follow the ids
    numbers = {name: i for i, name in enumerate(classes.values())}
    known = {"tench": 0, "English springer": 217, "tabby": 281, "Egyptian cat": 285}
    known |= {"cassette player": 482, "garbage truck": 569, "parachute": 701, "toilet tissue": 999}
    assert known.items() <= numbers.items()
    assert classes["n02102040"] == "English springer"
    assert (numbers["crane (bird)"], numbers["crane (machine)"]) == (134, 517)
