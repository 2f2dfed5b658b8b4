"""A network at several taus against another one on smaller images."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from sact_core.evaluate import __main__ as command
from sact_core.evaluate import rival
from sact_core.evaluate.sizes import Curve
from sact_core.evaluate.taus import TauCurve
from tests.exits import exit_code
from tests.test_agreement import write
from tests.test_teach import write_photographs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two networks of twelve classes, and photographs of each."""
    write(tmp_path / "dense.h5")
    halts = {"halting": "sact", "tau_conditioned": True, "tau_low": 0.01, "tau_high": 1.0}
    write(tmp_path / "halting.h5", **halts)
    for i in range(12):
        write_photographs(tmp_path / "photos" / "test" / f"class {i}", 2, i)
    return tmp_path


def flags(folder: Path, *more: str) -> list[str]:
    return [
        *("--checkpoint", str(folder / "halting.h5"), "--rival", str(folder / "dense.h5")),
        *("--dataset", str(folder / "photos"), "--backend", "reference"),
        *("--taus", "0.01,0.1,1", "--sizes", "32,40,48", *more),
    ]


def test_both_are_what_each_is_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(flags(folder, "--json")) == 0
    both = json.loads(capsys.readouterr().out)
    data = ("--dataset", str(folder / "photos"), "--backend", "reference", "--json")
    alone = ["--checkpoint", str(folder / "halting.h5"), "--taus", "0.01,0.1,1", *data]
    assert command.main(alone) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == both["rows"]
    alone = ["--checkpoint", str(folder / "dense.h5"), "--sizes", "32,40,48", *data]
    assert command.main(alone) == 0
    (theirs,) = json.loads(capsys.readouterr().out)["networks"]
    assert theirs == both["rival"]
    flops, accuracy = (
        [row[name] for row in theirs["sizes"]] for name in ("Total Flops/mean", "eval/Accuracy")
    )
    for row, found in zip(both["rows"], both["ahead_of_rival"], strict=True):
        assert found["tau"] == row["tau"]
        at = row["Total Flops/mean"]
        if not flops[0] <= at <= flops[-1]:
            assert found["ahead"] is None
            continue
        wanted = row["eval/Accuracy"] - np.interp(at, flops, accuracy)
        assert found["ahead"] == pytest.approx(wanted)


class Measured:
    """Metrics of given numbers."""

    def __init__(self, flops: float, accuracy: float) -> None:
        self._found = {"Total Flops/mean": flops, "eval/Accuracy": accuracy}

    def summary(self) -> dict[str, float]:
        return self._found


def test_how_far_ahead() -> None:
    """Sizes in any order; beyond the cheapest and the dearest nothing is said."""
    curve = TauCurve(None, [])  # type: ignore[arg-type]
    points = {0.1: (250.0, 0.7), 0.2: (100.0, 0.5), 0.3: (99.0, 0.5), 0.4: (401.0, 0.9)}
    curve.metrics = {tau: Measured(*each) for tau, each in points.items()}  # type: ignore[misc]
    other = Curve("dense.h5", None)  # type: ignore[arg-type]
    sizes = {48: (400.0, 0.8), 32: (100.0, 0.6)}
    other.metrics = {size: Measured(*each) for size, each in sizes.items()}  # type: ignore[misc]
    found = rival.ahead(curve, other)
    assert found == {0.1: pytest.approx(0.0), 0.2: pytest.approx(-0.1), 0.3: None, 0.4: None}


def test_table_and_plot(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = folder / "rival.svg"
    assert command.main(flags(folder, "--num-examples", "6", "--plot", str(plot))) == 0
    said = capsys.readouterr().out
    assert "The rival, " in said
    assert said.count("against the rival at the same") + said.count("at no such FLOPs") == 3
    assert f"drawn: {plot}" in said
    assert plot.read_text().count("<svg") == 1
    assert exit_code(command.main, flags(folder, "--plot", str(plot))) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("left_out", "more", "reason"),
    [
        ("--sizes", [], "--rival is another network at --sizes beside the --taus: give both"),
        ("--taus", [], "--rival is another network at --sizes beside the --taus: give both"),
        ("", ["--labels-from", "x.h5"], "--rival is set against by labels"),
        ("", ["--sizes", "no"], "--sizes takes sizes in pixels"),
        ("", ["--plot", "x.txt"], "--plot must end in"),
        ("", ["--rival", "none.h5"], "none.h5"),
        ("", ["--rival", "{}/few.h5"], "classes"),
    ],
)
def test_a_mistake_is_one_sentence(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    left_out: str,
    more: list[str],
    reason: str,
) -> None:
    made = write(folder / "few.h5", num_classes=5)
    names = tuple(f"thing {i}" for i in range(5))
    checkpoints.write(folder / "few.h5", dataclasses.replace(made, class_names=names))
    argv = flags(folder, *(each.replace("{}", str(folder)) for each in more))
    if left_out:
        at = argv.index(left_out)
        del argv[at : at + 2]
    assert exit_code(command.main, argv) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert len(said.strip().splitlines()) == 1
