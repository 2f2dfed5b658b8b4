"""The command that shows where a network spends its computation on photographs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import load
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.flops import dense_flops
from sact_core.maps.file import MapFile
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.ponder import main
from sact_core.ponder_files import ENDINGS, output_stems
from tests.exits import exit_code
from tests.networks import any_tau_checkpoint

BACKEND = ["--backend", "reference"]


def write_network(path, family="cifar", halting="sact"):
    units = (2, 2, 2) if family == "cifar" else (2, 1, 1, 1)
    config = NetworkConfig(family, units, 2, 3, halting, halting_bias=0.3)
    size = {"cifar": Preprocessing("cifar", 16), "imagenet": Preprocessing("imagenet", 32)}[family]
    params = init_params(build_plan(config), seed=4)
    checkpoints.write(path, Checkpoint(config, params, size, ("cat", "dog", "owl")))
    return str(path)


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "net.h5")


@pytest.fixture
def photo(tmp_path, rng):
    coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    coarse.resize((60, 40)).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


@pytest.mark.parametrize(("family", "size"), [("cifar", 16), ("imagenet", 32)])
@pytest.mark.parametrize("halting", ["sact", "act"])
def test_everything_is_written_and_printed(tmp_path, photo, capsys, family, size, halting):
    path = write_network(tmp_path / "n.h5", family, halting)
    out = tmp_path / "deep" / "out"
    assert main([photo, "--checkpoint", path, "--out", str(out), *BACKEND]) == 0
    printed = capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == sorted(f"photo{e}" for e in ENDINGS)
    for ending in ("_im.png", "_ponder.png", "_overlay.png"):
        with Image.open(out / f"photo{ending}") as image:
            assert image.size == (256, 256)  # enlarged
    with MapFile(out / "photo_maps.h5") as file:
        x = file.image(0)
        assert x.shape == (size, size, 3)
        net = load(path, "reference")
        result = net.forward(x[None])
        np.testing.assert_array_equal(file.root["logits"], result.logits)
        np.testing.assert_array_equal(file.root["flops_exact"], result.flops)
        assert file.name(0) == "photo.png"
        assert file.provenance["checkpoint"]["name"] == "n.h5"
        assert len(file.provenance["checkpoint"]["content_hash"]) == 64
        if halting == "sact":
            np.testing.assert_array_equal(file.map(0), result.map()[0])
    lines = printed.splitlines()
    assert lines[0] == f"photo.png: {size} x {size} pixels"
    best = int(result.logits.argmax())
    assert lines[1].split() == [f"{result.probabilities[0, best]:.2%}", ("cat", "dog", "owl")[best]]
    dense = dense_flops(net.plan, (size, size)).total[0]
    assert lines[-1].split()[::2] == ["network", f"{result.flops[0] / dense:.1%}"]
    rows = {line.split()[0]: line.split()[1] for line in lines[5:]}
    assert [*rows] == ["stem", *(block.name for block in result.blocks), "logits", "network"]
    spent = [round(10 * float(value.replace(",", ""))) for value in rows.values()]
    assert abs(sum(spent[:-1]) - spent[-1]) <= len(rows) / 2  # each rounded to a tenth
    units = result.blocks[0].num_units
    assert lines[6].endswith(f"{units.mean():.2f} ({units.min()} to {units.max()}) of 2")


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ([], (16, 16)),
        (["--image-size", "48"], (32, 48)),
        (["--image-size", "20", "--fit", "crop"], (20, 20)),
        (["--fit", "keep"], (12, 16)),  # 40 x 60, rounded to the network's multiples of 4
    ],
)
def test_size_and_fit(tmp_path, network, photo, options, size):
    out = tmp_path / "out"
    assert main([photo, "--checkpoint", network, "--out", str(out), *BACKEND, *options]) == 0
    with MapFile(out / "photo_maps.h5") as file:
        assert file.image(0).shape[:2] == size
        assert file.map(0).shape == size


@pytest.mark.parametrize("scale", ["units", "percentile"])
def test_colours_follow_the_scale(tmp_path, network, photo, scale):
    from sact_core.maps import drawing
    from sact_core.maps.limits import unit_limits

    out = tmp_path / "out"
    options = ["--scale", scale, "--colour-map", "magma", *BACKEND]
    assert main([photo, "--checkpoint", network, "--out", str(out), *options]) == 0
    with MapFile(out / "photo_maps.h5") as file:
        values = file.map(0)
    percentiles = tuple(np.percentile(values.astype(np.float64), (0.1, 99.9)))
    limits = unit_limits((2, 2, 2)) if scale == "units" else percentiles
    ref = drawing.colour(values, limits, "magma")
    with Image.open(out / "photo_ponder.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[::16, ::16], ref)


def test_what_is_drawn_and_between_which_values(tmp_path, network, photo, capsys):
    from sact_core.maps import drawing
    from sact_core.maps.limits import unit_limits

    def pictures(out, *options):
        argv = [photo, "--checkpoint", network, "--out", str(tmp_path / out), *BACKEND, *options]
        assert main(argv) == 0
        with MapFile(tmp_path / out / "photo_maps.h5") as file:
            units, seen = file.map(0, "num_units"), file.image(0)
        names = ("ponder", "overlay", "im")
        return (
            units,
            seen,
            [
                np.asarray(Image.open(tmp_path / out / f"photo_{name}.png"))[::16, ::16]
                for name in names
            ],
        )

    units, _, (ponder, overlay, im) = pictures(
        "units", "--metric", "num_units", "--scale", "units", "--opacity", "0.25"
    )
    ref = drawing.colour(units, unit_limits((2, 2, 2), "num_units"), "viridis")
    np.testing.assert_array_equal(ponder, ref)
    np.testing.assert_array_equal(overlay, drawing.blend(im, ref, 0.25))
    units, _, (ponder, *_) = pictures("limits", "--metric", "num_units", "--limits", "-1", "9.5")
    np.testing.assert_array_equal(ponder, drawing.colour(units, (-1, 9.5), "viridis"))
    argv = [photo, "--checkpoint", network, "--out", tmp_path / "out", *BACKEND]
    for ends in (("5", "5"), ("6", "5")):
        assert "the first must be below" in fails(capsys, *argv, "--limits", *ends)
    for ends in (("nan", "5"), ("1", "inf")):
        assert "must be a finite number" in fails(capsys, *argv, "--limits", *ends)
    for opacity in ("-0.1", "1.5"):
        assert "between 0 and 1" in fails(capsys, *argv, "--opacity", opacity)


def test_tau_of_a_network_that_takes_any(tmp_path, network, photo, capsys):
    checkpoints.write(tmp_path / "any.h5", any_tau_checkpoint())
    means = []
    for tau in ("0.001", "0.1"):
        argv = [photo, "--checkpoint", tmp_path / "any.h5", "--out", tmp_path / tau, *BACKEND]
        assert main([str(arg) for arg in [*argv, "--tau", tau]]) == 0
        with MapFile(tmp_path / tau / "photo_maps.h5") as file:
            means.append(file.map(0).mean())
    assert means[0] > means[1]
    capsys.readouterr()
    argv = ["--checkpoint", network, "--out", tmp_path / "out", *BACKEND]
    assert "is not conditioned on tau" in fails(capsys, photo, *argv, "--tau", "0.01")


def test_photographs_of_one_name_are_told_apart(tmp_path):
    stems = output_stems(["cat.jpg", "cat.png", "cat_2.jpg", "cat.jpg", "b/cat.jpg"], tmp_path)
    names = [str(stem.relative_to(tmp_path)) for stem in stems]
    assert names == ["cat", "cat_2", "cat_2_2", "cat_3", "b/cat"]


def test_a_folder_of_photographs(tmp_path, network, photo, rng, capsys):
    """Sorted, each once, in sub-folders of their own; what systems leave behind is none."""
    folder = tmp_path / "photos"
    for name in ("b/2.png", "b/1.png", "a.png", ".b/3.png", "__MACOSX/b/4.png", "b/._1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(folder / name)
    (folder / "b" / "notes.txt").write_text("none")
    argv = ["--checkpoint", network, "--out", str(tmp_path / "out"), *BACKEND]
    assert main([str(folder), photo, *argv]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "pixels" in line]
    names = ["a.png", "b/1.png", "b/2.png", "photo.png"]
    assert [line.partition(":")[0] for line in told] == names
    written = sorted(p.relative_to(tmp_path / "out") for p in tmp_path.glob("out/**/*.*"))
    assert list(map(str, written)) == sorted(
        f"{stem}{ending}" for stem in ("a", "b/1", "b/2", "photo") for ending in ENDINGS
    )
    with MapFile(tmp_path / "out" / "b" / "1_maps.h5") as file:
        assert file.name(0) == "b/1.png"
    (tmp_path / "empty").mkdir()
    assert "there are no photographs in" in fails(capsys, tmp_path / "empty", *argv)


def test_pictures_are_not_taken_for_photographs(tmp_path, network, photo, capsys):
    argv = [str(tmp_path), "--checkpoint", network, *BACKEND, "--out"]
    assert main([*argv, str(tmp_path / "out")]) == 0
    assert main([*argv, str(tmp_path / "out"), "--resume"]) == 0
    assert len(list((tmp_path / "out").iterdir())) == len(ENDINGS)
    assert "is the folder of the photographs" in fails(capsys, *argv, tmp_path)


def test_photographs_that_were_added_are_not_taken_for_others(tmp_path, network, photo, capsys):
    """Where two share a name, the next one's files have another's."""
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = Image.open(photo)
    pixels.save(folder / "1.png")
    argv = [folder, "--checkpoint", network, "--out", tmp_path / "out", *BACKEND]
    assert main([str(arg) for arg in argv]) == 0
    pixels.save(folder / "1.jpg")
    assert "was made of 1.png, not of 1.jpg" in fails(capsys, *argv, "--resume")


def fails(capsys, *argv):
    """Run the command, which must fail; give what it says."""
    assert exit_code(main, [str(arg) for arg in argv]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    return captured.err


def test_existing_files_are_kept(tmp_path, network, photo, capsys):
    argv = [photo, "--checkpoint", network, "--out", tmp_path, *BACKEND]
    (tmp_path / "photo_overlay.png").write_bytes(b"precious")
    assert "photo_overlay.png exists; give --force" in fails(capsys, *argv)
    assert (tmp_path / "photo_overlay.png").read_bytes() == b"precious"
    assert main([str(arg) for arg in [*argv, "--force"]]) == 0
    assert (tmp_path / "photo_overlay.png").read_bytes() != b"precious"


def test_mistakes_are_one_sentence(tmp_path, network, photo, capsys):
    out = ["--out", tmp_path / "out"]
    net = ["--checkpoint", network]
    assert "there is no file" in fails(capsys, photo, "--checkpoint", tmp_path / "no.h5", *out)
    assert "is no HDF5 file" in fails(capsys, photo, "--checkpoint", photo, *out)
    assert "--num-threads must be" in fails(capsys, photo, *net, *out, "--num-threads", "0")
    assert "image_size must be" in fails(capsys, photo, *net, *out, "--image-size", "0")
    vanilla = write_network(tmp_path / "v.h5", halting="none")
    said = fails(capsys, photo, "--checkpoint", vanilla, *out)
    assert "is a vanilla network" in said
    assert "name one that halts (imagenet-anytau or " in said
    assert "--preset teach" in said
    (tmp_path / "plain").write_text("")
    assert fails(capsys, photo, *net, "--out", tmp_path / "plain" / "x").count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bad_photograph_does_not_stop_the_others(tmp_path, network, photo, capsys):
    (tmp_path / "bad.jpg").write_text("hello")
    out = tmp_path / "out"
    argv = [tmp_path / "bad.jpg", photo, "--checkpoint", network, "--out", out, *BACKEND]
    said = fails(capsys, *argv)
    assert "bad.jpg is no image" in said
    assert "1 of 2 images were left out" in said
    assert sorted(p.name for p in out.iterdir()) == sorted(f"photo{e}" for e in ENDINGS)


def test_help_is_instant_and_loads_nothing_heavy():
    code = (
        "import sys; from sact_core.ponder import build_parser; build_parser().format_help();"
        "print([m for m in ('torch', 'tensorflow', 'numba', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
