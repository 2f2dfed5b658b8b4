"""The tables beside the shipped checkpoints say what the files say, and nothing else."""

from __future__ import annotations

import json
import re
import sys

import pytest

from sact_core.checkpoint import Checkpoint, read_header, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "pretrained"))
import shipped
import summarise


def ship(folder, name, halting, accuracy, mflops, units=(2, 2, 2), mean=(), **record):
    """Write a tiny checkpoint with the provenance of a training run."""
    metrics = {"eval/Accuracy": accuracy, "Total Flops/mean": mflops * 1e6, "count": 10000}
    metrics |= {"Total Flops/std": 1e6}
    metrics |= {f"block_{b}/num_units_mean": value for b, value in enumerate(mean, start=1)}
    metrics |= record.pop("metrics", {})
    provenance = {
        "data_set": {"name": "cifar10"}, "metrics": metrics, "tau": None, "epochs": 6,
        "hours": 0.25, "seed": 1, "command": f"train {name}", "hardware": "Some chip",
        "packages": {"numpy": "2.4"}, **record,
    }  # fmt: skip
    config = NetworkConfig("cifar", units, 4, halting=halting)
    params = init_params(build_plan(config))
    path = folder / f"{name}.h5"
    write(path, Checkpoint(config, params, Preprocessing("cifar", 32), provenance=provenance))
    return path


def line_of(text, start):
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def folder(tmp_path):
    """Two SACT networks, one with a static rival; and results of one of them."""
    ship(tmp_path, "whole", "none", 0.9, 40.0)
    cheap = ship(tmp_path, "cheap", "sact", 0.8, 20.0, mean=(1.4, 1.5, 0.4), tau=0.1)
    ship(tmp_path, "dear", "sact", 0.89, 41.0, mean=(1.9, 1.8, 1.7), tau=0.01)
    ship(
        tmp_path, "static_1_2_1", "none", 0.81, 18.0, units=(1, 2, 1),
        recipe={"finetune_first_units": True},
    )  # fmt: skip
    mark = f"{summarise.BEGIN}\n{summarise.END}"
    (tmp_path / "README.md").write_text(f"Before.\n\n{mark}\nAfter.\n")
    results = tmp_path / "results"
    results.mkdir()
    row = {
        "file": "cheap.h5", "content_hash": read_header(cheap).content_hash, "threads": 1,
        "data": "cifar10 test", "images": 128, "ms": {"masked": 1.25, "sact": 3.0}, "tau": 0.1,
        "software": {"revision": "abc"},
    }  # fmt: skip
    other = {**row, "file": "dear.h5", "content_hash": "of the weights before"}
    values = {"machine": {"hardware": "AMD, 2 cores", "vectors": "avx2"}, "rows": [row, other]}
    (results / "family-amd.json").write_text(json.dumps(values))
    return tmp_path


def test_a_row_says_what_its_file_says(folder):
    assert len(summarise.summarise(folder, folder / "results")) == 4
    text = (folder / "README.md").read_text()
    assert text.startswith(f"Before.\n\n{summarise.BEGIN}\n## CIFAR-10\n")
    assert text.endswith(f"{summarise.END}\nAfter.\n")
    assert line_of(text, "| file |") == [
        "file", "network", "tau", "accuracy", "MFLOPs mean ± std", "ms", "mean units by block",
        "epochs", "hours", "seed",
    ]  # fmt: skip
    assert line_of(text, "| `cheap.h5` | ResNet") == [
        "`cheap.h5`", "ResNet-14 SACT (2_2_2)", "0.1", "80.00% of 10,000", "20.0 ± 1.0", "1.25",
        "1.40 / 1.50 / 0.40", "6", "0.25", "1",
    ]  # fmt: skip
    names = re.findall(r"^\| `(\w+)\.h5` \| ResNet", text, re.M)
    assert names == ["static_1_2_1", "cheap", "whole", "dear"]  # by FLOPs
    # Measured before the file was replaced: its milliseconds are those of other weights.
    assert line_of(text, "| `dear.h5` | ResNet")[5] == "–"
    assert (
        "*ms*: masked engine, 1 thread, AMD, 2 cores (avx2): an image of cifar10 test, 128" in text
    )
    assert "- `cheap.h5`: `train cheap` on Some chip; numpy 2.4." in text
    assert (folder / "accuracy_flops.png").stat().st_size > 1000
    summarise.summarise(folder, folder / "results")
    assert (folder / "README.md").read_text() == text  # the marks are still there


