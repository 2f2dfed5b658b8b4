"""Measurements of one network: seconds unit by unit, and PyTorch's own count of FLOPs."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app.folders import InputError, sentence
from app.loaders.checkpoints import net
from app.loaders.running import ENGINE, priced
from app.records import Look, Model
from sact_core.backends import Net


def unit_seconds(look: Look, repeats: int = 5) -> dict[str, float]:
    """Measure the masked engine unit by unit: median seconds by the unit's name.

    Units that no position ran are absent. A time is what was measured just now: it is
    not kept here.

    Raises
    ------
    InputError
        As `run`.
    """
    network = net(look.model)
    found: dict[str, list[float]] = {}
    try:
        x = network.see(look.picture.pixels, look.image_size, look.fit).x
        with ENGINE:
            for _ in range(repeats + 1):  # the first one warms up
                result = network.forward(x, keep_seconds=True, **priced(look.tau))
                for block, planned in zip(result.blocks, network.plan.blocks, strict=True):
                    for unit, seconds in zip(planned.units, block.seconds or (), strict=False):
                        found.setdefault(unit.name, []).append(seconds)
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None
    return {name: float(np.median(each[1:])) for name, each in found.items()}


def torch_flops(model: Model, size: tuple[int, int]) -> int:
    """FLOPs of the dense network by PyTorch's own counter. Imports torch.

    Raises
    ------
    InputError
        As `net`.
    """
    return _torch_flops(model.digest, size, net(model, "dense"))


@st.cache_data(max_entries=64, show_spinner="Counting with PyTorch …")
def _torch_flops(digest: str, size: tuple[int, int], _net: Net) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with ENGINE, FlopCounterMode(display=False) as counter:
        _net.forward(np.zeros((1, *size, 3), np.float32))
    return int(counter.get_total_flops())
