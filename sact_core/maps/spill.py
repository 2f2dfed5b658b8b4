"""A file that HDF5 may write to while the disk fills up.

HDF5 takes a write that fails for the end of the world: what it holds is then half written,
and closing it can end the process. So here no write fails, by Ctrl-C neither. What the disk
does not take is kept in memory, where HDF5 finds it again, until whoever writes has looked,
and stops.
"""

from __future__ import annotations

import contextlib
import io
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def ctrl_c_held() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back while HDF5 calls what is written here, where it would be a failed write.

    Yields
    ------
    callable
        Raises KeyboardInterrupt if there has been one; so does the end of the block.
    """
    asked: list[int] = []

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    except ValueError:  # not the main thread, to which it does not come
        yield check
        return
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    check()


class Spill(io.RawIOBase):
    """A file for `h5py.File`, opened to be written anew.

    Parameters
    ----------
    path : Path
        The file; it exists.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115
        self._error: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []  # what the disk did not take, oldest first
        self._at = 0

    def check(self) -> None:
        """Look whether the disk has taken everything so far.

        Raises
        ------
        OSError
            If not: what the system said at the first write that failed. Whoever goes on
            writing fills the memory.
        """
        if self._error is not None:
            raise self._error

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._at
        elif whence == io.SEEK_END:
            ends = [start + len(data) for start, data in self._kept]
            offset += max([self._file.seek(0, io.SEEK_END), *ends])
        self._at = offset
        return offset

    def write(self, data: Any) -> int:
        whole = bytes(data)
        begin, self._at = self._at, self._at + len(whole)
        done = 0
        try:
            while self._error is None and done < len(whole):
                self._file.seek(begin + done)
                done += self._file.write(whole[done:])
        except OSError as error:
            self._error = error
        if done < len(whole):
            self._kept.append((begin + done, whole[done:]))
        return len(whole)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        begin, self._at = self._at, self._at + len(view)
        self._file.seek(begin)
        found = self._file.read(len(view))
        view[: len(found)] = found
        view[len(found) :] = bytes(len(view) - len(found))
        for start, data in self._kept:
            first, last = max(start, begin), min(start + len(data), begin + len(view))
            if first < last:
                view[first - begin : last - begin] = data[first - start : last - start]
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        size = self._at if size is None else size
        try:
            if self._error is None:
                self._file.truncate(size)
        except OSError as error:
            self._error = error
        return size

    def close(self) -> None:
        self._file.close()
        super().close()
