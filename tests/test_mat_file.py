"""Reading arrays of MATLAB files, of which some were written by SciPy."""

from __future__ import annotations

import base64
import struct
import zlib

import h5py
import numpy as np
import pytest

from sact_core.measures.mat_file import MatError, read_mat
from tests.mat_writer import element, header, matrix

#: What SciPy 1.17 writes: a variable ``other`` (0, 1, 2) and then ``fixLocs``.
BY_SCIPY = {
    "double_plain": (
        "TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IFdlZCBOb3YgMjUgMTk6"
        "MDg6NTggMjAyNgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"
        "SU0OAAAAUAAAAAYAAAAIAAAABgAAAAAAAAAFAAAACAAAAAEAAAADAAAAAQAAAAUAAABvdGhlcgAAAAkAAAAY"
        "AAAAAAAAAAAAAAAAAAAAAADwPwAAAAAAAABADgAAAJgAAAAGAAAACAAAAAYAAAAAAAAABQAAAAgAAAADAAAA"
        "BAAAAAEAAAAHAAAAZml4TG9jcwAJAAAAYAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADwPwAAAAAAAAAAAAAA"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA8D8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
    ),
    "logical_compressed": (
        "TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IFdlZCBOb3YgMjUgMTk6"
        "MDg6NTggMjAyNgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"
        "SU0PAAAAMAAAAHic42NgYAgAYjYg5oDSIMAK5TMCMTOUBonll2SkFgFpTiCWYEAHH+yhDAcAiwQEPA8AAAA2"
        "AAAAeJzjY2Bg8ABiNiDmAGJOJgYwYIXymYGYBYgZgZgdiNMyK3zyk4sZQMp4wCoZ4QQIAAB5VwN0"
    ),
    "sparse_compressed": (
        "TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IFdlZCBOb3YgMjUgMTk6"
        "MDg6NTggMjAyNgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"
        "SU0PAAAAMAAAAHic42NgYAgAYjYg5oDSIMAK5TMCMTOUBonll2SkFgFpTiCWYEAHH+yhDAcAiwQEPA8AAABF"
        "AAAAeJzjY2BgqABiNiDmAGJWIGaC0iA+MxCzADEjELMDcVpmhU9+cjFcngkqB+KLMEAAIxQzQTEIcAKxAAMM"
        "fLCH0QBKfwY2"
    ),
    "text_compressed": (
        "TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IFdlZCBOb3YgMjUgMTk6"
        "MDg6NTggMjAyNgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"
        "SU0PAAAAMAAAAHic42NgYAgAYjYg5oDSIMAK5TMCMTOUBonll2SkFgFpTiCWYEAHH+yhDAcAiwQEPA8AAAAy"
        "AAAAeJzjY2BgcABiNiDmAGIWBghghfIZoWwQzQ7EaZkVPvnJxQwCUPGM1JycfCANAGbNBX0="
    ),
    "complex_compressed": (
        "TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IFdlZCBOb3YgMjUgMTk6"
        "MDg6NTggMjAyNgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"
        "SU0PAAAAMAAAAHic42NgYAgAYjYg5oDSIMAK5TMCMTOUBonll2SkFgFpTiCWYEAHH+yhDAcAiwQEPA8AAAA/"
        "AAAAeJzjYwACRgYGNiDFAcRsIAIIWKF8ZiBmgShhYAfitMwKn/zkYgZOIDuBARf4YI9TikR1qPbA1FOfBgAg"
        "EBSE"
    ),
}
WANTED = [[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]


def written(tmp_path, data):
    (tmp_path / "it.mat").write_bytes(data)
    return tmp_path / "it.mat"


@pytest.mark.parametrize("name", ["double_plain", "logical_compressed", "sparse_compressed"])
def test_what_scipy_writes(tmp_path, name):
    path = written(tmp_path, base64.b64decode(BY_SCIPY[name]))
    np.testing.assert_array_equal(read_mat(path, "fixLocs"), WANTED)
    np.testing.assert_array_equal(read_mat(path, "other"), [[0, 1, 2]])
    with pytest.raises(MatError, match=r"no array of numbers 'it'; it holds 'other', 'fixLocs'"):
        read_mat(path, "it")


@pytest.mark.parametrize("name", ["text_compressed", "complex_compressed"])
def test_what_is_no_array_of_real_numbers(tmp_path, name):
    path = written(tmp_path, base64.b64decode(BY_SCIPY[name]))
    with pytest.raises(MatError, match="no array of real numbers"):
        read_mat(path, "fixLocs")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "stored", "dtype"), [(9, 2, np.uint8), (6, 9, np.float64), (12, 5, np.int32)]
)
def test_both_byte_orders(tmp_path, rng, order, kind, stored, dtype):
    array = rng.integers(0, 99, (5, 7)).astype(dtype)
    made = matrix(array, order=order, kind=kind, stored=stored)
    for body in (made, element(order, 15, zlib.compress(made))):
        comp = read_mat(written(tmp_path, header(order) + body), "fixLocs")
        np.testing.assert_array_equal(comp, array)


def test_version_7_3(tmp_path):
    path = tmp_path / "it.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["fixLocs"] = np.array(WANTED, np.uint8).T  # columns first
        file["elsewhere"] = h5py.ExternalLink("other.h5", "x")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    np.testing.assert_array_equal(read_mat(path, "fixLocs"), WANTED)
    with pytest.raises(MatError, match="elsewhere is a link to elsewhere, which is refused"):
        read_mat(path, "elsewhere")
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(MatError, match="truncated or damaged"):
        read_mat(path, "fixLocs")


def test_every_cut_is_one_error(tmp_path):
    for name in ("double_plain", "logical_compressed"):
        data = base64.b64decode(BY_SCIPY[name])
        for length in range(0, len(data) - 8, 5):
            with pytest.raises(MatError, match=r"it\.mat"):
                read_mat(written(tmp_path, data[:length]), "fixLocs")


def test_every_changed_byte_is_read_or_one_error(tmp_path, rng):
    for name in ("double_plain", "sparse_compressed"):
        data = base64.b64decode(BY_SCIPY[name])
        refused = 0
        for at in range(120, len(data)):
            changed = bytearray(data)
            changed[at] ^= int(rng.integers(1, 256))
            try:
                read_mat(written(tmp_path, changed), "fixLocs")
            except MatError:
                refused += 1
        assert refused > 30


def test_sizes_are_checked_before_memory_is_taken(tmp_path):
    lie = bytearray(matrix(np.zeros((2, 2), np.uint8)))
    at = lie.index(struct.pack("<2i", 2, 2))
    lie[at : at + 8] = struct.pack("<2i", 1 << 20, 1 << 20)
    with pytest.raises(MatError, match="too large"):
        read_mat(written(tmp_path, header() + lie), "fixLocs")
    bomb = element("<", 15, zlib.compress(matrix(np.zeros((1 << 14, 1 << 14), np.uint8))))
    with pytest.raises(MatError, match="larger than 256 MiB"):
        read_mat(written(tmp_path, header() + bomb), "fixLocs")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_mat(tmp_path / "none.mat", "fixLocs")
