"""The masked engine in int8, against integers in NumPy: kernels to the bit, then networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numba import njit

import sact_core
from sact_core.backends import int8, masked, precision, reference
from sact_core.backends.masked import engine as engine_module
from sact_core.backends.masked.kernels import conv, cpu, layout
from sact_core.backends.masked.packing import pack
from sact_core.backends.masked.weights import in_fours
from sact_core.calibrate.scales import find_scales
from sact_core.checkpoint import Checkpoint
from sact_core.config import default_preprocessing
from sact_core.families import FAMILIES
from sact_core.quantisation import quantised_convs, unit_scales
from tests.flat import Flat, padded, places_of
from tests.networks import random_params
from tests.ops.convolutions import CONVS, draw_conv, inside, product
from tests.ops.operation import LISTS, drawn
from tests.test_families import OPTIONS, TOY
from tests.test_masked import (
    assert_same,
    blob,
    image_with,
    make_plan,
    run_python,
    steered_params,
)
from tests.test_masked_bfloat16 import HASWELL, SMALL, error

#: Loops of both kinds, where there are both.
WAYS = [False] if cpu.INTERPRETED else [False, True]


@pytest.fixture(autouse=True)
def forced(monkeypatch):
    """Wherever the tests run."""
    monkeypatch.setenv("SACT_FORCE_PRECISION", "1")


# --- kernels ---


def draw_bytes(rng, which_byte="any", **shape):
    """A convolution of bytes, and numbers for its sums.

    ``which_byte``: ``"most"`` for the largest factors that there are.
    """
    found = draw_conv(rng, **shape)
    x, weight, channels = found["x"], found["weight"], len(found["bias"])
    found["x"] = rng.integers(0, 256, x.shape, dtype=np.uint8)
    found["weight"] = rng.integers(-127, 128, weight.shape, dtype=np.int8)
    if which_byte == "most":
        found["x"][:], found["weight"][:] = 255, -127
    most = 255 * 127 * np.prod(weight.shape[:3])
    found["multiplier"] = (rng.uniform(50, 900, channels) / most).astype(np.float32)
    found["bias"] = rng.normal(0, 60, channels).astype(np.float32)
    return {**found, "zero": int(rng.integers(0, 60))}


def integer_sums(x, weight, what, zero):
    """Sums of products of whole numbers [h, w, out, int64], zeros around the map."""
    pads, (side, _, _, _) = what.pads(x.shape[:2]), weight.shape
    map_ = np.pad(x.astype(np.int64), (*pads, (0, 0)), constant_values=zero)
    height, width = what.output_size(x.shape[:2])
    sums = np.zeros((height, width, weight.shape[3]), np.int64)
    for i in range(side):
        for j in range(side):
            rows = map_[i :: what.stride, j :: what.stride][:height, :width]
            taps = weight[i, j].astype(np.int64)
            sums += rows @ taps if what.groups == 1 else rows * taps[0]
    return sums


def scaled(sums, multiplier, bias):
    return sums.astype(np.float32) * multiplier + bias


def activated(y, what):
    y = np.where(y * np.float32(what.bn.slope) > y, y * np.float32(what.bn.slope), y)
    return np.minimum(y, np.float32(what.bn.cap))


def to_bytes(y, low):
    levels = np.rint(np.clip(y, low, 255 + low).astype(np.float64)) - low
    return levels.astype(np.uint8)


def byte_panels(weight):
    """Weights as ``[panel][tap][in / 4][channel][4]``, bytes."""
    _, _, cin, cout = weight.shape
    rows = np.pad(weight, ((0, 0), (0, 0), (0, padded(cin) - cin), (0, padded(cout) - cout)))
    fours = rows.reshape(-1, 4, padded(cout)).swapaxes(1, 2)
    cuts = range(0, padded(cout), cpu.WIDE)
    return np.concatenate([fours[:, c : c + cpu.WIDE].ravel() for c in cuts]).view(np.uint8)


def byte_taps(weight):
    """Weights of a depthwise convolution as ``[tap / 4][channel][4]``, bytes."""
    taps, channels = weight[..., 0, 0].size, weight.shape[3]
    rows = np.pad(weight.reshape(taps, -1), ((0, -taps % 4), (0, padded(channels) - channels)))
    return rows.reshape(-1, 4, rows.shape[1]).swapaxes(1, 2).ravel().view(np.uint8)


def byte_product(x, weight, bias, what, active, multiplier, zero):
    """Source, weights, numbers and lists, and the convolution as kernels are told it."""
    _, _, lists, p = product(x.astype(np.float32), weight, bias, what, active, y=0)
    border = max(1, weight.shape[0] // 2)
    more = padded(x.shape[2]) - x.shape[2]
    map_ = np.pad(x, ((border, border), (border, border), (0, 0)), constant_values=zero)
    map_ = np.pad(map_, ((0, 0), (0, 0), (0, more)), constant_values=zero)
    depth, row = map_.shape[2], map_.shape[1] * map_.shape[2]
    lay_out = byte_panels if what.groups == 1 else byte_taps
    source, weights = Flat(np.uint8, x=map_), Flat(np.uint8, w=lay_out(weight))
    filled = (0, padded(len(bias)) - len(bias))
    numbers = Flat(np.float32, b=np.pad(bias, filled), m=np.pad(multiplier, filled))
    (top, _), (left, _) = what.pads(x.shape[:2])
    corner = source.at("x") - top * row - left * depth
    return source, weights, numbers, lists, p._replace(
        x0=corner, w0=weights.at("w"), b0=numbers.at("b"), m0=numbers.at("m")
    )  # fmt: skip


@njit
def store(vectors, spare, p, count, x, w, b, listed, y):
    conv.store_panels(vectors, spare, p, 0, count, x, w, b, listed, y)


@njit
def store_by_channel(vectors, spare, p, count, x, w, b, listed, y):
    conv.store_depthwise(vectors, p, x, w, b, listed, y)


@njit
def add(vectors, spare, p, s, count, x, w, b, listed, y):
    conv.add_panels(vectors, spare, p, s, 0, count, x, w, b, listed, y)


SHAPES = [
    *(shape for shape in CONVS if shape.get("cin") != 3),
    {"which_byte": "most", "cin": 512, "size": (3, 3), "which": "all"},
    *({"groups": 20, "cin": 20, "cout": 20, "which": which} for which in LISTS),
    *(  # every channel by itself
        {"groups": 36, "cin": 36, "cout": 36, "side": side, "stride": stride, "size": size}
        for side in (3, 5)
        for stride in (1, 2)
        for size in [(9, 6), (5, 7), (1, 1)]
    ),
    {"groups": 64, "cin": 64, "cout": 64, "side": 5, "which": "all", "which_byte": "most"},
    {"groups": 32, "cin": 32, "cout": 32, "side": 5, "cap": 6.0, "slope": 0.0},
]


@pytest.mark.interpreted
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_those_of_whole_numbers_to_the_bit(rng, shape):
    """And what is made of them: bytes for the next convolution, or float32."""
    if cpu.INTERPRETED and shape.get("cin", 0) > 100:
        shape = {**shape, "cin": 48}
    found = draw_bytes(rng, **shape)
    what, active, bias = found["what"], found["active"], found["bias"]
    height, width = active.shape
    sums = integer_sums(found["x"], found["weight"], what, found["zero"])
    assert np.abs(sums).max() < 2**31
    float_ref = activated(scaled(sums, found["multiplier"], bias), what)
    low = np.float32(-int(rng.integers(0, 60)))
    byte_ref = to_bytes(float_ref, low)
    # What the engine is told: no cap above the largest byte.
    cap = np.float32(min(what.bn.cap, 255 + low))
    channels = padded(len(bias))
    for vectors in WAYS:
        for dtype, ref in ((np.uint8, byte_ref), (np.float32, float_ref)):
            source, weights, numbers, lists, p = byte_product(
                **{k: v for k, v in found.items() if k != "state"}
            )
            target = Flat(dtype, y=(height + 2) * (width + 2) * channels)
            spare = Flat(np.float32, room=cpu.WIDE)
            p = p._replace(y0=target.at("y"), low=low)
            if dtype == np.uint8:
                p = p._replace(cap=cap)
            (store if what.groups == 1 else store_by_channel)(
                vectors, spare["room"], p, -(-channels // cpu.WIDE),
                source.all, weights.all, numbers.all, lists.all, target.all,
            )  # fmt: skip
            target.assert_untouched("y")
            for each in (source, weights, numbers, lists):
                each.assert_untouched()
            if dtype == np.uint8:  # a fence's byte may be written too
                places = target["y"].reshape(height + 2, width + 2, channels)[1:-1, 1:-1]
            else:
                places = inside(target, "y", active, len(bias))
            comp = places[..., : len(bias)][active]
            np.testing.assert_array_equal(comp, ref[active])
            filled = places[active][:, len(bias) :]
            assert (filled == (-low if dtype == np.uint8 else 0)).all()


@pytest.mark.interpreted
@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("which", LISTS)
def test_residuals_of_whole_numbers_are_added_to_the_bit(rng, mode, which):
    found = draw_bytes(rng, cin=20, cout=36, slope=1.0, which=which)
    active, bias = found["active"], found["bias"]
    channels, size = padded(len(bias)), active.shape
    residual = scaled(
        integer_sums(found["x"], found["weight"], found["what"], found["zero"]),
        found["multiplier"],
        bias,
    )
    state, output = (rng.standard_normal((*size, len(bias)), np.float32) for _ in range(2))
    left = rng.random(size, np.float32)
    for vectors in WAYS:
        source, weights, numbers, lists, p = byte_product(**found)
        maps = {
            name: np.pad(each, ((1, 1), (1, 1), (0, channels - len(bias))))
            for name, each in (("y", state), ("out", output))
        }
        floats = Flat(np.float32, **maps, left=np.pad(left, 1), sums=channels)
        s = conv.Sum(mode, floats.at("out"), floats.at("left"), floats.at("sums"))
        spare = Flat(np.float32, room=cpu.WIDE)
        add(
            vectors, spare["room"], p._replace(y0=floats.at("y")), s, -(-channels // cpu.WIDE),
            source.all, weights.all, numbers.all, lists.all, floats.all,
        )  # fmt: skip
        floats.assert_untouched("y", "out", "sums")
        new_state, new_output = (
            inside(floats, name, active, len(bias))[..., : len(bias)] for name in ("y", "out")
        )
        np.testing.assert_array_equal(new_state[active], (state + residual)[active])
        if mode == 1:
            np.testing.assert_array_equal(new_output[active], (state + residual)[active])
        elif mode == 2:  # fused or not
            ref = output + left[..., None] * residual
            np.testing.assert_allclose(new_output[active], ref[active], rtol=1e-5, atol=1e-4)


@njit
def normalise(vectors, rows, count, x, x0, x_at, w, scale, shift, slope, cap, low, y, y0, at, all_):
    conv.normalise(
        vectors, rows, count, x, x0, count, x_at, w, scale, shift, slope, cap, low,
        y, y0, count, at, all_,
    )  # fmt: skip


@pytest.mark.interpreted
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_what_is_read_is_made_bytes_to_the_bit(rng, slope):
    """Ties to even, numbers beyond either end, and NaN as the least."""
    x = rng.normal(0, 90, (4, 5, 32)).astype(np.float32)
    x[0, 0, :8] = [0.5, 1.5, 2.5, -0.5, np.nan, np.inf, -np.inf, 1e30]
    scale, shift = rng.uniform(0.5, 1.5, 32).astype(np.float32), rng.normal(0, 9, 32)
    shift = shift.astype(np.float32)
    scale[:8], shift[:8] = 1, 0
    low = np.float32(-17)
    y = x * scale + shift
    with np.errstate(invalid="ignore"):
        y = np.where(y * np.float32(slope) > y, y * np.float32(slope), y)
        ref = to_bytes(np.where(np.isnan(y), low, y), low)
    for vectors in WAYS:
        floats, numbers = Flat(np.float32, x=x), Flat(np.float32, scale=scale, shift=shift)
        target, lists = Flat(np.uint8, y=x.size), Flat(np.int32, at=np.arange(20))
        with np.errstate(invalid="ignore"):  # 0 times infinity, where this is plain Python
            normalise(
                vectors, 20, 32, floats.all, floats.at("x"), lists.at("at"), numbers.all,
                numbers.at("scale"), numbers.at("shift"), np.float32(slope), np.float32(255 + low),
                low, target.all, target.at("y"), lists.at("at"), lists.all,
            )  # fmt: skip
        target.assert_untouched("y")
        np.testing.assert_array_equal(target["y"].reshape(x.shape), ref)


@pytest.mark.interpreted
def test_weights_lie_in_fours(rng):
    rows = rng.integers(-127, 128, (8, 5), dtype=np.int8)
    fours = in_fours(rows).view(np.int8).reshape(2, 5, 4)
    np.testing.assert_array_equal(fours.swapaxes(1, 2).reshape(8, 5), rows)
    assert places_of([[0, 0]], (1, 1)).dtype == np.int32


@pytest.mark.interpreted
def test_shifts_are_taken_off_before_what_follows(rng):
    plan = make_plan("mobile", units=(1,) * 7, base_channels=4, halting="none")
    params = random_params(rng, plan.config)
    scales = unit_scales(plan, params)
    shifts = {conv.name: drawn(rng, conv.out_channels) for conv in quantised_convs(plan)}
    before, after = (
        pack(plan, params, layout.BYTES, replace(scales, shifts=each)) for each in ({}, shifts)
    )
    for each in quantised_convs(plan):  # every scale is 1
        at = before.where[f"{each.name}/bias"]
        biases = [found.weights[at : at + each.out_channels] for found in (before, after)]
        variance = params[f"{each.bn.name}/moving_variance"] + each.bn.eps
        gain = params[f"{each.bn.name}/gamma"] / np.sqrt(variance)
        change = -shifts[each.name] * gain
        np.testing.assert_allclose(biases[1] - biases[0], change, rtol=1e-3, atol=1e-5)


# --- networks ---


def calibrate(plan, params, x):
    """Scales from the very images, and from noise."""
    found = Checkpoint(plan.config, params, default_preprocessing(plan.config.family))
    noise = np.random.default_rng(1).normal(1, 2, (4, *x.shape[1:])).astype(np.float32)
    return find_scales(found, [x, noise], "range")


def integer_reference(monkeypatch, plan, params, x, scales):
    """The NumPy backend, its convolutions in whole numbers, scaled in float64."""
    conv_same = reference.conv_same

    def conv_of_integers(x, conv, params):
        if conv.name not in scales.inputs:
            return conv_same(x, conv, params)
        scale, zero = scales.inputs[conv.name]
        levels = np.clip(np.rint(x / np.float32(scale)) + zero, 0, 255) - zero
        weight = np.rint(params[f"{conv.name}/weight"] / scales.weights[conv.name])
        whole = {**params, f"{conv.name}/weight": np.clip(weight, -127, 127)}
        plain = replace(conv, bias=False, bn=None)
        y = conv_same(levels.astype(np.float32), plain, whole) * scale * scales.weights[conv.name]
        y = y - scales.shifts[conv.name]
        if conv.bias:
            y = y + params[f"{conv.name}/bias"]
        y = y.astype(np.float32)
        return y if conv.bn is None else reference.batch_norm(y, conv.bn, params)

    with monkeypatch.context() as patched:
        patched.setattr(reference, "conv_same", conv_of_integers)
        return reference.Engine(plan, params).forward(x, keep_outputs=True)


def close(comp, ref):
    """A float32 that rounds otherwise makes another byte here and there, 1 of 255."""
    assert error(comp, ref) < 4e-2


def compare(monkeypatch, plan, params, x, **options):
    scales = calibrate(plan, params, x)
    engine = masked.Engine(plan, params, precision="int8", quantisation=scales, **options)
    comp = engine.forward(x, keep_outputs=True)
    assert comp.precision == "int8"
    ref = integer_reference(monkeypatch, plan, params, x, scales)
    assert_same(comp, ref, plan, close)
    # Sums are the same, and what is float32 around them rounds otherwise here and there: far
    # less than eight bits round.
    wide = reference.Engine(plan, params).forward(x, keep_outputs=True)
    comp_output, ref_output, exact = (each.blocks[0].output for each in (comp, ref, wide))
    assert error(comp_output, ref_output) < max(1e-3, 0.5 * error(exact, ref_output))
    return comp


@pytest.mark.interpreted
@pytest.mark.parametrize(("family", "kind", "size"), SMALL)
def test_small_networks(monkeypatch, rng, family, kind, size):
    base_channels = 2 if family == "cifar" else 8  # of which a ReLU leaves some
    plan = make_plan(family, units=(3, 1, 2), base_channels=base_channels, halting=kind)
    x = image_with(blob(rng, *size, 0.4, 1, 3), rng)
    compare(monkeypatch, plan, steered_params(plan, rng), x)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize("base_channels", [10, 16, 36])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_channels_and_densities(monkeypatch, rng, family, base_channels, share):
    plan = make_plan(family, base_channels=base_channels)
    x = image_with(blob(rng, 40, 36, share, 1, 4), rng)
    compare(monkeypatch, plan, steered_params(plan, rng), x)


@pytest.mark.parametrize("kind", ["sact", "act", "none"])
def test_inverted_bottlenecks(monkeypatch, rng, kind):
    """Whose convolutions read the state itself, and every channel by itself."""
    monkeypatch.setitem(FAMILIES, "toy", TOY)
    options = OPTIONS | {"base_channels": 12, "halting": kind}
    plan = make_plan(units=options.pop("units_per_block"), **options)
    params = random_params(rng, plan.config)
    for size in ((40, 33), (9, 14)):
        x = rng.standard_normal((2, *size, 3), np.float32)
        for vectors in WAYS:
            compare(monkeypatch, plan, params, x, vectors=vectors)


@pytest.mark.parametrize("kind", ["sact", "act", "none"])
@pytest.mark.parametrize("size", [(49, 64), (64, 33)])
def test_the_mobile_family(monkeypatch, rng, kind, size):
    plan = make_plan("mobile", units=(1, 2, 2, 3, 2, 2, 1), base_channels=4, halting=kind)
    params = random_params(rng, plan.config)
    x = rng.standard_normal((2, *size, 3), np.float32)
    for vectors in WAYS:
        compare(monkeypatch, plan, params, x, vectors=vectors)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_threads_do_not_change_a_bit(monkeypatch, rng, family):
    monkeypatch.setattr(engine_module, "OWN_IMAGE_BYTES", 0)
    plan = make_plan(family, base_channels=20)
    params, x = steered_params(plan, rng), image_with(blob(rng, 64, 64, 0.3, 1, 4), rng)
    scales = calibrate(plan, params, x)
    options = {"precision": "int8", "quantisation": scales}
    first, second = (
        masked.Engine(plan, params, num_threads=threads, **options).forward(x) for threads in (1, 3)
    )
    np.testing.assert_array_equal(first.logits, second.logits)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_plain_loops_agree(monkeypatch, rng, family):
    plan = make_plan(family, base_channels=20)
    x = image_with(blob(rng, 16, 20, 0.3, 1, 4), rng)
    compare(monkeypatch, plan, steered_params(plan, rng), x, vectors=False)


@pytest.mark.interpreted
def test_it_is_another_answer_from_a_third_of_the_memory(rng):
    plan = make_plan("imagenet", base_channels=16)
    params, x = steered_params(plan, rng), image_with(blob(rng, 8, 8, 0.3, 1, 4), rng)
    scales = calibrate(plan, params, x)
    engines = [
        masked.Engine(plan, params, precision=each, quantisation=scales)
        for each in ("float32", "int8")
    ]
    wide, narrow = (engine.forward(x) for engine in engines)
    assert 1e-3 < np.abs(wide.logits - narrow.logits).max() / np.abs(wide.logits).max() < 0.3
    weights = [engine._packed.weights.nbytes for engine in engines]
    assert weights[1] < 0.4 * weights[0]


@pytest.mark.interpreted
def test_what_int8_cannot_have_is_one_sentence(monkeypatch, rng):
    plan = make_plan(units=(1, 1, 1), base_channels=2)
    params = steered_params(plan, rng)
    with pytest.raises(ValueError, match=r"needs scales.*python -m sact_core.calibrate"):
        masked.Engine(plan, params, precision="int8")
    monkeypatch.setenv("SACT_PRECISION", "int8")
    with pytest.raises(ValueError, match="needs scales"):
        masked.Engine(plan, params)
    name = quantised_convs(plan)[0].name
    huge = params | {f"{name}/weight": params[f"{name}/weight"] * np.float32(1e37)}
    scales = unit_scales(plan, huge)
    scales.weights[name][:] = 3e38
    scales.inputs[name] = (3e38, 3)
    with pytest.raises(ValueError, match=f"of {name} or of what is before it overflow in int8"):
        masked.Engine(plan, huge, quantisation=scales)
    monkeypatch.setattr("sact_core.backends.masked.weights.MAX_PRODUCTS", 17)
    with pytest.raises(ValueError, match="products, more than the 17 that a 32-bit sum has room"):
        masked.Engine(plan, params, quantisation=unit_scales(plan, params))


@pytest.mark.interpreted
def test_only_a_processor_that_multiplies_it_has_it(monkeypatch):
    monkeypatch.delenv("SACT_FORCE_PRECISION")
    for native in (False, True):
        monkeypatch.setattr(int8, "is_native", lambda native=native: native)
        has = native and not cpu.INTERPRETED
        assert ("int8" in sact_core.precisions()) == has
        if has:
            assert precision.choose_precision("int8") == "int8"
            continue
        with pytest.raises(ValueError, match=r"\(AVX512-VNNI or AVX-VNNI\), .*FORCE_PRECISION=1"):
            precision.choose_precision("int8")


def test_a_machine_without_the_instruction_refuses_or_computes_the_same_slowly(tmp_path):
    code = """
    import sact_core
    from pytest import MonkeyPatch, raises
    from sact_core.backends import masked
    from sact_core.quantisation import unit_scales
    from tests.test_masked_int8 import compare, draw_bytes
    from tests.test_masked_int8 import test_sums_are_those_of_whole_numbers_to_the_bit as sums
    from tests.test_masked import blob, image_with, make_plan, steered_params
    import numpy as np
    assert sact_core.precisions() == ("float32",)
    plan = make_plan(units=(1, 1, 1), base_channels=2)
    patch, rng = MonkeyPatch(), np.random.default_rng(3)
    params = steered_params(plan, rng)
    with raises(ValueError, match="needs a processor that multiplies int8"):
        masked.Engine(plan, params, precision="int8", quantisation=unit_scales(plan, params))
    patch.setenv("SACT_FORCE_PRECISION", "1")
    sums(rng, {"cin": 20, "cout": 36})
    plan = make_plan("cifar", units=(2, 1, 2), base_channels=20, halting="sact")
    compare(patch, plan, steered_params(plan, rng), image_with(blob(rng, 8, 8, 0.4, 1, 2), rng))
    """
    run_python(code, **HASWELL, NUMBA_CACHE_DIR=str(tmp_path), SACT_FORCE_PRECISION="")
