"""Pictures of maps, held to the authors' heat maps and looked at pixel by pixel."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from sact_core.import_tf import params_from_tf
from sact_core.maps import drawing


@pytest.mark.parametrize("metric", ["ponder_cost", "num_units"])
@pytest.mark.parametrize(
    ("network", "setting"), [("cifar", "default"), ("cifar", "raw"), ("imagenet", "default")]
)
def test_heat_maps_are_the_authors(reference_dir, network, metric, setting):
    arrays = np.load(reference_dir / f"summary_sact_{network}.npz")
    source = np.load(reference_dir / f"{arrays['variables_from']}.npz")
    variables = {k.removeprefix("var/"): source[k] for k in source if k.startswith("var/")}
    config, _ = params_from_tf(variables)
    if network == "cifar":
        images, border = arrays["images"], {"default": 5, "raw": 3}[setting]
    else:
        images, border = source["rect/images"], 10
    ref = arrays[f"heatmap/{setting}/{metric}"]
    n = len(ref)
    max_value = sum(config.units_per_block)
    max_value += len(config.units_per_block) if metric == "ponder_cost" else 0
    comp = drawing.image_heatmap(
        images[:n],
        arrays[f"map/{metric}"][:n, ..., 0],
        max_value,
        alpha=0.75 if setting == "default" else 0.5,
        border=border,
        normalise=setting == "default",
    )
    assert comp.dtype == ref.dtype
    assert comp.shape == ref.shape
    np.testing.assert_allclose(comp, ref, rtol=0, atol=1e-6)


def test_colours_run_between_the_limits():
    values = np.array([[-1.0, 2.0, 3.0, 4.0, 9.0]])
    comp = drawing.colour(values, (2.0, 4.0), "viridis")[0]
    np.testing.assert_array_equal(comp[0], comp[1])
    np.testing.assert_array_equal(comp[0], [68, 1, 84])
    np.testing.assert_array_equal(comp[3], comp[4])
    np.testing.assert_array_equal(comp[3], [253, 231, 36])
    np.testing.assert_array_equal(comp[2], [32, 144, 140])
    assert drawing.colour(values, (3.0, 3.0), "magma").shape == (1, 5, 3)


@pytest.mark.parametrize("colour_map", drawing.COLOUR_MAPS)
def test_every_colour_map_rises_in_lightness(colour_map):
    colours = drawing.colour(np.linspace(0, 1, 50)[None], (0, 1), colour_map)[0]
    lightness = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()


def test_a_blend_is_grey_image_and_colour():
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 200
    colours = np.full((1, 2, 3), [0, 100, 50], np.uint8)
    np.testing.assert_array_equal(
        drawing.blend(image, colours, 0.5), [[[0, 50, 25], [100, 150, 125]]]
    )
    np.testing.assert_array_equal(drawing.blend(image, colours, 1.0), colours)


def test_a_blend_weighs_colours_as_the_eye_does():
    image = np.array([[[100, 200, 50], [200, 0, 0], [0, 200, 0], [0, 0, 200]]], np.uint8)
    black = np.zeros_like(image)
    # 29.9 + 117.4 + 5.7; then the weights of red, green and blue alone, of 200.
    grey = np.array([[153, 59.8, 117.4, 22.8]])[..., None]
    for alpha in (0.0, 0.5):
        ref = np.rint(np.broadcast_to(grey * (1 - alpha), image.shape))
        np.testing.assert_array_equal(drawing.blend(image, black, alpha), ref)


def test_inputs_become_pictures_again(rng):
    pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    scaled = ((pixels / 255 - 0.5) * 2).astype(np.float32)
    np.testing.assert_array_equal(drawing.displayable(scaled), pixels)
    pixels.flat[:2] = [0, 255]
    standardised = ((pixels - pixels.mean()) / pixels.std()).astype(np.float32)
    np.testing.assert_array_equal(drawing.displayable(standardised), pixels)
    assert (drawing.displayable(np.full((2, 2, 3), 7, np.float32)) == 0).all()


def test_small_pictures_are_enlarged_by_a_whole_factor():
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    comp = drawing.enlarge(picture, 7)
    assert comp.shape == (6, 9, 3)
    np.testing.assert_array_equal(comp[::3, ::3], picture)
    np.testing.assert_array_equal(comp[2::3, 2::3], picture)
    np.testing.assert_array_equal(drawing.enlarge(picture, 3), picture)


@pytest.mark.parametrize(("name", "atol"), [("a.png", 0), ("a.jpg", 3)])
def test_pictures_are_written_whole(tmp_path, name, atol):
    picture = np.full((16, 24, 3), [200, 30, 90], np.uint8)
    drawing.write_picture(tmp_path / name, picture)
    with Image.open(tmp_path / name) as image:
        assert np.abs(np.asarray(image).astype(int) - picture).max() <= atol
        assert image.format == {"a.png": "PNG", "a.jpg": "JPEG"}[name]
    assert os.listdir(tmp_path) == [name]


def test_a_colour_bar_shows_its_colours():
    bar = drawing.colour_bar((3.0, 18.0), "viridis", "ponder cost, units")
    assert bar.dtype == np.uint8
    for end in ([253, 231, 36], [68, 1, 84]):
        assert np.abs(bar.astype(int) - end).max(axis=2).min() <= 4
    drawing.colour_bar((2.0, 2.0), "viridis", "units")  # a map of one value


def test_colour_bars_are_the_same_whatever_was_drawn_before():
    limits = [(3.0, 18.0), (0.001, 0.0011), (-1.0, 9.5), (1e6, 2e6), (2.0, 2.0), (3.0, 18.0)]
    comp = [drawing.colour_bar(ends, "magma", "units") for ends in limits]
    np.testing.assert_array_equal(comp[0], comp[-1])
    for ends, bar in zip(limits, comp, strict=True):
        drawing._drawn.bars.clear()
        np.testing.assert_array_equal(drawing.colour_bar(ends, "magma", "units"), bar)


def test_what_a_picture_says_of_itself_is_read_again(tmp_path):
    picture, said = np.zeros((4, 4, 3), np.uint8), {"image": "ä\udce9.png", "limits": [1.5, 2]}
    drawing.write_picture(tmp_path / "a.png", picture, said)
    assert drawing.about_picture(tmp_path / "a.png") == said
    drawing.write_picture(tmp_path / "b.png", picture)
    assert drawing.about_picture(tmp_path / "b.png") is None
    data = (tmp_path / "a.png").read_bytes()
    for cut in range(0, 90, 3):
        (tmp_path / "c.png").write_bytes(data[:cut])
        assert drawing.about_picture(tmp_path / "c.png") is None


def test_thumbnails_keep_the_aspect(rng):
    picture = rng.integers(0, 256, (10, 20, 3), dtype=np.uint8)
    assert drawing.thumbnail(picture, 5).shape == (2, 5, 3)
    doubled = drawing.thumbnail(picture, 40)
    np.testing.assert_array_equal(doubled[::2, 1::2], picture)


def test_a_contact_sheet_keeps_the_order():
    red, blue = np.zeros((2, 20, 40, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    rows = [([red, red], "first"), ([blue, blue], "x" * 200), ([red, red], "third")]
    sheet = drawing.contact_sheet(rows, side=40)
    # One column: rows 44 high (picture, caption, gap), after a gap of 8.
    assert sheet.shape == (3 * 44 + 8, 2 * 42 + 8 + 8, 3)
    for top, colour in [(8, red), (52, blue), (96, red)]:
        for left in (8, 50):
            assert (sheet[top : top + 20, left : left + 40] == colour[0, 0]).all()
        assert (sheet[top + 20 : top + 36] != 255).any()  # the caption
        assert (sheet[top : top + 44, -8:] == 255).all()  # which keeps to its width
