"""The price of a unit that a network conditioned on tau is asked to run at.

What a caller hands in is checked here, before any work; how a price shifts the
halting scores is each backend's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sact_core.config import NetworkConfig

Tau = float | Sequence[float] | np.ndarray


def tau_range(config: NetworkConfig) -> tuple[float, float]:
    """Give the ends of the range that a network was trained for.

    Raises
    ------
    ValueError
        If it is not conditioned on tau.
    """
    if config.tau_low is None or config.tau_high is None:
        raise ValueError(
            f"this {config.name} is not conditioned on tau, it always runs as it was trained: "
            f"ask for no tau and no FLOPs, or train one with --tau-range"
        )
    return config.tau_low, config.tau_high


def check_taus(
    config: NetworkConfig, tau: Tau | None, num_images: int, clamp: bool = False
) -> np.ndarray | None:
    """Check prices, and give every image its own.

    Parameters
    ----------
    config : NetworkConfig
        What is asked to run.
    tau : float or sequence of float [shape=(num_images,)], optional
        One for all images or one per image, in loss per unit; the network's default
        where left out.
    num_images : int
        How many images there are.
    clamp : bool
        Take the nearest end of the range for a price outside of it.

    Returns
    -------
    np.ndarray [shape=(num_images,), float64], optional
        None where the network is not conditioned and nothing is asked of it.

    Raises
    ------
    ValueError
        If the network is not conditioned on tau, or a price is no number above 0, is
        outside of the range, or there are not as many prices as images.
    """
    if tau is None and not config.tau_conditioned:
        return None
    low, high = tau_range(config)
    given = config.tau_default if tau is None else tau
    try:
        taus = np.array(given, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"tau must be a number, or one per image, got {given!r}") from None
    if taus.ndim > 1 or (taus.ndim == 1 and len(taus) != num_images):
        raise ValueError(
            f"tau must be one number, or one for each of the {num_images} images, got "
            f"{len(taus)}" + (" numbers" if taus.ndim == 1 else f" rows, shape {taus.shape}")
        )
    taus = np.ascontiguousarray(np.broadcast_to(taus, (num_images,)))
    bad = taus[~(np.isfinite(taus) & (taus > 0))]
    if len(bad):
        raise ValueError(f"tau must be a number above 0, got {bad[0]:g}")
    outside = taus[(taus < low) | (taus > high)]
    if len(outside) and not clamp:
        raise ValueError(
            f"tau {outside[0]:g} is outside of the range that {config.name} was trained for, "
            f"{low:g} to {high:g}; clamp_tau (--clamp-tau) takes the nearest end"
        )
    return np.clip(taus, low, high)


def require_prices(config: NetworkConfig, taus: object | None) -> None:
    """Refuse to run a network without the prices it needs, or with some that it does not take.

    Every engine asks this: which price holds where a caller gives none is said by
    `check_taus` alone.

    Raises
    ------
    ValueError
        If prices are given, and the network is not conditioned on tau; or the reverse.
    """
    if config.tau_conditioned and taus is None:
        raise ValueError(f"{config.name} is conditioned on tau: give its engine taus")
    if not config.tau_conditioned and taus is not None:
        raise ValueError(f"{config.name} is not conditioned on tau: give its engine no taus")