def test_what_adaptivity_is_worth(folder):
    files = shipped.read_files(folder, folder / "none")
    text = summarise.worth_table(files)
    # Means of 1.4, 1.5 and 0.4 units are 1, 2 and 1: a unit always runs.
    assert line_of(text, "| `cheap.h5`") == [
        "`cheap.h5`", "0.1", "80.00%", "20.0", "`static_1_2_1.h5` (1_2_1)", "81.00%", "18.0",
        "-1.00", "81.82%", "-1.82",
    ]  # fmt: skip
    # All units on average: the whole network is the rival, and had no first units to take.
    assert line_of(text, "| `dear.h5`")[4:] == [
        "`whole.h5` (2_2_2)", "90.00%", "40.0", "-1.00", "out of range", "–",
    ]  # fmt: skip
    (folder / "static_1_2_1.h5").unlink()
    assert summarise.worth_table(shipped.read_files(folder, folder / "none")) == ""
    ship(
        folder, "static_2_1_1", "none", 0.8, 18.0, (2, 1, 1), recipe={"finetune_first_units": True}
    )
    text = summarise.worth_table(shipped.read_files(folder, folder / "none"))
    assert line_of(text, "| `cheap.h5`")[4:8] == ["none yet (1_2_1)", "–", "–", "–"]


def test_a_network_of_its_own_is_no_rival(folder):
    (folder / "static_1_2_1.h5").unlink()
    ship(folder, "scratch_1_2_1", "none", 0.95, 18.0, units=(1, 2, 1))  # from scratch
    files = shipped.read_files(folder, folder / "none")
    cheap = next(file for file in files if file.name == "cheap.h5")
    assert summarise.rival_of(cheap, files) is None


def test_an_average_says_what_it_is_made_of_and_is_compared_with_nothing(folder):
    before = summarise.worth_table(shipped.read_files(folder, folder / "none"))
    made_of = [
        {"file": "one.h5", "accuracy": 0.9, "command": "train one"},
        {"file": "two.h5", "accuracy": None, "command": None},
    ]
    ship(folder, "both", "none", 0.95, 20.0, averaged=made_of)
    ship(folder, "halting", "sact", 0.95, 30.0, mean=(1, 1, 1), tau=0.1, averaged=made_of)
    summarise.summarise(folder, folder / "results")
    text = (folder / "README.md").read_text()
    assert line_of(text, "| `both.h5`")[1] == "ResNet-14 (2_2_2), average of 2"
    assert "  - `one.h5` (90.00%): `train one`.\n  - `two.h5`.\n" in text
    assert summarise.worth_table(shipped.read_files(folder, folder / "none")) == before


def test_noise_is_that_of_a_share():
    point = shipped.Point(0.8, None, 1.0, 0.0, (), 10_000, None)
    files = [shipped.File("name", None, point)]
    assert (
        summarise.noise(files) == "Chance moves an accuracy by up to 0.40 points (standard error)."
    )


def test_act_beside_sact_at_equal_flops(folder):
    files = shipped.read_files(folder, folder / "none")
    assert summarise.act_table(files) == ""
    ship(folder, "per_image", "act", 0.83, 27.0, mean=(1.5, 1.5, 1.5), tau=0.05)
    ship(folder, "per_image_dear", "act", 0.83, 44.0, mean=(2, 2, 2), tau=0.001)
    text = summarise.act_table(shipped.read_files(folder, folder / "none"))
    # A third of the way from 20 to 41 MFLOPs, so a third of the way from 80 % to 89 %.
    assert line_of(text, "| `per_image.h5`") == [
        "`per_image.h5`", "0.05", "27.0 ± 1.0", "83.00%", "83.00%", "+0.00",
    ]  # fmt: skip
    assert line_of(text, "| `per_image_dear.h5`")[4:] == ["out of range", "–"]


def test_published_figures_stand_beside_the_best_that_costs_no_more(folder, monkeypatch):
    figures = (("theirs", 30.0, 0.85), ("dearer", 40.0, 0.88), ("cheapest", 5.0, 0.5))
    monkeypatch.setitem(summarise.PUBLISHED, "cifar10", figures)
    path = ship(folder, "any", "sact", 0.85, 60.0, mean=(1, 1, 1), tau=0.03)
    curve(path, [(0.1, 10.0, 0.7), (0.01, 29.0, 0.845)])
    text = summarise.published_table("cifar10", shipped.read_files(folder, folder / "none"))
    assert line_of(text, "| theirs") == [
        "theirs", "30.0", "85.00%", "`any.h5`", "0.01", "29.0", "84.50%", "-0.50",
    ]  # fmt: skip
    assert line_of(text, "| dearer")[3:] == ["`whole.h5`", "–", "40.0", "90.00%", "+2.00"]
    assert line_of(text, "| cheapest")[3:] == ["none that cheap", "–", "–", "–", "–"]
    assert summarise.published_table("caltech101", []) == ""


