"""Scales by which a network is computed in eight-bit integers: what they are, and whose.

A number that feeds a convolution is ``scale * (q - zero)`` with ``q`` from 0 to 255: one
scale and one zero for a whole map, so that 0, which surrounds it, is met exactly. A weight
is ``scale * q`` with ``q`` from -127 to 127, and a scale for every output channel. They
belong to one set of weights, whose hash goes with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sact_core.network import Conv, Plan

#: Largest eight-bit numbers: of what feeds a convolution, and of its weights.
MOST, MOST_WEIGHT = 255, 127

#: Products that a 32-bit sum has room for, whatever their factors.
MAX_PRODUCTS = ((1 << 31) - 1) // (MOST * MOST_WEIGHT)

#: What makes scales.
COMMAND = "python -m sact_core.calibrate FILE.h5 --out INT8.h5"


@dataclass(frozen=True)
class Quantisation:
    """Scales of a network.

    Attributes
    ----------
    inputs : dict of str to (float, int)
        Scale and zero of what each convolution reads, by the convolution's name.
    weights : dict of str to np.ndarray [shape=(out,), float32]
        Scales of its weights, one for each output channel.
    params_hash : str
        `hash_params` of the parameters that they were found for.
    about : dict
        Where they come from, in plain JSON values: method, images, seed, command.
    shifts : dict of str to np.ndarray [shape=(out,), float32]
        What rounding its weights adds to a convolution's outputs on the average, before
        bias and normalisation, to be taken off; none in older files.
    """

    inputs: dict[str, tuple[float, int]] = field(repr=False)
    weights: dict[str, np.ndarray] = field(repr=False)
    params_hash: str
    about: dict[str, Any] = field(default_factory=dict, repr=False)
    shifts: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


def quantised_convs(plan: Plan) -> tuple[Conv, ...]:
    """The convolutions that are computed in integers: those of units and the head.

    The stem, halting branches and the logits are of float32.
    """
    found: list[Conv] = []
    for unit in plan.units:
        found += unit.convs
        found += [unit.shortcut] if isinstance(unit.shortcut, Conv) else []
    found += [plan.head] if plan.head is not None else []
    return tuple(found)


def hash_params(params: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of parameters' names, shapes and numbers, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(params):
        values = np.ascontiguousarray(params[name], "<f4")
        digest.update(f"{name} {values.shape}\n".encode())
        digest.update(values.data.cast("B"))
    return digest.hexdigest()


def hash_scales(found: Quantisation) -> str:
    """SHA-256 of all scales, in hexadecimal."""
    digest = hashlib.sha256(found.params_hash.encode())
    for name in sorted(found.inputs):
        digest.update(f"{name} {np.float32(found.inputs[name][0])!r} ".encode())
        digest.update(f"{found.inputs[name][1]}\n".encode())
    for arrays in (found.weights, found.shifts):
        for name in sorted(arrays):
            digest.update(f"{name}\n".encode())
            digest.update(np.ascontiguousarray(arrays[name], "<f4").data.cast("B"))
    return digest.hexdigest()


def scale_problems(plan: Plan, found: Quantisation) -> list[str]:
    """List what is wrong with scales for a plan, a line each."""
    problems = []
    for conv in quantised_convs(plan):
        scale, zero = found.inputs.get(conv.name, (None, 0))
        scales = found.weights.get(conv.name)
        if scale is None or scales is None:
            problems.append(f"missing: scales of {conv.name}")
        elif not np.isfinite(scale) or scale <= 0:
            problems.append(f"the scale of what {conv.name} reads is {scale:g}, not above 0")
        elif not 0 <= zero <= MOST:
            problems.append(f"the zero of what {conv.name} reads is {zero}, not 0 to {MOST}")
        elif np.shape(scales) != (conv.out_channels,):
            problems.append(
                f"{conv.name} has weight scales of shape {np.shape(scales)}, "
                f"should be {(conv.out_channels,)}"
            )
        elif not (np.isfinite(scales).all() and (np.asarray(scales) > 0).all()):
            problems.append(f"a weight scale of {conv.name} is not above 0")
        shifts = found.shifts.get(conv.name, np.zeros(conv.out_channels, np.float32))
        if np.shape(shifts) != (conv.out_channels,) or not np.isfinite(shifts).all():
            problems.append(f"the shifts of {conv.name} are not {conv.out_channels} finite numbers")
    names = {conv.name for conv in quantised_convs(plan)}
    strange = sorted({*found.inputs, *found.weights, *found.shifts} - names)
    return problems + [f"unexpected: scales of {name}" for name in strange]


def require_scales(
    plan: Plan, params: Mapping[str, np.ndarray], found: Quantisation | None
) -> Quantisation:
    """Refuse to compute in integers without scales for these very weights.

    Raises
    ------
    ValueError
        If there are none, they were found for other weights, or one is unusable.
    """
    if found is None:
        raise ValueError(
            f"precision int8 needs scales, which {plan.config.name} does not have: make a file "
            f"that has them with {COMMAND}"
        )
    if hash_params(params) != found.params_hash:
        raise ValueError(
            f"the int8 scales of {plan.config.name} were found for other weights than these: "
            f"make new ones with {COMMAND}"
        )
    if problems := scale_problems(plan, found):
        raise ValueError(
            f"the int8 scales of {plan.config.name} cannot be used: {'; '.join(problems[:3])}"
            + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        )
    return found


def unit_scales(plan: Plan, params: Mapping[str, np.ndarray]) -> Quantisation:
    """Scales of 1 throughout, from 0 on: right for no network, and in form for any."""
    convs = quantised_convs(plan)
    return Quantisation(
        {conv.name: (1.0, 0) for conv in convs},
        {conv.name: np.ones(conv.out_channels, np.float32) for conv in convs},
        hash_params(params),
    )


def quantise_weight(weight: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Weights as eight-bit numbers, to the nearest, ties to even.

    Parameters
    ----------
    weight : np.ndarray [shape=(height, width, in, out), float32]
    scales : np.ndarray [shape=(out,), float32]

    Returns
    -------
    np.ndarray [shape=(height, width, in, out), int8]
        From -127 to 127.
    """
    levels: np.ndarray = np.clip(np.rint(weight / scales), -MOST_WEIGHT, MOST_WEIGHT)
    return levels.astype(np.int8)
