"""The masked engine on masks of every kind, against the NumPy backend.

`steered_params` makes networks whose halting follows the image: the first
channel carries the wanted number of units, so a test chooses the mask.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from numba import njit

from sact_core import halting
from sact_core.backends import masked, reference
from sact_core.backends.masked import engine as engine_module
from sact_core.backends.masked.kernels import conv, cpu, network, plain, vector
from sact_core.backends.masked.kernels import halting as halting_kernels
from sact_core.backends.masked.packing import lay_out, pack
from sact_core.config import NetworkConfig
from sact_core.network import Conv
from sact_core.parameters import init_params
from sact_core.plans import build_plan

pytestmark = pytest.mark.usefixtures("many_cores")


def steered_params(plan, rng):
    """Draw parameters whose halting follows channel 0 of the image.

    Unit ``u`` (from 1) of a block halts where the channel is at most ``u``: its
    logit is 40 x (u + 0.5 - channel), and a little of everything else.
    """
    params = init_params(plan, seed=int(rng.integers(1 << 30)))
    for name, value in params.items():
        if name.endswith("moving_variance"):
            value[:] = rng.uniform(0.5, 2, value.shape)
        elif not name.endswith("weight"):
            value += rng.normal(0, 0.1, value.shape).astype(np.float32)

    def carry(conv, start=0, end=0):
        weight = params[f"{conv.name}/weight"]
        weight[..., end] = 0
        if start is not None:
            weight[weight.shape[0] // 2, weight.shape[1] // 2, start, end] = 1
        if conv.bias:
            params[f"{conv.name}/bias"][end] = 0

    def pass_through(bn, channel):
        params[f"{bn.name}/gamma"][channel] = 1
        params[f"{bn.name}/beta"][channel] = 0
        params[f"{bn.name}/moving_mean"][channel] = 0
        params[f"{bn.name}/moving_variance"][channel] = 1 - bn.eps

    carry(plan.stem)
    channel = 0
    for block in plan.blocks:
        for index, unit in enumerate(block.units):
            pass_through(unit.preact, channel)
            if isinstance(unit.shortcut, Conv):
                carry(unit.shortcut, channel, channel)
            elif unit.shortcut == "pool":
                channel += (unit.out_channels - unit.in_channels) // 2
            carry(unit.convs[-1], None, channel)
            if unit.halting is None or unit.halting.local_conv is None:
                continue
            pass_through(unit.halting.local_bn, channel)
            local = unit.halting.local_conv
            weight = params[f"{local.name}/weight"]
            weight *= 0.01
            weight[weight.shape[0] // 2, weight.shape[1] // 2, channel, 0] = -40
            params[f"{local.name}/bias"][:] = 40 * (index + 1.5)
            params[f"{unit.halting.global_conv.name}/weight"] *= 0.01
    return params


def make_plan(family="cifar", units=(4, 3, 2), base_channels=8, **options):
    if family == "imagenet" and len(units) == 3:
        units = (*units, 2)
    return build_plan(
        NetworkConfig(
            family=family,
            units_per_block=units,
            base_channels=base_channels,
            num_classes=options.pop("num_classes", 7),
            halting=options.pop("halting", "sact"),
            **options,
        )
    )


def image_with(num_units, rng):
    """An image [1, h, w, 3] whose first channel wants so many units at each position."""
    x = rng.standard_normal((1, *num_units.shape, 3)).astype(np.float32)
    x[0, ..., 0] = num_units
    return x


def blob(rng, height, width, share, low, high):
    """``high`` in a smooth region of about that share of the map, ``low`` outside."""
    y, x = np.mgrid[:height, :width]
    field = sum(
        np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (0.05 * (height * width) + 1))
        for cy, cx in rng.uniform(0, 1, (3, 2)) * (height, width)
    )
    return np.where(field > np.quantile(field, 1 - share), high, low)


def close(comp, ref):
    assert comp.shape == ref.shape
    assert comp.dtype == np.float32
    largest = np.nanmax(np.abs(ref), initial=1.0)
    np.testing.assert_allclose(comp, ref, rtol=0, atol=1e-4 * largest)


def assert_same(comp, ref, plan, close=close):
    """Equal counts, and numbers to 1e-4 of the largest or as ``close`` has it."""
    assert comp.input_size == ref.input_size
    np.testing.assert_array_equal(comp.flops, ref.flops)
    assert comp.positions.keys() == {conv.name for conv in plan.convs}
    for name, count in ref.positions.items():
        np.testing.assert_array_equal(comp.positions[name], count, err_msg=name)
    close(comp.logits, ref.logits)
    for a, b in zip(comp.blocks, ref.blocks, strict=True):
        assert (a.name, a.size) == (b.name, b.size)
        np.testing.assert_array_equal(a.flops, b.flops)
        close(a.output, b.output)
        if b.num_units is None:
            assert a.num_units is None
            continue
        assert a.num_units.dtype == np.int32
        np.testing.assert_array_equal(a.num_units, b.num_units)
        close(a.ponder_cost, b.ponder_cost)
        close(a.halting_distribution, b.halting_distribution)
        close(a.halting_proba, b.halting_proba)  # NaN in the same places


def compare(plan, params, x, **options):
    comp = masked.Engine(plan, params, **options).forward(x, keep_outputs=True)
    ref = reference.Engine(plan, params).forward(x, keep_outputs=True)
    assert_same(comp, ref, plan)
    return comp


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("kind", ["random", "blob"])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_masks_of_every_density(rng, share, kind, kernel_size):
    plan = make_plan(sact_kernel_size=kernel_size)
    if kind == "random":
        wanted = np.where(rng.random((20, 28)) < share, 4, 1)
    else:
        wanted = blob(rng, 20, 28, share, 1, 4)
    result = compare(plan, steered_params(plan, rng), image_with(wanted, rng))
    np.testing.assert_array_equal(result.blocks[0].num_units[0], wanted)
    if share == 0:  # one unit, and nothing after it
        assert result.positions["block1/unit2/conv1"] == 0


@pytest.mark.parametrize("size", [(4, 4), (4, 12), (8, 4), (36, 20), (200, 300)])
def test_sizes_of_the_cifar_family(rng, size):
    plan = make_plan(units=(3, 2, 2), base_channels=4)
    compare(plan, steered_params(plan, rng), image_with(rng.integers(1, 4, size), rng))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (7, 5), (33, 64), (97, 130)])
def test_sizes_of_the_imagenet_family(rng, size):
    plan = make_plan("imagenet", units=(3, 2, 2), base_channels=4)
    compare(plan, steered_params(plan, rng), image_with(rng.integers(1, 4, size), rng))


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize("base_channels", [2, 10, 16, 18, 36])
def test_channels_that_are_no_multiple_of_a_vector(rng, family, base_channels):
    # With 16, the depth of the ImageNet family's first block is the stem's 64:
    # an identity shortcut in the first unit of a block.
    plan = make_plan(family, units=(2, 2, 2), base_channels=base_channels, num_classes=33)
    compare(plan, steered_params(plan, rng), image_with(rng.integers(1, 3, (16, 24)), rng))


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize("kind", ["none", "act", "sact"])
@pytest.mark.parametrize("units", [(1, 1, 1), (1, 2, 3)])
def test_blocks_of_few_units(rng, family, kind, units):
    plan = make_plan(family, units=units, halting=kind)
    x = np.concatenate([image_with(rng.integers(1, 4, (16, 20)), rng) for _ in range(3)])
    compare(plan, steered_params(plan, rng), x)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_images_of_a_batch_halt_at_different_units(rng, threads):
    plan = make_plan(units=(4, 2, 2))
    wanted = [np.full((12, 12), n) for n in (1, 4, 2, 3)] + [blob(rng, 12, 12, 0.4, 1, 4)]
    x = np.concatenate([image_with(each, rng) for each in wanted])
    result = compare(plan, steered_params(plan, rng), x, num_threads=threads)
    for each, comp in zip(wanted, result.blocks[0].num_units, strict=True):
        np.testing.assert_array_equal(comp, each)


def test_images_of_a_batch_halt_at_different_units_in_act(rng):
    plan = make_plan(units=(4, 4, 4), halting="act", base_channels=4)
    params = init_params(plan, seed=3)
    for unit in plan.units:
        if unit.halting is not None:
            params[f"{unit.halting.global_conv.name}/weight"] *= 4
            params[f"{unit.halting.global_conv.name}/bias"][:] = 0.3
    x = (
        rng.standard_normal((12, 8, 8, 3)).astype(np.float32)
        * np.arange(1, 13)[:, None, None, None]
    )
    ref = reference.Engine(plan, params).forward(x.astype(np.float32), keep_outputs=True)
    comp = masked.Engine(plan, params).forward(x.astype(np.float32), keep_outputs=True)
    assert len(np.unique(ref.blocks[0].num_units)) > 1
    for (
        block
    ) in ref.blocks:  # no sum of probabilities so close to the threshold that rounding decides
        sums = np.nancumsum(block.halting_proba, axis=-1)
        assert np.abs(sums - 0.99).min() > 1e-4
    assert_same(comp, ref, plan)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_threads_do_not_change_a_bit(rng, family):
    plan = make_plan(family, units=(3, 2, 2), base_channels=12)
    params = steered_params(plan, rng)
    x = np.concatenate([image_with(blob(rng, 40, 52, 0.3, 1, 3), rng) for _ in range(4)])
    ref = masked.Engine(plan, params, num_threads=1).forward(x, keep_outputs=True)
    for threads in (2, 3, 7):
        engine = masked.Engine(plan, params, num_threads=threads)
        for n in (4, 1):  # each by itself, or all threads on one image
            comp = engine.forward(x[:n], keep_outputs=True)
            np.testing.assert_array_equal(comp.logits, ref.logits[:n])
            for a, b in zip(comp.blocks, ref.blocks, strict=True):
                np.testing.assert_array_equal(a.output, b.output[:n])
                np.testing.assert_array_equal(a.halting_proba, b.halting_proba[:n])


def test_threads_share_large_images(rng, monkeypatch):
    monkeypatch.setattr(engine_module, "OWN_IMAGE_BYTES", 0)
    plan = make_plan("imagenet", units=(2, 2, 2), base_channels=8)
    x = np.concatenate([image_with(blob(rng, 64, 96, 0.3, 1, 2), rng) for _ in range(3)])
    for threads in (1, 2, 4):
        compare(plan, steered_params(plan, rng), x, num_threads=threads)


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize("kind", ["none", "act", "sact"])
def test_plain_loops_agree(rng, family, kind):
    plan = make_plan(family, units=(2, 2, 2), base_channels=18, halting=kind)
    x = image_with(blob(rng, 20, 24, 0.5, 1, 2), rng)
    compare(plan, steered_params(plan, rng), x, vectors=False)


def test_an_engine_may_be_shared_between_callers(rng):
    plan = make_plan(units=(3, 2, 2))
    engine = masked.Engine(plan, steered_params(plan, rng), num_threads=2)
    images = [image_with(rng.integers(1, 4, size), rng) for size in [(8, 8), (12, 16)] * 3]
    refs = [engine.forward(x).logits for x in images]
    comps = [None] * len(images)

    def run(i):
        comps[i] = engine.forward(images[i]).logits

    callers = [threading.Thread(target=run, args=(i,)) for i in range(len(images))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for comp, ref in zip(comps, refs, strict=True):
        np.testing.assert_array_equal(comp, ref)


def test_read_only_input_compiles_nothing(rng):
    plan = make_plan()
    x = image_with(np.full((8, 8), 2), rng)
    masked.Engine(plan, init_params(plan)).forward(x)
    before = len(network.run_batch.signatures)  # one for each precision that tests here had
    x.flags.writeable = False
    masked.Engine(plan, init_params(plan)).forward(x)
    proba = rng.random((5, 3)).astype(np.float32)
    proba.flags.writeable = False
    masked.halt(proba)
    if not cpu.INTERPRETED:
        assert len(network.run_batch.signatures) == before
        assert len(halting_kernels.halt_positions.signatures) == 1


def test_results_are_not_overwritten_by_the_next_call(rng):
    plan = make_plan()
    engine = masked.Engine(plan, steered_params(plan, rng))
    first = engine.forward(image_with(np.full((8, 8), 2), rng), keep_outputs=True)
    copies = [first.logits.copy(), first.blocks[0].num_units.copy(), first.blocks[2].output.copy()]
    engine.forward(image_with(np.full((8, 8), 4), rng), keep_outputs=True)
    kept = [first.logits, first.blocks[0].num_units, first.blocks[2].output]
    for a, b in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.alone
@pytest.mark.parametrize("threads", [1, 2])
def test_seconds_only_where_asked_for(rng, threads):
    plan = make_plan(units=(4, 2, 2))
    engine = masked.Engine(plan, steered_params(plan, rng), num_threads=threads)
    x = np.concatenate([image_with(np.full((32, 32), 2), rng)] * 3)
    assert engine.forward(x).blocks[0].seconds is None
    result = engine.forward(x, keep_seconds=True)
    assert [len(block.seconds) for block in result.blocks] == [4, 2, 2]
    ran, halted = result.blocks[0].seconds[:2], result.blocks[0].seconds[2:]
    assert min(ran) > max(halted) >= 0  # units 3 and 4 have nothing to do


def test_workspace_does_not_grow_with_the_kernel(rng):
    plan = make_plan("imagenet", units=(3, 4, 23, 3), base_channels=64)
    sizes = lay_out(plan, pack(plan, init_params(plan)), (448, 448))
    largest = 114 * 114 * 256
    # State, input and output of a block (half and twice as large next to each
    # other), conv1's and conv2's maps, and small things.
    assert sizes.floats < 4.5 * largest


def test_parameters_that_do_not_fit_are_refused():
    plan = make_plan()
    params = init_params(plan)
    del params["stem/bias"]
    with pytest.raises(ValueError, match="stem/bias"):
        masked.Engine(plan, params)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, 1025, 10**23])
def test_bad_num_threads(threads):
    plan = make_plan()
    with pytest.raises(ValueError, match="num_threads must be a whole number from 1 to 1024"):
        masked.Engine(plan, init_params(plan), num_threads=threads)


def test_num_threads_from_the_environment(monkeypatch):
    monkeypatch.setenv("SACT_NUM_THREADS", "3")
    assert masked.thread_count(None) == 3
    assert masked.thread_count(2) == 2
    monkeypatch.setenv("SACT_NUM_THREADS", "many")
    with pytest.raises(ValueError, match=r"SACT_NUM_THREADS .* got 'many'"):
        masked.thread_count(None)


@pytest.mark.interpreted
@pytest.mark.parametrize("shape", [(), (1,), (257,), (3, 5, 7), (0,), (2, 0, 3), (300, 301)])
@pytest.mark.parametrize("units", [1, 2, 5, 17])
@pytest.mark.parametrize("eps", [0.0, 0.01, 0.3, 1.0])
def test_halt_is_the_same_to_the_last_bit(rng, shape, units, eps):
    proba = rng.random((*shape, units - 1)).astype(np.float32)
    proba[rng.random(proba.shape) < 0.1] = 0
    proba[rng.random(proba.shape) < 0.05] = 1
    proba *= np.float32(1 / max(units / 3, 1))
    ref = halting.halt(proba, eps)
    for threads in (1, 3):
        comp = masked.halt(proba, eps, num_threads=threads)
        for field in ("distribution", "num_units", "remainder", "ponder_cost"):
            a, b = getattr(comp, field), getattr(ref, field)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, err_msg=field)


@pytest.mark.interpreted
def test_halt_at_the_threshold_itself():
    threshold = np.float32(0.99)
    below = np.nextafter(threshold, np.float32(0))
    proba = np.array([[threshold, 0.5], [below, 0.5], [0, 1], [0, 0]], np.float32)
    assert masked.halt(proba).num_units.tolist() == [1, 2, 2, 3]


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("proba", "eps", "message"),
    [
        (np.array([np.nan]), 0.01, "halting_proba holds NaN"),
        (np.array([1.5]), 0.01, r"halting_proba must be in \[0, 1\]"),
        (np.float32(0.5), 0.01, "got a scalar"),
        (np.array([0.5]), 2.0, r"eps must be a number in \[0, 1\]"),
    ],
)
def test_halt_refuses_what_the_rule_refuses(proba, eps, message):
    with pytest.raises(ValueError, match=message):
        masked.halt(proba, eps)


def run_python(code, **environment):
    """Run code in a fresh interpreter; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SMALL_NETWORKS = """
    import numpy as np
    from tests.test_masked import blob, compare, image_with, make_plan, steered_params
    rng = np.random.default_rng(5)
    for family, kind, size in [
        ("cifar", "sact", (8, 8)), ("cifar", "act", (4, 4)), ("imagenet", "sact", (20, 12)),
        ("imagenet", "none", (9, 9)),
    ]:
        plan = make_plan(family, units=(2, 1, 2), base_channels=2, halting=kind)
        x = image_with(blob(rng, *size, 0.4, 1, 2), rng)
        compare(plan, steered_params(plan, rng), np.concatenate([x, x]))
"""


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("family", "kind", "size"),
    [
        ("cifar", "sact", (8, 8)),
        ("cifar", "act", (4, 8)),
        ("imagenet", "sact", (20, 12)),
        ("imagenet", "act", (9, 9)),
        ("imagenet", "none", (9, 9)),
    ],
)
def test_small_networks(rng, family, kind, size):
    plan = make_plan(family, units=(3, 1, 2), base_channels=2, halting=kind)
    x = image_with(blob(rng, *size, 0.4, 1, 3), rng)
    compare(plan, steered_params(plan, rng), x)


