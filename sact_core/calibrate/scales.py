"""Scales for int8 from what a network's convolutions read on some images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sact_core.backends import reference
from sact_core.backends.checks import check_input
from sact_core.calibrate.weights import Moments, mean_error, weight_scales
from sact_core.checkpoint import Checkpoint
from sact_core.network import Conv
from sact_core.plans import build_plan
from sact_core.quantisation import MOST, Quantisation, hash_params, quantised_convs
from sact_core.taus import tau_range

#: How a scale is found; the default first. ``mse``: the least squared error of rounding.
#: ``percentile``: all but a few of the numbers lie inside. ``range``: all do.
METHODS = ("mse", "percentile", "range")

#: How much of 100 numbers lies inside, by ``percentile``.
PERCENT = 99.99

#: Multiples of it, the whole part left out, fill 0 to 1 evenly, however many there are.
GOLDEN = (5**0.5 - 1) / 2

#: Equal bins of a histogram, a multiple of 4.
NUM_BINS = 4096

#: Shares of a range that `mse` tries.
SHARES = np.linspace(1, 0.2, 41)


class Spread:
    """How numbers are spread: a histogram around 0 that widens as they come, and their ends."""

    def __init__(self) -> None:
        self.low = self.high = 0.0
        self.reach = 2.0**-20
        self.counts = np.zeros(NUM_BINS, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Count numbers [float32].

        Raises
        ------
        ValueError
            If one is NaN or infinite.
        """
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("holds NaN or infinite numbers")
        self.low, self.high = min(self.low, low), max(self.high, high)
        while max(-low, high) >= self.reach:
            self._widen()
        width = np.float32(NUM_BINS / (2 * self.reach))
        bins = (np.ravel(values) * width).astype(np.float32) + np.float32(NUM_BINS // 2)
        self.counts += np.bincount(bins.astype(np.int32), minlength=NUM_BINS)[:NUM_BINS]

    def _widen(self) -> None:
        """Twice as wide, every two bins become one."""
        quarter = NUM_BINS // 4
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.pad(pairs, (quarter, quarter))
        self.reach *= 2

    def ends(self, method: str, percent: float = PERCENT) -> tuple[float, float]:
        """Ends of the numbers by one of `METHODS`, 0 among what lies between."""
        if method == "percentile":
            return self.percentile(percent)
        return self.mse() if method == "mse" else (self.low, self.high)

    def percentile(self, percent: float) -> tuple[float, float]:
        """Ends beyond which lie ``100 - percent`` of 100 numbers, on each side, 0 inside."""
        edges = np.linspace(-self.reach, self.reach, NUM_BINS + 1)
        below = np.cumsum(self.counts)
        outside = below[-1] * (1 - percent / 100)
        first = int(np.searchsorted(below, outside, "right"))
        last = int(np.searchsorted(below, below[-1] - outside, "left"))
        low, high = min(edges[first], 0.0), max(edges[last + 1], 0.0)
        return max(low, self.low), min(high, self.high)

    def mse(self) -> tuple[float, float]:
        """Ends of the least squared error, with what lies beyond them cut off."""
        used = np.flatnonzero(self.counts)
        values = (used + 0.5) * (2 * self.reach / NUM_BINS) - self.reach
        counts = self.counts[used]

        def error(low: float, high: float) -> float:
            scale, zero = scale_of(low, high)
            levels = np.clip(np.rint(values / scale) + zero, 0, MOST)
            return float(counts @ (values - scale * (levels - zero)) ** 2)

        low, high = self.low, self.high
        for _ in range(2):  # one end, then the other
            high = min((error(low, high * s), high * s) for s in SHARES)[1] if high else high
            low = min((error(low * s, high), low * s) for s in SHARES)[1] if low else low
        return low, high


def scale_of(low: float, high: float) -> tuple[float, int]:
    """Scale and zero that spread 0 to 255 over a range which 0 lies in.

    The scale is a float32. It is 0 where the range is.
    """
    scale = float(np.float32((high - low) / MOST))
    if scale == 0:
        return 0.0, 0
    zero = int(np.clip(np.rint(-low / scale), 0, MOST))
    return scale, zero


def find_scales(
    checkpoint: Checkpoint,
    batches: Iterable[np.ndarray],
    method: str = METHODS[0],
    percent: float = PERCENT,
) -> Quantisation:
    """Run images through the reference backend and look at what convolutions read.

    At the positions where they are needed; of a unit that none of these images reaches, at
    those that have halted.

    A network that is conditioned on tau runs at taus from all of its range.

    Parameters
    ----------
    checkpoint : Checkpoint
        The network.
    batches : iterable of np.ndarray [shape=(n, H, W, 3), float32]
        Preprocessed images.
    method : str
        One of `METHODS`.
    percent : float
        Of ``"percentile"``: how much of 100 lies inside at either end, above 50.

    Returns
    -------
    Quantisation
        Without a word about where it comes from.

    Raises
    ------
    ValueError
        If there is no image or all are alike, or a convolution reads NaN or infinite
        numbers, or nothing but 0.
    """
    plan = build_plan(checkpoint.config)
    engine = reference.Engine(plan, checkpoint.params)
    spreads = {conv.name: Spread() for conv in quantised_convs(plan)}
    unneeded = {name: Spread() for name in spreads}
    moments = {conv.name: Moments(conv.in_channels) for conv in quantised_convs(plan)}

    def observe(conv: Conv, values: np.ndarray, needed: np.ndarray) -> None:
        if conv.name not in spreads:
            return
        shown = values[needed]
        try:
            spreads[conv.name].add(shown)
            if not spreads[conv.name].counts.any():
                unneeded[conv.name].add(values)
        except ValueError as error:
            raise ValueError(
                f"what {conv.name} reads {error}: the network overflows on these images"
            ) from None
        moments[conv.name].add(shown)

    first: np.ndarray | None = None
    count, differ = 0, False
    for x in batches:
        check_input(plan, x, False)
        first = x[0] if first is None else first
        differ = differ or x.shape[1:] != first.shape or bool((x != first).any())
        engine.forward(x, taus=_taus(checkpoint, count, len(x)), observe=observe)
        count += len(x)
    if count < 2:
        raise ValueError(
            f"{'one image is' if count else 'no image is'} too few to find scales on: give a "
            f"hundred or more"
        )
    if not differ:
        raise ValueError(
            f"the {count:,} images to find scales on are all alike: give images that differ"
        )
    inputs = {}
    for name in spreads:
        spread = spreads[name] if spreads[name].counts.any() else unneeded[name]
        scale, zero = scale_of(*spread.ends(method, percent))
        if scale == 0:
            raise ValueError(
                f"what {name} reads is 0 everywhere on these {count:,} images, so that it has no "
                f"scale: give other images"
            )
        inputs[name] = (scale, zero)
    weights, shifts = {}, {}
    for name, found in moments.items():
        weight = checkpoint.params[f"{name}/weight"]
        weights[name] = weight_scales(weight, method, found if found.count else None)
        shifts[name] = mean_error(weight, weights[name], found)
    return Quantisation(inputs, weights, hash_params(checkpoint.params), shifts=shifts)


def _taus(checkpoint: Checkpoint, first: int, count: int) -> np.ndarray | None:
    """Taus of some images, evenly over the range's logarithms; None without a range."""
    if not checkpoint.config.tau_conditioned:
        return None
    low, high = tau_range(checkpoint.config)
    along = np.arange(first, first + count) * GOLDEN % 1
    taus: np.ndarray = low * (high / low) ** along
    return taus
