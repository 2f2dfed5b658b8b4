"""Files of an archive or a folder, one after another; nothing is unpacked to the disk."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sact_core.data.records import DataError
from sact_core.data.walk import SYSTEM_NAMES, walk
from sact_core.texts import shown

MAX_FILE_BYTES = 1 << 28
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    gzip.BadGzipFile,
    lzma.LZMAError,
    EOFError,
)


@dataclass(frozen=True)
class Member:
    """A file of an archive.

    Attributes
    ----------
    parts : tuple of str
        Its path in the archive.
    read : callable
        Gives its bytes, while it is the one that is looked at.
    """

    parts: tuple[str, ...]
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """Its own name."""
        return self.parts[-1]


def members(path: Path) -> Iterator[Member]:
    """Look at the files of an archive (tar, tar.gz, tar.bz2, tar.xz, zip) or of a folder.

    Links, hidden files and what systems add are passed over. A tar archive in an archive
    is looked into in its place.

    Raises
    ------
    DataError
        If it is no archive, is damaged or cut off, or holds a name that leads out of it.
    OSError
        If it cannot be opened.
    """
    if path.is_dir():
        for found in sorted(walk(path)[1], key=lambda found: found.path):
            yield Member(found.path.relative_to(path).parts, found.path.read_bytes)
        return
    with open(path, "rb") as file, _told(path):
        for member in _of_zip(file) if zipfile.is_zipfile(file) else _of_tar(file):
            yield Member(member.parts, functools.partial(_read, path, member.read))


def require_archive(path: Path) -> None:
    """Refuse a file that does not begin as an archive, nor end as one of zip, at once.

    Raises
    ------
    DataError
        If it is none, or its first header is damaged.
    OSError
        If it cannot be opened.
    """
    with open(path, "rb") as file, _told(path):
        if not zipfile.is_zipfile(file):
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r|*"):
                pass


def _read(path: Path, read: Callable[[], bytes]) -> bytes:
    with _told(path):
        return read()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one sentence what is wrong with an archive."""
    try:
        yield
    except (*_BROKEN, NotImplementedError, RuntimeError) as error:  # encrypted, new methods
        with open(path, "rb") as again:
            start = again.read(6)
        if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK")):
            raise DataError(
                f"{shown(path)} is cut off or damaged ({error}): download it again"
            ) from None
        raise DataError(
            f"{shown(path)} is neither an archive (tar, tar.gz, zip) nor a folder, or is "
            f"damaged ({error})"
        ) from None


def _of_zip(file: io.BufferedReader) -> Iterator[Member]:
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.is_dir() or info.external_attr >> 28 not in (0, 8):  # a link or the like
                continue
            parts = _parts(info.filename)
            if parts and parts[-1].endswith((".tar", ".tar.gz", ".tgz")):
                with archive.open(info) as inner:
                    yield from _of_tar(inner)
            elif parts:

                def read(info: zipfile.ZipInfo = info) -> bytes:
                    with archive.open(info) as opened:
                        return _bounded(opened, info.filename)

                yield Member(parts, read)


def _of_tar(file: object) -> Iterator[Member]:
    if isinstance(file, io.BufferedReader):
        file.seek(0)
    with tarfile.open(fileobj=file, mode="r|*") as archive:  # type: ignore[call-overload]
        for info in archive:
            parts = _parts(info.name) if info.isfile() else ()
            if not parts:
                continue

            def read(info: tarfile.TarInfo = info) -> bytes:
                opened = archive.extractfile(info)
                assert opened is not None
                data = _bounded(opened, info.name)
                if len(data) != info.size:
                    raise EOFError("it ends too early")
                return data

            yield Member(parts, read)


def _bounded(file: object, name: str) -> bytes:
    data: bytes = file.read(MAX_FILE_BYTES + 1)  # type: ignore[attr-defined]
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"{shown(name)} in the archive is far too large")
    return data


def _parts(name: str) -> tuple[str, ...]:
    """A path in an archive; nothing where it is hidden or a system's."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = tuple(part for part in path.parts if part != ".")
    if path.is_absolute() or ".." in parts or ":" in name[:3]:
        raise DataError(
            f"the archive holds a name that leads out of it, {shown(name)}: take the published one"
        )
    hidden = any(part.startswith(".") or part in SYSTEM_NAMES for part in parts)
    return () if hidden else parts
