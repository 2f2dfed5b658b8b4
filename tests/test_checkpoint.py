"""Checkpoints: what is written is read, what is wrong is listed, what is hostile is refused."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from sact_core.checkpoint import (
    Checkpoint,
    CheckpointError,
    checks,
    content_hash,
    read,
    read_header,
    write,
)
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.untrusted_hdf5 import plain

CONFIG = NetworkConfig(units_per_block=(1, 2, 1), base_channels=2, num_classes=3, halting="sact")
PARAM = "block2/unit1/conv1/weight"
PROVENANCE = {"data_set": "cifar10", "seed": 1, "metrics": {"top1": 0.8, "split": "test"}}


@pytest.fixture
def checkpoint():
    params = init_params(build_plan(CONFIG), seed=3)
    return Checkpoint(CONFIG, params, Preprocessing(), ("cat", "Löwe", "dog"), PROVENANCE)


@pytest.fixture
def path(tmp_path, checkpoint):
    write(tmp_path / "a.h5", checkpoint)
    return tmp_path / "a.h5"


def edited(path, edit):
    """Change a file as somebody with h5py might."""
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def changed(checkpoint, **params):
    return dataclasses.replace(
        checkpoint,
        params=checkpoint.params | {name.replace("__", "/"): v for name, v in params.items()},
    )


# --- both ways ---


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        NetworkConfig(units_per_block=(1, 1, 1), base_channels=2),
        NetworkConfig(units_per_block=(2, 1, 3), base_channels=4, halting="act", eps=0.25),
        NetworkConfig("imagenet", (1, 2, 1, 1), 1, 1001, "sact", sact_kernel_size=1),
    ],
    ids=lambda config: f"{config.family}-{config.halting}",
)
def test_what_is_written_is_read(tmp_path, config):
    ref_params = init_params(build_plan(config), seed=5)
    preprocessing = Preprocessing("imagenet", 224, 0.875, "keep")
    write(tmp_path / "a.h5", Checkpoint(config, ref_params, preprocessing, (), PROVENANCE))
    comp = read(tmp_path / "a.h5")
    assert comp.config == config
    assert comp.preprocessing == preprocessing
    assert comp.class_names == ()
    assert comp.provenance == PROVENANCE
    assert list(comp.params) == list(ref_params)
    for name, values in ref_params.items():
        assert comp.params[name].dtype == np.float32
        np.testing.assert_array_equal(comp.params[name], values)


def test_the_layout_is_plain_hdf5(path, checkpoint):
    with h5py.File(path) as file:
        assert list(file) == ["params"]
        assert file["params"][PARAM].dtype == "<f4"
        np.testing.assert_array_equal(file["params"][PARAM][()], checkpoint.params[PARAM])
        assert json.loads(file.attrs["config"])["halting"] == "sact"
        assert json.loads(file.attrs["class_names"])[1] == "Löwe"
        assert file.attrs["format_version"] == 1


def test_the_header_is_read_alone(path, checkpoint):
    header = read_header(path)
    assert header.config == CONFIG
    assert header.class_names == ("cat", "Löwe", "dog")
    assert header.provenance == PROVENANCE
    assert header.content_hash == content_hash(checkpoint)


def test_bytes_are_read_like_a_file(path, checkpoint):
    assert read(path.read_bytes()).class_names == checkpoint.class_names
    assert read_header(path.read_bytes()).config == CONFIG


def test_the_same_record_gives_the_same_bytes(tmp_path, checkpoint):
    write(tmp_path / "a.h5", checkpoint)
    backwards = dict(reversed(checkpoint.params.items()))
    write(tmp_path / "b.h5", dataclasses.replace(checkpoint, params=backwards))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_thousand_long_class_names_fit(tmp_path):
    config = dataclasses.replace(CONFIG, num_classes=1001)
    names = tuple(f"{i}: " + "a long name " * 15 for i in range(1001))
    params = init_params(build_plan(config))
    write(tmp_path / "a.h5", Checkpoint(config, params, Preprocessing(), names))
    assert read(tmp_path / "a.h5").class_names == names


def test_the_hash_covers_everything(checkpoint):
    param = checkpoint.params[PARAM].copy()
    param.flat[0] = np.nextafter(param.flat[0], np.float32(9))
    variants = [
        checkpoint,
        dataclasses.replace(checkpoint, config=dataclasses.replace(CONFIG, eps=0.02)),
        dataclasses.replace(checkpoint, preprocessing=Preprocessing(fit="keep")),
        dataclasses.replace(checkpoint, class_names=("dog", "Löwe", "cat")),
        dataclasses.replace(checkpoint, provenance={}),
        dataclasses.replace(checkpoint, params=checkpoint.params | {PARAM: param}),
    ]
    assert len({content_hash(variant) for variant in variants}) == len(variants)


def test_reading_loads_no_torch(path):
    code = (
        "import sys; from sact_core import checkpoint; checkpoint.read(sys.argv[1]);"
        "print([m for m in ('torch', 'tensorflow', 'numba') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- refused before writing ---


def test_writing_lists_all_that_is_wrong(tmp_path, checkpoint):
    params = dict(checkpoint.params)
    del params["stem/bias"]
    params["block9/weight"] = np.zeros(3, np.float32)
    params[PARAM] = np.zeros((3, 3, 2, 5), np.float32)
    params["stem/weight"] = params["stem/weight"].astype(np.float64)
    params["postnorm/gamma"] = np.full(8, np.nan, np.float32)
    bad = dataclasses.replace(
        checkpoint, params=params, class_names=("one",), provenance={"a": np.float32(1)}
    )
    with pytest.raises(CheckpointError) as caught:
        write(tmp_path / "a.h5", bad)
    for part in (
        "7 things are wrong",
        "missing: stem/bias",
        "unexpected: block9/weight",
        "wrong shape: block2/unit1/conv1/weight is (3, 3, 2, 5), should be (3, 3, 2, 4)",
        "wrong type: stem/weight is float64",
        "not finite: postnorm/gamma holds 8",
        "class_names has 1 names for 3 classes",
        "provenance is not plain JSON",
    ):
        assert part in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("provenance", [{"loss": float("nan")}, {"a": {1}}, {"a": b"bytes"}])
def test_provenance_must_be_json(tmp_path, checkpoint, provenance):
    with pytest.raises(CheckpointError, match="provenance is not plain JSON"):
        write(tmp_path / "a.h5", dataclasses.replace(checkpoint, provenance=provenance))


def test_provenance_must_be_a_bounded_dict(tmp_path, checkpoint):
    with pytest.raises(CheckpointError, match="provenance must be a dict"):
        write(tmp_path / "a.h5", dataclasses.replace(checkpoint, provenance=[1]))
    with pytest.raises(CheckpointError, match="provenance takes 5000009 bytes, more than"):
        write(tmp_path / "a.h5", dataclasses.replace(checkpoint, provenance={"a": "x" * 5_000_000}))


def test_a_failed_write_keeps_the_old_file(path, checkpoint, monkeypatch):
    before = path.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        write(path, dataclasses.replace(checkpoint, provenance={}))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


# --- refused in reading ---


def test_reading_lists_all_that_is_wrong(path):
    def edit(file):
        params = file["params"]
        del params["stem/bias"]
        params["block9/extra"] = np.zeros(3, np.float32)
        del params[PARAM]
        params[PARAM] = np.zeros((3, 3, 2, 5), np.float32)
        double = params["stem/weight"][()].astype(np.float64)
        del params["stem/weight"]
        params["stem/weight"] = double
        params["postnorm/gamma"][0] = np.inf
        file.attrs["class_names"] = np.bytes_(b'["one"]')
        file.attrs["preprocessing"] = np.bytes_(b'{"fit": "stretch"}')
        file["more"] = 1

    with pytest.raises(CheckpointError) as caught:
        read(edited(path, edit))
    for part in (
        "8 things are wrong",
        "missing: stem/bias (2,)",
        "unexpected: block9/extra (3,)",
        "wrong shape: block2/unit1/conv1/weight is (3, 3, 2, 5), should be (3, 3, 2, 4)",
        "wrong type: stem/weight is not little-endian float32",
        "not finite: postnorm/gamma holds 1",
        "class_names has 1 names for 3 classes",
        "preprocessing: fit must be one of crop, square, keep; got 'stretch'",
        "unexpected: /more",
    ):
        assert part in str(caught.value)


def test_one_changed_number_breaks_the_hash(path):
    def edit(file):
        file["params"][PARAM][0, 0, 0, 0] += 1e-3

    with pytest.raises(CheckpointError, match="content hash does not match"):
        read(edited(path, edit))


def test_changed_provenance_breaks_the_hash(path):
    with pytest.raises(CheckpointError, match="content hash does not match"):
        read(edited(path, lambda f: f.attrs.__setitem__("provenance", np.bytes_(b"{}"))))


def test_a_newer_version_says_so(path):
    edited(path, lambda file: file.attrs.__setitem__("format_version", np.int64(2)))
    for reader in (read, read_header):
        with pytest.raises(CheckpointError, match="format version 2, newer than 1"):
            reader(path)


@pytest.mark.parametrize("version", [np.int64(0), np.int64(-1)])
def test_an_unknown_version_is_refused(path, version):
    with pytest.raises(CheckpointError, match="unknown format version"):
        read(edited(path, lambda file: file.attrs.__setitem__("format_version", version)))


@pytest.mark.parametrize("version", [1.0, "1", [1, 2]])
def test_a_strange_version_is_refused(path, version):
    with pytest.raises(CheckpointError, match="does not say its format version"):
        read(edited(path, lambda file: file.attrs.__setitem__("format_version", version)))


@pytest.mark.parametrize(
    ("attribute", "text", "message"),
    [
        ("config", b"{", "config is not JSON"),
        ("config", b"[]", "NetworkConfig must be a JSON object"),
        ("config", b'{"depth": 3}', "unknown keys: depth"),
        ("config", b'{"eps": NaN}', "NaN is no finite number"),
        ("config", b'{"eps": 1e999}', "1e999 is no finite number"),
        ("config", b'{"family": ["cifar"]}', "family must be one of"),
        ("config", b'{"units_per_block": 5}', "units_per_block must be a list"),
        ("config", b'{"units_per_block": [[1], {}, "a"]}', "units_per_block must be a whole"),
        ("config", b"\xff\xfe\xfd", "config is not JSON"),
        ("config", b"[" * 60_000, "config is not JSON"),
        ("config", b" " * 65_537, "missing: the attribute config"),
        ("class_names", b"{}", "class_names must be a list"),
        ("class_names", b"[1, 2, 3]", "class_names must all be text"),
        ("provenance", b"[]", "provenance must be a JSON object"),
    ],
)
def test_bad_attributes_are_named(path, attribute, text, message):
    edited(path, lambda file: file.attrs.__setitem__(attribute, np.bytes_(text)))
    with pytest.raises(CheckpointError, match=message):
        read(path)
    with pytest.raises(CheckpointError, match=message):
        read_header(path)


def test_an_attribute_of_variable_length_is_refused(path):
    edited(path, lambda file: file.attrs.__setitem__("config", "{}"))
    with pytest.raises(CheckpointError, match="missing: the attribute config"):
        read(path)


@pytest.mark.parametrize("attribute", ["config", "content_hash", "class_names", "provenance"])
def test_a_missing_attribute_is_named(path, attribute):
    with pytest.raises(CheckpointError, match=f"missing: the attribute {attribute}"):
        read(edited(path, lambda file: file.attrs.__delitem__(attribute)))


def test_a_huge_config_takes_no_memory(path):
    config = {"units_per_block": [512] * 3, "base_channels": 8192, "num_classes": 3}
    edited(path, lambda f: f.attrs.__setitem__("config", np.bytes_(json.dumps(config).encode())))
    with pytest.raises(CheckpointError, match="parameters, more than"):
        read(path)


def test_a_foreign_file_is_no_checkpoint(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"PK\x03\x04" * 100)
    with pytest.raises(CheckpointError, match="is no HDF5 file"):
        read(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(CheckpointError, match="no checkpoint of this program"):
        read(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.h5")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


def test_every_truncation_is_refused(path):
    data = path.read_bytes()
    for length in [*range(8, 200, 7), *range(200, len(data), 997), len(data) - 1]:
        with pytest.raises(CheckpointError):
            read(data[:length])


def test_flipped_bits_are_refused_or_harmless(path, checkpoint, rng):
    data = path.read_bytes()
    num_refused = 0
    for offset in rng.choice(len(data), 300, replace=False):
        broken = bytearray(data)
        broken[offset] ^= 1 << int(rng.integers(8))
        try:
            comp = read(bytes(broken))
        except CheckpointError:
            num_refused += 1
        else:  # an unused byte
            assert content_hash(comp) == content_hash(checkpoint)
    assert num_refused > 50


# --- hostile HDF5 ---


def replace_param(file, make):
    values = file["params"][PARAM][()]
    del file["params"][PARAM]
    make(file["params"], values)


def external_link(params, values):
    params[PARAM] = h5py.ExternalLink("other.h5", "/x")


def soft_link(params, values):
    params["block2/unit1/conv1/other"] = values
    params[PARAM] = h5py.SoftLink("other")


def external_storage(params, values):
    params.create_dataset(
        PARAM, values.shape, "<f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
    )


def virtual(params, values):
    layout = h5py.VirtualLayout(values.shape, "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", values.shape)
    params.create_virtual_dataset(PARAM, layout)


def compressed(params, values):
    params.create_dataset(PARAM, data=values, compression="gzip")


def lzf(params, values):
    params.create_dataset(PARAM, data=values, compression="lzf")


def unwritten(params, values):
    params.create_dataset(PARAM, values.shape, "<f4")


def big_endian(params, values):
    params.create_dataset(PARAM, data=values, dtype=">f4")


def compound(params, values):
    params.create_dataset(PARAM, values.shape, [("a", "<f4"), ("b", "S99")])


def text(params, values):
    params.create_dataset(PARAM, values.shape, h5py.string_dtype())


def null(params, values):
    params.create_dataset(PARAM, data=h5py.Empty("f4"))


def scalar(params, values):
    params[PARAM] = np.float32(1)


def group(params, values):
    params.create_group(PARAM)


def named_type(params, values):
    params[PARAM] = np.dtype("f4")


def huge(params, values):
    params.create_dataset(PARAM, (1 << 40, 1 << 20), "<f4", chunks=(1, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (external_link, "is a link to elsewhere"),
        (soft_link, "is a link to elsewhere"),
        (external_storage, "lies in another file"),
        (virtual, "compressed, chunked or virtual"),
        (compressed, "compressed, chunked or virtual"),
        (lzf, "compressed, chunked or virtual"),
        (unwritten, "only partly in the file"),
        (big_endian, "is not little-endian float32"),
        (compound, "is not little-endian float32"),
        (text, "is not little-endian float32"),
        (null, r"wrong shape: .* is \(0,\)"),
        (scalar, r"wrong shape: .* is \(\)"),
        (group, f"missing: {PARAM}"),
        (named_type, "is neither a group nor a data set"),
        (huge, r"wrong shape: .* is \(1099511627776, 1048576\)"),
    ],
)
def test_hostile_storage_is_refused(path, make, message):
    edited(path, lambda file: replace_param(file, make))
    with pytest.raises(CheckpointError, match=message):
        read(path)


def test_cycles_and_second_links_are_refused(path):
    def edit(file):
        file["params/block1/again"] = file["params"]
        file["params/root"] = file["/"]
        file["params/twice"] = file["params"][PARAM]

    with pytest.raises(CheckpointError) as caught:
        read(edited(path, edit))
    for name in ("block1/again", "root"):
        assert f"{name} is a second link to the same object" in str(caught.value)
    # Of two links to one parameter, the one that is reached later is named.
    assert str(caught.value).count("second link") == 3


def test_params_must_be_a_plain_group(path):
    edited(path, lambda file: file.move("params", "hidden"))
    with pytest.raises(CheckpointError, match="missing: the group params"):
        read(path)
    edited(path, lambda file: file.__setitem__("params", h5py.SoftLink("/hidden")))
    with pytest.raises(CheckpointError, match="params is a link to elsewhere"):
        read(path)


def test_depth_and_number_of_groups_are_bounded(path, monkeypatch):
    edited(path, lambda file: file["params"].create_group("/".join("a" * 40)))
    with pytest.raises(CheckpointError, match="too many or too deep groups"):
        read(path)
    edited(path, lambda file: file["params"].__delitem__("a"))
    read(path)
    monkeypatch.setattr(plain, "_MAX_LINKS", 20)
    with pytest.raises(CheckpointError, match="too many or too deep groups"):
        read(path)


def test_a_long_list_is_cut(path, monkeypatch):
    monkeypatch.setattr(checks, "MAX_LISTED", 2)

    def edit(file):
        for name in "abcde":
            file["params"][name] = np.zeros(1, np.float32)

    with pytest.raises(CheckpointError, match=r"5 things are wrong:\n.*\n.*\n- … and 3 more"):
        read(edited(path, edit))
