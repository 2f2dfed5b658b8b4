"""Training on photographs of any size: crops, colours, workers, whole runs.

The photographs are drawn here: coloured noise of several sizes, whose classes
differ in hue.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.records import DataError, Record, Unreadable
from sact_core.data.splits import open_split
from sact_core.evaluate import evaluate
from sact_core.train import __main__ as command
from sact_core.train import decode as decoding
from sact_core.train import read_metrics
from sact_core.train.batches import Batch
from sact_core.train.photographs import (
    ASPECTS,
    PhotographAugmenter,
    draw_box,
    recolour,
    shrinkage,
)
from sact_core.train.recipes import TrainingConfig
from sact_core.train.run_dir import RunDir
from tests.exits import exit_code

NETWORK = NetworkConfig(family="imagenet", units_per_block=(1, 1, 1, 1), num_classes=2)
RECIPE = TrainingConfig(NETWORK, crop="resized", image_size=32, batch_size=8, colour=1.0, cutout=6)


def write_photographs(folder: Path, num: int, seed: int = 0) -> None:
    """Two class folders of noise: red and blue, landscape and portrait."""
    rng = np.random.default_rng(seed)
    for i in range(num):
        name, channel = (("blue", 2), ("red", 0))[i % 2]
        pixels = rng.integers(0, 120, (*rng.integers(30, 70, 2), 3))
        pixels[..., channel] += 120
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i:02d}.jpg")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the splits ``train`` (24) and ``test`` (10)."""
    folder = tmp_path_factory.mktemp("photographs")
    write_photographs(folder / "train", 24)
    write_photographs(folder / "test", 10, 1)
    return str(folder)


def augmenter(
    photographs: str, workers: int = 1, split: str = "train", **changes: Any
) -> PhotographAugmenter:
    config = dataclasses.replace(RECIPE, **changes)
    return PhotographAugmenter(open_split(photographs, split), config, "imagenet", workers)


def first_batch(made: PhotographAugmenter) -> Batch:
    return made.batch(0, 0, made.order(0), 0, 1)


def flags(photographs: str, run_dir: Path, *more: str) -> list[str]:
    return [
        *("--preset", "photographs", "--dataset", photographs, "--run-dir", str(run_dir)),
        *("--units", "1_1_1_1", "--base-channels", "4", "--image-size", "32", "--amp", "off"),
        *("--batch-size", "8", "--num-threads", "1", "--device", "cpu", *more),
    ]


# --- crops and colours ---


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (1, 1), (400, 7)])
def test_crops_lie_within_and_have_the_areas_and_aspects_asked_for(
    rng: np.random.Generator, size: tuple[int, int]
) -> None:
    boxes = np.array([draw_box(rng, size, 0.2) for _ in range(2000)])
    left, top, right, bottom = boxes.T
    assert (boxes >= 0).all()
    assert (right <= size[0]).all()
    assert (bottom <= size[1]).all()
    width, height = right - left, bottom - top
    aspects = width / height
    assert aspects.min() >= ASPECTS[0] - 1e-9
    assert aspects.max() <= ASPECTS[1] + 1e-9
    areas = width * height / (size[0] * size[1])
    if size == (400, 7):  # nothing asked for fits: the largest central part
        np.testing.assert_allclose(boxes - [[200, 0, 200, 7]], [[-14 / 3, 0, 14 / 3, 0]] * 2000)
        return
    assert areas.min() >= 0.2
    # Uniform in area and log-uniform in aspect, but for what does not fit; in every place.
    assert 0.45 < areas.mean() < 0.55
    small = areas < 0.5
    assert np.log(aspects[small]).mean() == pytest.approx(0, abs=0.02)
    assert areas[small].mean() == pytest.approx(0.35, abs=0.01)
    assert (left / np.maximum(size[0] - width, 1e-9)).mean() == pytest.approx(0.5, abs=0.03)
    assert (top / np.maximum(size[1] - height, 1e-9)).mean() == pytest.approx(0.5, abs=0.03)


