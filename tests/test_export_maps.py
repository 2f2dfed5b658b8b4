"""Export: the right arrays, in parts that survive interruption, equal to single runs."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import tracemalloc

import h5py
import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net, load
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.folders import photographs
from sact_core.data.records import Unreadable
from sact_core.data.splits import open_split
from sact_core.export_maps import export, main
from sact_core.import_tf import import_checkpoint
from sact_core.maps import parts as map_parts
from sact_core.maps.file import MapError, MapFile
from sact_core.maps.parts import parts_folder
from sact_core.maps.spill import Spill
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.processes import Processes
from tests.conftest import ROOT
from tests.in_memory import in_memory
from tests.networks import any_tau_checkpoint

CONFIG = NetworkConfig("cifar", (1, 2, 2), 2, 3, "sact", halting_bias=0.3)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "net.h5"
    params = init_params(build_plan(CONFIG), seed=4)
    checkpoints.write(path, Checkpoint(CONFIG, params, Preprocessing("cifar", 8), ("a", "b", "c")))
    return str(path)


@pytest.fixture
def net(checkpoint):
    return load(checkpoint, "reference")


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
    """Class folders with seven images, the fourth of which is none."""
    for i, image in enumerate(images):
        where = tmp_path / "data" / "test" / "abc"[i // 3]
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(where / f"{i}.png")
    (tmp_path / "data" / "test" / "b" / "3.png").write_text("hello")
    return tmp_path / "data"


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr("sact_core.export_maps._part_size", lambda _, batch_size: batch_size)


def counting(net, fail_after=None):
    """The network, and a list that gains the size of every batch; stops when asked."""
    sizes = []

    class Counting:
        def forward(self, x, **options):
            if fail_after is not None and len(sizes) == fail_after:
                raise KeyboardInterrupt
            sizes.append(len(x))
            return net.engine.forward(x, **options)

    return dataclasses.replace(net, engine=Counting()), sizes


def assert_equal_files(ref_path, comp_path):
    with h5py.File(ref_path) as ref, h5py.File(comp_path) as comp:
        names = []
        ref.visit(names.append)
        for name in names:
            if isinstance(ref[name], h5py.Dataset):
                assert ref[name].dtype == comp[name].dtype
                np.testing.assert_array_equal(ref[name][()], comp[name][()])
        assert set(ref.attrs) == set(comp.attrs)


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


# --- interruption ---


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


# --- memory, processes ---


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


# --- the command ---


def fails(capsys, *argv):
    """Run the command, which must fail; give the one sentence that it says."""
    assert main([str(arg) for arg in argv]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


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