def test_photographs_have_a_table_and_a_plot_of_their_own(folder):
    ship(
        folder, "caltech101_small", "sact", 0.6, 300.0, mean=(1, 1, 1), tau=0.005,
        data_set={"name": "caltech101"}, metrics={"eval/Recall@5": 0.85},
    )  # fmt: skip
    summarise.summarise(folder, folder / "results")
    text = (folder / "README.md").read_text()
    first, _, second = text.partition("## Caltech-101 photographs")
    assert "top-5" not in first
    assert "![Accuracy against FLOPs](accuracy_flops_caltech101.png)" in second
    assert line_of(second, "| file |")[3:6] == ["accuracy", "top-5", "MFLOPs mean ± std"]
    assert line_of(second, "| `caltech101_small.h5` | ResNet")[3:7] == [
        "60.00% of 10,000", "85.00%", "300.0 ± 1.0", "–",
    ]  # fmt: skip
    assert "cheap" not in second
    assert (folder / "accuracy_flops_caltech101.png").exists()


def curve(path, points, content_hash=None):
    rows = [
        {
            "tau": tau, "eval/Accuracy": accuracy, "Total Flops/mean": mflops * 1e6,
            "Total Flops/std": 2e6, "count": 10000,
        }
        for tau, mflops, accuracy in points
    ]  # fmt: skip
    content_hash = content_hash or read_header(path).content_hash
    beside = path.with_suffix(".curve.json")
    rises = {"images": 3, "mean_share_of_dense": 0.001, "largest_share_of_dense": 0.0125}
    values = {"content_hash": content_hash, "rows": rows, "more_work_for_more_tau": rises}
    beside.write_text(json.dumps(values))
    return beside


def test_a_file_for_every_tau_has_its_curve(folder):
    path = ship(folder, "any", "sact", 0.85, 30.0, mean=(1, 1, 1), tau=0.03)
    curve(path, [(0.1, 10.0, 0.7), (0.01, 30.0, 0.8)])
    summarise.summarise(folder, folder / "results")
    text = (folder / "README.md").read_text()
    assert "### One file, every tau: `any.h5`" in text
    assert "for 3 of 10,000 images, by 1.250% of dense at most." in text
    assert line_of(text, "| 0.01 |") == ["0.01", "80.00% of 10,000", "30.0 ± 2.0", "–"]
    assert text.index("\n| 0.01 |") < text.index("\n| 0.1 |")
    table = text.partition("| trained for one tau |")[2]
    # Half way between 10 and 30 MFLOPs, so half way between 70 % and 80 %.
    assert line_of(table, "| `cheap.h5`") == [
        "`cheap.h5`",
        "0.1",
        "20.0",
        "80.00%",
        "75.00%",
        "-5.00",
    ]
    assert line_of(table, "| `dear.h5`")[4:] == ["out of range", "–"]
    assert "`any.h5`" not in table.partition("###")[0]


def test_a_curve_with_nothing_beside_it_stands_alone(folder):
    path = ship(
        folder, "caltech101_any", "sact", 0.6, 30.0, mean=(1, 1, 1), tau=0.03,
        data_set={"name": "caltech101"},
    )  # fmt: skip
    curve(path, [(0.1, 10.0, 0.5), (0.01, 30.0, 0.6)])
    for cifar in ("cheap.h5", "dear.h5"):
        (folder / cifar).unlink()
    summarise.summarise(folder, folder / "results")
    text = (folder / "README.md").read_text()
    assert "### One file, every tau: `caltech101_any.h5`" in text
    assert "Beside the networks trained for one tau" not in text


def test_a_curve_of_other_weights_is_refused(folder):
    beside = curve(folder / "cheap.h5", [(0.1, 10.0, 0.7)], content_hash="0" * 64)
    with pytest.raises(ValueError, match=r"belongs to another cheap\.h5: measure the curve again"):
        shipped.read_files(folder, folder / "results")
    beside.write_text("[]")
    with pytest.raises(ValueError, match=r"cheap\.curve\.json is no curve"):
        shipped.read_files(folder, folder / "results")


def test_every_machine_has_its_column(folder):
    values = json.loads((folder / "results" / "family-amd.json").read_text())
    values["machine"] = {"hardware": "ARM, 4 cores"}
    values["rows"][0] |= {"threads": 4, "ms": {"masked": 0.5}}
    (folder / "results" / "family-arm.json").write_text(json.dumps(values))
    text = summarise.sections(shipped.read_files(folder, folder / "results"))
    assert line_of(text, "| file |")[5:7] == ["ms (1)", "ms (2)"]
    assert line_of(text, "| `cheap.h5` | ResNet")[5:7] == ["1.25", "0.50"]
    assert "*ms (2)*: masked engine, 4 threads, ARM, 4 cores: an image" in text


