"""Doubt by command: what it writes, draws and refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sact_core.doubt import __main__ as command
from sact_core.measures import passes
from tests.conftest import need_package
from tests.doubt.conftest import flags, number_of, saved


class TestCommand:
    def test_it_prints_and_keeps_and_draws(
        self, made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        argv = flags(made, "--taus", "0.002", "0.05", "--keep", "kept")
        out = ["--out", "it.png", "it.svg", "it.md", "it.csv", "--per-image", "images.csv"]
        assert command.main([*argv, *out]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert "tau 0.002: " in said.out
        assert "written: it.md" in said.out
        assert len(list(Path("kept").iterdir())) == 2
        lines = Path("it.md").read_text().splitlines()
        assert len(lines[0].split("|")) == len(lines[2].split("|"))
        assert "--taus 0.002 0.05" in Path("it.md").read_text()
        with Image.open("it.png") as drawn:
            assert drawn.width == 2700
        assert "people's entropy" in Path("it.svg").read_text()
        monkeypatch.setattr(passes, "run_pass", lambda *_, **__: pytest.fail("run anew"))
        assert command.main([*argv, "--out", "narrow.png", "--width", "4.5"]) == 0
        capsys.readouterr()
        assert command.main([*argv, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [one["tau"] for one in found["networks"]] == [0.002, 0.05]
        one = found["networks"][0]
        assert one["images"] == 24
        assert one["agreement"] == 1
        assert one["correlations"]["ponder_cost"].keys() >= {"people_entropy", "edges"}
        assert len(one["galleries"]["dear_to_network"]) == 12

    def test_every_image_is_a_row_with_peoples_answers(
        self, made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        counts = np.load(made["counts"])
        counts[5] = 0
        labels = saved(counts, tmp_path / "counts.npy")
        out = [tmp_path / f"images{ending}" for ending in (".csv", ".parquet")]
        for path in out:
            more = ["--taus", "0.002", "0.05", "--labels", str(labels), "--per-image", str(path)]
            assert command.main(flags(made, *more)) == 0
            assert f"written: {path}" in capsys.readouterr().out
        lines = [s for s in out[0].read_text().splitlines() if not s.startswith("#")]
        rows = list(csv.DictReader(lines))
        assert [row["tau"] for row in rows] == 24 * ["0.002"] + 24 * ["0.05"]
        for row in rows:
            number = number_of(row["image"])
            chosen = counts[number] / max(1, counts[number].sum())
            if number == 5:
                assert (row["people_entropy"], row["people_disagreement"]) == ("", "")
                continue
            bits = -sum(p * np.log2(p) for p in chosen if p)
            assert float(row["people_entropy"]) == pytest.approx(bits, abs=1e-8)
            assert float(row["people_disagreement"]) == pytest.approx(1 - chosen.max())
            assert row["right"] == str(int(row["label"] == row["prediction"]))
            blocks = [float(row[f"block{i}/ponder_cost"]) for i in (1, 2, 3)]
            assert float(row["ponder_cost"]) == pytest.approx(sum(blocks))
        read = need_package("pyarrow.parquet").read_table(out[1])
        assert read.column_names == list(rows[0])
        assert read.column("flops").to_pylist() == [int(row["flops"]) for row in rows]

    def test_the_same_answers_are_asked_for_in_any_order(
        self, made: dict[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = []
        for more in ([], ["--seed", "1"]):
            assert command.main(flags(made, "--json", *more)) == 0
            found.append(json.loads(capsys.readouterr().out)["networks"][0])
        one, other = found
        value = "correlations", "ponder_cost", "people_entropy", "plain"
        for key in value:
            one, other = one[key], other[key]
        assert one[0] == other[0]
        assert one[1:] != other[1:]

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (["--labels", "absent.npy"], "there is no file absent.npy"),
            (["--out", "it.txt"], "--out it.txt must end in .svg"),
            (["--per-image", "it.txt"], "--per-image it.txt must end in .csv or .parquet"),
            (["--per-image", "it.csv", "--out", "it.csv"], "--out and --per-image both name it"),
            (["--per-image", "none/it.csv"], "cannot write none/it.csv: the folder none does"),
            (["--out", "none/it.md"], "cannot write none/it.md: the folder none does not exist"),
            (["--keep", "/proc/it"], "cannot write /proc/it"),
            (["--num-examples", "2"], "has answers on 2 of these 2 images; correlations take 3"),
            (
                ["--out", "it.png", "--taus", *map(str, np.linspace(0.01, 0.05, 11))],
                "at 10 taus each",
            ),
            (["--resamples", "3"], "--resamples must be from 10 to 100000"),
            (["--taus", "5"], "tau"),
            (["--width", "99"], "--width must be from 4.5 to 50"),
            (["--out", "it.png", "--width", "4.4"], "--width must be from 4.5 to 50"),
            (["--seed", "-1"], "--seed must be 0 at least"),
        ],
    )
    def test_bad_flags_are_one_sentence(
        self, made: dict[str, str], more: list[str], said: str,
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(passes, "run_pass", lambda *_, **__: pytest.fail("run before"))
        assert command.main(flags(made, *more)) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1

    def test_answers_in_another_number_are_refused(
        self, made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        """Also where those on the images that are asked for agree."""
        monkeypatch.setattr(passes, "run_pass", lambda *_, **__: pytest.fail("run before"))
        counts, path = np.load(made["counts"]), tmp_path / "other.npy"
        for other in (np.vstack([counts, counts[:1]]), counts[:20]):
            np.save(path, other)
            more = ["--labels", str(path), "--num-examples", "10"]
            assert command.main(flags(made, *more)) == 2
            err = capsys.readouterr().err
            assert f"answers on {len(other)} images, but the whole split has 24: is it" in err
            assert err.count("\n") == 1

    def test_answers_in_another_order_are_refused(
        self, made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(passes, "run_pass", lambda *_, **__: pytest.fail("run before"))
        counts = np.load(made["counts"])
        np.save(tmp_path / "other.npy", np.roll(counts, 7, axis=0))
        assert command.main(flags(made, "--labels", str(tmp_path / "other.npy"))) == 2
        err = capsys.readouterr().err
        assert "agrees with the labels on " in err
        assert err.count("\n") == 1
