"""Run directories as the app reads them."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest

from app.runs import run_dir
from sact_core.checkpoint import write
from sact_core.config import NetworkConfig
from sact_core.train import RunDir, is_training
from tests.app.conftest import make_checkpoint


class TestTrainingRuns:
    def make(self, folder, name, rows=3):
        path = folder / name
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps({"network": {"halting": "sact"}, "epochs": 5}))
        (path / "command.txt").write_text("python -m sact_core.train --tau 0.01\n")
        lines = [
            {"epoch": e + 1, "train/Total Loss": 2 - e / 5, "eval/Accuracy": 0.5 + e / 10,
             "flops_share": 0.9, "block1/num_units_mean": 2.0 + e}
            for e in range(rows)
        ]  # fmt: skip
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    def test_reads_a_run(self, app_env, tmp_path):
        self.make(tmp_path / "runs", "one")
        run = run_dir.read("one")

        assert run.recipe["network.halting"] == "sact"
        assert run.resume.endswith("--tau 0.01 --resume")
        assert run.live
        assert set(run_dir.charts([run], False)) == {
            "Total loss",
            "Accuracy",
            "FLOPs",
            "Units run, by block",
        }

    def test_a_finished_run_is_not_live(self, app_env, tmp_path):
        self.make(tmp_path / "runs", "one", rows=5)

        assert not run_dir.read("one").live

    @pytest.mark.parametrize(("rows", "done"), [(2, False), (3, True)])
    def test_steps_in_place_of_epochs(self, app_env, tmp_path, rows, done):
        path = self.make(tmp_path / "runs", "one", rows)
        (path / "config.json").write_text('{"epochs": 256.0, "max_steps": 250}')
        lines = [{"epoch": e + 1, "step": min(100 * (e + 1), 250)} for e in range(rows)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        run = run_dir.read("one")

        assert (run.done, run.live) == (done, not done)
        assert run.progress == ("Step", min(100 * rows, 250), 250)

    @pytest.mark.parametrize(("steps", "done"), [(250, False), (500, True)])
    def test_the_last_checkpoint_tells_whether_it_is_done(self, app_env, tmp_path, steps, done):
        path = self.make(tmp_path / "runs", "one", 1)
        made = make_checkpoint(NetworkConfig(base_channels=4, units_per_block=(1, 1, 1)))
        record = {"steps": steps, "steps_planned": 500}
        write(path / "last.h5", replace(made, provenance=record))

        assert run_dir.read("one").done is done

    def test_live_is_told_by_the_lock(self, app_env, tmp_path):
        path = self.make(tmp_path / "runs", "one")
        kept = RunDir(path)
        kept._keep_others_out()
        old = time.time() - 1000
        for file in path.iterdir():
            os.utime(file, (old, old))
        assert run_dir.read("one").live  # an epoch may take hours
        kept.close()
        assert not run_dir.read("one").live
        os.utime(path / "metrics.jsonl")
        assert not run_dir.read("one").live  # it was stopped just now

    def test_looking_never_keeps_a_run_from_starting(self, tmp_path):
        import fcntl
        import threading

        lock = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_SH)
        threading.Timer(0.02, os.close, [lock]).start()
        kept = RunDir(tmp_path)
        kept._keep_others_out()

        assert is_training(tmp_path)
        kept.close()

    def test_damaged_files_are_said(self, app_env, tmp_path):
        path = self.make(tmp_path / "runs", "one")
        (path / "config.json").write_text("{")
        (path / "metrics.jsonl").write_text('{"epoch": 1}\n[1]\nhalf a li')
        run = run_dir.read("one")

        assert run.problems == ("config.json cannot be read.",)
        assert run.rows == [{"epoch": 1}]

    @pytest.mark.parametrize("name", ["../one", "nowhere", "/etc"])
    def test_only_listed_runs_are_read(self, app_env, tmp_path, name):
        self.make(tmp_path / "runs", "one")

        assert run_dir.read(name) is None
