"""Loading a network and running images: the contract, the checks, the errors."""

from __future__ import annotations

import numpy as np
import pytest

import sact_core
from sact_core.backends import BACKENDS, Net, backend_module, load, memory
from sact_core.checkpoint import Checkpoint, CheckpointError, read_header, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.plans import build_plan
from sact_core.preprocess import normalise, prepare
from tests.networks import random_params

CIFAR = NetworkConfig(units_per_block=(2, 1, 2), base_channels=4, num_classes=3, halting="sact")
IMAGENET = NetworkConfig("imagenet", (2, 1, 1, 2), 4, 3, "sact")


def checkpoint_of(rng, config=CIFAR, **preprocessing):
    return Checkpoint(
        config,
        random_params(rng, config),
        Preprocessing(config.family, **preprocessing),
        ("a", "b", "c"),
        {"made": "by a test"},
    )


@pytest.fixture
def net(rng):
    return Net.from_checkpoint(checkpoint_of(rng), "reference")


def test_a_network_is_shown_in_a_line(rng, net):
    assert repr(net) == (
        "<Net ResNet-12 SACT, cifar family: 3 classes, units (2, 1, 2), reference backend>"
    )
    shown = repr(checkpoint_of(rng))
    assert "NetworkConfig" in shown
    assert "made" not in shown  # nor what may be as long as a page


def test_a_network_of_a_file_says_its_content_hash(rng, tmp_path):
    write(tmp_path / "net.h5", checkpoint_of(rng))
    for source in (tmp_path / "net.h5", (tmp_path / "net.h5").read_bytes()):
        net = load(source, "reference")
        assert net.content_hash == read_header(source).content_hash
        assert repr(net).endswith(f"reference backend, content hash {net.content_hash[:12]}…>")


@pytest.mark.parametrize("backend", BACKENDS)
def test_load_on_every_backend(rng, tmp_path, backend):
    checkpoint = checkpoint_of(rng)
    path = tmp_path / "net.h5"
    write(path, checkpoint)
    comp = load(path, backend=backend)
    assert comp.backend == backend
    assert comp.config == checkpoint.config
    assert comp.preprocessing == checkpoint.preprocessing
    assert comp.class_names == ("a", "b", "c")
    assert comp.provenance == {"made": "by a test"}
    assert comp.plan == build_plan(checkpoint.config)
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    result = comp.run(images)
    ref = Net.from_checkpoint(checkpoint, "reference").forward(normalise(images, "cifar"))
    np.testing.assert_allclose(result.logits, ref.logits, rtol=0, atol=1e-3)
    assert result.logits.shape == (2, 3)
    assert result.map().shape == result.map("num_units").shape == (2, 32, 32)
    assert load(str(path), backend).config == checkpoint.config
    assert load(path.read_bytes(), backend).config == checkpoint.config


def test_masked_is_the_default(rng, tmp_path):
    path = tmp_path / "net.h5"
    write(path, checkpoint_of(rng))
    assert sact_core.load(path).backend == "masked"


def test_every_backend_has_the_contract():
    for backend in BACKENDS:
        module = backend_module(backend)
        assert callable(module.halt)
        assert callable(module.Engine.forward)


# --- run ---


def test_run_prepares_each_image_as_forward_gets_it(rng, net):
    images = rng.integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    x = np.stack([prepare(image, net.preprocessing, 4) for image in images])
    assert x.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(net.run(images).logits, net.forward(x).logits)


def test_run_takes_a_list_of_differently_sized_images(rng, net):
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((32, 32), (60, 41))]
    results = net.run(images)
    assert isinstance(results, list)
    for image, result in zip(images, results, strict=True):
        assert result.logits.shape == (1, 3)
        np.testing.assert_array_equal(result.logits, net.run(image[None]).logits)
    assert len(net.run(tuple(images))) == 2


def test_run_at_another_size_and_fit(rng, net):
    images = rng.integers(0, 256, (2, 60, 90, 3), dtype=np.uint8)
    assert net.run(images).input_size == (32, 32)
    assert net.run(images, image_size=48).input_size == (48, 48)
    # The longer side is 48; the other a multiple of four.
    assert net.run(images, image_size=48, fit="keep").input_size == (32, 48)
    assert net.run(images, fit="keep").input_size == (20, 32)
    assert net.preprocessing.image_size == 32


def test_see_is_what_run_runs(rng, net):
    image = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    for how in ({}, {"image_size": 48}, {"image_size": 48, "fit": "keep"}):
        seen = net.see(image, **how)
        assert seen.x.dtype == np.float32
        assert seen.x.shape == (1, *seen.pixels.shape)
        comp, ref = net.forward(seen.x), net.run([image], **how)[0]
        np.testing.assert_array_equal(comp.logits, ref.logits)
        assert comp.input_size == ref.input_size
        # Pixels of whole numbers are all there is: the input is made of them.
        np.testing.assert_array_equal(seen.x, normalise(seen.pixels, "cifar")[None])


