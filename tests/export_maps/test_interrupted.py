"""Exports that were interrupted, and what others left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.records import Unreadable
from sact_core.export_maps import export
from sact_core.maps import parts as map_parts
from sact_core.maps.file import MapError
from sact_core.maps.parts import parts_folder
from sact_core.maps.spill import Spill
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import ROOT
from tests.export_maps.conftest import assert_equal_files, counting
from tests.in_memory import in_memory


@pytest.mark.parametrize("fail_after", [0, 1, 2])
def test_an_interrupted_export_goes_on(tmp_path, net, images, small_parts, fail_after):
    export(net, in_memory(images), tmp_path / "ref.h5", batch_size=3)
    out = tmp_path / "maps.h5"
    stopping, _ = counting(net, fail_after)
    with pytest.raises(KeyboardInterrupt):
        export(stopping, in_memory(images), out, batch_size=3)
    assert not out.exists()
    assert f"{3 * fail_after} of 7 images" in map_parts.unfinished(out)
    going, sizes = counting(net)
    said = []
    assert export(going, in_memory(images), out, batch_size=3, say=said.append) == (7, Unreadable())
    assert bool(said) == bool(fail_after)
    assert sizes == [3, 3, 1][fail_after:]  # nothing twice
    assert_equal_files(tmp_path / "ref.h5", out)
    assert sorted(os.listdir(tmp_path)) == ["maps.h5", "net.h5", "ref.h5"]


def test_another_export_is_not_gone_on_with(tmp_path, net, images, small_parts):
    out = tmp_path / "maps.h5"
    with pytest.raises(KeyboardInterrupt):
        export(counting(net, 1)[0], in_memory(images), out, batch_size=3)
    with pytest.raises(MapError, match=r"something else \(.*batch_size: 3 then, 2 now"):
        export(net, in_memory(images), out, batch_size=2)
    with pytest.raises(MapError, match="num_examples: 7 then, 5 now"):
        export(net, in_memory(images), out, batch_size=3, num_examples=5)


def test_what_a_killed_process_left_is_cleared(tmp_path, net, images, small_parts):
    out = tmp_path / "maps.h5"
    with pytest.raises(KeyboardInterrupt):
        export(counting(net, 1)[0], in_memory(images), out, batch_size=3)
    (parts_folder(out) / ".00000003.h5.sact-ab12_xyz.tmp").write_bytes(b"half")
    (tmp_path / ".maps.h5.sact-ab12_xyz.tmp").write_bytes(b"half")
    export(net, in_memory(images), out, batch_size=3)
    assert sorted(os.listdir(tmp_path)) == ["maps.h5", "net.h5"]


def test_files_of_others_stay(tmp_path, net, images, small_parts):
    out = tmp_path / "maps.h5"
    with pytest.raises(KeyboardInterrupt):
        export(counting(net, 1)[0], in_memory(images), out, batch_size=3)
    folder = parts_folder(out)
    theirs = [folder / "notes.txt", folder / "1.jpg", folder / ".00000003.h5.mine.tmp"]
    theirs += [tmp_path / ".maps.h5.draft.tmp", tmp_path / ".other.h5.sact-ab12_xyz.tmp"]
    for path in theirs:
        path.write_bytes(b"precious")
    export(net, in_memory(images), out, batch_size=3)
    assert all(path.read_bytes() == b"precious" for path in theirs)
    assert sorted(os.listdir(folder)) == sorted(path.name for path in theirs[:3])
    export(net, in_memory(images), out, batch_size=3)  # they are in nobody's way
    assert all(path.exists() for path in theirs)


def test_a_damaged_part_is_named(tmp_path, net, images, small_parts):
    out = tmp_path / "maps.h5"
    with pytest.raises(KeyboardInterrupt):
        export(counting(net, 1)[0], in_memory(images), out, batch_size=3)
    (parts_folder(out) / "00000000.h5").write_bytes(b"")
    with pytest.raises(MapError, match=r"00000000\.h5 is empty"):
        export(net, in_memory(images), out, batch_size=3)


def test_a_damaged_note_is_named(tmp_path, net, images, small_parts):
    out = tmp_path / "maps.h5"
    with pytest.raises(KeyboardInterrupt):
        export(counting(net, 1)[0], in_memory(images), out, batch_size=3)
    for text in ("", "[]", '{"rows": "a"}', 10_000 * "["):
        (parts_folder(out) / "00000000.json").write_text(text)
        with pytest.raises(MapError, match=r"00000000\.json is damaged: give --force"):
            export(net, in_memory(images), out, batch_size=3)


def test_two_exports_to_one_file(tmp_path, net, images, small_parts):
    out = tmp_path / "maps.h5"
    with pytest.raises(KeyboardInterrupt):
        export(counting(net, 1)[0], in_memory(images), out, batch_size=3)
    before = sorted(os.listdir(parts_folder(out)))
    for anew in (False, True):
        with map_parts.alone(out), pytest.raises(MapError, match="another process is exporting to"):
            export(net, in_memory(images), out, batch_size=3, anew=anew)
        assert sorted(os.listdir(parts_folder(out))) == before
    with map_parts.alone(tmp_path / "other.h5"):
        assert export(net, in_memory(images), out, batch_size=3)[0] == 7
    assert sorted(os.listdir(tmp_path)) == ["maps.h5", "net.h5"]


@pytest.mark.parametrize("occasion", [1, 5, 20, 40])
def test_ctrl_c_while_parts_are_joined(tmp_path, net, images, small_parts, monkeypatch, occasion):
    """Within a write of HDF5, which must not take it for one that failed."""
    out = tmp_path / "maps.h5"
    write, calls = Spill.write, []

    def press(self, data):
        calls.append(len(data))
        if len(calls) == occasion:
            os.kill(os.getpid(), signal.SIGINT)
        return write(self, data)

    monkeypatch.setattr(Spill, "write", press)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            export(net, in_memory(images), out, batch_size=3)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(calls) >= occasion
    assert sorted(os.listdir(tmp_path)) == ["maps.h5.parts", "net.h5"]
    assert "7 of 7 images" in map_parts.unfinished(out)
    monkeypatch.setattr(Spill, "write", write)
    assert export(net, in_memory(images), out, batch_size=3)[0] == 7


#: Exports photographs to a disk that takes no file of more bytes than are said.
LIMITED = """
    import resource, sys
    from sact_core import export_maps
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
    export_maps.PART_BYTES = 400_000
    sys.exit(export_maps.main(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_disk_that_is_full_while_parts_are_joined(tmp_path, rng):
    """HDF5 ended the process then, without a word."""
    config = NetworkConfig("cifar", (2, 2, 2), 4, 3, "sact", halting_bias=-0.5)
    params = init_params(build_plan(config), seed=4)
    checkpoints.write(tmp_path / "net.h5", Checkpoint(config, params, Preprocessing("cifar", 32)))
    (tmp_path / "photos").mkdir()
    for i in range(24):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    out = tmp_path / "maps.h5"
    argv = [str(tmp_path / "photos"), "--checkpoint", str(tmp_path / "net.h5"), "--out", str(out)]
    argv += ["--backend", "reference", "--batch-size", "4"]

    def export_with(most):
        command = [sys.executable, "-c", textwrap.dedent(LIMITED), str(most), *argv]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    for most in (400_000, 600_000, 800_000):
        done = export_with(most)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"cannot write {out}: " in done.stderr
        assert f"what is done is kept in {out}.parts: run the same command again" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert "24 of 24 images" in map_parts.unfinished(out)
        assert sorted(os.listdir(tmp_path)) == ["maps.h5.parts", "net.h5", "photos"]
    assert export_with(10**8).returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["maps.h5", "net.h5", "photos"]


def test_a_full_disk_leaves_finished_parts(tmp_path, net, images, small_parts, monkeypatch):
    out = tmp_path / "maps.h5"
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 8:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        export(net, in_memory(images), out, batch_size=3)
    monkeypatch.setattr(os, "fsync", real)
    assert "3 of 7 images" in map_parts.unfinished(out)
    assert export(net, in_memory(images), out, batch_size=3)[0] == 7
