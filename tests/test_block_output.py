"""Blocks that hand on the output at which a position stopped, in place of the authors' mean."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from sact_core.backends import BACKENDS, backend_module, dense
from sact_core.backends.dense.loss import loss
from sact_core.config import NetworkConfig, from_dict, to_dict
from sact_core.plans import build_plan
from sact_core.train.__main__ import main as train
from tests import test_masked_bfloat16, test_masked_int8
from tests.networks import (
    MARGIN,
    OPTIONS,
    assert_results_agree,
    halting_margin,
    images_with_margin,
    random_net,
    random_params,
)
from tests.test_export_onnx import make_model, run_onnx, session
from tests.test_masked import blob, image_with, make_plan, steered_params
from tests.test_masked_bfloat16 import forced  # noqa: F401

FAMILIES = {
    "cifar": ((3, 1, 4), (12, 8)),
    "imagenet": ((2, 3, 1, 2), (33, 47)),
    "mobile": ((1, 2, 2, 1, 3, 2, 1), (64, 50)),
}
OTHERS = [backend for backend in BACKENDS if backend != "reference"]


def small(family: str, halting: str, block_output: str = "last") -> dict:
    units, _ = FAMILIES[family]
    return {
        "family": family, "units_per_block": units, "base_channels": 4, "num_classes": 5,
        "halting": halting, "halting_bias": -0.7, "block_output": block_output,
    }  # fmt: skip


@pytest.mark.interpreted
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("halting", ["act", "sact"])
def test_backends_agree(rng, family, halting):
    options = small(family, halting)
    ref_net = random_net(rng, **options)
    x, ref = images_with_margin(rng, ref_net, (3, *FAMILIES[family][1], 3))
    assert halting_margin(ref, ref_net.config.eps) > MARGIN
    counts = np.concatenate([block.num_units.ravel() for block in ref.blocks])
    assert len(np.unique(counts)) > 1
    for backend in OTHERS:
        net = random_net(rng, backend, ref_net.engine.params, **options)
        assert_results_agree(net.forward(x, keep_outputs=True), ref)


@pytest.mark.interpreted
@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize("halting", ["act", "sact"])
@pytest.mark.parametrize("narrow", [test_masked_bfloat16, test_masked_int8])
def test_narrow_formats(monkeypatch, rng, narrow, halting, family):
    channels = 2 if family == "cifar" else 8
    plan = make_plan(family, (3, 1, 2), channels, halting=halting, block_output="last")
    x = image_with(blob(rng, 20, 12, 0.4, 1, 3), rng)
    narrow.compare(monkeypatch, plan, steered_params(plan, rng), x)


@pytest.mark.parametrize("family", ["cifar", "mobile"])
@pytest.mark.parametrize("halting", ["act", "sact"])
def test_it_is_written_as_onnx(rng, family, halting):
    net = random_net(rng, "dense", **small(family, halting))
    x, result = images_with_margin(rng, net, (3, *FAMILIES[family][1], 3))
    for early_exit in (False, True)[: 1 + (halting == "act")]:
        model = make_model(net.plan, net.engine.network.params(), early_exit=early_exit)
        for i in range(len(x)) if early_exit else [slice(None)]:
            part = x[i : i + 1] if early_exit else x
            found = run_onnx(session(model), part)
            wanted = result.logits[i : i + 1] if early_exit else result.logits
            largest = np.abs(result.logits).max()
            np.testing.assert_allclose(found["logits"], wanted, rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_image_that_stopped_leaves_as_from_a_shallower_network(rng, backend):
    """The first block of an ACT network whose image stops after its second unit of four."""
    config = NetworkConfig(**small("cifar", "act") | {"units_per_block": (4, 1, 1)})
    params = random_params(rng, config)
    for unit, bias in ((1, -30.0), (2, 30.0)):
        root = f"block1/unit{unit}/halting_proba/global_conv"
        params[f"{root}/weight"] = np.zeros_like(params[f"{root}/weight"])
        params[f"{root}/bias"] = np.full_like(params[f"{root}/bias"], bias)
    x = rng.standard_normal((2, 8, 8, 3), dtype=np.float32)
    options = OPTIONS.get(backend, {})
    found = backend_module(backend).Engine(build_plan(config), params, **options).forward(x)
    assert (found.blocks[0].num_units == 2).all()
    shallow = dataclasses.replace(config.vanilla, units_per_block=(2, 1, 1))
    plan = build_plan(shallow)
    kept = {name: params[name] for name in plan.param_shapes}
    wanted = backend_module(backend).Engine(plan, kept, **options).forward(x)
    np.testing.assert_allclose(found.logits, wanted.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("halting", ["act", "sact"])
@pytest.mark.parametrize("fused", [False, True])
def test_training_sees_what_inference_hands_on(rng, halting, fused):
    """Frozen statistics, so that both modes normalise alike."""
    config = NetworkConfig(**small("cifar", halting) | {"base_channels": 16})
    plan, params = build_plan(config), random_params(rng, config)
    network = dense.Network(plan, params, fused, frozen=True)
    x = torch.from_numpy(rng.standard_normal((4, 3, 16, 16), dtype=np.float32))
    for name, value in network.named_parameters():  # branches normalise by the batch
        if "/halting_proba/" in name and name.endswith("conv/weight"):
            torch.nn.init.zeros_(value)
    with torch.inference_mode():
        wanted, _ = network.eval()(x)
    found, traces = network.train()(x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    labels = torch.arange(4) % 5
    loss(network, found, traces, labels, 0.0).total.backward()
    biases = [
        value.grad
        for name, value in network.named_parameters()
        if "/halting_proba/" in name and name.endswith("/bias")
    ]
    assert any(grad is not None and grad.abs().max() > 0 for grad in biases)


def test_the_gradient_is_that_of_the_mean(rng):
    """Of the scores: what a little more weight on a unit's output would have changed."""
    config = NetworkConfig(**small("cifar", "sact"))
    params = random_params(rng, config)
    x = torch.from_numpy(rng.standard_normal((2, 3, 8, 8), dtype=np.float32))
    made = {}
    for kind in ("mean", "last"):
        plan = build_plan(dataclasses.replace(config, block_output=kind))
        network = dense.Network(plan, params, frozen=True).train()
        outputs = network(x, keep_outputs=True)[1][0].output
        name = "block1/unit1/halting_proba/local_conv/bias"
        made[kind] = torch.autograd.grad(outputs.sum(), dict(network.named_parameters())[name])[0]
    torch.testing.assert_close(made["last"], made["mean"])
    assert made["last"].abs().max() > 0


def test_a_record_says_it_only_where_it_is_not_the_authors():
    mean = NetworkConfig(halting="sact")
    assert "block_output" not in to_dict(mean)
    last = dataclasses.replace(mean, block_output="last")
    assert to_dict(last)["block_output"] == "last"
    for config in (mean, last):
        assert from_dict(NetworkConfig, to_dict(config)) == config
    assert last.vanilla.block_output == "mean"


def test_vanilla_networks_have_no_choice(capsys):
    with pytest.raises(ValueError, match="block_output belongs to act or sact"):
        NetworkConfig(block_output="last")
    with pytest.raises(ValueError, match="block_output must be one of mean, last"):
        NetworkConfig(halting="act", block_output="best")
    assert train(["--halting", "none", "--block-output", "last"]) == 2
    assert "block_output belongs to act or sact" in capsys.readouterr().err
