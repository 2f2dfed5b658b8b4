"""Every side of a measurement computes what it says, in the format and with the threads it says."""

from __future__ import annotations

import sys
from typing import ClassVar

import numpy as np
import pytest

from sact_core.backends import reference
from sact_core.benchmark import energy, infer, report, rivals
from sact_core.benchmark.__main__ import main
from sact_core.benchmark.cases import Case
from sact_core.benchmark.process import SideError
from sact_core.benchmark.sides import SIDES, Kind, base
from sact_core.benchmark.steer import reach_for, set_reach, steered_params, steering_images
from sact_core.config import NetworkConfig
from sact_core.families import FAMILIES
from sact_core.flops import dense_flops
from sact_core.plans import build_plan
from tests.networks import images_with_margin, random_net
from tests.test_benchmark import row
from tests.test_families import TOY

SLOW = ("compiled", "frozen", "frozen-bf16")  # compile for a minute; eager ones share their code


def halting_of(kind):
    return {Kind.DENSE: "none", Kind.EXIT: "act"}.get(kind, "sact")


@pytest.mark.parametrize("name", [name for name in SIDES if name not in SLOW])
@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_a_side_answers_as_the_reference(rng, monkeypatch, family, name):
    monkeypatch.setenv("SACT_FORCE_PRECISION", "1")  # wherever the tests run
    side = SIDES[name]
    units = (2, 3, 2) if family == "cifar" else (2, 1, 2, 2)
    halting = halting_of(side.kind)
    net = random_net(
        rng, family=family, units_per_block=units, base_channels=4, num_classes=5,
        halting=halting, halting_bias=-0.5,
    )  # fmt: skip
    x, ref = images_with_margin(rng, net, (2, 16, 24, 3))
    if side.prepare is not None:
        side.prepare(1)
    built = side.build(net.plan, net.engine.params, x, 1, None)
    assert (built.number_format, built.threads) == (side.number_format, 1)
    change = np.abs(built.run() - ref.logits).max() / np.abs(ref.logits).max()
    if side.number_format != "float32":
        assert 1e-4 < change < 0.1
    else:
        assert change < 1e-5
    assert built.run().shape == (2, 5)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("family", ["cifar", "imagenet", "mobile", "toy"])
def test_gathering_computes_the_same(rng, monkeypatch, family, kernel):
    monkeypatch.setitem(FAMILIES, "toy", TOY)
    units = {"cifar": (4, 2, 3), "imagenet": (2, 2, 3, 2), "toy": (3, 3)}
    units = (units | {"mobile": (1, 2, 2, 1, 3, 2, 1)})[family]
    net = random_net(
        rng, family=family, units_per_block=units, base_channels=4, num_classes=5,
        halting="sact", halting_bias=0.0, sact_kernel_size=kernel,
    )  # fmt: skip
    sizes = [(8, 12), (16, 16)] if family == "cifar" else [(31, 18), (40, 24)]
    for size in sizes:
        x, ref = images_with_margin(rng, net, (2, *size, 3))
        built = SIDES["gather"].build(net.plan, net.engine.params, x, 1, None)
        for _ in range(2):  # the second run begins anew
            np.testing.assert_allclose(
                built.run(), ref.logits, rtol=0, atol=1e-5 * np.abs(ref.logits).max()
            )


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # its own, compiling
def test_pytorch_in_bfloat16_computes_in_it(rng):
    net = random_net(rng, units_per_block=(1, 1, 1), base_channels=4, num_classes=5)
    x, ref = images_with_margin(rng, net, (2, 8, 8, 3))
    built = SIDES["frozen-bf16"].build(net.plan, net.engine.params, x, 1, None)
    change = np.abs(built.run() - ref.logits).max() / np.abs(ref.logits).max()
    assert built.number_format == "bfloat16"
    assert built.run().dtype == np.float32
    assert 1e-4 < change < 0.1  # float32 would be far nearer


