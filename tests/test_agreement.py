"""Evaluation by another network's answers, on photographs without labels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net
from sact_core.evaluate import __main__ as command
from sact_core.measures.metrics import Metrics, rights
from sact_core.plans import build_plan
from tests.exits import exit_code
from tests.networks import random_params
from tests.test_teach import NETWORKS, checkpoint_of, write_photographs

MANY = dataclasses.replace(NETWORKS["imagenet"], num_classes=12)


def write(path: Path, **changes: object) -> checkpoints.Checkpoint:
    """A checkpoint for images of 48 pixels, with parameters that its name draws."""
    config = dataclasses.replace(MANY, **changes)  # type: ignore[arg-type]
    made = checkpoint_of(config)
    params = random_params(np.random.default_rng(len(path.name)), config)
    sized = dataclasses.replace(made.preprocessing, image_size=48)
    made = dataclasses.replace(made, params=params, preprocessing=sized)
    checkpoints.write(path, made)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two networks, one of them for any tau, and 21 photographs, three of them deeper."""
    write(tmp_path / "dense.h5")
    halts = {"halting": "sact", "tau_conditioned": True, "tau_low": 0.01, "tau_high": 1.0}
    write(tmp_path / "halting.h5", **halts)
    write_photographs(tmp_path / "photos", 18)
    write_photographs(tmp_path / "photos" / "any" / "where", 3, 1)
    return tmp_path


def flags(folder: Path, *more: str) -> list[str]:
    return [
        *("--checkpoint", str(folder / "halting.h5"), "--labels-from", str(folder / "dense.h5")),
        *("--dataset", str(folder / "photos"), "--backend", "reference", *more),
    ]


def answers(folder: Path, name: str, tau: float | None = None) -> np.ndarray:
    """Logits [shape=(21, classes)] of a network."""
    net = Net.from_checkpoint(checkpoints.read(folder / name), "reference")
    net = net if tau is None else net.at_tau(tau)
    from sact_core.data.folders import photographs

    images = photographs([folder / "photos"])
    return np.stack([net.run(image[None]).logits[0] for image, *_ in images.read(range(21))])


def test_agreement_by_hand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(flags(folder, "--taus", "0.01,1", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    theirs = answers(folder, "dense.h5").argmax(1)
    for row in found["rows"]:
        ours = answers(folder, "halting.h5", row["tau"])
        assert row["count"] == 21
        assert row["eval/Agreement"] == pytest.approx((ours.argmax(1) == theirs).mean())
        of_5 = np.argsort(-ours, 1)[:, :5] == theirs[:, None]
        assert row["eval/Agreement@5"] == pytest.approx(of_5.any(1).mean())
        assert not {"eval/Accuracy", "eval/Recall@5", "eval/Mean Loss"} & row.keys()
    assert 0 < found["rows"][0]["eval/Agreement@5"] < 1


@pytest.mark.parametrize("more", [[], ["--taus", "2"], ["--sizes", "32,48"]])
def test_tables_say_what_is_right(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    argv = flags(folder, *more, "--num-examples", "5")
    argv[1] = str(folder / "dense.h5")
    if "--taus" in more:
        argv[1] = argv[3] = str(folder / "halting.h5")
        argv[argv.index("2")] = "0.1"  # the range's middle, where the judge stands
    assert command.main(argv) == 0
    said = capsys.readouterr().out
    assert ("agreement" if more else "eval/Agreement") in said
    assert "100.00%" in said
    assert not [word for word in ("ccuracy", "Loss", "ecall") if word in said]


def test_a_taught_network_is_shown_what_was_held_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = checkpoints.read(folder / "halting.h5")
    about = {
        "recipe": {"labels": "none"},
        "data_set": {"name": str(folder / "photos")},
        "metrics": {"split": "held-out:20%"},
    }
    checkpoints.write(folder / "taught.h5", dataclasses.replace(made, provenance=about))
    argv = ["--checkpoint", str(folder / "taught.h5"), "--backend", "reference", "--json"]
    assert command.main([*argv, "--labels-from", str(folder / "dense.h5")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_examples"], found["split"]) == (4, "held-out:20%")
    assert exit_code(command.main, argv) == 2
    assert "taught on photographs without labels: give --dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--labels-from", "{}/few.h5"], "few.h5 cannot say what is right: its classes: 5, the"),
        (["--labels-from", "{}/mobile.h5"], "its preprocessing: mobile, the network's: imagenet"),
        (["--labels-from", "{}/none.h5"], "none.h5"),
        (["--split", "test"], "without labels there is no split 'test'"),
        (["--dataset", "{}/nowhere"], "is no folder"),
    ],
)
def test_a_mistake_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], reason: str
) -> None:
    write(folder / "few.h5", num_classes=5)
    mobile = dataclasses.replace(NETWORKS["mobile"], num_classes=12)
    checkpoints.write(folder / "mobile.h5", checkpoint_of(mobile))
    argv = flags(folder, *(each.replace("{}", str(folder)) for each in argv))
    assert exit_code(command.main, argv) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert len(said.strip().splitlines()) == 1


def test_a_checkpoint_needs_photographs_for_its_judge(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = flags(folder)
    del argv[4:6]
    assert exit_code(command.main, argv) == 2
    assert "--labels-from needs photographs: give --dataset" in capsys.readouterr().err


def test_shares_that_are_right() -> None:
    plan = build_plan(MANY)
    for agreement, names in ((False, ["accuracy", "recall@5"]), (True, ["agreement", "among 5"])):
        assert list(rights(Metrics(plan, agreement=agreement).summary())) == names
