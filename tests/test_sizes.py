"""Evaluation at several sizes: accuracy against FLOPs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.splits import open_split
from sact_core.evaluate.__main__ import main
from sact_core.evaluate.sizes import parse_sizes
from sact_core.flops import dense_flops
from sact_core.preprocess import central_crop, kept_size, resize_bilinear
from tests.networks import random_params

NAMES = tuple(f"class{i:02}" for i in range(12))
SHAPES = [(40, 60), (60, 40), (50, 50), (33, 61)]
IMAGENET = {
    "family": "imagenet",
    "units_per_block": (1, 3, 3, 2),
    "base_channels": 4,
    "num_classes": 12,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders of photographs of several shapes."""
    rng = np.random.default_rng(5)
    root = tmp_path_factory.mktemp("sizes")
    for i in range(12):
        where = root / "test" / NAMES[i]
        where.mkdir(parents=True)
        pixels = rng.integers(0, 256, (*SHAPES[i % 4], 3), np.uint8)
        Image.fromarray(pixels).save(where / f"{i}.png")
    return str(root)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A SACT network and a vanilla one."""
    root = tmp_path_factory.mktemp("networks")
    for halting in ("sact", "none"):
        config = NetworkConfig(**IMAGENET, halting=halting, halting_bias=1.0)
        params = random_params(np.random.default_rng(1), config)
        fit = Preprocessing("imagenet", 48, crop_fraction=0.875)
        made = checkpoints.Checkpoint(config, params, fit, NAMES)
        checkpoints.write(root / f"{halting}.h5", made)
    return [str(root / "sact.h5"), str(root / "none.h5")]


def run(capsys, *argv):
    assert main([str(arg) for arg in (*argv, "--backend", "reference")]) == 0
    return capsys.readouterr().out


def images(folder):
    source = open_split(folder, "test")
    return source.read(range(len(source)))


def test_each_size_is_an_evaluation_of_its_own(folder, files, capsys):
    argv = ["--checkpoint", *files, "--dataset", folder]
    found = json.loads(run(capsys, *argv, "--sizes", "64, 32,64", "--json"))["networks"]
    assert [one["network"] for one in found] == ["ResNet-29 SACT", "ResNet-29"]
    for file, curve in zip(files, found, strict=True):
        assert [row["image_size"] for row in curve["sizes"]] == [32, 64]
        assert curve["content_hash"] == checkpoints.read_header(file).content_hash
        for row in curve["sizes"]:
            argv = ["--checkpoint", file, "--dataset", folder, "--image-size", row["image_size"]]
            alone = json.loads(run(capsys, *argv, "--json"))
            assert {key: alone[key] for key in row} == row
            assert "eval/Recall@5" in row
    vanilla = found[1]["sizes"]
    assert all(row["Total Flops/mean"] == row["Dense Flops/mean"] for row in vanilla)
    assert vanilla[1]["Total Flops/mean"] > 3.5 * vanilla[0]["Total Flops/mean"]


def test_a_cropped_size_is_the_side_of_the_square(folder, files, capsys):
    argv = ["--checkpoint", files[0], "--dataset", folder, "--image-size", 40, "--json"]
    found = json.loads(run(capsys, *argv))
    net = Net.from_checkpoint(checkpoints.read(files[0]), "reference")
    right = of_5 = 0
    flops = []
    for image, label, _ in images(folder):
        x = resize_bilinear(central_crop(image, 0.875), (40, 40)) * 2 - 1
        result = net.forward(x[None])
        best = np.argsort(-result.logits[0], kind="stable")
        right += best[0] == label
        of_5 += label in best[:5]
        flops.append(int(result.flops[0]))
    assert found["eval/Accuracy"] == right / 12
    assert found["eval/Recall@5"] == of_5 / 12
    assert 0 < of_5 < 12
    assert found["Total Flops/mean"] == np.mean(flops)
    assert found["Total Flops/std"] == pytest.approx(np.std(flops, ddof=1))
    assert found["Dense Flops/mean"] == dense_flops(net.plan, (40, 40)).total[0]


def test_a_kept_size_is_the_longer_side(folder, files, capsys):
    argv = ["--checkpoint", files[0], "--dataset", folder, "--fit", "keep"]
    found = json.loads(run(capsys, *argv, "--image-size", 40, "--json"))
    net = Net.from_checkpoint(checkpoints.read(files[0]), "reference")
    sizes = [kept_size(image.shape[:2], 40, net.plan.divisor) for image, _, _ in images(folder)]
    assert all(max(size) == 40 for size in sizes)
    assert min(min(size) for size in sizes) < 30
    dense = [dense_flops(net.plan, size).total[0] for size in sizes]
    assert found["Dense Flops/mean"] == np.mean(dense)
    ones = [net.run([image], 40, "keep")[0] for image, _, _ in images(folder)]
    assert found["Total Flops/mean"] == np.mean([one.flops[0] for one in ones])
    said = run(capsys, *argv, "--sizes", "40")
    assert "size: longer side in pixels" in said


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_table_and_plot(folder, files, tmp_path, capsys, suffix):
    plot = tmp_path / f"sizes.{suffix}"
    argv = ["--checkpoint", *files, "--dataset", folder, "--sizes", "32,48", "--num-examples", 4]
    said = run(capsys, *argv, "--plot", plot)
    found = json.loads(run(capsys, *argv, "--json"))["networks"]
    for curve in found:
        head = f"{curve['network']}, {curve['checkpoint']}: 4 images of {folder} test, reference"
        lines = said.partition(head)[2].splitlines()[3:]  # after the rest, a gap and the titles
        for line, row in zip(lines, curve["sizes"], strict=False):
            share = row["Total Flops/mean"] / row["Dense Flops/mean"]
            assert line.split()[:6] == [
                str(row["image_size"]),
                f"{row['eval/Accuracy']:.2%}",
                f"{row['eval/Recall@5']:.2%}",
                f"{row['Total Flops/mean'] / 1e6:,.1f}",
                f"{row['Total Flops/std'] / 1e6:,.1f}",
                f"{share:.1%}",
            ]
    assert found[0]["sizes"][0]["Total Flops/mean"] < found[0]["sizes"][0]["Dense Flops/mean"]
    assert f"drawn: {plot}" in said
    beginnings = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert plot.read_bytes().startswith(beginnings[suffix])
    assert [path.name for path in tmp_path.iterdir()] == [plot.name]
    plot.write_bytes(b"precious")
    assert main([str(arg) for arg in (*argv, "--plot", plot)]) == 2
    assert capsys.readouterr().err == f"error: {plot} exists; give --force to replace it\n"
    assert plot.read_bytes() == b"precious"
    run(capsys, *argv, "--plot", plot, "--force")
    assert plot.read_bytes().startswith(beginnings[suffix])


def test_sizes_are_read_once_each():
    for given in ("224, 128,160,128", ["224,", "128", "160,128"], "224 128 160"):
        assert parse_sizes(given) == [128, 160, 224]
    for text in ("", "a", ",", "-3", "0", "12.5", "²"):
        with pytest.raises(ValueError, match="--sizes takes sizes in pixels such as 128,160,224"):
            parse_sizes(text)