def test_a_readme_without_marks_is_left_alone(folder):
    (folder / "README.md").write_text("No marks.\n")
    with pytest.raises(ValueError, match="lacks the lines"):
        summarise.summarise(folder, folder / "results")
    assert (folder / "README.md").read_text() == "No marks.\n"


def test_the_shipped_tables_are_up_to_date():
    folder = ROOT / "pretrained"
    text = (folder / "README.md").read_text()
    made = text.partition(summarise.BEGIN)[2].partition(summarise.END)[0].strip("\n")
    assert made == summarise.sections(shipped.read_files(folder, ROOT / "benchmarks"))


def seed_of(folder, name, seed, accuracy, mflops, curve=()):
    metrics = {"eval/Accuracy": accuracy, "Total Flops/mean": mflops * 1e6, "count": 10000}
    record = {"seed": seed, "metrics": metrics}
    if curve:
        record["curve"] = {"rows": [
            {"tau": tau, "eval/Accuracy": a, "Total Flops/mean": m * 1e6, "count": 10000}
            for tau, a, m in curve
        ]}  # fmt: skip
    (folder / f"{name}.seed{seed}.json").write_text(json.dumps(record))


def test_several_seeds_have_a_mean_and_a_deviation(folder):
    assert summarise.seeds_table(shipped.read_files(folder, folder / "none")) == ""
    seed_of(folder, "static_1_2_1", 2, 0.83, 18.0)
    seed_of(folder, "static_1_2_1", 3, 0.85, 18.0)
    summarise.summarise(folder, folder / "results")
    text = (folder / "README.md").read_text()
    # 81, 83 and 85 %: variance (4 + 0 + 4) / 2.
    assert line_of(text, "| `static_1_2_1.h5` | 1, 2, 3") == [
        "`static_1_2_1.h5`", "1, 2, 3", "83.00% ± 2.00", "18.0 ± 0.0",
    ]  # fmt: skip
    seed_of(folder, "static_1_2_1", 2, 0.83, 18.0)
    (folder / "static_1_2_1.seed4.json").write_text("{}")
    with pytest.raises(ValueError, match=r"static_1_2_1\.seed4\.json holds no figures of a seed"):
        shipped.read_files(folder, folder / "none")


def test_any_tau_beside_static_networks_at_equal_flops(folder):
    assert summarise.level_table(shipped.read_files(folder, folder / "none")) == ""
    made = ship(folder, "any", "sact", 0.84, 20.0, mean=(1, 1, 1), tau=0.1)
    ends = [(0.01, 0.88, 36.0), (0.1, 0.82, 16.0)]
    rows = [
        {"tau": tau, "eval/Accuracy": a, "Total Flops/mean": m * 1e6, "count": 10000}
        for tau, a, m in ends
    ]
    values = {"content_hash": read_header(made).content_hash, "rows": rows}
    (folder / "any.curve.json").write_text(json.dumps(values))
    text = summarise.level_table(shipped.read_files(folder, folder / "none"))
    # 18 MFLOPs are a tenth of the way from 16 to 36.
    assert line_of(text, "| `static_1_2_1.h5`")[3:] == ["81.00%", "82.60%", "+1.60"]
    assert line_of(text, "| `whole.h5`")[4:] == ["out of range", "–"]
    seed_of(folder, "any", 2, 0.84, 20.0, [(0.01, 0.90, 36.0), (0.1, 0.84, 16.0)])
    seed_of(folder, "static_1_2_1", 2, 0.83, 18.0)
    text = summarise.level_table(shipped.read_files(folder, folder / "none"))
    # 82.6 and 84.6 against 81 and 83: variances of 2 each, halved and added.
    assert line_of(text, "| `static_1_2_1.h5`")[3:] == ["82.00%", "83.60%", "+1.60 ± 1.41"]


def test_other_images_of_a_data_set_compare_with_nothing(folder):
    ship(
        folder, "copied", "act", 0.7, 25.0, mean=(1, 1, 1), tau=0.1,
        data_set={"name": "cifar10", "note": "JPEG copies"},
    )  # fmt: skip
    files = shipped.read_files(folder, folder / "none")
    assert {file.data_set for file in files} == {"cifar10", "cifar10 (JPEG copies)"}
    summarise.summarise(folder, folder / "results")
    first, _, second = (folder / "README.md").read_text().partition("## CIFAR-10, trained on JPEG")
    assert "copied" not in first
    assert line_of(second, "| `copied.h5` | ResNet")[3] == "70.00% of 10,000"
    assert (folder / "accuracy_flops_cifar10_jpeg_copies.png").exists()