def test_runs_as_plain_python():
    code = (
        SMALL_NETWORKS
        + """
    from sact_core.backends import masked
    from sact_core.backends.masked.kernels import cpu, network, plain, vector
    assert cpu.INTERPRETED and not hasattr(network.run_batch, "signatures")
    assert masked.Engine(plan, steered_params(plan, rng), num_threads=8).num_threads == 1
    from sact_core.backends.masked.kernels import places
    marks = np.zeros(22 * 22 + 64, np.uint8)
    marks.reshape(-1)[: 22 * 22].reshape(22, 22)[1:21, 1:21] = 1
    assert places.list_marked(False, marks, 0, np.zeros(500, np.int64), 0, 20, 20) == 400
    """
    )
    run_python(code, NUMBA_DISABLE_JIT="1")


def test_kernels_come_from_the_cache(rng):
    if cpu.INTERPRETED:
        pytest.skip("nothing is compiled")
    plan = make_plan()
    masked.Engine(plan, init_params(plan)).forward(image_with(np.full((8, 8), 1), rng))
    halves = ["uint16" in str(signature) for signature in network.run_batch.signatures]
    assert halves.count(False) == 1  # one specialisation for everything in float32
    assert "ready" in run_python("from sact_core.backends.masked.warm import main; main()")
    hits = run_python(
        SMALL_NETWORKS
        + """
    from sact_core.backends.masked.kernels import network
    print(sum(network.run_batch.stats.cache_hits.values()), len(network.run_batch.signatures))
    """
    )
    assert hits.split() == ["1", "1"]


