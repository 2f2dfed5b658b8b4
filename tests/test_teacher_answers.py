"""A teacher's answers are asked once, and kept for all runs that cut images alike."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from sact_core.config import Preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.train import __main__ as train
from sact_core.train import read_metrics
from sact_core.train.answers import Answers, folder_of
from sact_core.train.batches import Augmenter
from sact_core.train.learner import Learner
from sact_core.train.recipes import TrainingConfig
from tests.training import TINY, draw_images, flags


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    params = init_params(build_plan(TINY), 7)
    made = checkpoints.Checkpoint(TINY, params, Preprocessing("cifar", 8))
    checkpoints.write(tmp_path / "teacher.h5", made)
    return str(tmp_path / "teacher.h5")


def augmenter(**changes: object) -> Augmenter:
    recipe = {"distill_views": 2, "distill_from": "t.h5", "batch_size": 4, "crop_padding": 2}
    config = TrainingConfig(TINY, **(recipe | changes))  # type: ignore[arg-type]
    images, labels = draw_images(12)
    return Augmenter(images, labels, config, "cifar")


def by_image(made: Augmenter, epoch: int) -> dict[int, np.ndarray]:
    order = made.order(epoch)
    batches = [made.batch(epoch, step, order, 0, 1) for step in range(3)]
    assert {batch.view for batch in batches} == {epoch % 2}
    return {i: x for b in batches for i, x in zip(b.picked, b.images, strict=True)}


def test_images_come_in_few_views_that_all_runs_share():
    one, other = augmenter(seed=1), augmenter(seed=2)
    assert not np.array_equal(one.order(0), other.order(0))
    first, again, second = by_image(one, 0), by_image(other, 2), by_image(one, 1)
    assert all(np.array_equal(first[i], again[i]) for i in range(12))
    assert sum(np.array_equal(first[i], second[i]) for i in range(12)) < 6
    mirrored = [np.array_equal(first[i][:, ::-1], first[i]) for i in range(12)]
    assert not any(mirrored)


def test_without_views_every_epoch_cuts_anew():
    made = augmenter(distill_views=0)
    batches = [made.batch(epoch, 0, np.arange(12), 0, 1) for epoch in (0, 2)]
    assert batches[0].view is batches[0].picked is None
    assert not np.array_equal(batches[0].images, batches[1].images)


def test_only_what_is_missing_is_asked(tmp_path: Path):
    asked: list[list[int]] = []

    def ask(missing: np.ndarray) -> np.ndarray:
        asked.append(missing.tolist())
        return np.stack([missing, missing + 0.5], 1).astype(np.float32)

    answers = Answers(tmp_path / "a", 6, 2)
    found = answers.of(1, np.array([4, 0]), ask)
    np.testing.assert_array_equal(found, [[0, 0.5], [1, 1.5]])
    found = Answers(tmp_path / "a", 6, 2).of(1, np.array([0, 5, 4]), ask)
    np.testing.assert_array_equal(found, [[1, 1.5], [1, 1.5], [0, 0.5]])
    answers.of(0, np.array([0]), ask)  # of another view nothing is known
    assert asked == [[0, 1], [1], [0]]


def test_files_of_other_runs_or_half_a_file_are_made_anew(tmp_path: Path):
    (tmp_path / "view_0.npy").write_bytes(b"\x93NUMPY")
    found = Answers(tmp_path, 3, 2).of(0, np.array([2]), lambda m: np.ones((1, 2), np.float32))
    np.testing.assert_array_equal(found, [[1, 1]])
    found = Answers(tmp_path, 4, 2).of(0, np.array([2]), lambda m: np.zeros((1, 2), np.float32))
    np.testing.assert_array_equal(found, [[0, 0]])


def test_another_teacher_other_images_or_cuts_have_a_folder_of_their_own(tmp_path: Path):
    made = augmenter()
    config = made.config

    def name(config: TrainingConfig = config, teacher: str = "a", shift: int = 0) -> Path:
        return folder_of(tmp_path, config, teacher, made.padded + np.uint8(shift), "cifar")

    changes = ({"flip": False}, {"amp": "bf16"}, {"crop_border": "reflect"})
    others = [name(dataclasses.replace(config, **change)) for change in changes]  # type: ignore[arg-type]
    assert len({name(), name(teacher="b"), name(shift=1), *others}) == 6
    assert name() == name(dataclasses.replace(config, seed=9, epochs=3.0, distill_views=5))


def test_runs_share_what_the_teacher_answered(
    noise_data_set: str, tmp_path: Path, teacher: str, monkeypatch: pytest.MonkeyPatch
):
    """The second run asks nothing, and learns what it would have learnt by asking."""
    asked = []
    ask = Learner._taught

    def count(self: Learner, x: object) -> object:
        asked.append(len(x))  # type: ignore[arg-type]
        return ask(self, x)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "_taught", count)
    more = ("--distill-from", teacher, "--distill-views", "2", "--epochs", "3")
    losses = []
    for name in ("runs/one", "runs/two", "elsewhere/three"):
        asked.clear()
        assert train.main(flags(noise_data_set, tmp_path / name, *more)) == 0
        losses.append([row["train/Total Loss"] for row in read_metrics(tmp_path / name)])
        images = 2 * len(np.load(next(tmp_path.glob(f"{name}/../teacher_answers/*/view_0.npy"))))
        assert sum(asked) == (0 if name == "runs/two" else images)
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"distill_from": ""}, "give --distill-from"),
        ({"cutout": 4}, "leave --cutout out"),
        ({"first_size": 4}, "leave --first-size out"),
        ({"crop": "resized", "image_size": 8}, "leave --crop resized out"),
    ],
)
def test_views_of_what_cannot_be_kept_are_refused(changes: dict[str, object], reason: str):
    recipe = {"distill_views": 2, "distill_from": "t.h5"} | changes
    with pytest.raises(ValueError, match=reason):
        TrainingConfig(TINY, **recipe)  # type: ignore[arg-type]
