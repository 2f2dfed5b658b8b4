"""A network that takes any tau, over one image at many taus in one batch.

The maps of all of them go to the browser together, so that a slider moves
through them without asking the server again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import streamlit as st

from app.folders import InputError, sentence
from app.loaders import warming
from app.loaders.checkpoints import net
from app.loaders.costs import cost, require_memory
from app.loaders.running import ENGINE, forward, see
from app.records import Look, Model, Run
from sact_core.backends import Net

#: Steps of the slider, and the dense FLOPs that all of them together may cost:
#: a large photograph gets fewer steps.
MOST_TAUS, FEWEST_TAUS = 49, 9
MAX_FLOPS = 20e9
#: Bytes that a batch of one image at several taus may take.
MAX_BATCH_BYTES = 256 << 20
DIGITS = 4  # of a tau


@dataclass(frozen=True)
class Dial:
    """One image at rising taus.

    Attributes
    ----------
    taus : np.ndarray [shape=(g,), float64]
    ponder_cost, num_units : tuple of np.ndarray [shape=(g, h, w)]
        The blocks' maps; of size 1 x 1 where halting is per image.
    flops : np.ndarray [shape=(g,), int64]
    probabilities : np.ndarray [shape=(g, classes), float32]
    dense : int
        FLOPs if every position ran every unit.
    """

    taus: np.ndarray
    ponder_cost: tuple[np.ndarray, ...]
    num_units: tuple[np.ndarray, ...]
    flops: np.ndarray
    probabilities: np.ndarray
    dense: int

    @property
    def share(self) -> np.ndarray:
        """Share of dense FLOPs [shape=(g,)]."""
        return self.flops / self.dense

    @property
    def says(self) -> np.ndarray:
        """The most likely class at every tau [shape=(g,), int64]."""
        found: np.ndarray = self.probabilities.argmax(axis=1)
        return found

    def at(self, tau: float) -> int:
        """Which of the taus is nearest, in the logarithm."""
        return int(np.abs(np.log(self.taus) - np.log(tau)).argmin())


def dial(look: Look, marks: Sequence[float] = ()) -> Dial:
    """Run one image at many taus, evenly in the logarithm; the look's own tau is no matter.

    Parameters
    ----------
    look : Look
        Of a network that takes any tau.
    marks : sequence of float
        Further taus to run at, where they are in the network's range.

    Raises
    ------
    InputError
        As `running.run`.
    """
    require_memory(look)
    price = cost(look)
    backend = warming.backend()
    count = num_taus(look, backend)
    together = int(np.clip(MAX_BATCH_BYTES // max(price.memory, 1), 1, MOST_TAUS))
    taus = tuple(grid(look.model, count, marks))
    key = replace(look, tau=None).key
    try:
        return _dial(key, taus, together, price.dense, net(look.model, backend), look)
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None


def num_taus(look: Look, backend: str) -> int:
    """At how many taus a look may be run for one answer."""
    most = MAX_FLOPS if backend == "masked" else MAX_FLOPS / 10  # NumPy is slower
    return int(np.clip(most // cost(look).dense, FEWEST_TAUS, MOST_TAUS))


def grid(model: Model, count: int, marks: Sequence[float] = ()) -> list[float]:
    """Taus of a network's range, rising: evenly in the logarithm, and the marks in it."""
    assert model.tau_range is not None
    low, high = model.tau_range
    even = [round_tau(model, tau) for tau in np.geomspace(low, high, count)]
    return sorted({*even, *(tau for tau in marks if low <= tau <= high)})


def round_tau(model: Model, tau: float) -> float:
    """A tau as people read it, in the network's range."""
    assert model.tau_range is not None
    low, high = model.tau_range
    return float(min(max(float(f"{tau:.{DIGITS}g}"), low), high))


def with_run(dial: Dial, tau: float, run: Run) -> Dial:
    """The dial with one more tau, that of a run; as it is where the tau is there."""
    if tau in dial.taus:
        return dial
    i = int(np.searchsorted(dial.taus, tau))

    def put(into: np.ndarray, values: np.ndarray | float) -> np.ndarray:
        return np.insert(into, i, values, axis=0)

    blocks = run.result.blocks
    return Dial(
        put(dial.taus, tau),
        tuple(
            put(m, _map(b.ponder_cost)[0]) for m, b in zip(dial.ponder_cost, blocks, strict=True)
        ),
        tuple(put(m, _map(b.num_units)[0]) for m, b in zip(dial.num_units, blocks, strict=True)),
        put(dial.flops, run.result.flops[0]),
        put(dial.probabilities, run.result.probabilities[0]),
        dial.dense,
    )


@dataclass(frozen=True)
class Found:
    """A tau that spends a budget: its share of dense, and a warning where none does."""

    tau: float
    share: float
    warning: str | None


def find_tau(look: Look, target: float) -> Found:
    """Find the tau at which an image spends a share of its dense FLOPs.

    Raises
    ------
    InputError
        As `running.run`, or if the share is not in (0, 1].
    """
    require_memory(look)
    network = net(look.model, warming.backend())
    try:
        x = see(network, look).x
        with ENGINE:
            budget = network.find_tau([x], target)
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None
    return Found(budget.tau, budget.share, budget.warning)


@st.cache_data(max_size="96MB", show_spinner="Running every τ …")
def _dial(
    key: tuple[object, ...],
    taus: tuple[float, ...],
    together: int,
    dense: int,
    _net: Net,
    _look: Look,
) -> Dial:
    x = see(_net, _look).x
    parts = []
    for begin in range(0, len(taus), together):
        some = np.array(taus[begin : begin + together])
        result = forward(_net, np.repeat(x, len(some), axis=0), some)
        parts.append(
            Dial(
                some,
                tuple(_map(block.ponder_cost) for block in result.blocks),
                tuple(_map(block.num_units) for block in result.blocks),
                result.flops,
                result.probabilities,
                dense,
            )
        )
    return _join(parts)


def _join(parts: list[Dial]) -> Dial:
    joined: dict[str, Any] = {}
    for name in (field.name for field in fields(Dial)):
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], tuple):
            joined[name] = tuple(np.concatenate(each) for each in zip(*values, strict=True))
        else:
            joined[name] = values[0] if name == "dense" else np.concatenate(values)
    return Dial(**joined)


def _map(values: np.ndarray | None) -> np.ndarray:
    """A block's maps [shape=(n, h, w)]; of size 1 x 1 where halting is per image."""
    assert values is not None
    return values if values.ndim == 3 else values.reshape(-1, 1, 1)