def test_seen_pixels_are_the_input_rounded(rng):
    net = Net.from_checkpoint(checkpoint_of(rng, IMAGENET, image_size=37), "reference")
    seen = net.see(rng.integers(0, 256, (50, 61, 3), dtype=np.uint8))
    values = (seen.x[0].astype(np.float64) + 1) / 2 * 255
    assert np.abs(values - values.round()).max() > 0.4  # fractions, which the input keeps
    assert seen.pixels.dtype == np.uint8
    np.testing.assert_allclose(seen.pixels, values, rtol=0, atol=0.5001)


@pytest.mark.parametrize(
    ("image", "how", "match"),
    [
        (np.zeros((32, 32, 3), np.float32), {}, "an image must be uint8 .* got float32"),
        (np.zeros((1, 32, 32, 3), np.uint8), {}, r"an image must be RGB .* got \(1, 32, 32, 3\)"),
        (np.zeros((8, 8, 3), np.uint8), {"image_size": 0}, "image_size must be a whole number"),
        (np.zeros((8, 8, 3), np.uint8), {"fit": "stretch"}, "fit must be one of"),
        (np.zeros((8, 8, 3), np.uint8), {"image_size": 30}, "needs input sides that are multiples"),
    ],
)
def test_see_refuses_as_run_does(net, image, how, match):
    with pytest.raises(ValueError, match=match):
        net.see(image, **how)
    with pytest.raises(ValueError, match=match):
        net.run([image], **how)


def test_memory_is_asked_for_before_a_photograph_is_fitted(net, monkeypatch):
    monkeypatch.setattr("sact_core.backends.checks.available_memory", lambda: 1 << 30)
    monkeypatch.setattr("sact_core.backends.net.see", lambda *_: pytest.fail("fitted"))
    for call in (net.see, lambda image, side: net.run(image[None], side)):
        with pytest.raises(ValueError, match=r"GiB of memory, but 1\.0 GiB are free"):
            call(np.zeros((8, 8, 3), np.uint8), 8192)


def test_run_hands_on_what_to_keep(rng, net):
    images = rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    block = net.run(images, keep_outputs=True, keep_seconds=True).blocks[0]
    assert block.output.shape == (1, 32, 32, 4)
    assert len(block.seconds) == 2
    block = net.run(list(images), keep_outputs=True)[0].blocks[0]
    assert block.output.shape == (1, 32, 32, 4)


def test_any_size_on_a_photograph_network(rng):
    net = Net.from_checkpoint(checkpoint_of(rng, IMAGENET, image_size=64, fit="keep"), "reference")
    results = net.run([rng.integers(0, 256, (50, 120, 3), dtype=np.uint8)])
    assert results[0].input_size == (27, 64)
    assert results[0].map().shape == (1, 27, 64)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (np.zeros((1, 32, 32, 3), np.float32), "an image must be uint8 .* got float32"),
        (np.zeros((32, 32, 3), np.uint8), r"for a single image pass images\[None\]"),
        (np.zeros((32, 32), np.uint8), r"images must have shape \(n, h, w, 3\), got \(32, 32\)"),
        (np.zeros((1, 32, 32, 1), np.uint8), r"an image must be RGB .* got \(32, 32, 1\)"),
        (np.zeros((1, 3, 32, 32), np.uint8), r"an image must be RGB .* got \(3, 32, 32\)"),
        (np.zeros((0, 32, 32, 3), np.uint8), "images holds no image"),
        (np.zeros((1, 0, 32, 3), np.uint8), "an image must have at least one pixel"),
        ([], "images holds no image"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)], "an image must be RGB"),
        ("photo.jpg", "images must be an array of shape .* or a list .* got str"),
        (None, "images must be an array"),
    ],
)
def test_run_refuses(net, images, match):
    with pytest.raises(ValueError, match=match):
        net.run(images)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"image_size": 0}, "image_size must be a whole number"),
        ({"image_size": 9000}, "image_size must be a whole number"),
        ({"image_size": "big"}, "image_size must be a whole number"),
        ({"fit": "stretch"}, "fit must be one of crop, square, keep"),
        ({"image_size": 30}, "multiples of 4 pixels, got 30 x 30"),
    ],
)
def test_run_refuses_options(net, options, match):
    with pytest.raises(ValueError, match=match):
        net.run(np.zeros((1, 32, 32, 3), np.uint8), **options)


def test_one_bad_image_of_a_list_stops_all_before_any_work(net, monkeypatch):
    monkeypatch.setattr(type(net), "forward", lambda *_, **__: pytest.fail("ran"))
    with pytest.raises(ValueError, match="an image must be uint8"):
        net.run([np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3))])


