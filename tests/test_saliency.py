"""Scoring of ponder maps against made fixations, and the command."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from sact_core import __version__
from sact_core import checkpoint as checkpoints
from sact_core import saliency as command
from sact_core.backends import Net
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.measures import gaze
from sact_core.measures.cat2000 import read_stimulus, stimuli
from sact_core.measures.gaze import blur, centre_map, half_by_half, post_process
from sact_core.measures.saliency import BLURS, CENTRE_WEIGHTS
from tests.mat_writer import header, matrix
from tests.naive import auc_by_pairs
from tests.networks import any_tau_checkpoint, random_params

SACT = NetworkConfig(
    units_per_block=(2, 3, 2), base_channels=4, num_classes=3, halting="sact", halting_bias=-0.5
)
SIZE = (24, 32)


def write_example(root, category, number, image, fixations):
    for name in ("Stimuli", "FIXATIONLOCS"):
        (root / name / category).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(root / "Stimuli" / category / f"{number:03}.png")
    path = root / "FIXATIONLOCS" / category / f"{number:03}.mat"
    path.write_bytes(header() + matrix(fixations.astype(np.uint8)))


@pytest.fixture
def checkpoint(tmp_path):
    params = random_params(np.random.default_rng(1), SACT)
    made = checkpoints.Checkpoint(SACT, params, Preprocessing("cifar", 16))
    checkpoints.write(tmp_path / "it.h5", made)
    return tmp_path / "it.h5"


@pytest.fixture
def net(checkpoint):
    return Net.from_checkpoint(checkpoints.read(checkpoint), "reference")


@pytest.fixture
def folder(tmp_path, rng):
    """Three categories of four photographs with fixations anywhere."""
    root = tmp_path / "cat"
    for category in ("Action", "Art", "Fractal"):
        for number in range(1, 5):
            image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
            write_example(root, category, number, image, rng.random(SIZE) < 0.02)
    (root / "Stimuli" / "Art" / "Output").mkdir()
    Image.new("L", (9, 9)).save(root / "Stimuli" / "Art" / "Output" / "001_SaliencyMap.jpg")
    for left_behind in ("Art/._001.png", ".ipynb_checkpoints/001.png", "__MACOSX/001.png"):
        (root / "Stimuli" / left_behind).parent.mkdir(exist_ok=True)
        (root / "Stimuli" / left_behind).write_bytes(b"")
    (root / "Stimuli" / "Art" / "005.png").mkdir()
    return root


def ponder_map(net, stimulus):
    image, fixations = read_stimulus(stimulus)
    values = net.run([image], 32, "keep")[0].map("ponder_cost")[0]
    assert values.shape == SIZE  # the longer side is 32 pixels
    return values, fixations


def test_scores_are_those_of_pairs(net, folder):
    found = stimuli(folder)
    assert len(found) == 12
    result = command.score(net, found, 32, (0.05, 0.3))
    assert result.num_images == 12
    assert not result.num_chosen_on
    for category in ("Action", "Fractal"):
        refs = []
        for stimulus in found:
            if stimulus.category == category:
                values, fixations = ponder_map(net, stimulus)
                all_maps = (values, centre_map(SIZE), blur(values, 0.05))
                all_maps += (post_process(values, 0.05, 0.3),)
                scores = [auc_by_pairs(one, fixations) for one in all_maps]
                refs.append([*scores, half_by_half(fixations)])
        np.testing.assert_allclose(result.scores[category], refs)
        assert list(result.means(category).values()) == pytest.approx(np.mean(refs, axis=0))


def test_people_who_look_where_it_ponders_score_1(net, folder):
    found = stimuli(folder, 1)
    for stimulus in found:
        values, _ = ponder_map(net, stimulus)
        looked = values >= np.sort(values.ravel())[-9]
        assert looked.any()
        assert not looked.all()
        stimulus.fixations.write_bytes(header() + matrix(looked.astype(np.uint8)))
    result = command.score(net, found, 32, (0, 0))
    found = result.means()
    assert [found[name] for name in ("map", "blurred", "processed")] == [1, 1, 1]
    assert found["centre"] < 1


def test_people_who_look_at_the_centre_choose_the_centre(net, folder):
    for stimulus in stimuli(folder):
        looked = centre_map(SIZE) > 0.9
        stimulus.fixations.write_bytes(header() + matrix(looked.astype(np.uint8)))
    result = command.score(net, stimuli(folder), 32)
    assert result.centre_weight > 0.5
    assert (result.num_chosen_on, result.num_images) == (6, 6)
    assert result.means()["centre"] == 1
    assert result.means()["processed"] == pytest.approx(1)


def test_what_is_chosen_is_the_best_on_the_other_half(net, folder):
    found = stimuli(folder)
    result = command.score(net, found, 32)
    even = [s for s in found if s.name[-7:-4] in ("001", "003")]
    assert result.num_chosen_on == len(even) == 6
    maps = [ponder_map(net, stimulus) for stimulus in even]

    def mean(width, weight):
        return np.mean([auc_by_pairs(post_process(v, width, weight), f) for v, f in maps])

    best = mean(result.blur, result.centre_weight)
    for width in BLURS[::2]:
        for weight in CENTRE_WEIGHTS[::5]:
            assert mean(width, weight) <= best + 1e-12


def run(capsys, *argv):
    code = command.main([str(arg) for arg in argv])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command(folder, checkpoint, tmp_path, capsys):
    argv = [folder, "--checkpoint", checkpoint, "--image-size", 32, "--backend", "reference"]
    code, out, err = run(capsys, *argv)
    assert (code, err) == (0, "")
    assert f"ResNet-16 SACT, {checkpoint}: AUC-Judd on 6 photographs of {folder}, longer" in out
    assert "chosen on 6 other photographs" in out
    code, text, _ = run(capsys, *argv, "--json", "--out", tmp_path / "maps")
    found = json.loads(text)
    assert found["num_images"] == found["num_chosen_on"] == 6
    cells = "".join(f"{found['total'][name]:11.4f}" for name in ("map", "centre", "blurred"))
    assert f"total            6{cells}" in out
    for name, (value, low, high) in found["intervals"].items():
        assert low <= value <= high
        assert name not in found["total"] or value == pytest.approx(found["total"][name])
    for name in ("map", "blurred", "processed"):
        value, low, high = found["intervals"][f"{name}_over_centre"]
        assert value == pytest.approx(found["total"][name] - found["total"]["centre"])
        assert f"  {name:<10}{value:+.4f} ({low:+.4f} to {high:+.4f})\n" in out
    assert list(found["categories"]) == ["Action", "Art", "Fractal"]
    written = sorted((tmp_path / "maps").rglob("*.png"))
    assert len(written) == 6
    with Image.open(written[0]) as picture:
        assert (picture.mode, picture.size) == ("L", SIZE[::-1])
    written[-1].write_bytes(b"precious")
    code, out, err = run(capsys, *argv, "--out", tmp_path / "maps")
    assert (code, out) == (2, "")
    assert "exists; give --force to replace it" in err
    assert written[-1].read_bytes() == b"precious"
    assert run(capsys, *argv, "--out", tmp_path / "maps", "--force")[0] == 0
    assert written[-1].read_bytes().startswith(b"\x89PNG")


def test_tau_of_a_network_that_takes_any(folder, checkpoint, tmp_path, capsys):
    made = any_tau_checkpoint()
    checkpoints.write(tmp_path / "any.h5", made)
    argv = [folder, "--checkpoint", tmp_path / "any.h5", "--image-size", 32, "--json"]
    net = Net.from_checkpoint(made, "reference")
    for tau in (0.001, 0.1):
        code, text, _ = run(capsys, *argv, "--backend", "reference", "--tau", tau)
        assert code == 0
        ref = command.score(net.at_tau(tau), stimuli(folder), 32)
        assert json.loads(text)["total"]["map"] == pytest.approx(ref.means(None)["map"])
    argv[2] = checkpoint
    code, _, err = run(capsys, *argv, "--tau", "0.01")
    assert code == 2
    assert "this network does not take a tau" in err


def test_what_cannot_be_used_is_named_and_counted(folder, checkpoint, rng, capsys):
    where = folder / "FIXATIONLOCS" / "Action"
    (where / "001.mat").unlink()
    (where / "002.mat").write_bytes(b"no such thing")
    (where / "003.mat").write_bytes(header() + matrix(np.ones((3, 4), np.uint8)))
    (where / "004.mat").write_bytes(header() + matrix(np.zeros(SIZE, np.uint8)))
    (folder / "Stimuli" / "Art" / "002.png").write_bytes(b"no image")
    argv = [folder, "--checkpoint", checkpoint, "--image-size", 32, "--backend", "reference"]
    argv += ["--blur", 0, "--centre-weight", 0.5]
    code, out, err = run(capsys, *argv)
    assert code == 0
    assert "on 7 photographs" in out
    assert ", 5 left out, " in out
    reasons = err.splitlines()
    assert len(reasons) == 5
    for name, reason in (
        ("Action/001.png", "are absent"),
        ("Action/002.png", "no MATLAB file"),
        ("Action/003.png", "shape (3, 4), the photograph (24, 32)"),
        ("Action/004.png", "no fixation"),
        ("Art/002.png", "is no image"),
    ):
        assert any(line.startswith(f"left out: {name}: ") and reason in line for line in reasons)
    code, _, err = run(capsys, *argv, "--num-examples", 4, "--image-size", 30_000)
    assert code == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["--checkpoint", "none.h5"], "none.h5"),
        (["--blur", "0.1"], "together"),
        (["--blur", "2", "--centre-weight", "0"], "--blur must be from 0 to 1"),
        (["--blur", "-1", "--centre-weight", "0"], "--blur must be from 0 to 1"),
        (["--blur", "0", "--centre-weight", "-1"], "--centre-weight must be from 0 to 1"),
        (["--num-examples", "0"], "--num-examples must be at least 1"),
        (["--num-examples", "1"], "there are too few for both: give --blur"),
        (["--image-size", "0"], "image_size"),
        (["--out", "/proc/it"], "cannot write /proc/it: /proc takes no files"),
        (["--table", "none/it.md"], "cannot write none/it.md: the folder none does not exist"),
        (["--figure", "none/it.svg"], "cannot write none/it.svg: the folder none does not exist"),
    ],
)
def test_a_mistake_is_one_sentence(folder, checkpoint, capsys, changes, reason):
    argv = [folder, "--checkpoint", checkpoint, "--backend", "reference", *changes]
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert reason in err
    assert err.count("\n") == 1


def test_folders_and_networks_that_do_not_fit(tmp_path, folder, checkpoint, net, capsys):
    code, _, err = run(capsys, tmp_path, "--checkpoint", checkpoint)
    assert code == 2
    assert "has no folder Stimuli: name the folder of CAT2000" in err
    for path in (folder / "FIXATIONLOCS").rglob("*.mat"):
        path.unlink()
    for processing in ((0, 0), None):  # nor is a flag to blame where it is chosen
        with pytest.raises(
            ValueError, match=r"^none of \d+ photographs .* Action/001.png: its fix"
        ):
            command.score(net, stimuli(folder), 32, processing)
    vanilla = NetworkConfig(units_per_block=(1, 1, 1), base_channels=4, num_classes=3)
    params = random_params(np.random.default_rng(1), vanilla)
    made = checkpoints.Checkpoint(vanilla, params, Preprocessing("cifar", 16))
    with pytest.raises(ValueError, match="is no SACT network"):
        command.score(Net.from_checkpoint(made, "reference"), stimuli(folder))
    for path in (folder / "Stimuli").rglob("*.png"):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(ValueError, match="no folders with photographs"):
        stimuli(folder)


def test_people_predict_people(rng):
    """Looks at one place predict one another; looks anywhere predict nothing."""
    near = np.zeros((60, 80), bool)
    near[rng.integers(20, 30, 60), rng.integers(30, 45, 60)] = True
    assert half_by_half(near) > 0.95
    assert half_by_half(near, 1) != half_by_half(near)
    anywhere = [half_by_half(rng.random((60, 80)) < 0.02) for _ in range(20)]
    assert np.mean(anywhere) == pytest.approx(0.5, abs=0.05)
    one = np.zeros((5, 5), bool)
    one[2, 2] = True
    assert np.isnan(half_by_half(one))


def test_people_are_blurred_in_blocks_as_a_whole(monkeypatch):
    monkeypatch.setattr(gaze, "BLOCK", 7)
    rng = np.random.default_rng(2)
    for density in (0.003, 0.1, 0.9):
        looked = rng.random((45, 60)) < density
        one, other = gaze._halves(looked, 0)
        assert not (one & other).any()
        np.testing.assert_array_equal(one | other, looked)
        blurred = [blur(half.astype(np.float64), gaze.LOOK_WIDTH) for half in (one, other)]
        ref = (gaze.auc_judd(blurred[0], other) + gaze.auc_judd(blurred[1], one)) / 2
        np.testing.assert_allclose(gaze._blurred_looks(one), blurred[0], rtol=1e-10)
        assert half_by_half(looked) == pytest.approx(ref, abs=1e-3)  # ties may round apart


def test_several_prices_as_a_table_and_a_figure(folder, tmp_path, capsys):
    checkpoints.write(tmp_path / "any.h5", any_tau_checkpoint())
    argv = [folder, "--checkpoint", tmp_path / "any.h5", "--image-size", 32]
    argv += ["--taus", 0.001, 0.1, "--backend", "reference", "--num-examples", 2]
    files = ["--figure", tmp_path / "it.png", "--table", tmp_path / "it.md", "--width", 4]
    code, out, _ = run(capsys, *argv, *files)
    assert code == 0
    assert "tau 0.001: AUC-Judd on 3 photographs" in out
    assert "tau 0.1: AUC-Judd on 3 photographs" in out
    lines = (tmp_path / "it.md").read_text().splitlines()
    assert "| people | map over centre | blurred over centre | processed over" in lines[0]
    assert lines[2].startswith("| ResNet-14 SACT | 0.001 |")
    assert re.search(r"\| [+-]0\.\d{3} \([+-]0\.\d{3} to [+-]0\.\d{3}\) \|", lines[2])
    assert "--taus 0.001 0.1" in "".join(lines)
    assert '"image_size": 32, "fit": "keep"' in "".join(lines).replace("\\", "")
    with Image.open(tmp_path / "it.png") as drawn:
        assert drawn.width == 1200
    code, text, _ = run(capsys, *argv, "--json", "--blur", 0.02, "--centre-weight", 0)
    first, second = json.loads(text)["networks"]
    assert (first["tau"], second["tau"]) == (0.001, 0.1)
    assert first["blur_alone"] == 0.02
    assert first["content_hash"] == checkpoints.read_header(tmp_path / "any.h5").content_hash
    assert [first[k] for k in ("image_size", "fit", "version")] == [32, "keep", __version__]
    assert first["command"].startswith(f"python -m sact_core.saliency {folder} --checkpoint ")
    assert first["intervals"]["processed"] == first["intervals"]["blurred"]
    for more, said in (
        ([*files], "exists; give --force"),
        (["--figure", "it.txt"], "--figure it.txt must end in .svg"),
        (["--table", "it.png"], "--table it.png must end in .csv"),
        (["--photographs", "a"], "--photographs are those of --figure"),
        (["--figure", tmp_path / "x.png", "--photographs", *"abcdefg"], "takes 6 at most, got 7"),
        (["--figure", tmp_path / "x.png", "--photographs", "Art/9.png"], "no photograph Art/9.png"),
        (["--out", tmp_path / "maps"], "--out holds the maps of one network"),
        (["--width", "99"], "--width must be from 2 to 50"),
    ):
        code, _, err = run(capsys, *argv, *more)
        assert (code, err.count("\n")) == (2, 1)
        assert said in err
