"""Measurements: time masked against dense, unit by unit, and PyTorch's own count."""

from __future__ import annotations

import time

import numpy as np
import streamlit as st

from app.loaders.checkpoints import Model, net
from app.loaders.folders import InputError, sentence
from app.loaders.pictures import Picture
from app.loaders.running import ENGINE, priced
from sact_core.backends import Net


def times(
    model: Model,
    picture: Picture,
    image_size: int | None,
    fit: str | None,
    repeats: int = 7,
    tau: float | None = None,
) -> dict[str, float]:
    """Measure masked against dense: median seconds by backend. Imports torch.

    Raises
    ------
    InputError
        As `run`.
    """
    backends = ("masked", "dense")
    nets = tuple(net(model, backend) for backend in backends)
    try:
        measured = _times(
            model.digest, picture.digest, image_size, fit, repeats, tau, nets, picture.pixels
        )
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None
    return {name: float(np.median(each)) for name, each in zip(backends, measured, strict=True)}


def unit_seconds(
    model: Model,
    picture: Picture,
    image_size: int | None,
    fit: str | None,
    repeats: int = 5,
    tau: float | None = None,
) -> dict[str, float]:
    """Measure the masked engine unit by unit: median seconds by the unit's name.

    Units that no position ran are absent.

    Raises
    ------
    InputError
        As `run`.
    """
    network = net(model)
    try:
        return _unit_seconds(
            model.digest, picture.digest, image_size, fit, repeats, tau, network, picture.pixels
        )
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None


def torch_flops(model: Model, size: tuple[int, int]) -> int:
    """FLOPs of the dense network by PyTorch's own counter. Imports torch.

    Raises
    ------
    InputError
        As `net`.
    """
    return _torch_flops(model.digest, size, net(model, "dense"))


@st.cache_data(max_entries=128, show_spinner="Timing both networks …")
def _times(
    model_digest: str,
    picture_digest: str,
    image_size: int | None,
    fit: str | None,
    repeats: int,
    tau: float | None,
    _nets: tuple[Net, ...],
    _pixels: np.ndarray,
) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in _nets]
    with ENGINE:
        for network in _nets:
            network.run([_pixels], image_size, fit, **priced(tau))  # warm
        for _ in range(repeats):
            for seconds, network in zip(times, _nets, strict=True):
                began = time.perf_counter()
                network.run([_pixels], image_size, fit, **priced(tau))
                seconds.append(time.perf_counter() - began)
    return times


@st.cache_data(max_entries=128, show_spinner="Timing every unit …")
def _unit_seconds(
    model_digest: str,
    picture_digest: str,
    image_size: int | None,
    fit: str | None,
    repeats: int,
    tau: float | None,
    _net: Net,
    _pixels: np.ndarray,
) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    with ENGINE:
        for _ in range(repeats + 1):  # the first one warms up
            result = _net.run([_pixels], image_size, fit, keep_seconds=True, **priced(tau))[0]
            for block, planned in zip(result.blocks, _net.plan.blocks, strict=True):
                for unit, seconds in zip(planned.units, block.seconds or (), strict=False):
                    found.setdefault(unit.name, []).append(seconds)
    return {name: float(np.median(each[1:])) for name, each in found.items()}


@st.cache_data(max_entries=64, show_spinner="Counting with PyTorch …")
def _torch_flops(digest: str, size: tuple[int, int], _net: Net) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with ENGINE, FlopCounterMode(display=False) as counter:
        _net.forward(np.zeros((1, *size, 3), np.float32))
    return int(counter.get_total_flops())
