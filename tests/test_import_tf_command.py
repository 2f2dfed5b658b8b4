"""Import of a checkpoint of TensorFlow by command: which one is meant, what is said."""

from __future__ import annotations

import numpy as np
import pytest

from sact_core import checkpoint
from sact_core.import_tf import import_checkpoint
from sact_core.import_tf.__main__ import main
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests import tf_writer
from tests.tf_checkpoints import CONFIGS, assert_params, fails, tf_variables


@pytest.fixture
def prefix(tmp_path):
    """A small SACT checkpoint with slots and a global step."""
    variables = tf_variables(CONFIGS[0])
    slots = {f"{name}/Momentum": values for name, values in variables.items()}
    step = {"global_step": np.array(64_000, np.int64)}
    tf_writer.write_bundle(tmp_path / "model.ckpt", variables | slots | step)
    return str(tmp_path / "model.ckpt")


# --- which checkpoint is meant ---


def save(folder, name, seed, state=None):
    folder.mkdir(exist_ok=True)
    tf_writer.write_bundle(folder / name, tf_variables(CONFIGS[2], seed))
    if state is not None:
        (folder / "checkpoint").write_text(f'model_checkpoint_path: "{state}"\n')


def assert_takes(path, seed):
    assert_params(import_checkpoint(path), tf_variables(CONFIGS[2], seed))


def test_of_a_folder_the_newest_is_taken(tmp_path):
    run = tmp_path / "run"
    save(run, "model.ckpt-1000", 1)
    save(run, "model.ckpt-900", 2)
    assert_takes(run, 1)  # of most steps, though it is older
    save(run, "model.ckpt-5", 3, "model.ckpt-5")  # begun anew
    assert_takes(run, 3)
    assert_takes(run / "checkpoint", 3)
    save(run, "model.ckpt-7", 4, "/where/it/was/trained/model.ckpt-7")
    assert_takes(run, 4)
    assert_takes(run / "checkpoint", 4)
    save(run, "model.ckpt-8", 5, "C:\\\\runs\\\\model.ckpt-8")
    assert_takes(run, 5)
    (run / "checkpoint").write_text('model_checkpoint_path: "gone-12"\n')
    assert_takes(run, 1)
    with pytest.raises(ValueError, match="names gone-12, which is not there: name its folder or"):
        import_checkpoint(run / "checkpoint")
    for text in ("", "hello", "model_checkpoint_path: 3"):
        (run / "checkpoint").write_text(text)
        with pytest.raises(ValueError, match="names no checkpoint"):
            import_checkpoint(run / "checkpoint")
        assert_takes(run, 1)
    (tmp_path / "saved").mkdir()
    save(tmp_path / "saved" / "variables", "variables", 6)
    assert_takes(tmp_path / "saved", 6)


def test_any_file_of_a_checkpoint_will_do(tmp_path):
    save(tmp_path / "run", "model.ckpt-3", 1)
    for ending in ("", ".index", ".meta", ".data-00000-of-00001"):
        assert_takes(tmp_path / "run" / f"model.ckpt-3{ending}", 1)


def test_what_is_no_checkpoint_is_named(tmp_path, capsys):
    def said(path):
        text = fails(capsys, path, "--out", tmp_path / "out.h5")
        assert text.count("\n") == 1
        return text

    (tmp_path / "run").mkdir()
    assert "holds no TensorFlow V2 checkpoint: no file NAME.index" in said(tmp_path / "run")
    (tmp_path / "old.ckpt").write_bytes(tf_writer.table([(b"", b"")]))
    assert "of TensorFlow's first format (V1), which is not read: load it" in said(
        tmp_path / "old.ckpt"
    )
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "old.ckpt"\n')
    assert "first format (V1)" in said(tmp_path)
    (tmp_path / "old-1-00000-of-00002").write_bytes(tf_writer.table([(b"", b"")]))
    assert "first format (V1)" in said(tmp_path / "old-1")
    for start, kind in (
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file: a checkpoint of this program needs no import"),
        (b"\x1f\x8b", "packed: unpack it"),
        (b"PK\x03\x04", "a ZIP file"),
        (b"\0" * 257 + b"ustar", "packed: unpack it"),
        (b"", "no TensorFlow V2 checkpoint"),
        (b"hello", "no TensorFlow V2 checkpoint"),
    ):
        (tmp_path / "file").write_bytes(start)
        assert f"{tmp_path / 'file'} is {kind}" in said(tmp_path / "file")
    (tmp_path / "a.data-00000-of-00001").write_bytes(b"")
    assert "which says where in a.data-00000-of-00001 everything lies" in said(tmp_path / "a")
    (tmp_path / "b.meta").write_bytes(b"")
    assert "beside b.meta, which holds no numbers" in said(tmp_path / "b.meta")


