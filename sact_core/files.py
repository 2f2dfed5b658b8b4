"""Files that are either whole or absent: written beside and renamed; and files of anybody.

A reader never sees half a file, and an interrupted or failed writer leaves the
old file as it was. A file that somebody names may be a pipe, which would be waited for, or
a device, which never ends: `require_ordinary` is asked before one is opened, and
`read_small` reads what is read whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sact_core.texts import shown

#: In the names of temporary files, so that they are told from anybody else's.
_MARK, MAX_NAMED = "sact-", 100
_TEMPORARY = re.compile(rf"\.(.+)\.{_MARK}\w{{8}}\.tmp")

#: What a system says that has nothing to flush with there.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def require_ordinary(
    path: str | os.PathLike[str], error: Callable[[str], Exception] = ValueError
) -> os.stat_result:
    """Refuse what is neither a file nor a folder: a pipe, a socket, a device.

    Parameters
    ----------
    path : path
        What is to be read.
    error : callable
        Makes the error of a message.

    Returns
    -------
    os.stat_result
        Of what is there.

    Raises
    ------
    ValueError
        Or what ``error`` makes.
    OSError
        If there is nothing of this name.
    """
    facts = os.stat(path)
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
        raise error(f"{shown(path)} is no ordinary file")
    return facts


def read_small(path: str | os.PathLike[str], most: int, what: str) -> bytes:
    """Read a whole file that is small if it is what it should be.

    Parameters
    ----------
    path : path
        The file.
    most : int
        Bytes that it may have.
    what : str
        What it should be, for the message.

    Raises
    ------
    ValueError
        If it is no ordinary file or has more bytes.
    OSError
        If it cannot be read.
    """
    require_ordinary(path)
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{shown(path)} has more than {most:,} bytes, too many for {what}")
    return data


def refuse_special(path: str | os.PathLike[str]) -> None:
    """Refuse to write where a pipe, a socket or a device stands: a file would take its place.

    Raises
    ------
    OSError
        If one does, or a link leads to one, such as ``/dev/null`` and ``/dev/stdout``.
    """
    if os.path.exists(path):
        require_ordinary(
            path, lambda why: OSError(f"cannot write here: {why}, so it is not replaced")
        )


@contextlib.contextmanager
def written_beside(path: str | Path) -> Iterator[Path]:
    """Lend a temporary path in the folder of ``path``; rename it if all went well.

    Parameters
    ----------
    path : str or Path
        Where the file shall stand in the end. Its folder must exist; a file that
        is there is replaced.

    Yields
    ------
    Path
        An empty file to write to. It is flushed to the disk and renamed when the
        block ends, removed when the block raises.

    Raises
    ------
    OSError
        If the folder is missing or cannot be written to, the disk is full, or a pipe or
        a device stands there; the message names the path.
    """
    path = Path(path)
    handle, beside = _open_beside(path)
    try:
        try:
            # Not on Windows; and a disk of a camera or of another system may have no modes.
            with contextlib.suppress(OSError, AttributeError):
                os.fchmod(handle, 0o666 & ~_umask())
        finally:
            os.close(handle)
        yield beside
        _sync(beside)
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(f"cannot write {path}: {_reason(error, path)}") from error
    finally:
        beside.unlink(missing_ok=True)


def clear_leftovers(folder: Path, wanted: Callable[[str], object]) -> None:
    """Remove what writers that were killed have left of some files; nobody else's files.

    Parameters
    ----------
    folder : Path
        Where the files were to stand. Nobody may be writing them now.
    wanted : callable
        Whether a file is one of them, by (the beginning of) its name.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        named = _TEMPORARY.fullmatch(path.name)
        if named and wanted(named[1]) and path.is_file():
            path.unlink(missing_ok=True)


def make_folder(path: str | Path) -> None:
    """Make a folder and those above it, where they are not there yet.

    Raises
    ------
    OSError
        If it is a file or cannot be made; the message names it.
    """
    with written_in(path):
        Path(path).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def written_in(folder: str | Path) -> Iterator[None]:
    """Inside, an error of the system says that this folder cannot be written, and why.

    Raises
    ------
    OSError
        Of the error's kind.
    """
    folder = Path(folder)
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        if folder.exists() and not folder.is_dir():
            raise type(error)(f"cannot write {folder}: it is a file, not a folder") from error
        inside = folder / "new" if folder.is_dir() else folder
        raise type(error)(f"cannot write {folder}: {_reason(error, inside)}") from error


def require_writable(path: str | os.PathLike[str]) -> None:
    """Refuse now what `written_beside` would refuse when a long work is done.

    Raises
    ------
    OSError
        As `written_beside`.
    """
    handle, beside = _open_beside(Path(path))
    os.close(handle)
    beside.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a whole file at once, beside and renamed.

    Raises
    ------
    OSError
        As `written_beside`.
    """
    with written_beside(path) as beside:
        beside.write_bytes(data)


def _open_beside(path: Path) -> tuple[int, Path]:
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    refuse_special(path)
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name[:MAX_NAMED]}.{_MARK}", suffix=".tmp", dir=path.parent
        )
    except OSError as error:
        raise type(error)(f"cannot write {path}: {_reason(error, path)}") from error
    return handle, Path(name)


def _reason(error: OSError, path: Path) -> str:
    if error.errno == errno.ENOENT and not path.parent.exists():
        return f"the folder {path.parent} does not exist"
    if error.errno == errno.ENOENT:  # it is there, but as /proc is
        return f"{path.parent} takes no files"
    if error.errno == errno.ENOTDIR:
        return f"{path.parent} is no folder"
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    return (error.strerror or str(error)).lower()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)  # Windows flushes what may be written to alone
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Flush the name of a file, where a folder can be opened and flushed at all.

    The file is in its place by then: what cannot be flushed is written all the same.
    """
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
