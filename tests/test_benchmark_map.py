"""Where halting pays: cells, break-even and sentence by made numbers; the command end to end."""

from __future__ import annotations

import html
import sys

import pytest

from sact_core import __version__
from sact_core.benchmark import break_even, infer, machine, report
from sact_core.benchmark import formats as formats_of
from sact_core.benchmark.__main__ import main
from sact_core.benchmark.break_even import Cell, pays_below, sentence
from sact_core.checkpoint import read_header, write
from sact_core.config import NetworkConfig
from tests.conftest import ROOT
from tests.networks import any_tau_checkpoint
from tests.test_benchmark import row
from tests.test_benchmark_sides import facts


def line(*speedups, batch=1, densities=(1.0, 0.6, 0.4, 0.2)):
    """Cells of one batch size, from dense to sparse."""
    return [
        Cell(batch, density, density, speedup, "masked", "OpenVINO", 1.0, speedup, None, None)
        for density, speedup in zip(densities, speedups, strict=True)
    ]


@pytest.mark.parametrize(
    ("speedups", "below"),
    [
        ((0.8, 1.2, 1.6, 2.0), 0.8),  # halfway between 1.2 at 60 % and 0.8 at 100 %
        ((0.5, 0.9, 1.4, 2.0), 0.56),  # a fifth of the way from 0.9 at 60 % to 1.4 at 40 %
        ((1.0, 1.2, 1.6, 2.0), float("inf")),
        ((0.5, 0.6, 0.7, 0.9), 0.0),
        ((1.1, 0.9, 1.1, 2.0), 0.5),  # what pays again above a losing cell does not count
    ],
)
def test_break_even_by_hand(speedups, below):
    assert pays_below(line(*speedups)) == pytest.approx(below)
    assert pays_below(line(*speedups)[::-1]) == pytest.approx(below)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (line(0.8, 1.2, 1.6, 2.0), "It pays below 80% at batch 1."),
        (line(1, 1, 1, 1), "It pays at every density and batch size that was measured."),
        (line(0.1, 0.1, 0.1, 0.1), "It pays at no density and batch size that was measured."),
        (
            line(0.8, 1.2, 1.6, 2.0) + line(0.5, 0.9, 1.4, 2.0, batch=8),
            "Below 56% of the dense FLOPs it pays at every batch size that was measured: below 80% "
            "at batch 1, below 56% at batch 8.",
        ),
        (
            line(0.1, 0.1, 0.1, 0.1) + line(1, 1, 1, 1, batch=8),
            "It pays not even at 20% at batch 1, everywhere at batch 8.",
        ),
    ],
)
def test_one_sentence(lines, said):
    assert sentence(lines) == said


def made(batch=1, ratio=0.5, masked=2.0, rival=3.0, **changes):
    """A row of a map; the fastest rival computes in bfloat16."""
    turns = {"masked": [masked], "vanilla": [9.0], "openvino-bf16": [rival], "sact": [0.1]}
    values = {
        "network": "ResNet-32", "side": 32, "batch": batch, "ratio": ratio, "turns": turns,
        "flops": 1000.0 * ratio, "ms": {name: times[0] for name, times in turns.items()},
        "sides": {name: facts() for name in turns},
    }  # fmt: skip
    return row(**{**values, **changes})


def test_cells_hold_the_fastest_of_ours_against_the_fastest_rival():
    joules = {"masked": 4.0, "openvino-bf16": 6.0}
    rows = [made(8, 0.5, joules=joules), made(1, 0.25), made(1, 1.0, masked=4.0)]
    found = break_even.cells(rows)
    assert [(cell.batch, cell.density, cell.speedup) for cell in found] == [
        (1, 1.0, 0.75),
        (1, 0.25, 1.5),
        (8, 0.5, 1.5),
    ]
    assert (found[0].own, found[0].rival) == ("masked", "OpenVINO, bfloat16")
    assert (found[2].own_joules, found[2].rival_joules) == (0.5, 0.75)  # of an image
    assert found[0].own_joules is None


