"""What every command does with bad input and with Ctrl-C: one sentence and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

from sact_core.extras import sentence
from sact_core.processes import Agreed, Processes, Stopped


def run(work: Callable[[], int | None], stopped: str = "stopped", who: str = "") -> int:
    """Do a command's work; say in one sentence on stderr what stopped it.

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
        bad input or a file that cannot be read or written, and where a package of an
        extra is not installed; 130 after Ctrl-C; 141,
        without a word, where nobody reads the output any more, as after ``| head``.
    """
    try:
        code = work() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
        return 141
    except (ValueError, OSError) as error:
        print(f"error{who}: {error}", file=sys.stderr, flush=True)
        return 2
    except ModuleNotFoundError as error:
        missing = sentence("this", error.name or "")
        if missing is None:
            raise
        print(f"error{who}: {missing}", file=sys.stderr, flush=True)
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
                print(f"error: {error}", file=sys.stderr, flush=True)
            with contextlib.suppress(Stopped):
                processes.wait()  # none ends, which ends all, before it is said
            return 2
        except Stopped:  # the other process has said why
            return 2

    try:
        return run(together, stopped, processes.who)
    finally:
        processes.end()
