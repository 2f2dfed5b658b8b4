"""Exported networks in ONNX Runtime and OpenVINO, against the backends and the authors' numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest

from sact_core.backends import load
from sact_core.checkpoint import Checkpoint, read, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.export_onnx import export, make_model
from sact_core.export_onnx.__main__ import main
from sact_core.families import FAMILIES
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.authors import read_network
from tests.conftest import ROOT
from tests.networks import any_tau_checkpoint, build_net, images_with_margin, random_net
from tests.test_families import TOY
from tests.test_golden_networks import CIFAR, IMAGENET

SHIPPED = ROOT / "pretrained" / "cifar10_resnet32_sact_tau0.05.h5"


def session(model, **options):
    """A session of ONNX Runtime with one thread."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    for name, value in options.items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )


def run_onnx(running, x):
    """Outputs of a session by name, for a batch [n, h, w, 3]."""
    names = [output.name for output in running.get_outputs()]
    return dict(zip(names, running.run(None, {"images": x.transpose(0, 3, 1, 2)}), strict=True))


def run_openvino(model, x):
    """The same in OpenVINO, in float32."""
    core = openvino.Core()
    read = core.read_model(model.SerializeToString())
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled({"images": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})
    return {output.get_any_name(): value for output, value in found.items()}


def assert_equal(found, result):
    """Counts equal, logits within 1e-4 of the largest, costs within 1e-4."""
    largest = np.abs(result.logits).max()
    np.testing.assert_allclose(found["logits"], result.logits, rtol=0, atol=1e-4 * largest)
    halting = [block for block in result.blocks if block.num_units is not None]
    assert len(found) == 1 + 2 * len(halting)
    for block in halting:
        units, cost = found[f"{block.name}_num_units"], found[f"{block.name}_ponder_cost"]
        np.testing.assert_array_equal(units, block.num_units, err_msg=block.name)
        assert (units.dtype, cost.dtype) == (np.int32, np.float32)
        assert cost.shape == block.ponder_cost.shape
        np.testing.assert_allclose(cost, block.ponder_cost, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CIFAR + IMAGENET)
def test_the_authors_networks(reference_dir, name):
    path = reference_dir / f"{name}.npz"
    arrays, plan, params = read_network(path)
    running = session(make_model(plan, params))
    for prefix in ("square/", "rect/") if name in IMAGENET else ("",):
        source = arrays
        if f"{prefix}images" not in arrays:
            source = np.load(path.parent / f"{arrays['variables_from']}.npz")
        found = run_onnx(running, source[f"{prefix}images"])
        logits = arrays[f"{prefix}logits"]
        np.testing.assert_allclose(found["logits"], logits, atol=1e-4 * np.abs(logits).max())
        if plan.config.halts:
            underscore = "_" if plan.config.family == "cifar" else ""
            for i, block in enumerate(plan.blocks, 1):
                for what, close in (("num_units", 0), ("ponder_cost", 1e-4)):
                    ref = arrays[f"{prefix}block{underscore}{i}/{what}"]
                    comp = found[f"{block.name}_{what}"]
                    np.testing.assert_allclose(comp, ref, rtol=0, atol=close, err_msg=what)
        assert len(found) == (1 + 2 * len(plan.blocks) if plan.config.halts else 1)


@pytest.mark.parametrize(
    ("family", "units", "sizes"),
    [
        ("cifar", (2, 3, 1), [(8, 8), (4, 12)]),
        # Odd sizes, where pads of strided convolutions and of the pooling differ by side.
        ("imagenet", (2, 1, 2, 1), [(33, 47), (32, 18), (1, 2)]),
        ("mobile", (1, 2, 2, 1, 3, 1, 1), [(33, 47), (64, 50)]),
        ("toy", (2, 3), [(31, 18), (9, 14), (3, 2)]),
    ],
)
@pytest.mark.parametrize("halting", ["none", "act", "sact"])
def test_every_family_at_every_size(rng, monkeypatch, family, units, sizes, halting):
    monkeypatch.setitem(FAMILIES, "toy", TOY)
    options = {
        "family": family, "units_per_block": units, "base_channels": 4, "num_classes": 3,
        "halting": halting, "halting_bias": 0.5 if halting == "act" else -0.5,
    }  # fmt: skip
    net = random_net(rng, "dense", **options)
    model = make_model(net.plan, net.engine.network.params())
    running = session(model)
    for n, size in zip((3, 1, 2), sizes, strict=False):
        x, result = images_with_margin(rng, net, (n, *size, 3))
        assert_equal(run_onnx(running, x), result)
        assert_equal(run_openvino(model, x), result)


@pytest.mark.parametrize("tau", [0.001, 0.004, 0.1, None])
def test_a_network_for_any_tau_is_written_at_one(rng, tau):
    checkpoint = any_tau_checkpoint()
    net = build_net(checkpoint, "dense")
    net = net if tau is None else net.at_tau(tau)
    x, result = images_with_margin(rng, net, (2, 16, 16, 3))
    model = export(checkpoint, tau)
    assert_equal(run_onnx(session(model), x), result)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["tau"]) == pytest.approx(0.01 if tau is None else tau)


