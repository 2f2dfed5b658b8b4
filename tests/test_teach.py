"""Halting taught to a network that knows its classes: frozen statistics, answers, sizes."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import dense
from sact_core.backends.dense import depthwise, kernels
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.data.folders import photographs
from sact_core.data.records import DataError
from sact_core.data.unlabelled import names_of, open_unlabelled, unlabelled_splits
from sact_core.flops import dense_flops
from sact_core.plans import build_plan
from sact_core.train import __main__ as command
from sact_core.train import read_metrics
from sact_core.train.batches import Batch
from sact_core.train.learner import Learner
from sact_core.train.photographs import PhotographAugmenter
from sact_core.train.recipes import TrainingConfig
from sact_core.train.sizes import count_images, portions, sides
from sact_core.train.targets import blended, maps_apart
from tests.conftest import need_shared
from tests.exits import exit_code
from tests.networks import random_params

#: Of every family for photographs, tiny.
NETWORKS = {
    "imagenet": NetworkConfig(
        family="imagenet", units_per_block=(2, 1, 2, 1), base_channels=4, num_classes=5
    ),
    "mobile": NetworkConfig(
        family="mobile", units_per_block=(1, 2, 2, 1, 2, 1, 1), base_channels=8, num_classes=5
    ),
}
RECIPE = TrainingConfig(
    dataclasses.replace(NETWORKS["imagenet"], halting="sact", halting_bias=-1.0),
    crop="resized",
    image_size=64,
    batch_size=8,
    colour=1.0,
    labels="none",
    distill_from="teacher.h5",
    distill_weight=1.0,
    distill_temperature=1.0,
    optimiser="adamw",
    learning_rate=1e-2,
    l2=0.0,
    finetune_from="teacher.h5",
    freeze_bn=True,
    tau=0.05,
)


def write_photographs(folder: Path, num: int, seed: int = 0) -> Path:
    """Smooth noise of several sizes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(num):
        image = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        image.resize(rng.integers(40, 90, 2).tolist(), Image.Resampling.BICUBIC).save(
            folder / f"{i:02d}.png"
        )
    return folder


def checkpoint_of(config: NetworkConfig) -> checkpoints.Checkpoint:
    names = tuple(f"class {i}" for i in range(config.num_classes))
    params = random_params(np.random.default_rng(0), config)
    return checkpoints.Checkpoint(
        config, params, default_preprocessing(config.family), class_names=names
    )


def learner(name: str = "imagenet", **changes: Any) -> tuple[Learner, checkpoints.Checkpoint]:
    """A learner that begins where its teacher is, with halting branches of its own."""
    teacher = checkpoint_of(NETWORKS[name])
    network = dataclasses.replace(NETWORKS[name], halting="sact", halting_bias=-1.0)
    config = dataclasses.replace(RECIPE, network=network, **changes)
    params = random_params(np.random.default_rng(0), config.network) | teacher.params
    return Learner(config, params, [teacher]), teacher


def noise(num: int = 6, side: int = 64, seed: int = 0, **parts: Any) -> Batch:
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.5, (num, side, side, 3)).astype(np.float32)
    return Batch(images, np.full(num, -1, np.int64), **parts)


def gradients(made: Learner, batch: Batch) -> dict[str, torch.Tensor]:
    made.network.zero_grad(set_to_none=True)
    torch.autograd.backward(made.look(batch).objective)
    named = made.network.named_parameters()
    return {name: value.grad.clone() for name, value in named if value.grad is not None}