def test_threads_and_formats_are_read_back_and_not_assumed(rng):
    net = random_net(rng, units_per_block=(1, 1, 1), base_channels=4)
    x = rng.standard_normal((1, 8, 8, 3)).astype(np.float32)
    three = SIDES["onnxruntime"].build(net.plan, net.engine.params, x, 3, None)
    assert three.threads == 3
    # More than any machine has: OpenVINO takes fewer, without a word of its own.
    with pytest.raises(ValueError, match=r"OpenVINO runs with \d+ threads where 999 were asked"):
        SIDES["openvino"].build(net.plan, net.engine.params, x, 999, None)
    with pytest.raises(ValueError, match="X computes in float32 here where bfloat16 was asked for"):
        base.require_format("X", "float32", "bfloat16")


def test_every_side_has_one_name_and_title():
    assert all(name == side.name for name, side in SIDES.items())
    assert len({side.title for side in SIDES.values()}) == len(SIDES)
    assert infer.DENSE == ("vanilla", "compiled", "frozen", "openvino", "onnxruntime")
    assert Kind.SPARSE.runs("sact") > Kind.SPARSE.runs("act")
    assert Kind.EXIT.runs("act") > Kind.EXIT.runs("sact")


def test_steering_an_act_network_reaches_the_ratio():
    plan = build_plan(NetworkConfig("cifar", (6, 6, 6), 8, halting="act"))
    params, x = steered_params(plan), steering_images(2, (32, 32))
    dense = dense_flops(plan, (32, 32)).total[0]
    assert (reference.Engine(plan, params).forward(x).flops == dense).all()
    set_reach(plan, params, reach_for(plan, x, 0.6))
    assert reference.Engine(plan, params).forward(x).flops.mean() / dense == pytest.approx(
        0.6, abs=0.1
    )


# --- what is measured, by made sides ---


class Made:
    """A process that answers at once; the broken one cannot be built."""

    broken = "openvino"
    ended: ClassVar[list] = []
    reaches: ClassVar[dict] = {}

    def __init__(self, name, case, threads):
        self.name = name

    def wait(self):
        if self.name == self.broken:
            raise SideError(f"the {self.name} side ended early", "OpenVINO runs with 1 threads")
        self.facts = {"number_format": SIDES[self.name].number_format, "threads": 2}

    def set_ratio(self, ratio):
        return {"reach": 3.0 * ratio, "flops": 500.0, "positions": 9.0}

    def set_reach(self, reach):
        self.reaches[self.name] = reach

    def logits(self):
        shift = {"masked": 0.5, "onnxruntime": 0.25}.get(self.name, 0.0)
        return np.array([[1.0, -4.0 + shift]], np.float32)

    def measure(self, seconds):
        ms = {"masked": 2.0, "gather": 3.0}.get(self.name, 4.0)
        joules = 0.5 if self.name == "masked" else None
        return {"seconds": [ms / 1000], "memory": [2, 1], "joules": joules}

    def end(self):
        self.ended.append(self.name)


TINY = Case("tiny", "cifar", (2, 1, 1), 2, 8)


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(infer, "Process", Made)
    monkeypatch.setattr(Made, "ended", [])
    monkeypatch.setattr(Made, "reaches", {})


def test_a_side_that_cannot_be_built_is_said_and_left_out(made):
    said = []
    names = ["masked", "openvino", "onnxruntime", "openvino-bf16", "gather", "early-exit"]
    (found,) = infer.measure_case(TINY, 2, [0.5], names, rounds=1, seconds=1, say=said.append)
    assert said[0].endswith("2 threads: OpenVINO is left out: OpenVINO runs with 1 threads")
    assert found["absent"] == {"openvino": "OpenVINO runs with 1 threads"}
    # An early exit is ACT's; PyTorch, which logits are held against, is not among the sides.
    assert list(found["ms"]) == ["masked", "onnxruntime", "openvino-bf16", "gather"]
    assert sorted(Made.ended) == sorted([*found["ms"], "openvino", "vanilla", "sact"])
    # All networks that halt do so alike.
    assert Made.reaches == {"gather": 1.5, "sact": 1.5}
    told = found["sides"]
    assert told["masked"] == {"number_format": "float32", "threads": 2, "change": 0.125}
    assert told["onnxruntime"]["change"] == 0.0625
    assert told["openvino-bf16"]["number_format"] == "bfloat16"
    assert found["joules"] == {"masked": 0.5}
    assert found["dense_side"] == "onnxruntime"
    assert "reach" not in found  # which has no end at full depth, and no JSON


