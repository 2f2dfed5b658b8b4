"""The family's runs: in order, finished ones skipped, half-done ones resumed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from sact_core.checkpoint import Checkpoint, read, read_header, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "pretrained"))
import train_family
from train_family import FAMILY, Run, Shop, in_order, train_all

FIRST = Run("first", ("--epochs", "2"))
SECOND = Run("second", (), start="first", teacher="first", ships="net", seed=3)
OTHER = Run("other", (), start="first")


def leave(path, steps, planned=10, command="train"):
    """Leave a checkpoint as a run of so many steps does."""
    config = NetworkConfig("cifar", (1, 1, 1), 4)
    provenance = {"steps": steps, "steps_planned": planned, "command": command}
    path.parent.mkdir(parents=True, exist_ok=True)
    params = init_params(build_plan(config), seed=steps)
    write(path, Checkpoint(config, params, Preprocessing("cifar", 32), provenance=provenance))


class Trainer:
    """Stands in for the training command."""

    def __init__(self, code=0):
        self.code = code
        self.seen = []

    def __call__(self, words):
        self.seen.append(words)
        folder = words[words.index("--run-dir") + 1]
        if self.code == 0:
            leave(train_family.Path(folder) / "last.h5", 10, command=f"train --run-dir {folder}")
        return self.code


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path / "runs" / "family", tmp_path / "pretrained", ("--num-threads", "1"))


def no_curve(path):
    raise AssertionError(f"{path} is not for any tau")


def names(trainer):
    return [words[1].rsplit("/", 1)[1] for words in trainer.seen]


def test_what_a_run_needs_comes_before_it():
    assert in_order((OTHER, SECOND, FIRST), ()) == [FIRST, OTHER, SECOND]
    assert in_order((OTHER, SECOND, FIRST), ["second"]) == [FIRST, SECOND]


@pytest.mark.parametrize(
    ("family", "wanted", "message"),
    [
        ((FIRST,), ["third"], "no run 'third': choose from first"),
        ((Run("a", (), start="b"), Run("b", (), teacher="a")), [], "a -> b -> a"),
    ],
)
def test_an_order_that_cannot_be_is_told(family, wanted, message):
    with pytest.raises(ValueError, match=message):
        in_order(family, wanted)


def test_every_run_of_the_family_can_be_reached():
    order = in_order(FAMILY, ())
    assert sorted(run.name for run in order) == sorted(run.name for run in FAMILY)
    assert len({run.name for run in FAMILY}) == len(FAMILY)
    ships = [run.ships for run in FAMILY if run.ships and not run.repeats]
    assert len(set(ships)) == len(ships)


def test_every_run_is_a_recipe():
    from sact_core.train.options import build_parser, parse_config

    for run in FAMILY:
        taught = ["--distill-from", "teacher.h5"] if run.teacher else []
        taught += ["--distill-also", "other.h5"] if run.also else []
        config, _ = parse_config(build_parser().parse_args([*run.flags, *taught]))
        assert config.crop_border == "reflect", run.name
        assert run.repeats == (run.seed != 1), run.name
        if run.also:
            assert config.distill_views, run.name
            assert config.epochs % config.distill_views == 0, run.name


def test_a_run_starts_where_another_ended_and_is_shipped(shop):
    trainer = Trainer()
    assert train_all([FIRST, SECOND], shop, trainer, no_curve, lambda text: None) == 0
    runs = shop.runs
    assert trainer.seen == [
        ["--run-dir", f"{runs}/first", "--epochs", "2", "--seed", "1", "--num-threads", "1"],
        [
            "--run-dir", f"{runs}/second", "--seed", "3",
            "--finetune-from", f"{runs}/first/last.h5",
            "--distill-from", f"{runs}/first/last.h5", "--num-threads", "1",
        ],
    ]  # fmt: skip
    assert (shop.pretrained / "net.h5").read_bytes() == shop.last("second").read_bytes()
    assert [path.name for path in shop.pretrained.iterdir()] == ["net.h5"]


def test_finished_runs_are_skipped_and_half_done_ones_resumed(shop):
    leave(shop.last("first"), 10)
    leave(shop.last("second"), 4)
    (shop.runs / "second" / "config.json").write_text("{}")
    assert [shop.state(run) for run in (FIRST, SECOND, OTHER)] == [
        "done", "started, 4 of 10 steps", "not started",
    ]  # fmt: skip
    trainer = Trainer()
    assert train_all([FIRST, SECOND], shop, trainer, no_curve, lambda text: None) == 0
    assert names(trainer) == ["second"]
    assert trainer.seen[0][-1] == "--resume"


@pytest.mark.parametrize(("code", "told"), [(130, "stopped"), (1, "failed (exit code 1)")])
def test_a_run_that_does_not_end_stops_the_rest(shop, code, told):
    said = []
    trainer = Trainer(code)
    assert train_all([FIRST, SECOND], shop, trainer, no_curve, said.append) == code
    assert names(trainer) == ["first"]
    assert said[-1] == f"first {told}; the same command goes on with it"
    assert not shop.pretrained.exists()


def test_a_run_whose_folder_is_gone_comes_back_from_its_shipped_file(shop):
    leave(shop.last("first"), 10)
    made = shop.pretrained / "net.h5"
    leave(made, 10, command="python -m sact_core.train --run-dir runs/family/second --seed 3")
    trainer = Trainer()
    assert train_all([FIRST, SECOND], shop, trainer, no_curve, lambda text: None) == 0
    assert trainer.seen == []
    assert read(shop.last("second")).provenance == read(made).provenance


@pytest.mark.parametrize("folder", ["runs/second", "runs/family/other"])
def test_a_shipped_file_of_another_run_is_made_anew(shop, folder):
    leave(shop.last("first"), 10)
    leave(shop.pretrained / "net.h5", 10, command=f"train --run-dir {folder}")
    trainer = Trainer()
    assert train_all([FIRST, SECOND], shop, trainer, no_curve, lambda text: None) == 0
    assert names(trainer) == ["second"]


def test_scales_that_a_shipped_file_was_given_stay(shop):
    leave(shop.last("first"), 10)
    leave(shop.last("second"), 10)
    assert train_all([FIRST, SECOND], shop, Trainer(), no_curve, lambda text: None) == 0
    made = shop.pretrained / "net.h5"
    with h5py.File(made, "a") as file:
        file.attrs["int8"] = "scales"
    kept = made.read_bytes()
    assert train_all([FIRST, SECOND], shop, Trainer(), no_curve, lambda text: None) == 0
    assert made.read_bytes() == kept


AGAIN = Run("second_seed4", (), start="first", ships="net", seed=4, repeats=True)


def test_only_the_figures_of_a_further_seed_are_kept(shop):
    trainer = Trainer()
    for _ in range(2):
        assert train_all([FIRST, SECOND, AGAIN], shop, trainer, no_curve, lambda text: None) == 0
    assert names(trainer) == ["first", "second", "second_seed4"]
    assert sorted(path.name for path in shop.pretrained.iterdir()) == ["net.h5", "net.seed4.json"]
    record = json.loads((shop.pretrained / "net.seed4.json").read_text())
    header = read_header(shop.last("second_seed4"))
    assert record == {
        "content_hash": header.content_hash, "command": header.provenance["command"],
    }  # fmt: skip
    shutil.rmtree(shop.runs)  # as for whoever clones: the seed is not trained again for nothing
    assert shop.state(AGAIN) == "done"
    assert train_all([AGAIN], shop, trainer, no_curve, lambda text: None) == 0
    assert len(trainer.seen) == 3


def test_a_network_for_any_tau_ships_with_its_curve(shop):
    config = NetworkConfig(
        "cifar", (2, 2, 2), 4, halting="sact", tau_conditioned=True, tau_low=0.01, tau_high=0.1
    )
    for name in ("second", "second_seed4"):
        made = shop.last(name)
        made.parent.mkdir(parents=True)
        params = init_params(build_plan(config), seed=len(name))
        record = {"steps": 10, "steps_planned": 10, "command": f"train --run-dir {made.parent}"}
        write(made, Checkpoint(config, params, Preprocessing("cifar", 32), provenance=record))
    asked = []

    def curve_of(path):
        asked.append(path)
        return {"content_hash": read_header(path).content_hash, "rows": [len(asked)]}

    for _ in range(2):  # measured once
        assert train_all([SECOND, AGAIN], shop, Trainer(), curve_of, lambda text: None) == 0
    assert asked == [shop.pretrained / "net.h5", shop.last("second_seed4")]
    assert json.loads((shop.pretrained / "net.curve.json").read_text())["rows"] == [1]
    assert json.loads(shop.record(AGAIN).read_text())["curve"]["rows"] == [2]
    leave(shop.last("second"), 10)  # another network: the curve is that of the old one
    write(shop.last("second"), Checkpoint(config, params, Preprocessing("cifar", 32),
          provenance={"steps": 1, "steps_planned": 1}))  # fmt: skip
    train_all([SECOND], shop, Trainer(), curve_of, lambda text: None)
    assert json.loads((shop.pretrained / "net.curve.json").read_text())["rows"] == [3]


def test_the_command_trains_two_networks(tmp_path, rng, monkeypatch):
    for split, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    tiny = ("--dataset", str(tmp_path / "photos"), "--units", "1", "--base-channels", "4")
    tiny += ("--batch-size", "4", "--max-steps", "2", "--schedule", "onecycle")
    family = [
        Run("first", tiny),
        Run("second", (*tiny, "--halting", "none"), start="first", teacher="first", ships="net"),
    ]
    flags = ["--run-dir", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    flags += ["--num-threads", "1", "second"]
    monkeypatch.chdir(ROOT)
    assert train_family.main(flags, family) == 0
    shipped = read_header(tmp_path / "out" / "net.h5").provenance
    assert shipped["recipe"]["finetune_from"] == str(tmp_path / "runs" / "first" / "last.h5")
    assert shipped["steps"] == shipped["steps_planned"] == 2


def test_a_wrong_hour_is_one_sentence():
    done = subprocess.run(
        [sys.executable, "pretrained/train_family.py", "--until", "half past nine"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "'half past nine' is no time like 21:30" in done.stderr
    assert done.stderr.count("\n") == 1
