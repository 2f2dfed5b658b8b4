"""Runs: a network over an image, once for the same input, one network at a time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from app.loaders import warming
from app.loaders.checkpoints import Model, net
from app.loaders.costs import input_size, require_memory
from app.loaders.folders import InputError, sentence
from app.loaders.pictures import Picture
from sact_core.backends import Net
from sact_core.config import NetworkConfig
from sact_core.flops import FlopCount, count_flops, dense_flops
from sact_core.plans import build_plan
from sact_core.preprocess import fit_image
from sact_core.result import Result

#: One network at a time: kernels use every processor themselves.
ENGINE = threading.Lock()
#: How often a network has run, for tests.
_runs = 0
#: Seconds that runs took, the latest, by network, image and size.
_seconds: OrderedDict[tuple[str, str, tuple[int, int]], float] = OrderedDict()
MAX_SECONDS = 2000


@dataclass(frozen=True)
class Run:
    """One network over one image.

    Attributes
    ----------
    result : Result
        With ``n = 1``.
    seen : np.ndarray [shape=(H, W, 3), uint8]
        The image as the network gets to see it, before its values are scaled.
    seconds : float
        How long the network took.
    backend : str
        What ran it.
    executed, dense : FlopCount
        FLOPs of this image, and of an image of which every position runs every
        unit of this network.
    """

    result: Result
    seen: np.ndarray
    seconds: float
    backend: str
    executed: FlopCount
    dense: FlopCount


def run(
    model: Model,
    picture: Picture,
    image_size: int | None = None,
    fit: str | None = None,
    backend: str | None = None,
    tau: float | None = None,
) -> Run:
    """Run a network over an image; the same input runs once.

    Parameters
    ----------
    model, picture : Model, Picture
        What to run, over what.
    image_size : int, optional
        Side of the network's input; the checkpoint's own where left out.
    fit : str, optional
        ``"crop"`` or ``"keep"``; the checkpoint's own where left out.
    backend : str, optional
        One of ``sact_core.BACKENDS``; left out, the masked one as soon as it is
        compiled.
    tau : float, optional
        Price of a unit, where the network takes any; its default where left out.

    Raises
    ------
    InputError
        If the network cannot take the image, needs more memory than is free, or
        as `net`.
    """
    backend = backend or warming.backend()
    require_memory(model, picture, image_size, fit)
    network = net(model, backend)
    try:
        return _run(
            model.digest, picture.digest, image_size, fit, backend, tau, network, picture.pixels
        )
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None


def forward(network: Net, x: np.ndarray, tau: float | np.ndarray | None = None) -> Result:
    """Run a preprocessed batch, when no other network runs.

    ``tau`` is the price of a unit, one for all images or one for each [shape=(n,)].
    """
    global _runs
    with ENGINE:
        _runs += 1
        return network.forward(x, **priced(tau))


def priced(tau: float | np.ndarray | None) -> dict[str, Any]:
    """The price of a unit as `Net` takes it; nothing for a network trained for one."""
    return {} if tau is None else {"tau": tau}


def num_runs() -> int:
    """How often a network has run in this process."""
    return _runs


def seconds_of(
    model: Model, picture: Picture, image_size: int | None, fit: str | None
) -> float | None:
    """How long the masked engine last took for an image at a size; None where it has not run."""
    return _seconds.get((model.digest, picture.digest, input_size(model, picture, image_size, fit)))


def vanilla_flops(config: NetworkConfig, size: tuple[int, int]) -> FlopCount:
    """FLOPs of the same network without halting: every position runs every unit."""
    return dense_flops(build_plan(config.vanilla), size)


def dense_total(network: Net, size: tuple[int, int]) -> int:
    """FLOPs of an image if every unit ran everywhere."""
    return int(dense_flops(network.plan, size).total[0])


@st.cache_data(max_size="192MB", show_spinner="Running the network …")
def _run(
    model_digest: str,
    picture_digest: str,
    image_size: int | None,
    fit: str | None,
    backend: str,
    tau: float | None,
    _net: Net,
    _pixels: np.ndarray,
) -> Run:
    global _runs
    preprocessing = _net.preprocessing_for(image_size, fit)
    seen = fit_image(_pixels, preprocessing, _net.plan.divisor)
    with ENGINE:
        _runs += 1
        began = time.perf_counter()
        result = _net.run([_pixels], image_size, fit, **priced(tau))[0]
        seconds = time.perf_counter() - began
        if backend == "masked":
            _seconds[model_digest, picture_digest, result.input_size] = seconds
            while len(_seconds) > MAX_SECONDS:
                _seconds.popitem(last=False)
    return Run(
        result,
        _as_bytes(seen),
        seconds,
        _net.backend,
        count_flops(_net.plan, result.positions),
        dense_flops(_net.plan, result.input_size),
    )


def _as_bytes(seen: np.ndarray) -> np.ndarray:
    """Pixel values from 0 to 1 as uint8; uint8 stays."""
    if seen.dtype == np.uint8:
        return seen
    return np.round(np.clip(seen, 0, 1) * 255).astype(np.uint8)