# --- frozen normalisations ---


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fused", [False, True])
def test_frozen_statistics_normalise_in_training_and_stay(name: str, fused: bool) -> None:
    """In float64, gradients are those of the network in the mode for inference."""
    plan = build_plan(NETWORKS[name])
    params = random_params(np.random.default_rng(0), plan.config)
    ref, comp = (dense.Network(plan, params, f, fr) for f, fr in ((False, False), (fused, True)))
    ref.double().eval()
    comp.train()
    x = torch.from_numpy(noise().images).permute(0, 3, 1, 2)
    answers = ref(x.double())[0], comp(x)[0]
    torch.testing.assert_close(answers[1].double(), answers[0].double(), rtol=1e-4, atol=1e-4)
    for answer in answers:
        answer.square().mean().backward()
    theirs = dict(ref.named_parameters())
    for key, value in comp.named_parameters():
        wanted = theirs[key].grad
        assert value.grad is not None
        assert wanted is not None
        assert (value.grad - wanted).norm() <= 1e-3 * wanted.norm() + 1e-7, key
    for key, value in comp.named_buffers():
        np.testing.assert_array_equal(value.numpy(), params[key])


@pytest.mark.parametrize("name", NETWORKS)
def test_statistics_of_halting_branches_are_learnt(name: str) -> None:
    made, _ = learner(name)
    before = {key: value.clone() for key, value in made.network.named_buffers()}
    made.learn(made.look(noise()), 1.0)
    for key, value in made.network.named_buffers():
        assert torch.equal(value, before[key]) == ("/halting_proba/" not in key), key


@pytest.mark.skipif(kernels.INTERPRETED, reason="needs compiled vectors")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("channels", "size", "side", "stride", "pad"),
    [(32, 9, 3, 2, 0), (16, 12, 5, 2, 1), (48, 10, 5, 1, 2), (16, 7, 3, 1, 1), (32, 5, 5, 1, 2)],
)
def test_depthwise_gradients(
    channels: int, size: int, side: int, stride: int, pad: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, channels, size, size + 2, generator=generator).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    weight, bias = torch.randn(channels, 26, generator=generator)[:, [0]], torch.ones(channels)
    weight = torch.randn(channels, 1, side, side, generator=generator).requires_grad_()
    bias = bias.requires_grad_()
    doubles = [each.detach().to(dtype).double().requires_grad_() for each in (x, weight, bias)]
    comp = depthwise.convolve(x, weight, bias, stride, pad)
    ref = F.conv2d(*doubles, stride, pad, groups=channels)
    gy = torch.randn(ref.shape, generator=generator).to(dtype)
    close = 1e-5 if dtype == torch.float32 else 1e-2
    found = torch.autograd.grad(comp, [x, weight, bias], gy)
    wanted = torch.autograd.grad(ref, doubles, gy.double())
    for one, other in zip((comp, *found), (ref, *wanted), strict=True):
        assert (one.double() - other).abs().max() <= close * other.abs().max()


# --- learning from answers ---


def test_without_labels_the_teacher_is_the_whole_loss() -> None:
    made, teacher = learner()
    batch = noise()
    seen = made.look(batch)
    told = dense.infer(
        dense.Network(build_plan(teacher.config), teacher.params).eval(), batch.images
    )
    made.network.train()
    with torch.no_grad():
        logits, traces = made.network(torch.from_numpy(batch.images).permute(0, 3, 1, 2))
    target = torch.from_numpy(told.logits).log_softmax(1)
    apart = (target.exp() * (target - logits.log_softmax(1))).sum(1).mean()
    ponder = sum(trace.ponder_cost.mean() for trace in traces if trace.ponder_cost is not None)
    assert seen.total == pytest.approx(float(apart + 0.05 * ponder), rel=1e-4)
    assert seen.accuracy == float((logits.argmax(1) == target.argmax(1)).float().mean())


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_the_backbone_moves_by_its_own_share(optimiser: str) -> None:
    def moved(**changes: Any) -> dict[bool, float]:
        made, _ = learner(optimiser=optimiser, momentum=0.0, **changes)
        before = {k: v.detach().clone() for k, v in made.network.named_parameters()}
        made.learn(made.look(noise()), 1.0)
        far = {True: 0.0, False: 0.0}
        for name, value in made.network.named_parameters():
            far["/halting_proba/" in name] += float((value.detach() - before[name]).abs().sum())
        return far

    whole, part, frozen = moved(), moved(backbone_lr=0.01), moved(backbone_lr=0.0)
    assert part[False] == pytest.approx(0.01 * whole[False], rel=1e-2)
    assert frozen[False] == 0
    assert part[True] == pytest.approx(whole[True], rel=1e-5)
    assert frozen[True] == pytest.approx(whole[True], rel=1e-5)


