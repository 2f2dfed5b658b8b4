"""The Runs page and ``train --resume`` over folders of runs whose files were damaged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sact_core.train import __main__ as train
from tests.app.pages import run_page
from tests.training import flags, write_data_set

Damage = Callable[[Path], Any]


def text(name: str, words: str | bytes) -> Damage:
    """Put something else in place of a file."""
    data = words if isinstance(words, bytes) else words.encode()
    return lambda run: (run / name).write_bytes(data)


def config(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """Change the recipe."""

    def damage(run: Path) -> None:
        values = json.loads((run / "config.json").read_text())
        changed = change(values)
        (run / "config.json").write_text(json.dumps(values if changed is None else changed))

    return damage


def row(**values: Any) -> Damage:
    """Change the first line of the metrics; ``_`` stands for what a name cannot hold."""

    def damage(run: Path) -> None:
        first, *rest = (run / "metrics.jsonl").read_text().splitlines()
        names = {name.replace("_", "/", 1).replace("_", " "): v for name, v in values.items()}
        changed = json.loads(first) | values | names
        (run / "metrics.jsonl").write_text("\n".join([json.dumps(changed), *rest]) + "\n")

    return damage


def folder(name: str) -> Damage:
    """Put a folder in place of a file."""

    def damage(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return damage


def gone(name: str) -> Damage:
    return lambda run: (run / name).unlink()


DEEP = 50_000 * "[" + 50_000 * "]"
HUGE = 5000 * "9"

CONFIG: dict[str, Damage] = {
    "config_empty": text("config.json", ""),
    "config_half": text("config.json", '{"epochs": 2, "netw'),
    "config_no_text": text("config.json", b"\xff\xfe\x00{"),
    "config_zeros": text("config.json", bytes(300)),
    "config_list": text("config.json", "[1, 2]"),
    "config_number": text("config.json", "7"),
    "config_null": text("config.json", "null"),
    "config_deep": text("config.json", DEEP),
    "config_deep_inside": text("config.json", '{"network": ' + DEEP + "}"),
    "config_huge_number": text("config.json", '{"epochs": ' + HUGE + "}"),
    "config_nothing_inside": text("config.json", "{}"),
    "config_epochs_text": config(lambda c: c.update(epochs="many")),
    "config_epochs_null": config(lambda c: c.update(epochs=None)),
    "config_epochs_list": config(lambda c: c.update(epochs=[])),
    "config_epochs_nan": config(lambda c: c.update(epochs=float("nan"))),
    "config_epochs_negative": config(lambda c: c.update(epochs=-1)),
    "config_epochs_1e400": config(lambda c: c.update(epochs=10**400)),
    "config_steps_object": config(lambda c: c.update(max_steps={"a": 1})),
    "config_network_list": config(lambda c: c.update(network=[])),
    "config_network_text": config(lambda c: c.update(network="resnet")),
    "config_units_number": config(lambda c: c["network"].update(units_per_block=3)),
    "config_units_texts": config(lambda c: c["network"].update(units_per_block=["a"])),
    "config_family_list": config(lambda c: c["network"].update(family=["cifar"])),
    "config_amp_object": config(lambda c: c.update(amp={})),
    "config_more_keys": config(lambda c: c.update({f"k{i}": i for i in range(3000)})),
    "config_long_value": config(lambda c: c.update(dataset=10**6 * "x")),
    "config_surrogate": text("config.json", '{"dataset": "\\ud800"}'),
}
IMAGES: dict[str, Damage] = {
    "images_half": text("images.json", '{"train'),
    "images_deep": text("images.json", DEEP),
    "images_no_text": text("images.json", b"\xff\xfe"),
    "images_list": text("images.json", "[]"),
    "images_sizes_texts": text("images.json", '{"train": {"size": "a"}, "test": {"size": "b"}}'),
    "images_sizes_lists": text("images.json", '{"train": {"size": []}, "test": {"size": {}}}'),
    "images_folder": folder("images.json"),
}
#: What a run goes on without: the metrics are in the state too, and are written anew.
METRICS: dict[str, Damage] = {
    "metrics_gone": gone("metrics.jsonl"),
    "metrics_empty": text("metrics.jsonl", ""),
    "metrics_half": text("metrics.jsonl", '{"epoch": 1, "st'),
    "metrics_no_text": text("metrics.jsonl", b"\xff\xfe{}\n"),
    "metrics_zeros": text("metrics.jsonl", bytes(300)),
    "metrics_deep": text("metrics.jsonl", DEEP),
    "metrics_lists": text("metrics.jsonl", "[]\n[1]\n3\nnull\n"),
    "metrics_empty_rows": text("metrics.jsonl", "{}\n{}\n"),
    "metrics_huge_number": text("metrics.jsonl", '{"epoch": ' + HUGE + "}\n"),
    "metrics_step_list": row(step=[1]),
    "metrics_step_object": row(step={"a": 1}),
    "metrics_step_text": row(step="four"),
    "metrics_epoch_text": row(epoch="one"),
    "metrics_epoch_list": row(epoch=[]),
    "metrics_epoch_null": row(epoch=None),
    "metrics_epoch_1e400": row(epoch=10**400),
    "metrics_loss_text": row(train_Total_Loss="low"),
    "metrics_accuracy_text": row(eval_Accuracy="all"),
    "metrics_accuracy_null": row(eval_Accuracy=None),
    "metrics_accuracy_infinite": row(eval_Accuracy=float("inf")),
    "metrics_share_object": row(flops_share={"a": 1}),
    "metrics_units_true": row(block_1_num_units_mean=True),
    "watch_step_list": text("watch.jsonl", '{"step": [1]}\n'),
    "watch_half": text("watch.jsonl", '{"step": 1}\n{"st'),
    "command_no_text": text("command.txt", b"\xff\xfe\x00"),
    "metrics_folder": folder("metrics.jsonl"),  # not written again where all steps are taken
    "last_h5_text": text("last.h5", "no checkpoint"),
}
FOLDERS: dict[str, Damage] = {"state_folder": folder("state.pt")}
DAMAGES = CONFIG | IMAGES | METRICS | FOLDERS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A data set, and a run over it that is half done."""
    base = tmp_path_factory.mktemp("damaged")
    data_set = write_data_set(base / "data", 48)
    argv = flags(data_set, base / "run", "--epochs", "2")
    assert train.main(argv) == 0
    return data_set, base / "run"


