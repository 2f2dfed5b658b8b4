"""Maps inside and outside of boxes, with known answers; and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from sact_core import __version__
from sact_core import checkpoint as checkpoints
from sact_core import objects as command
from sact_core.backends import Net
from sact_core.checkpoint.records import trained_at
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.measures.boxes import inside_mask, read_boxes
from sact_core.measures.gaze import centre_map
from tests.conftest import ROOT, need_shared
from tests.naive import auc_by_pairs
from tests.networks import any_tau_checkpoint, random_params

SACT = NetworkConfig(
    units_per_block=(2, 3, 2), base_channels=4, num_classes=3, halting="sact", halting_bias=-0.5
)


def write_boxes(path, boxes, units=None):
    path.write_text(json.dumps({"boxes": boxes} | ({"units": units} if units else {})))
    return path


@pytest.fixture
def checkpoint(tmp_path):
    params = random_params(np.random.default_rng(1), SACT)
    checkpoints.write(
        tmp_path / "it.h5", checkpoints.Checkpoint(SACT, params, Preprocessing("cifar", 16))
    )
    return tmp_path / "it.h5"


@pytest.fixture
def photos(tmp_path, rng):
    """Three photographs in folders, of which the last cannot be read."""
    folder = tmp_path / "photos"
    for i, name in enumerate(("ant/a.png", "ant/b.png", "bee/c.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (24, 32 + 8 * i, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "bee" / "c.png").write_bytes(b"no image")
    return folder


def run(capsys, *argv):
    code = command.main([*map(str, argv), "--backend", "reference"])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_shares_and_pixels_mark_the_positions_whose_middle_they_hold():
    # Middles of four rows are at 1/8, 3/8, 5/8, 7/8.
    mask = inside_mask([(0.125, 0.5, 0.63, 1.0)], "shares", (100, 100), (4, 2))
    np.testing.assert_array_equal(mask, [[0, 1], [0, 1], [0, 1], [0, 0]])
    pixels = inside_mask([(10, 30, 51, 60)], "pixels", (80, 60), (4, 2))
    np.testing.assert_array_equal(pixels, mask)
    both = inside_mask([(0, 0, 0.2, 0.5), (0.8, 0.5, 1, 1)], "shares", (9, 9), (4, 2))
    np.testing.assert_array_equal(both, [[1, 0], [0, 0], [0, 0], [0, 1]])
    assert inside_mask([(0, 0, 1, 1)], "shares", (3, 5), (7, 9)).all()
    assert inside_mask([(0, 0, 3, 5)], "pixels", (3, 5), (7, 9)).all()
    with pytest.raises(ValueError, match=r"\[0, 0, 3, 6\] reaches beyond its 3 x 5 pixels"):
        inside_mask([(0, 0, 3, 6)], "pixels", (3, 5), (7, 9))


def test_made_maps_have_known_answers():
    inside = np.zeros((4, 4), bool)
    inside[1:3, 1:3] = True
    found = command.preference("it", np.where(inside, 6.0, 4.0), inside)
    assert (found.inside, found.outside, found.chance, found.centre) == (6, 4, 1, 1)
    reverse = command.preference("it", np.where(inside, 2.0, 5.0), inside)
    assert (reverse.inside, reverse.outside, reverse.chance) == (2, 5, 0)
    constant = command.preference("it", np.full((4, 4), 3.0), inside)
    assert (constant.inside, constant.outside, constant.chance) == (3, 3, 0.5)
    mixed = np.ones((4, 4))
    mixed[1, 1:3] = 9
    half = command.preference("it", mixed, inside)
    assert (half.inside, half.outside, half.chance) == (5, 1, 0.75)
    total = command.summary([found, reverse, constant, half])
    assert total["inside"] == 4
    assert total["outside"] == 3.25
    assert total["ratio"] == 4 / 3.25
    assert total["num_inside_dearer"] == 2
    assert total["chance"] == pytest.approx(2.25 / 4)
    for mask, word in ((np.zeros((4, 4), bool), "no"), (np.ones((4, 4), bool), "every")):
        with pytest.raises(ValueError, match=f"{word} position lies in a box"):
            command.preference("it", mixed, mask)


def test_photographs_against_single_runs(photos, checkpoint, tmp_path, capsys):
    boxes = write_boxes(
        tmp_path / "boxes.json",
        {"a.png": [[6, 8, 18, 24]], "b.png": [[0, 0, 12, 40], [0, 0, 24, 10]]}
        | {"c.png": [[0, 0, 9, 9]], "gone.png": [[0, 0, 1, 1]]},
        "pixels",
    )  # fmt: skip
    argv = [photos, "--checkpoint", checkpoint, "--boxes", boxes, "--image-size", 32]
    code, out, err = run(capsys, *argv)
    assert code == 0
    assert "2 images, 2 left out, longer side 32 pixels" in out
    assert "left out: c.png: " in err
    assert "left out: gone.png: it is not among the images" in err
    code, text, _ = run(capsys, *argv, "--json")
    found = json.loads(text)
    assert found["num_images"] == 2
    header = checkpoints.read_header(checkpoint)
    assert found["content_hash"] == header.content_hash
    told = [found[name] for name in ("tau", "image_size", "fit", "version")]
    assert told == [trained_at(header), 32, "keep", __version__]
    assert found["command"].startswith(f"python -m sact_core.objects {photos} --checkpoint ")
    net = Net.from_checkpoint(checkpoints.read(checkpoint), "reference")
    image = np.asarray(Image.open(photos / "ant" / "a.png"))
    values = net.run([image], 32, "keep")[0].map("ponder_cost")[0]
    assert values.shape == (24, 32)
    inside = np.zeros((24, 32), bool)
    inside[6:18, 8:24] = True
    comp = found["images"]["a.png"]
    assert comp["inside"] == pytest.approx(values[inside].mean())
    assert comp["outside"] == pytest.approx(values[~inside].mean())
    assert comp["chance"] == pytest.approx(auc_by_pairs(values, inside))
    assert comp["centre"] == pytest.approx(auc_by_pairs(centre_map((24, 32)), inside))
    line = next(line for line in out.splitlines() if line.startswith("mean"))
    assert line.split()[1:4] == [f"{found[k]:.3f}" for k in ("inside", "outside", "ratio")]
    assert f"dearer inside than outside: {found['num_inside_dearer']} of 2 images" in out


def test_photographs_below_a_folder_go_by_their_paths_first(tmp_path, rng, checkpoint, capsys):
    for name in ("1.png", "cat/1.png", "dog/1.png", "dog/2.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    left, top = [[0, 0, 1, 0.5]], [[0, 0, 0.5, 1]]

    def measured(boxes, *paths):
        file = write_boxes(tmp_path / "boxes.json", boxes)
        return run(capsys, *paths, "--checkpoint", checkpoint, "--boxes", file, "--json")

    _, out, _ = measured({"cat/1.png": left, "dog/1.png": top, "2.png": top}, tmp_path / "photos")
    found = json.loads(out)
    assert sorted(found["images"]) == ["2.png", "cat/1.png", "dog/1.png"]
    assert found["left_out"] == {"1.png": "the boxes do not name it"}
    for name, box in (("cat/1.png", left), ("dog/1.png", top)):
        alone = json.loads(measured({"1.png": box}, tmp_path / "photos" / name)[1])["images"]
        assert found["images"][name] == alone["1.png"]
    # A path that is named takes its name from all others.
    _, out, _ = measured({"1.png": left}, tmp_path / "photos")
    assert list(json.loads(out)["images"]) == ["1.png"]
    (tmp_path / "photos" / "1.png").unlink()
    _, out, _ = measured({"1.png": left, "cat/1.png": top}, tmp_path / "photos")
    assert sorted(json.loads(out)["images"]) == ["1.png", "cat/1.png"]
    folders = (tmp_path / "photos" / "cat", tmp_path / "photos" / "dog")
    for paths in ([tmp_path / "photos"], folders):
        code, out, err = measured({"1.png": left, "2.png": left}, *paths)
        assert (code, out) == (2, "")
        assert err.startswith("error: the boxes of '1.png' could be those of ")
        assert "photos/cat/1.png or of " in err
        assert err.endswith("name them by their paths below one folder, such as 'dog/1.png'\n")
        assert err.count("\n") == 1


def test_tau_of_a_network_that_takes_any(photos, checkpoint, tmp_path, capsys):
    boxes = write_boxes(tmp_path / "boxes.json", {"a.png": [[0.2, 0.2, 0.7, 0.8]]})
    made = any_tau_checkpoint()
    checkpoints.write(tmp_path / "any.h5", made)
    argv = [photos, "--checkpoint", tmp_path / "any.h5", "--boxes", boxes, "--json"]
    net = Net.from_checkpoint(made, "reference")
    image = np.asarray(Image.open(photos / "ant" / "a.png"))
    for tau in (0.001, 0.1):
        code, text, _ = run(capsys, *argv, "--tau", tau)
        assert code == 0
        values = net.run([image], 16, "keep", tau=tau)[0].map("ponder_cost")[0]
        inside = inside_mask([(0.2, 0.2, 0.7, 0.8)], "shares", image.shape[:2], values.shape)
        comp = json.loads(text)["images"]["a.png"]
        assert comp["inside"] == pytest.approx(values[inside].mean())
    argv[2] = checkpoint
    code, _, err = run(capsys, *argv, "--tau", "0.01")
    assert code == 2
    assert "is not conditioned on tau" in err


def test_examples_of_a_data_set(photos, checkpoint, tmp_path, capsys):
    Image.new("RGB", (40, 24)).save(photos / "bee" / "c.png")
    half = [[0, 0, 1, 0.5]]
    boxes = write_boxes(tmp_path / "boxes.json", {"ant/b.png": half, "bee/c.png": []})
    argv = ["--dataset", photos, "--split", "all", "--checkpoint", checkpoint, "--boxes", boxes]
    code, out, err = run(capsys, *argv)
    assert code == 0
    assert "1 images, 1 left out" in out
    assert err == "left out: bee/c.png: it shows no object\n"


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ("{", "is no JSON"),
        ("[]", "must hold"),
        ('{"boxes": {}}', "must hold"),
        ('{"boxes": {"a.png": [[0, 0, 1, 1]]}, "units": "metres"}', "units must be one of"),
        ('{"boxes": {"a.png": [[0, 0, 1]]}}', "a.png must have a list of"),
        ('{"boxes": {"a.png": [[0.5, 0, 0.2, 1]]}}', "a.png must have a list of"),
        ('{"boxes": {"a.png": [[0, 0, 20, 30]]}}', "from 0 to 1"),
        ('{"boxes": {"a.png": [[0, 0, NaN, 1]]}}', "from 0 to 1"),
        ('{"boxes": {"a.png": [[0, 0, true, 1]]}}', "from 0 to 1"),
        ('{"boxes": {"a.png": [0, 0, 1, 1]}}', "a.png must have a list of"),
        ("[" * 100_000, "is no JSON"),
        ('{"boxes": {"a.png": [[0, 0, 1%s, 1]]}}' % ("0" * 5000), "is no JSON"),
        (
            '{"boxes": {"a.png": [[0, 0, 1%s, 1]]}, "units": "pixels"}' % ("0" * 400),
            "a.png must have a list of",
        ),
        (
            '{"boxes": {"other.png": [[0, 0, 1, 0.5]]}}',
            "no image can be measured; ant/a.png: the b",
        ),
    ],
)
def test_a_mistake_is_one_sentence(photos, checkpoint, tmp_path, capsys, boxes, reason):
    path = tmp_path / "boxes.json"
    path.write_text(boxes)
    code, out, err = run(capsys, photos, "--checkpoint", checkpoint, "--boxes", path)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert reason in err
    assert err.count("\n") == 1


def test_networks_and_options_that_do_not_fit(photos, checkpoint, tmp_path, capsys):
    boxes = write_boxes(tmp_path / "boxes.json", {"a.png": [[0, 0, 1, 0.5]]})
    for argv in ((), (photos, "--dataset", photos)):
        code, _, err = run(capsys, *argv, "--checkpoint", checkpoint, "--boxes", boxes)
        assert code == 2
        assert "give photographs, or a data set with --dataset" in err
    vanilla = NetworkConfig(units_per_block=(1, 1, 1), base_channels=4, num_classes=3)
    params = random_params(np.random.default_rng(1), vanilla)
    made = checkpoints.Checkpoint(vanilla, params, Preprocessing("cifar", 16))
    with pytest.raises(ValueError, match="is no SACT network"):
        command.measure(Net.from_checkpoint(made, "reference"), iter(()), read_boxes(boxes))


def test_the_boxes_that_ship_name_photographs():
    boxes = read_boxes(ROOT / "docs" / "object_boxes.json")
    assert boxes.units == "shares"
    shared = need_shared("images", "imagenet_samples")
    assert sorted(boxes.by_name) == sorted(path.name for path in shared.iterdir())
    for name, listed in boxes.by_name.items():
        if listed:
            share = inside_mask(listed, "shares", (1, 1), (200, 200)).mean()
            assert 0.05 < share < 0.9, name


def test_boxes_in_pixels_are_not_laid_on_a_photograph_decoded_smaller(
    checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("sact_core.data.images.MAX_PIXELS", 1000)
    Image.new("RGB", (48, 32), "green").save(tmp_path / "a.jpg")
    Image.new("RGB", (24, 32), "green").save(tmp_path / "b.jpg")
    boxes = {"a.jpg": [[0, 0, 16, 16]], "b.jpg": [[0, 0, 16, 16]]}
    argv = [tmp_path / "a.jpg", tmp_path / "b.jpg", "--checkpoint", checkpoint, "--json"]
    file = write_boxes(tmp_path / "pixels.json", boxes, "pixels")
    code, out, err = run(capsys, *argv, "--boxes", file)
    assert code == 0
    assert list(json.loads(out)["images"]) == ["b.jpg"]
    assert "a.jpg has 48 x 32 pixels: decoded at 1/2 of that, and its boxes are in pixels" in err
    file = write_boxes(tmp_path / "shares.json", {name: [[0, 0, 0.5, 0.5]] for name in boxes})
    code, out, err = run(capsys, *argv, "--boxes", file)
    assert sorted(json.loads(out)["images"]) == ["a.jpg", "b.jpg"]
