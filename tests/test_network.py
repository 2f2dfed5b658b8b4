"""The plan: names, shapes, counts and facts; the result's maps; fresh parameters."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sact_core.config import NetworkConfig
from sact_core.families import FAMILIES
from sact_core.network import Block, Conv, Unit, check_input_size
from sact_core.parameters import check_params, init_params, require_params
from sact_core.plans import build_plan
from sact_core.result import BlockResult, Result
from tests.authors import param_name

IMAGENET_DEPTHS = FAMILIES["imagenet"].depths
MOBILE_DEPTHS = FAMILIES["mobile"].depths

VARIABLES = {
    "cifar_vanilla_5": NetworkConfig(),
    "cifar_act_5": NetworkConfig(halting="act"),
    "cifar_sact_5": NetworkConfig(halting="sact"),
    "imagenet_vanilla_101": NetworkConfig("imagenet", IMAGENET_DEPTHS[101], 64, 1001),
    "imagenet_act_101": NetworkConfig("imagenet", IMAGENET_DEPTHS[101], 64, 1001, "act"),
    "imagenet_sact_101": NetworkConfig("imagenet", IMAGENET_DEPTHS[101], 64, 1001, "sact"),
}


def num_params(config):
    shapes = build_plan(config).param_shapes
    trained = {name: shape for name, shape in shapes.items() if "/moving_" not in name}
    return sum(int(np.prod(shape)) for shape in trained.values())


@pytest.mark.parametrize("name", VARIABLES)
def test_parameters_are_the_authors_variables(reference_dir, name):
    facts = json.loads((reference_dir / f"variables_{name}.json").read_text())
    ref = {
        param_name(fact["name"]): tuple(fact["shape"])
        for fact in facts
        if fact["name"] != "global_step"
    }
    plan = build_plan(VARIABLES[name])
    assert plan.param_shapes == ref
    trained = [fact["shape"] for fact in facts if fact["trainable"]]
    assert num_params(VARIABLES[name]) == sum(int(np.prod(shape)) for shape in trained)


def test_no_variables_file_is_left_out(reference_dir):
    found = [path.stem for path in reference_dir.glob("variables_*.json")]
    assert sorted(found) == sorted(f"variables_{name}" for name in VARIABLES)


@pytest.mark.parametrize(
    ("config", "ref"),
    [
        # A unit of c channels has 18 c^2 + 5 c; one that widens c to 2 c has 54 c^2 + 8 c.
        (NetworkConfig(), 464_730),
        (NetworkConfig(units_per_block=(18, 18, 18)), 464_730 + 13 * (4688 + 18_592 + 74_048)),
        # A halting branch has 3 c + 1, or with a local 3x3 convolution 14 c + 1.
        (NetworkConfig(halting="act"), 464_730 + 4 * (3 * 112 + 3)),
        (NetworkConfig(halting="sact"), 464_730 + 4 * (14 * 112 + 3)),
        (NetworkConfig(halting="sact", sact_kernel_size=1), 464_730 + 4 * (6 * 112 + 3)),
        # As published for ResNet v2 without biases, and the biases of ours.
        (NetworkConfig("imagenet", IMAGENET_DEPTHS[50], 64, 1000), 25_549_352 + 19_008),
        (NetworkConfig("imagenet", IMAGENET_DEPTHS[101], 64, 1000), 44_541_480 + 36_416),
        (NetworkConfig("imagenet", IMAGENET_DEPTHS[152], 64, 1000), 60_185_128 + 51_776),
        # 16 units more than ResNet-152, in block 2.
        (NetworkConfig("imagenet", IMAGENET_DEPTHS[200], 64, 1000), 60_236_904 + 16 * 280_576),
        # As published for EfficientNet-Lite.
        (NetworkConfig("mobile", MOBILE_DEPTHS[0], 8, 1000), 4_652_008),
        (NetworkConfig("mobile", MOBILE_DEPTHS[1], 8, 1000), 5_416_680),
    ],
)
def test_exact_parameter_counts(config, ref):
    assert num_params(config) == ref


@pytest.mark.parametrize("halting", ["none", "act", "sact"])
@pytest.mark.parametrize("family", FAMILIES)
def test_names_are_unique_and_paths_of_their_unit(family, halting):
    units = (1, 3, 2, 1, 1, 1, 1)[: len(FAMILIES[family].stages)]
    plan = build_plan(NetworkConfig(family, units, 4, halting=halting))
    names = [conv.name for conv in plan.convs] + [bn.name for bn in plan.batch_norms]
    assert len(set(names)) == len(names)
    assert [unit.name for unit in plan.units] == [
        f"block{b + 1}/unit{u + 1}" for b, count in enumerate(units) for u in range(count)
    ]
    for unit in plan.units:
        assert sum(name.startswith(f"{unit.name}/") for name in names) >= 4
    # One halting branch a unit, but for the last of each block.
    assert [unit.halting is not None for unit in plan.units] == [
        halting != "none" and u < count - 1 for count in units for u in range(count)
    ]
    assert [unit.masked for unit in plan.units] == [
        halting == "sact" and u > 0 for count in units for u in range(count)
    ]
    assert plan == build_plan(plan.config)
    assert hash(plan) == hash(build_plan(plan.config))


def test_cifar_facts():
    plan = build_plan(NetworkConfig(units_per_block=(2, 2, 2), halting="sact"))
    first, _, third, fourth = plan.units[:4]
    assert [unit.shortcut for unit in plan.units[:4]] == ["preact", "identity", "pool", "identity"]
    assert [unit.stride for unit in plan.units] == [1, 1, 2, 1, 2, 1]
    assert [(unit.in_channels, unit.out_channels) for unit in plan.units[1:4]] == [
        (16, 16),
        (16, 32),
        (32, 32),
    ]
    conv1, conv2 = third.convs
    assert (conv1.stride, conv1.bias, conv2.stride, conv2.bias) == (2, False, 1, True)
    assert conv1.bn.slope == pytest.approx(0.01)  # the leaky ReLU of 0.1 twice
    assert conv2.bn is None
    assert (first.preact.eps, first.preact.slope) == (1e-3, 0.1)
    assert third.preact.channels == 16
    assert fourth.halos == (1, 0)
    branch = first.halting
    assert branch.local_conv.weight_shape == (3, 3, 16, 1)
    assert (branch.local_conv.bias, branch.global_conv.bias) == (True, False)
    assert branch.local_bn.slope == branch.global_bn.slope == 0.1
    assert (plan.stem.bias, plan.stem.bn, plan.pool, plan.head_first) == (True, None, False, "mean")
    assert (plan.divisor, plan.bn_decay) == (4, 0.9)
    assert plan.block_sizes((32, 48)) == [(32, 48), (16, 24), (8, 12)]


def test_imagenet_facts():
    plan = build_plan(NetworkConfig("imagenet", (2, 2, 2, 2), 64, 1001, "act"))
    units = plan.units
    # Downsampling in the first unit of a block, never in the last of the one before.
    assert [unit.stride for unit in units] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert [isinstance(unit.shortcut, Conv) for unit in units] == [True, False] * 4
    assert units[2].shortcut.weight_shape == (1, 1, 256, 512)
    assert (units[2].shortcut.stride, units[2].shortcut.bias) == (2, True)
    conv1, conv2, conv3 = units[2].convs
    assert [conv.weight_shape for conv in units[2].convs] == [
        (1, 1, 256, 128),
        (3, 3, 128, 128),
        (1, 1, 128, 512),
    ]
    assert (conv1.stride, conv2.stride, conv3.stride) == (1, 2, 1)
    assert (conv1.bias, conv2.bias, conv3.bias) == (False, False, True)
    assert (conv1.bn.slope, conv2.bn.slope, conv3.bn) == (0.0, 0.0, None)
    assert units[2].preact.eps == 1e-5
    assert units[1].halos == (1, 0, 0)
    branch = units[0].halting
    assert branch.local_conv is None
    assert (branch.global_conv.bias, branch.global_bn.slope) == (True, 1.0)
    assert plan.stem.weight_shape == (7, 7, 3, 64)
    assert (plan.stem.stride, plan.stem.bias, plan.pool, plan.head_first) == (2, True, True, "bn")
    assert (plan.divisor, plan.bn_decay) == (1, 0.997)
    assert plan.block_sizes((100, 131)) == [(25, 33), (13, 17), (7, 9), (4, 5)]
    assert plan.block_sizes((1, 1)) == [(1, 1)] * 4


def test_mobile_facts():
    plan = build_plan(NetworkConfig("mobile", MOBILE_DEPTHS[0], 8, 1000, "sact"))
    assert (plan.stem.weight_shape, plan.stem.stride) == ((3, 3, 3, 32), 2)
    assert (plan.stem.bn.slope, plan.stem.bn.cap, plan.stem.bn.eps) == (0.0, 6.0, 1e-3)
    firsts = [block.units[0] for block in plan.blocks]
    assert [unit.out_channels for unit in firsts] == [16, 24, 40, 80, 112, 192, 320]
    assert [unit.stride for unit in firsts] == [1, 2, 2, 2, 1, 2, 1]
    assert [unit.convs[-2].weight_shape[0] for unit in firsts] == [3, 3, 5, 3, 5, 5, 3]
    assert [unit.shortcut for unit in firsts] == [None] * 7  # size or width changes
    assert [conv.weight_shape for conv in firsts[0].convs] == [(3, 3, 1, 32), (1, 1, 32, 16)]
    for block in plan.blocks[1:]:
        for unit in block.units:
            expand, depthwise, project = unit.convs
            assert expand.out_channels == depthwise.groups == 6 * unit.in_channels
            assert [conv.bn.cap for conv in unit.convs] == [6.0, 6.0, np.inf]
            assert project.bn.slope == 1.0
    # A block of one unit has nothing to halt.
    assert [sum(unit.halting is not None for unit in block.units) for block in plan.blocks] == [
        count - 1 for count in MOBILE_DEPTHS[0]
    ]
    assert plan.blocks[2].units[1].halos == (2, 0, 0)
    assert (plan.head.weight_shape, plan.postnorm) == ((1, 1, 320, 1280), None)
    assert (plan.divisor, plan.bn_decay) == (1, 0.99)
    assert plan.block_sizes((225, 33)) == [
        *[(113, 17), (57, 9), (29, 5), (15, 3), (15, 3), (8, 2), (8, 2)]
    ]


def test_the_stem_of_a_narrow_network_keeps_its_64_channels():
    plan = build_plan(NetworkConfig("imagenet", (1, 1, 1, 1), 16))
    assert plan.stem.weight_shape == (7, 7, 3, 64)
    # Block 1 gives 4 x 16 = 64 channels, as many as come in: no convolution.
    assert plan.units[0].shortcut == "identity"


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side", "ref"),
    [
        (3, 1, "same", 8, (1, 1)),
        (3, 2, "same", 8, (0, 1)),  # TensorFlow: the odd pixel goes behind
        (3, 2, "same", 7, (1, 1)),
        (3, 2, "explicit", 8, (1, 1)),
        (7, 2, "explicit", 224, (3, 3)),
        (1, 2, "same", 8, (0, 0)),
        (3, 1, "same", 1, (1, 1)),
    ],
)
def test_padding(kernel, stride, padding, side, ref):
    conv = Conv("conv", (kernel, kernel, 1, 1), stride, padding=padding)
    assert conv.pads((side, 5))[0] == ref
    assert conv.pads((5, side))[1] == ref
    assert conv.output_size((side, side)) == (-(-side // stride),) * 2


@pytest.mark.parametrize(
    ("sides", "halos"),
    [
        ([3, 3], (1, 0)),
        ([1, 3, 1], (1, 0, 0)),
        ([1, 5, 1], (2, 0, 0)),
        ([1, 1], (0, 0)),
        ([3, 5, 3, 1], (3, 1, 0, 0)),
    ],
)
def test_halos_are_what_the_later_convolutions_read(sides, halos):
    convs = tuple(Conv(f"conv{i}", (side, side, 2, 2)) for i, side in enumerate(sides))
    unit = Unit("unit", 2, 2, 1, None, convs, "identity", None, True)
    assert unit.halos == halos


@pytest.mark.parametrize(
    "change", [{"shortcut": None}, {"shortcut": "preact"}, {"stride": 2}, {"out_channels": 4}]
)
def test_what_has_halted_stays_as_it_is(change):
    block = build_plan(NetworkConfig(units_per_block=(2, 1, 1))).blocks[0]
    first, second = block.units
    with pytest.raises(ValueError, match="block1/unit2 does not add to its input"):
        Block("block1", (first, replace(second, **change)))
    Block("block1", (replace(first, shortcut=None), second))  # the first may


@pytest.mark.parametrize("size", [(30, 32), (32, 2), (0, 4), (4, 0), (-4, 4)])
def test_cifar_sizes_that_cannot_be_halved_are_refused(size):
    with pytest.raises(ValueError, match=r"ResNet-32 needs input sides that are multiples of 4"):
        check_input_size(build_plan(NetworkConfig()), size)


@pytest.mark.parametrize("size", [(0, 4), (4, -1)])
def test_imagenet_takes_any_size_but_none(size):
    plan = build_plan(NetworkConfig("imagenet", (1, 1, 1, 1)))
    check_input_size(plan, (1, 7))
    with pytest.raises(ValueError, match="needs input sides that are at least 1 pixels"):
        plan.block_sizes(size)


# --- parameters ---


def test_all_that_does_not_fit_is_listed():
    plan = build_plan(NetworkConfig(units_per_block=(1, 1, 1)))
    shapes = dict(plan.param_shapes)
    assert check_params(plan, shapes) == []
    del shapes["stem/bias"]
    shapes["block9/extra"] = (3,)
    shapes["logits/weight"] = (1, 1, 10, 64)
    assert check_params(plan, shapes) == [
        "missing: stem/bias (16,)",
        "unexpected: block9/extra (3,)",
        "wrong shape: logits/weight is (1, 1, 10, 64), should be (1, 1, 64, 10)",
    ]
    with pytest.raises(ValueError, match=r"missing: stem/bias .*block9/extra.*logits/weight"):
        require_params(plan, {name: np.zeros(shape) for name, shape in shapes.items()})


@pytest.mark.parametrize("halting", ["none", "act", "sact"])
@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_parameters(family, halting):
    units = (2, 2, 1, 2, 1, 1, 1)[: len(FAMILIES[family].stages)]
    plan = build_plan(NetworkConfig(family, units, 16, halting=halting, halting_bias=-2.5))
    params = init_params(plan, seed=1)
    require_params(plan, params)
    biased = []
    for name, value in params.items():
        part = name.rsplit("/", 1)[1]
        assert value.dtype == np.float32
        if part == "weight":
            # He: deviation sqrt(2 / fan-in), cut at two deviations of the uncut normal.
            deviation = np.sqrt(2 / np.prod(value.shape[:3]))
            assert np.abs(value).max() <= 2 * deviation / 0.8796
            if value.size > 2000:
                assert value.std() == pytest.approx(deviation, rel=0.06)
                assert abs(value.mean()) < 5 * deviation / value.size**0.5
        elif part == "bias" and "/halting_proba/" in name:
            biased.append(name)
            np.testing.assert_array_equal(value, np.float32(-2.5))
        else:
            fill = {"gamma": 1, "moving_variance": 1, "beta": 0, "moving_mean": 0, "bias": 0}[part]
            np.testing.assert_array_equal(value, fill)
    # Exactly one bias in each halting branch.
    assert len(biased) == sum(unit.halting is not None for unit in plan.units)


def test_a_seed_decides_the_parameters():
    plan = build_plan(NetworkConfig(units_per_block=(1, 1, 1)))
    first, again, other = (init_params(plan, seed) for seed in (3, 3, 4))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert (first["stem/weight"] != other["stem/weight"]).all()


# --- results ---


def result_of(blocks, input_size, n=1):
    return Result(np.zeros((n, 2), np.float32), np.zeros(n, np.int64), blocks, {}, input_size)


def block_of(num_units, remainder):
    num_units = np.array(num_units, np.int32)
    cost = num_units + np.float32(remainder)
    return BlockResult("b", np.zeros(1, np.int64), num_units.shape[1:], cost, num_units)


def test_map_by_hand():
    fine = block_of([[[1, 2, 3, 4], [5, 6, 7, 8]]], 0.5)
    coarse = block_of([[[10, 20]]], 0.25)
    result = result_of((fine, coarse), (2, 4))
    ref = np.array([[[11, 12, 23, 24], [15, 16, 27, 28]]])
    np.testing.assert_array_equal(result.map("num_units"), ref)
    np.testing.assert_array_equal(result.map("ponder_cost"), ref + 0.75)
    np.testing.assert_array_equal(result.map(), result.map("ponder_cost"))
    assert result.map("num_units").dtype == np.float32


def test_map_takes_the_source_index_rounded_down():
    # 3 to 8: floor(i * 3 / 8) = 0 0 0 1 1 1 2 2.
    result = result_of((block_of([[[1, 2, 3]]], 0.5),), (2, 8))
    np.testing.assert_array_equal(result.map("num_units")[0], [[1, 1, 1, 2, 2, 2, 3, 3]] * 2)


def test_map_of_other_rows_and_columns():
    # Rows 3 to 5: floor(i * 3 / 5) = 0 0 1 1 2. Columns 2 to 3: floor(j * 2 / 3) = 0 0 1.
    result = result_of((block_of([[[1, 2], [3, 4], [5, 6]]], 0.5),), (5, 3))
    ref = [[1, 1, 2], [1, 1, 2], [3, 3, 4], [3, 3, 4], [5, 5, 6]]
    np.testing.assert_array_equal(result.map("num_units")[0], ref)
    # A map coarser than the input's half, taller than wide, beside a finer one; two images.
    fine = block_of(np.arange(20).reshape(2, 5, 2), 0.25)
    coarse = block_of([[[100], [200], [300]], [[400], [500], [600]]], 0.25)
    result = result_of((fine, coarse), (5, 2), n=2)
    steps = np.array([[100, 100, 200, 200, 300], [400, 400, 500, 500, 600]])[:, :, None]
    ref = np.arange(20).reshape(2, 5, 2) + steps
    np.testing.assert_array_equal(result.map("num_units"), ref)
    np.testing.assert_array_equal(result.map("ponder_cost"), ref + 0.5)


def test_map_of_an_act_network_is_flat():
    block = BlockResult(
        "b", np.zeros(2, np.int64), (2, 2), np.array([2.5, 3.5]), np.array([2, 3], np.int32)
    )
    comp = result_of((block, block), (4, 6), n=2).map("num_units")
    np.testing.assert_array_equal(comp, np.full((2, 4, 6), 1) * np.array([4, 6])[:, None, None])


def test_map_errors():
    vanilla = BlockResult("b", np.zeros(1, np.int64), (2, 2))
    with pytest.raises(ValueError, match="a vanilla network has no ponder map"):
        result_of((vanilla,), (4, 4)).map()
    with pytest.raises(ValueError, match="metric must be ponder_cost or num_units, got 'flops'"):
        result_of((vanilla,), (4, 4)).map("flops")


def test_probabilities_of_large_logits():
    result = Result(np.array([[1000, 1000], [-1000, 0]], np.float32), np.zeros(2), (), {}, (1, 1))
    np.testing.assert_allclose(result.probabilities, [[0.5, 0.5], [0, 1]])
