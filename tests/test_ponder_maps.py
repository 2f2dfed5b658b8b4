"""The ponder-map file: the authors' layout and arrays, merging, percentiles."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from sact_core.backends import Net
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.import_tf import import_checkpoint
from sact_core.maps.file import MapError, MapFile
from sact_core.maps.limits import percentile_limits, unit_limits
from sact_core.maps.writing import map_attributes, map_rows, merge_maps, write_maps
from sact_core.parameters import init_params
from sact_core.plans import build_plan

SMALL = {
    "sact": NetworkConfig("cifar", (1, 3, 2), 2, 3, "sact", halting_bias=0.5),
    "act": NetworkConfig("cifar", (1, 3, 2), 2, 3, "act", halting_bias=0.5),
    "none": NetworkConfig("cifar", (1, 3, 2), 2, 3),
    "imagenet": NetworkConfig("imagenet", (2, 1, 2, 1), 1, 3, "sact", halting_bias=0.5),
}


def network(kind):
    config = SMALL[kind]
    params = init_params(build_plan(config), seed=1)
    preprocessing = default_preprocessing(config.family)
    checkpoint = Checkpoint(config, params, preprocessing, ("cat", "dog", "owl"))
    return Net.from_checkpoint(checkpoint, "reference")


def batch(net, rng, n=3, size=(8, 12)):
    x = rng.standard_normal((n, *size, 3)).astype(np.float32)
    result = net.forward(x)
    names = [f"{i}.jpg" for i in range(n)]
    return x, result, map_rows(net.config, x, result, names, range(n))


def about(net):
    return map_attributes(net.config, net.class_names, {"command": "test"})


@pytest.fixture
def path(tmp_path, rng):
    net = network("sact")
    write_maps(tmp_path / "maps.h5", batch(net, rng)[2], about(net))
    return tmp_path / "maps.h5"


# --- the authors' layout ---


def test_the_authors_export_comes_out(reference_dir, tmp_path):
    """Names, shapes, types, compression, attributes, and every array."""
    layout = json.loads((reference_dir / "export_h5_layout.json").read_text())
    checkpoint = import_checkpoint(reference_dir / "cifar_sact_5.ckpt.index")
    net = Net.from_checkpoint(checkpoint, "reference")
    with h5py.File(reference_dir / "export.h5") as ref:
        parts = []
        for start in range(0, 8, 2):
            x = ref["images"][start : start + 2]
            rows = map_rows(net.config, x, net.forward(x), ["a", "b"])
            parts.append(tmp_path / f"{start}.h5")
            write_maps(parts[-1], rows, about(net))
        assert merge_maps(parts, tmp_path / "maps.h5", about(net)) == 8
        with h5py.File(tmp_path / "maps.h5") as comp:
            assert list(comp.attrs["block_scopes"]) == layout["attributes"]["block_scopes"]
            for name, want in layout["datasets"].items():
                assert list(comp[name].shape) == want["shape"]
                assert comp[name].dtype == want["dtype"]
                assert comp[name].compression == want["compression"]
                if "num_units" in name or "flops" in name or name == "images":
                    np.testing.assert_array_equal(comp[name], ref[name])
                else:
                    np.testing.assert_allclose(comp[name], ref[name], rtol=0, atol=1e-4)


def test_the_authors_own_file_is_read(reference_dir):
    with MapFile(reference_dir / "export.h5") as file:
        file.check_maps()
        assert file.num_images == 8
        assert file.block_scopes == ("block_1", "block_2", "block_3")
        assert file.units_per_block == (5, 5, 5)
        assert file.name(3) == "3"
        assert file.caption(3) == ""
        assert file.provenance == {}
        np.testing.assert_allclose(
            file.mean_costs(), file.root["ponder_cost_map"][()].mean((1, 2, 3)), rtol=1e-5
        )


@pytest.mark.parametrize(
    ("kind", "scopes"),
    [
        ("sact", ["block_1", "block_2", "block_3"]),
        ("imagenet", [f"block{i}" for i in (1, 2, 3, 4)]),
    ],
)
def test_the_layout(tmp_path, rng, kind, scopes):
    net = network(kind)
    x, result, rows = batch(net, rng)
    write_maps(tmp_path / "maps.h5", rows, about(net))
    with h5py.File(tmp_path / "maps.h5") as file:
        assert list(file.attrs["block_scopes"]) == scopes
        assert json.loads(file.attrs["config"])["family"] == net.config.family
        np.testing.assert_array_equal(file["images"], x)
        np.testing.assert_array_equal(file["ponder_cost_map"][..., 0], result.map("ponder_cost"))
        np.testing.assert_array_equal(file["num_units_map"][..., 0], result.map("num_units"))
        np.testing.assert_array_equal(file["flops_exact"], result.flops)
        assert file["flops"].shape == (3, 3)  # rows repeat the image's count
        np.testing.assert_array_equal(file["flops"][:, 0], result.flops.astype("f4"))
        for scope, block in zip(scopes, result.blocks, strict=True):
            several = block.halting_distribution.shape[-1] > 1
            assert file[f"{scope}/flops"].shape == ((3, 3) if several else (3,))
            np.testing.assert_array_equal(file[f"{scope}/flops_exact"], block.flops)
            np.testing.assert_array_equal(file[f"{scope}/ponder_cost"], block.ponder_cost)
            np.testing.assert_array_equal(file[f"{scope}/num_units"], block.num_units)
            np.testing.assert_array_equal(
                file[f"{scope}/halting_distribution"], block.halting_distribution
            )
        np.testing.assert_array_equal(file["logits"], result.logits)
        np.testing.assert_array_equal(file["predictions"], result.logits.argmax(1))
        np.testing.assert_array_equal(file["labels"], [0, 1, 2])
        assert list(file["names"].asstr()) == ["0.jpg", "1.jpg", "2.jpg"]
        assert list(file["class_names"].asstr()) == ["cat", "dog", "owl"]


def test_act_has_numbers_but_no_maps(tmp_path, rng):
    net = network("act")
    _, result, rows = batch(net, rng)
    write_maps(tmp_path / "maps.h5", rows, about(net))
    with MapFile(tmp_path / "maps.h5") as file:
        np.testing.assert_array_equal(file.root["flops"], result.flops.astype("f4"))
        assert file.root["block_2/halting_distribution"].shape == (3, 3)
        assert file.root["block_2/ponder_cost"].shape == (3,)
        with pytest.raises(MapError, match="ACT decides for an image as a whole"):
            file.check_maps()


def test_a_vanilla_network_is_refused(rng):
    with pytest.raises(ValueError, match="a vanilla network has no ponder map"):
        batch(network("none"), rng)


# --- reading ---


def test_captions_say_what_is_known(path):
    with MapFile(path) as file:
        file.check_maps()
        predicted = file.class_names[file.root["predictions"][1]]
        assert file.caption(1) == f"{predicted}, is dog"
        assert file.name(2) == "2.jpg"
        assert file.provenance == {"command": "test"}
        assert file.image(0).shape == (8, 12, 3)
        assert file.map(0).shape == (8, 12)


def test_merged_parts_equal_one_file(tmp_path, rng):
    net = network("sact")
    x = rng.standard_normal((7, 8, 12, 3)).astype(np.float32)
    rows = map_rows(net.config, x, net.forward(x), list("abcdefg"), batch_size=4)
    write_maps(tmp_path / "whole.h5", rows, about(net))
    parts = []
    for start, stop in [(0, 4), (4, 5), (5, 7)]:
        parts.append(tmp_path / f"{start}.h5")
        part = {name: values[start:stop] for name, values in rows.items()}
        write_maps(parts[-1], part, about(net) | {"part": [start, stop, 7]})
    assert merge_maps(parts, tmp_path / "merged.h5", about(net)) == 7
    with h5py.File(tmp_path / "whole.h5") as ref, h5py.File(tmp_path / "merged.h5") as comp:
        names = []
        ref.visit(names.append)
        assert len(names) > 20
        for name in names:
            if isinstance(ref[name], h5py.Dataset):
                np.testing.assert_array_equal(comp[name][()], ref[name][()])
                assert comp[name].dtype == ref[name].dtype
        assert dict(comp.attrs).keys() == dict(ref.attrs).keys()


def test_parts_that_do_not_fit_are_refused(tmp_path, rng, path):
    net = network("sact")
    write_maps(tmp_path / "b.h5", batch(net, rng, size=(8, 8))[2], about(net))
    with pytest.raises(MapError, match=r"b\.h5 does not fit the other parts"):
        merge_maps([path, tmp_path / "b.h5"], tmp_path / "merged.h5", about(net))
    assert not (tmp_path / "merged.h5").exists()


def test_a_part_says_that_it_is_one(tmp_path, rng):
    net = network("sact")
    partly = about(net) | {"part": [3, 6, 9]}
    write_maps(tmp_path / "a.h5", batch(net, rng)[2], partly)
    with MapFile(tmp_path / "a.h5") as file, pytest.raises(MapError) as caught:
        file.check_maps()
    assert "is only a part of an export (images 3 to 6 of 9)" in str(caught.value)


def test_other_files_are_refused(tmp_path, path):
    with pytest.raises(FileNotFoundError):
        MapFile(tmp_path / "none.h5")
    (tmp_path / "a.h5").write_bytes(b"hello")
    with pytest.raises(MapError, match=r"is (no HDF5 file|truncated or damaged)"):
        MapFile(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(MapError, match=r"is (no HDF5 file|truncated or damaged)"):
        MapFile(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(MapError, match="is no file of ponder maps"):
        MapFile(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.create_group("images")
    with pytest.raises(MapError, match="images is a group"):
        MapFile(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: f.__delitem__("images"), "is no file of ponder maps"),
        (lambda f: f.attrs.__delitem__("block_scopes"), None),
        (lambda f: f.__delitem__("block_2"), "is no file of ponder maps"),
        (lambda f: f.attrs.__setitem__("provenance", np.bytes_("{")), "is no file of ponder maps"),
        (lambda f: f.__delitem__("num_units_map"), "holds no maps by position"),
        (lambda f: f.move("logits", "x") or f.move("block_1/flops", "images2"), None),
    ],
)
def test_incomplete_files_are_refused(path, edit, message):
    with h5py.File(path, "a") as file:
        edit(file)

    def read():
        with MapFile(path) as file:
            file.check_maps()

    if message is None:
        read()  # what is not drawn is not needed
    else:
        with pytest.raises(MapError, match=message):
            read()


def test_maps_must_fit_the_images(path):
    with h5py.File(path, "a") as file:
        del file["ponder_cost_map"]
        file["ponder_cost_map"] = np.zeros((3, 8, 11, 1), "f4")
    with MapFile(path) as file, pytest.raises(MapError, match="its maps do not fit its images"):
        file.check_maps()


# --- colour limits ---


def test_unit_limits():
    assert unit_limits((5, 5, 5)) == (6.0, 18.0)  # units and remainder of each block
    assert unit_limits((5, 5, 5), "num_units") == (3.0, 15.0)
    assert unit_limits((1, 1, 1)) == (6.0, 6.0)


@pytest.mark.parametrize("percentiles", [(0.1, 99.9), (0, 100), (50, 50), (33.3, 66.6)])
@pytest.mark.parametrize("size", [1, 2, 3, 1000, 12345])
def test_percentiles_are_exact(rng, size, percentiles):
    values = rng.choice(np.array([0, 1e-30, 2, 2.5, 7, 1e30], np.float32), size)
    values += rng.random(size).astype(np.float32) * (rng.random(size) < 0.5)
    ref = np.percentile(values.astype(np.float64), percentiles)
    chunks = np.array_split(values, 3)
    comp = percentile_limits(lambda: iter(chunks), percentiles)
    np.testing.assert_allclose(comp, ref, rtol=1e-12)


def test_percentiles_need_numbers():
    with pytest.raises(ValueError, match="there are no maps"):
        percentile_limits(lambda: [np.zeros(0)])
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match="a negative number or NaN"):
            percentile_limits(lambda bad=bad: [np.array([1.0, bad])])
    assert percentile_limits(lambda: [np.array([-0.0])]) == (0.0, 0.0)
