"""What a side of a measurement is."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from sact_core.network import Plan
from sact_core.result import Result


class Kind(Enum):
    """What a side computes of which network; the value says it in words."""

    OWN = "what is measured: halting, and active positions only"
    DENSE = "the network without halting, everywhere"
    SPARSE = "SACT, active positions only, by gathering and scattering"
    EXIT = "ACT, left early"
    HALTING = "halting, and yet everywhere"

    @property
    def halts(self) -> bool:
        """Whether its network halts."""
        return self is not Kind.DENSE

    def runs(self, halting: str) -> bool:
        """Whether it is a side where halting is of this kind, ``"sact"`` or ``"act"``."""
        return {Kind.SPARSE: halting == "sact", Kind.EXIT: halting == "act"}.get(self, True)


#: ``feed(x, taus)``.
Feed = Callable[[np.ndarray, np.ndarray | None], None]


@dataclass(frozen=True)
class Built:
    """A side that is ready to run; what it says of itself is read back, never assumed.

    Attributes
    ----------
    run : callable
        Runs the batch once; gives logits [shape=(n, classes), float32].
    number_format : str
        In which convolutions multiply: ``"float32"``, ``"bfloat16"`` or ``"int8"``.
    threads : int
        That it runs with.
    feed : callable
        Takes another batch of the same shape, and prices of a unit where the network is
        conditioned on them, in place of those that it was built with.
    result : callable, optional
        Runs the batch once; gives all of a `Result`, of the masked engine.
    """

    run: Callable[[], np.ndarray]
    number_format: str
    threads: int
    feed: Feed
    result: Callable[[], Result] | None = None


#: ``build(plan, params, x, threads, taus)``: plan and params of a network, a batch
#: [shape=(n, h, w, 3), float32], threads, and the price of a unit for every image where
#: the network is conditioned on it.
Build = Callable[[Plan, Mapping[str, np.ndarray], np.ndarray, int, np.ndarray | None], Built]


@dataclass(frozen=True)
class Side:
    """One side of a measurement.

    Attributes
    ----------
    name : str
        On the command line and in results.
    title : str
        For people.
    kind : Kind
    build : callable
        See `Build`. Raises `ValueError` where this machine cannot do what is asked.
    number_format : str
        What is asked of it; what it does is in `Built`.
    packages : tuple of str
        Modules that it needs.
    prepare : callable, optional
        Loads packages and compiled code, which are not the network's memory.
    lacks : callable, optional
        Says what else this machine lacks for it; nothing where it lacks nothing.
    """

    name: str
    title: str
    kind: Kind
    build: Build
    number_format: str = "float32"
    packages: tuple[str, ...] = ()
    prepare: Callable[[int], None] | None = None
    lacks: Callable[[], str] | None = None

    def absent(self) -> str:
        """Say why it cannot be measured here; empty where it can, as far as is known unbuilt."""
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            return f"{' and '.join(missing)} not installed"
        return "" if self.lacks is None else self.lacks()

    def available(self) -> bool:
        """Whether it can be measured here, as far as is known before it is built."""
        return not self.absent()


def require_threads(title: str, threads: int, asked: int) -> None:
    """Refuse to measure under a number of threads that a side does not run with.

    Raises
    ------
    ValueError
        If it runs with more or fewer than were asked for.
    """
    if threads != asked:
        raise ValueError(f"{title} runs with {threads} threads where {asked} were asked for")


def require_format(title: str, number_format: str, asked: str) -> None:
    """Refuse to measure under a number format in which a side does not compute.

    Raises
    ------
    ValueError
        If it computes in another.
    """
    if number_format != asked:
        raise ValueError(f"{title} computes in {number_format} here where {asked} was asked for")
