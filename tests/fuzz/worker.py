"""The process in which inputs are tried: what it says of each, and what is a fault.

::

    python -m tests.fuzz.worker FOLDER   (inputs are asked for on stdin, see `main`)

It may crash or hang; `tests.fuzz.campaign` sees that, and starts another.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import archives, flags, kinds, measured, pages, prepared
from tests.fuzz.kinds import Case, Kind
from tests.peak_memory import peak

KINDS: dict[str, type[Kind]] = {
    "checkpoints": kinds.Checkpoints,
    "bundles": kinds.Bundles,
    "archives": archives.Archives,
    "prepared": prepared.Prepared,
    "maps": kinds.Maps,
    "parts": kinds.Parts,
    "images": kinds.Images,
    "fixations": kinds.Fixations,
    "boxes": kinds.Boxes,
    "curves": measured.Curves,
    "answers": measured.Answers,
    "results": measured.Results,
    "runs": kinds.Runs,
    "flags": flags.Flags,
    "pages": pages.Pages,
}
CODES = (0, 2, 130)
REFUSAL_SECONDS = 2.0  # of this process; other work does not count
MEMORY_BYTES = 1 << 30  # that one input may add
MESSAGE_BYTES = 20_000
ADDRESS_BYTES = 12 << 30  # of this process at most, so that no input takes the machine


def generator(seed: int, kind: str, number: int) -> np.random.Generator:
    """What an input is made of."""
    return np.random.default_rng([seed, zlib.crc32(kind.encode()), number])


def attempt(case: Case, stops: float) -> tuple[str | None, str]:
    """Try an input.

    Returns
    -------
    problem : str or None
        What is a fault, in one line; None where there is none.
    said : str
        All that it said.
    """
    out, err, problem, code = io.StringIO(), io.StringIO(), None, 0
    _forget_peak()
    before, began = peak(), time.process_time()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        try:
            signal.setitimer(signal.ITIMER_PROF, stops)
            code = case.run()
        except KeyboardInterrupt:
            problem = "Ctrl-C came through"
        except BaseException as error:
            traceback.print_exc()
            problem = f"{type(error).__name__}: {str(error)[:200]}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    seconds, grown = time.process_time() - began, peak() - before
    said = err.getvalue()
    loud = [w for w in warned if issubclass(w.category, RuntimeWarning)]
    diverged = code == 1 and "no longer finite" in out.getvalue()  # a training, and said
    if problem is None and code not in CODES and not diverged:
        problem = f"exit code {code}"
    if problem is None and code == 2 and not (said + out.getvalue()).strip():
        problem = "refused without a word"
    # Of Ctrl-C in the midst of compiling Python says this by itself.
    lost = "Exception ignored on calling ctypes callback" in said
    if problem is None and "Traceback (most recent call last)" in said and not lost:
        problem = "a traceback on stderr"
    if problem is None and code == 2 and seconds > REFUSAL_SECONDS:
        problem = f"{seconds:.1f} seconds to refuse"
    if problem is None and grown > MEMORY_BYTES:
        problem = f"{grown / 2**30:.1f} GiB of memory"
    if problem is None and len(said) > MESSAGE_BYTES:
        problem = f"a message of {len(said)} characters"
    if problem is None and (bad := sorted({c for c in said if not c.isprintable()} - set("\n\r"))):
        problem = f"control characters in the message: {bad}"
    if problem is None and loud:
        problem = f"a warning: {loud[0].category.__name__}: {str(loud[0].message)[:200]}"
    whole = f"exit code {code}, {seconds:.2f} s, {grown / 2**20:.0f} MiB\n{out.getvalue()}\n{said}"
    return problem, whole


def main(folder: str) -> None:
    """Answer requests, a JSON line each: ``{"kind", "seed", "number", "input"}``.

    ``input`` is the folder that the input is made in. It says ``{"ready"}`` once, and of
    each input ``{"begun"}``, what it is, and then ``{"problem", "said"}``.
    """
    import resource

    signal.signal(signal.SIGPROF, press)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints by itself is no answer
    known: dict[str, Kind] = {}
    _say(answers, {"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        name, here = asked["kind"], Path(asked["input"])
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            if name not in known:
                known[name] = KINDS[name](Path(folder) / f"good-{name}-{os.getpid()}")
                _warm(known[name], here)
            shutil.rmtree(here, ignore_errors=True)
            here.mkdir(parents=True)
            os.chdir(here)
            case = known[name].make(generator(asked["seed"], name, asked["number"]), here)
        _say(answers, {"begun": case.shown[:2000]})
        problem, said = attempt(case, known[name].stops)
        gc.collect()
        _say(answers, {"problem": problem, "said": said[:50_000]})


def press(*_: object) -> None:
    """Ctrl-C, after so much time of this process: a busy machine does not count."""
    raise KeyboardInterrupt


def _warm(kind: Kind, here: Path) -> None:
    """Try a few inputs, so that imports and compilers are not in anybody's time."""
    for number in range(2):
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(parents=True)
        os.chdir(here)
        with contextlib.suppress(BaseException):
            kind.make(generator(0, "warm", number), here).run()
    gc.collect()
    gc.freeze()  # what is imported by now is not gone through again after every input


def _say(answers: Any, values: dict[str, Any]) -> None:
    answers.write(json.dumps(values) + "\n")
    answers.flush()


def _forget_peak() -> None:
    """Let the peak of this process begin again at what it takes now."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main(sys.argv[1])