def test_table_and_chart_show_what_loses(tmp_path):
    where = {"hardware": "Some chip", "system": "Linux"}
    rows = [made(1, 1.0, masked=4.0), made(1, 0.25)]
    path = tmp_path / "map-some-chip.json"
    report.write_results(path, {"machine": where, "rows": rows})
    text = path.with_suffix(".md").read_text()
    assert "## ResNet-32, 32 px, 1 thread" in text
    assert "**It pays below 75% at batch 1.**" in text
    assert "| 1 | 100% | **0.75** | masked | 4.00 | OpenVINO, bfloat16 | 3.00 |" in text
    assert "| 1 | 25% | 1.50 | masked | 2.00 |" in text
    assert "J an image" not in text  # nothing told the energy
    page = path.with_suffix(".html").read_text()
    assert "0.75 loses" in page
    assert "It pays below 75% at batch 1." in page
    rows = [made(joules={"masked": 4.0})]
    text = report.TABLES["map"]({"machine": where, "rows": rows})
    assert "| ours, J an image | rival, J an image |" in text
    assert "| 4.000 |  |" in text


def formats():
    """Rows in which ours has two formats and rivals have two others."""
    found = []
    for ratio, speed in ((1.0, 1.0), (0.5, 2.0)):
        times = {"masked": 3 / speed, "masked-int8": 1 / speed, "vanilla": 4.0,
                 "openvino-bf16": 1.6, "sact": 0.1}  # fmt: skip
        found.append(
            made(1, ratio, turns={name: [ms] for name, ms in times.items()}, ms=times,
                 sides={name: facts() for name in times})
        )  # fmt: skip
    return found


def test_cells_of_chosen_number_formats():
    rows = formats()
    assert [cell.speedup for cell in break_even.cells(rows)] == pytest.approx([1.6, 3.2])
    found = break_even.cells(rows, "float32", "bfloat16")
    assert [cell.speedup for cell in found] == pytest.approx([1.6 / 3, 3.2 / 3])
    assert {(cell.own, cell.rival) for cell in found} == {("masked", "OpenVINO, bfloat16")}
    assert break_even.cells(rows, "bfloat16") == break_even.cells(rows, rival="int8") == []
    assert formats_of.measured(rows, True) == ("float32", "int8")
    assert formats_of.measured(rows, False) == ("float32", "bfloat16")


def test_the_sentence_names_the_formats_or_what_is_missing(monkeypatch):
    monkeypatch.setattr("sact_core.backends.precision.precisions", lambda: ("float32", "int8"))
    rows, verdict = formats(), break_even.verdict
    assert verdict(rows) == "It pays at every density and batch size that was measured."
    assert verdict(rows, "float32", "bfloat16") == (
        "Ours in float32, rivals in bfloat16: it pays below 56% at batch 1."
    )
    assert verdict(rows, rival="float32").startswith("The fastest of ours, rivals in float32: it")
    assert verdict(rows, "bfloat16") == (
        "Ours is not measured in bfloat16 (masked, bfloat16: this processor does not multiply "
        "bfloat16): it takes AVX512-BF16; `SACT_FORCE_PRECISION=1 python -m sact_core.evaluate "
        "--precision bfloat16 …` gives the same numbers, slowly."
    )
    monkeypatch.setitem(sys.modules, "nncf", None)
    rows[0]["absent"] = {"onnxruntime-int8": "nothing was quantised"}
    assert verdict(rows, "int8", "int8") == (
        "No rival is measured in int8 (OpenVINO, int8 by NNCF: nncf not installed; ONNX Runtime, "
        "int8: nothing was quantised): `pip install -r requirements-bench.txt` brings it."
    )


def test_tables_have_a_sentence_for_every_pair_of_formats():
    text = report.TABLES["map"]({"machine": {"hardware": "x", "system": "y"}, "rows": formats()})
    assert "| ours | rivals: fastest | rivals: float32 | rivals: bfloat16 |" in text
    assert "| float32 | It pays below 56% at batch 1. |" in text
    assert "| int8 | It pays at every density" in text
    assert "| bfloat16 |" not in text


def test_a_map_replaces_the_old_one_of_its_network():
    old = [made(1), made(8), made(1, threads=2), made(1, network="ResNet-110")]
    new = [made(1, masked=1.0)]
    assert break_even.merge(old, new) == [old[2], old[3], *new]


