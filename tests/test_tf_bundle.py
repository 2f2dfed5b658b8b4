"""TensorFlow's checkpoint format, read from small files that the tests write."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from sact_core.import_tf.bundle import BundleError, open_bundle
from tests import tf_writer


@pytest.fixture
def variables(rng):
    names = ["a", "a/b", "a/b/c", "ab", "net/conv1/weights", "net/conv2/weights", "z/step"]
    arrays = [rng.standard_normal(s).astype("f4") for s in [(), (1,), (0, 3), (2, 3), (3, 3, 1, 2)]]
    return dict(zip(names, [*arrays, rng.standard_normal(4), np.int64(-7)], strict=True))


def assert_reads(prefix, variables):
    bundle = open_bundle(prefix)
    assert list(bundle.entries) == sorted(variables)
    for name, ref in variables.items():
        comp = bundle.read(name)
        assert comp.dtype == ref.dtype
        assert comp.dtype.isnative
        np.testing.assert_array_equal(comp, ref)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"per_block": 2},
        {"restart_interval": 1},
        {"restart_interval": 3},  # leaves the restart points at odd addresses
        {"compress": tf_writer.snappy, "per_block": 3},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_every_form_is_read(tmp_path, variables, big_endian, num_shards, options):
    tf_writer.write_bundle(
        tmp_path / "m.ckpt", variables, num_shards, big_endian=big_endian, **options
    )
    assert_reads(tmp_path / "m.ckpt", variables)


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_any_name_of_the_checkpoint_will_do(tmp_path, variables, ending):
    tf_writer.write_bundle(tmp_path / "m.ckpt-12", variables)
    assert_reads(f"{tmp_path}/m.ckpt-12{ending}", variables)


def test_long_names_and_large_sizes_take_more_than_one_byte(tmp_path, rng):
    variables = {f"{'x' * 300}/{i:04d}": rng.standard_normal(200).astype("f4") for i in range(300)}
    tf_writer.write_bundle(tmp_path / "m", variables, per_block=7)
    assert_reads(tmp_path / "m", variables)


def test_hashes_name_every_file(tmp_path, variables):
    tf_writer.write_bundle(tmp_path / "m", variables, num_shards=2)
    found = open_bundle(tmp_path / "m").hashes()
    assert [file["name"] for file in found] == [
        "m.index",
        "m.data-00000-of-00002",
        "m.data-00001-of-00002",
    ]
    assert all(len(file["sha256"]) == 64 for file in found)
    assert found[0]["bytes"] == (tmp_path / "m.index").stat().st_size


def test_a_missing_or_foreign_index_is_refused(tmp_path, variables):
    with pytest.raises(BundleError, match=r"there is no file .*m\.index; PREFIX is"):
        open_bundle(tmp_path / "m")
    for data in (b"", b"hello", b"\x89HDF" * 100):
        (tmp_path / "m.index").write_bytes(data)
        with pytest.raises(BundleError, match=r"too short|is no index"):
            open_bundle(tmp_path / "m")
    (tmp_path / "m.index").write_bytes(tf_writer.table([(b"a", b"b")]))
    with pytest.raises(BundleError, match="no TensorFlow checkpoint: it has no header"):
        open_bundle(tmp_path / "m")


@pytest.mark.parametrize("compress", [None, tf_writer.snappy])
def test_every_truncation_and_flipped_bit_is_refused(tmp_path, variables, compress):
    tf_writer.write_bundle(tmp_path / "m", variables, per_block=4, compress=compress)
    path = tmp_path / "m.index"
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(BundleError):
            open_bundle(tmp_path / "m")
    num_harmless = 0
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        try:
            assert_reads(tmp_path / "m", variables)
        except BundleError:
            continue
        num_harmless += 1  # the block of metadata or the padding of the footer
    assert num_harmless < 70


def test_a_damaged_or_missing_shard_is_refused(tmp_path, variables):
    tf_writer.write_bundle(tmp_path / "m", variables)
    path = tmp_path / "m.data-00000-of-00001"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(BundleError, match=r"is truncated: z/step ends at byte \d+, the file at"):
        open_bundle(tmp_path / "m").read("z/step")
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(BundleError, match="the checksum of a does not match"):
        open_bundle(tmp_path / "m").read("a")
    path.unlink()
    with pytest.raises(BundleError, match="is missing"):
        open_bundle(tmp_path / "m").read("a")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": 8}, "has type 8, which is not supported"),
        ({"size": 25}, r"takes 25 bytes, which does not fit its shape \(2, 3\)"),
        ({"dtype": 2}, "does not fit its shape"),
        ({"crc": 1}, "the checksum of ab does not match"),
    ],
)
def test_bad_entries_are_refused(tmp_path, variables, changes, message):
    tf_writer.write_bundle(tmp_path / "m", variables, changes={"ab": changes})
    bundle = open_bundle(tmp_path / "m")
    with pytest.raises(BundleError, match=message):
        bundle.read("ab")


def raw(tmp_path, *pairs, header=None):
    """Open a checkpoint of hand-made entries."""
    first = (b"", tf_writer.header(1) if header is None else header)
    (tmp_path / "m.index").write_bytes(tf_writer.table([first, *pairs]))
    return open_bundle(tmp_path / "m")


Extents = list[tuple[int, int] | None]
HALVES: list[list[Extents]] = [
    [[(0, 1), None], [(1, 2), None]],
    [[(1, 2), (0, 70)], [(0, 1), (0, 70)], [(0, 3), (70, 5)]],
    [[None, (start, 5)] for start in range(0, 75, 5)],
    [[None, None]],
    [[(0, 3), (0, 75)]],
]


@pytest.mark.parametrize("parts", HALVES)
@pytest.mark.parametrize("num_shards", [1, 2])
def test_a_partitioned_variable_is_put_together(tmp_path, rng, parts, num_shards):
    variables = {"a/w": rng.standard_normal((3, 75)).astype("f4"), "b": np.float32(1)}
    tf_writer.write_bundle(tmp_path / "m", variables, num_shards, parts={"a/w": parts})
    assert_reads(tmp_path / "m", variables)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([[(0, 1), None]], "w lacks parts"),
        ([[(0, 2), None], [(1, 2), None]], "w has parts that overlap"),
        ([[(0, 3), None], [(0, 3), None]], "w has parts that overlap"),
        ([[(0, 4), None]], r"w has parts that lie outside of its shape \(3, 75\)"),
        ([[None]], "w has parts of 1 axes, and 2 itself"),
        ([[(i // 100, 1), (i % 100, 1)] for i in range(1001)], "w is cut into too many parts"),
    ],
)
def test_parts_that_do_not_make_up_the_whole_are_refused(tmp_path, rng, parts, message):
    values = rng.standard_normal((3, 75)).astype("f4")
    whole = tf_writer.entry(values, 0, 0, b"", size=0) + b"".join(
        map(tf_writer.part_message, parts)
    )
    bundle = raw(tmp_path, (b"w", whole))
    with pytest.raises(BundleError, match=message):
        bundle.read("w")


def test_a_part_that_is_missing_or_damaged_is_named(tmp_path, rng):
    values = rng.standard_normal((4, 2)).astype("f4")
    parts: list[Extents] = [[(0, 2), None], [(2, 2), None]]
    tf_writer.write_bundle(tmp_path / "m", {"w": values}, parts={"w": parts})
    path = tmp_path / "m.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match="the checksum of a part of w does not match"):
        open_bundle(tmp_path / "m").read("w")
    whole = tf_writer.entry(values, 0, 0, b"", size=0) + b"".join(
        map(tf_writer.part_message, parts)
    )
    with pytest.raises(BundleError, match=r"m\.index is damaged: a part of w is missing"):
        raw(tmp_path, (b"w", whole)).read("w")
    one = (tf_writer.part_key("w", parts[0]), tf_writer.entry(values[:1], 0, 0, b""))
    with pytest.raises(BundleError, match="a part of w is missing"):
        raw(tmp_path, one, (b"w", whole)).read("w")
    huge = b"\x08\x01\x12\x0c\x12\x0a\x08" + b"\xff" * 8 + b"\x7f"
    with pytest.raises(BundleError, match="far too large"):
        raw(tmp_path, (b"w", huge + tf_writer.part_message([None]))).read("w")


@pytest.mark.parametrize("big_endian", [False, True])
def test_half_precision_is_read(tmp_path, big_endian):
    values = np.array([0, -0.0, 1, -2.5, 3e38, 1e-40, np.inf], np.float32)
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    tf_writer.write_bundle(
        tmp_path / "m", {"w": upper}, big_endian=big_endian, changes={"w": {"dtype": 14}}
    )
    comp = open_bundle(tmp_path / "m").read("w")
    assert comp.dtype == np.float32
    np.testing.assert_array_equal(comp.view(np.uint32), upper.astype(np.uint32) << 16)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (tf_writer.header(1, min_consumer=2), "needs a reader of version 2, newer than 1"),
        (tf_writer.header(0), "its header makes no sense"),
        (b"\x08\x01\x10\x02", "its header makes no sense"),
        (b"\x08", "a number is cut off"),
        (b"\x08" + b"\xff" * 11, "too many digits"),
        (b"\x0a\x01x", "a message stands where a number should"),
        (b"\x18\x01", "a number stands where a message should"),
        (b"\x1a\x09x", "an entry is cut off"),
        (b"\x0b", "unknown wire type"),
    ],
)
def test_strange_headers_are_refused(tmp_path, header, message):
    with pytest.raises(BundleError, match=message):
        raw(tmp_path, header=header)


def test_strange_entries_are_refused(tmp_path):
    with pytest.raises(BundleError, match="x lies in shard 3"):
        raw(tmp_path, (b"x", tf_writer.entry(np.zeros(1, "f4"), 3, 0, b"")))
    negative = b"\x08\x01\x20" + b"\xff" * 9 + b"\x01"
    with pytest.raises(BundleError, match="x has a negative size"):
        raw(tmp_path, (b"x", negative))
    with pytest.raises(BundleError, match="its keys are not in order"):
        raw(tmp_path, (b"y", b""), (b"x", b""))


def test_unknown_fields_are_passed_over(tmp_path):
    data = tf_writer.entry(np.zeros(1, "f4"), 0, 0, bytes(4))
    more = b"\x59" + bytes(8) + b"\x65" + bytes(4) + b"\x6a\x02hi" + b"\x70\x05"
    (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(4))
    np.testing.assert_array_equal(raw(tmp_path, (b"x", data + more)).read("x"), [0])


def test_an_index_that_swells_is_refused(tmp_path):
    """Keys that begin alike take a few bytes of the file, and all of their own in memory."""
    start = b"x" * 4000
    pairs = [(b"", tf_writer.header(1))]
    pairs += [(start + b"%05d" % i, b"") for i in range(20_000)]
    (tmp_path / "m.index").write_bytes(tf_writer.table(pairs, 10**6, 10**6))
    assert (tmp_path / "m.index").stat().st_size < 300_000
    with pytest.raises(BundleError, match="holds far more than an index of variables does"):
        open_bundle(tmp_path / "m")
    pairs = [(b"", tf_writer.header(1)), *((b"%06d" % i, b"") for i in range(100_001))]
    (tmp_path / "m.index").write_bytes(tf_writer.table(pairs, 10**6, 10**6))
    with pytest.raises(BundleError, match="holds far more than an index of variables does"):
        open_bundle(tmp_path / "m")
    with open(tmp_path / "m.index", "wb") as file:
        file.truncate((1 << 26) + 1)
    with pytest.raises(BundleError, match="is too large for an index"):
        open_bundle(tmp_path / "m")
    with pytest.raises(BundleError, match="a name is far too long"):
        raw(tmp_path, (b"x" * 5000, b""))


def test_blocks_that_come_twice_are_refused(tmp_path):
    data = tf_writer.block([(b"", tf_writer.header(1))], 1)
    file = data + b"\0" + struct.pack("<I", tf_writer.masked_crc(data + b"\0"))
    handle = tf_writer.varint(0) + tf_writer.varint(len(data))
    index = tf_writer.block([(b"a", handle), (b"b", handle)], 1)
    at = tf_writer.varint(len(file)) + tf_writer.varint(len(index))
    file += index + b"\0" + struct.pack("<I", tf_writer.masked_crc(index + b"\0"))
    footer = (handle + at).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    (tmp_path / "m.index").write_bytes(file + footer)
    with pytest.raises(BundleError, match="its blocks are not in order"):
        open_bundle(tmp_path / "m")


def test_a_compressed_bomb_is_refused(tmp_path):
    (tmp_path / "m.index").write_bytes(
        tf_writer.table(
            [(b"", tf_writer.header(1)), (b"x", bytes(70_000_000))], compress=tf_writer.snappy
        )
    )
    with pytest.raises(BundleError, match="a compressed block is far too large"):
        open_bundle(tmp_path / "m")


@pytest.mark.parametrize("contents", [b"", b"\xff" * 5, b"\x05abc", b"\x06\x10hello"])
def test_what_does_not_decompress_is_refused(tmp_path, contents):
    data = tf_writer.table([(b"", tf_writer.header(1))], compress=lambda _: contents)
    (tmp_path / "m.index").write_bytes(data)
    with pytest.raises(BundleError, match="a block does not decompress"):
        open_bundle(tmp_path / "m")
