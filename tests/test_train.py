"""Training: runs that survive, what they leave behind and what they tell.

No data set is read: images are made here. The runs that are killed share one
process, `tests.survivor`, so that imports are paid once.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sact_core import checkpoint as checkpoints
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.plans import build_plan
from sact_core.processes import Processes
from sact_core.train import __main__ as command
from sact_core.train import read_metrics, report
from sact_core.train.events import EventWriter
from sact_core.train.loop import Trainer
from sact_core.train.recipes import (
    TrainingConfig,
)
from sact_core.train.run_dir import RunDir, RunError
from tests.conftest import ROOT
from tests.training import TINY, examples, flags, write_data_set

TIMES = ("train/images_per_second", "train/share_waiting_for_data", "train/hours")


def comparable(run_dir: Path) -> dict[str, Any]:
    """All that a finished run leaves behind, but for times."""
    state = RunDir(run_dir).load_state()
    assert state is not None
    found = {f"parameter {k}": v.numpy().tobytes() for k, v in state["network"].items()}
    for number, buffers in state["optimiser"]["state"].items():
        found[f"momentum {number}"] = buffers["momentum_buffer"].numpy().tobytes()
    for key, value in state.get("average", {"network": {}})["network"].items():
        found[f"average {key}"] = value.numpy().tobytes()
    for name in ("last", "best"):
        params = checkpoints.read(run_dir / f"{name}.h5").params
        found |= {f"{name} {k}": v.tobytes() for k, v in params.items()}
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(run_dir)]
    return found | {"rows": rows}


# --- whole runs ---


def test_a_run_learns_and_leaves_everything_behind(tmp_path: Path) -> None:
    config = TrainingConfig(
        TINY, epochs=6, batch_size=8, learning_rate=0.02, eval_every=2, tau=0.01, flip=False
    )
    run_dir = RunDir(tmp_path / "run")
    run_dir.start(config, "python -m sact_core.train …", False)
    said: list[str] = []
    trainer = Trainer(config, examples(96), examples(48, 1), run_dir, say=said.append)
    last = trainer.run()
    run_dir.close()
    rows = read_metrics(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows] == [12, 24, 36, 48, 60, 72]
    assert ["eval/Accuracy" in row for row in rows] == [False, True] * 3
    assert rows[-1] == json.loads(json.dumps(last))
    assert rows[-1]["train/Total Loss"] < rows[0]["train/Total Loss"]
    assert last["eval/Accuracy"] > 0.6
    assert 0 <= last["train/share_waiting_for_data"] <= 1
    assert last["flops_share"] == last["Total Flops/mean"] / trainer.dense_flops
    assert len([line for line in said if line.startswith("epoch")]) == 6
    made = checkpoints.read(tmp_path / "run" / "last.h5")
    record = made.provenance
    assert (record["tau"], record["seed"], record["epochs"], record["steps"]) == (0.01, 0, 6, 72)
    assert record["steps_planned"] == 72
    assert record["data_set"]["train_count"] == 96
    assert record["metrics"]["count"] == 48
    assert record["metrics"]["eval/Accuracy"] == last["eval/Accuracy"]
    assert made.preprocessing == Preprocessing("cifar", 8)
    assert made.class_names == ("flat", "upper", "lower")


@pytest.fixture(scope="module")
def survivors(
    noise_data_set: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """Folder of runs, and by name what each start of a run said."""
    folder = tmp_path_factory.mktemp("runs")
    # 2 epochs of 4 steps. Files are written in this order: command, images and config;
    # 4 states; checkpoint last, best, metrics, state; 4 states; the same again.
    stories: dict[str, list[tuple[str, int]]] = {
        "whole": [("none", 0)],
        "killed_first": [("kill", 1), ("none", 0)],
        "killed_often": [("kill", 3), ("kill", 2), ("kill", 1), ("kill_half", 2), ("none", 0)],
        "killed_in_images": [("kill_half", 2), ("none", 0)],
        "killed_in_config": [("kill_half", 3), ("none", 0)],
        "killed_in_state": [("kill_half", 6), ("none", 0)],
        "killed_in_checkpoint": [("kill_half", 8), ("none", 0)],
        "killed_in_best": [("kill_whole", 9), ("none", 0)],
        "killed_in_metrics": [("kill_whole", 10), ("none", 0)],
        "killed_after_metrics": [("kill_renamed", 10), ("none", 0)],
        "killed_last": [("kill", 8), ("none", 0)],
        "interrupted": [("interrupt", 6), ("none", 0)],
        "interrupted_last": [("interrupt", 8), ("none", 0)],
        "full": [("full", 7), ("none", 0)],
        "full_checkpoint": [("full", 8), ("none", 0)],
        "nan": [("nan", 6)],
        "nan_at_once": [("nan", 1)],
        "any_tau_whole": [("none", 0)],
        "any_tau_killed": [("kill", 3), ("kill_half", 2), ("none", 0)],
        # Smaller crops for 5 of 8 steps: killed before, at and behind the switch.
        "small_whole": [("none", 0)],
        "small_killed": [("kill", 3), ("kill", 3), ("kill", 2), ("none", 0)],
        "ema_whole": [("none", 0)],
        "ema_killed": [("kill", 3), ("kill_half", 2), ("none", 0)],
    }
    own_flags = {
        "any_tau": ("--tau-range", "0.005", "0.5"),
        "small": ("--first-size", "4", "--first-share", "0.6"),
        "ema": ("--ema", "0.9"),
    }
    jobs = [
        {
            "argv": flags(
                noise_data_set,
                folder / name,
                *("--epochs", "2"),
                *own_flags.get(name.rpartition("_")[0], ()),
                *(["--resume"] if i else []),
            ),
            "harm": harm,
            "at": at,
        }
        for name, story in stories.items()
        for i, (harm, at) in enumerate(story)
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.survivor"],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    results = iter(json.loads(done.stdout))
    return folder, {name: [next(results) for _ in story] for name, story in stories.items()}


Survivors = tuple[Path, dict[str, list[dict[str, Any]]]]


@pytest.mark.parametrize(
    "name",
    [
        "killed_first",
        "killed_often",
        "killed_in_images",
        "killed_in_config",
        "killed_in_state",
        "killed_in_checkpoint",
        "killed_in_best",
        "killed_in_metrics",
        "killed_after_metrics",
        "killed_last",
        "interrupted",
        "interrupted_last",
        "full",
        "full_checkpoint",
    ],
)
def test_a_run_that_was_stopped_ends_bit_identical(survivors: Survivors, name: str) -> None:
    folder, said = survivors
    assert said["whole"][0]["code"] == 0, said["whole"]
    *stops, last = said[name]
    expected = {"killed": -signal.SIGKILL, "interrupted": 130, "full": 2}[name.split("_")[0]]
    assert [stop["code"] for stop in stops] == [expected] * len(stops), stops
    assert last["code"] == 0, last
    ref, comp = comparable(folder / "whole"), comparable(folder / name)
    assert comp.keys() == ref.keys()
    assert [key for key in ref if comp[key] != ref[key]] == []
    assert not list((folder / name).glob(".*.tmp"))


def test_a_run_for_every_tau_ends_bit_identical_too(survivors: Survivors) -> None:
    folder, said = survivors
    assert [start["code"] for start in said["any_tau_killed"]] == [-9, -9, 0]
    ref, comp = comparable(folder / "any_tau_whole"), comparable(folder / "any_tau_killed")
    assert comp == ref
    assert any(name.endswith("/tau_shift") for name in ref)
    assert "eval@0.5/Accuracy" in ref["rows"][-1]


def test_a_run_on_smaller_crops_at_first_ends_bit_identical_too(survivors: Survivors) -> None:
    folder, said = survivors
    assert [start["code"] for start in said["small_killed"]] == [-9, -9, -9, 0]
    resumed = [
        start["out"].split("going on from step ")[1][0] for start in said["small_killed"][1:]
    ]
    assert resumed == ["2", "4", "5"]
    ref, comp = comparable(folder / "small_whole"), comparable(folder / "small_killed")
    assert comp == ref
    assert comp != comparable(folder / "whole")


def test_a_run_that_averages_its_weights_ends_bit_identical_too(survivors: Survivors) -> None:
    folder, said = survivors
    assert [start["code"] for start in said["ema_killed"]] == [-9, -9, 0]
    ref, comp = comparable(folder / "ema_whole"), comparable(folder / "ema_killed")
    assert comp == ref
    plain = comparable(folder / "whole")  # which it follows without a change
    kept = [key for key in plain if key.startswith(("parameter ", "momentum "))]
    assert [key for key in kept if ref[key] != plain[key]] == []
    assert ref["last stem/weight"] != plain["last stem/weight"]


def test_ctrl_c_says_how_to_go_on(survivors: Survivors) -> None:
    _, said = survivors
    stop, last = said["interrupted"]
    assert stop["err"] == ""
    line = stop["out"].splitlines()[-1]
    assert line.startswith("stopped and saved; go on with: python -m sact_core.train --dataset ")
    assert line.endswith("--resume")
    assert "going on from step 6 of 8" in last["out"]


def test_a_full_disk_is_one_sentence(survivors: Survivors) -> None:
    for name, file in (("full", "state.pt"), ("full_checkpoint", "last.h5")):
        stop, _ = survivors[1][name]
        assert stop["err"].startswith("error: cannot write "), stop["err"]
        assert stop["err"].endswith(f"{file}: the disk is full\n")
        assert stop["err"].count("\n") == 1


def test_a_loss_that_is_no_number_keeps_the_last_good_state(survivors: Survivors) -> None:
    folder, said = survivors
    (stop,) = said["nan"]
    assert stop["code"] == 1
    assert "no longer finite at step 6; the last good state is kept" in stop["out"]
    state = RunDir(folder / "nan").load_state()
    assert state is not None
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 1)
    assert all(torch.isfinite(value).all() for value in state["network"].values())
    (stop,) = said["nan_at_once"]
    assert stop["code"] == 1
    assert "no state was kept yet" in stop["out"]


def test_a_run_goes_on_only_as_it_began(
    survivors: Survivors, noise_data_set: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = survivors[0] / "whole"
    assert command.main(flags(noise_data_set, run_dir, "--epochs", "2")) == 2
    assert "holds a run already: go on with --resume" in capsys.readouterr().err
    more = ("--epochs", "2", "--tau", "0.5", "--units", "3", "--resume")
    assert command.main(flags(noise_data_set, run_dir, *more)) == 2
    said = capsys.readouterr().err
    assert "network.units_per_block [2, 2, 2] -> [3, 3, 3], tau 0.01 -> 0.5" in said
    assert said.count("\n") == 1


# --- the run directory ---


def test_files_of_others_in_a_run_directory_stay(tmp_path: Path) -> None:
    theirs = [tmp_path / name for name in (".draft.tmp", ".last.h5.backup12.tmp", "notes.txt")]
    left = tmp_path / ".state.pt.sact-ab12_xyz.tmp"
    for path in [*theirs, left]:
        path.write_bytes(b"precious")
    RunDir(tmp_path).start(TrainingConfig(TINY), "it", False)
    assert all(path.read_bytes() == b"precious" for path in theirs)
    assert not left.exists()


@pytest.mark.parametrize("name", ["last.h5", "best.h5", "state.pt", "metrics.jsonl"])
def test_what_no_recipe_tells_of_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    for resume in (False, True):
        with pytest.raises(RunError, match=rf"{name} exists, but no config.json tells of its run"):
            RunDir(tmp_path).start(TrainingConfig(TINY), "it", resume)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_directory_is_for_one_process(tmp_path: Path) -> None:
    config = TrainingConfig(TINY)
    one = RunDir(tmp_path / "run")
    one.start(config, "it", False)
    with pytest.raises(RunError, match="another process is training"):
        RunDir(tmp_path / "run").start(config, "it", True)
    one.close()
    RunDir(tmp_path / "run").start(config, "it", True)


def test_a_recipe_of_an_earlier_version_has_the_defaults(tmp_path: Path) -> None:
    config = TrainingConfig(TINY)
    run_dir = RunDir(tmp_path)
    run_dir.start(config, "it", False)
    run_dir.close()
    values = json.loads((tmp_path / "config.json").read_text())
    del values["eval_every"], values["image_size"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    RunDir(tmp_path).start(config, "it", True)


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        RunDir(tmp_path).start(TrainingConfig(TINY), "it", True)
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 no state")
    with pytest.raises(RunError, match=r"state\.pt is damaged"):
        RunDir(tmp_path).load_state()


def test_a_folder_that_cannot_be_made_is_one_sentence(
    noise_data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert command.main(flags(noise_data_set, tmp_path / "file" / "run")) == 2
    said = capsys.readouterr().err
    assert "cannot use" in said
    assert said.count("\n") == 1


def test_half_written_metrics_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "step": 4}\n{"epoch": 2, "step": 8}\n{"e')
    (tmp_path / "watch.jsonl").write_text('{"step": 8, "eval/Accuracy": 0.5}\n7\n')
    assert read_metrics(tmp_path) == [
        {"epoch": 1, "step": 4},
        {"epoch": 2, "step": 8, "eval/Accuracy": 0.5},
    ]
    assert read_metrics(tmp_path / "none") == []


# --- what people are told ---


def test_dead_halting_is_told_with_what_to_try() -> None:
    plan = build_plan(NetworkConfig(units_per_block=(3, 3, 1), halting="sact"))
    row = {"block_1/num_units_mean": 1.0, "block_2/num_units_mean": 3.0}
    row |= {"block_3/num_units_mean": 1.0}  # a block of one unit has nothing to decide
    found = report.warnings(plan, row)
    assert len(found) == 2
    assert "block1 is dead: every position stops at unit 1" in found[0]
    assert "lower --halting-bias" in found[0]
    assert "block2 is dead: no position ever stops" in found[1]
    assert "higher --halting-bias" in found[1]
    assert report.warnings(plan, row | {f"block_{b}/num_units_mean": 2.0 for b in (1, 2)}) == []


def test_the_bar_shows_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    bar = report.Bar(20, 10, 0, shown=True)
    running = {"images/s": 512.4, "loss": 1.25, "accuracy": 0.5, "flops": 0.61, "waited": 0.0}
    bar._bar.mininterval = bar._bar.miniters = 0
    bar.update(1, 11, running)
    bar._bar.refresh()
    bar.close()
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "11/20" in shown
    assert "512 images/s, loss 1.250, accuracy 50.0%, FLOPs 61% of dense" in shown


def test_an_epoch_without_evaluation_is_summed_up() -> None:
    row = {"epoch": 3, "train/Total Loss": 1.0, "train/Accuracy": 0.5}
    row |= {"train/images_per_second": 100.0, "train/share_waiting_for_data": 0.01}
    assert report.summary(row) == (
        "epoch 3: loss 1.0000, accuracy 50.00%; 100 images/s, 1.0% of it waiting for data"
    )


def read_events(path: Path) -> list[tuple[int, dict[str, float]]]:
    """Steps and scalars of an event file; checks every checksum."""
    import google_crc32c

    def checksum(data: bytes) -> int:
        value = google_crc32c.value(data)
        return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF

    def fields(data: bytes) -> list[tuple[int, Any]]:
        found, at = [], 0

        def varint() -> int:
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return value

        while at < len(data):
            key = varint()
            size = {1: 8, 5: 4}.get(key & 7)
            if key & 7 == 0:
                found.append((key >> 3, varint()))
                continue
            size = varint() if size is None else size
            found.append((key >> 3, data[at : at + size]))
            at += size
        return found

    data, at, events = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = data[at + 12 : at + 12 + length]
        assert struct.unpack_from("<I", data, at + 8)[0] == checksum(data[at : at + 8])
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == checksum(event)
        at += length + 16
        parts = dict(fields(event))
        scalars = {}
        for _, value in fields(parts.get(5, b"")):
            inside = dict(fields(value))
            scalars[inside[1].decode()] = struct.unpack("<f", inside[2])[0]
        events.append((parts.get(2, 0), scalars))
    return events


def test_events_hold_the_metrics(survivors: Survivors, tmp_path: Path) -> None:
    folder, _ = survivors
    (file,) = (folder / "whole").glob("events.*")
    events = read_events(file)
    row = read_metrics(folder / "whole")[-1]
    step, scalars = events[-1]
    assert step == row["step"] == 8
    assert scalars == {k: np.float32(v) for k, v in row.items() if k not in ("epoch", "step")}
    first, second = sorted((folder / "interrupted").glob("events.*"))
    assert first != second
    assert read_events(second)[1] == (7, {})  # older events from step 7 on count no more
    writer = EventWriter(tmp_path)
    writer.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match=r"cannot write .*none.*: no such file"):
        EventWriter(tmp_path / "none").write(1, {"loss": 1.0})


# --- two processes ---


def test_commands_name_torchrun_where_it_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Processes().command("train", ["--tau", "1"]) == "python -m sact_core.train --tau 1"
    two = Processes(0, 2).command("train", ["--resume"])
    assert two == "torchrun --nproc-per-node=2 --local-addr=127.0.0.1 -m sact_core.train --resume"
    for name, value in (("LOCAL_WORLD_SIZE", "2"), ("GROUP_RANK", "0"), ("MASTER_ADDR", "10.0.0.1"),
                        ("MASTER_PORT", "29500")):  # fmt: skip
        monkeypatch.setenv(name, value)
    assert Processes(0, 4).command("train", []) == (
        "torchrun --nproc-per-node=2 --nnodes=2 --node-rank=0 --master-addr=10.0.0.1 "
        "--master-port=29500 -m sact_core.train"
    )


def test_an_uneven_share_is_refused(
    noise_data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "5")
    assert command.main(flags(noise_data_set, tmp_path / "run")) == 2
    assert "24 images cannot be shared by 5 processes" in capsys.readouterr().err


def test_two_processes_follow_the_loss_curve_of_one(tmp_path: Path) -> None:
    data_set = write_data_set(tmp_path / "noise", 256)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def argv(name: str) -> Sequence[str]:
        more = ("--epochs", "6", "--batch-size", "64", "--crop-padding", "1", "--ema", "0.9")
        return flags(data_set, tmp_path / name, *more, "--halting", "sact")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
            *("--master-addr=127.0.0.1", f"--master-port={port}", "-m", "tests.pair"),
            *argv("two"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done: ") == 1  # the first process speaks
    assert "Warning" not in done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("["))
    one_average, other_average = json.loads(line)
    assert one_average == other_average
    before = torch.get_num_threads()
    assert command.main(list(argv("one"))) == 0
    torch.set_num_threads(before)
    one, two = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [row["step"] for row in two] == [row["step"] for row in one]
    losses = [[row["train/Total Loss"] for row in rows] for rows in (one, two)]
    assert losses[0][-1] < 0.7 * losses[0][0]
    # Equal images and averaged gradients; each process normalises by its own half.
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)
    # Of the averages of their weights.
    accuracies = [row["eval/Accuracy"] for row in (one[-1], two[-1])]
    assert min(accuracies) > 0.8
    assert not math.isclose(losses[1][0], losses[0][0], rel_tol=1e-9)


def test_without_a_compiler_nothing_is_begun(noise_data_set: str, tmp_path: Path) -> None:
    """A second try, without --compile, is not kept out by the first one's folder."""
    bare = tmp_path / "bin"
    bare.mkdir()
    environment = {
        **os.environ,
        "PATH": str(bare),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
        "CXX": "g++",
    }
    argv = flags(noise_data_set, tmp_path / "run", "--max-steps", "1")

    def train(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sact_core.train", *argv, *more]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    done = train("--compile")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("error: --compile finds nothing to compile with (")
    assert "or leave --compile out" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
    assert train().returncode == 0