#: Makes the kernels for the tiles of AVX-512, which any processor can run, if slowly.
TILES_OF_AVX512 = """
    from sact_core.backends.masked.kernels import cpu
    cpu.TILE_ROWS, cpu.TILE_VECTORS, cpu.WIDE, cpu.HALF_ROWS = 8, 2, 32, 4
"""


def test_runs_on_the_tiles_of_other_processors(tmp_path):
    """Those of AVX-512 here where there is none, and the others where there is."""
    networks = SMALL_NETWORKS.replace("base_channels=2", "base_channels=20")  # wide and narrow
    if cpu.TILE_ROWS == 8:
        code, environment = networks, {
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+popcnt,+64bit",
        }  # fmt: skip
    else:
        code, environment = TILES_OF_AVX512 + networks, {}
    # Compiled with less care, which is quicker; Numba's cache knows neither of that nor of tiles.
    environment |= {"NUMBA_OPT": "0", "NUMBA_CACHE_DIR": str(tmp_path)}
    code += """
    from sact_core.backends.masked.kernels import layout
    print(layout.TILE_ROWS, layout.WIDE)
    """
    told = run_python(code, **environment)
    assert told.split() == (["6", "16"] if cpu.TILE_ROWS == 8 else ["8", "32"])


@pytest.mark.interpreted
@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_marked_places_are_listed(rng, list_marks, count, share):
    marks = np.ones(512, np.uint8)  # marked before and after, which must not count
    marks[10 : 10 + count] = rng.random(count) < share
    ref = 1000 + np.flatnonzero(marks[10 : 10 + count])
    for which in list_marks:
        comp = np.full(count + 5, -1, np.int32)
        assert which(count, marks, 10, 1000, comp, 3) == len(ref)
        np.testing.assert_array_equal(comp[3 : 3 + len(ref)], ref)
        assert (comp[:3] == -1).all()


