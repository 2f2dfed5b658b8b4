"""Training: recipes, batches, one step, and runs that survive.

No data set is read: images are made here. The runs that are killed share one
process, `tests.survivor`, so that imports are paid once.
"""

from __future__ import annotations

import dataclasses
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
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import dense
from sact_core.config import NetworkConfig
from sact_core.data import Examples
from sact_core.flops import count_flops, dense_flops
from sact_core.network import build_plan, init_params
from sact_core.preprocess import normalise
from sact_core.train import __main__ as command
from sact_core.train import read_metrics, report
from sact_core.train.batches import Ahead, Augmenter, Batch
from sact_core.train.events import EventWriter
from sact_core.train.learner import Learner
from sact_core.train.loop import Trainer
from sact_core.train.processes import Processes
from sact_core.train.recipes import (
    PRESETS,
    TrainingConfig,
    config_from_dict,
    config_to_dict,
    learning_rate_factor,
    preset,
)
from sact_core.train.run_dir import RunDir, RunError
from sact_core.train.start import initial_params, resolve_amp, transferable
from tests.conftest import ROOT

TINY = NetworkConfig(units_per_block=(2, 2, 2), base_channels=4, num_classes=3, halting="sact")
TIMES = ("train/images_per_second", "train/share_waiting_for_data", "train/hours")


