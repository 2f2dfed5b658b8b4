"""Files of maps and of fixations from strangers: drawn, or refused in one sentence, at once."""

from __future__ import annotations

import os
import struct
import time
import zlib

import h5py
import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core import draw_maps, saliency
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.maps.file import MapFile
from sact_core.untrusted_hdf5 import Opened, texts
from sact_core.untrusted_hdf5.heap import ENTRY, Texts
from tests.mat_writer import element, header, matrix
from tests.networks import random_params
from tests.test_draw_maps import write

SECONDS = 1.0  # of this process: other work does not count


def again(file, name, values, **how):
    """Store a data set in another way, or other values."""
    if name in file:
        del file[name]
    return file.create_dataset(name, data=values, **how)


def claims(file, name, shape, **how):
    """A data set that says how large it is and holds next to nothing."""
    del file[name]
    return file.create_dataset(name, shape, "f4", **how)


def link(file, name, to):
    del file[name]
    file[name] = to


def external(file, name):
    """Numbers that lie in another file, which would be drawn."""
    shape = file[name].shape
    where = os.path.join(os.path.dirname(file.filename), "secret.bin")
    np.full(shape, 7, "f4").tofile(where)
    claims(file, name, shape, external=[(where, 0, h5py.h5f.UNLIMITED)])


def virtual(file, name):
    shape = file[name].shape
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", shape)
    del file[name]
    file.create_virtual_dataset(name, layout, fillvalue=7)


def damaged(file, name, at, value):
    values = file[name][()]
    values.reshape(-1)[at] = value
    again(file, name, values)


def linked_group(file):
    file.move("block_2", "elsewhere")
    file["block_2"] = h5py.SoftLink("/elsewhere")


