"""How a run goes: smaller crops for its first steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sact_core import average
from sact_core import checkpoint as checkpoints
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.flops import dense_flops
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.preprocess import normalise
from sact_core.train import __main__ as command
from sact_core.train.batches import Augmenter, Batch
from sact_core.train.loop import Trainer
from sact_core.train.recipes import TrainingConfig, config_to_dict
from sact_core.train.run_dir import RunDir
from sact_core.train.schedule import count_steps, small_steps
from tests.training import TINY, draw_images, examples, flags


def test_steps_and_the_switch_by_hand() -> None:
    config = TrainingConfig(batch_size=8, epochs=2.5, first_size=4, first_share=0.3)
    assert count_steps(config, 35) == (4, 10)
    assert small_steps(config, 10) == 3
    assert count_steps(dataclasses.replace(config, max_steps=7), 35) == (4, 7)
    assert count_steps(config, 3) == (1, 2)  # fewer images than a batch
    assert small_steps(TrainingConfig(), 10) == 0


@pytest.mark.parametrize(("border", "mode"), [("black", "constant"), ("reflect", "reflect")])
def test_the_first_steps_see_small_parts_of_padded_images(border: str, mode: Any) -> None:
    images, labels = draw_images(60)
    config = TrainingConfig(
        batch_size=20, max_steps=4, first_size=4, crop_padding=2, crop_border=border
    )
    small = Augmenter(images, labels, config, "imagenet")
    whole = Augmenter(images, labels, dataclasses.replace(config, first_size=None), "imagenet")
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode)
    seen = set()
    for epoch, step in ((0, 0), (0, 1)):  # 2 of 4 steps; an epoch has three
        order = small.order(epoch)
        batch = small.batch(epoch, step, order, 0, 1)
        picked = order[20 * step : 20 * step + 20]
        np.testing.assert_array_equal(batch.labels, labels[picked])
        for x, source in zip(batch.images, padded[picked], strict=True):
            match = [
                (top, left, flip)
                for top in range(9)
                for left in range(9)
                for flip in (False, True)
                for crop in [source[top : top + 4, left : left + 4]]
                if np.array_equal(normalise(crop[:, ::-1] if flip else crop, "imagenet"), x)
            ]
            seen.update(match)
            assert match
    assert {top for top, *_ in seen} == set(range(9))
    assert {left for _, left, _ in seen} == set(range(9))
    for epoch, step in ((0, 2), (1, 0)):  # then a run is as without
        order = small.order(epoch)
        ref, comp = (each.batch(epoch, step, order, 0, 1) for each in (whole, small))
        np.testing.assert_array_equal(comp.images, ref.images)


def test_small_batches_depend_on_seed_and_step_alone_and_are_shared() -> None:
    images, labels = draw_images(32)
    config = TrainingConfig(batch_size=16, max_steps=4, first_size=4, cutout=2)
    one, other = (Augmenter(images, labels, config, "cifar") for _ in range(2))
    order = one.order(0)
    first = one.batch(0, 1, order, 0, 1)
    assert first.images.shape == (16, 4, 4, 3)
    for rank in (0, 1):
        share = other.batch(0, 1, order, rank, 2)
        np.testing.assert_array_equal(share.images, first.images[rank::2])
    assert (first.images == 0).all(-1).any((1, 2)).all()  # a hole in each


def test_flops_and_evaluation_are_those_of_whole_images(tmp_path: Path) -> None:
    network = dataclasses.replace(TINY, halting="none")
    config = TrainingConfig(network, batch_size=8, epochs=1, first_size=4, first_share=1.0)
    run_dir = RunDir(tmp_path / "run")
    run_dir.start(config, "it", False)
    trainer = Trainer(config, examples(24), examples(16, 1), run_dir)
    dense = int(dense_flops(build_plan(network), (8, 8)).total[0])
    assert trainer.dense_flops == dense
    x = trainer.feed.batch(0, 0, trainer.feed.order(0))
    assert x.images.shape == (8, 4, 4, 3)
    assert trainer.learner.flops_share(trainer.learner.look(x)) == 1.0
    shapes: list[tuple[int, ...]] = []
    look = trainer.learner.look

    def kept(batch: Batch) -> Any:
        shapes.append(batch.images.shape)
        return look(batch)

    trainer.learner.look = kept  # type: ignore[method-assign]
    row = trainer.run()
    run_dir.close()
    assert shapes == [(8, 4, 4, 3)] * 3
    assert row["Total Flops/mean"] == dense
    assert row["flops_share"] == 1.0
    assert trainer.feed.preprocessing.image_size == 8


def test_an_average_measures_its_statistics_on_whole_images() -> None:
    network = NetworkConfig(units_per_block=(1, 1, 1), base_channels=2)
    recipe = config_to_dict(TrainingConfig(network, first_size=4, first_share=0.25, seed=3))
    recipe.pop("network")
    params = init_params(build_plan(network))
    made = checkpoints.Checkpoint(
        network, params, Preprocessing("cifar", 8), provenance={"recipe": recipe}
    )
    assert average._recipe(made, "it") == TrainingConfig(network, seed=3)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--first-size", "6"), "first_size must be a multiple of 4, got 6"),
        (("--first-size", "0"), "first_size must be a whole number from 1"),
        (("--first-size", "8"), "first_size must be below the side of the images, 8 pixels, got 8"),
        (("--first-share", "0.3"), "first_share is the share of smaller crops: give --first-size"),
        (("--first-size", "4", "--first-share", "1.5"), "first_share must be from 0 to 1"),
        (
            ("--first-size", "4", "--crop", "resized", "--image-size", "8"),
            "smaller crops at first need padded crops: leave --first-size out",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    noise_data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    reason: str,
) -> None:
    assert command.main(flags(noise_data_set, tmp_path / "run", *more)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {reason}")
    assert said.count("\n") == 1
