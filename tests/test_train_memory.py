"""Training that does not fit into memory is refused before anything is begun."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import pytest

from sact_core.backends.memory import estimate_step
from sact_core.data.splits import open_split
from sact_core.plans import build_plan
from sact_core.processes import Processes
from sact_core.train.__main__ import main
from sact_core.train.memory import require_memory
from sact_core.train.recipes import TrainingConfig
from tests.training import TINY, flags, write_data_set


@pytest.mark.parametrize("crop", ["padded", "resized"])
def test_a_step_that_memory_does_not_hold_is_refused_before_anything_is_begun(
    tmp_path: Path,
    crop: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data_set = write_data_set(tmp_path / "images", 24)
    monkeypatch.setattr("sact_core.train.memory.available_memory", lambda: 8 << 30)
    argv = flags(data_set, tmp_path / "run", "--image-size", "8192", "--crop", crop)
    assert main([*argv, "--batch-size", "4", "--max-steps", "1"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: training with batches of 4 images of 8192 x 8192 pixels")
    assert "but 8.0 GiB are free: give a smaller --batch-size or --image-size" in said.err
    assert ("for decoded images" in said.err) == (crop == "padded")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_what_memory_is_needed_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step, by the process' share of the batch, and the decoded images."""
    data_set = write_data_set(tmp_path / "images", 24)
    train, test = (open_split(data_set, split) for split in ("train", "test"))
    config = TrainingConfig(TINY, batch_size=8, crop_padding=2)

    def needed(config: TrainingConfig, num_processes: int = 1) -> int:
        low, high = 0, 1 << 40
        while high - low > 1:
            there = (low + high) // 2
            monkeypatch.setattr("sact_core.train.memory.available_memory", partial(int, there))
            try:
                require_memory(config, train, test, Processes(0, num_processes))
                high = there
            except ValueError:
                low = there
        return high

    plan = build_plan(TINY)
    step = estimate_step(plan, (8, 8, 8, 3)) + 4 * 8 * 4 * 3 * 8 * 8
    images = 24 * 3 * (8 * 8 + 12 * 12) + 24 * 3 * 8 * 8
    assert needed(config) == step + images  # 8 pixels, which the images say
    shared = estimate_step(plan, (4, 8, 8, 3)) + 4 * 4 * 4 * 3 * 8 * 8
    assert needed(config, 2) == 2 * (shared + images)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # the other one on another machine
    assert needed(config, 2) == shared + images
    resized = dataclasses.replace(config, crop="resized", image_size=8)
    assert needed(resized) == step
    assert needed(dataclasses.replace(resized, amp="bf16")) < step