def test_an_early_exit_leaves_units_out(rng, tmp_path):
    options = {"units_per_block": (4, 1, 3), "base_channels": 4, "halting": "act"}
    net = random_net(rng, "dense", **options, halting_bias=0.5)
    model = make_model(net.plan, net.engine.network.params(), early_exit=True)
    counts = []
    for n in (1, 1, 1, 4):
        x, result = images_with_margin(rng, net, (n, 8, 8, 3))
        running = session(
            model, enable_profiling=True, profile_file_prefix=str(tmp_path / "profile")
        )
        assert_equal(run_onnx(running, x), result)
        events = json.loads(Path(running.end_profiling()).read_text())
        convs = [e for e in events if e.get("args", {}).get("op_name") in ("Conv", "FusedConv")]
        units = [int(block.num_units.max()) for block in result.blocks]
        halting = [
            min(run, len(b.units) - 1) for run, b in zip(units, net.plan.blocks, strict=True)
        ]
        # Two convolutions a unit, one of its halting branch, and the stem.
        assert len(convs) == 1 + 2 * sum(units) + sum(halting)
        counts.append(len(convs))
        assert_equal(run_openvino(model, x), result)
    assert len(set(counts)) > 1


def test_a_shipped_file_by_the_command(tmp_path, rng, capsys):
    out = tmp_path / "net.onnx"
    assert main([str(SHIPPED), "--out", str(out)]) == 0
    assert "ResNet-32 SACT" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]  # weights are inside
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    (images,) = model.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert (images.name, dims) == ("images", ["batch", 3, "height", "width"])
    checkpoint = read(SHIPPED)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["config"])["halting"] == "sact"
    assert json.loads(told["class_names"]) == list(checkpoint.class_names)
    assert json.loads(told["provenance"]) == checkpoint.provenance
    assert json.loads(told["preprocessing"])["kind"] == "cifar"
    assert json.loads(told["tau"]) == 0.05
    # What the metadata says in words is enough to feed the file.
    assert "(value - mean) / max(std, 1 / sqrt(number of values))" in told["input"]
    assert "multiples of 4" in told["input"]
    pixels = rng.integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    values = pixels.reshape(4, -1).astype(np.float64)
    spread = np.maximum(values.std(1), values.shape[1] ** -0.5)
    x = ((values - values.mean(1)[:, None]) / spread[:, None]).astype(np.float32)
    found = run_onnx(session(model), x.reshape(pixels.shape))
    result = load(SHIPPED, "dense").run(pixels)
    largest = np.abs(result.logits).max()
    np.testing.assert_allclose(found["logits"], result.logits, rtol=0, atol=1e-4 * largest)


def test_photographs_are_described_too(rng):
    config = NetworkConfig("imagenet", (1, 1, 1, 1), 2, 3)
    checkpoint = Checkpoint(config, init_params(build_plan(config)), Preprocessing("imagenet", 64))
    model = export(checkpoint)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert "(value / 255 - 0.5) * 2" in told["input"]
    assert "multiples" not in told["input"]
    pixels = rng.integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    net = build_net(checkpoint, "dense")
    x = net.see(pixels[0]).x
    np.testing.assert_allclose(x, (pixels / 255 - 0.5) * 2, atol=1e-6)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["{net}", "--out", "{old}"], "exists; give --force to replace it"),
        (["{net}", "--out", "{folder}/absent/net.onnx"], "the folder"),
        (["{net}", "--out", "{folder}", "--force"], "it is a folder"),
        (["{folder}/absent.h5", "--out", "{folder}/x.onnx"], "absent.h5"),
        (["{old}", "--out", "{folder}/x.onnx"], "old.onnx"),
        (["{net}", "--out", "{folder}/x.onnx", "--tau", "0.1"], "is not conditioned on tau"),
        (["{any}", "--out", "{folder}/x.onnx", "--tau", "7"], "outside of the range"),
        (["{any}", "--out", "{folder}/x.onnx", "--tau", "0"], "tau must be a number above 0"),
        (["{net}", "--out", "{folder}/x.onnx", "--early-exit"], "has no early exit"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_sentence(tmp_path, capsys, argv, message):
    folder = tmp_path / "out"
    folder.mkdir()
    old, any_tau = tmp_path / "old.onnx", tmp_path / "any.h5"
    old.write_text("old")
    write(any_tau, any_tau_checkpoint())
    given = {"net": SHIPPED, "old": old, "folder": folder, "any": any_tau}
    assert main([each.format(**given) for each in argv]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert list(folder.iterdir()) == []
    assert old.read_text() == "old"


def test_force_replaces_and_clamp_takes_the_nearest_end(tmp_path):
    net, out = tmp_path / "net.h5", tmp_path / "net.onnx"
    write(net, any_tau_checkpoint())
    out.write_text("old")
    assert main([str(net), "--out", str(out), "--force", "--tau", "7", "--clamp-tau"]) == 0
    told = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert json.loads(told["tau"]) == 0.1