def test_crops_are_resized_mirrored_parts_of_their_image(tmp_path: Path) -> None:
    """A photograph whose red is its column and whose green is its row."""
    rows, columns = np.mgrid[0:60, 0:120]
    pixels = np.stack([2 * columns, 2 * rows, np.zeros_like(rows)], -1)
    (tmp_path / "train" / "it").mkdir(parents=True)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "train" / "it" / "0.png")
    made = augmenter(str(tmp_path), colour=0.0, cutout=0, min_area=0.3)
    seen = []
    for epoch in range(60):
        (x,) = made.batch(epoch, 0, made.order(epoch), 0, 1).images
        values = (x / 2 + 0.5) * 255
        across = np.diff(values[:, :, 0], axis=1).mean() * 32 / 2  # width of the crop
        down = np.diff(values[:, :, 1], axis=0).mean() * 32 / 2
        assert np.abs(np.diff(values[:, :, 0], axis=0)).max() <= 1.01  # rounded to whole levels
        seen.append((across, down))
    widths, heights = np.array(seen).T
    assert (widths < 0).sum() in range(15, 46)  # mirrored
    assert (heights > 0).all()
    shares = np.abs(widths) * heights / (60 * 120)
    assert shares.min() > 0.25
    assert 0.65 < np.abs(widths / heights).min() < 0.85
    assert 1.2 < np.abs(widths / heights).max() < 1.5


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_photographs_are_decoded_smaller(tmp_path: Path, orientation: int) -> None:
    """Red grows downwards, green to the right; a turned camera swaps the file's sides."""
    rows, columns = np.mgrid[0:480, 0:800]
    pixels = np.stack([rows / 2, columns / 4, 0 * rows], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(pixels)
    if orientation == 6:
        image = image.transpose(Image.Transpose.ROTATE_90)
    (tmp_path / "train" / "it").mkdir(parents=True)
    image.save(tmp_path / "train" / "it" / "0.jpg", quality=98, subsampling=0, exif=exif)
    image.save(tmp_path / "train" / "it" / "0.png", exif=exif)  # is never decoded smaller
    asked = []

    def eighth(width: int, height: int) -> int:
        asked.append((width, height))
        return 8

    source = open_split(str(tmp_path), "train")
    small, whole = source.readable([0, 1], Unreadable(), eighth)
    assert asked == [(800, 480)]
    assert small[0].shape == (60, 100, 3)
    assert whole[0].shape == (480, 800, 3)
    smaller = pixels.reshape(60, 8, 100, 8, 3).mean((1, 3))
    assert np.abs(small[0] - smaller).max() <= 4

    made = augmenter(str(tmp_path), colour=0.0, cutout=0, min_area=0.5, batch_size=2)
    # The same two crops, of the one file and of the other.
    one, other = (made.batch(0, 0, np.full(2, i), 0, 1).images for i in (0, 1))
    assert np.abs(one - other).max() < 0.08
    assert np.ptp(one) > 0.5


def test_the_crop_says_how_much_smaller() -> None:
    found = [shrinkage((10.0, 0.0, 10.0 + side, 900.0), 32) for side in (20, 63, 64, 255, 256)]
    assert found == [1, 1, 2, 4, 8]
    assert shrinkage((0.0, 0.0, 5000.0, 5000.0), 32) == 8


def test_colour_is_left_alone_at_nothing_and_changes_one_thing_each() -> None:
    pixels = np.full((4, 4, 3), (120, 60, 60), np.uint8)
    pixels[:2] = (60, 60, 120)
    image = Image.fromarray(pixels)

    def changed(*amounts: float) -> np.ndarray:
        return np.asarray(recolour(image, *amounts)).astype(int)

    np.testing.assert_array_equal(changed(0, 0, 0, 0), pixels)
    np.testing.assert_array_equal(changed(1, 0, 0, 0), pixels + 32)
    luma = pixels @ [0.299, 0.587, 0.114]
    contrast = changed(0, 1, 0, 0) @ [0.299, 0.587, 0.114]
    assert contrast.std() == pytest.approx(1.5 * luma.std(), rel=0.05)
    assert contrast.mean() == pytest.approx(luma.mean(), abs=1.5)
    for amounts, spread in (((0, 0, 1, 0), 1.5), ((0, 0, -1, 0), 0.5)):
        found = changed(*amounts)
        np.testing.assert_allclose(np.ptp(found, -1), 60 * spread, atol=1.5)
        np.testing.assert_allclose(found @ [0.299, 0.587, 0.114], luma, atol=1)
    turned = changed(0, 0, 0, 1)
    np.testing.assert_allclose(turned @ [0.299, 0.587, 0.114], luma, atol=1)
    assert np.abs(turned - pixels).max() > 20


def test_cutout_and_scaling(photographs: str) -> None:
    whole, blanked = (first_batch(augmenter(photographs, cutout=side)) for side in (0, 6))
    assert whole.images.dtype == np.float32
    assert whole.images.min() >= -1
    assert whole.images.max() <= 1
    blank = (blanked.images == 0).all(-1)
    np.testing.assert_array_equal(blanked.images[~blank], whole.images[~blank])
    assert ((blank.sum((1, 2)) >= 9) & (blank.sum((1, 2)) <= 36)).all()


# --- determinism ---


def test_batches_are_the_same_whatever_the_number_of_workers(photographs: str) -> None:
    one, three = augmenter(photographs, 1), augmenter(photographs, 3)
    order = one.order(2)
    assert sorted(order) == list(range(24))
    for step in (2, 0):  # in any order
        a, b = (each.batch(2, step, order, 0, 1) for each in (one, three))
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)
    other = augmenter(photographs, seed=1).batch(2, 0, order, 0, 1)
    np.testing.assert_array_equal(other.labels, a.labels)
    assert not np.array_equal(other.images, a.images)
    assert not np.array_equal(one.batch(3, 0, order, 0, 1).images, a.images)
    one.close()
    three.close()


