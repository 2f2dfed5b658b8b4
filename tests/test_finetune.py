"""Fine-tuning on one's own photographs, and the tutorial that tells how."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from sact_core import networks
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.train import __main__ as command
from sact_core.train import read_metrics
from sact_core.train.recipes import TrainingConfig
from sact_core.train.start import initial_params
from tests.conftest import ROOT
from tests.networks import random_params
from tests.test_photographs import write_photographs

NETWORK = NetworkConfig(
    family="imagenet",
    units_per_block=(2, 1, 2, 1),
    base_channels=4,
    num_classes=5,
    halting="sact",
    halting_bias=-1.0,
)


def write_checkpoint(path: Path, **changes: Any) -> str:
    network = NetworkConfig(**(vars(NETWORK) | changes))
    preprocessing = Preprocessing("imagenet", 32, crop_fraction=0.875)
    params = random_params(np.random.default_rng(0), network)
    made = checkpoints.Checkpoint(network, params, preprocessing, provenance={"tau": 0.03})
    checkpoints.write(path, made)
    return str(path)


@pytest.fixture
def photographs(tmp_path: Path) -> str:
    """A folder without splits: 12 blue and 12 red photographs."""
    write_photographs(tmp_path / "photos", 24)
    return str(tmp_path / "photos")


def config(*argv: str) -> TrainingConfig:
    return command.parse_config(command.build_parser().parse_args(argv))[0]


def test_for_other_classes_the_classifier_is_new(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "it.h5")
    network = NetworkConfig(**(vars(NETWORK) | {"num_classes": 3}))
    plan, said = build_plan(network), []
    recipe = TrainingConfig(network, finetune_from=file, finetune_halting=True, seed=7)
    params = initial_params(recipe, plan, said.append)
    source, fresh = checkpoints.read(file).params, init_params(plan, 7)
    for name, value in params.items():
        ref = fresh if name.startswith("logits/") else source
        np.testing.assert_array_equal(value, ref[name], err_msg=name)
    assert said == [f"{file} knows 5 classes: for 3, the classifier is new"]
    same = TrainingConfig(NETWORK, finetune_from=file, finetune_halting=True)
    np.testing.assert_array_equal(
        initial_params(same, build_plan(NETWORK), said.append)["logits/weight"],
        source["logits/weight"],
    )
    assert len(said) == 1


def test_what_else_does_not_fit_is_refused(
    photographs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_checkpoint(tmp_path / "it.h5")
    argv = ["--preset", "finetune", "--dataset", photographs, "--finetune-from", file]
    argv += ["--batch-size", "8", "--sact-kernel-size", "1", "--run-dir", str(tmp_path / "run")]
    assert command.main([*argv, "--finetune-halting"]) == 2
    said = capsys.readouterr()
    assert "does not fit ResNet-20 SACT" in said.err
    assert "wrong shape: block1/unit1/halting_proba/" in said.err
    assert "logits" not in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_the_checkpoint_says_what_flags_leave_open(tmp_path: Path) -> None:
    argv = ["--preset", "finetune", "--finetune-from", write_checkpoint(tmp_path / "it.h5")]
    made = config(*argv)
    network = NetworkConfig(**(vars(NETWORK) | {"num_classes": 10}))
    assert made.network == network
    assert (made.image_size, made.crop) == (32, "resized")
    assert made.tau == TrainingConfig.tau
    assert config(*argv, "--finetune-halting").tau == 0.03
    other = config(*argv, "--halting", "none", "--image-size", "48", "--finetune-halting")
    assert (other.network.halting, other.image_size, other.tau) == ("none", 48, TrainingConfig.tau)
    assert config(*argv, "--family", "cifar").network == NetworkConfig()
    anytau = {"tau_conditioned": True, "tau_low": 0.01, "tau_high": 0.1, "tau_default": 0.02}
    argv = ["--finetune-from", write_checkpoint(tmp_path / "any.h5", **anytau)]
    found = config(*argv, "--finetune-halting").network
    assert (found.tau_low, found.tau_high, found.tau_default) == (0.01, 0.1, 0.02)
    found = config(*argv, "--tau-range", "0.001", "0.2", "--tau", "0.1").network
    assert (found.tau_low, found.tau_high, found.tau_default) == (0.001, 0.2, 0.1)
    assert not config(*argv, "--halting", "none").network.tau_conditioned


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--holdout", "1.5"], "--holdout must be a share above 0 and below 1, got 1.5"),
        (["--holdout", "0.2", "--train-split", "all"], "--holdout names both splits"),
        (["--batch-size", "64"], "larger than the 20 training images: give a smaller --batch-size"),
    ],
)
def test_a_mistake_is_one_sentence(
    photographs: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    reason: str,
) -> None:
    start = write_checkpoint(tmp_path / "it.h5")
    more = ["--preset", "finetune", "--dataset", photographs, "--finetune-from", start]
    assert command.main([*more, *argv, "--run-dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


# --- the tutorial ---

TUTORIAL = ROOT / "docs" / "finetune.md"


def blocks(language: str) -> list[str]:
    """Code blocks of the tutorial."""
    parts = TUTORIAL.read_text().split("```")[1::2]
    return [part.partition("\n")[2] for part in parts if part.partition("\n")[0] == language]


def commands() -> list[list[str]]:
    """What the tutorial has people type, word by word."""
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_every_command_of_the_tutorial_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a small folder of its names, and a small network in the checkpoint's place."""
    monkeypatch.chdir(tmp_path)
    typed = commands()
    (start,) = {
        words[words.index("--finetune-from") + 1] for words in typed if "--finetune-from" in words
    }
    assert start in networks()  # it is shipped
    anytau = {"tau_conditioned": True, "tau_low": 0.002, "tau_high": 0.1}
    write_checkpoint(Path(start), **(anytau if "anytau" in start else {}))
    for name in ("butterfly", "dalmatian", "grand_piano", "sunflower"):
        write_photographs(tmp_path / "drawn", 12)
        (tmp_path / "drawn" / "blue").rename(tmp_path / "drawn" / "class")
        Path("photos").mkdir(exist_ok=True)
        (tmp_path / "drawn" / "class").rename(Path("photos") / name)
        for i, path in enumerate(sorted(Path("photos", name).iterdir()), 1):
            path.rename(path.with_name(f"image_{i:04d}.jpg"))
    ran = []
    for words in typed:
        assert words[:2] == ["python", "-m"], words
        if words[2] == "sact_core.train":
            words = [*words, "--num-threads", "1", "--device", "cpu"]
        module = importlib.import_module(words[2])
        if not hasattr(module, "main"):
            module = importlib.import_module(f"{words[2]}.__main__")
        code = module.main(words[3:])
        assert code == 0, (words, capsys.readouterr().err)
        ran.append(words[2])
    assert {"sact_core.train", "sact_core.evaluate", "sact_core.ponder"} <= set(ran)
    (run,) = (words[words.index("--run-dir") + 1] for words in typed if "--run-dir" in words)
    row = read_metrics(run)[-1]
    record = checkpoints.read(Path(run) / "last.h5").provenance
    assert record["metrics"]["split"] == "held-out:20%"
    assert record["metrics"]["eval/Accuracy"] == row["eval/Accuracy"]


def test_the_tutorials_folder_is_what_its_script_makes(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    monkeypatch.chdir(tmp_path)
    (script,) = blocks("python")
    exec(compile(script, str(TUTORIAL), "exec"), {})
    counts = {path.name: len(list(path.iterdir())) for path in Path("photos").iterdir()}

    for name, count in counts.items():
        assert f"{name} ({count})" in TUTORIAL.read_text()
