"""A command's work: what stops it is one sentence and an exit code; how far it is."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from sact_core.extras import sentence
from sact_core.files import refuse_special, require_writable
from sact_core.processes import Agreed, Processes, Stopped
from sact_core.resources import memory_sentence
from sact_core.texts import escaped, plain


def run(work: Callable[[], int | None], stopped: str = "stopped", who: str = "") -> int:
    """Do a command's work; say in one sentence on stderr what stopped it.

    Nothing that is printed meanwhile steers a terminal: names of files and texts in them
    are strangers' (`sact_core.texts`). Long messages are cut.

    Parameters
    ----------
    work : callable
        The command after its flags were read; gives an exit code, or nothing for 0.
    stopped : str
        Said after Ctrl-C: what is kept, how to go on.
    who : str
        Which of several processes speaks.

    Returns
    -------
    int
        The exit code: that of ``work``; 2 after a ValueError or OSError, which is
        bad input or a file that cannot be read or written, where a package of an
        extra is not installed, and where memory ran out; 130 after Ctrl-C; 141,
        without a word, where nobody reads the output any more, as after ``| head``.
    """
    with escaping():
        return _run(work, stopped, who)


@contextlib.contextmanager
def escaping() -> Iterator[None]:
    """Print no control characters meanwhile, nor what the output has no letters for.

    Where a stream is closed, as of a service or after ``>&-``, what is printed is gone.
    """
    _occupy()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    out: Any = _Escaping(sys.stdout or _Nowhere())
    err: Any = _Escaping(sys.stderr or _Nowhere())
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def _occupy() -> None:
    """Let no file that is opened be taken for a standard stream that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free


def _run(work: Callable[[], int | None], stopped: str, who: str) -> int:
    try:
        code = work() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
        return 141
    except (ValueError, OSError) as error:
        print(f"error{who}: {plain(error)}", file=sys.stderr, flush=True)
        return 2
    except (ImportError, RuntimeError, MemoryError) as error:
        missing = memory_sentence(error)
        if missing is None and isinstance(error, ModuleNotFoundError):
            missing = sentence("this", error.name or "")
        if missing is None:
            raise
        print(f"error{who}: {plain(missing)}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr, flush=True)
        return 130


def run_together(
    work: Callable[[], int | None], processes: Processes, stopped: str = "stopped"
) -> int:
    """Do a command's work in several processes that ``torchrun`` has started.

    What all of them know to be wrong is said once, by the first; a process that stops
    ends the others.

    Parameters
    ----------
    work : callable
        As for `run`; what can be wrong in all alike goes through `Processes.agree`.
    processes : Processes
        They find one another before the work, and part after it.
    stopped : str
        As for `run`.

    Returns
    -------
    int
        As `run`.
    """

    def together() -> int | None:
        try:
            processes.start("cpu")  # what they exchange is little, and not on a GPU
            return work()
        except Agreed as error:
            if processes.is_first:
                print(f"error: {plain(error)}", file=sys.stderr, flush=True)
            with contextlib.suppress(Stopped):
                processes.wait()  # none ends, which ends all, before it is said
            return 2
        except Stopped:
            for rank in processes.killed():  # whoever is not, has said why
                print(
                    f"error{processes.who}: process {rank} was killed or cannot be reached; start "
                    f"all again to go on",
                    file=sys.stderr,
                    flush=True,
                )
            return 2

    try:
        return run(together, stopped, processes.who)
    finally:
        processes.end()


class _Nowhere(io.TextIOBase):
    """A stream that is closed: Python has None there."""

    def write(self, text: str) -> int:
        return len(text)


class _Escaping:
    """A stream that writes control characters as text, but for those that lay out lines."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return int(self._stream.write(escaped(text, keep="\n\r\t")))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def refuse_existing(path: str | os.PathLike[str], force: bool) -> None:
    """Refuse to replace a file, unless ``--force`` says so.

    Raises
    ------
    FileExistsError
        If it is there, or a link of its name.
    IsADirectoryError
        If it is a folder, which nothing replaces.
    OSError
        As `sact_core.files.refuse_special`.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f"cannot write {os.fspath(path)}: it is a folder; name a file")
    refuse_special(path)
    if os.path.lexists(path) and not force:
        raise FileExistsError(f"{os.fspath(path)} exists; give --force to replace it")


def refuse_unwritable(path: str | os.PathLike[str], force: bool) -> None:
    """Refuse, before a long work, a file that could not be written after it.

    Raises
    ------
    OSError
        As `refuse_existing`, or if its folder is absent or takes no files.
    """
    refuse_existing(path, force)
    require_writable(path)


def progress(
    total: int | None, unit: str = "images", done: int = 0, shown: bool | None = None
) -> Any:
    """Make a progress bar: tqdm's, which goes when it is done.

    Parameters
    ----------
    total : int, optional
        How much there is to do, if that is known.
    unit : str
        Of what.
    done : int
        How much of it is done before.
    shown : bool, optional
        Whether to show it; where left out, if stderr is a terminal.
    """
    from tqdm import tqdm

    shown = sys.stderr.isatty() if shown is None else shown
    return tqdm(total=total, initial=done, unit=f" {unit}", leave=False, disable=not shown)
