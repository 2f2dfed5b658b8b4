"""Times of one image side by side: with halting, without it, and dense rivals.

The same engine runs the network with halting and its vanilla twin, the same weights
without halting: what differs is what halting saves. PyTorch runs the twin as it is,
and compiled with its weights frozen, where there is a C++ compiler: the fastest
dense network that this machine has. Every side has a process of its own, as in the
benchmark, and they take turns, so that a machine whose speed changes does so for all.

Nothing is kept here: a time is what was measured just now, and stays with who asked.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.folders import InputError, sentence
from app.loaders import warming
from app.loaders.checkpoints import net, verify
from app.loaders.costs import cost, gigabytes, require_memory
from app.loaders.running import ENGINE
from app.records import Look
from app.times import Times, Timing
from sact_core.benchmark.cases import Case
from sact_core.benchmark.process import Process, SideError
from sact_core.checkpoint import Checkpoint, read, write
from sact_core.parameters import require_params
from sact_core.plans import build_plan

ROUNDS = 9
#: Seconds of a side's turn.
TURN = 0.2
#: Sides that every network has.
DENSE = ("vanilla", "eager")
#: What the benchmark calls them, and what takes so long before their first turn.
ENGINES = {"halting": "masked", "vanilla": "masked", "eager": "vanilla", "frozen": "frozen"}
WAITS = {
    "halting": "The masked engine gets ready …",
    "vanilla": "The masked engine gets ready without halting …",
    "eager": "PyTorch gets ready …",
    "frozen": "PyTorch compiles the network, which takes a minute or two …",
}
#: Bytes that a process holds besides the network: Numba or PyTorch with what they load.
PROCESS_BYTES = 500 << 20
#: Programs that compile for PyTorch.
COMPILERS = ("c++", "g++", "clang++", "cl")

_one_at_a_time = threading.Lock()


def measure(look: Look, say: Callable[[str, float], None]) -> Iterator[Timing]:
    """Time an image with halting, without it, and dense.

    Parameters
    ----------
    look : Look
        What is timed.
    say : callable
        Told what goes on, and how much of it is done, from 0 to 1.

    Yields
    ------
    Timing
        After seconds; and once more with PyTorch's compiled network among the sides,
        after the minute or two that compiling takes, where that can be done.

    Raises
    ------
    InputError
        If the masked engine is still being compiled, there is not enough memory, or
        as `running.run`.
    """
    from sact_core.backends.masked import thread_count

    if not warming.ready():
        raise InputError("The masked engine is still being compiled: try again in a minute.")
    names = ["halting", *DENSE] if look.model.config.halts else list(DENSE)
    compiles = any(map(shutil.which, COMPILERS))
    require_processes(look, len(names) + compiles)
    threads = thread_count(None)
    try:
        with turn(say), ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            np.save(folder / "x.npy", see(look))
            cases = make_cases(look, folder)
            sides = _start(stack, names, cases, threads, say)
            absent = "" if compiles else "PyTorch is not compiled: there is no C++ compiler here."
            yield Timing(_take_turns(sides, say), threads, absent)
            if not compiles:
                return
            try:
                sides |= _start(stack, ["frozen"], cases, threads, say)
            except SideError as error:
                absent = f"PyTorch is not compiled: {sentence(error)}"
            yield Timing(_take_turns(sides, say), threads, absent)
    except (ValueError, MemoryError, OSError) as error:
        raise InputError(sentence(error)) from None


@contextmanager
def turn(say: Callable[[str, float], None]) -> Iterator[None]:
    """Hold the lock of measurements; say so while another one has it."""
    if not _one_at_a_time.acquire(blocking=False):
        say("Another measurement is on; this one is next …", 0.0)
        _one_at_a_time.acquire()
    try:
        yield
    finally:
        _one_at_a_time.release()


def vanilla_twin(checkpoint: Checkpoint) -> Checkpoint:
    """The same weights without halting: every position runs every unit."""
    config = checkpoint.config.vanilla
    plan = build_plan(config)
    params = {name: checkpoint.params[name] for name in plan.param_shapes}
    require_params(plan, params)
    return replace(checkpoint, config=config, params=params)


def require_processes(look: Look, num_processes: int) -> None:
    """Refuse to time so many sides where there is not enough memory for all of them.

    Raises
    ------
    InputError
        With what they need and what is free.
    """
    require_memory(look)
    price = cost(look)
    needed = num_processes * (price.memory + PROCESS_BYTES)
    if price.free is not None and needed > price.free:
        raise InputError(
            f"Timing {num_processes} sides takes about {gigabytes(needed)} of memory, but "
            f"{gigabytes(price.free)} are free."
        )


def see(look: Look) -> np.ndarray:
    """The image as the network takes it [shape=(1, h, w, 3), float32].

    Raises
    ------
    ValueError
        If it cannot.
    """
    x: np.ndarray = net(look.model).see(look.picture.pixels, look.image_size, look.fit).x
    return x


def make_cases(look: Look, folder: Path, images: str = "x.npy") -> dict[str, Case]:
    """Write the network and its twin as the benchmark takes them, for images of the folder."""
    verify(look.model)
    own = read(look.model.source)
    if look.tau is not None:
        own = replace(own, config=replace(own.config, tau_default=look.tau))
    found = {}
    for name, checkpoint in (("own", own), ("twin", vanilla_twin(own))):
        path = folder / f"{name}.h5"
        write(path, checkpoint)
        found[name] = Case(
            name,
            own.config.family,
            own.config.units_per_block,
            batch=1,
            side=look.input_size[0],
            checkpoint=str(path),
            images=str(folder / images),
        )
    return found


def _start(
    stack: ExitStack,
    names: Sequence[str],
    cases: dict[str, Case],
    threads: int,
    say: Callable[[str, float], None],
) -> dict[str, Process]:
    """Processes that are warm; the stack ends them."""
    sides: dict[str, Process] = {}
    for name in names:
        case = cases["own" if name == "halting" else "twin"]
        sides[name] = Process(ENGINES[name], case, threads)
        stack.callback(sides[name].end)
    for i, (name, side) in enumerate(sides.items()):
        say(WAITS[name], i / (len(names) + 1))
        side.wait()
    return sides


def _take_turns(sides: dict[str, Process], say: Callable[[str, float], None]) -> tuple[Times, ...]:
    turns: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(ROUNDS):
        say(f"Turn {i + 1} of {ROUNDS} …", i / ROUNDS)
        with ENGINE:
            for name, side in sides.items():
                turns[name].append(float(np.median(side.measure(TURN)["seconds"])))
    return tuple(Times(name, tuple(seconds)) for name, seconds in turns.items())