def lying_name(path):
    """A name whose stored length is 4 GiB."""
    with h5py.File(path, "a") as file:
        again(file, "names", ["AAAABBBB"] * 2, dtype=h5py.string_dtype())
        at = file["names"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(data)


def heap(path, mark, at, form, *values):
    """Damage texts: bytes at an offset from some that stand there."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, data.index(mark) + at, *values)
    path.write_bytes(data)


def larger_than_it_may_be(path):
    """A side of the maps beyond the largest that the file says it can have."""
    sides = struct.pack("<4Q", *SIDES, 1)
    data = path.read_bytes()
    at = data.index(2 * sides)
    path.write_bytes(data[:at] + struct.pack("<4Q", 2, 1 << 24, 12, 1) + data[at + 32 :])


def cut(path):
    path.write_bytes(path.read_bytes()[:-500])


def flipped(path):
    """Every 64th byte of the second half another."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :: 64] = bytes(255 - b for b in data[len(data) // 2 :: 64])
    path.write_bytes(data)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def sparse_start(path):
    """Nothing but a hole of 2^40 bytes."""
    with open(path, "wb") as file:
        file.truncate(1 << 40)


MAP, IMAGES = "ponder_cost_map", "images"
SIDES = (2, 8, 12)
#: What is made of a good file, and a part of the sentence that it is refused with.
EDITS = {
    "external_images": (lambda f: external(f, IMAGES), "lies in another file"),
    "external_maps": (lambda f: external(f, MAP), "lies in another file"),
    "virtual_images": (lambda f: virtual(f, IMAGES), "virtual, or compressed"),
    "virtual_maps": (lambda f: virtual(f, MAP), "virtual, or compressed"),
    "sparse_chunks": (
        lambda f: claims(f, IMAGES, (10**12, 8, 12, 3), chunks=(1, 8, 12, 3)),
        "only partly in the file",
    ),
    "sparse_contiguous": (lambda f: claims(f, MAP, (*SIDES, 1)), "only partly in the file"),
    "unwritten_terabytes": (
        lambda f: claims(f, MAP, (2, 10**6, 10**6, 1)), "only partly in the file",
    ),
    "half_the_chunks": (
        lambda f: claims(f, MAP, (*SIDES, 1), chunks=(1, 8, 12, 1)).__setitem__(0, 1),
        "only partly in the file",
    ),
    "one_huge_chunk": (
        lambda f: claims(
            f, MAP, (*SIDES, 1), chunks=(2000, 600, 600, 1), maxshape=(None, None, None, 1),
        ),
        "chunks that are too large",
    ),
    "foreign_filter": (
        lambda f: again(f, MAP, np.ones((*SIDES, 1), "f4"), chunks=True, scaleoffset=2),
        "virtual, or compressed in a way",
    ),
    "images_are_a_group": (
        lambda f: (f.__delitem__(IMAGES), f.create_group(IMAGES)), "images is a group",
    ),
    "maps_are_a_group": (
        lambda f: (f.__delitem__(MAP), f.create_group(MAP)), "ponder_cost_map is a group",
    ),
    "images_are_texts": (
        lambda f: again(f, IMAGES, np.full((*SIDES, 3), b"7")), "images holds no plain numbers",
    ),
    "maps_are_compound": (
        lambda f: again(f, MAP, np.zeros((*SIDES, 1), [("a", "f4"), ("b", "f4")])),
        "ponder_cost_map holds no plain numbers",
    ),
    "maps_are_references": (
        lambda f: again(f, MAP, np.full((*SIDES, 1), f.ref), dtype=h5py.ref_dtype),
        "ponder_cost_map holds no plain numbers",
    ),
    "maps_are_a_type": (
        lambda f: (f.__delitem__(MAP), f.__setitem__(MAP, np.dtype("f4"))),
        "neither a group nor a data set",
    ),
    "maps_of_three_dimensions": (
        lambda f: again(f, MAP, np.ones(SIDES, "f4")), "has 3 dimensions, not 4",
    ),
    "images_are_a_scalar": (lambda f: again(f, IMAGES, 3.0), "has 0 dimensions, not 4"),
    "no_numbers": (
        lambda f: (f.__delitem__(IMAGES), f.create_dataset(IMAGES, data=h5py.Empty("f4"))),
        "images holds no numbers at all",
    ),
    "four_channels": (lambda f: again(f, IMAGES, np.ones((*SIDES, 4), "f4")), "holds no images"),
    "no_images": (lambda f: again(f, IMAGES, np.ones((0, 8, 12, 3), "f4")), "holds no images"),
    "maps_of_other_images": (
        lambda f: again(f, MAP, np.ones((2, 8, 13, 1), "f4")), "do not fit its images",
    ),
    "nan_map": (lambda f: damaged(f, MAP, 5, np.nan), "NaN, infinite, negative or huge"),
    "infinite_map": (lambda f: damaged(f, MAP, 5, np.inf), "NaN, infinite, negative or huge"),
    "negative_map": (lambda f: damaged(f, MAP, 5, -1.0), "NaN, infinite, negative or huge"),
    "huge_map": (lambda f: damaged(f, MAP, 5, 3e38), "NaN, infinite, negative or huge"),
    "nan_image": (lambda f: damaged(f, IMAGES, 300, np.nan), "image 1 holds NaN or huge"),
    "infinite_image": (lambda f: damaged(f, IMAGES, 300, -np.inf), "image 1 holds NaN or huge"),
    "soft_link": (lambda f: link(f, MAP, h5py.SoftLink("/num_units_map")), "link to elsewhere"),
    "external_link": (
        lambda f: link(f, IMAGES, h5py.ExternalLink("other.h5", "/images")), "link to elsewhere",
    ),
    "linked_block": (linked_group, "link to elsewhere"),
    "dangling_names": (
        lambda f: link(f, "names", h5py.SoftLink("/nowhere")), "link to elsewhere",
    ),
    "block_is_a_data_set": (
        lambda f: again(f, "block_1", 1.0), "has no block_1/halting_distribution",
    ),
    "a_gap_in_the_blocks": (lambda f: f.__delitem__("block_2"), "it has no blocks"),
    "provenance_is_no_json": (
        lambda f: f.attrs.__setitem__("provenance", np.bytes_("[" * 9000)), "not JSON",
    ),
    "provenance_is_a_list": (
        lambda f: f.attrs.__setitem__("provenance", np.bytes_("[1]")), "not JSON",
    ),
    "part_is_a_text": (lambda f: f.attrs.__setitem__("part", "x"), "which part it is"),
    "names_are_numbers": (lambda f: again(f, "names", [1, 2]), "names holds no list of texts"),
    "too_few_names": (
        lambda f: again(f, "names", ["a"], dtype=h5py.string_dtype()), "names do not fit",
    ),
    "labels_are_fractions": (lambda f: again(f, "labels", [0.5, np.nan]), "labels do not fit"),
}  # fmt: skip
WHOLE_FILES = {
    "larger_than_it_may_be": (larger_than_it_may_be, "truncated or damaged"),
    "no_heap": (lambda path: heap(path, b"GCOL", 0, "4s", b"GONE"), "truncated or damaged"),
    "another_heap": (lambda path: heap(path, b"GCOL", 4, "B", 2), "truncated or damaged"),
    "a_text_is_gone": (lambda path: heap(path, b"<fox>", -16, "<H", 999), "truncated or damaged"),
    "a_text_is_shorter": (lambda path: heap(path, b"<fox>", -8, "<Q", 1), "truncated or damaged"),
    "the_heap_runs_out": (lambda path: heap(path, b"GCOL", 16, "<H", 0), "truncated or damaged"),
    "a_circle_in_the_heap": (
        lambda path: heap(path, b"GCOL", 24, "<Q", (1 << 64) - 16),
        "truncated or damaged",
    ),
    "lying_name": (lying_name, "too many or too long texts"),
    "cut_off": (cut, "truncated or damaged"),
    "flipped_bytes": (flipped, "damaged"),
    "a_pipe": (pipe, "is no ordinary file"),
    "a_hole_of_a_terabyte": (sparse_start, "is no HDF5 file"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "a_picture": (lambda path: Image.new("RGB", (9, 9)).save(path, "PNG"), "is no HDF5 file"),
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A file of maps, and what an earlier one was drawn to."""
    folder = tmp_path_factory.mktemp("maps")
    path = write(folder / "maps.h5", [7.0, 6.0])
    assert draw_maps.main([str(path), "--out", str(folder / "out")]) == 0
    return folder


def made(good, tmp_path, name):
    path = tmp_path / "maps.h5"
    path.write_bytes((good / "maps.h5").read_bytes())
    if name in EDITS:
        with h5py.File(path, "a") as file:
            EDITS[name][0](file)
    else:
        WHOLE_FILES[name][0](path)
    return path


@pytest.mark.parametrize("name", [*EDITS, *WHOLE_FILES])
@pytest.mark.parametrize("scale", ["percentile", "units"])
def test_maps_are_refused_and_the_old_drawing_stays(good, tmp_path, capsys, name, scale):
    path, out = made(good, tmp_path, name), tmp_path / "out"
    out.mkdir()
    for file in (good / "out").iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    before = contents(out)
    capsys.readouterr()
    began = time.process_time()
    code = draw_maps.main([str(path), "--out", str(out), "--force", "--scale", scale])
    seconds = time.process_time() - began
    said = capsys.readouterr()
    assert code == 2, said
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert str(path) in said.err
    assert (EDITS | WHOLE_FILES)[name][1] in said.err
    assert contents(out) == before
    assert seconds < SECONDS


def test_nothing_is_made_where_nothing_is_drawn(good, tmp_path):
    out = tmp_path / "new" / "out"
    assert draw_maps.main([str(made(good, tmp_path, "nan_image")), "--out", str(out)]) == 2
    assert not (tmp_path / "new").exists()


def test_a_full_disk_keeps_the_old_drawing(good, tmp_path, monkeypatch, capsys):
    from sact_core.maps import drawing

    def full(*_):
        raise OSError(28, "no space left on device")

    out = tmp_path / "out"
    assert draw_maps.main([str(good / "maps.h5"), "--out", str(out)]) == 0
    before = contents(out)
    monkeypatch.setattr(drawing, "contact_sheet", full)
    assert draw_maps.main([str(write(tmp_path / "b.h5", [9.0])), "--out", str(out), "--force"]) == 2
    assert contents(out) == before
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "gzip", "chunks": (1, 4, 6, 1), "shuffle": True, "fletcher32": True},
        {"dtype": ">f8"},
        {"dtype": "f2"},
    ],
    ids=["repacked", "double", "half"],
)
def test_other_plain_ways_to_store_maps_are_read(good, tmp_path, how):
    path = tmp_path / "maps.h5"
    path.write_bytes((good / "maps.h5").read_bytes())
    with h5py.File(path, "a") as file:
        values = np.round(file[MAP][()], 1)
        again(file, MAP, values.astype(how.get("dtype", "f4")), **how)
    with MapFile(path) as file:
        file.check_maps()
        np.testing.assert_allclose(file.map(1), values[1, ..., 0], atol=0.01)


def test_strange_names_are_one_short_line(good, tmp_path):
    path = tmp_path / "maps.h5"
    path.write_bytes((good / "maps.h5").read_bytes())
    with h5py.File(path, "a") as file:
        again(file, "names", np.array([b"a\nb\x1b[31m\xff", b"x" * 50_000]))
    with MapFile(path) as file:
        assert file.name(0) == "a b [31m\N{REPLACEMENT CHARACTER}"
        assert file.name(1) == "x" * 199 + "…"
    assert draw_maps.main([str(path), "--out", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("how", [{}, {"chunks": (2,), "compression": "gzip"}], ids=["", "packed"])
def test_texts_are_read_as_libhdf5_reads_them(tmp_path, how):
    wanted = ["", "a", "é" * 4000, "", *map(str, range(3000)), "x" * 70_000]
    with h5py.File(tmp_path / "it.h5", "w") as file:
        file.create_dataset("it", data=wanted, dtype=h5py.string_dtype(), **how)
    with Opened(tmp_path / "it.h5", ValueError) as file:
        found = texts(file, "it", 10_000, 1_000_000)
        assert [text.decode() for text in found] == wanted
        assert found[4] == b"0"
        assert len(found) == len(wanted)


def test_collections_that_overlap_are_refused():
    """Each begins in an object of another and goes on from object to object of that."""
    count, size = 200, 40
    entry = struct.pack("<HH4xQ", 24, 0, 24) + struct.pack("<4sB3xQ", b"GCOL", 1, 1 << 20)
    data = bytes(16) + (entry + struct.pack("<HH4x", 1, 0)) * count
    data = data[:-8] + bytes(64)
    where = np.array([(1, 32 + size * i, 1) for i in range(count)], ENTRY)
    found = Texts(lambda at, size: data[at : at + size], len(data), where)
    with pytest.raises(ValueError, match="overlap"):
        list(found)


# --- fixations ---


def sparse(rows, starts):
    """A sparse variable of 24 x 32 with one value a row."""
    inside = element("<", 6, struct.pack("<II", 5, len(rows)))
    inside += element("<", 5, struct.pack("<2i", 24, 32)) + element("<", 1, b"fixLocs")
    inside += element("<", 5, np.array(rows, "<i4").tobytes())
    inside += element("<", 5, np.array(starts, "<i4").tobytes())
    inside += element("<", 9, np.ones(len(rows)).tobytes())
    return element("<", 14, inside)


def new_mat(edit):
    """A file of MATLAB 7.3, which is HDF5 behind 512 bytes."""

    def write_it(path):
        with h5py.File(path, "w", userblock_size=512) as file:
            edit(file)
        with open(path, "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")

    return write_it


def old_mat(*parts):
    return lambda path: path.write_bytes(header() + b"".join(parts))


LOCS = np.eye(24, 32, dtype=np.uint8)
BOMB = element("<", 15, zlib.compress(matrix(np.zeros((1 << 13, 1 << 13), np.uint8), "other")))
FIXATIONS = {
    "absent": (lambda path: None, "are absent"),
    "empty": (lambda path: path.write_bytes(b""), "is no MATLAB file"),
    "a_pipe": (os.mkfifo, "is no ordinary file"),
    "a_hole_of_a_terabyte": (sparse_start, "is larger than 256 MiB"),
    "other_size": (old_mat(matrix(LOCS[1:])), "have shape"),
    "nan": (old_mat(matrix(LOCS * np.nan, stored=9, kind=6)), "must be 0, or above 0"),
    "infinite": (
        old_mat(matrix(np.where(LOCS, np.inf, 0), stored=9, kind=6)), "must be 0, or above 0",
    ),
    "negative": (old_mat(matrix(-LOCS.astype("f8"), stored=9, kind=6)), "must be 0, or above"),
    "nobody_looked": (old_mat(matrix(0 * LOCS)), "has no fixation"),
    "everybody_looked": (old_mat(matrix(0 * LOCS + 1)), "every pixel is fixated"),
    "a_million_elements": (old_mat(bytes(8 << 20)), "truncated or damaged"),
    "bombs": (old_mat(*[BOMB] * 200), "no array of numbers 'fixLocs'"),
    "lying_shape": (
        old_mat(matrix(LOCS).replace(struct.pack("<2i", 24, 32), struct.pack("<2i", 1 << 30, 9))),
        "too large",
    ),
    "sparse_start_of_billions": (
        old_mat(sparse([1], [0] * 32 + [0x7FFFFFFF])), "truncated or damaged",
    ),
    "sparse_backwards": (old_mat(sparse([1, 2], [0, 2, 1, *[1] * 30])), "truncated or damaged"),
    "sparse_row_below_0": (old_mat(sparse([-3], [0] + [1] * 32)), "truncated or damaged"),
    "hdf5_group": (new_mat(lambda f: f.create_group("fixLocs")), "fixLocs is a group"),
    "hdf5_external": (
        new_mat(lambda f: (f.create_dataset("fixLocs", (2, 2), "f4"), external(f, "fixLocs"))),
        "lies in another file",
    ),
    "hdf5_link": (
        new_mat(lambda f: link_new(f, h5py.ExternalLink("other.mat", "/fixLocs"))),
        "link to elsewhere",
    ),
    "hdf5_claims": (
        new_mat(lambda f: f.create_dataset("fixLocs", (10**6, 10**6), "u1", chunks=(9, 9))),
        "is too large",
    ),
    "hdf5_sparse": (
        new_mat(lambda f: f.create_dataset("fixLocs", (32, 24), "u1", chunks=(9, 9))),
        "only partly in the file",
    ),
    "hdf5_texts": (
        new_mat(lambda f: f.create_dataset("fixLocs", data=["a"])), "holds no plain numbers",
    ),
    "hdf5_absent": (new_mat(lambda f: f.create_group("x" * 500)), "no array of numbers 'fixLocs'"),
}  # fmt: skip


def link_new(file, to):
    file["fixLocs"] = to


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    config = NetworkConfig(
        units_per_block=(2, 2, 2), base_channels=2, num_classes=3, halting="sact"
    )
    params = random_params(np.random.default_rng(1), config)
    path = tmp_path_factory.mktemp("network") / "it.h5"
    checkpoints.write(path, checkpoints.Checkpoint(config, params, Preprocessing("cifar", 16)))
    return path


@pytest.mark.parametrize("name", FIXATIONS)
def test_fixations_are_refused(network, tmp_path, capsys, name):
    for folder in ("Stimuli", "FIXATIONLOCS"):
        (tmp_path / folder / "Art").mkdir(parents=True)
    Image.new("RGB", (32, 24), "red").save(tmp_path / "Stimuli" / "Art" / "001.png")
    FIXATIONS[name][0](tmp_path / "FIXATIONLOCS" / "Art" / "001.mat")
    argv = ["--checkpoint", network, "--backend", "reference", "--out", tmp_path / "out"]
    began = time.process_time()
    code = saliency.main([*map(str, [tmp_path, *argv]), "--blur", "0", "--centre-weight", "0"])
    seconds = time.process_time() - began
    said = capsys.readouterr()
    assert code == 2, said
    assert said.out == ""
    assert said.err.startswith("error: none of 1 photographs can be used; Art/001.png: ")
    assert said.err.count("\n") == 1
    assert FIXATIONS[name][1] in said.err
    assert not (tmp_path / "out").exists()
    assert seconds < SECONDS
