"""What halting saves on somebody's photographs: times of many, side by side.

As `app.loaders.timing` does for one image: the same engine with and without halting, and
beside them the fastest dense network that is installed here, which is found first. Sides
take turns on one photograph after the other. What a dense network takes depends on the size
of its input alone, so it gets another photograph only where that is of another size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.folders import InputError, sentence
from app.loaders import warming
from app.loaders.checkpoints import net
from app.loaders.paying import choose_sides
from app.loaders.running import ENGINE
from app.loaders.timing import make_cases, require_processes, see, turn
from app.records import Look
from app.times import Times, Timing
from sact_core.benchmark.cases import Case
from sact_core.benchmark.process import Process, SideError
from sact_core.benchmark.sides import SIDES, Kind

#: Photographs that are timed, spread evenly from the cheapest to the dearest.
MOST = 8
ROUNDS = 5
#: The masked engine in each number format, as the benchmark calls it.
OWN = {"float32": "masked", "bfloat16": "masked-bf16", "int8": "masked-int8"}
#: Seconds of a side's turn, and of a rival's while the fastest is looked for.
TURN, TRIAL = 0.1, 0.3


@dataclass(frozen=True)
class Saving:
    """What was measured.

    Attributes
    ----------
    timing : Timing
        Its sides have one number for each turn on each photograph.
    num_images : int
        Photographs that were timed.
    rivals : tuple of str
        Dense networks among which the fastest was looked for, for people.
    precision : str
        Of the masked engine.
    """

    timing: Timing
    num_images: int
    rivals: tuple[str, ...]
    precision: str


def spread(order: Sequence[int], most: int = MOST) -> list[int]:
    """Some of what is ordered, evenly spread, the first and the last among them."""
    places = np.linspace(0, len(order) - 1, min(most, len(order)))
    return [order[i] for i in dict.fromkeys(np.rint(places).astype(int).tolist())]


def measure_saving(looks: Sequence[Look], say: Callable[[str, float], None]) -> Saving:
    """Time photographs with halting, without it, and by the fastest dense network.

    Parameters
    ----------
    looks : sequence of Look
        One network over few photographs.
    say : callable
        Told what goes on, and how much of it is done, from 0 to 1.

    Raises
    ------
    InputError
        If the masked engine is still being compiled, there is not enough memory, a side
        fails, or as `running.run`.
    """
    from sact_core.backends.masked import thread_count

    if not warming.ready():
        raise InputError("The masked engine is still being compiled: try again in a minute.")
    looks = sorted(looks, key=lambda look: look.input_size)
    require_processes(looks[-1], 3)
    threads, precision = thread_count(None), net(looks[0].model).precision
    try:
        with turn(say), ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            files = []
            for i, look in enumerate(looks):
                files.append(str(folder / f"{i}.npy"))
                np.save(files[-1], see(look))
            cases = make_cases(looks[0], folder, "0.npy")
            rival, tried, absent = _fastest(stack, looks[0], cases["twin"], threads, say)
            sides: dict[str, Process] = {}
            for name in ("halting", "vanilla") if looks[0].model.config.halts else ("vanilla",):
                case = cases["own" if name == "halting" else "twin"]
                sides[name] = Process(OWN[precision], case, threads)
                stack.callback(sides[name].end)
            say("The masked engine gets ready …", 0.0)
            for side in sides.values():
                side.wait()
            sides |= rival
            times = _take_turns(looks, files, sides, say)
    except (ValueError, MemoryError, OSError) as error:
        raise InputError(sentence(error)) from None
    return Saving(Timing(times, threads, absent), len(looks), tried, precision)


def _fastest(
    stack: ExitStack,
    look: Look,
    case: Case,
    threads: int,
    say: Callable[[str, float], None],
) -> tuple[dict[str, Process], tuple[str, ...], str]:
    """The fastest dense side, warm; the titles of all that were tried, and what is absent."""
    names, absent = choose_sides(look.model.config)
    names = [name for name in names if SIDES[name].kind is Kind.DENSE]
    absent = [line for line in absent if _is_dense(line)]
    best: dict[str, Process] = {}
    least, tried = np.inf, []
    for i, name in enumerate(names):
        title = SIDES[name].title
        say(f"Which dense network is the fastest here? {title} gets ready …", i / len(names))
        side = Process(name, case, threads)
        stack.callback(side.end)
        try:
            side.wait()
            with ENGINE:
                seconds = float(np.median(side.measure(TRIAL)["seconds"]))
        except SideError as error:
            absent.append(f"{title}: {error.reason}")
            side.end()
            continue
        tried.append(title)
        slower = [side]
        if seconds < least:
            slower = list(best.values())
            least, best = seconds, {"eager" if name == "vanilla" else name: side}
        for each in slower:
            each.end()
    return best, tuple(tried), f"Left out: {'; '.join(absent)}." if absent else ""


def _is_dense(line: str) -> bool:
    return any(line.startswith(f"{s.title}:") for s in SIDES.values() if s.kind is Kind.DENSE)


def _take_turns(
    looks: Sequence[Look],
    files: Sequence[str],
    sides: dict[str, Process],
    say: Callable[[str, float], None],
) -> tuple[Times, ...]:
    turns: dict[str, list[float]] = {name: [] for name in sides}
    for i, look in enumerate(looks):
        other = i > 0 and look.input_size != looks[i - 1].input_size
        say(f"Photograph {i + 1} of {len(looks)} …", i / len(looks))
        for name, side in sides.items():
            if other or (name == "halting" and i > 0):
                side.set_images(files[i])
        for _ in range(ROUNDS):
            with ENGINE:
                for name, side in sides.items():
                    turns[name].append(float(np.median(side.measure(TURN)["seconds"])))
    return tuple(Times(name, tuple(seconds)) for name, seconds in turns.items())
