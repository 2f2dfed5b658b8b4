"""The measurements measure what they say; how fast anything is, is not tested here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sact_core.backends import Net, reference
from sact_core.benchmark import family, halting, infer, machine, report
from sact_core.benchmark.__main__ import main
from sact_core.benchmark.cases import CASES, Case
from sact_core.benchmark.family import measure_family
from sact_core.benchmark.process import Process, SideError
from sact_core.benchmark.steer import reach_for, set_reach, steered_params, steering_images
from sact_core.checkpoint import Checkpoint, read_header, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.flops import dense_flops
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import ROOT
from tests.in_memory import in_memory
from tests.networks import any_tau_checkpoint

TINY = Case("tiny", "cifar", (2, 1, 1), 2, 8, 1.0)


def row(**changes):
    values = {
        "case": "tiny", "title": "tiny, 8 px, batch 1", "batch": 1, "side": 64, "threads": 1,
        "ratio": 0.5, "bar": 0.9, "dense_flops": 1000, "flops": 500.0, "positions": 100.0,
        "memory": {"masked": [3 << 20, 1 << 20], "vanilla": [9 << 20, 4 << 20]},
        "ms": {"masked": 2.0, "vanilla": 4.0, "compiled": 6.0},
        "software": {"revision": "abc", "numpy": "2.4"},
    }  # fmt: skip
    return infer.judge({**values, **changes})


def test_speedup_by_hand():
    found = row()
    assert (found["dense_side"], found["dense"]) == ("vanilla", 4.0)
    assert (found["speedup"], found["flop_ratio"], found["share"]) == (2.0, 2.0, 1.0)
    turns = {"masked": [2.0, 2.5, 2.0], "vanilla": [4.0, 5.5, 3.6], "compiled": [6.0, 6.0, 6.0]}
    assert row(turns=turns)["speedup"] == 2.0  # the median of 2, 2.2 and 1.8


def test_a_speedup_is_the_median_of_ratios():
    # Each round's ratio counts, 4, 1 and 3; the ratio of the medians would be 2.
    turns = {"masked": [1.0, 2.0, 4.0], "vanilla": [4.0, 2.0, 12.0], "compiled": [9.0, 9.0, 9.0]}
    found = row(turns=turns, ms={"masked": 2.0, "vanilla": 4.0, "compiled": 9.0})
    assert (found["speedup"], found["share"], found["share_unfrozen"]) == (3.0, 1.5, 1.5)
    # Against the halting rule in NumPy the same; the first round warms up.
    turns = [(1, 4, 7), (2, 2, 7), (4, 12, 7)]  # milliseconds of Numba, NumPy and torch
    clock = iter([0, 0, 0, *(t for turn in turns for ms in turn for t in (0, ms))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(halting, "time", SimpleNamespace(perf_counter=lambda: next(clock) / 1000))
        (found,) = halting.measure_halting([(2, 2)], threads=1, rounds=3, say=lambda text: None)
    assert found["speedup"] == pytest.approx(3.0)
    assert found["ms"] == pytest.approx({"numba": 2.0, "numpy": 4.0, "torch": 7.0})


@pytest.mark.parametrize("side", infer.DENSE)
def test_the_fastest_dense_network_counts(side):
    times = {"vanilla": 4.0, "compiled": 4.0, "frozen": 4.0, "sact": 1.0}
    found = row(ms={"masked": 2.0, **times, side: 3.0})
    assert (found["dense_side"], found["dense"], found["speedup"]) == (side, 3.0, 1.5)
    assert found["share"] == 0.75  # which misses the bar of 0.9
    text = report.infer_table({"machine": machine.machine(), "rows": [found]})
    assert "| **3.00** |" in text
    assert found["share_unfrozen"] == (0.75 if side in infer.UNFROZEN else 1.0)
    verdict = "**missed**" if side in infer.UNFROZEN else "met unfrozen"
    assert f"| {found['share_unfrozen']:.3f} | 0.90 {verdict} |" in text


def test_only_frozen_measured_has_no_unfrozen_share():
    found = row(ms={"masked": 2.0, "frozen": 4.0})
    assert (found["share"], found["share_unfrozen"]) == (1.0, None)
    text = report.infer_table({"machine": machine.machine(), "rows": [found]})
    assert "| 1.000 |  | 0.90 met |" in text


def test_a_row_without_a_dense_side_is_refused():
    with pytest.raises(ValueError, match="a row needs one of vanilla, compiled, frozen"):
        row(ms={"masked": 2.0, "sact": 4.0})


def test_new_rows_replace_old_ones():
    old = [row(), row(threads=2)]
    new = [row(bar=0.7), row(ratio=0.3)]
    merged = infer.merge(old, new)
    assert len(merged) == 3
    assert [r["bar"] for r in merged if r["threads"] == 1 and r["ratio"] == 0.5] == [0.7]


def test_table_says_met_and_missed(tmp_path):
    slow = {"masked": 4.0, "vanilla": 4.0}
    rows = [row(), row(case="other", ratio=1.0, ms=slow), row(side=128, threads=2, bar=None)]
    start = {"first": 11.0, "second": 0.5, "software": {"revision": "abc"}}
    values = {"machine": {"hardware": "Some chip"}, "start": start, "rows": rows}
    path = tmp_path / "infer-some-chip.json"
    report.write_results(path, {**values, "machine": {"hardware": "Some chip", "system": "Linux"}})
    text = path.with_suffix(".md").read_text()
    assert "| 0.90 met |" in text
    assert "| 0.90 **missed** |" in text
    assert "**4.00**" in text  # the dense side
    assert "| tiny | 1 | 50% | 20,000 |" in text  # 2 ms for 100 positions, in ns
    assert "| 3 | 9 | 2 | 5 |" in text  # MiB: in all, and on top of packages
    assert "11.0 s with an empty cache" in text
    assert "Measured on Some chip, Linux; revision abc, numpy 2.4." in text
    page = path.with_suffix(".html").read_text()
    assert "Plotly.newPlot" in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)  # drawn offline too
    assert machine.read_results(path)["rows"] == json.loads(json.dumps(rows))


def test_stored_results_are_judged_anew(tmp_path):
    where = {"hardware": "Some chip", "system": "Linux"}
    stale = {**row(), "dense_side": "compiled", "speedup": 9.0, "share": 4.5}
    path = tmp_path / "infer-some-chip.json"
    path.write_text(json.dumps({"machine": where, "rows": [stale]}))
    assert main(["report", "--out", str(tmp_path)]) == 0
    (found,) = machine.read_results(path)["rows"]
    assert (found["dense_side"], found["speedup"], found["share"]) == ("vanilla", 2.0, 1.0)
    first = [path.with_suffix(end).read_text() for end in (".json", ".md", ".html")]
    report.render_again(tmp_path)
    assert first == [path.with_suffix(end).read_text() for end in (".json", ".md", ".html")]


def test_committed_results_say_what_their_json_says():
    paths = sorted((ROOT / "benchmarks").glob("**/*-*.json"))
    assert {"infer", "targets", "accuracy"} <= {path.name.split("-")[0] for path in paths}
    for path in paths:
        folder = path.parent
        values = machine.read_results(path)
        what = path.name.split("-")[0]
        assert machine.results_path(folder, what, values["machine"]) == path
        if what == "infer":
            assert [infer.judge(each) for each in values["rows"]] == values["rows"]
        assert report.TABLES[what](values) == path.with_suffix(".md").read_text()


def test_software_that_differs_has_a_column():
    rows = [
        row(side=64),
        row(side=128, software={"revision": "def", "numpy": "2.4"}),
        row(side=256),
    ]
    text = report.infer_table({"machine": {"hardware": "x", "system": "y"}, "rows": rows})
    assert "1. revision abc, numpy 2.4.\n2. revision def, numpy 2.4." in text
    growth = report.growth_table(rows).splitlines()
    assert growth[0].endswith("| 64 px | 128 px | 256 px | software |")
    assert growth[2:] == [  # sizes of two revisions never stand in one line
        "| tiny | 1 | 50% | 20,000 |  | 20,000 | 1 |",
        "| tiny | 1 | 50% |  | 20,000 |  | 2 |",
    ]
    assert report.memory_table([row(ratio=1.0)]).splitlines()[0].endswith("on top |")


def test_every_kind_of_machine_has_its_own_file(tmp_path):
    chip = {"hardware": "AMD EPYC, 2 cores", "vectors": "avx2, avx512f", "system": "Linux 6"}
    other = {**chip, "vectors": "avx2"}
    path = machine.results_path(tmp_path, "infer", chip)
    assert path.name == "infer-amd-epyc-2-cores-avx512.json"
    assert machine.results_path(tmp_path, "infer", other).name == "infer-amd-epyc-2-cores-avx2.json"
    assert machine.earlier_results(path, chip) == {"machine": chip, "rows": []}
    report.write_results(path, {"machine": chip, "rows": [row()]})
    newer = {**chip, "system": "Linux 7"}
    assert machine.earlier_results(path, newer) == {"machine": newer, "rows": [row()]}
    with pytest.raises(ValueError, match=r"holds results of another machine \(AMD EPYC, 2 cores"):
        machine.earlier_results(path, other)


def test_a_run_is_merged_into_what_its_machine_left(tmp_path, monkeypatch):
    path = machine.results_path(tmp_path, "infer", machine.machine())
    old = row(case="resnet32-batch1", threads=1)
    report.write_results(path, {"machine": machine.machine(), "rows": [old]})
    foreign = tmp_path / "infer-another-chip.json"
    foreign.write_text("never looked at")
    monkeypatch.setattr(infer, "measure_case", lambda case, *rest: [row(case=case.key, threads=2)])
    argv = ["infer", "--no-start", "--only", "resnet32-batch1", "--threads", "2"]
    assert main([*argv, "--out", str(tmp_path)]) == 0
    rows = machine.read_results(path)["rows"]
    assert [r["threads"] for r in rows] == [1, 2]
    assert rows[0]["software"] == old["software"]
    assert rows[1]["software"] == machine.software()
    assert {"revision", "python", "numpy"} <= set(machine.software())
    assert foreign.read_text() == "never looked at"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_cases_are_those_of_the_paper(case):
    plan = build_plan(case.config("none"))
    names = {"resnet101": "ResNet-101", "resnet32": "ResNet-32", "resnet110": "ResNet-110"}
    assert plan.config.name == names[case.key.split("-")[0]]
    assert case.bar_at(1.0) in (None, 1 / 1.1)


@pytest.mark.parametrize(
    ("family", "ratio"),
    # In so narrow a network of the ImageNet family most of the cost is the stem's.
    [("cifar", 0.4), ("cifar", 0.7), ("imagenet", 0.8), ("imagenet", 0.9)],
)
def test_steering_reaches_the_ratio(family, ratio):
    units = (5, 4, 3) if family == "cifar" else (3, 4, 5, 3)
    plan = build_plan(NetworkConfig(family, units, 8, halting="sact"))
    size = (32, 32) if family == "cifar" else (160, 128)
    params, x = steered_params(plan), steering_images(2, size)
    dense = dense_flops(plan, size).total[0]
    engine = reference.Engine(plan, params)
    assert (engine.forward(x).flops == dense).all()  # at first nothing halts early
    set_reach(plan, params, reach_for(plan, x, ratio))
    result = reference.Engine(plan, params).forward(x)
    assert result.flops.mean() / dense == pytest.approx(ratio, abs=0.05)
    assert len(np.unique(result.blocks[0].num_units)) > 1


def test_a_tiny_case(tmp_path):
    said = []
    rows = infer.measure_case(
        TINY, 1, [1.0, 0.7], ["masked", "vanilla"], rounds=2, seconds=0.001, say=said.append
    )
    assert [r["ratio"] for r in rows] == [1.0, 0.7]
    assert len(said) == 2
    sact = int(dense_flops(build_plan(TINY.config()), (8, 8)).total[0])
    assert rows[0]["flops"] == sact > rows[0]["dense_flops"]
    assert rows[0]["positions"] == 2 * 64 + 16 + 4
    assert rows[1]["flops"] < rows[0]["flops"]
    for r in rows:
        assert min(r["ms"].values()) > 0
        assert r["memory"]["masked"][0] >= r["memory"]["masked"][1] > 0
        assert set(r["turns"]) == {"masked", "vanilla"}
        assert len(r["turns"]["masked"]) == 2
    rows = [{**r, "software": machine.software()} for r in rows]
    report.write_results(tmp_path / "infer-x.json", {"machine": machine.machine(), "rows": rows})


def test_a_tiny_family(tmp_path, rng):
    paths = []
    for halting_kind in ("none", "sact"):
        config = NetworkConfig("cifar", (2, 1, 1), 4, halting=halting_kind)
        path = tmp_path / f"{halting_kind}.h5"
        params = init_params(build_plan(config))
        write(path, Checkpoint(config, params, Preprocessing("cifar", 8), provenance={"tau": 0.1}))
        paths.append(path)
    images = list(rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8))
    rows = measure_family(
        paths, in_memory(images), 100, rounds=1, seconds=0.001, say=lambda text: None
    )
    assert [r["file"] for r in rows] == ["none.h5", "sact.h5"]
    assert rows[0]["mflops"] == rows[0]["dense_mflops"]
    assert all(min(r["ms"].values()) > 0 for r in rows)
    assert [r["content_hash"] for r in rows] == [read_header(p).content_hash for p in paths]
    rows = [{**r, "data": "noise", "software": {"revision": "abc"}} for r in rows]
    photographs = {**rows[1], "data": "photographs", "images": 2}
    rows = family.merge([{**rows[1], "mflops": -1.0}], [*rows, photographs])
    path = tmp_path / "family-x.json"
    report.write_results(path, {"machine": machine.machine(), "rows": rows})
    noise, _, other = path.with_suffix(".md").read_text().partition("## 2 images of photographs")
    assert "## 3 images of noise" in noise
    assert noise.count("| `sact.h5` | ResNet-10 SACT | 0.1 | 1 |") == 1
    assert "| `none.h5` |" in noise
    assert "| `sact.h5` |" in other
    assert "| `none.h5` |" not in other


def test_a_network_for_every_tau_is_timed_at_its_own(tmp_path, rng):
    made = any_tau_checkpoint()
    write(tmp_path / "any.h5", made)
    images = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    [row] = measure_family(
        [tmp_path / "any.h5"], in_memory(images), 2, rounds=1, seconds=0.001, say=lambda text: None
    )
    flops = Net.from_checkpoint(made, "reference").run(images).flops
    assert row["mflops"] == pytest.approx(flops.mean() / 1e6)
    assert min(row["ms"].values()) > 0


def test_photographs_of_any_size_make_a_batch(rng):
    photographs = [
        rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in [(40, 60), (50, 30)]
    ]
    assert family.prepared(photographs, Preprocessing("imagenet", 32), 32).shape == (2, 32, 32, 3)
    keep = Preprocessing("imagenet", 32, fit="keep")
    assert family.prepared(photographs[:1], keep, 16).shape == (1, 16, 32, 3)
    with pytest.raises(ValueError, match="different sizes once prepared"):
        family.prepared(photographs, keep, 16)


def test_a_side_that_fails_says_why():
    side = Process("no such side", TINY, 0)
    with pytest.raises(SideError, match=r"the no such side side ended early and said: .+"):
        side.wait()
    side.end()


def test_a_side_without_a_compiler_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "g++")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    side = Process("compiled", TINY, 1)
    with pytest.raises(SideError, match=r"and said: it needs a C\+\+ compiler, which is not"):
        side.wait()
    side.end()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_peak_memory_is_the_process_own():
    code = (
        "import numpy as np\n"
        "from sact_core.benchmark.worker import _peak_memory\n"
        "before = _peak_memory()\n"
        "np.ones(8 << 20)\n"  # 64 MiB, given back at once
        "print(before, _peak_memory())"
    )
    held = np.ones(64 << 20)  # 512 MiB, which a child must not take for its own
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before < held.nbytes / 2
    assert 60 << 20 < after - before < 100 << 20


def test_halting_rows(tmp_path):
    rows = halting.measure_halting([(4, 3), (8, 1)], threads=1, rounds=1, say=lambda text: None)
    assert [(r["side"], r["units"]) for r in rows] == [(4, 3), (8, 1)]
    assert all(set(r["ms"]) == {"numba", "numpy", "torch"} for r in rows)
    rows = [{**r, "software": {"revision": "abc"}} for r in rows]
    path = tmp_path / "halting-x.json"
    report.write_results(path, {"machine": machine.machine(), "rows": rows})
    assert "| 4 x 4 | 3 | 1 |" in path.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["infer", "--sides", "masked"], "must name masked and one of"),
        (["infer", "--ratios", "0"], "--ratios must be above 0 and at most 1"),
        (["infer", "--threads", "0"], "num_threads must be a whole number from 1 to 1024"),
        (["infer", "--threads", "1000000000"], "num_threads must be a whole number from 1 to 1024"),
        (["halting", "--threads", "1000000000"], "--threads must be from 1 to 1024"),
        (["train", "--threads", "1000000000"], "--threads must be from 1 to 1024"),
        (["train", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["halting", "--rounds", "0"], "--rounds must be at least 1"),
        (["family", "absent.h5", "--seconds", "0"], "--seconds must be above 0 and at most 3600"),
        (["infer", "--seconds", "3601"], "--seconds must be above 0 and at most 3600"),
        (["infer", "--rounds", "100001"], "--rounds must be from 1 to 100000"),
        (["train", "--batch-size", "1048577"], "--batch-size must be from 1 to 1048576"),
        (["infer", "--seconds", "-1"], "--seconds must be above 0 and at most 3600"),
        (["infer", "--sides", "masked", "sact"], "masked and one of vanilla, compiled, frozen"),
        (["halting", "--out", "{file}/x"], "a part of its path is no folder"),
        (["report", "--out", "{empty}"], "holds no results: no infer-*.json, family-*.json"),
    ],
)
def test_mistakes_end_in_one_sentence(tmp_path, capsys, argv, message):
    file, empty = tmp_path / "file", tmp_path / "empty"
    file.touch()
    empty.mkdir()
    assert main([each.format(file=file, empty=empty) for each in argv]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "does not hold a JSON object"),
        ("{", "is no JSON"),
        ('{"rows": []}', "names no machine, or has no rows"),
        ('{"machine": {"hardware": "x"}, "rows": [{"ms": 1}]}', "with what software"),
    ],
)
def test_foreign_results_are_refused(tmp_path, text, message):
    path = tmp_path / "infer-x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        machine.read_results(path)
    with pytest.raises(ValueError, match="must begin with one of infer, family"):
        report.write_results(tmp_path / "other.json", {"machine": {}, "rows": []})


@pytest.mark.parametrize("damage", [{"ms": None}, {"dense_flops": "x"}, {"turns": {"masked": 1}}])
def test_a_report_of_damaged_rows_is_refused(tmp_path, capsys, damage):
    values = {"machine": machine.machine(), "rows": [row() | damage]}
    (tmp_path / "infer-x.json").write_text(json.dumps(values))
    assert main(["report", "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "infer-x.json is damaged: its rows cannot be told" in err
    assert err.count("\n") == 1


def test_training_steps_take_turns(tmp_path, capsys, monkeypatch):
    from sact_core.benchmark import train

    order = []

    def step(network, batch_size, amp, halting, fused, device):
        assert (network.units_per_block, batch_size, amp, device) == ((1, 1, 1), 4, "off", "cpu")
        return lambda: order.append((halting, fused))

    monkeypatch.setattr(train, "_step", step)
    argv = ["train", "--units", "1", "--batch-size", "4", "--amp", "off", "--rounds", "2"]
    assert main([*argv, "--sides", "sact", "act plain", "--out", str(tmp_path)]) == 0
    assert order == [("none", True), ("sact", True), ("act", False)] * 3  # one round warms up
    (path,) = tmp_path.glob("train-*.json")
    values = machine.read_results(path)
    assert [row["side"] for row in values["rows"]] == ["vanilla", "sact", "act plain"]
    assert values["rows"][0]["ratio"] == 1.0
    assert "| float32 | sact |" in path.with_suffix(".md").read_text()
    assert main(["train", "--rounds", "0", "--out", str(tmp_path)]) == 2
    assert "--rounds must be at least 1, got 0" in capsys.readouterr().err


def test_training_ratios_by_hand():
    from sact_core.benchmark import train

    turns = {"vanilla": [2.0, 4.0, 2.0], "sact": [2.4, 4.4, 5.0]}
    vanilla, sact = train._rows(turns, "bf16", 10, 1)
    assert (vanilla["ms"], vanilla["images_per_second"], vanilla["ratio"]) == (2000, 5, 1)
    assert sact["ratio"] == pytest.approx(1.2)  # the median of 1.2, 1.1 and 2.5


def test_a_real_training_step_is_timed():
    from sact_core.benchmark import train

    rows = train.measure_steps(
        NetworkConfig(units_per_block=(2, 1, 1), base_channels=4),
        batch_size=2,
        formats=["off"],
        sides=["sact"],
        rounds=1,
        threads=1,
        say=lambda line: None,
    )
    assert [row["side"] for row in rows] == ["vanilla", "sact"]
    assert all(row["ms"] > 0 for row in rows)