@pytest.fixture(scope="module")
def list_marks():
    """Vector code and plain loops, callable from Python."""
    if cpu.INTERPRETED:
        return [plain.list_marks]

    @njit
    def by_vectors(count, marks, x0, base, places, at):
        return vector.list_marks(count, marks, x0, base, places, at)

    @njit
    def by_loops(count, marks, x0, base, places, at):
        return plain.list_marks(count, marks, x0, base, places, at)

    return [by_vectors, by_loops]


@pytest.mark.interpreted
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("cap", [np.inf, 6.0])
def test_activations_are_leaky_and_capped(rng, slope, cap):
    """``min(max(x, slope x), cap)`` after a normalisation and after a product; NaN stays NaN."""
    x = np.concatenate([rng.normal(0, 5, 62), [np.nan, 6.0]]).astype(np.float32)  # [4, 16]
    ref = np.minimum(np.maximum(x, np.float32(slope) * x), np.float32(cap))
    w = np.concatenate([np.ones(16), np.zeros(16), np.eye(16).ravel()]).astype(np.float32)
    places, spare = np.arange(20, dtype=np.int32), np.zeros(64, np.float32)

    @njit
    def run(vectors, x, finite, w, places, spare, s, c, y, z):
        conv.normalise(vectors, 4, 16, x, 0, 16, 0, w, 0, 16, s, c, s, y, 0, 16, 0, places)
        p = conv.Product(4, False, 0, 16, 0, 1, 0, 16, 32, 16, 0, 16, 0, 0, 16, 0, s, c, s)
        conv.store_panels(vectors, spare, p, 0, 1, finite, w, w, places, z)

    finite = np.nan_to_num(np.concatenate([x, np.zeros(256, np.float32)]))
    for vectors in (False, True):
        if vectors and cpu.INTERPRETED:
            continue
        y, z = np.full((2, 64 + 256), -1, np.float32)
        s, c = np.float32(slope), np.float32(cap)
        run(vectors, x, finite, w, places, spare, s, c, y, z)
        np.testing.assert_array_equal(y[:64], ref)
        finite_ref = np.minimum(np.maximum(finite, np.float32(slope) * finite), np.float32(cap))
        np.testing.assert_array_equal(z[:64], finite_ref[:64])
