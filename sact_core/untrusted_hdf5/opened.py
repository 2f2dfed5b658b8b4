"""The file, opened: what libhdf5 stumbles over is one error of the caller's kind."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from sact_core.files import require_ordinary
from sact_core.texts import told

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: What libhdf5 raises at damaged files, depending on where it stumbles.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError)
_USER_BLOCK = 512  # bytes before the signature, where a program may write what it likes
_CACHE_BYTES = 1 << 24  # of a data set; more than a chunk of several rows takes


class Opened:
    """A context with the file open.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or its contents.
    error : type of ValueError
        What errors of libhdf5, on entering and inside the context, become.
    user_block : bool
        Whether bytes of another program may stand before the file.

    Attributes
    ----------
    root : h5py.File
        The open file.
    size : int
        Its length in bytes.
    label : str
        What to call it in messages.

    Raises
    ------
    error
        On entering, if it is no HDF5 file or is truncated or damaged.
    OSError
        On entering, if there is no such file or it cannot be opened.
    """

    def __init__(
        self, source: str | Path | bytes, error: type[ValueError], user_block: bool = False
    ):
        self.source = source
        self.error = error
        self.user_block = user_block
        self.label = "the file" if isinstance(source, bytes) else str(source)

    def __enter__(self) -> Opened:
        if isinstance(self.source, bytes):
            start, self.size = self.source, len(self.source)
        else:
            try:
                start, self.size = self._beginning()
            except OSError as error:
                raise type(error)(told(error)) from error
        begins = (0, _USER_BLOCK) if self.user_block else (0,)
        if not any(start.startswith(_SIGNATURE, begin) for begin in begins):
            what = "is no HDF5 file" if start else "is empty"
            raise self.error(f"{self.label} {what}")
        handle = io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source
        try:
            self.root = h5py.File(handle, "r", locking=False, rdcc_nbytes=_CACHE_BYTES)
        except _DAMAGE as error:
            raise self.error(_told(self)) from error
        return self

    def _beginning(self) -> tuple[bytes, int]:
        """The first bytes, where an HDF5 file says that it is one, and the file's length."""
        assert not isinstance(self.source, bytes)
        require_ordinary(self.source, self.error)
        with open(self.source, "rb") as plain:
            return plain.read(1024), os.fstat(plain.fileno()).st_size

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.root.close()
        if isinstance(error, _DAMAGE) and not isinstance(error, self.error):
            raise self.error(_told(self)) from error


@contextlib.contextmanager
def damage_told(file: Opened) -> Iterator[None]:
    """Inside, what libhdf5 stumbles over is an error of the file's kind.

    Raises
    ------
    file.error
    """
    try:
        yield
    except file.error:
        raise
    except _DAMAGE as error:
        raise file.error(_told(file)) from error


def _told(file: Opened) -> str:
    """What is wrong; in what words libhdf5 puts it, the error's cause keeps."""
    return f"{file.label} is truncated or damaged"
