"""The measurements measure what they say; how fast anything is, is not tested here."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sact_core.backends import reference
from sact_core.benchmark import halting, infer, report
from sact_core.benchmark.__main__ import main
from sact_core.benchmark.cases import CASES, Case
from sact_core.benchmark.family import measure_family
from sact_core.benchmark.sides import Side, SideError
from sact_core.benchmark.steer import reach_for, set_reach, steered_params, steering_images
from sact_core.checkpoint import Checkpoint, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.flops import dense_flops
from sact_core.network import build_plan, init_params

TINY = Case("tiny", "cifar", (2, 1, 1), 2, 8, 1.0)


def row(**changes):
    values = {
        "case": "tiny", "title": "tiny, 8 px, batch 1", "batch": 1, "side": 64, "threads": 1,
        "ratio": 0.5, "bar": 0.9, "dense_flops": 1000, "flops": 500.0, "positions": 100.0,
        "memory": {"masked": [3 << 20, 1 << 20], "vanilla": [9 << 20, 4 << 20]},
    }  # fmt: skip
    turns = {"masked": [2.0, 2.5, 2.0], "vanilla": [4.0, 5.0, 3.6], "compiled": [6.0, 6.0, 6.0]}
    return {**values, **infer.summarise(turns, 2.0), **changes}


def test_speedup_by_hand():
    found = row()
    assert found["ms"] == {"masked": 2.0, "vanilla": 4.0, "compiled": 6.0}
    assert (found["dense_side"], found["dense"]) == ("vanilla", 4.0)
    assert found["speedup"] == 2.0  # the median of 2, 2 and 1.8
    assert found["share"] == 1.0


def test_new_rows_replace_old_ones():
    old = [row(), row(threads=2)]
    new = [row(speedup=9.0), row(ratio=0.3)]
    merged = infer.merge(old, new)
    assert len(merged) == 3
    assert [r["speedup"] for r in merged if r["threads"] == 1 and r["ratio"] == 0.5] == [9.0]


def test_table_says_met_and_missed(tmp_path):
    rows = [row(), row(case="other", ratio=1.0, share=0.5), row(side=128, threads=2, bar=None)]
    values = {"machine": report.machine(), "start": {"first": 11.0, "second": 0.5}, "rows": rows}
    report.write_infer(tmp_path, values)
    text = (tmp_path / "infer.md").read_text()
    assert "| 0.90 met |" in text
    assert "| 0.90 **missed** |" in text
    assert "**4.00**" in text  # the dense side
    assert "| tiny | 1 | 50% | 20,000 |" in text  # 2 ms for 100 positions, in ns
    assert "| 3 | 9 | 2 | 5 |" in text  # MiB: in all, and on top of packages
    assert "11.0 s with an empty cache" in text
    assert "plotly" in (tmp_path / "infer.html").read_text()
    assert report.read_rows(tmp_path / "infer.json") == json.loads(json.dumps(values))


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
    report.write_infer(tmp_path, {"machine": report.machine(), "rows": rows})


def test_a_tiny_family(tmp_path, rng):
    paths = []
    for halting_kind in ("none", "sact"):
        config = NetworkConfig("cifar", (2, 1, 1), 4, halting=halting_kind)
        path = tmp_path / f"{halting_kind}.h5"
        params = init_params(build_plan(config))
        write(path, Checkpoint(config, params, Preprocessing("cifar", 8), provenance={"tau": 0.1}))
        paths.append(path)
    images = rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    rows = measure_family(paths, images, rounds=1, seconds=0.001, say=lambda text: None)
    assert [r["file"] for r in rows] == ["none.h5", "sact.h5"]
    assert rows[0]["mflops"] == rows[0]["dense_mflops"]
    assert all(min(r["ms"].values()) > 0 for r in rows)
    values = {"machine": report.machine(), "data": "noise", "rows": rows}
    report.write_family(tmp_path, values)
    assert "| `sact.h5` | ResNet-10 SACT | 0.1 |" in (tmp_path / "family.md").read_text()


def test_a_side_that_fails_says_why():
    side = Side("no such side", TINY, 0)
    with pytest.raises(SideError, match=r"the no such side side ended early and said: .+"):
        side.wait()
    side.end()


def test_halting_rows(tmp_path):
    rows = halting.measure_halting([(4, 3), (8, 1)], threads=1, rounds=1, say=lambda text: None)
    assert [(r["side"], r["units"]) for r in rows] == [(4, 3), (8, 1)]
    assert all(set(r["ms"]) == {"numba", "numpy", "torch"} for r in rows)
    report.write_halting(tmp_path, {"machine": report.machine(), "rows": rows})
    assert "| 4 x 4 | 3 | 1 |" in (tmp_path / "halting.md").read_text()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["infer", "--sides", "masked"], "must name masked and one of"),
        (["infer", "--ratios", "0"], "--ratios above 0"),
        (["infer", "--threads", "0"], "num_threads must be a whole number above 0"),
        (["halting", "--out", "{file}/x"], "Not a directory"),
    ],
)
def test_mistakes_end_in_one_sentence(tmp_path, capsys, argv, message):
    file = tmp_path / "file"
    file.touch()
    assert main([each.format(file=file) for each in argv]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_foreign_results_are_refused(tmp_path):
    (tmp_path / "infer.json").write_text("[]")
    with pytest.raises(ValueError, match="does not hold a JSON object"):
        report.read_rows(tmp_path / "infer.json")


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
    values = json.loads((tmp_path / "train.json").read_text())
    assert [row["side"] for row in values["rows"]] == ["vanilla", "sact", "act plain"]
    assert values["rows"][0]["ratio"] == 1.0
    assert "| float32 | sact |" in (tmp_path / "train.md").read_text()
    assert main(["train", "--rounds", "0", "--out", str(tmp_path)]) == 2
    assert "--rounds and --threads at least 1" in capsys.readouterr().err


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
