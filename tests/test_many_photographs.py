"""Thousands of photographs, hard links to a few: memory, order, going on after kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core import ponder, ponder_files
from sact_core.backends import load
from sact_core.maps.file import MapFile
from tests.conftest import ROOT
from tests.networks import any_tau_checkpoint

FEW, MANY, DIFFERENT = 200, 4000, 5
#: What so many more may take: their names and places, at most this many bytes each.
EACH = 4000

#: Runs a command with parts of 50 images; prints its own peak of memory, in bytes.
COMMAND = """
    import importlib, sys
    from tests.peak_memory import peak
    module = importlib.import_module(sys.argv[1])
    if hasattr(module, "_part_size"):
        module._part_size = lambda _, batch_size: 50
    code = module.main(sys.argv[2:])
    print("peak", peak())
    sys.exit(code)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    checkpoints.write(folder / "net.h5", any_tau_checkpoint((1, 1, 1)))
    rng = np.random.default_rng(3)
    for i in range(DIFFERENT):
        pixels = rng.integers(0, 60 * i + 15, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    for name, count in (("few", FEW), ("many", MANY)):
        for letter in "abc":
            (folder / name / letter).mkdir(parents=True)
        for i in range(count):
            os.link(folder / f"{i % DIFFERENT}.png", folder / name / named(i, count))
    return folder


def named(i: int, count: int) -> str:
    """A photograph's path below its folder, in three classes; in the order of their numbers."""
    return f"{'abc'[3 * i // count]}/{i:05d}.png"


def start(command: str, argv: Sequence[str]) -> subprocess.Popen[str]:
    code = [sys.executable, "-c", textwrap.dedent(COMMAND), f"sact_core.{command}", *argv]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        code, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def peak_of(process: subprocess.Popen[str]) -> int:
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    return int(out.split()[-1])


def test_an_export_of_many(place: Path, tmp_path: Path) -> None:
    def argv(name: str) -> list[str]:
        flags = ["--checkpoint", str(place / "net.h5"), "--backend", "reference"]
        return [str(place / name), *flags, "--batch-size", "25", "--out", str(tmp_path / name)]

    few = peak_of(start("export_maps", argv("few")))
    folder = tmp_path / "many.parts"
    killed = start("export_maps", argv("many"))
    deadline = time.monotonic() + 300
    while len(list(folder.glob("*.json"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    done = {path.name: path.stat().st_mtime_ns for path in folder.glob("0*.h5")}
    assert len(done) >= 19
    rest = start("export_maps", argv("many"))
    while rest.poll() is None and len(list(folder.glob("*.json"))) < len(done) + 5:
        time.sleep(0.02)
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("0*.h5")}
    kept = [name for name in done if after.get(name) == done[name]]
    assert len(kept) >= len(done) - 1  # one may have been without its note
    many = peak_of(rest)
    assert many - few < EACH * (MANY - FEW)
    net = load(str(place / "net.h5"), "reference")
    refs = [np.asarray(Image.open(place / f"{i}.png")) for i in range(DIFFERENT)]
    flops = [int(net.run(ref[None]).flops[0]) for ref in refs]
    with MapFile(tmp_path / "many") as file:
        assert file.num_images == MANY
        assert [file.name(i) for i in range(MANY)] == [named(i, MANY) for i in range(MANY)]
        assert file.root["flops_exact"][()].tolist() == flops * (MANY // DIFFERENT)
    assert not folder.exists()


def test_an_evaluation_of_many(place: Path) -> None:
    def argv(name: str) -> list[str]:
        flags = ["--checkpoint", str(place / "net.h5"), "--backend", "reference", "--json"]
        return [*flags, "--dataset", str(place / name), "--split", "all", "--batch-size", "25"]

    few, many = (peak_of(start("evaluate.__main__", argv(name))) for name in ("few", "many"))
    assert many - few < EACH * (MANY - FEW)


def test_pondering_many(place: Path, tmp_path: Path) -> None:
    """What is kept of a photograph once its files are written is none of its maps."""
    images = sorted(map(str, (place / "few").rglob("*.png")))
    flags = ["--checkpoint", str(place / "net.h5"), "--backend", "reference", "--image-size", "96"]
    few, many = (
        peak_of(start("ponder", [*images[:count], *flags, "--out", str(tmp_path / str(count))]))
        for count in (20, 100)
    )
    assert many - few < 80 * 4 * 96 * 96 * 3  # its pixels as the network sees them


def test_photographs_of_one_name_take_no_time(tmp_path: Path) -> None:
    images = ["a.png"] * 20_000 + ["a_3.png"]
    began = time.process_time()
    stems = ponder_files.output_stems(images, tmp_path)
    assert time.process_time() - began < 5  # each was held against all others: minutes
    assert len(set(stems)) == len(images)
    assert [stem.name for stem in stems[:3]] == ["a", "a_2", "a_3"]
    assert stems[-1].name == "a_3_2"


def test_ponder_goes_on(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = sorted(map(str, (place / "few" / "a").iterdir()))[:40]
    flags = ["--checkpoint", str(place / "net.h5"), "--backend", "reference", "--out"]
    argv = [*images, *flags, str(tmp_path / "out")]
    killed = start("ponder", argv)
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("out/*_maps.h5"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (tmp_path / "out" / ".00039_maps.h5.sact-abcdefgh.tmp").write_bytes(b"half of it")
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*_maps.h5")}
    assert 4 <= len(done) < 40
    assert ponder.main(argv) == 2  # as ever: nothing is replaced unasked
    assert "exists; give --force" in capsys.readouterr().err
    assert ponder.main([*argv, "--resume"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("0")]
    assert len(told) == 40 - len(done)
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in done.items())
    # Nothing more: what was half written when it was killed is gone.
    assert len(os.listdir(tmp_path / "out")) == 5 * 40
    with MapFile(tmp_path / "out" / "00039_maps.h5") as file:
        command = file.provenance["command"]
    assert "00019.png" in command
    assert "00020.png" not in command
    assert command.endswith("… (40 photographs)")
    assert ponder.main([*argv, "--resume", "--tau", "0.05"]) == 2
    assert "was made by another command or network" in capsys.readouterr().err


def test_a_hundred_thousand_are_looked_through_in_a_minute(place: Path, tmp_path: Path) -> None:
    """As many as two thousand of them tell: the files of one, under many names."""
    argv = ["--checkpoint", str(place / "net.h5"), "--backend", "reference", "--out"]
    assert ponder.main([str(place / "0.png"), *argv, str(tmp_path / "one")]) == 0
    with MapFile(tmp_path / "one" / "0_maps.h5") as file:
        provenance = file.provenance
    (tmp_path / "out").mkdir()
    stems = [tmp_path / "out" / str(i) for i in range(2000)]
    for stem in stems:
        for ending in ponder_files.ENDINGS:
            os.link(tmp_path / "one" / f"0{ending}", f"{stem}{ending}")
    began = time.process_time()
    assert all(ponder_files.is_done(stem, "0.png", provenance) for stem in stems)
    assert time.process_time() - began < 2  # 3 ms each, when the maps were opened
    (tmp_path / "out" / "7_ponder.png").unlink()
    assert not ponder_files.is_done(stems[7], "0.png", provenance)
    maps = Path(f"{stems[8]}_maps.h5")
    data = maps.read_bytes()
    maps.unlink()
    maps.write_bytes(data[:-1])
    assert not ponder_files.is_done(stems[8], "0.png", provenance)
