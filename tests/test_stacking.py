"""Images by size, as many as memory has room for; photographs one at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net, memory
from sact_core.backends.memory import batch_that_fits, estimate_memory
from sact_core.backends.stacking import stacked
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.source import Source
from sact_core.evaluate import __main__ as command
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.processes import Processes
from sact_core.train.feed import Feed
from sact_core.train.recipes import TrainingConfig
from tests.conftest import ROOT
from tests.in_memory import in_memory
from tests.training import TINY, examples

CONFIG = NetworkConfig("cifar", (1, 1, 1), 2, 3, "sact")
PLAN = build_plan(CONFIG)
SMALL, LARGE = (8, 8), (16, 16)
ONE = estimate_memory(PLAN, (1, *SMALL, 3))
FEW, MANY = 4, 16  # photographs
PHOTOGRAPH = 4000 * 3000 * 3  # bytes, decoded


def free(monkeypatch: pytest.MonkeyPatch, num_bytes: int | None) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: num_bytes)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    made = Checkpoint(CONFIG, init_params(PLAN), Preprocessing("cifar", 8), ("a", "b", "c"))
    checkpoints.write(tmp_path / "it.h5", made)
    return str(tmp_path / "it.h5")


def test_a_batch_takes_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 20 * ONE)
    assert batch_that_fits(PLAN, SMALL, 100) == 10
    assert batch_that_fits(PLAN, SMALL, 7) == 7
    assert batch_that_fits(PLAN, SMALL, 100, num_processes=3) == 3
    free(monkeypatch, ONE)
    assert batch_that_fits(PLAN, SMALL, 100) == 1
    free(monkeypatch, ONE - 1)
    with pytest.raises(ValueError, match=r"^1 image of 8 x 8 pixels needs about 0\.0 GiB .* free;"):
        batch_that_fits(PLAN, SMALL, 100)
    free(monkeypatch, None)
    assert batch_that_fits(PLAN, SMALL, 100) == 100


def test_no_more_is_asked_for_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    large = estimate_memory(PLAN, (1, *LARGE, 3))
    assert large == 4 * ONE
    free(monkeypatch, 16 * ONE)  # room for eight small ones, or for two large ones
    sizes = [*[SMALL] * 9, LARGE, SMALL, SMALL, LARGE, SMALL]
    asked = 0

    def inputs():
        nonlocal asked
        for i, size in enumerate(sizes):
            asked += 1
            yield np.full((1, *size, 3), i, np.float32), i

    found = []
    for x, tags in stacked(inputs(), PLAN, 100):
        assert x[:, 0, 0, 0].tolist() == tags
        found.append((x.shape[1], tags, asked))
    assert found == [
        (8, [0, 1, 2, 3, 4, 5, 6, 7], 8),
        (8, [8, 10, 11], 13),
        (16, [9, 12], 13),
        (8, [13], 14),
    ]
    assert next(tags for _, tags in stacked(inputs(), PLAN, 3)) == [0, 1, 2]


# --- an input that no memory has room for ---


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_):
        raise AssertionError("an image was read")

    monkeypatch.setattr(Source, "encoded", read)


@pytest.mark.parametrize(
    "flags",
    [
        ("--image-size", "4096"),
        ("--sizes", "8,4096"),
        ("--image-size", "4096", "--num-examples", "1"),
    ],
)
def test_evaluation_at_a_huge_size_is_refused_before_an_image_is_read(
    flags, checkpoint, tmp_path, monkeypatch, capsys
) -> None:
    for i, name in enumerate("abc"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (80 * i, 0, 0)).save(tmp_path / "data" / name / "1.png")
    free(monkeypatch, estimate_memory(PLAN, (1, 4096, 4096, 3)) - 1)
    no_reading(monkeypatch)
    given = ["--checkpoint", checkpoint, "--dataset", str(tmp_path / "data"), "--split", "all"]
    assert command.main([*given, "--backend", "reference", *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: 1 image of 4096 x 4096 pixels needs about ")
    assert said.count("\n") == 1


def test_an_export_at_a_huge_size_is_refused_before_an_image_is_read(
    checkpoint, tmp_path, monkeypatch
) -> None:
    from sact_core.export_maps import export

    net = Net.from_checkpoint(checkpoints.read(checkpoint), "reference")
    free(monkeypatch, 1 << 30)
    no_reading(monkeypatch)
    with pytest.raises(ValueError, match="1 image of 4096 x 4096 pixels needs about"):
        export(net, in_memory(np.zeros((1, 8, 8, 3), np.uint8)), tmp_path / "m.h5", image_size=4096)


def test_little_memory_changes_no_export(checkpoint, tmp_path, monkeypatch, rng) -> None:
    from sact_core.export_maps import export
    from sact_core.maps.file import MapFile

    net = Net.from_checkpoint(checkpoints.read(checkpoint), "reference")
    source = in_memory(rng.integers(0, 256, (7, 8, 8, 3), np.uint8))
    sizes, forward = [], net.engine.forward
    monkeypatch.setattr(
        net.engine, "forward", lambda x, **how: sizes.append(len(x)) or forward(x, **how)
    )
    for name, room in (("whole", None), ("parts", int(4.5 * ONE))):
        free(monkeypatch, room)
        assert export(net, source, tmp_path / f"{name}.h5", batch_size=5)[0] == 7
    assert sizes == [5, 2, 2, 2, 2, 1]
    with MapFile(tmp_path / "whole.h5") as ref, MapFile(tmp_path / "parts.h5") as comp:
        for key in ("flops", "flops_exact", "labels", "num_units_map"):
            np.testing.assert_array_equal(ref.root[key][()], comp.root[key][()])


def test_test_images_of_a_run_come_in_batches_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = build_plan(TINY)
    one = estimate_memory(plan, (1, *SMALL, 3))
    config = TrainingConfig(TINY, batch_size=12, crop="padded")
    test = examples(10, 1)
    for source in (test, in_memory(test.images)):
        feed = Feed(config, examples(24), source, Processes(), 1)
        free(monkeypatch, 9 * one)
        batches = list(feed.test_inputs(plan))
        assert [len(images) for images, _ in batches] == [4, 4, 2]
        free(monkeypatch, None)
        [(whole, _)] = feed.test_inputs(plan)
        np.testing.assert_array_equal(whole, np.concatenate([images for images, _ in batches]))


# --- memory that photographs take ---


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of 12 megapixels of three classes."""
    folder = tmp_path_factory.mktemp("photos")
    ramp = np.linspace(0, 255, 4000).astype(np.uint8)
    pixels = np.broadcast_to(ramp[None, :, None], (3000, 4000, 3))
    Image.fromarray(np.ascontiguousarray(pixels)).save(folder / "one.jpg")
    for i in range(MANY):
        where = folder / "all" / "abc"[i % 3]
        where.mkdir(parents=True, exist_ok=True)
        os.link(folder / "one.jpg", where / f"{i}.jpg")
    return folder / "all"


@pytest.mark.parametrize("what", ["load", "evaluate", "export", "family"])
def test_memory_does_not_grow_with_photographs(what, photos, checkpoint, tmp_path) -> None:
    argv = [what, str(photos), checkpoint, str(tmp_path), str(FEW), str(MANY)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.peak_memory", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count, growth = map(int, done.stdout.split())
    assert count == MANY
    assert growth < MANY * PHOTOGRAPH / 4  # were all of them held, all of it
