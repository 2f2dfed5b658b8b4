"""Files that an evaluation writes: tables, and what came of every image."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from sact_core import __version__, load
from sact_core.checkpoint import read_header
from sact_core.data.splits import open_split
from sact_core.evaluate import __main__ as command
from sact_core.flops import dense_flops
from tests.networks import any_tau_checkpoint
from tests.test_evaluate import NAMES, SACT, data_set, torchrun, write_checkpoint

__all__ = ["data_set"]  # a fixture


def read(path: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What a CSV file says of its origin, and its rows."""
    lines = path.read_text().splitlines()
    about = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    return about, list(csv.DictReader(line for line in lines if not line.startswith("# ")))


def flags(file: Path, folder: str, *more: object) -> list[str]:
    argv = ["--checkpoint", file, "--dataset", folder, "--split", "test", *more]
    return [*map(str, argv), "--backend", "reference"]


def test_every_image_has_a_row(data_set: str, tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "it.h5")
    out = tmp_path / "i.csv", tmp_path / "i.parquet"
    for path in out:
        argv = flags(file, data_set, "--per-image", path, "--batch-size", 3)
        assert command.main(argv) == 0
    about, rows = read(out[0])
    net = load(file, "reference")
    source = open_split(data_set, "test").spread()
    for i, (image, label, name) in enumerate(source.read(range(10))):
        result = net.run(image[None])
        row, says = rows[i], int(result.logits[0].argmax())
        assert (row["number"], row["image"]) == (str(i), name)
        assert (row["label"], row["prediction"]) == (NAMES[label], NAMES[says])
        assert row["right"] == str(int(says == label))
        assert float(row["sure"]) == pytest.approx(result.probabilities[0, says], rel=1e-6)
        assert row["flops"] == str(result.flops[0])
        dense = dense_flops(net.plan, (16, 16)).total[0]
        assert float(row["share"]) == pytest.approx(result.flops[0] / dense)
        for block in result.blocks:
            cost = float(row[f"{block.name}/ponder_cost"])
            assert cost == pytest.approx(block.ponder_cost.mean(), rel=1e-6)
    assert len(rows) == 10
    [network] = json.loads(about["networks"])
    assert network["content_hash"] == read_header(file).content_hash
    assert (network["tau"], network["image_size"], network["fit"]) == ([0.01], [16], "crop")
    assert (about["version"], about["split"], about["images"]) == (__version__, "test", "10")
    assert about["command"].startswith("python -m sact_core.evaluate --checkpoint ")
    table = parquet.read_table(out[1])
    assert table.column_names == list(rows[0])
    assert table["flops"].to_pylist() == [int(row["flops"]) for row in rows]
    assert table["right"].to_pylist() == [row["right"] == "1" for row in rows]
    told = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert told["networks"] == about["networks"]
    assert told["command"].endswith(f"--per-image {out[1]} --batch-size 3 --backend reference")


def test_every_tau_of_a_curve_has_its_rows_and_its_line(data_set: str, tmp_path: Path) -> None:
    from sact_core import checkpoint as checkpoints

    file = tmp_path / "any.h5"
    made = any_tau_checkpoint()
    checkpoints.write(file, made)
    folder = tmp_path / "data" / "test"
    for i in range(made.config.num_classes):  # as many classes as it has
        (folder / str(i)).mkdir(parents=True)
        source = sorted(Path(data_set).rglob("*.png"))[i % 10]
        (folder / str(i) / "a.png").write_bytes(source.read_bytes())
    files = [tmp_path / f"t{ending}" for ending in (".csv", ".tex", ".md")]
    out = tmp_path / "i.csv"
    low, high = made.config.tau_low, made.config.tau_high
    argv = flags(file, str(folder.parent), "--taus", low, high, "--table", *files)
    assert command.main([*argv, "--per-image", str(out)]) == 0
    rows = read(out)[1]
    net = load(file, "reference")
    for tau in (low, high):
        own = [row for row in rows if float(row["tau"]) == pytest.approx(tau)]
        images = [
            image for image, *_ in open_split(str(folder.parent), "test").spread().read(range(3))
        ]
        ref = net.run(np.stack(images), tau=tau).flops
        assert [int(row["flops"]) for row in own[:3]] == ref.tolist()
        assert len(own) == made.config.num_classes
    about, lines = read(files[0])
    assert [float(line["tau"]) for line in lines] == [low, high]
    for line, tau in zip(lines, (low, high), strict=True):
        flops = [int(row["flops"]) for row in rows if float(row["tau"]) == pytest.approx(tau)]
        assert float(line["MFLOPs, mean"]) == pytest.approx(np.mean(flops) / 1e6, abs=0.051)
    assert json.loads(about["networks"])[0]["tau"] == [low, high]
    assert r"\toprule" in files[1].read_text()
    assert "| --- |" in files[2].read_text()


@pytest.mark.parametrize("world", [1, 2])
def test_every_size_has_its_rows(data_set: str, tmp_path: Path, world: int) -> None:
    file, out = write_checkpoint(tmp_path / "it.h5", SACT), tmp_path / "i.csv"
    argv = flags(file, data_set, "--sizes", "24,16", "--per-image", out, "--batch-size", 3)
    if world == 1:
        assert command.main(argv) == 0
    else:
        ran = torchrun("-m", "sact_core.evaluate", *argv)
        assert ran.returncode == 0, ran.stderr
    about, rows = read(out)
    assert [(row["image_size"], row["number"]) for row in rows] == [
        (size, str(i)) for size in ("16", "24") for i in range(10)
    ]
    net = load(file, "reference")
    images = np.stack(
        [image for image, *_ in open_split(data_set, "test").spread().read(range(10))]
    )
    for size in (16, 24):
        ref = net.run(images, size).flops.tolist()
        assert [int(row["flops"]) for row in rows if row["image_size"] == str(size)] == ref
    assert json.loads(about["networks"])[0]["image_size"] == [16, 24]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--per-image", "{tmp}/a.txt"], "must end in .csv or .parquet"),
        (["--per-image", "{tmp}/no/a.csv"], "no does not exist"),
        (["--per-image", "{tmp}/there.csv"], "give --force to replace it"),
        (["--per-image", "{tmp}/a.csv", "--sizes", "16", "--checkpoint", "a", "b"], "one by one"),
        (["--table", "{tmp}/a.xls"], "must end in one of .csv .tex .md"),
        (["--table", "{tmp}/there.csv"], "give --force to replace it"),
    ],
)
def test_a_mistake_is_one_sentence(
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    file = write_checkpoint(tmp_path / "it.h5")
    (tmp_path / "there.csv").write_text("mine")
    words = [word.format(tmp=tmp_path) for word in more]
    assert command.main(flags(file, data_set, *words)) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it.h5", "there.csv"]


def test_parquet_needs_pyarrow(
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    file = write_checkpoint(tmp_path / "it.h5", SACT)
    assert command.main(flags(file, data_set, "--per-image", tmp_path / "a.parquet")) == 2
    told = capsys.readouterr().err
    assert "pip install pyarrow, or let --per-image end in .csv" in told
    assert told.count("\n") == 1
