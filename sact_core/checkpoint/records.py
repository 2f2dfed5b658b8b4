"""What a checkpoint is: its parts, and the bounds of its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sact_core.config import NetworkConfig, Preprocessing
from sact_core.quantisation import Quantisation

FORMAT = "sact-explorer checkpoint"
FORMAT_VERSION = 1

#: Most bytes of each JSON attribute.
MAX_JSON_BYTES = {
    "config": 1 << 16,
    "preprocessing": 1 << 16,
    "class_names": 1 << 23,
    "provenance": 1 << 22,
}
MAX_PARAMETERS = 1 << 28  # numbers in all; 1 GiB

#: The attribute of a file that tells of its scales for int8, and its most bytes; those of
#: each weight that hold them: one a channel, scale and zero of what it multiplies, and what
#: rounding it adds to every channel on the average.
QUANTISATION, MAX_QUANTISATION_BYTES = "int8", 1 << 16
WEIGHT_SCALES, INPUT_SCALE, SHIFTS = "int8_scales", "int8_input", "int8_shifts"


class CheckpointError(ValueError):
    """The file or the record is no usable checkpoint; the message lists why."""


@dataclass(frozen=True)
class Header:
    """A checkpoint without its parameters.

    Attributes
    ----------
    config : NetworkConfig
        What the network is.
    preprocessing : Preprocessing
        How its images are prepared.
    class_names : tuple of str
        One per class, or empty where they are unknown.
    provenance : dict
        Plain JSON values: data set, command, seed, epochs, hours, hardware,
        metrics with their split and count, package versions.
    content_hash : str
        SHA-256 as the file states it, in hexadecimal.
    scales_hash : str
        SHA-256 of what the file tells of its scales for int8, which the content hash does not
        cover; empty where it has none.
    """

    config: NetworkConfig
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)
    content_hash: str
    scales_hash: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A network ready to be built.

    Attributes
    ----------
    config : NetworkConfig
        What the network is.
    params : dict of str to np.ndarray [float32]
        Every parameter of ``build_plan(config).param_shapes``, by name.
    preprocessing : Preprocessing
        How its images are prepared.
    class_names : tuple of str
        One per class, or empty where they are unknown.
    provenance : dict
        Plain JSON values, as in `Header`.
    quantisation : Quantisation, optional
        Scales for int8, where it was calibrated.
    """

    config: NetworkConfig
    params: dict[str, np.ndarray] = field(repr=False)
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = field(default=(), repr=False)  # as long as a page
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)
    quantisation: Quantisation | None = field(default=None, repr=False)


def trained_at(header: Header | Checkpoint) -> float | None:
    """The price of a unit that a network was trained for; None if it has none, or takes any."""
    tau = header.provenance.get("tau")
    fixed = header.config.halts and not header.config.tau_conditioned
    return float(tau) if fixed and isinstance(tau, int | float) else None