@pytest.mark.parametrize(
    ("config", "halting", "name"),
    [
        (NetworkConfig(units_per_block=(2, 1, 1), base_channels=4, num_classes=7), "sact", "10"),
        (any_tau_checkpoint().config, "sact", "14"),
        (NetworkConfig(units_per_block=(2, 1, 1), halting="act"), "act", "10 ACT"),
        (NetworkConfig("imagenet", (1, 1, 1, 1), 4, 9, "sact", 1), "sact", "14"),
    ],
)
def test_the_case_is_of_the_networks_architecture(config, halting, name):
    case = break_even.case_of(config, 32, 4)
    found = case.config()
    assert (found.halting, case.batch, case.side) == (halting, 4, 32)
    for fact in ("family", "units_per_block", "base_channels", "num_classes", "sact_kernel_size"):
        assert getattr(found, fact) == getattr(config, fact)
    assert case.title == f"ResNet-{name}, 32 px, batch 4"


def test_a_map_from_end_to_end(tmp_path, capsys):
    net = tmp_path / "net.h5"
    write(net, any_tau_checkpoint())
    argv = ["infer", "--map", str(net), "--image-size", "8", "--batches", "2", "--rounds", "1"]
    argv += ["--seconds", "0.001", "--threads", "1", "--ratios", "1", "0.6"]
    argv += ["--sides", "masked", "onnxruntime", "--out", str(tmp_path / "out")]
    assert main([*argv, "--format", "float32"]) == 0
    said = capsys.readouterr().out
    assert "1 threads: Ours in float32, the fastest of rivals: it pays" in said
    (path,) = (tmp_path / "out").glob("map-*.json")
    values = machine.read_results(path)
    found = [(each["network"], each["batch"], each["ratio"]) for each in values["rows"]]
    assert found == [("ResNet-14", 2, 1.0), ("ResNet-14", 2, 0.6)]
    assert {"numba", "onnxruntime"} <= set(values["rows"][0]["software"])
    told = path.with_suffix(".md").read_text()
    assert "ONNX Runtime" in told
    # Every file says whose architecture, by which version and command.
    digest, command = read_header(net).content_hash, f"sact_core.benchmark infer --map {net}"
    for each in values["rows"]:
        assert (each["file"], each["content_hash"]) == ("net.h5", digest)
        assert each["version"] == __version__
        assert command in each["command"]
    for text in (told, html.unescape(path.with_suffix(".html").read_text())):
        assert command in text
        assert digest in text


def test_steps_are_as_many_as_are_told(monkeypatch):
    from tests.test_benchmark_sides import Made

    monkeypatch.setattr(infer, "Process", Made)
    steps = []
    sides = ["masked", "vanilla", "gather"]
    config = NetworkConfig(units_per_block=(2, 1, 1), halting="sact")
    break_even.measure_map(
        config, 8, [1, 2], 1, sides, [1.0, 0.5], 3, 0.1, lambda text: None, steps.append
    )
    assert len(steps) == break_even.num_steps(2, 3, 2, 3) == 18
    assert steps[0] == "Batch 1: masked gets ready …"
    assert steps[-1] == "Batch 2, 50% of the FLOPs, turn 3 of 3 …"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--batches", "1"], "--rival-format go with --map"),
        (["--image-size", "32"], "--batches, --image-size, --format and"),
        (["--format", "int8"], "--rival-format go with --map"),
        (["--rival-format", "int8"], "--rival-format go with --map"),
        (
            ["--map", "--sides", "masked", "vanilla", "--format", "bfloat16"],
            "Ours is not measured in bfloat16 (masked, bfloat16: ",
        ),
        (
            ["--map", "--sides", "masked", "vanilla", "--rival-format", "int8"],
            "No rival is measured in int8 (OpenVINO, int8 by NNCF",
        ),
        (["--map", "absent.h5"], "absent.h5"),
        (["--map", str(ROOT / "README.md")], "README.md"),
        (["--map", "--batches", "0"], "--batches must be from 1 to 4096, got 0"),
        (["--map", "--batches", "9999999"], "--batches must be from 1 to 4096"),
        (["--map", "--image-size", "33"], "multiples of 4"),
        (["--map", "--only", "resnet32-batch1"], "leave --only and --against out"),
        (["--map", "--against", "x.json"], "leave --only and --against out"),
    ],
)
def test_mistakes_end_in_one_sentence(tmp_path, capsys, argv, message):
    assert main(["infer", *argv, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