@pytest.mark.parametrize(("at_once", "ahead"), [(1, 0), (2, 1)])
def test_so_many_sides_are_built_at_a_time(made, monkeypatch, at_once, ahead):
    begun, most = [], []

    class Watched(Made):
        def __init__(self, name, case, threads):
            super().__init__(name, case, threads)
            begun.append(name)

        def wait(self):
            most.append(len(begun) - 1 - begun.index(self.name))
            super().wait()

    monkeypatch.setattr(infer, "Process", Watched)
    kept, names = [], ["masked", "masked-int8", "vanilla", "openvino", "onnxruntime"]
    rows = infer.measure_case(
        TINY, 2, [1.0, 0.5], names, 1, 1, lambda text: None, done=kept.append, at_once=at_once
    )
    assert most == [ahead] * 4 + [0]
    assert kept == rows
    assert list(rows[0]["memory"]) == ["masked", "masked-int8", "vanilla"]


def test_without_a_dense_side_or_the_engine_nothing_is_measured(made, monkeypatch):
    with pytest.raises(ValueError, match="no dense side can be measured: OpenVINO runs with 1"):
        infer.measure_case(TINY, 2, [0.5], ["masked", "openvino"])
    monkeypatch.setattr(Made, "broken", "masked")
    with pytest.raises(SideError, match="the masked side ended early"):
        infer.measure_case(TINY, 2, [0.5], ["masked", "vanilla"])


def facts(**changes):
    return {"number_format": "float32", "threads": 1, "change": 0.0, **changes}


def measured():
    turns = {"masked": [2.0, 2.0, 4.0], "openvino": [1.0, 3.0, 4.0], "gather": [1.0, 1.0, 1.0],
             "openvino-bf16": [0.5, 0.5, 0.5], "sact": [0.1, 0.1, 0.1]}  # fmt: skip
    ms = {name: sorted(times)[1] for name, times in turns.items()}
    sides = {name: facts() for name in turns}
    sides["openvino-bf16"] = facts(number_format="bfloat16", change=0.012)
    return row(turns=turns, ms=ms, sides=sides, joules={"masked": 1.25}, flops=800.0)


def test_standings_by_hand():
    found = {each.name: each for each in rivals.standings(measured())}
    assert found["openvino"].speedups == {"masked": 1.0}  # the median of 0.5, 1.5 and 1
    assert found["openvino"].flop_ratio == 1.25
    assert (found["gather"].speedups, found["gather"].flop_ratio) == ({"masked": 0.5}, None)
    assert (found["masked"].joules, found["gather"].joules) == (1.25, None)
    assert rivals.fastest(measured(), own=True) == "masked"
    assert rivals.fastest(measured(), own=False) == "openvino-bf16"  # sact is no rival
    assert rivals.standings(row()) == []  # of an earlier version


def test_every_side_has_a_line_with_what_it_says_of_itself():
    values = {"machine": {"hardware": "x", "system": "y"}, "rows": [measured()]}
    values["rows"][0]["absent"] = {"onnxruntime": "onnxruntime not installed"}
    text = report.infer_table(values)
    line = "| tiny, 8 px, batch 1 | 1 | 80% | OpenVINO, bfloat16 | bfloat16 | 1 | 0.50 |  | 1.2e-02"
    assert line in text
    assert "| masked | float32 | 1 | 2.00 | 1.250 | 0.0e+00 | 1.00 |" in text
    assert "Left out: ONNX Runtime: onnxruntime not installed." in text
    assert "| torch.compile, frozen weights | OpenVINO | OpenVINO, bfloat16 |" in text