# --- the command ---


def test_the_command_writes_a_checkpoint(tmp_path, prefix, capsys):
    out = tmp_path / "model.h5"
    assert main([prefix, "--out", str(out), "--eps", "0.1", "--class-names", "cifar10"]) == 0
    assert "ResNet-10 SACT, cifar family, units (1, 2, 1), 4 base channels, 10 classes" in (
        capsys.readouterr().out
    )
    comp = checkpoint.read(out)
    assert comp.config.eps == 0.1
    assert comp.preprocessing.image_size == 32
    assert comp.class_names[:2] == ("airplane", "automobile")
    assert comp.provenance["global_step"] == 64_000
    assert comp.provenance["files"][0]["name"] == "model.ckpt.index"
    assert comp.provenance["command"].endswith("--class-names cifar10")
    ref = init_params(build_plan(CONFIGS[0]))
    for name, values in ref.items():
        np.testing.assert_array_equal(comp.params[name], values)


def test_imagenet_gets_its_preprocessing_and_background(tmp_path):
    tf_writer.write_bundle(tmp_path / "m", tf_variables(CONFIGS[3]), num_shards=2)
    (tmp_path / "names.txt").write_text("\n".join(f"name {i}" for i in range(1000)))
    out, names = str(tmp_path / "m.h5"), str(tmp_path / "names.txt")
    assert main([str(tmp_path / "m"), "--out", out, "--class-names", names]) == 0
    comp = checkpoint.read(out)
    assert comp.class_names[:2] == ("background", "name 0")
    assert (comp.preprocessing.kind, comp.preprocessing.image_size) == ("imagenet", 224)
    assert comp.preprocessing.crop_fraction == 0.875
    assert main([str(tmp_path / "m"), "--out", out, "--image-size", "320", "--force"]) == 0
    assert checkpoint.read(out).preprocessing.image_size == 320
    assert checkpoint.read(out).class_names == ()


def test_the_command_says_what_it_took(tmp_path, capsys):
    variables = {f"model/{n}": v.astype("f8") for n, v in tf_variables(CONFIGS[2]).items()}
    extra = {f"{n}/ExponentialMovingAverage": v for n, v in variables.items() if "weights" in n}
    slots = {f"{n}/Momentum": v for n, v in variables.items()}
    tf_writer.write_bundle(tmp_path / "m-3", variables | extra | slots)
    out = tmp_path / "m.h5"
    assert main([str(tmp_path), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  taken from m-3.index, scope model/",
        f"  moving averages of {len(extra)} variables, {len(variables) - len(extra)} have none "
        "(--weights raw takes those of the last step)",
        "  float64 became float32",
        f"  left out: {len(variables)} of Momentum",
    ]
    assert checkpoint.read(out).provenance["imported"]["weights"] == "averaged"
    assert main([str(tmp_path), "--out", str(out), "--force", "--weights", "raw"]) == 0
    assert checkpoint.read(out).provenance["imported"]["weights"] == "raw"


def test_an_existing_file_is_kept(tmp_path, prefix, capsys):
    out = tmp_path / "model.h5"
    out.write_bytes(b"precious")
    assert "exists; give --force to replace it" in fails(capsys, prefix, "--out", out)
    assert out.read_bytes() == b"precious"
    assert main([prefix, "--out", str(out), "--force"]) == 0


def test_mistakes_are_one_sentence(tmp_path, prefix, capsys):
    out = tmp_path / "model.h5"
    assert "there is no file" in fails(capsys, tmp_path / "none", "--out", out)
    assert "eps must be from 0 to 1" in fails(capsys, prefix, "--out", out, "--eps", "2")
    assert "image_size must be" in fails(capsys, prefix, "--out", out, "--image-size", "0")
    assert "does not exist" in fails(capsys, prefix, "--out", tmp_path / "no" / "m.h5")
    assert "there is no file" in fails(
        capsys, prefix, "--out", out, "--class-names", tmp_path / "no"
    )
    (tmp_path / "names").write_text("one\ntwo\n")
    assert "class_names has 2 names for 10 classes" in fails(
        capsys, prefix, "--out", out, "--class-names", tmp_path / "names"
    )
    (tmp_path / "names").write_bytes(b"\xff\xfe")
    assert "no UTF-8" in fails(capsys, prefix, "--out", out, "--class-names", tmp_path / "names")
    (tmp_path / "names").write_text(" \n")
    assert "no class names" in fails(
        capsys, prefix, "--out", out, "--class-names", tmp_path / "names"
    )
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-20_000])
    assert "is truncated" in fails(capsys, prefix, "--out", out)
    assert not out.exists()