def test_what_is_kept_in_memory_changes_no_pixel(
    photographs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_decoded = 0
    decode = Record.pixels

    def counted(self: Record, *args: Any) -> np.ndarray:
        nonlocal num_decoded
        num_decoded += 1
        return decode(self, *args)

    monkeypatch.setattr(Record, "pixels", counted)
    config = dataclasses.replace(RECIPE, image_size=16)  # some crops are twice as large
    source = open_split(photographs, "train")
    num_bytes = sum(image.nbytes for image, *_ in source.read(range(24)))
    found = []
    for keep_bytes in (0, num_bytes // 3, 2 * num_bytes):
        num_decoded = 0
        made = PhotographAugmenter(source, config, "imagenet", 2, keep_bytes)
        batches = [made.batch(e, s, made.order(e), 0, 1) for e in range(3) for s in range(3)]
        found.append((num_decoded, np.stack([batch.images for batch in batches])))
    assert [num for num, _ in found[:2]] == [72, 72]  # a set that is too large is not kept
    assert 24 < found[2][0] < 72
    np.testing.assert_array_equal(found[1][1], found[0][1])
    np.testing.assert_array_equal(found[2][1], found[0][1])


def test_processes_share_each_batch(photographs: str) -> None:
    made = augmenter(photographs, 2)
    order = made.order(0)
    whole = made.batch(0, 1, order, 0, 1)
    for rank in (0, 1):
        share = made.batch(0, 1, order, rank, 2)
        np.testing.assert_array_equal(share.images, whole.images[rank::2])
        np.testing.assert_array_equal(share.labels, whole.labels[rank::2])


def test_only_the_first_so_many_are_seen(photographs: str) -> None:
    assert sorted(augmenter(photographs, num_train_examples=9).order(0)) == list(range(9))


def test_a_photograph_that_cannot_be_read_gives_its_place_to_the_next(tmp_path: Path) -> None:
    write_photographs(tmp_path / "train", 12)
    broken = tmp_path / "train" / "blue" / "04.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    (tmp_path / "train" / "red" / "03.jpg").write_text("no photograph")
    one, three = augmenter(str(tmp_path), 1), augmenter(str(tmp_path), 3)
    order = one.order(0)
    batches = [[each.batch(0, step, order, 0, 1) for step in (0, 1)] for each in (one, three)]
    for a, b in zip(*batches, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
    assert one.left_out.names == three.left_out.names == ["blue/04.jpg", "red/03.jpg"]
    assert one.left_out.line(12) == (
        "skipped 2 of 12 images that cannot be read: blue/04.jpg, red/03.jpg"
    )


def test_a_set_without_one_readable_photograph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "it").mkdir(parents=True)
    (tmp_path / "train" / "it" / "0.jpg").write_text("no photograph")
    with pytest.raises(DataError, match="1 images in a row that cannot be read; the last: it/0"):
        first_batch(augmenter(str(tmp_path)))


# --- whole runs ---


def test_a_run_is_evaluated_as_its_checkpoint_says(photographs: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    more = ("--epochs", "6", "--halting", "sact", "--learning-rate", "0.02", "--eval-every", "6")
    assert command.main(flags(photographs, run_dir, *more)) == 0
    row = read_metrics(run_dir)[-1]
    made = checkpoints.read(run_dir / "last.h5")
    assert made.preprocessing == Preprocessing("imagenet", 32, crop_fraction=0.875, fit="crop")
    assert made.config.family == "imagenet"
    assert made.provenance["recipe"]["crop"] == "resized"
    assert made.provenance["data_set"]["train_count"] == 24
    assert 0 <= row["train/share_waiting_for_data"] <= 1
    net = Net.from_checkpoint(made, "reference")
    found = evaluate(net, open_split(photographs, "test")).summary()
    assert found["eval/Accuracy"] == row["eval/Accuracy"]
    assert found["Total Flops/mean"] == row["Total Flops/mean"]
    assert row["train/Accuracy"] > 0.8


def test_a_run_that_was_stopped_ends_bit_identical(
    photographs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert command.main(flags(photographs, whole, "--epochs", "2", "--data-workers", "1")) == 0
    make, calls = PhotographAugmenter.batch, []

    def stops(self: PhotographAugmenter, *args: Any) -> Batch:
        calls.append(args)
        if len(calls) == 5:
            raise OSError("the disk is gone")
        return make(self, *args)

    again = flags(photographs, parted, "--epochs", "2", "--data-workers", "3")
    monkeypatch.setattr("sact_core.train.loop.SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(PhotographAugmenter, "batch", stops)
        assert command.main(again) == 2
    state = RunDir(parted).load_state()
    assert state is not None
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 1)
    assert command.main([*again, "--resume"]) == 0
    one, other = (checkpoints.read(path / "last.h5") for path in (whole, parted))
    for name, value in one.params.items():
        np.testing.assert_array_equal(other.params[name], value, err_msg=name)
    losses = [[row["train/Total Loss"] for row in read_metrics(path)] for path in (whole, parted)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("change", ["added", "removed", "replaced", "unchanged"])
def test_a_run_goes_on_with_the_same_images_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    folder = tmp_path / "photos"
    write_photographs(folder, 20)
    argv = ["--family", "cifar", "--units", "1_1_1", "--base-channels", "4", "--batch-size", "8"]
    argv += ["--image-size", "16", "--max-steps", "2", "--run-dir", str(tmp_path / "run")]
    assert command.main([*argv, "--dataset", str(folder)]) == 0
    some = sorted((folder / "red").iterdir())[0]
    if change == "added":
        shutil.copy(some, folder / "red" / "one_more.jpg")
        shutil.copy(some, folder / "red" / "another.jpg")
        shutil.copy(some, folder / "red" / "and_another.jpg")
    elif change == "removed":
        shutil.rmtree(folder / "red")
        (folder / "red").mkdir()
        for name in ("a.jpg", "b.jpg"):
            shutil.copy(folder / "blue" / "00.jpg", folder / "red" / name)
    elif change == "replaced":
        for path in (folder / "red").iterdir():
            shutil.copy(folder / "blue" / "00.jpg", path)
    capsys.readouterr()
    code = command.main([*argv, "--dataset", str(folder), "--resume"])
    said = capsys.readouterr().err
    if change == "unchanged":
        assert (code, said) == (0, "")
        return
    assert code == 2
    assert said.startswith(f"error: {tmp_path / 'run'} was started with other images: ")
    assert said.count("\n") == 1
    assert {
        "added": "all-but:20% had 16 and has 18, held-out:20% had 4 and has 5; give it those",
        "removed": "all-but:20% had 16 and has 9, held-out:20% had 4 and has 3; give it those",
        "replaced": "all-but:20% has 16 as before, but not the same files, held-out:20% has 4 as",
    }[change] in said


def test_little_is_kept_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, kept in ((None, 1 << 32), (1 << 40, 1 << 32), (1 << 28, 1 << 26)):
        monkeypatch.setattr(decoding, "available_memory", lambda free=free: free)
        assert (decoding.bytes_to_keep(1), decoding.bytes_to_keep(4)) == (kept, kept // 4)


@pytest.mark.parametrize("crop", ["resized", "padded"])
def test_a_run_names_and_counts_what_it_skipped(
    photographs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], crop: str
) -> None:
    broken, run_dir = tmp_path / "broken", tmp_path / "run"
    shutil.copytree(photographs, broken)
    for name in ("train/blue/04.jpg", "train/red/01.jpg", "test/red/03.jpg"):
        (broken / name).write_bytes((broken / name).read_bytes()[:300])
    more = ("--crop", crop, "--colour", "0", "--epochs", "1", "--eval-every", "1")
    assert command.main(flags(str(broken), run_dir, *more)) == 0
    said = capsys.readouterr().out.splitlines()
    lines = [line for line in said if line.startswith("skipped")]
    assert lines == [
        "skipped 2 of 24 training images that cannot be read: blue/04.jpg, red/01.jpg",
        "skipped 1 of 10 test images that cannot be read: red/03.jpg",
    ]
    record = checkpoints.read(run_dir / "last.h5").provenance
    assert (record["data_set"]["train_count"], record["metrics"]["count"]) == (22, 9)
    names = [image["name"] for image in record["data_set"]["skipped"]["images"]]
    assert names == ["blue/04.jpg", "red/01.jpg"]
    assert record["metrics"]["skipped"]["count"] == 1


def test_the_imagenet_family_trains_on_photographs_unless_told_otherwise() -> None:
    def config(*argv: str) -> TrainingConfig:
        return command.parse_config(command.build_parser().parse_args(argv))[0]

    for argv in (("--preset", "photographs"), ("--preset", "finetune", "--family", "imagenet")):
        made = config(*argv)
        assert (made.crop, made.image_size, made.colour) == ("resized", 224, 0.5)
        assert made.network.units_per_block == (3, 4, 6, 3)
    padded = config("--family", "imagenet", "--crop", "padded")
    assert (padded.crop, padded.image_size, padded.colour) == ("padded", None, 0.0)
    assert config().crop == config("--preset", "fast").crop == "padded"


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--colour", "2"], "colour must be from 0 to 1"),
        (["--min-area", "0"], "min_area must be from 0.001 to 1"),
        (["--data-workers", "0"], "--data-workers must be from 1 to 1024, got 0"),
        (["--crop", "padded", "--colour", "0.5"], "changes of colour need resized crops"),
        (["--family", "cifar", "--units", "1", "--crop", "resized", "--colour", "nan"], "colour"),
    ],
)
def test_a_mistake_is_one_sentence(
    photographs: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    reason: str,
) -> None:
    assert exit_code(command.main, flags(photographs, tmp_path / "run", *argv)) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
