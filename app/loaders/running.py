"""Runs: a network over an image, once for the same look, one network at a time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import streamlit as st

from app.bounded import Bounded
from app.folders import InputError, sentence
from app.loaders import warming
from app.loaders.checkpoints import net
from app.loaders.costs import require_memory
from app.loaders.turns import Turns, require_work
from app.records import Look, Run
from sact_core.backends import BACKENDS, PRECISIONS, Net
from sact_core.config import NetworkConfig
from sact_core.flops import FlopCount, count_flops, dense_flops
from sact_core.plans import build_plan
from sact_core.preprocess import Seen
from sact_core.result import Result

#: One network at a time, in the order of asking.
ENGINE = Turns()
#: A quick run is repeated so often, and no longer than for so many seconds: the median
#: tells how long it takes, whatever else the machine did once.
REPEATS, PATIENCE = 3, 0.1
#: How often a network has run, for tests.
_runs = 0
#: Seconds that the masked engine took, the latest, by network, image and size.
_seconds: Bounded[tuple[str, str, tuple[int, int]], float] = Bounded(2000)
#: Images as networks see them, by look; bytes.
_seen: Bounded[tuple[object, ...], Seen] = Bounded(
    48 << 20, lambda seen: seen.x.nbytes + seen.pixels.nbytes
)
#: Input sizes at which a network has run before: the first run at one gets the engine
#: what it works in, which is no part of the time that an image takes.
_warm: WeakKeyDictionary[Net, set[tuple[int, int]]] = WeakKeyDictionary()


def run(look: Look, backend: str | None = None, precision: str | None = None) -> Run:
    """Run a network over an image; the same look runs once.

    Parameters
    ----------
    look : Look
        What runs over what.
    backend : str, optional
        One of ``sact_core.BACKENDS``; left out, the masked one as soon as it is
        compiled.
    precision : str, optional
        As `net`.

    Raises
    ------
    InputError
        If the network cannot take the image, needs more memory than is free, or
        as `net`.
    """
    backend = backend or warming.backend()
    require_memory(look)
    network = net(look.model, backend, precision)
    try:
        return _run(look.key, (backend, network.precision), network, look)
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None


def run_once(look: Look, backend: str) -> Run:
    """Run a network over one image of many: as `run`, but nothing of it is kept.

    Raises
    ------
    InputError
        As `run`.
    """
    require_memory(look)
    network = net(look.model, backend)
    try:
        picture = look.picture.pixels
        return _take(network, look, network.see(picture, look.image_size, look.fit))
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None


def forget(look: Look) -> None:
    """Have the next `run` of a look, by any backend, take its time anew."""
    for backend in BACKENDS:
        for precision in PRECISIONS:
            _run.clear(look.key, (backend, precision), None, look)


def see(network: Net, look: Look) -> Seen:
    """An image as a network sees it; of a large photograph made once for all that runs on it.

    Raises
    ------
    ValueError
        If the network cannot take it.
    """
    key = replace(look, tau=None).key
    seen = _seen.get(key)
    if seen is None:
        seen = network.see(look.picture.pixels, look.image_size, look.fit)
        _seen.put(key, seen)
    return seen


def forward(network: Net, x: np.ndarray, tau: float | np.ndarray | None = None) -> Result:
    """Run a preprocessed batch, when no other network runs.

    ``tau`` is the price of a unit, one for all images or one for each [shape=(n,)].

    Raises
    ------
    InputError
        If one image is too much work, or this visit has too many runs waiting.
    """
    global _runs
    size = x.shape[1], x.shape[2]
    require_work(dense_total(network, size), f"One image of {size[1]} × {size[0]} pixels")
    with ENGINE:
        _runs += 1
        return network.forward(x, **priced(tau))


def priced(tau: float | np.ndarray | None) -> dict[str, Any]:
    """The price of a unit as `Net` takes it; nothing for a network trained for one."""
    return {} if tau is None else {"tau": tau}


def num_runs() -> int:
    """How often a network has run in this process."""
    return _runs


def seconds_of(look: Look) -> float | None:
    """How long the masked engine last took for an image at a size; None where it has not run."""
    return _seconds.peek((look.model.digest, look.picture.digest, look.input_size))


def vanilla_flops(config: NetworkConfig, size: tuple[int, int]) -> FlopCount:
    """FLOPs of the same network without halting: every position runs every unit."""
    return dense_flops(build_plan(config.vanilla), size)


def dense_total(network: Net, size: tuple[int, int]) -> int:
    """FLOPs of an image if every unit ran everywhere."""
    return int(dense_flops(network.plan, size).total[0])


@st.cache_data(max_size="192MB", show_spinner="Running the network …")
def _run(key: tuple[object, ...], how: tuple[str, str], _net: Net, _look: Look) -> Run:
    made = _take(_net, _look, see(_net, _look))
    if how[0] == "masked" and how[1] == net(_look.model).precision:
        key = _look.model.digest, _look.picture.digest, made.result.input_size
        _seconds.put(key, made.seconds)
    return made


def _take(network: Net, look: Look, seen: Seen) -> Run:
    global _runs
    with ENGINE:
        _runs += 1
        _warm_up(network, seen.x, look.tau)
        times: list[float] = []
        while not times or (len(times) < REPEATS and sum(times) < PATIENCE):
            began = time.perf_counter()
            result = network.forward(seen.x, **priced(look.tau))
            times.append(time.perf_counter() - began)
    return Run(
        result,
        seen,
        float(np.median(times)),
        network.backend,
        count_flops(network.plan, result.positions),
        dense_flops(network.plan, result.input_size),
    )


def _warm_up(network: Net, x: np.ndarray, tau: float | None) -> None:
    if network.backend == "reference":
        return  # plain NumPy keeps nothing from one run to the next
    sizes = _warm.setdefault(network, set())
    size = x.shape[1], x.shape[2]
    if size not in sizes:
        network.forward(x, **priced(tau))
        sizes.add(size)
