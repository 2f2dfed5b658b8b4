"""One network over one image, at one price of a unit or at many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sact_core.config import NetworkConfig
from sact_core.network import Plan
from sact_core.result import Result

if TYPE_CHECKING:
    from sact_core.backends import Net

#: Prices that a network for every tau is run at: the most, the least, and what the numbers
#: of all of them may take as bytes, about, whatever the size of the image.
MOST_TAUS, FEWEST_TAUS, MAX_FRAMES_BYTES = 49, 5, 1_800_000
DIGITS = 4  # of a tau


@dataclass(frozen=True, eq=False)
class Thought:
    """What a network did with one image.

    Attributes
    ----------
    name : str
        What the network is called.
    config : NetworkConfig
        What it is.
    plan : Plan
        Its layers.
    class_names : sequence of str
        One per class, or empty.
    results : sequence of Result
        One per price, each with ``n = 1``.
    taus : sequence of float or None
        The prices, rising; one None where none is known.
    at : int
        Which of them is looked at first.
    about : sequence of (str, str)
        Where the network comes from, in words: names and values.
    """

    name: str
    config: NetworkConfig
    plan: Plan
    class_names: Sequence[str]
    results: Sequence[Result]
    taus: Sequence[float | None]
    at: int = 0
    about: Sequence[tuple[str, str]] = ()


def think(
    net: Net,
    x: np.ndarray,
    result: Result,
    *,
    name: str | None = None,
    tau: float | None = None,
    about: Sequence[tuple[str, str]] = (),
    most: int = MOST_TAUS,
    forward: Callable[[np.ndarray, float], Result] | None = None,
) -> Thought:
    """Run a network that takes any tau at all prices that fit in a file; others as they ran.

    Parameters
    ----------
    net : Net
        The network.
    x : np.ndarray [shape=(1, H, W, 3), float32]
        One preprocessed image.
    result : Result
        What the network did with it at ``tau``.
    name : str, optional
        What the network is called; that of its config where left out.
    tau : float, optional
        The price of ``result``, where one is known.
    about : sequence of (str, str)
        As in `Thought`.
    most : int
        Of prices.
    forward : callable, optional
        Runs ``x`` at a price; ``net.forward`` where left out.

    Raises
    ------
    ValueError
        As `sact_core.backends.Net.forward`.
    """
    run = forward or (lambda x, tau: net.forward(x, tau=tau))
    taus: list[float | None] = [tau]
    if net.config.tau_conditioned and tau is not None:
        taus = [*spread(net.config, min(count_taus(result), most), tau)]
    at = taus.index(tau)
    results = [result if each in (tau, None) else run(x, float(each)) for each in taus]
    name = name or net.config.name
    return Thought(name, net.config, net.plan, net.class_names, results, taus, at, about)


def count_taus(result: Result) -> int:
    """How many prices fit in a file, going by the size of a network's maps."""
    size = 0
    for block in result.blocks:
        if block.num_units is not None and block.halting_proba is not None:
            size += block.num_units[0].size + 2 * block.halting_proba[0].size
    return int(np.clip(MAX_FRAMES_BYTES // max(size, 1), FEWEST_TAUS, MOST_TAUS))


def spread(config: NetworkConfig, count: int, tau: float) -> list[float]:
    """Prices of a network's range, rising: evenly in the logarithm, and ``tau``."""
    low, high = config.tau_low, config.tau_high
    assert low is not None
    assert high is not None
    even = (float(f"{each:.{DIGITS}g}") for each in np.geomspace(low, high, count))
    return sorted({*(min(max(each, low), high) for each in even), float(tau)})