def test_both_precisions_of_ours_have_a_column():
    both = measured()
    both["ms"]["masked-bf16"] = 0.25
    both["turns"]["masked-bf16"] = [0.25] * 3
    both["sides"]["masked-bf16"] = facts(number_format="bfloat16", change=0.004)
    values = {"machine": {"hardware": "x", "system": "y"}, "rows": [both]}
    text = report.infer_table(values)
    assert "| over masked | share | over masked, bfloat16 | share |" in text
    # Twice as long as ours in bfloat16, where a FLOP ratio of 1.25 promises no more than that.
    line = next(each for each in text.splitlines() if "| OpenVINO, bfloat16 | bfloat16 |" in each)
    assert line.endswith("| 1.2e-02 | 0.25 | 0.200 | 2.00 | 1.600 |")
    assert rivals.fastest(both, own=True) == "masked-bf16"


def test_formats_of_ours_are_left_out_where_the_processor_has_none(monkeypatch):
    from sact_core.backends import precision

    monkeypatch.setattr(precision, "precisions", lambda: ("float32",))
    assert SIDES["masked-bf16"].absent() == "this processor does not multiply bfloat16"
    assert SIDES["masked-int8"].absent() == "this processor does not multiply int8"
    monkeypatch.setattr(precision, "precisions", lambda: ("float32", "bfloat16", "int8"))
    assert SIDES["masked-bf16"].available()
    assert SIDES["masked-int8"].available()


def test_the_environment_does_not_choose_a_sides_precision(rng, monkeypatch):
    monkeypatch.setenv("SACT_PRECISION", "bfloat16")
    monkeypatch.setenv("SACT_FORCE_PRECISION", "1")
    net = random_net(rng, units_per_block=(1, 1, 1), base_channels=4, halting="sact")
    x = rng.standard_normal((1, 8, 8, 3)).astype(np.float32)
    formats = {"masked": "float32", "masked-bf16": "bfloat16", "masked-int8": "int8"}
    for name, number_format in formats.items():
        built = SIDES[name].build(net.plan, net.engine.params, x, 1, None)
        assert built.number_format == number_format


# --- what is installed ---


def test_what_is_not_installed_is_said_or_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert SIDES["openvino"].absent() == "openvino not installed"
    assert not SIDES["openvino"].available()
    assert SIDES["masked"].available()
    taken = []

    def measure_case(case, threads, ratios, sides, *rest):
        taken.extend(sides)
        return [row(case=case.key)]

    monkeypatch.setattr(infer, "measure_case", measure_case)
    argv = ["infer", "--no-start", "--only", "resnet32-batch1", "--threads", "1"]
    assert main([*argv, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Left out (")
    assert "OpenVINO: openvino not installed; OpenVINO, bfloat16: openvino not installed" in said
    assert "; OpenVINO, int8 by NNCF: openvino" in said
    here = [name for name, side in SIDES.items() if side.available()]
    assert taken == here
    assert not any(name.startswith("openvino") for name in here)
    assert main([*argv, "--out", str(tmp_path), "--sides", "masked", "openvino"]) == 2
    said = capsys.readouterr().err
    assert said == "error: --sides names what is not here (OpenVINO: openvino not installed)\n"


# --- energy ---


def test_energy_is_the_sum_of_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)

    def write(name, value):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "energy_uj").write_text(str(value))

    assert energy.Meter().joules() is None  # nothing tells it
    for name, value in (("intel-rapl:0", 100), ("intel-rapl:1", 5), ("intel-rapl:0:0", 7)):
        write(name, value)
    meter = energy.Meter()
    write("intel-rapl:0", 2_000_100)
    write("intel-rapl:1", 500_005)
    write("intel-rapl:0:0", 900_000_000)  # a part of package 0, counted in it
    assert meter.joules() == 2.5
    write("intel-rapl:1", 0)  # gone round
    assert meter.joules() is None
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("no number")
    assert energy.Meter().joules() is None