def draw_images(num: int, seed: int = 0, side: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Noise, brighter in the upper half (class 1) or in the lower half (class 2)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num)
    images = rng.integers(0, 120, (num, side, side, 3))
    images[labels == 1, : side // 2] += 100
    images[labels == 2, side // 2 :] += 100
    return images.astype(np.uint8), labels


def examples(num: int, seed: int = 0) -> Examples:
    images, labels = draw_images(num, seed)
    return Examples(images, labels, ("flat", "upper", "lower"), "noise", "train")


def write_data_set(folder: Path, num_train: int) -> str:
    """A folder of class folders with the splits ``train`` and ``test`` (24)."""
    for split, num in (("train", num_train), ("test", 24)):
        for i, (image, label) in enumerate(zip(*draw_images(num, num), strict=True)):
            where = folder / split / f"class{label}"
            where.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(where / f"{i:03d}.png")
    return str(folder)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set of 96 training images."""
    return write_data_set(tmp_path_factory.mktemp("noise"), 96)


def flags(data_set: str, run_dir: Path, *more: str) -> list[str]:
    return [
        *("--dataset", data_set, "--run-dir", str(run_dir), "--num-threads", "1"),
        *("--halting", "sact", "--units", "2", "--base-channels", "4", "--batch-size", "24"),
        *("--preset", "fast", "--amp", "off", "--halting-bias", "-1", "--device", "cpu"),
        *more,
    ]


def comparable(run_dir: Path) -> dict[str, Any]:
    """All that a finished run leaves behind, but for times."""
    state = RunDir(run_dir).load_state()
    assert state is not None
    found = {f"parameter {k}": v.numpy().tobytes() for k, v in state["network"].items()}
    for number, buffers in state["optimiser"]["state"].items():
        found[f"momentum {number}"] = buffers["momentum_buffer"].numpy().tobytes()
    for name in ("last", "best"):
        params = checkpoints.read(run_dir / f"{name}.h5").params
        found |= {f"{name} {k}": v.tobytes() for k, v in params.items()}
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(run_dir)]
    return found | {"rows": rows}


# --- recipes ---


def test_authors_recipe_is_the_published_one() -> None:
    config = TrainingConfig(**preset("authors"))
    assert (config.learning_rate, config.momentum, config.nesterov) == (0.1, 0.9, False)
    assert (config.l2, config.batch_size, config.max_steps) == (2e-4, 128, 100_000)
    assert (config.crop_padding, config.flip, config.label_smoothing) == (2, True, 0.0)
    assert config.network.halting_bias == -3.0
    rates = [learning_rate_factor(config, s, 100_000) for s in (0, 59_999, 60_000, 75_000, 90_000)]
    assert rates == pytest.approx([1, 1, 0.1, 0.01, 0.001])


def test_schedules_go_up_and_down() -> None:
    cosine = TrainingConfig(schedule="cosine", warmup=0.0)
    assert learning_rate_factor(cosine, 0, 100) == 1
    assert learning_rate_factor(cosine, 50, 100) == pytest.approx(0.5)
    one = TrainingConfig(schedule="onecycle", warmup=0.2)
    factors = [learning_rate_factor(one, step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 20)
    assert factors[19] == factors[20] == 1
    assert factors[99] == pytest.approx(1 / 80)
    assert max(factors) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_recipe_that_survives_json(name: str) -> None:
    values = preset(name)
    assert values.pop("amp") in ("auto", "off")
    config = TrainingConfig(**values)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--preset", "slow"], "unknown preset 'slow': choose one of authors, fast, finetune"),
        (["--units", "5x3"], "units must look like 5, 1_2_3"),
        (["--units", "1_2"], "3 numbers in the cifar family"),
        (["--tau", "-0.1"], "tau must be from 0"),
        (["--tau", "nan"], "tau must be from 0"),
        (["--tau", "inf"], "tau must be from 0"),
        (["--max-steps", "0"], "max_steps must be from 1"),
        (["--batch-size", "1"], "batch_size must be from 2"),
        (["--eps", "2"], "eps must be in"),
        (["--dataset", "no_such_set"], "neither a TFDS data set nor a folder"),
        (["--num-threads", "0"], "--num-threads must be at least 1"),
        (["--finetune-from", "/no/such/file.h5"], "/no/such/file.h5"),
        (["--distill-from", "/no/such/file.h5"], "/no/such/file.h5"),
        (["--tau-range", "0.2", "0.002"], "a range of tau must go from a number above 0"),
        (["--tau-range", "0", "1"], "a range of tau must go from a number above 0"),
        (["--tau-range", "nan", "1"], "tau_low must be a finite number"),
        (["--tau-range", "0.1", "1", "--tau", "2"], "tau_default must be in the range from 0.1"),
        (["--tau-range", "0.1", "1", "--halting", "none"], "a vanilla network never halts"),
        (["--device", "nonsense"], "device 'nonsense' is not to be had"),
        (["--batch-size", "500"], "a batch of 500 is larger than the 96 training images"),
        (["--num-train-examples", "7"], "a batch of 24 is larger than the 7 training images"),
        (["--eval-split", "dev"], "has no split 'dev': it has test, train"),
    ],
)
def test_a_mistake_is_one_sentence(
    data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    reason: str,
) -> None:
    assert command.main(flags(data_set, tmp_path / "run", *argv)) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_a_data_set_that_is_absent_tells_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--data-dir", str(tmp_path), "--run-dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "'cifar10' is not in" in said
    assert "download_and_prepare()" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_epochs_asked_for_replace_the_presets_steps() -> None:
    parse = command.build_parser().parse_args
    assert command.parse_config(parse([]))[0].max_steps == 100_000
    config, amp = command.parse_config(parse(["--epochs", "3"]))
    assert (config.max_steps, config.epochs, amp) == (None, 3.0, "off")
    config, amp = command.parse_config(parse(["--preset", "fast", "--max-steps", "5"]))
    assert (config.max_steps, amp) == (5, "auto")


def test_runs_are_named_after_what_they_train() -> None:
    assert command.run_name(TrainingConfig()) == "cifar10_resnet32"
    network = NetworkConfig(halting="sact")
    assert command.run_name(TrainingConfig(network, tau=0.005)) == "cifar10_resnet32_sact_tau0.005"


def test_bf16_is_chosen_where_the_processor_multiplies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sact_core.train import start

    info = tmp_path / "cpuinfo"
    for text, expected in (("flags\t: sse avx512f", False), ("flags\t: avx512_bf16 sse", True)):
        info.write_text(f"processor : 0\n{text}\n")
        assert start._cpu_multiplies_bf16(info) is expected
    assert start._cpu_multiplies_bf16(tmp_path / "none") is False
    monkeypatch.setattr(start, "_cpu_multiplies_bf16", lambda: True)
    assert resolve_amp("auto", "cpu") == "bf16"
    assert resolve_amp("off", "cpu") == "off"
    assert resolve_amp("auto", "cpu", {"amp": "off"}) == "off"  # a run goes on as it began


# --- batches ---


@pytest.mark.parametrize(("border", "mode"), [("black", "constant"), ("reflect", "reflect")])
def test_augmentation_crops_and_flips(border: str, mode: Any) -> None:
    images, labels = draw_images(30)
    config = TrainingConfig(batch_size=30, crop_padding=2, crop_border=border)
    augmenter = Augmenter(images, labels, config, "imagenet")
    order = augmenter.order(0)
    batch = augmenter.batch(0, 0, order, 0, 1)
    np.testing.assert_array_equal(batch.labels, labels[order])
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode)
    seen = set()
    for x, source in zip(batch.images, padded[order], strict=True):
        crops = {
            (top, left, flip): normalise(crop[:, ::-1] if flip else crop, "imagenet")
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
            for crop in [source[top : top + 8, left : left + 8]]
        }
        match = [place for place, crop in crops.items() if np.array_equal(crop, x)]
        assert len(match) == 1
        seen.add(match[0])
    assert len(seen) > 15
    assert {flip for *_, flip in seen} == {False, True}


def test_batches_depend_on_seed_epoch_and_step_alone() -> None:
    images, labels = draw_images(32)
    config = TrainingConfig(batch_size=8, cutout=4)
    one, other = (Augmenter(images, labels, config, "cifar") for _ in range(2))
    order = one.order(1)
    for step in (2, 0):  # in any order
        a, b = (each.batch(1, step, order, 0, 1) for each in (one, other))
        np.testing.assert_array_equal(a.images, b.images)
    assert not np.array_equal(one.order(0), order)
    assert sorted(order) == list(range(32))


def test_processes_share_each_batch() -> None:
    images, labels = draw_images(32)
    config = TrainingConfig(batch_size=16, cutout=3)
    augmenter = Augmenter(images, labels, config, "cifar")
    order = augmenter.order(0)
    whole = augmenter.batch(0, 1, order, 0, 1)
    for rank in (0, 1):
        share = augmenter.batch(0, 1, order, rank, 2)
        np.testing.assert_array_equal(share.images, whole.images[rank::2])
        np.testing.assert_array_equal(share.labels, whole.labels[rank::2])


def test_cutout_blanks_one_square() -> None:
    images, labels = draw_images(16)
    config = TrainingConfig(batch_size=16, cutout=4, crop_padding=0, flip=False)
    whole = Augmenter(images, labels, TrainingConfig(crop_padding=0, flip=False), "cifar")
    order = whole.order(0)
    ref = normalise(images[order], "cifar")
    blank = (Augmenter(images, labels, config, "cifar").batch(0, 0, order, 0, 1).images == 0).all(
        -1
    )
    comp = Augmenter(images, labels, config, "cifar").batch(0, 0, order, 0, 1).images
    np.testing.assert_array_equal(comp[~blank], ref[~blank])
    for mask in blank:
        rows, columns = mask.any(1), mask.any(0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns)
        assert 2 <= rows.sum() <= 4  # less where it hangs over the edge
        assert 2 <= columns.sum() <= 4


def test_batches_made_ahead_come_in_order_and_errors_come_through() -> None:
    def make(step: int) -> Batch:
        if step == 7:
            raise ValueError("no more")
        return Batch(np.full((1, 1, 1, 3), step, np.float32), np.zeros(1, np.int64))

    ahead = Ahead(make, range(2, 20))
    seen = []
    with pytest.raises(ValueError, match="no more"):
        seen += [int(batch.images[0, 0, 0, 0]) for batch in iter_into(ahead, seen)]
    assert seen == [2, 3, 4, 5, 6]
    assert ahead.waited >= 0
    ahead.close()
    stopped = Ahead(lambda step: make(0), range(1000))
    next(iter(stopped))
    stopped.close()
    assert not stopped._thread.is_alive()


def iter_into(ahead: Ahead, seen: list[int]) -> Any:
    for batch in ahead:
        seen.append(int(batch.images[0, 0, 0, 0]))
        yield from ()


# --- a step ---


def learner(config: TrainingConfig, teacher: checkpoints.Checkpoint | None = None) -> Learner:
    return Learner(config, initial_params(config, build_plan(config.network)), teacher)


def batch(num: int = 12) -> Batch:
    images, labels = draw_images(num)
    return Batch(normalise(images, "cifar"), labels)


def test_a_step_is_sgd_on_the_authors_loss() -> None:
    config = TrainingConfig(TINY, tau=0.02, l2=0.01, learning_rate=0.3, halting_lr=2.0)
    comp = learner(config)
    plan = comp.plan
    ref = dense.Network(plan, init_params(plan, config.seed)).train()
    given = batch()
    x, labels = torch.from_numpy(given.images).permute(0, 3, 1, 2), torch.from_numpy(given.labels)
    momentum = {name: torch.zeros_like(value) for name, value in ref.named_parameters()}
    for step in range(2):
        parts = dense.loss(ref, *ref(x), labels, 0.02, 0.01)
        ref.zero_grad()
        parts.total.backward()
        with torch.no_grad():
            for name, value in ref.named_parameters():
                assert value.grad is not None
                momentum[name] = 0.9 * momentum[name] + value.grad
                rate = 0.3 * 0.5 * (2.0 if "/halting_proba/" in name else 1.0)
                value -= rate * momentum[name]
        seen = comp.look(given)
        assert seen.total == pytest.approx(parts.total.item(), rel=1e-5), step
        assert seen.ponder == pytest.approx(parts.ponder.item(), rel=1e-5)
        comp.learn(seen, 0.5)
    for name, value in ref.params().items():
        np.testing.assert_allclose(comp.network.params()[name], value, atol=2e-5, err_msg=name)


def test_flops_of_a_batch_are_counted_from_its_masks() -> None:
    comp = learner(TrainingConfig(dataclasses.replace(TINY, halting_bias=1.0)))
    seen = comp.look(batch())
    positions = dense.count_positions(comp.plan, seen.traces, 12, (8, 8))
    assert comp.flops(seen) == count_flops(comp.plan, positions).total.mean()
    assert comp.flops(seen) < dense_flops(comp.plan, (8, 8)).total[0]


def test_a_teacher_pulls_towards_its_own_answers() -> None:
    config = TrainingConfig(TINY, distill_weight=1.0, distill_temperature=1.0, l2=0.0, tau=0.0)
    given = batch()
    params = init_params(build_plan(TINY), 7)
    teacher = checkpoints.Checkpoint(TINY, params, checkpoints.Preprocessing("cifar", 8))
    network = dense.Network(build_plan(TINY), params).eval()
    x = torch.from_numpy(given.images).permute(0, 3, 1, 2)
    with torch.no_grad():
        target = network(x)[0].softmax(1)
    comp = learner(config, teacher)
    seen = comp.look(given)
    logits = comp._forward(x)[0]
    ref = (target * (target.log() - logits.log_softmax(1))).sum(1).mean()
    assert seen.total == pytest.approx(ref.item(), rel=1e-4)


# --- starting from a checkpoint ---


def vanilla_checkpoint(path: Path, **changes: Any) -> str:
    network = NetworkConfig(**({"units_per_block": (2, 2, 2), "base_channels": 4} | changes))
    params = init_params(build_plan(network), 5)
    made = checkpoints.Checkpoint(network, params, checkpoints.Preprocessing("cifar", 8))
    checkpoints.write(path, made)
    return str(path)


def test_fine_tuning_takes_all_but_the_halting_branches(tmp_path: Path) -> None:
    file = vanilla_checkpoint(tmp_path / "v.h5", num_classes=3)
    config = TrainingConfig(TINY, finetune_from=file, seed=1)
    plan = build_plan(TINY)
    params, source, fresh = (
        initial_params(config, plan),
        checkpoints.read(file).params,
        init_params(plan, 1),
    )
    for name, value in params.items():
        np.testing.assert_array_equal(value, (fresh if "/halting_proba/" in name else source)[name])


def test_fine_tuning_can_take_the_halting_branches_too(tmp_path: Path) -> None:
    made = checkpoints.Checkpoint(
        TINY, init_params(build_plan(TINY), 5), checkpoints.Preprocessing("cifar", 8)
    )
    taken = transferable(made, build_plan(TINY), "it", halting=True)
    assert taken.keys() == made.params.keys()


def test_a_shallower_network_starts_from_the_first_units(tmp_path: Path) -> None:
    file = vanilla_checkpoint(tmp_path / "v.h5", num_classes=3)
    network = dataclasses.replace(TINY, halting="none", units_per_block=(2, 1, 2))
    plan = build_plan(network)
    config = TrainingConfig(network, finetune_from=file, finetune_first_units=True)
    params, source = initial_params(config, plan), checkpoints.read(file).params
    assert set(source) - set(params) == {n for n in source if n.startswith("block2/unit2/")}
    for name, value in params.items():
        np.testing.assert_array_equal(value, source[name])
    with pytest.raises(ValueError, match="unexpected: block2/unit2"):
        initial_params(dataclasses.replace(config, finetune_first_units=False), plan)
    deeper = dataclasses.replace(network, units_per_block=(2, 3, 2))
    with pytest.raises(ValueError, match="block2/unit3"):
        initial_params(dataclasses.replace(config, network=deeper), build_plan(deeper))


def test_what_does_not_fit_is_listed(
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = vanilla_checkpoint(tmp_path / "v.h5", units_per_block=(2, 2, 3), num_classes=3)
    assert command.main(flags(data_set, tmp_path / "run", "--finetune-from", file)) == 2
    said = capsys.readouterr().err
    assert "does not fit ResNet-14 SACT" in said
    assert "unexpected: block3/unit3/conv1/weight" in said
    file = vanilla_checkpoint(tmp_path / "w.h5", base_channels=8, num_classes=3)
    assert command.main(flags(data_set, tmp_path / "run2", "--finetune-from", file)) == 2
    said = capsys.readouterr().err
    assert "wrong shape: stem/weight is (3, 3, 3, 8), should be (3, 3, 3, 4)" in said
    assert said.rstrip().endswith("more")
    assert said.count("\n") == 1


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
    assert made.preprocessing == checkpoints.Preprocessing("cifar", 8)
    assert made.class_names == ("flat", "upper", "lower")


@pytest.fixture(scope="module")
def survivors(
    data_set: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """Folder of runs, and by name what each start of a run said."""
    folder = tmp_path_factory.mktemp("runs")
    # 2 epochs of 4 steps. Files are written in this order: command and config;
    # 4 states; checkpoint last, best, metrics, state; 4 states; the same again.
    stories: dict[str, list[tuple[str, int]]] = {
        "whole": [("none", 0)],
        "killed_first": [("kill", 1), ("none", 0)],
        "killed_often": [("kill", 3), ("kill", 2), ("kill", 1), ("kill_half", 2), ("none", 0)],
        "killed_in_config": [("kill_half", 2), ("none", 0)],
        "killed_in_state": [("kill_half", 5), ("none", 0)],
        "killed_in_checkpoint": [("kill_half", 7), ("none", 0)],
        "killed_in_best": [("kill_whole", 8), ("none", 0)],
        "killed_in_metrics": [("kill_whole", 9), ("none", 0)],
        "killed_after_metrics": [("kill_renamed", 9), ("none", 0)],
        "killed_last": [("kill", 8), ("none", 0)],
        "interrupted": [("interrupt", 6), ("none", 0)],
        "interrupted_last": [("interrupt", 8), ("none", 0)],
        "full": [("full", 6), ("none", 0)],
        "full_checkpoint": [("full", 7), ("none", 0)],
        "nan": [("nan", 6)],
        "nan_at_once": [("nan", 1)],
        "any_tau_whole": [("none", 0)],
        "any_tau_killed": [("kill", 3), ("kill_half", 2), ("none", 0)],
    }
    tau_range = ("--tau-range", "0.005", "0.5")
    jobs = [
        {
            "argv": flags(
                data_set,
                folder / name,
                *("--epochs", "2"),
                *(tau_range if name.startswith("any_tau") else ()),
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
    survivors: Survivors, data_set: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = survivors[0] / "whole"
    assert command.main(flags(data_set, run_dir, "--epochs", "2")) == 2
    assert "holds a run already: go on with --resume" in capsys.readouterr().err
    more = ("--epochs", "2", "--tau", "0.5", "--units", "3", "--resume")
    assert command.main(flags(data_set, run_dir, *more)) == 2
    said = capsys.readouterr().err
    assert "network.units_per_block [2, 2, 2] -> [3, 3, 3], tau 0.01 -> 0.5" in said
    assert said.count("\n") == 1


# --- the run directory ---


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
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert command.main(flags(data_set, tmp_path / "file" / "run")) == 2
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


def test_commands_name_torchrun_where_it_was_used() -> None:
    assert Processes().command(["--tau", "1"]) == "python -m sact_core.train --tau 1"
    two = Processes(0, 2).command(["--resume"])
    assert two == "torchrun --nproc-per-node=2 -m sact_core.train --resume"


def test_an_uneven_share_is_refused(
    data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "5")
    assert command.main(flags(data_set, tmp_path / "run")) == 2
    assert "24 images cannot be shared by 5 processes" in capsys.readouterr().err


def test_two_processes_follow_the_loss_curve_of_one(tmp_path: Path) -> None:
    data_set = write_data_set(tmp_path / "noise", 256)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def argv(name: str) -> Sequence[str]:
        more = ("--epochs", "6", "--batch-size", "64", "--crop-padding", "1", "--halting")
        return flags(data_set, tmp_path / name, *more, "none")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
            *("--master-addr=127.0.0.1", f"--master-port={port}", "-m", "sact_core.train"),
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
    before = torch.get_num_threads()
    assert command.main(list(argv("one"))) == 0
    torch.set_num_threads(before)
    one, two = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [row["step"] for row in two] == [row["step"] for row in one]
    losses = [[row["train/Total Loss"] for row in rows] for rows in (one, two)]
    assert losses[0][-1] < 0.7 * losses[0][0]
    # Equal images and averaged gradients; each process normalises by its own half.
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)
    accuracies = [row["eval/Accuracy"] for row in (one[-1], two[-1])]
    assert min(accuracies) > 0.8
    assert not math.isclose(losses[1][0], losses[0][0], rel_tol=1e-9)
