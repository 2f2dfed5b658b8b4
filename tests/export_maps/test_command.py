"""Export by command: what it says, what it refuses."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net
from sact_core.checkpoint import Checkpoint
from sact_core.config import Preprocessing
from sact_core.export_maps import export, main
from sact_core.maps import parts as map_parts
from sact_core.maps.file import MapError, MapFile
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.exits import one_sentence
from tests.export_maps.conftest import CONFIG, counting
from tests.in_memory import in_memory
from tests.networks import any_tau_checkpoint

fails = partial(one_sentence, main)


def test_the_command_says_what_it_did(tmp_path, checkpoint, folder, capsys):
    out = tmp_path / "new" / "maps.h5"
    argv = ["--checkpoint", checkpoint, "--dataset", folder, "--backend", "reference", "--out", out]
    assert main([str(arg) for arg in argv]) == 0
    captured = capsys.readouterr()
    assert f"{out}: 6 images, " in captured.out
    assert "MFLOPs on average, accuracy " in captured.out
    assert captured.out.endswith("skipped 1 of 7 images that cannot be read: b/3.png\n")
    assert captured.err == ""
    with MapFile(out) as file:
        (skipped,) = file.provenance["skipped"]["images"]
        assert skipped["reason"].startswith("b/3.png is no image")
        assert file.provenance["examples"]["split"] == "test"
        assert file.provenance["command"].startswith("python -m sact_core.export_maps --checkpoint")
        accuracy = (file.root["labels"][()] == file.root["predictions"][()]).mean()
    assert f"accuracy {accuracy:.2%}" in captured.out


def test_tau_of_a_network_that_takes_any(tmp_path, checkpoint, folder, capsys):
    made = any_tau_checkpoint()
    checkpoints.write(tmp_path / "any.h5", made)
    argv = ["--checkpoint", tmp_path / "any.h5", "--dataset", folder, "--backend", "reference"]
    net = Net.from_checkpoint(made, "reference")
    image = np.asarray(Image.open(folder / "test" / "a" / "0.png"))
    for tau in (0.001, 0.1):
        out = tmp_path / f"{tau}.h5"
        assert main([str(arg) for arg in [*argv, "--out", out, "--tau", tau]]) == 0
        with MapFile(out) as file:
            assert file.provenance["tau"] == tau
            ref = net.run([image], tau=tau)[0].map("ponder_cost")[0]
            np.testing.assert_allclose(file.map(0), ref, rtol=1e-6)
    capsys.readouterr()
    argv[1] = checkpoint
    said = fails(capsys, *argv, "--out", tmp_path / "no.h5", "--tau", "0.01")
    assert "is not conditioned on tau" in said


def test_an_export_at_another_tau_is_not_gone_on_with(tmp_path, images, small_parts):
    net = Net.from_checkpoint(any_tau_checkpoint(), "reference").at_tau(0.01)
    with pytest.raises(KeyboardInterrupt):
        export(counting(net, 1)[0], in_memory(images), tmp_path / "maps.h5", batch_size=3)
    with pytest.raises(MapError, match=r"tau: 0\.01 then, 0\.02 now"):
        export(net.at_tau(0.02), in_memory(images), tmp_path / "maps.h5", batch_size=3)


def test_an_existing_file_is_kept(tmp_path, checkpoint, folder, capsys):
    out = tmp_path / "maps.h5"
    out.write_bytes(b"precious")
    argv = ["--checkpoint", checkpoint, "--dataset", folder, "--backend", "reference", "--out", out]
    assert "exists; give --force to replace it" in fails(capsys, *argv)
    assert out.read_bytes() == b"precious"
    assert main([str(arg) for arg in [*argv, "--force"]]) == 0


def test_force_starts_an_unfinished_export_anew(tmp_path, net, checkpoint, folder, capsys):
    out = tmp_path / "maps.h5"
    parts = map_parts.start(out, {"num_examples": 7, "old": True}, 3)
    assert json.loads((parts.folder / "job.json").read_text())["old"]
    argv = ["--checkpoint", checkpoint, "--dataset", folder, "--backend", "reference", "--out", out]
    assert "holds an unfinished export of something else" in fails(capsys, *argv)
    assert main([str(arg) for arg in [*argv, "--force"]]) == 0
    assert out.exists()
    assert not parts.folder.exists()


def test_mistakes_are_one_sentence(tmp_path, checkpoint, folder, capsys):
    net = ["--checkpoint", checkpoint]
    out = ["--out", tmp_path / "maps.h5"]
    data = ["--dataset", folder]
    assert "give photographs, or a data set" in fails(capsys, *net, *out)
    assert "give photographs, or a data set" in fails(capsys, folder, *net, *out, *data)
    assert "there is no file" in fails(capsys, tmp_path / "no.jpg", *net, *out)
    (tmp_path / "empty").mkdir()
    assert "there are no photographs in" in fails(capsys, tmp_path / "empty", *net, *out)
    assert "has no split 'train'" in fails(capsys, *net, *out, *data, "--split", "train")
    assert "batch-size must be at least" in fails(capsys, *net, *out, *data, "--batch-size", "0")
    assert "num-examples must be at least" in fails(
        capsys, *net, *out, *data, "--num-examples", "0"
    )
    assert "image_size must be" in fails(capsys, *net, *out, *data, "--image-size", "-4")
    assert "multiples of 4" in fails(capsys, *net, *out, *data, "--image-size", "10")
    assert "is a folder" in fails(capsys, *net, *data, "--force", "--out", tmp_path)
    assert "--device is for --backend dense" in fails(capsys, *net, *out, *data, "--device", "cpu")
    vanilla = dataclasses.replace(CONFIG, halting="none")
    record = Checkpoint(vanilla, init_params(build_plan(vanilla)), Preprocessing("cifar", 8))
    checkpoints.write(tmp_path / "v.h5", record)
    said = fails(capsys, "--checkpoint", tmp_path / "v.h5", *out, *data)
    assert "is vanilla" in said
    assert "name one that halts (" in said
    assert not (tmp_path / "maps.h5").exists()


def test_ctrl_c_says_how_to_go_on(tmp_path, checkpoint, folder, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sact_core.export_maps.export", stop)
    argv = ["--checkpoint", checkpoint, "--dataset", str(folder), "--out", str(tmp_path / "m.h5")]
    assert main([*argv, "--backend", "reference"]) == 130
    assert "run the same command again to go on" in capsys.readouterr().err
