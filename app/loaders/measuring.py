"""Measurements: time masked against dense, unit by unit, and PyTorch's own count."""

from __future__ import annotations

import time

import numpy as np
import streamlit as st

from app.folders import InputError, sentence
from app.loaders.checkpoints import net
from app.loaders.running import ENGINE, priced
from app.records import Look, Model
from sact_core.backends import Net


def times(look: Look, repeats: int = 7) -> dict[str, float]:
    """Measure masked against dense: median seconds by backend. Imports torch.

    Raises
    ------
    InputError
        As `run`.
    """
    backends = ("masked", "dense")
    nets = tuple(net(look.model, backend) for backend in backends)
    try:
        measured = _times(look.key, repeats, nets, look)
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None
    return {name: float(np.median(each)) for name, each in zip(backends, measured, strict=True)}


def unit_seconds(look: Look, repeats: int = 5) -> dict[str, float]:
    """Measure the masked engine unit by unit: median seconds by the unit's name.

    Units that no position ran are absent.

    Raises
    ------
    InputError
        As `run`.
    """
    network = net(look.model)
    try:
        return _unit_seconds(look.key, repeats, network, look)
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
    key: tuple[object, ...], repeats: int, _nets: tuple[Net, ...], _look: Look
) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in _nets]
    x = _nets[0].see(_look.picture.pixels, _look.image_size, _look.fit).x
    with ENGINE:
        for network in _nets:
            network.forward(x, **priced(_look.tau))  # warm
        for _ in range(repeats):
            for seconds, network in zip(times, _nets, strict=True):
                began = time.perf_counter()
                network.forward(x, **priced(_look.tau))
                seconds.append(time.perf_counter() - began)
    return times


@st.cache_data(max_entries=128, show_spinner="Timing every unit …")
def _unit_seconds(
    key: tuple[object, ...], repeats: int, _net: Net, _look: Look
) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    x = _net.see(_look.picture.pixels, _look.image_size, _look.fit).x
    with ENGINE:
        for _ in range(repeats + 1):  # the first one warms up
            result = _net.forward(x, keep_seconds=True, **priced(_look.tau))
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