def test_the_anchor_prices_the_distance_to_the_start() -> None:
    made, _ = learner(anchor=3.0)
    made.learn(made.look(noise()), 1.0)
    plain = gradients(made, noise(seed=1))
    start, now = made.state()["anchor"], dict(made.network.named_parameters())
    assert made._anchor is not None
    made._anchor.pull()
    for name, value in now.items():
        added = value.grad - plain[name]  # type: ignore[operator]
        if "/halting_proba/" in name:
            assert name not in start
            assert not added.any()
        else:
            torch.testing.assert_close(
                added, 3 * (value.detach() - start[name]), rtol=1e-3, atol=1e-6
            )
    assert max(float((now[name] - start[name]).detach().abs().max()) for name in start) > 1e-3


def test_matched_maps() -> None:
    rng = np.random.default_rng(0)
    wanted = [torch.from_numpy(rng.normal(2, each, (3, 4, 5, 5))) for each in (1.0, 30.0)]
    traces = [dense.BlockTrace(output=w + 0.5 * w.std((0, 2, 3), keepdim=True)) for w in wanted]
    assert float(maps_apart(traces, wanted)) == pytest.approx(0.25, rel=0.02)
    made, _ = learner(match_maps=2.0)
    plain, _ = learner()
    seen, without = made.look(noise()), plain.look(noise())
    assert seen.total > without.total + 1e-3
    alike = dataclasses.replace(made.config, network=NETWORKS["imagenet"])
    teacher = checkpoint_of(NETWORKS["imagenet"])
    assert Learner(alike, teacher.params, [teacher]).look(noise()).total == pytest.approx(
        0, abs=1e-5
    )


def test_the_teacher_answers_to_its_own_size() -> None:
    """What it sees in place of the images counts, and nothing else of them."""
    made, _ = learner()
    larger = noise(side=96, seed=3).images
    one, other = (gradients(made, noise(larger=each)) for each in (larger, larger[::-1].copy()))
    same = gradients(made, noise(larger=larger))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_blended_targets() -> None:
    found = blended(torch.tensor([0, 2]), torch.tensor([0.75, 1.0]), torch.tensor([1, 0]), 3)
    np.testing.assert_array_equal(found.numpy(), [[0.75, 0.25, 0], [0, 0, 1]])
    made, _ = learner(labels="given", distill_weight=0.0)
    parts = {"shares": np.float32([0.5] * 6), "others": np.arange(6) % 5}
    batch = dataclasses.replace(noise(**parts), labels=np.zeros(6, np.int64))
    turned = dataclasses.replace(batch, labels=parts["others"], others=np.zeros(6, np.int64))
    assert made.look(batch).total == pytest.approx(made.look(turned).total, rel=1e-6)
    whole = dataclasses.replace(batch, shares=None, others=None)
    assert made.look(batch).total != pytest.approx(made.look(whole).total, rel=1e-3)


# --- sizes, crops, mixed images ---

SIZED = dataclasses.replace(RECIPE, size_low=32, size_high=128, batch_size=16)


