"""Training: recipes, batches, one step, and what a network starts from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sact_core import checkpoint as checkpoints
from sact_core.backends import dense
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.flops import count_flops, dense_flops
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.preprocess import normalise
from sact_core.train import __main__ as command
from sact_core.train.batches import Augmenter
from sact_core.train.learner import Learner
from sact_core.train.presets import PRESETS, preset
from sact_core.train.recipes import TrainingConfig, config_from_dict, config_to_dict
from sact_core.train.schedule import learning_rate_factor
from sact_core.train.start import initial_params, resolve_amp
from sact_core.train.transfer import transferable
from tests.exits import exit_code
from tests.training import TINY, batch, draw_images, flags

# --- recipes ---


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("val/cat", "has the split val and no train: put the images to train on in "),
        ("cat/indoors", "has one class, cat: a network learns to tell two or more apart"),
    ],
)
def test_one_class_is_no_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, said: str
) -> None:
    data = tmp_path / "data"
    (data / folder).mkdir(parents=True)
    for i in range(5):
        (data / folder / f"{i}.png").write_bytes(b"")  # listed, never opened
    assert command.main(["--dataset", str(data), "--run-dir", str(tmp_path / "run")]) == 2
    assert f"error: {data} {said}" in capsys.readouterr().err


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
    if name == "teach":  # is for photographs, and for a network that is trained
        values |= {"crop": "resized", "image_size": 224, "finetune_from": "trained.h5"}
        values |= {"distill_from": "trained.h5", "network": NetworkConfig(halting="sact")}
    config = TrainingConfig(**values)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--preset", "slow"], "unknown preset 'slow': choose one of authors, fast, finetune"),
        (["--units", "5x3"], "units must look like 5, 1_2_3"),
        (["--units", "1_2"], "3 numbers in the cifar family"),
        (["--tau", "-0.1"], "tau must be from 0"),
        (["--tau", "nan"], "argument --tau: must be a finite number, got 'nan'"),
        (["--tau", "inf"], "argument --tau: must be a finite number, got 'inf'"),
        (["--max-steps", "0"], "max_steps must be a whole number from 1"),
        (["--batch-size", "1"], "batch_size must be a whole number from 2"),
        (["--eps", "2"], "eps must be from 0 to 1"),
        (["--dataset", "no_such_set"], "neither a TFDS data set nor a folder"),
        (["--num-threads", "0"], "--num-threads must be from 1 to 1024, got 0"),
        (["--finetune-from", "/no/such/file.h5"], "/no/such/file.h5"),
        (["--distill-from", "/no/such/file.h5"], "/no/such/file.h5"),
        (["--tau-range", "0.2", "0.002"], "a range of tau must go from a number above 0"),
        (["--tau-range", "0", "1"], "a range of tau must go from a number above 0"),
        (["--tau-range", "1e-300", "1e300"], "must be a number from -1e+09 to 1e+09, got '1e300'"),
        (["--tau-range", "1e-300", "1"], "must lie between 1e-15 and 1e+15, got 1e-300 to"),
        (["--tau-range", "1e-320", "1e-310"], "must lie between 1e-15 and 1e+15"),
        (["--tau-range", "nan", "1"], "--tau-range: must be a finite number, got 'nan'"),
        (["--tau-range", "0.1", "1", "--tau", "2"], "tau_default must be in the range from 0.1"),
        (["--tau-range", "0.1", "1", "--halting", "none"], "a vanilla network never halts"),
        (["--device", "nonsense"], "device 'nonsense' is not to be had"),
        (["--batch-size", "500"], "a batch of 500 is larger than the 96 training images"),
        (["--num-train-examples", "7"], "a batch of 24 is larger than the 7 training images"),
        (["--eval-split", "dev"], "has no split 'dev': it has test, train"),
    ],
)
def test_a_mistake_is_one_sentence(
    noise_data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    reason: str,
) -> None:
    assert exit_code(command.main, flags(noise_data_set, tmp_path / "run", *argv)) == 2
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


# --- a step ---


def learner(config: TrainingConfig, *teachers: checkpoints.Checkpoint) -> Learner:
    return Learner(config, initial_params(config, build_plan(config.network)), teachers)


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


@pytest.mark.parametrize("halting", ["none", "act", "sact"])
def test_a_step_in_bfloat16_runs_on_any_processor(halting: str) -> None:
    config = TrainingConfig(dataclasses.replace(TINY, halting=halting), amp="bf16")
    made = learner(config)
    for name, weight in made.network.named_parameters():
        if name.endswith("/weight"):
            usual = torch.empty(weight.shape, memory_format=torch.channels_last)
            assert weight.stride() == usual.stride(), name
    before = made.network.params()
    made.learn(made.look(batch()), 1.0)
    after = made.network.params()
    assert made.is_finite()
    weights = [key for key in before if key.endswith("/weight")]
    assert any((before[key] != after[key]).any() for key in weights)


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
    teacher = checkpoints.Checkpoint(TINY, params, Preprocessing("cifar", 8))
    network = dense.Network(build_plan(TINY), params).eval()
    x = torch.from_numpy(given.images).permute(0, 3, 1, 2)
    with torch.no_grad():
        target = network(x)[0].softmax(1)
    comp = learner(config, teacher)
    seen = comp.look(given)
    logits = comp._forward(x)[0]
    ref = (target * (target.log() - logits.log_softmax(1))).sum(1).mean()
    assert seen.total == pytest.approx(ref.item(), rel=1e-4)


def test_of_two_teachers_the_mean_of_the_logits_is_learnt() -> None:
    config = TrainingConfig(TINY, distill_weight=1.0, distill_temperature=1.0, l2=0.0, tau=0.0)
    given, deeper = batch(), dataclasses.replace(TINY, units_per_block=(2, 2, 2))
    x = torch.from_numpy(given.images).permute(0, 3, 1, 2)
    teachers, answers = [], []
    for seed, network in ((7, TINY), (8, deeper)):
        params = init_params(build_plan(network), seed)
        teachers.append(checkpoints.Checkpoint(network, params, Preprocessing("cifar", 8)))
        with torch.no_grad():
            answers.append(dense.Network(build_plan(network), params).eval()(x)[0])
    target = ((answers[0] + answers[1]) / 2).softmax(1)
    comp = learner(config, *teachers)
    seen = comp.look(given)
    logits = comp._forward(x)[0]
    ref = (target * (target.log() - logits.log_softmax(1))).sum(1).mean()
    assert seen.total == pytest.approx(ref.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--distill-also", "b.h5"), "distill_also has to do with a teacher: give --distill-from"),
        (
            ("--distill-from", "a.h5", "--distill-also", "b.h5", "--match-maps", "1"),
            "with --match-maps there is one teacher: leave --distill-also out",
        ),
    ],
)
def test_a_second_teacher_needs_a_first(
    noise_data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    reason: str,
) -> None:
    assert command.main(flags(noise_data_set, tmp_path / "run", *more)) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


def test_soft_labels_weigh_the_square_of_the_temperature() -> None:
    """At 2, logits 2 ln 3 and 0 are chances 3/4 and 1/4; the student's are 1/2 and 1/2."""
    config = TrainingConfig(TINY, distill_weight=0.5, distill_temperature=2.0)
    comp = learner(config)
    taught = torch.tensor([[2 * np.log(3), 0.0]] * 3, dtype=torch.float32)
    logits = torch.zeros(3, 2, requires_grad=True)
    found = comp._distilled(logits, taught, torch.tensor(1.0))
    # KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.130812; half of 4 times that, instead of half of 1.
    assert found.item() == pytest.approx(0.5 * (4 * 0.130812 - 1), abs=1e-6)
    found.backward()
    # Gradient of T^2 KL: T (1/2 - 3/4) = -1/2; half of it, over three images.
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), [[-1 / 12, 1 / 12]] * 3, rtol=1e-6)


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize(
    ("num_classes", "names", "reason"),
    [
        (10, (), "has 10 classes, the data set 3"),
        (3, ("class0", "cat", "class2"), "'cat' where that has 'class1'"),
    ],
)
def test_a_teacher_of_other_classes_is_one_sentence(
    noise_data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    num_classes: int,
    names: tuple[str, ...],
    reason: str,
    second: bool,
) -> None:
    network = dataclasses.replace(TINY, num_classes=num_classes)
    params = init_params(build_plan(network))
    made = checkpoints.Checkpoint(network, params, Preprocessing("cifar", 8), names)
    checkpoints.write(tmp_path / "teacher.h5", made)
    fits = checkpoints.Checkpoint(TINY, init_params(build_plan(TINY)), Preprocessing("cifar", 8))
    checkpoints.write(tmp_path / "fits.h5", fits)
    more = ("--distill-from", str(tmp_path / "teacher.h5"))
    if second:
        more = ("--distill-from", str(tmp_path / "fits.h5"), "--distill-also", more[1])
    assert command.main(flags(noise_data_set, tmp_path / "run", *more)) == 2
    said = capsys.readouterr().err
    assert f"error: the teacher {more[-1]}" in said
    assert reason in said
    assert said.count("\n") == 1


