"""Exports in bounded memory, and by several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import tracemalloc

import pytest

from sact_core.export_maps import export, main
from sact_core.maps.file import MapFile
from sact_core.processes import Processes
from tests.export_maps.conftest import assert_equal_files, counting
from tests.in_memory import in_memory


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, net, images, monkeypatch):
    monkeypatch.setattr("sact_core.export_maps.PART_BYTES", 1 << 15)

    def peak(num_images):
        source = in_memory(images, count=num_images)
        tracemalloc.start()
        try:
            export(net, source, tmp_path / f"{num_images}.h5", batch_size=16)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(16)  # imports
    few, many = peak(48), peak(240)
    assert many < few * 1.5


@pytest.mark.parametrize("world", [2, 5])
@pytest.mark.parametrize("shared", [True, False])
def test_processes_share_the_work(tmp_path, net, images, small_parts, world, shared):
    """Those that do not see the first one's folder hand over what they find."""
    export(net, in_memory(images), tmp_path / "ref.h5", batch_size=2)
    barrier = threading.Barrier(world)
    done = {}

    told = {}

    class Threads(Processes):
        def gather(self, values):
            told[self.rank] = json.dumps(values)
            barrier.wait()
            found = [json.loads(told[rank]) for rank in range(world)]
            barrier.wait()
            return found

    def run(rank):
        one, sizes = counting(net)
        out = tmp_path / ("maps.h5" if shared or rank == 0 else f"elsewhere/{rank}/maps.h5")
        kept = export(
            one,
            in_memory(images),
            out,
            batch_size=2,
            processes=Threads(rank, world),
        )
        done[rank] = (kept[0], sum(sizes))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done[0][0] == 7
    assert sum(worked for _, worked in done.values()) == 7
    assert max(worked for _, worked in done.values()) < 7
    assert_equal_files(tmp_path / "ref.h5", tmp_path / "maps.h5")
    assert not (tmp_path / "elsewhere").exists()


def test_two_processes_of_torchrun(tmp_path, checkpoint, folder):
    argv = ["--checkpoint", checkpoint, "--dataset", str(folder), "--backend", "reference"]
    argv += ["--batch-size", "2"]
    assert main([*argv, "--out", str(tmp_path / "ref.h5")]) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    argv += ["--out", str(tmp_path / "maps.h5")]

    def together():
        return subprocess.run(
            [*torchrun, "-m", "sact_core.export_maps", *argv],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    done = together()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 images") == 1  # the second process says nothing
    assert_equal_files(tmp_path / "ref.h5", tmp_path / "maps.h5")
    with MapFile(tmp_path / "maps.h5") as file:
        assert file.provenance["command"].startswith("torchrun --nproc-per-node=2 --local-addr=")
    again = together()
    assert again.returncode != 0
    said = [line for line in again.stderr.splitlines() if line.startswith("error")]
    assert said == [f"error: {tmp_path / 'maps.h5'} exists; give --force to replace it"]
