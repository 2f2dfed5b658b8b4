"""The table of families: a family that nothing knows but the table runs everywhere."""

from __future__ import annotations

import ast
import dataclasses

import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net, masked, reference
from sact_core.backends.masked.scope import check_scope
from sact_core.backends.memory import estimate_memory
from sact_core.benchmark.steer import set_reach, steered_params, steering_images
from sact_core.config import NetworkConfig, default_preprocessing, parse_units
from sact_core.evaluate.run import loss_terms
from sact_core.families import CIFAR, FAMILIES, IMAGENET, LINEAR, RELU6, End, Layer, Stage
from sact_core.flops import dense_flops
from sact_core.maps.writing import block_scopes
from sact_core.measures.metrics import authors_block_name
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import ROOT
from tests.networks import assert_results_agree, images_with_margin, random_net, random_params

NAMES = set(FAMILIES)  # before the toy joins them

#: Inverted bottlenecks: what neither published family has, all at once.
TOY = dataclasses.replace(
    IMAGENET,
    title="Toy of {layers} layers",
    stem=End(3, 2, channels=8, norm=RELU6),
    pool=False,
    stages=(Stage(1, expansion=1), Stage(2, expansion=3, stride=2, kernel=5)),
    layers=(
        Layer("expand", "inner", RELU6, 1, widens=True),
        Layer("depthwise", "inner", RELU6, strided=True, depthwise=True),
        Layer("project", "outer", LINEAR, 1),
    ),
    preact=None,
    changing_shortcut=None,
    head=End(1, channels=24, norm=RELU6),
    postnorm=None,
    bn_eps=1e-3,
    depths={1: (2, 3)},
    usual_depth=1,
    usual_channels=8,
    image_size=40,
    crop_fraction=0.9,
    block_scope="stage_{number}",
    l2=0.125,
)
OPTIONS = {"family": "toy", "units_per_block": (2, 3), "base_channels": 4, "num_classes": 5}


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Add the family to the table, and to nothing else."""
    monkeypatch.setitem(FAMILIES, "toy", TOY)


def test_its_facts_are_the_tables():
    config = NetworkConfig(**OPTIONS, halting="sact")
    assert config.name == "Toy of 17 layers SACT"
    assert parse_units("1", "toy") == (2, 3)
    with pytest.raises(ValueError, match="units must be one of 1 or a list like 2_3, got '2'"):
        parse_units("2", "toy")
    with pytest.raises(ValueError, match="must have 2 numbers in the toy family"):
        parse_units("1_2_3", "toy")
    preprocessing = default_preprocessing("toy")
    assert (preprocessing.image_size, preprocessing.crop_fraction) == (40, 0.9)
    assert block_scopes(config) == ("stage_1", "stage_2")
    assert authors_block_name("toy", "block2") == "stage_2"
    params = random_params(np.random.default_rng(0), config)
    made = checkpoints.Checkpoint(config, params, preprocessing)
    weights = sum(float((v**2).sum()) for name, v in params.items() if name.endswith("/weight"))
    assert loss_terms(made)[1] == pytest.approx(0.125 / 2 * weights, rel=1e-5)
    NetworkConfig("toy", (1, 1), 3)  # no shortcut of zeros: odd widths are fine


def test_its_plan():
    plan = build_plan(NetworkConfig(**OPTIONS, halting="sact"))
    first, second, third, fourth, _ = plan.units
    assert (plan.stem.bn.name, plan.stem.bn.cap, plan.stem.bias) == ("stem/bn", 6.0, False)
    # An expansion of 1 is none; 8 channels come from the stem.
    assert [conv.name.rsplit("/", 1)[1] for conv in first.convs] == ["depthwise", "project"]
    assert [conv.weight_shape for conv in first.convs] == [(3, 3, 1, 8), (1, 1, 8, 4)]
    assert [conv.weight_shape for conv in third.convs] == [
        (1, 1, 4, 12),
        (5, 5, 1, 12),
        (1, 1, 12, 8),
    ]
    assert [conv.groups for conv in third.convs] == [1, 12, 1]
    assert [conv.stride for conv in third.convs] == [1, 2, 1]
    assert [unit.shortcut for unit in plan.units] == [None, "identity", None, *["identity"] * 2]
    assert {unit.preact for unit in plan.units} == {None}
    assert (second.halos, fourth.halos) == ((0, 0), (2, 0, 0))
    assert [conv.bn.cap for conv in fourth.convs] == [6.0, 6.0, np.inf]
    assert (plan.head.weight_shape, plan.postnorm) == ((1, 1, 8, 24), None)
    assert plan.logits.weight_shape == (1, 1, 24, 5)
    names = [conv.name for conv in plan.convs]
    assert names[-2:] == ["head", "logits"]
    assert {bn.name for bn in plan.batch_norms} >= {"stem/bn", "head/bn"}


@pytest.mark.parametrize("backend", ["dense", "masked"])
@pytest.mark.parametrize("size", [(32, 32), (31, 18), (9, 14), (3, 2)])
@pytest.mark.parametrize("halting", ["none", "act", "sact"])
def test_backends_agree(rng, halting, size, backend):
    options = OPTIONS | {"halting": halting, "halting_bias": 1.0 if halting == "act" else -0.5}
    net = random_net(rng, **options)
    x, ref = images_with_margin(rng, net, (3, *size, 3))
    other = random_net(rng, backend, net.engine.params, **options)
    assert_results_agree(other.forward(x, keep_outputs=True), ref)
    dense = dense_flops(net.plan, size).total[0]
    assert (ref.flops <= dense).all()
    if size != (3, 2):
        assert (ref.flops < dense).any() == (halting != "none")


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize("base_channels", [4, 20])
def test_plain_loops_and_threads_agree(rng, base_channels):
    options = OPTIONS | {"halting": "sact", "halting_bias": -0.5, "base_channels": base_channels}
    net = random_net(rng, **options)
    x, ref = images_with_margin(rng, net, (3, 24, 20, 3))
    vectors = masked.Engine(net.plan, net.engine.params, num_threads=1).forward(x)
    close = {"rtol": 0, "atol": 1e-4 * np.abs(ref.logits).max()}
    np.testing.assert_allclose(vectors.logits, ref.logits, **close)
    plain = masked.Engine(net.plan, net.engine.params, vectors=False).forward(x)
    np.testing.assert_allclose(plain.logits, ref.logits, **close)
    three = masked.Engine(net.plan, net.engine.params, num_threads=3).forward(x)
    np.testing.assert_array_equal(three.logits, vectors.logits)


def grown(active, halo):
    """Count positions within ``halo`` of an active one, by loops."""
    count = 0
    for i, j in np.ndindex(active.shape):
        count += active[max(i - halo, 0) : i + halo + 1, max(j - halo, 0) : j + halo + 1].any()
    return int(count)


def test_flops_of_a_mask_by_hand(rng):
    options = OPTIONS | {"halting": "sact", "halting_bias": -0.5}
    net = random_net(rng, **options)
    x, result = images_with_margin(rng, net, (2, 40, 36, 3))
    counts = result.blocks[1].num_units  # [2, 10, 9]
    assert 1 < counts.mean() < 3
    for image in range(2):
        active = counts[image] > 1
        ref = 2 * grown(active, 2) * 8 * 24  # expand, where the 5x5 reads
        ref += 2 * active.sum() * 25 * 24 + 2 * active.sum() * 24 * 8  # depthwise, project
        ref += 2 * active.sum() * 9 * 8 + 2 * 8  # halting branch
        comp = sum(
            2 * int(np.prod(conv.weight_shape)) * result.positions[conv.name][image]
            for conv in net.plan.convs
            if conv.name.startswith("block2/unit2/")
        )
        assert comp == ref
    assert x.shape == (2, 40, 36, 3)


@pytest.mark.parametrize("size", [(32, 48), (33, 29)])
def test_dense_flops_agree_with_torch(size):
    from torch.utils.flop_counter import FlopCounterMode

    rng = np.random.default_rng(0)
    net = random_net(rng, "dense", **OPTIONS, halting="sact", halting_bias=-1e4)
    with FlopCounterMode(display=False) as counter:
        result = net.forward(np.zeros((2, *size, 3), np.float32))
    comp = dense_flops(net.plan, size).total[0]
    assert counter.get_total_flops() == 2 * comp
    assert result.flops.tolist() == [comp, comp]


@pytest.mark.parametrize("training", [False, True])
def test_single_passes_agree_with_torch_alone(rng, training):
    import torch

    from sact_core.backends.dense import Network

    config = NetworkConfig(**OPTIONS | {"base_channels": 16}, halting="sact", halting_bias=0.0)
    plan, params = build_plan(config), random_params(rng, config)
    x = torch.from_numpy(rng.standard_normal((4, 3, 20, 20), dtype=np.float32))
    found = {}
    for fused in (False, True):
        network = Network(plan, params, fused=fused).train(training)
        with torch.set_grad_enabled(training):
            logits, _ = network(x)
        if training:
            logits.square().sum().backward()
        grads = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        found[fused] = {"logits": logits.detach(), **grads}
    assert found[True].keys() == found[False].keys()
    for name, ref in found[False].items():
        scale = max(1.0, float(ref.abs().max()))
        np.testing.assert_allclose(found[True][name], ref, rtol=0, atol=1e-4 * scale, err_msg=name)


def test_a_checkpoint_and_back(rng, tmp_path):
    config = NetworkConfig(**OPTIONS, halting="act")
    made = checkpoints.Checkpoint(config, random_params(rng, config), default_preprocessing("toy"))
    checkpoints.write(tmp_path / "toy.h5", made)
    comp = checkpoints.read(tmp_path / "toy.h5")
    assert (comp.config, comp.preprocessing) == (config, made.preprocessing)
    assert list(comp.params) == list(build_plan(config).param_shapes)
    image = rng.integers(0, 256, (1, 50, 60, 3), dtype=np.uint8)
    results = [Net.from_checkpoint(each, "reference").run(image) for each in (made, comp)]
    np.testing.assert_array_equal(results[0].logits, results[1].logits)


def test_memory_counts_every_channel_of_a_group():
    plan = build_plan(NetworkConfig(**OPTIONS | {"base_channels": 64}))
    # The widest map is the expansion: 3 x 64 channels at half the size, and it is read again.
    assert estimate_memory(plan, (1, 64, 64, 3)) >= 4 * 2 * 32 * 32 * 192


def test_it_learns(rng):
    from sact_core.train.batches import Batch
    from sact_core.train.learner import Learner
    from sact_core.train.recipes import TrainingConfig

    config = TrainingConfig(NetworkConfig(**OPTIONS, halting="sact"), amp="off")
    before = init_params(build_plan(config.network))
    learner = Learner(config, before)
    images = rng.standard_normal((6, 20, 20, 3), dtype=np.float32)
    batch = Batch(images, np.arange(6) % 5)
    losses = []
    for _ in range(10):
        seen = learner.look(batch)
        losses.append(seen.total)
        learner.learn(seen, 0.5)
    assert losses[-1] < losses[0]
    after = learner.network.params()
    assert [name for name in before if np.array_equal(before[name], after[name])] == []
    assert 0 < learner.flops(seen) <= dense_flops(learner.plan, (20, 20)).total[0]


def test_networks_for_measuring_halt_as_they_are_steered():
    plan = build_plan(NetworkConfig(**OPTIONS | {"units_per_block": (2, 4)}, halting="sact"))
    params = steered_params(plan)
    set_reach(plan, params, 1.0)
    for block in reference.Engine(plan, params).forward(steering_images(2, (64, 64))).blocks:
        units = block.halting_distribution.shape[-1]
        for u in range(1, units):
            assert (block.num_units > u).mean() == pytest.approx(1 - u / units, abs=0.05)


STRIDED_FIRST = (
    dataclasses.replace(IMAGENET.layers[0], strided=True),
    dataclasses.replace(IMAGENET.layers[1], strided=False),
    IMAGENET.layers[2],
)


@pytest.mark.parametrize(
    ("family", "change"),
    [
        (IMAGENET, {"stem": End(3, 1)}),
        (IMAGENET, {"stem": End(5, 2, norm=RELU6)}),
        (IMAGENET, {"pool": False}),
        (IMAGENET, {"postnorm": None}),
        (IMAGENET, {"head": End(1, channels=40)}),
        (IMAGENET, {"preact": None}),
        (IMAGENET, {"first_shortcut": "preact"}),
        (IMAGENET, {"layers": (*IMAGENET.layers[:2], Layer("conv3", "outer", LINEAR, 1))}),
        (IMAGENET, {"layers": (Layer("c1", "inner", RELU6, 5, strided=True), IMAGENET.layers[2])}),
        (CIFAR, {"stem": End(3, norm=RELU6)}),
        (CIFAR, {"changing_shortcut": "conv"}),
        (CIFAR, {"changing_shortcut": "conv", "divisor": 1}),
        (CIFAR, {"layers": (dataclasses.replace(CIFAR.layers[0], norm=None), CIFAR.layers[1])}),
    ],
)
def test_the_masked_engine_takes_every_fact_by_itself(rng, monkeypatch, family, change):
    monkeypatch.setitem(FAMILIES, "toy", dataclasses.replace(family, **change))
    options = {"family": "toy", "units_per_block": (2, 1, 2, 1)[: len(family.stages)]}
    options |= {"base_channels": 4, "num_classes": 5, "halting": "sact", "halting_bias": -0.5}
    net = random_net(rng, **options)
    side = 32 if net.plan.divisor > 1 else 29
    x, ref = images_with_margin(rng, net, (2, side, 36, 3))
    other = random_net(rng, "masked", net.engine.params, **options)
    assert_results_agree(other.forward(x, keep_outputs=True), ref)


@pytest.mark.parametrize(
    ("family", "change", "match"),
    [
        (IMAGENET, {"head": End(3, channels=8)}, "a head that is wider than 1x1"),
        (
            IMAGENET,
            {"layers": (*IMAGENET.layers[:2], Layer("conv3", "outer", RELU6, 1))},
            "units that end in an activation",
        ),
        (
            IMAGENET,
            {"layers": IMAGENET.layers[::2]},
            "units whose convolutions do not stride as the unit does",
        ),
        (
            IMAGENET,
            {"layers": tuple(Layer(f"conv{i}", "outer", LINEAR, 3, i == 0) for i in range(3))},
            "units of more than two wide convolutions",
        ),
        (
            IMAGENET,
            {"layers": (Layer("conv1", "inner", RELU6, 7, strided=True), IMAGENET.layers[2])},
            "kernels that are no square of 1, 3 or 5",
        ),
        (CIFAR, {"divisor": 2}, "pooling shortcuts on odd sides"),
        (CIFAR, {"pool": True}, "pooling shortcuts on odd sides"),
    ],
)
def test_the_masked_engine_knows_its_limits(monkeypatch, family, change, match):
    options = {"family": "toy", "units_per_block": (1,) * len(family.stages)}
    monkeypatch.setitem(FAMILIES, "toy", family)
    random_net(np.random.default_rng(0), "masked", **options)  # as it is, it runs
    monkeypatch.setitem(FAMILIES, "toy", dataclasses.replace(family, **change))
    with pytest.raises(ValueError, match=f"masked engine cannot run .* has {match}: use the dense"):
        random_net(np.random.default_rng(0), "masked", **options)


def test_the_masked_engine_refuses_groups_of_several_channels():
    plan = build_plan(NetworkConfig(**OPTIONS))
    unit = plan.units[2]
    grouped = dataclasses.replace(unit.convs[1], weight_shape=(5, 5, 3, 12), groups=4)
    changed = dataclasses.replace(unit, convs=(unit.convs[0], grouped, unit.convs[2]))
    blocks = (plan.blocks[0], dataclasses.replace(plan.blocks[1], units=(changed,)))
    with pytest.raises(ValueError, match="has convolutions in groups of several channels"):
        check_scope(dataclasses.replace(plan, blocks=blocks))


# --- nobody else knows ---


def program():
    """Every file of the program but the table."""
    files = [ROOT / "streamlit_app.py", *(ROOT / "pretrained").glob("*.py")]
    files += [*(ROOT / "sact_core").rglob("*.py"), *(ROOT / "app").rglob("*.py")]
    return [path for path in files if path != ROOT / "sact_core" / "families.py"]


def comparisons(text, names, attribute=None):
    """Lines that compare with one of these texts; of that attribute alone, where one is given."""
    found = []
    for node in ast.walk(ast.parse(text)):
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        sides += [node.value] if isinstance(node, ast.MatchValue) else []
        texts = {n.value for s in sides for n in ast.walk(s) if isinstance(n, ast.Constant)}
        attributes = {side.attr for side in sides if isinstance(side, ast.Attribute)}
        if texts & names and attribute in {None, *attributes}:
            found.append(node.lineno if isinstance(node, ast.Compare) else node.value.lineno)
    return found


def test_no_family_is_asked_for_by_name():
    found = {path: comparisons(path.read_text(), NAMES) for path in program()}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_how_a_network_halts_is_asked_of_its_config():
    names = {"none", "act", "sact"}
    found = {path: comparisons(path.read_text(), names, "halting") for path in program()}
    own = found.pop(ROOT / "sact_core" / "config.py")
    assert len(own) == 2  # by_image, by_position
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "text",
    [
        "1 if config.family == 'cifar' else 2",
        "config.family != 'imagenet'",
        "family in ('cifar', 'mobile')",
        "match family:\n    case 'cifar':\n        pass",
    ],
)
def test_the_search_finds_what_it_looks_for(text):
    assert comparisons(text, {"cifar", "imagenet"})
    assert comparisons("config.halting == 'sact'", {"sact"}, "halting") == [1]
    assert comparisons("wanted == 'sact'", {"sact"}, "halting") == []


def test_every_row_of_the_table_is_whole():
    for name, family in FAMILIES.items():
        config = NetworkConfig(
            name, family.units(family.usual_depth), family.usual_channels, family.usual_classes
        )
        assert build_plan(config).config == config
        assert family.images in ("photographs", "small")
        assert default_preprocessing(name).kind == family.kind
        assert family.image_size in family.sizes or name == "toy"