def test_steps_of_mixed_sizes_cost_alike() -> None:
    assert sides(SIZED) == [32, 64, 96, 128]
    assert sides(RECIPE) == [64]
    counts = {side: count_images(SIZED, side) for side in sides(SIZED)}
    assert counts == {32: 64, 64: 16, 96: 7, 128: 4}
    plan = build_plan(SIZED.network)
    costs = [counts[side] * int(dense_flops(plan, (side, side)).total[0]) for side in counts]
    assert max(costs) < 1.25 * min(costs)
    assert count_images(SIZED, 128, 4) == 8  # two for each process at least
    found = portions(SIZED, 0, 40, 1)
    assert {side: sum(p.side == side for p in found) for side in counts} == dict.fromkeys(
        counts, 10
    )
    assert [p.begin for p in found[1:]] == [p.begin + p.count for p in found[:-1]]
    assert found != portions(SIZED, 1, 40, 1)
    assert found == portions(dataclasses.replace(SIZED), 0, 40, 1)


@pytest.fixture(scope="module")
def augmented(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make an augmenter of 20 photographs."""
    folder = write_photographs(tmp_path_factory.mktemp("photographs"), 20)

    def make(config: TrainingConfig, **changes: Any) -> PhotographAugmenter:
        return PhotographAugmenter(
            photographs([folder]), dataclasses.replace(config, **changes), "imagenet"
        )

    return make


def test_batches_of_mixed_sizes(augmented: Any) -> None:
    made = augmented(SIZED, batch_size=10)
    order = made.order(0)
    seen = [made.batch(0, step, order, 0, 1).images.shape for step in (0, 1)]
    wanted = [(p.count, p.side, p.side, 3) for p in portions(made.config, 0, 2, 1)]
    assert seen == wanted
    halves = [made.batch(0, 1, order, rank, 2).images for rank in (0, 1)]
    assert halves[0].shape == halves[1].shape


def test_the_teacher_sees_the_same_crops(augmented: Any) -> None:
    plain, made = (
        augmented(RECIPE, image_size=96),
        augmented(RECIPE, image_size=96, teacher_size=32),
    )
    order = plain.order(0)
    one, batch = (each.batch(0, 0, order, 0, 1) for each in (plain, made))
    np.testing.assert_array_equal(batch.images, one.images)
    assert batch.larger.shape == (8, 32, 32, 3)
    smaller = batch.images.reshape(8, 32, 3, 32, 3, 3).mean((2, 4))
    apart = np.abs(smaller - batch.larger).mean((1, 2, 3))
    others = np.abs(smaller - batch.larger[::-1]).mean((1, 2, 3))
    assert (apart < 0.3 * others).all()


def test_images_are_mixed_with_each_other(augmented: Any) -> None:
    plain, made = (
        augmented(RECIPE, cutout=6),
        augmented(RECIPE, cutout=6, mixup=0.7, teacher_size=32),
    )
    order = plain.order(0)
    one, batch = (each.batch(0, 1, order, 0, 1) for each in (plain, made))
    shares = batch.shares[:, None, None, None]
    assert (shares >= 0.5).all()
    assert np.ptp(shares) > 0.1
    np.testing.assert_allclose(
        batch.images, shares * one.images + (1 - shares) * one.images[::-1], atol=1e-6
    )
    np.testing.assert_array_equal(batch.others, one.labels[::-1])
    for rank in (0, 1):
        share = made.batch(0, 1, order, rank, 2)
        for name in ("images", "larger", "shares", "labels", "others"):
            np.testing.assert_array_equal(getattr(share, name), getattr(batch, name)[rank::2])
    again = made.batch(1, 1, order, 0, 1).shares
    assert not np.array_equal(again, batch.shares)


# --- photographs without labels ---


def test_unlabelled_photographs_of_any_folders(tmp_path: Path) -> None:
    flat = write_photographs(tmp_path / "flat", 30)
    nested = write_photographs(tmp_path / "deep" / "train" / "a" / "b", 9, 1).parents[2]
    write_photographs(nested / "test", 3, 2)
    joined = f"{flat} + {nested}"
    assert names_of(joined) == [str(flat), str(nested)]
    odd = write_photographs(tmp_path / "one + two", 2)
    assert names_of(str(odd)) == [str(odd)]
    whole, kept, held = (open_unlabelled(joined, s) for s in ("all", *unlabelled_splits(0.2)))
    assert (len(whole), len(kept), len(held)) == (42, 34, 8)
    names = [{name for _, _, name in each.read(range(len(each)))} for each in (whole, kept, held)]
    assert names[1] | names[2] == names[0]
    assert not names[1] & names[2]
    assert {"29.png", "train/a/b/08.png", "test/02.png"} < names[0]
    backwards = [name for _, _, name in whole.read(range(41, -1, -1))]
    assert backwards == [name for _, _, name in whole.read(range(42))][::-1]
    assert {label for _, label, _ in whole.read(range(42))} == {-1}
    write_photographs(flat, 31)
    assert open_unlabelled(joined, "all").digest != whole.digest


@pytest.mark.parametrize(
    ("dataset", "split", "reason"),
    [
        ("{}/none", "all", "is no folder: give a TFDS name or a folder of photographs"),
        ("{}/empty", "all", "there are no photographs in"),
        ("{}/one", "held-out:5%", "has one photograph, of which none can be held out"),
        ("{}/two", "test", "without labels there is no split 'test': ask for all"),
        ("{}/two", "held-out:100%", "there is no split 'held-out:100%'"),
        ("{}/two + {}/empty", "all", "there are no photographs in"),
    ],
)
def test_no_photographs(tmp_path: Path, dataset: str, split: str, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    write_photographs(tmp_path / "one", 1)
    write_photographs(tmp_path / "two", 2)
    with pytest.raises(DataError, match=reason):
        open_unlabelled(dataset.replace("{}", str(tmp_path)), split)


@pytest.mark.shared
def test_all_splits_of_a_data_set_count() -> None:
    data_dir = need_shared("tensorflow_datasets")
    kept, held = (open_unlabelled("caltech101", s, data_dir) for s in unlabelled_splits(0.05))
    assert len(kept) + len(held) == 9144  # 3,059 to train on and 6,085 to test on, one more
    assert len(held) == 457
    image, label, _ = kept.read([len(kept) - 1])[0]
    assert image.ndim == 3
    assert label == -1


# --- the command ---


def flags(folder: Path, *more: str) -> list[str]:
    return [
        *("--preset", "teach", "--labels", "none", "--halting", "sact", "--num-threads", "1"),
        *("--finetune-from", str(folder / "t.h5"), "--distill-from", str(folder / "t.h5")),
        *("--dataset", str(folder / "a"), str(folder / "b"), "--run-dir", str(folder / "run")),
        *("--image-size", "32", "--sizes", "32", "64", "--teacher-size", "32", "--amp", "off"),
        *("--batch-size", "8", "--epochs", "2", "--device", "cpu", *more),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A teacher and two folders of 20 photographs."""
    checkpoints.write(tmp_path / "t.h5", checkpoint_of(NETWORKS["imagenet"]))
    write_photographs(tmp_path / "a" / "deep", 20, 1)
    write_photographs(tmp_path / "b", 20, 2)
    return tmp_path


def test_a_run_and_its_second_half_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--tau-range", "0.01", "0.5", "--anchor", "0.1", "--ema", "0.9")
    assert command.main(flags(folder, *more)) == 0
    said = capsys.readouterr().out
    assert re.search(r"loss \S+, agreement with the teacher on training crops \d", said)
    assert re.search(r"; agreement with the teacher \S+% of 2 held-out images, ", said)
    assert "accuracy" not in said
    row = read_metrics(folder / "run")[-1]
    assert 0 <= row["eval/Agreement"] <= 1
    assert {"eval@0.01/Agreement", "eval@0.5/Agreement", "eval/Agreement"} < row.keys()
    assert not [name for name in row if "Accuracy" in name and not name.startswith("train/")]
    made = checkpoints.read(folder / "run" / "last.h5")
    teacher = checkpoints.read(folder / "t.h5")
    assert made.class_names == teacher.class_names
    assert made.provenance["recipe"]["labels"] == "none"
    assert made.provenance["metrics"]["split"] == "held-out:5%"
    for name, value in teacher.params.items():
        if "/moving" in name:
            np.testing.assert_array_equal(made.params[name], value)
    halves = ("--run-dir", str(folder / "halves"))
    config = json.loads((folder / "run" / "config.json").read_text())
    assert (config["size_low"], config["size_high"], config["optimiser"]) == (32, 64, "adamw")

    class Stop(Exception):
        pass

    from sact_core.train.loop import Trainer

    keep = Trainer._finish_epoch

    def stop(self: Trainer, bar: Any) -> None:
        keep(self, bar)
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_finish_epoch", stop)
        with pytest.raises(Stop):
            command.main(flags(folder, *more, *halves))
    assert command.main(flags(folder, *more, *halves, "--resume")) == 0
    again = checkpoints.read(folder / "halves" / "last.h5")
    for name, value in made.params.items():
        np.testing.assert_array_equal(again.params[name], value)
    assert command.main(flags(folder, *more, *halves, "--resume")) == 0  # it is over


def test_a_run_shorter_than_an_epoch_can_be_asked_for_again(folder: Path) -> None:
    argv = flags(folder, "--max-steps", "2", "--tau", "0.1")
    assert command.main(argv) == 0
    assert command.main([*argv, "--resume"]) == 0


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--labels", "given"], "have classes of their own: give one --dataset, or --labels none"),
        (["--distill-from", ""], "without labels a teacher says what is to be answered"),
        (["--distill-weight", "0.5"], "without labels the teacher is the whole loss"),
        (["--finetune-from", ""], "the moving statistics of fresh weights say nothing yet"),
        (["--finetune-from", "", "--no-freeze-bn", "--anchor", "1"], "give --finetune-from, or"),
        (["--sizes", "64", "32"], "sizes must be two multiples of 32, the smaller one first"),
        (["--sizes", "40", "64"], "sizes must be two multiples of 32, the smaller one first"),
        (["--sizes", "0", "64"], "size_low must be a whole number from 32"),
        (["--sizes", "32", "32", "--batch-size", "64"], "a batch of 64 is larger than the 38"),
        (
            ["--crop", "padded", "--teacher-size", "64"],
            "teacher_size has to do with resized crops: give",
        ),
        (["--halting", "none"], "a vanilla network never halts"),
        (["--halting", "none", "--price", "units", "--backbone-lr", "0"], "only halting branches"),
        (["--nesterov"], "nesterov is of SGD"),
        (["--holdout", "1"], "--holdout must be a share above 0 and below 1"),
        (["--distill-from", "{}/other.h5"], "has 4 classes, {}/t.h5 5: without labels both"),
        (["--distill-from", "{}/named.h5"], "knows other classes than {}/t.h5: 'cat' where"),
        (["--distill-from", "{}/wide.h5"], "the teacher's width is 8, not 4: its maps"),
        (["--dataset", "{}/nothing"], "is no folder: give a TFDS name or a folder of photographs"),
    ],
)
def test_a_mistake_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], reason: str
) -> None:
    made = checkpoint_of(NETWORKS["imagenet"])
    names = ("cat", *made.class_names[1:])
    checkpoints.write(folder / "named.h5", dataclasses.replace(made, class_names=names))
    for name, changes in (("other", {"num_classes": 4}), ("wide", {"base_channels": 8})):
        other = checkpoint_of(dataclasses.replace(made.config, **changes))
        checkpoints.write(folder / f"{name}.h5", other)
    argv = [each.replace("{}", str(folder)) for each in argv]
    argv = flags(folder, "--tau", "0.1", *argv)
    assert exit_code(command.main, argv) == 2
    said = capsys.readouterr().err
    assert reason.replace("{}", str(folder)) in said
    assert "Traceback" not in said
    assert not (folder / "run").exists()
