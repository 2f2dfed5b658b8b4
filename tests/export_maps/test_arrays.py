"""What is exported: arrays as of single images, labels, images that cannot be read."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sact_core.backends import Net
from sact_core.checkpoint import Checkpoint
from sact_core.config import Preprocessing
from sact_core.data.folders import photographs
from sact_core.data.records import Unreadable
from sact_core.data.splits import open_split
from sact_core.export_maps import export
from sact_core.import_tf import import_checkpoint
from sact_core.maps.file import MapError, MapFile
from sact_core.maps.parts import parts_folder
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.export_maps.conftest import CONFIG
from tests.in_memory import in_memory

# --- what is exported ---


def test_arrays_equal_single_image_runs(tmp_path, net, images, small_parts):
    out = tmp_path / "maps.h5"
    assert export(net, in_memory(images), out, batch_size=3) == (7, Unreadable())
    with MapFile(out) as file:
        assert file.class_names == ("a", "b", "c")
        for i in range(7):
            ref = net.run(images[i : i + 1])
            np.testing.assert_array_equal(file.root["flops_exact"][i], ref.flops[0])
            np.testing.assert_array_equal(file.root["flops"][i], np.repeat(ref.flops, 3))
            np.testing.assert_allclose(file.map(i), ref.map()[0], rtol=0, atol=1e-5)
            np.testing.assert_array_equal(file.map(i, "num_units"), ref.map("num_units")[0])
            np.testing.assert_allclose(file.root["logits"][i], ref.logits[0], atol=1e-5)
            assert file.name(i) == f"{i}.png"
            assert file.root["labels"][i] == i % 3
            for scope, block in zip(file.block_scopes, ref.blocks, strict=True):
                np.testing.assert_array_equal(
                    file.root[f"{scope}/num_units"][i], block.num_units[0]
                )
                np.testing.assert_array_equal(file.root[f"{scope}/flops_exact"][i], block.flops[0])
    assert not parts_folder(out).exists()


def test_the_authors_network_exports_the_authors_arrays(reference_dir, tmp_path):
    """From uint8 images whose standardised form the authors' exporter was given."""
    net = Net.from_checkpoint(
        import_checkpoint(reference_dir / "cifar_sact_5.ckpt.index"), "reference"
    )
    arrays = np.load(reference_dir / "cifar_sact_5.npz")
    pixels = arrays["images_uint8"]
    export(net, in_memory(pixels), tmp_path / "maps.h5", batch_size=2)
    with MapFile(tmp_path / "maps.h5") as file:
        np.testing.assert_allclose(file.root["images"], arrays["images"], atol=2e-6)
        np.testing.assert_array_equal(file.root["flops_exact"], arrays["flops"])
        np.testing.assert_allclose(file.root["logits"], arrays["logits"], rtol=0, atol=1e-4)
        for i in (1, 2, 3):
            for name in ("num_units", "ponder_cost", "halting_distribution"):
                np.testing.assert_allclose(
                    file.root[f"block_{i}/{name}"],
                    arrays[f"block_{i}/{name}"],
                    rtol=0,
                    atol=0 if name == "num_units" else 1e-4,
                )


@pytest.mark.parametrize("name", ["cifar10", "caltech101"])
def test_real_data_sets(data_dir, tmp_path, net, name):
    source = open_split(name, "test", data_dir)
    exported = export(net, source, tmp_path / "m.h5", num_examples=5, num_workers=3)
    assert exported == (5, Unreadable())
    with MapFile(tmp_path / "m.h5") as file:
        ref = source.read(range(5))
        for i, (image, label, key) in enumerate(ref):
            assert file.root["labels"][i] == -1  # a network of three classes knows none of them
            assert label >= 0
            assert file.name(i) == key
            np.testing.assert_array_equal(
                file.map(i, "num_units"), net.run([image])[0].map("num_units")[0]
            )


def test_photographs_from_files_and_folders(tmp_path, net, folder, images):
    source = photographs([folder / "test" / "a" / "0.png", folder / "test"])
    assert len(source) == 8
    assert [name for *_, name in source.read([0, 2])] == ["0.png", "a/1.png"]
    assert export(net, source, tmp_path / "m.h5", image_size=12)[0] == 7
    with MapFile(tmp_path / "m.h5") as file:
        assert file.image(0).shape == (12, 12, 3)
        assert set(file.root["labels"][()]) == {-1}


@pytest.mark.parametrize(
    ("names", "ref", "said"),
    [
        (("c", "b", "a"), [2, 2, 2, 1, 1, 0], []),
        (("b", "z", "y"), 6 * [-1], ["what the images show is left out: "]),
    ],
)
def test_labels_are_the_networks(tmp_path, net, folder, names, ref, said):
    net = dataclasses.replace(net, class_names=names)
    heard = []
    export(net, open_split(str(folder), "test"), tmp_path / "m.h5", say=heard.append)
    with MapFile(tmp_path / "m.h5") as file:
        assert file.root["labels"][()].tolist() == ref
    assert [each[: len(start)] for each, start in zip(heard, said, strict=True)] == said


def test_act_networks_are_exported(tmp_path, images):
    config = dataclasses.replace(CONFIG, halting="act")
    record = Checkpoint(config, init_params(build_plan(config)), Preprocessing("cifar", 8))
    net = Net.from_checkpoint(record, "reference")
    export(net, in_memory(images), tmp_path / "m.h5", batch_size=3)
    with MapFile(tmp_path / "m.h5") as file:
        assert file.root["flops"].shape == (7,)
        assert file.class_names == ("a", "b", "c")  # the data set's, as the network has none


# --- images that cannot be read ---


@pytest.mark.parametrize("broken", [[0], [2, 3], [3, 4, 5], [6]])
def test_broken_images_are_left_out_named_and_counted(tmp_path, net, images, small_parts, broken):
    out = tmp_path / "maps.h5"
    num_images, left_out = export(net, in_memory(images, broken), out, batch_size=3)
    good = [i for i in range(7) if i not in broken]
    assert num_images == len(good)
    assert list(left_out.found) == broken
    assert left_out.found[broken[0]] == (f"example {broken[0]}", f"image {broken[0]} is broken")
    with MapFile(out) as file:
        assert [file.name(i) for i in range(len(good))] == [f"{i}.png" for i in good]


def test_no_image_at_all(tmp_path, net, images):
    with pytest.raises(MapError, match="not one image could be read"):
        export(net, in_memory(images, range(7)), tmp_path / "maps.h5")


def test_too_large_an_input_is_refused_with_its_estimate(tmp_path, net, images, monkeypatch):
    monkeypatch.setattr("sact_core.backends.checks.available_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"need about .* GiB of memory"):
        export(net, in_memory(images), tmp_path / "maps.h5")