@pytest.fixture
def damaged(
    request: pytest.FixtureRequest, made: tuple[str, Path], tmp_path: Path
) -> tuple[str, Path]:
    run = tmp_path / "runs" / "one"
    shutil.copytree(made[1], run)
    DAMAGES[request.param](run)
    return made[0], run


@pytest.mark.parametrize("damaged", DAMAGES, indirect=True)
@pytest.mark.usefixtures("app_env")
def test_the_page_shows_a_damaged_run(damaged: tuple[str, Path]) -> None:
    os.environ["SACT_RUNS_DIR"] = str(damaged[1].parent)
    at = run_page("runs")
    assert not at.exception
    assert not at.error
    assert len(at.warning) <= 1


@pytest.mark.parametrize("damaged", CONFIG | IMAGES | FOLDERS, indirect=True)
def test_a_damaged_run_does_not_go_on(
    damaged: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data_set, run = damaged
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert train.main([*flags(data_set, run, "--epochs", "2"), "--resume"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert len(said.err) < 2000
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize("damaged", METRICS, indirect=True)
def test_a_run_goes_on_without_its_metrics(
    damaged: tuple[str, Path], made: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data_set, run = damaged
    assert train.main([*flags(data_set, run, "--epochs", "2"), "--resume"]) == 0
    assert "going on from step" in capsys.readouterr().out
