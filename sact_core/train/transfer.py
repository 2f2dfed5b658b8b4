"""What a network takes from the checkpoint of another, and what of it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sact_core import checkpoint as checkpoints
from sact_core.config import NetworkConfig
from sact_core.network import Plan
from sact_core.parameters import TAU_SPAN, check_params

MAX_LISTED = 20


def transferable(
    source: checkpoints.Checkpoint,
    plan: Plan,
    where: str | Path,
    halting: bool = False,
    first_units: bool = False,
) -> dict[str, np.ndarray]:
    """Give the parameters of a checkpoint that a network can start from.

    For another number of classes, all but the classifier.

    Parameters
    ----------
    source : Checkpoint
        Where they come from.
    plan : Plan
        The network to be.
    where : path
        Name of the source, for the message.
    halting : bool
        Take the halting branches too; else all but them, as the authors
        fine-tuned from a vanilla network.
        Where the network is conditioned on tau and the source is not, they start
        as the source's at its own tau, and are shifted away from there.
    first_units : bool
        Take the first units of each block where the source has more: a static
        network of the depth at which an adaptive one stops on average.

    Raises
    ------
    ValueError
        If they do not fit; what does not is listed. If halting branches are to be
        shifted away from a tau that is unknown or out of the range.
    """
    newly_classified = plan.config.num_classes != source.config.num_classes
    deeper = _units_beyond(source.config, plan.config) if first_units else ()

    def counts(name: str) -> bool:
        return not (newly_classified and name.startswith(f"{plan.logits.name}/"))

    had = {name: value for name, value in source.params.items() if not name.startswith(deeper)}
    return _taken(source, had, plan, where, halting, counts)


def grown(
    source: checkpoints.Checkpoint, plan: Plan, where: str | Path, halting: bool = False
) -> dict[str, np.ndarray]:
    """Give the parameters with which a deeper network computes what a checkpoint's does.

    Its units become the first units of each block, so that strides and changing
    shortcuts stay where they were. Of the units behind them the last convolution is
    zero, weight and bias: they add nothing to what their identity shortcuts pass, and
    learn from the first step on.

    Not one bit of a vanilla network's logits changes. Halting branches of inserted
    units are fresh, and so is that of the unit which was the last of its block, where
    everything stopped; those of the others are taken if ``halting``. Then the logits
    of a halting network stay too, within rounding, as what is added behind its units
    is zero; but positions that came to the end of a block may go on through inserted
    units, at their cost.

    Parameters
    ----------
    source : Checkpoint
        The shallower network.
    plan : Plan
        The network to be.
    where : path
        Name of the source, for the message.
    halting : bool
        As in `transferable`.

    Returns
    -------
    dict of str to np.ndarray
        Of the source's units, and the zeros of inserted ones. What is left out is
        fresh.

    Raises
    ------
    ValueError
        If the source is no prefix of the network: everything that does not fit is
        listed. As `transferable`.
    """
    require_prefix(source.config, plan.config, where)
    inserted = _units_beyond(plan.config, source.config)
    ends = tuple(
        f"block{block}/unit{count}/halting_proba/"
        for block, count in enumerate(source.config.units_per_block, 1)
        if count < plan.config.units_per_block[block - 1]
    )
    had = _taken(
        source,
        source.params,
        plan,
        where,
        halting,
        lambda name: not name.startswith(inserted + ends),
    )
    shapes = plan.param_shapes
    for unit in plan.units:
        if f"{unit.name}/".startswith(inserted):
            zero = (f"{unit.convs[-1].name}/{part}" for part in ("weight", "bias"))
            had |= {name: np.zeros(shapes[name], np.float32) for name in zero if name in shapes}
    return had


def require_prefix(source: NetworkConfig, wanted: NetworkConfig, where: str | Path) -> None:
    """Refuse a network to grow from that is no prefix of the network to be.

    Raises
    ------
    ValueError
        Another family, width or number of classes, more units in a block: all that
        does not fit is listed.
    """
    facts = {
        "family": (source.family, wanted.family),
        "width": (source.base_channels, wanted.base_channels),
        "number of classes": (source.num_classes, wanted.num_classes),
    }
    problems = [
        f"its {k} is {one}, not {other}" for k, (one, other) in facts.items() if one != other
    ]
    if source.family == wanted.family:
        counts = zip(source.units_per_block, wanted.units_per_block, strict=True)
        problems += [
            f"its block{block} has {one} units, more than {other}"
            for block, (one, other) in enumerate(counts, 1)
            if one > other
        ]
    if problems:
        raise ValueError(f"{where} cannot grow into {wanted.name}: {'; '.join(problems)}")


def _taken(
    source: checkpoints.Checkpoint,
    params: dict[str, np.ndarray],
    plan: Plan,
    where: str | Path,
    halting: bool,
    counts: Callable[[str], bool],
) -> dict[str, np.ndarray]:
    """Those parameters of a source that count, if they are all that count of the plan's."""
    newly_conditioned = plan.config.tau_conditioned and not source.config.tau_conditioned

    def wanted(name: str) -> bool:
        if name.endswith("/tau_shift") and newly_conditioned:
            return False
        return counts(name) and (halting or "/halting_proba/" not in name)

    had = {name: value for name, value in params.items() if wanted(name)}
    shapes = {name: value.shape for name, value in had.items()}
    absent = {n: s for n, s in plan.param_shapes.items() if not wanted(n)}
    _refuse(check_params(plan, shapes | absent), plan, where)
    if halting and newly_conditioned:
        had |= _shifted_back(had, plan, source.provenance.get("tau"), where)
    return had


def _refuse(problems: Sequence[str], plan: Plan, where: str | Path) -> None:
    if problems:
        more = len(problems) - MAX_LISTED
        listed = "; ".join(problems[:MAX_LISTED]) + (f"; and {more} more" if more > 0 else "")
        raise ValueError(
            f"{where} does not fit {plan.config.name} in {len(problems)} parameters: {listed}"
        )


def _shifted_back(
    params: dict[str, np.ndarray], plan: Plan, tau: object, where: str | Path
) -> dict[str, np.ndarray]:
    """Biases of halting logits, less what fresh shifts add at the tau they were trained at."""
    low, high = plan.config.tau_low, plan.config.tau_high
    assert low is not None
    assert high is not None
    if not isinstance(tau, int | float) or not low <= tau <= high:
        raise ValueError(
            f"{where} was trained at tau {tau}, which is not in the range from {low:g} to "
            f"{high:g}: its halting branches cannot be taken over; leave --finetune-halting out"
        )
    added = TAU_SPAN * np.log(tau / low) / np.log(high / low)
    branches = [unit.halting for unit in plan.units if unit.halting is not None]
    names = [f"{(branch.local_conv or branch.global_conv).name}/bias" for branch in branches]
    taken = (name for name in names if name in params)  # those of inserted units are fresh
    return {name: (params[name] - added).astype(np.float32) for name in taken}


def _units_beyond(source: NetworkConfig, wanted: NetworkConfig) -> tuple[str, ...]:
    """Paths of the units that a source has beyond those of the network to be."""
    return tuple(
        f"block{block}/unit{unit}/"
        for block, (theirs, ours) in enumerate(
            zip(source.units_per_block, wanted.units_per_block, strict=False), 1
        )
        for unit in range(ours + 1, theirs + 1)
    )
