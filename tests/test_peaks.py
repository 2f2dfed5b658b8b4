"""What commands take at their peak, of the largest that they take: below 1 GB for a photograph."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.maps.file import MAX_PIXELS
from tests.networks import any_tau_checkpoint
from tests.test_draw_maps import write
from tests.test_strangers_files import new_mat

BYTES = 1_000_000_000
REFUSAL_SECONDS = 2.0


#: Runs a command; prints in a last line its seconds of the processor and its peak in bytes.
PROGRAM = """
import importlib, sys, time
from tests.peak_memory import peak
code = importlib.import_module("sact_core." + sys.argv[1]).main(sys.argv[2:])
print(time.process_time(), peak())
sys.exit(code)
"""


def run(command, *argv):
    """Exit code, what was said, seconds of the processor, and bytes at the peak."""
    words = [sys.executable, "-c", PROGRAM, command, *map(str, argv)]
    done = subprocess.run(words, capture_output=True, text=True)
    *_, last = done.stdout.splitlines()
    seconds, most = last.split()
    return done.returncode, done.stderr, float(seconds), int(most)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "it.h5"
    checkpoints.write(path, any_tau_checkpoint())
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """50 megapixels, in few bytes."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.new("RGB", (8000, 6200), "red").save(path)
    return path


def large_maps(path, height, width):
    """A file of maps of one image, in few bytes."""
    write(path, [7.0])
    with h5py.File(path, "a") as file:
        for name, channels in (("images", 3), ("ponder_cost_map", 1), ("num_units_map", 1)):
            del file[name]
            values = np.ones((1, height, width, channels), "f4")
            values[0, : height // 2] = 1.5
            file.create_dataset(name, data=values, compression="lzf", chunks=values.shape)
    return path


def test_the_largest_maps_are_drawn(tmp_path):
    side = round(MAX_PIXELS**0.5)
    path = large_maps(tmp_path / "maps.h5", side, side)
    code, said, _, most = run("draw_maps", path, "--out", tmp_path / "out")
    assert code == 0, said
    assert most < BYTES


def test_larger_maps_are_refused_at_once(tmp_path):
    path = large_maps(tmp_path / "maps.h5", 8192, MAX_PIXELS // 8192 + 1)
    code, said, seconds, most = run("draw_maps", path, "--out", tmp_path / "out")
    assert code == 2, said
    assert said.count("\n") == 1
    assert "pixels, too large" in said
    assert seconds < REFUSAL_SECONDS
    assert most < BYTES / 4


def test_the_largest_photograph_is_pondered(tmp_path, checkpoint, photo):
    argv = [photo, "--checkpoint", checkpoint, "--backend", "reference"]
    for image_size in ([], ["--image-size", 512]):
        out = tmp_path / f"out{len(image_size)}"
        code, said, _, most = run("ponder", *argv, "--out", out, *image_size)
        assert code == 0, said
        assert most < BYTES


@pytest.mark.parametrize("command", ["export_maps", "objects"])
def test_the_largest_photograph_is_measured(tmp_path, checkpoint, photo, command):
    boxes = tmp_path / "boxes.json"
    boxes.write_text('{"boxes": {"photo.png": [[0, 0, 0.5, 0.5]]}}')
    more = {"export_maps": ["--out", tmp_path / "out.h5"], "objects": ["--boxes", boxes]}[command]
    argv = [photo, "--checkpoint", checkpoint, "--backend", "reference"]
    code, said, _, most = run(command, *argv, *more)
    assert code == 0, said
    assert most < BYTES


def test_the_largest_fixations_are_scored_and_drawn(tmp_path, checkpoint):
    sides = (4096, 8192)  # 256 MiB of the largest numbers
    looked = np.zeros(sides[::-1], np.uint8)
    looked[::500, ::300] = 1
    for name in ("Stimuli", "FIXATIONLOCS"):
        (tmp_path / name / "Art").mkdir(parents=True)
    Image.new("RGB", sides[::-1], "red").save(tmp_path / "Stimuli" / "Art" / "001.png")
    how = {"data": looked, "compression": "gzip"}
    new_mat(lambda f: f.create_dataset("fixLocs", **how))(
        tmp_path / "FIXATIONLOCS" / "Art" / "001.mat"
    )
    argv = [tmp_path, "--checkpoint", checkpoint, "--backend", "reference"]
    argv += ["--blur", "0.02", "--centre-weight", "0.3", "--figure", tmp_path / "looks.png"]
    code, said, _, most = run("saliency", *argv)
    assert code == 0, said
    assert most < BYTES
