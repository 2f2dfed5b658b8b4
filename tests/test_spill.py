"""A file that fills the disk while HDF5 writes to it."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import h5py
import numpy as np
import pytest

from sact_core.maps.spill import Spill


class Full(io.FileIO):
    """A file of a disk that takes so many bytes."""

    room = 1000

    def write(self, data) -> int:
        left = self.room - self.tell()
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(data)[:left])

    def truncate(self, size=None) -> int:
        if size is not None and size > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().truncate(size)


def spill(path: Path, room: int) -> Spill:
    path.touch()
    made = Spill(path)
    made._file.close()
    made._file = Full(path, "r+")
    made._file.room = room
    return made


@pytest.mark.parametrize("room", [0, 7, 64, 100, 10_000])
def test_what_was_written_is_read_again(
    tmp_path: Path, rng: np.random.Generator, room: int
) -> None:
    """As from a file in memory, whatever is written where."""
    comp, ref = spill(tmp_path / "a", room), io.BytesIO()
    for _ in range(200):
        at, data = int(rng.integers(0, 300)), rng.bytes(int(rng.integers(0, 80)))
        for file in (comp, ref):
            file.seek(at)
            assert file.write(data) == len(data)
            assert file.tell() == at + len(data)
        end = ref.seek(0, io.SEEK_END)
        assert comp.seek(0, io.SEEK_END) == end
        at = int(rng.integers(0, end + 1))
        count = int(rng.integers(0, end - at + 1))
        found = bytearray(count)
        comp.seek(at)
        assert comp.readinto(found) == count
        assert bytes(found) == ref.getvalue()[at : at + count]
    if room == 10_000:
        comp.check()
    else:
        with pytest.raises(OSError, match="No space left"):
            comp.check()
    comp.close()


@pytest.mark.parametrize("room", [0, 900, 5000, 20_000, 100_000, 10**7])
def test_hdf5_goes_on_where_the_disk_is_full(tmp_path: Path, room: int) -> None:
    """It ended the process by a fault of memory, at some sizes."""
    values = np.random.default_rng(0).standard_normal((64, 1000))
    disk = spill(tmp_path / "a.h5", room)
    with h5py.File(disk, "w") as file:
        for name in "abc":
            made = file.create_dataset(
                name, values.shape, "f8", chunks=(5, 1000), compression="lzf"
            )
            for row in range(0, 64, 7):
                made[row : row + 7] = values[row : row + 7]
        file["texts"] = ["a" * 100] * 50
        np.testing.assert_array_equal(file["a"][()], values)
    if room < 10**7:
        with pytest.raises(OSError, match="No space left"):
            disk.check()
        return
    disk.check()
    disk.close()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["c"][()], values)
