"""The masked engine in bfloat16, against the NumPy backend with the same numbers rounded."""

from __future__ import annotations

import numpy as np
import pytest

from sact_core.backends import bfloat16, masked, precision, reference
from sact_core.backends.masked import engine as engine_module
from sact_core.backends.masked.kernels import cpu
from sact_core.backends.masked.weights import in_pairs
from sact_core.families import FAMILIES
from sact_core.network import Conv
from tests import naive
from tests.networks import random_params
from tests.test_families import OPTIONS, TOY
from tests.test_masked import (
    assert_same,
    blob,
    image_with,
    make_plan,
    run_python,
    steered_params,
)

NAMES = "float32, bfloat16, int8"


@pytest.fixture(autouse=True)
def forced(monkeypatch):
    """Wherever the tests run."""
    monkeypatch.setenv("SACT_FORCE_PRECISION", "1")


def rounded_convs(plan):
    """The convolutions that multiply bfloat16."""
    shortcuts = [unit.shortcut for unit in plan.units if isinstance(unit.shortcut, Conv)]
    head = [plan.head] if plan.head is not None else []
    return [conv for unit in plan.units for conv in unit.convs] + shortcuts + head


def rounded_params(plan, params):
    """Weights that are those of bfloat16 once a normalisation is folded into them."""
    found = dict(params)
    for conv in rounded_convs(plan):
        name, scale = f"{conv.name}/weight", np.float32(1)
        if conv.groups > 1:
            continue  # as they are: every channel by itself
        if conv.bn is not None:
            variance = params[f"{conv.bn.name}/moving_variance"].astype(np.float64)
            scale = params[f"{conv.bn.name}/gamma"] / np.sqrt(variance + conv.bn.eps)
        found[name] = (naive.to_bfloat16(params[name] * scale) / scale).astype(np.float32)
    return found


def rounded_reference(monkeypatch, plan, params, x):
    """The NumPy backend, what feeds those convolutions and their weights rounded."""
    names = {conv.name for conv in rounded_convs(plan)}
    conv_same = reference.conv_same

    def conv_of_rounded(x, conv, params):
        return conv_same(naive.to_bfloat16(x) if conv.name in names else x, conv, params)

    with monkeypatch.context() as patched:
        patched.setattr(reference, "conv_same", conv_of_rounded)
        engine = reference.Engine(plan, rounded_params(plan, params))
        return engine.forward(x, keep_outputs=True)


def error(comp, ref):
    """Root mean square of the difference, as a share of the numbers'."""
    np.testing.assert_array_equal(np.isnan(comp), np.isnan(ref))
    assert comp.dtype == np.float32
    there = ~np.isnan(ref)
    if not there.any():
        return 0.0
    squares = [np.mean(each[there].astype(float) ** 2) for each in (comp - ref, ref)]
    return np.sqrt(squares[0] / max(1.0, squares[1]))


def close(comp, ref):
    """Sums in another order round otherwise here and there, and more from unit to unit."""
    assert error(comp, ref) < 1e-2


def compare(monkeypatch, plan, params, x, **options):
    engine = masked.Engine(plan, params, precision="bfloat16", **options)
    comp = engine.forward(x, keep_outputs=True)
    assert comp.precision == "bfloat16"
    ref = rounded_reference(monkeypatch, plan, params, x)
    assert_same(comp, ref, plan, close)
    assert error(comp.blocks[0].output, ref.blocks[0].output) < 3e-3  # less than float32's
    return comp


SMALL = [
    ("cifar", "sact", (8, 8)),
    ("cifar", "act", (4, 8)),
    ("cifar", "none", (4, 4)),
    ("imagenet", "sact", (20, 12)),
    ("imagenet", "act", (9, 9)),
    ("imagenet", "none", (9, 9)),
]


@pytest.mark.interpreted
@pytest.mark.parametrize(("family", "kind", "size"), SMALL)
def test_small_networks(monkeypatch, rng, family, kind, size):
    plan = make_plan(family, units=(3, 1, 2), base_channels=2, halting=kind)
    x = image_with(blob(rng, *size, 0.4, 1, 3), rng)
    compare(monkeypatch, plan, steered_params(plan, rng), x)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize("base_channels", [10, 16, 36])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_channels_and_densities(monkeypatch, rng, family, base_channels, share):
    plan = make_plan(family, base_channels=base_channels)
    x = image_with(blob(rng, 40, 36, share, 1, 4), rng)
    compare(monkeypatch, plan, steered_params(plan, rng), x)


@pytest.mark.parametrize("kind", ["sact", "none"])
def test_inverted_bottlenecks(monkeypatch, rng, kind):
    """Whose convolutions read the state itself, and every channel by itself."""
    monkeypatch.setitem(FAMILIES, "toy", TOY)
    options = OPTIONS | {"base_channels": 12, "halting": kind}
    plan = make_plan(units=options.pop("units_per_block"), **options)
    params = random_params(rng, plan.config)
    x = rng.standard_normal((2, 40, 33, 3), np.float32)
    compare(monkeypatch, plan, params, x)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_threads_do_not_change_a_bit(monkeypatch, rng, family):
    monkeypatch.setattr(engine_module, "OWN_IMAGE_BYTES", 0)
    plan = make_plan(family, base_channels=20)
    params, x = steered_params(plan, rng), image_with(blob(rng, 64, 64, 0.3, 1, 4), rng)
    first, second = (
        masked.Engine(plan, params, num_threads=threads, precision="bfloat16").forward(x)
        for threads in (1, 3)
    )
    np.testing.assert_array_equal(first.logits, second.logits)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_plain_loops_agree(monkeypatch, rng, family):
    plan = make_plan(family, base_channels=20)
    x = image_with(blob(rng, 16, 20, 0.3, 1, 4), rng)
    compare(monkeypatch, plan, steered_params(plan, rng), x, vectors=False)


