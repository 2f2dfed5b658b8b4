"""Kinds of damage by what they promise; the ascent on cost; the command."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net
from sact_core.damage import __main__ as command
from sact_core.damage.kinds import KINDS, STRENGTHS, damage
from sact_core.damage.measured import point
from sact_core.damage.worst import _input, dearer
from sact_core.data.splits import open_split
from sact_core.measures.passes import run_pass
from sact_core.preprocess import normalise
from tests.networks import any_tau_checkpoint, random_net
from tests.training import write_data_set


def picture(side: int = 32) -> np.ndarray:
    """A smooth picture with an edge and some texture."""
    at = np.arange(side)
    waves = 90 + 60 * np.sin(at[:, None] / 3) + 40 * np.cos(at / 5)
    waves[:, side // 2 :] += 30
    return np.stack([waves, waves * 0.8, 255 - waves], -1).clip(0, 255).astype(np.uint8)


class TestKinds:
    @pytest.mark.parametrize("side", [32, 80])
    @pytest.mark.parametrize("kind", KINDS)
    def test_more_strength_is_more_damage(self, kind: str, side: int) -> None:
        image = picture(side)
        changes = []
        for strength in STRENGTHS:
            changed = damage(image, kind, strength)
            assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
            changes.append(np.abs(changed.astype(int) - image).mean())
        assert changes[0] > 0.1
        assert changes[-1] > 1.2 * changes[0]
        assert all(b > 0.95 * a for a, b in pairwise(changes))

    def test_each_kind_does_what_its_name_says(self) -> None:
        image = picture()
        noise = damage(image, "noise", 5).astype(int) - image
        assert noise[(image > 60) & (image < 195)].std() == pytest.approx(25.5, rel=0.1)
        assert (damage(image, "noise", 5, 1) != damage(image, "noise", 5, 2)).mean() > 0.8
        np.testing.assert_array_equal(damage(image, "noise", 3, 7), damage(image, "noise", 3, 7))
        contrast = damage(image, "contrast", 5)
        np.testing.assert_allclose(contrast.mean((0, 1)), image.mean((0, 1)), atol=0.5)
        assert contrast.std() < image.std()
        np.testing.assert_allclose(contrast[..., 0].std(), 0.15 * image[..., 0].std(), rtol=0.05)
        flat = np.full((16, 16, 3), 77, np.uint8)
        for kind in set(KINDS) - {"noise"}:
            np.testing.assert_allclose(damage(flat, kind, 5), flat, atol=2)
        point = np.zeros((31, 31, 3), np.uint8)
        point[15, 15] = 255
        blurred = damage(point, "blur", 5).astype(float)[..., 0]
        assert blurred[15, 15] == pytest.approx(255 / (2 * np.pi), abs=1)  # a deviation of 1
        assert len(np.unique(damage(image, "pixelation", 5)[0, :, 0])) <= 20

    def test_others_are_refused(self) -> None:
        with pytest.raises(ValueError, match="damage must be one of noise, blur"):
            damage(picture(), "fog", 1)
        with pytest.raises(ValueError, match="from 1 to 5, got 6"):
            damage(picture(), "noise", 6)


class TestWorst:
    @pytest.mark.parametrize("kind", ["cifar", "imagenet", "mobile"])
    def test_inputs_are_those_of_the_preprocessing(
        self, kind: str, rng: np.random.Generator
    ) -> None:
        import torch

        pixels = rng.integers(0, 256, (3, 8, 8, 3), np.uint8)
        comp = _input(torch.from_numpy(pixels).permute(0, 3, 1, 2).float(), kind)
        ref = normalise(pixels, kind)
        np.testing.assert_allclose(comp.permute(0, 2, 3, 1).numpy(), ref, atol=1e-5)

    @pytest.mark.parametrize("halting", ["sact", "act"])
    def test_images_get_dearer_within_the_bound(
        self, halting: str, rng: np.random.Generator
    ) -> None:
        net = random_net(
            rng, "dense", units_per_block=(3, 3, 3), base_channels=4, num_classes=3,
            halting=halting,
        )  # fmt: skip
        pixels = rng.integers(0, 256, (4, 16, 16, 3), np.uint8)
        steps: list[int] = []
        changed = dearer(net, pixels, bound=6, steps=8, done=steps.append)
        assert len(steps) == 9
        assert np.abs(changed.astype(int) - pixels).max() <= 6
        costs = [
            np.sum([b.ponder_cost.reshape(4, -1).mean(1) for b in net.forward(x).blocks], 0)
            for x in (normalise(pixels, "cifar"), normalise(changed, "cifar"))
        ]
        assert (costs[1] >= costs[0] - 1e-5).all()
        assert costs[1].mean() > costs[0].mean() + 0.05

    def test_ascent_is_better_than_chance(self, rng: np.random.Generator) -> None:
        net = random_net(
            rng, "dense", units_per_block=(3, 3, 3), base_channels=4, num_classes=3, halting="sact"
        )
        pixels = rng.integers(0, 256, (4, 16, 16, 3), np.uint8)
        start, end = (dearer(net, pixels, steps=steps) for steps in (0, 12))
        flops = [net.forward(normalise(x, "cifar")).flops.mean() for x in (pixels, start, end)]
        assert flops[2] > max(flops[:2])

    def test_what_never_halts_is_refused(self, rng: np.random.Generator) -> None:
        net = random_net(rng, "dense", units_per_block=(1, 1, 1), base_channels=2, halting="none")
        with pytest.raises(ValueError, match="never halts"):
            dearer(net, np.zeros((1, 8, 8, 3), np.uint8))
        net = random_net(rng, "reference", units_per_block=(2, 1, 1), halting="sact")
        with pytest.raises(ValueError, match="give --backend dense"):
            dearer(net, np.zeros((1, 8, 8, 3), np.uint8))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("damage")
    checkpoints.write(folder / "net.h5", any_tau_checkpoint())
    Image.fromarray(picture(40)).save(folder / "cat.png")
    data = write_data_set(folder / "data", 24)
    return {"net": str(folder / "net.h5"), "data": data, "cat": str(folder / "cat.png")}


def test_points_are_paired(made: dict[str, str]) -> None:
    net = Net.from_checkpoint(checkpoints.read(made["net"]), "reference")
    source = open_split(made["data"], "test")
    whole = run_pass(net.at_tau(0.001), source)
    cheap = run_pass(net.at_tau(0.1), source)
    found = point(cheap, whole, whole)
    assert found["accuracy"] == cheap.right.mean()
    value, low, high = found["flops_risen"]
    assert value == pytest.approx(cheap.flops.mean() - whole.flops.mean())
    assert low <= value <= high
    assert point(whole, whole, whole)["ahead"] == [0, 0, 0]
    assert "ahead" not in point(whole, whole, None)


class TestCommand:
    def test_kinds(
        self, made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        argv = [
            *("kinds", "--checkpoint", made["net"], "--dataset", made["data"], "--split", "test"),
            *("--taus", "0.001", "0.1", "--num-examples", "6", "--num-threads", "1"),
            *("--keep", "kept"),
        ]
        assert command.main([*argv, "--out", "it.png", "it.md"]) == 0
        assert "pixelation" in capsys.readouterr().out
        assert len(Path("it.md").read_text().split("| pixelation |")) == 11
        with Image.open("it.png") as drawn:
            assert drawn.width == 2700
        assert len(list(Path("kept").iterdir())) == 52
        assert command.main([*argv, "--json"]) == 0
        first, last = json.loads(capsys.readouterr().out)["networks"]
        assert (first["tau"], last["tau"], first["images"]) == (0.001, 0.1, 6)
        assert len(first["blur"]) == 5
        assert "ahead" in first["blur"][0]
        assert "ahead" not in last["blur"][0]
        assert first["undamaged"]["flops_risen"] == [0, 0, 0]

    def test_worst(
        self, made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = ["--checkpoint", made["net"], "--num-threads", "1", "--steps", "3", "--json"]
        data = ["--dataset", made["data"], "--split", "test", "--images", "4"]
        assert command.main(["worst", *flags, *data]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["images"] == 24
        assert found["changed"]["images"] == 4
        assert found["dearest"]["flops"] <= found["dense"]
        ratio = found["changed"]["flops_changed"] / found["changed"]["flops"]
        assert ratio == pytest.approx(found["changed"]["times_as_dear"], abs=0.02)
        low, high = found["changed"]["times_as_dear_interval"]
        assert low < found["changed"]["times_as_dear"] < high
        assert high < found["changed"]["times_as_dear_at_most"]
        out = str(tmp_path / "it.svg")
        photo = ["--image", made["cat"], "--image-size", "24", "--out", out]
        assert command.main(["worst", *flags, *photo]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["image"] == "cat.png"
        assert found["changed"]["times_as_dear_interval"] is None
        assert "of 255" in Path(out).read_text()

    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            (["kinds", "--out", "it.txt"], "--out it.txt must end in .svg"),
            (["kinds", "--tau", "5"], "tau"),
            (["worst", "--bound", "0"], "--bound must be from 1 to 255"),
            (["worst", "--taus", "0.01", "0.02"], "worst is of one network at one price"),
            (["worst", "--image-size", "20"], "--image-size is of --image"),
            (["worst", "--out", "none/it.png"], "cannot write none/it.png: the folder none does"),
            (["kinds", "--out", "none/it.md"], "cannot write none/it.md: the folder none does"),
            (["worst", "--steps", "99999"], "--steps takes 10000 at most"),
        ],
    )
    def test_bad_flags_are_one_sentence(
        self, made: dict[str, str], argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        more = ["--checkpoint", made["net"], "--dataset", made["data"], "--split", "test"]
        assert command.main([argv[0], *more, *argv[1:]]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1

    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            ([], "there is no file absent.jpg"),
            *(
                ([flag, value], f"{flag} is of a data set, and --image looks at none")
                for flag, value in (
                    *(("--dataset", "cifar10"), ("--split", "test"), ("--num-examples", "2")),
                    *(("--keep", "kept"), ("--images", "3")),
                )
            ),
        ],
    )
    def test_one_photograph_takes_no_flags_of_a_data_set(
        self, made: dict[str, str], argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = ["worst", "--checkpoint", made["net"], "--image", "absent.jpg", *argv]
        assert command.main(flags) == 2
        assert capsys.readouterr().err == f"error: {said}\n"
