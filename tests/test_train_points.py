"""Points within epochs: what a run tells while an epoch goes on, and how long it will take."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.texts import lasting
from sact_core.train import __main__ as train
from sact_core.train import points, read_metrics, read_points
from sact_core.train.learner import Learner
from sact_core.train.points import Points
from sact_core.train.recipes import TrainingConfig
from sact_core.train.report import Bar
from tests.training import TINY, batch, flags, write_data_set

OF_A_STEP = {"loss": 3.0, "entropy": 2.0, "accuracy": 0.5, "steps": 1, "entropy_steps": 1}


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(points.time, "monotonic", lambda: now[0])
    return now


def test_a_run_keeps_points_and_their_mean_is_the_epochs(tmp_path, capsys):
    data = write_data_set(tmp_path / "data", 24 * 6)
    run = tmp_path / "run"
    smooth = ("--epochs", "2", "--label-smoothing", "0.3")
    assert train.main(flags(data, run, *smooth)) == 0

    found, rows = read_points(run), read_metrics(run)
    assert [point["step"] for point in found] == list(range(1, 13))
    assert [point["epoch"] for point in found[:6]] == pytest.approx(np.arange(1, 7) / 6)
    for name in ("train/Total Loss", "train/Cross Entropy", "train/Accuracy"):
        means = [point[name] for point in found]
        assert np.mean(means[:6]) == pytest.approx(rows[0][name])
        assert np.mean(means[6:]) == pytest.approx(rows[1][name])
    assert found[-1]["seconds_left"] == 0
    assert found[0]["seconds_left"] > 0
    # Smoothed, with the price of units and L2, the loss is another.
    assert rows[0]["train/Cross Entropy"] < rows[0]["train/Total Loss"]
    first, last = [line for line in capsys.readouterr().out.splitlines() if " epoch " in line][:2]
    assert first.endswith(" left")
    assert not last.endswith(" left")


def test_cross_entropy_is_that_of_the_labels_whatever_is_learnt():
    config = TrainingConfig(network=TINY, batch_size=12, label_smoothing=0.4)
    learner = Learner(config, init_params(build_plan(TINY)))
    shown = batch()
    seen = learner.look(shown)

    with torch.no_grad():
        logits, _ = learner.network(torch.from_numpy(shown.images).permute(0, 3, 1, 2))
    ref = torch.nn.functional.cross_entropy(logits, torch.from_numpy(shown.labels))
    assert seen.cross_entropy == pytest.approx(float(ref), rel=1e-5)


def test_a_long_epoch_has_twenty_points(tmp_path, clock):
    kept = Points(tmp_path, 1000, 3000)
    for step in range(1, 1001):
        kept.add(step, OF_A_STEP)
    kept.close()

    found = read_points(tmp_path)
    assert [point["step"] for point in found] == list(range(50, 1001, 50))
    assert found[0]["train/Cross Entropy"] == 2.0
    assert "train/flops_share" not in found[0]


def test_slow_steps_have_one_every_half_minute(tmp_path, clock):
    kept = Points(tmp_path, 1000, 1000)
    for step in range(1, 8):
        clock[0] += 10
        kept.add(step, OF_A_STEP)
    kept.close()

    found = read_points(tmp_path)
    assert [point["step"] for point in found] == [3, 6]
    assert [point["seconds_left"] for point in found] == [9970, 9940]


def test_going_on_drops_what_came_after_the_state(tmp_path, clock):
    kept = Points(tmp_path, 4, 8)
    for step in range(1, 7):
        kept.add(step, OF_A_STEP)
    kept.close()
    with (tmp_path / points.FILE).open("a") as file:
        file.write('{"epoch": 1.75, "st')  # it was killed
    again = Points(tmp_path, 4, 8, done=4)
    assert again.left(4) is None
    clock[0] += 2
    again.add(5, OF_A_STEP)
    again.close()

    lines = (tmp_path / points.FILE).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert read_points(tmp_path)[-1]["seconds_left"] == 6.0


def test_a_point_that_cannot_be_written_names_its_file(tmp_path):
    kept = Points(tmp_path / "gone", 1, 1)
    with pytest.raises(OSError, match=r"points\.jsonl"):
        kept.add(1, OF_A_STEP)


def test_a_log_has_a_line_every_few_minutes(clock, capsys):
    bar = Bar(1000, 100, 0, shown=False)
    means = {"loss": 1.5, "accuracy": 0.25, "flops": 0.8, "images/s": 10.0}
    for step in range(1, 62):
        clock[0] += 10
        bar.update(0, step, means, 7200.0)
    bar.close()

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith(
        "epoch 1/10, step 30 of 1,000: loss 1.500, accuracy 25.0%, FLOPs 80% of dense; 2 h left"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (89, "89 s"), (119, "2 min"), (3600, "1 h"), (12000, "3 h 20 min"),
     (40000, "11 h"), (200000, "2 days 8 h")],
)  # fmt: skip
def test_times_for_people(seconds, said):
    assert lasting(seconds) == said