@pytest.mark.interpreted
def test_it_is_another_answer_from_half_of_the_memory(rng):
    plan = make_plan("imagenet", base_channels=16)
    params, x = steered_params(plan, rng), image_with(blob(rng, 8, 8, 0.3, 1, 4), rng)
    formats = ("float32", "bfloat16")
    engines = [masked.Engine(plan, params, precision=each) for each in formats]
    wide, narrow = (engine.forward(x) for engine in engines)
    assert (wide.precision, narrow.precision) == formats
    assert 1e-4 < np.abs(wide.logits - narrow.logits).max() / np.abs(wide.logits).max() < 0.1
    weights = [engine._packed.weights.nbytes for engine in engines]
    assert weights[1] < 0.6 * weights[0]
    assert engines[0]._packed.narrow_weights is None


@pytest.mark.interpreted
def test_weights_are_rounded_as_what_they_multiply(rng):
    x = rng.standard_normal((6, 5)).astype(np.float32)
    x[0] = [2.0**-127, -(2.0**-130), np.nan, np.inf, 3.4e38]
    halves = in_pairs(x).view(np.uint16).reshape(3, 5, 2).swapaxes(1, 2).reshape(6, 5)
    comp = (halves.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(comp, naive.to_bfloat16(x))


def test_who_asks_for_float32_waits_for_nothing_of_bfloat16(tmp_path):
    code = """
    from sact_core.backends.masked.kernels import conv, network
    from sact_core.backends.masked.warm import warm
    warm()
    for each in (network.run_batch, conv.store_panels, conv.add_panels, conv.normalise):
        print("uint16" in str(each.signatures), len(each.signatures))
    """
    # An empty cache; which types are compiled does not depend on how well.
    told = run_python(code, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_OPT="0").split()
    assert told == ["False", "1"] * 4


#: Multiplies no bfloat16, and has the smaller tiles. Compiled with less care, which is quicker,
#: into a cache of its own: that is no part of the key.
HASWELL = {
    "NUMBA_OPT": "0",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+popcnt,+64bit",
}


def test_a_machine_without_the_instruction_refuses_or_computes_the_same_slowly(tmp_path):
    code = """
    import sact_core
    from pytest import MonkeyPatch, raises
    from sact_core.backends import masked
    from tests.test_masked_bfloat16 import SMALL, compare
    from tests.test_masked import blob, image_with, make_plan, steered_params
    import numpy as np
    assert sact_core.precisions() == ("float32",)
    plan = make_plan(units=(1, 1, 1), base_channels=2)
    patch, rng = MonkeyPatch(), np.random.default_rng(3)
    params = steered_params(plan, rng)
    with raises(ValueError, match="needs a processor that multiplies bfloat16"):
        masked.Engine(plan, params, precision="bfloat16")
    patch.setenv("SACT_FORCE_PRECISION", "1")
    for family, kind, size in SMALL:
        plan = make_plan(family, units=(2, 1, 2), base_channels=20, halting=kind)
        x = image_with(blob(rng, *size, 0.4, 1, 2), rng)
        compare(patch, plan, steered_params(plan, rng), x)
    """
    run_python(code, **HASWELL, NUMBA_CACHE_DIR=str(tmp_path), SACT_FORCE_PRECISION="")


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"precision": "float16"},
            f"precision must be one of {NAMES}; got 'float16'",
        ),
        ({"precision": 32}, f"precision must be one of {NAMES}; got 32"),
        ({"precision": "bfloat16", "backend": "dense"}, "for the masked backend; the dense"),
        ({"precision": "bfloat16", "backend": "reference"}, "for the masked backend; the ref"),
    ],
)
def test_precisions_that_nobody_computes_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        precision.choose_precision(**asked)


@pytest.mark.interpreted
def test_the_environment_speaks_where_nobody_does(monkeypatch, rng):
    monkeypatch.setenv("SACT_PRECISION", " bfloat16 ")
    assert precision.choose_precision() == "bfloat16"
    assert precision.choose_precision("float32") == "float32"
    assert precision.choose_precision(backend="dense") == "float32"
    plan = make_plan(units=(1, 1, 1), base_channels=2)
    assert masked.Engine(plan, steered_params(plan, rng)).precision == "bfloat16"
    monkeypatch.setenv("SACT_PRECISION", "half")
    with pytest.raises(ValueError, match=f"SACT_PRECISION must be one of {NAMES}; got"):
        precision.choose_precision()
    monkeypatch.setenv("SACT_PRECISION", "")
    assert precision.choose_precision() == "float32"


@pytest.mark.interpreted
def test_only_a_processor_that_multiplies_it_has_it(monkeypatch):
    monkeypatch.delenv("SACT_FORCE_PRECISION")
    for native in (False, True):
        monkeypatch.setattr(bfloat16, "is_native", lambda native=native: native)
        has = native and not cpu.INTERPRETED
        assert ("bfloat16" in precision.precisions()) == has
        if has:
            assert precision.choose_precision("bfloat16") == "bfloat16"
            continue
        with pytest.raises(ValueError, match=r"AVX512-BF16.*SACT_FORCE_PRECISION=1"):
            precision.choose_precision("bfloat16")