# --- starting from a checkpoint ---


def vanilla_checkpoint(path: Path, **changes: Any) -> str:
    network = NetworkConfig(**({"units_per_block": (2, 2, 2), "base_channels": 4} | changes))
    params = init_params(build_plan(network), 5)
    made = checkpoints.Checkpoint(network, params, Preprocessing("cifar", 8))
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
    made = checkpoints.Checkpoint(TINY, init_params(build_plan(TINY), 5), Preprocessing("cifar", 8))
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
    noise_data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = vanilla_checkpoint(tmp_path / "v.h5", units_per_block=(2, 2, 3), num_classes=3)
    assert command.main(flags(noise_data_set, tmp_path / "run", "--finetune-from", file)) == 2
    said = capsys.readouterr().err
    assert "does not fit ResNet-14 SACT" in said
    assert "unexpected: block3/unit3/conv1/weight" in said
    file = vanilla_checkpoint(tmp_path / "w.h5", base_channels=8, num_classes=3)
    assert command.main(flags(noise_data_set, tmp_path / "run2", "--finetune-from", file)) == 2
    said = capsys.readouterr().err
    assert "wrong shape: stem/weight is (3, 3, 3, 8), should be (3, 3, 3, 4)" in said
    assert said.rstrip().endswith("more")
    assert said.count("\n") == 1
