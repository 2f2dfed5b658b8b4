"""FLOPs: golden totals, closed forms, and the sums per block, unit and layer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sact_core.backends import BACKENDS, reference
from sact_core.config import NetworkConfig, parse_units
from sact_core.flops import Tariff, conv_flops, count_flops, dense_flops, dense_positions
from sact_core.plans import build_plan
from tests import naive
from tests.networks import images_with_margin, random_net

HALTING = {"vanilla": "none", "act": "act", "sact": "sact"}
FULL_SIZE = [
    "imagenet_vanilla_50",
    "imagenet_vanilla_101",
    "imagenet_vanilla_152",
    "imagenet_act_101",
    "imagenet_sact_101",
    "cifar_vanilla_5",
    "cifar_vanilla_18",
    "cifar_act_5",
    "cifar_sact_5",
    "cifar_sact_18",
]


def plan_of(family, units, **options):
    units = parse_units(str(units), family) if isinstance(units, int | str) else units
    return build_plan(NetworkConfig(family=family, units_per_block=units, **options))


def halt_at_first_unit(plan, size):
    """Positions of each convolution when every position stops after unit 1."""
    positions = dense_positions(plan, size)
    for block in plan.blocks:
        for unit in block.units[1:]:
            for name in positions:
                if name.startswith(f"{unit.name}/"):
                    # SACT always counts the global branch.
                    always = plan.config.halting == "sact" and name.endswith("/global_conv")
                    positions[name] = 1 if always else 0
    return {name: np.array([count]) for name, count in positions.items()}


@pytest.mark.parametrize(
    ("family", "units", "halting", "total"),
    [
        ("cifar", 18, "none", 505_775_360),
        ("cifar", 5, "none", 137_725_184),
        ("imagenet", 101, "none", 15_602_814_976),
        ("imagenet", 101, "act", 15_602_872_320),
        ("imagenet", 101, "sact", 15_736_541_184),
    ],
)
def test_dense_totals_of_full_size_networks(family, units, halting, total):
    options = {"num_classes": 1001, "base_channels": 64} if family == "imagenet" else {}
    plan = plan_of(family, units, halting=halting, **options)
    size = (224, 224) if family == "imagenet" else (32, 32)
    comp = dense_flops(plan, size).total
    assert comp.dtype == np.int64
    assert comp.tolist() == [total]


@pytest.mark.parametrize("case", ["dense", "all_halt_at_first_unit"])
@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_networks_hold_per_block(reference_dir, name, case):
    facts = json.loads((reference_dir / "full_size_flops.json").read_text())
    assert sorted(facts) == sorted(FULL_SIZE)
    facts = facts[name]
    family, kind, _ = name.split("_")
    plan = plan_of(
        family,
        tuple(facts["block_num_units"]),
        base_channels=facts["base_channels"],
        num_classes=facts["num_classes"],
        halting=HALTING[kind],
    )
    size = tuple(facts["input"][1:3])
    if case == "dense":
        ref = facts["dense" if kind == "vanilla" else "dense_all_units_run"]
        comp = dense_flops(plan, size)
    elif kind == "vanilla":
        assert case not in facts  # nothing halts in a vanilla network
        return
    else:
        ref = facts[case]
        comp = count_flops(plan, halt_at_first_unit(plan, size))
    assert comp.total.tolist() == [ref["flops"]]
    for scope, (block, flops) in zip(facts["block_scopes"], comp.blocks.items(), strict=True):
        assert block == scope.replace("_", "")
        assert flops.tolist() == [ref[f"{scope}/flops"]]


def test_one_convolution_by_hand():
    # 3x3, 5 channels in, 7 out, at 10 and at 0 positions; two per multiply-add.
    comp = conv_flops((3, 3, 5, 7), np.array([10, 0]))
    assert comp.tolist() == [2 * 10 * 9 * 5 * 7, 0]


@pytest.mark.parametrize("n", [2, 3])
def test_conv_flops_do_not_overflow_32_bits(n):
    comp = conv_flops((3, 3, 512, 512), np.full(n, 10_000, np.int32))
    assert comp.dtype == np.int64
    assert comp.tolist() == [2 * 9 * 512 * 512 * 10_000] * n


def test_small_network_by_hand():
    plan = plan_of("cifar", (1, 2, 1), base_channels=2, num_classes=3, halting="sact")
    comp = dense_flops(plan, (8, 4))
    assert {name: int(flops[0]) for name, flops in comp.layers.items()} == {
        "stem": 2 * 32 * 9 * 3 * 2,
        "block1/unit1/conv1": 2 * 32 * 9 * 2 * 2,
        "block1/unit1/conv2": 2 * 32 * 9 * 2 * 2,
        "block2/unit1/conv1": 2 * 8 * 9 * 2 * 4,
        "block2/unit1/conv2": 2 * 8 * 9 * 4 * 4,
        "block2/unit1/halting_proba/local_conv": 2 * 8 * 9 * 4,
        "block2/unit1/halting_proba/global_conv": 2 * 4,
        "block2/unit2/conv1": 2 * 8 * 9 * 4 * 4,
        "block2/unit2/conv2": 2 * 8 * 9 * 4 * 4,
        "block3/unit1/conv1": 2 * 2 * 9 * 4 * 8,
        "block3/unit1/conv2": 2 * 2 * 9 * 8 * 8,
        "logits": 2 * 8 * 3,
    }
    assert comp.unit("block2/unit1").tolist() == [2 * 8 * 9 * (8 + 16 + 4) + 8]
    assert comp.halting.tolist() == [2 * 8 * 9 * 4 + 8]


@pytest.mark.parametrize("halting", ["none", "act", "sact"])
@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_layers_units_and_blocks_add_up(rng, family, halting):
    units = (2, 1, 3) if family == "cifar" else (2, 1, 3, 1)
    plan = plan_of(family, units, base_channels=4, halting=halting)
    positions = {conv.name: rng.integers(0, 50, 3) for conv in plan.convs}
    comp = count_flops(plan, positions)
    assert list(comp.layers) == [conv.name for conv in plan.convs]
    assert list(comp.units) == [unit.name for unit in plan.units]
    assert list(comp.blocks) == [block.name for block in plan.blocks]
    outside = comp.layers["stem"] + comp.layers["logits"]
    np.testing.assert_array_equal(sum(comp.layers.values()), comp.total)
    np.testing.assert_array_equal(sum(comp.units.values()) + outside, comp.total)
    np.testing.assert_array_equal(sum(comp.blocks.values()) + outside, comp.total)
    np.testing.assert_array_equal(comp.block("block1"), comp.blocks["block1"])
    assert comp.total.shape == comp.halting.shape == (3,)
    assert (comp.halting > 0).any() == (halting != "none")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"logits": np.ones(2, bool)}, "positions of logits must be whole numbers .* got bool"),
        ({"stem": None}, "missing: stem; unexpected: none"),
        ({"stem": None, "steam": np.ones(2, int)}, "missing: stem; unexpected: steam"),
        ({"logits": np.ones(3, int)}, r"positions of logits .* shape \(2,\).* got int64 .* \(3,\)"),
        ({"logits": np.ones(2)}, "positions of logits must be whole numbers"),
        ({"logits": np.array([1, -1])}, "positions of logits must not be negative"),
    ],
)
def test_positions_that_do_not_fit_are_refused(change, match):
    plan = plan_of("cifar", 1)
    positions = {conv.name: np.ones(2, int) for conv in plan.convs} | change
    positions = {name: count for name, count in positions.items() if count is not None}
    with pytest.raises(ValueError, match=match):
        count_flops(plan, positions)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize("halting", ["none", "act", "sact"])
def test_a_tariff_counts_the_same(rng, family, halting):
    plan = plan_of(family, {"cifar": (2, 1, 3), "imagenet": (2, 1, 3, 1)}[family], halting=halting)
    tariff = Tariff(plan)
    positions = {name: rng.integers(0, 10**6, 3) for name in tariff.names}
    ref = count_flops(plan, positions)
    total, blocks = tariff.count(np.array([positions[name] for name in tariff.names]))
    np.testing.assert_array_equal(total, ref.total)
    assert list(ref.blocks) == [block.name for block in plan.blocks]
    np.testing.assert_array_equal(blocks, list(ref.blocks.values()))


def test_a_size_that_the_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match="multiples of 4 pixels, got 30 x 32"):
        dense_flops(plan_of("cifar", 1), (30, 32))


# --- masks ---


def naive_flops(plan, num_units, size):
    """FLOPs of one image from its maps of ``num_units``, by loops."""
    config = plan.config
    common = (num_units, config.units_per_block, config.base_channels, config.num_classes)
    if config.family == "cifar":
        return naive.cifar_sact_flops(*common, config.sact_kernel_size)
    return naive.imagenet_sact_flops(*common, config.sact_kernel_size, size)


@pytest.mark.parametrize("sact_kernel_size", [1, 3])
@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_masks_agree_with_brute_force(rng, family, sact_kernel_size):
    size = (32, 64)
    units = (3, 1, 4) if family == "cifar" else (3, 1, 4, 2)
    plan = plan_of(
        family,
        units,
        base_channels=4,
        num_classes=7,
        halting="sact",
        sact_kernel_size=sact_kernel_size,
    )
    # Random maps from all halted at once to nothing halted, one share per image.
    num_units = []
    for (height, width), most in zip(plan.block_sizes(size), units, strict=True):
        late = rng.random((4, height, width)) < np.array([0, 0.1, 0.6, 1])[:, None, None]
        num_units.append(np.where(late, rng.integers(1, most + 1, late.shape), 1))
        num_units[-1][3] = most
    positions = {}
    inputs = (size[0] // 4, size[1] // 4) if family == "imagenet" else size
    for block, counts in zip(plan.blocks, num_units, strict=True):
        for u, unit in enumerate(block.units):
            positions |= reference.count_positions(unit, False, counts > u, (4, *inputs, 0))
            inputs = counts.shape[1:]
    stem = dense_positions(plan, size)["stem"]
    positions |= {"stem": np.full(4, stem), "logits": np.ones(4, int)}
    comp = count_flops(plan, positions)
    for i in range(4):
        total, per_block = naive_flops(plan, [counts[i] for counts in num_units], size)
        assert comp.total[i] == total
        assert [flops[i] for flops in comp.blocks.values()] == per_block
    # Where nothing halts, the masks save nothing.
    assert comp.total[3] == dense_flops(plan, size).total[0]
    assert comp.total[0] < comp.total[1] < comp.total[2] < comp.total[3]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_a_run_agrees_with_brute_force(rng, family, backend):
    size = (8, 12) if family == "cifar" else (32, 64)
    options = {
        "family": family,
        "units_per_block": (3, 1, 4) if family == "cifar" else (3, 1, 4, 2),
        "base_channels": 4,
        "halting": "sact",
        "halting_bias": -0.5,
    }
    net = random_net(rng, **options)
    x, _ = images_with_margin(rng, net, (2, *size, 3))
    result = random_net(rng, backend, net.engine.params, **options).forward(x)
    for i in range(2):
        total, per_block = naive_flops(net.plan, [b.num_units[i] for b in result.blocks], size)
        assert result.flops[i] == total
        assert [block.flops[i] for block in result.blocks] == per_block
    assert total < dense_flops(net.plan, size).total[0]


# --- another counter ---


@pytest.mark.parametrize("halting", ["none", "act", "sact"])
@pytest.mark.parametrize(("family", "size"), [("cifar", (32, 32)), ("imagenet", (65, 96))])
def test_dense_count_agrees_with_torch(family, size, halting):
    from torch.utils.flop_counter import FlopCounterMode

    options = {"units_per_block": (3, 1, 2) if family == "cifar" else (3, 1, 2, 1)}
    # Nothing stops, so that the dense network's own count is that of its convolutions.
    net = random_net(
        np.random.default_rng(0),
        "dense",
        family=family,
        base_channels=4,
        halting=halting,
        halting_bias=-1e4,
        **options,
    )
    with FlopCounterMode(display=False) as counter:
        result = net.forward(np.zeros((2, *size, 3), np.float32))
    comp = dense_flops(net.plan, size).total[0]
    assert counter.get_total_flops() == 2 * comp
    assert result.flops.tolist() == [comp, comp]
