"""Files are whole or absent, and the old one survives a failure."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sact_core.files import clear_leftovers, make_folder, write_bytes, written_beside, written_in


def test_replaces_a_file_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_who_has_the_old_file_open_reads_on(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old bytes")
    with path.open("rb") as reader:
        assert reader.read(4) == b"old "
        write_bytes(path, b"new")
        assert reader.read() == b"bytes"
        reader.seek(0)
        assert reader.read() == b"old bytes"
    assert path.read_bytes() == b"new"


def test_mode_follows_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_an_error_inside_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def fail():
        with written_beside(path) as beside:
            beside.write_bytes(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*a\.bin: the disk is full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_place_without_modes_takes_files(tmp_path, monkeypatch):
    """Windows has no such call; other disks refuse it."""
    monkeypatch.delattr(os, "fchmod")
    write_bytes(tmp_path / "a", b"new")
    monkeypatch.setattr(os, "fchmod", _refuse, raising=False)
    write_bytes(tmp_path / "b", b"new")
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"new", b"new"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_place_whose_folders_cannot_be_opened_takes_files(tmp_path, monkeypatch):
    """Windows opens none, and flushes only what may be written to."""
    opened, flushed, real = {}, [], os.open

    def open_(path, flags, *mode, **more):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        handle = real(path, flags, *mode, **more)
        opened[handle] = flags
        return handle

    def fsync(handle):
        if not opened[handle] & os.O_RDWR:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flushed.append(handle)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert len(flushed) == 1


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_place_that_cannot_flush_takes_files(tmp_path, monkeypatch, number):
    def fsync(handle):
        raise OSError(number, "not here")

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def _refuse(*_):
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_limit_on_file_size_keeps_the_old_file(tmp_path):
    """A real failure of the operating system in the middle of a write."""
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    code = (
        "import resource, signal, sys\n"
        "from sact_core.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_bytes(sys.argv[1], bytes(5000))\n"
        "except OSError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"cannot write {path}: ")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_bad_place_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*missing does not exist"):
        write_bytes(tmp_path / "missing" / "a", b"")
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="plain is no folder"):
        write_bytes(tmp_path / "plain" / "a", b"")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        write_bytes(tmp_path, b"")
    if os.path.isdir("/proc"):  # a folder that is there, but in which none can be made
        with pytest.raises(FileNotFoundError, match="cannot write /proc/x: /proc takes no files"):
            write_bytes("/proc/x", b"")
        said = "cannot write /proc: /proc takes no files"
        with pytest.raises(FileNotFoundError, match=said), written_in("/proc"):
            os.mkdir("/proc/x")


def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(FileExistsError, match=r"cannot write .*plain: it is a file, not a folder$"):
        make_folder(tmp_path / "plain")

    def refuse(path, *args, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(PermissionError, match=r"cannot write .*new: operation not permitted$"):
        make_folder(tmp_path / "new")


def test_an_unwritable_folder_is_named():
    """Root may write anywhere, so it is nobody meanwhile."""
    was, folder = os.geteuid(), Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o555)
    try:
        if was == 0:
            os.seteuid(65534)
        with pytest.raises(PermissionError, match=r"cannot write .*/a: permission denied"):
            write_bytes(folder / "a", b"")
    finally:
        os.seteuid(was)
        folder.rmdir()


def test_only_what_a_killed_writer_left_is_cleared(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from sact_core.files import written_beside\n"
        "with written_beside(sys.argv[1]) as beside:\n"
        "    beside.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for name in ("a.bin", "b.bin", "n" * 200):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=False)
    assert len(os.listdir(tmp_path)) == 3
    theirs = [".draft.tmp", ".a.bin.draft.tmp", ".a.bin.12345678.tmp", "a.bin.sact-12345678.tmp"]
    for name in theirs:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".a.bin.sact-12345678.tmp").mkdir()
    clear_leftovers(tmp_path, ["a.bin", "n" * 100].__contains__)
    left = sorted(set(os.listdir(tmp_path)) - set(theirs))
    assert [name[:-12] for name in left] == [".a.bin.sact-", ".b.bin.sact-"]
    assert (tmp_path / left[0]).is_dir()
    assert set(theirs) < set(os.listdir(tmp_path))
    clear_leftovers(tmp_path / "absent", bool)
