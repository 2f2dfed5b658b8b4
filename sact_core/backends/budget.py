"""Find the tau at which a network spends a wanted share of its dense FLOPs.

More tau means less work on any batch worth the name, though no more than at equal
features is guaranteed: a map that halts elsewhere changes what later units see. The
search keeps a tau that spends more than the target on one side and one that spends
less on the other, so it ends at a crossing either way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from sact_core.config import NetworkConfig
from sact_core.taus import tau_range

#: The search ends when it is as close as this, in shares of dense.
CLOSE = 0.001

#: Or when the range has been halved so often.
HALVINGS = 12

#: What is further off than this is no longer called the target.
MISSED = 0.01

#: Images of a data set, the first ones, that a tau is looked for on.
NUM_IMAGES = 500

#: Bytes of the network's inputs that stay in memory meanwhile.
KEEP_BYTES = 1 << 29


@dataclass(frozen=True)
class Budget:
    """A tau and what it spends.

    Attributes
    ----------
    tau : float
        The price of a unit.
    share, target : float
        What it spends of dense, and what was wanted.
    """

    tau: float
    share: float
    target: float

    @property
    def warning(self) -> str | None:
        """One sentence, where no tau spends the target."""
        if abs(self.share - self.target) <= MISSED:
            return None
        return (
            f"no tau spends {self.target:.1%} of dense on these images: tau {self.tau:g} comes "
            f"nearest with {self.share:.1%}"
        )


def check_target(target: float) -> None:
    """Refuse a share of dense that is none.

    Raises
    ------
    ValueError
        If it is not in (0, 1].
    """
    number = isinstance(target, int | float) and not isinstance(target, bool)
    if not number or not 0 < target <= 1:
        raise ValueError(
            f"target_flops (--target-flops) must be a share of dense in (0, 1], got {target!r}"
        )


def find_tau(spend: Callable[[float], float], config: NetworkConfig, target: float) -> Budget:
    """Bisect the range of tau, evenly in the logarithm.

    Parameters
    ----------
    spend : callable
        Gives the share of dense FLOPs that a tau spends on the images at hand.
    config : NetworkConfig
        Whose range is searched.
    target : float
        The wanted share.

    Returns
    -------
    Budget
        The closest of all that were tried, which includes both ends.

    Raises
    ------
    ValueError
        If the network is not conditioned on tau or the target is not in (0, 1].
    """
    low, high = tau_range(config)
    check_target(target)
    tried = [Budget(low, float(spend(low)), target)]
    if tried[0].share > target + CLOSE:
        tried.append(Budget(high, float(spend(high)), target))
    if len(tried) > 1 and tried[1].share < target - CLOSE:
        for _ in range(HALVINGS):
            middle = min(max(math.sqrt(low) * math.sqrt(high), low), high)
            found = Budget(middle, float(spend(middle)), target)
            tried.append(found)
            if abs(found.share - target) <= CLOSE:
                break
            low, high = (middle, high) if found.share > target else (low, middle)
    return min(tried, key=lambda budget: abs(budget.share - target))


class FirstInputs:
    """The first inputs: kept in memory if they are few bytes, else made every time again.

    Parameters
    ----------
    make : callable
        Gives batches [shape=(n, H, W, 3), float32]; those of the first `NUM_IMAGES`
        images are asked for.

    Attributes
    ----------
    count : int
        How many images they are.
    """

    def __init__(self, make: Callable[[], Iterable[np.ndarray]]) -> None:
        self._make, self._kept = make, list[np.ndarray]()
        self.count, num_bytes = 0, 0
        for x in self._again():
            self.count += len(x)
            num_bytes += x.nbytes
            if num_bytes > KEEP_BYTES:
                self._kept.clear()
            else:
                self._kept.append(x)
        self._all = num_bytes <= KEEP_BYTES

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._kept) if self._all else self._again()

    def _again(self) -> Iterator[np.ndarray]:
        left = NUM_IMAGES
        for x in self._make():
            yield x[:left]
            left -= len(x)
            if left <= 0:
                return