# --- forward ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.zeros((1, 32, 32, 3)), "x must be float32, got float64"),
        (np.zeros((1, 32, 32, 3), np.uint8), "x must be float32, got uint8; .* go through run"),
        (np.zeros((1, 32, 32, 3), ">f4"), "x must be float32, got >f4"),
        (np.zeros((32, 32, 3), np.float32), r"x must have shape \(n, height, width, 3\)"),
        (np.zeros((1, 3, 32, 32), np.float32), r"x must have shape .* got \(1, 3, 32, 32\)"),
        (np.zeros((1, 32, 32, 1), np.float32), r"x must have shape .* got \(1, 32, 32, 1\)"),
        (np.zeros((0, 32, 32, 3), np.float32), "x is an empty batch"),
        (np.full((1, 32, 32, 3), np.nan, np.float32), "x holds NaN or infinite values"),
        (np.full((1, 32, 32, 3), -np.inf, np.float32), "x holds NaN or infinite values"),
        (np.zeros((1, 2, 2, 3), np.float32), "multiples of 4 pixels, got 2 x 2"),
        (np.zeros((1, 0, 32, 3), np.float32), "multiples of 4 pixels, got 0 x 32"),
        (np.zeros((1, 33, 32, 3), np.float32), "multiples of 4 pixels, got 33 x 32"),
        ([[[[0.0, 0.0, 0.0]]]], "x must be a NumPy array, got list"),
    ],
)
def test_forward_refuses(rng, backend, x, match):
    net = Net.from_checkpoint(checkpoint_of(rng), backend)
    with pytest.raises(ValueError, match=match):
        net.forward(x)


def test_any_memory_layout_gives_the_same(rng, net):
    x = rng.standard_normal((2, 16, 8, 3), dtype=np.float32)
    ref = net.forward(x).logits
    np.testing.assert_array_equal(net.forward(np.asfortranarray(x)).logits, ref)
    strided = np.repeat(x, 2, axis=2)[:, :, ::2]
    np.testing.assert_array_equal(net.forward(strided).logits, ref)
    channels_first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(net.forward(channels_first.transpose(0, 2, 3, 1)).logits, ref)


# --- memory ---


def test_more_memory_than_there_is_is_refused_before_any_work(net, monkeypatch):
    monkeypatch.setattr(type(net.engine), "forward", lambda *_, **__: pytest.fail("ran"))
    # A view: it claims terabytes without taking any.
    x = np.broadcast_to(np.zeros((1, 1, 1, 3), np.float32), (100, 65536, 65536, 3))
    with pytest.raises(ValueError, match=r"100 images of 65536 x 65536 pixels need about .* GiB"):
        net.forward(x)


def test_what_fits_in_memory_is_not_refused(rng, net, monkeypatch):
    x = rng.standard_normal((1, 8, 8, 3), dtype=np.float32)
    needed = memory.estimate_memory(net.plan, x.shape)
    monkeypatch.setattr("sact_core.backends.checks.available_memory", lambda: needed)
    net.forward(x)
    monkeypatch.setattr("sact_core.backends.checks.available_memory", lambda: needed - 1)
    with pytest.raises(ValueError, match=r"1 image of 8 x 8 pixels needs .* run a smaller image"):
        net.forward(x)
    monkeypatch.setattr("sact_core.backends.checks.available_memory", lambda: None)  # unknown
    net.forward(x)


@pytest.mark.parametrize("config", [CIFAR, IMAGENET])
def test_the_estimate_grows_as_the_work_does(config):
    plan = build_plan(config)
    one = memory.estimate_memory(plan, (1, 64, 64, 3))
    assert memory.estimate_memory(plan, (3, 64, 64, 3)) == 3 * one
    assert memory.estimate_memory(plan, (1, 128, 128, 3)) == pytest.approx(4 * one, rel=0.1)
    assert memory.estimate_memory(plan, (1, 64, 64, 3), keep_outputs=True) > one


# --- loading errors ---


def test_unknown_backend(tmp_path):
    with pytest.raises(
        ValueError, match="backend must be one of reference, masked, dense; got 'tf'"
    ):
        load(tmp_path / "absent.h5", backend="tf")


@pytest.mark.parametrize("backend", BACKENDS)
def test_parameters_that_do_not_fit_are_all_listed(rng, backend):
    checkpoint = checkpoint_of(rng)
    del checkpoint.params["stem/bias"]
    checkpoint.params["extra"] = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match=r"missing: stem/bias .*unexpected: extra"):
        Net.from_checkpoint(checkpoint, backend)


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.h5")
    path = tmp_path / "text.h5"
    path.write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match="is no HDF5 file"):
        load(path)
