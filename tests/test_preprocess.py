"""From pixels to a network's input: the authors' numbers, sizes, and numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sact_core.config import KINDS, Kind, Preprocessing
from sact_core.preprocess import (
    central_crop,
    central_square,
    fit_image,
    fit_square,
    kept_size,
    normalise,
    prepare,
    resize_antialiased,
    resize_bilinear,
)
from tests import naive

CIFAR = Preprocessing("cifar", 32)
IMAGENET = Preprocessing("imagenet", 64, 0.875)


def photo(rng, *size):
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8)


# --- the authors' numbers ---


@pytest.mark.parametrize("i", [0, 1, 2])
def test_imagenet_evaluation_is_exact(reference_dir, i):
    arrays = np.load(reference_dir / "preprocess_imagenet_eval.npz")
    image, ref = arrays[f"image_{i}"], arrays[f"preprocessed_{i}"]
    comp = normalise(resize_bilinear(central_crop(image, 0.875), ref.shape[:2]), "imagenet")
    assert comp.dtype == np.float32
    np.testing.assert_array_equal(comp, ref)
    if ref.shape[0] == ref.shape[1]:
        preprocessing = Preprocessing("imagenet", ref.shape[0], 0.875)
        np.testing.assert_array_equal(prepare(image, preprocessing), ref)


@pytest.mark.parametrize("name", ["cifar_sact_5", "cifar_vanilla_2", "cifar_act_2"])
def test_cifar_standardisation_is_the_authors(reference_dir, name):
    arrays = np.load(reference_dir / f"{name}.npz")
    ref = arrays["images"]
    np.testing.assert_allclose(normalise(arrays["images_uint8"], "cifar"), ref, rtol=0, atol=2e-6)
    comp = np.stack([prepare(image, CIFAR) for image in arrays["images_uint8"]])
    np.testing.assert_array_equal(comp, normalise(arrays["images_uint8"], "cifar"))


# --- values ---


def test_standardisation_by_hand():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = 10  # half of the values; mean 5, deviation 5
    comp = normalise(image, "cifar")
    np.testing.assert_allclose(comp[0], 1)
    np.testing.assert_allclose(comp[1], -1)
    assert comp.dtype == np.float32


def test_standardisation_of_a_flat_image_has_a_floor():
    np.testing.assert_array_equal(normalise(np.full((4, 4, 3), 77, np.uint8), "cifar"), 0)
    image = np.zeros((100, 100, 3), np.uint8)
    image[0, 0, 0] = 1
    # The deviation, 1/sqrt(30000) nearly, is below the floor of exactly that.
    comp = normalise(image, "cifar")
    assert comp.max() == pytest.approx((1 - 1 / 30_000) * 30_000**0.5, rel=1e-6)


def test_each_image_is_standardised_by_itself(rng):
    images = np.stack([photo(rng, 8, 8), photo(rng, 8, 8) // 4])
    comp = normalise(images, "cifar")
    for image, each in zip(images, comp, strict=True):
        np.testing.assert_array_equal(normalise(image, "cifar"), each)
        assert abs(each.mean()) < 1e-6
        assert each.std() == pytest.approx(1, rel=1e-5)


def test_imagenet_values_by_hand():
    image = np.array([[[0, 255, 51]]], np.uint8)
    np.testing.assert_allclose(normalise(image, "imagenet"), [[[-1, 1, -0.6]]], atol=1e-6)


def test_mobile_values_by_hand(rng):
    image = photo(rng, 20, 31)
    comp = prepare(image, Preprocessing("mobile", 8))
    ref = (fit_square(image, 8).astype(float) - 127) / 128
    np.testing.assert_allclose(comp, ref, rtol=0, atol=1e-6)


def test_another_kind_is_one_more_row(monkeypatch):
    monkeypatch.setitem(KINDS, "inverted", Kind((1.0, -1.0), stretches=False))
    image = np.array([[[0, 255, 51]]], np.uint8)
    comp = prepare(image, Preprocessing("inverted", 1))
    np.testing.assert_allclose(comp, [[[1, 0, 0.8]]], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"kind must be one of .*, inverted; got 'lite'"):
        Preprocessing("lite")


@pytest.mark.parametrize("kind", ["cifar", "imagenet", "mobile"])
def test_whole_and_fractional_pixels_mean_the_same(rng, kind):
    image = photo(rng, 9, 7)
    ref = normalise(image, kind)
    comp = normalise(image.astype(np.float32) / np.float32(255), kind)
    assert comp.dtype == np.float32
    np.testing.assert_allclose(comp, ref, rtol=0, atol=1e-5)


# --- sizes ---


def test_an_image_of_the_right_size_is_left_alone(rng):
    image = photo(rng, 32, 32)
    np.testing.assert_array_equal(fit_image(image, CIFAR), image)
    keep = Preprocessing("cifar", 48, fit="keep")
    image = photo(rng, 36, 48)
    np.testing.assert_array_equal(fit_image(image, keep, 4), image)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (31, 33), (32, 64), (100, 75), (500, 400)])
@pytest.mark.parametrize("preprocessing", [CIFAR, IMAGENET])
def test_crop_gives_a_square(rng, preprocessing, size):
    comp = prepare(photo(rng, *size), preprocessing)
    assert comp.shape == (preprocessing.image_size, preprocessing.image_size, 3)
    assert comp.dtype == np.float32
    assert np.isfinite(comp).all()


def test_a_larger_photograph_is_cut_to_its_central_square():
    image = np.zeros((40, 90, 3), np.uint8)
    image[:, 25:65] = 200  # exactly the square
    np.testing.assert_array_equal(fit_image(image, CIFAR), np.full((32, 32, 3), 200))


def test_shrinking_averages():
    # A checkerboard of single pixels would alias to black or white; averaged it is grey.
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    comp = fit_square(np.repeat(board[..., None], 3, axis=2), 32)
    assert comp.dtype == np.uint8
    assert abs(comp.astype(int) - 127.5).max() < 3


@pytest.mark.parametrize(
    ("size", "longer", "divisor", "ref"),
    [
        ((100, 200), 64, 1, (32, 64)),
        ((200, 100), 64, 1, (64, 32)),
        ((75, 100), 50, 1, (38, 50)),
        ((75, 100), 50, 4, (36, 48)),
        ((480, 640), 320, 4, (240, 320)),
        ((1, 1000), 100, 1, (1, 100)),
        ((1, 1000), 100, 4, (4, 100)),
        ((10, 10), 3, 4, (4, 4)),
        ((32, 32), 32, 4, (32, 32)),
    ],
)
def test_kept_size(size, longer, divisor, ref):
    assert kept_size(size, longer, divisor) == ref


@pytest.mark.parametrize("kind", ["cifar", "imagenet"])
def test_keep_shows_the_whole_photograph(rng, kind):
    image = photo(rng, 60, 90)
    preprocessing = Preprocessing(kind, 64, 0.5, "keep")
    comp = fit_image(image, preprocessing, 4)
    assert comp.shape == (44, 64, 3)
    assert comp.mean() == pytest.approx(image.mean(), abs=1)
    np.testing.assert_array_equal(prepare(image, preprocessing, 4), normalise(comp, kind))


@pytest.mark.parametrize(
    ("side", "fraction", "ref"),
    [
        (75, 0.875, 67),
        (100, 0.875, 88),
        (16, 0.875, 14),
        (15, 0.875, 15),
        (10, 1.0, 10),
        (10, 0.5, 6),
    ],
)
def test_central_crop_rounds_as_tensorflow_does(side, fraction, ref):
    comp = central_crop(np.zeros((side, 3, 1)), fraction)
    assert len(comp) == ref
    # What is cut off is the same on both sides, rounded down.
    rows = central_crop(np.arange(side)[:, None], fraction)[:, 0]
    assert rows[0] == side - 1 - rows[-1] == int(side * (1 - fraction) / 2)


@pytest.mark.parametrize("fraction", [0.001, 0.3, 0.875, 1.0])
@pytest.mark.parametrize("side", [1, 2, 3, 17])
def test_a_crop_never_loses_the_last_pixel(side, fraction):
    assert central_crop(np.zeros((side, side, 3)), fraction).size > 0


def test_central_square():
    image = np.arange(5 * 8).reshape(5, 8, 1)
    np.testing.assert_array_equal(central_square(image), image[:, 1:6])
    np.testing.assert_array_equal(
        central_square(image.transpose(1, 0, 2)), image[:, 1:6].transpose(1, 0, 2)
    )


@pytest.mark.parametrize("new_size", [(1, 1), (7, 11), (5, 4), (20, 3), (13, 29)])
@pytest.mark.parametrize("size", [(1, 1), (5, 4), (13, 9)])
def test_bilinear_agrees_with_naive(rng, size, new_size):
    image = rng.random((*size, 3), dtype=np.float32)
    comp = resize_bilinear(image, new_size)
    assert comp.dtype == np.float32
    np.testing.assert_allclose(comp, naive.resize_bilinear(image, new_size), rtol=0, atol=1e-5)


def test_resize_does_not_touch_its_input(rng):
    image = photo(rng, 40, 50)
    image.flags.writeable = False
    kept = image.copy()
    for size in [(40, 50), (20, 10)]:
        assert resize_antialiased(image, size).shape == (*size, 3)
    np.testing.assert_array_equal(image, kept)


# --- errors ---


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.zeros((4, 4, 3), np.float32), "an image must be uint8 .* got float32"),
        (np.zeros((4, 4), np.uint8), r"an image must be RGB with shape \(h, w, 3\), got \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"got \(4, 4, 4\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"got \(1, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "an image must have at least one pixel"),
        ([[[0, 0, 0]]], "an image must be a NumPy array, got list"),
    ],
)
def test_what_is_no_photograph_is_refused(image, match):
    with pytest.raises(ValueError, match=match):
        prepare(image, CIFAR)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(40, 90), (90, 40), (64, 64)])
def test_a_square_crop_stretches_nothing(kind, size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    seen = fit_image(image, Preprocessing(kind, 24, 0.875, "square"))
    height, width = (int(side * (1 - 0.875) / 2) for side in size)
    ref = image[height : size[0] - height, width : size[1] - width]
    side = min(ref.shape[:2])
    top, left = ((each - side) // 2 for each in ref.shape[:2])
    ref = ref[top : top + side, left : left + side]
    np.testing.assert_array_equal(seen, resize_antialiased(ref, (24, 24)))
