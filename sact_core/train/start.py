"""What a run starts from: parameters, preprocessing, a teacher, the number format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sact_core import checkpoint as checkpoints
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.network import Plan
from sact_core.parameters import TAU_SPAN, check_params, init_params
from sact_core.train.recipes import TrainingConfig

MAX_LISTED = 20

#: Share of each side of a photograph that is kept where training saw parts of it,
#: as in the authors' evaluation.
CENTRAL_PART = 0.875


def left_open(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give what flags leave open when a checkpoint is fine-tuned: as it is itself.

    Parameters
    ----------
    given : mapping
        Flags by name; ``finetune_from`` is one.

    Returns
    -------
    dict
        Its network, image size and, where its halting branches are taken, tau, by
        the names of the flags; nothing of the network if another family is asked for.

    Raises
    ------
    CheckpointError, OSError
        If it cannot be read.
    """
    header = checkpoints.read_header(given["finetune_from"])
    network = header.config
    if given.get("family", network.family) != network.family:
        return {}
    kept = ("family", "halting", "base_channels", "sact_kernel_size", "halting_bias", "eps")
    found: dict[str, Any] = {name: getattr(network, name) for name in kept}
    found["units"] = "_".join(map(str, network.units_per_block))
    if network.facts.photographs:
        found["image_size"] = header.preprocessing.image_size
    if given.get("halting", network.halting) == "none" or "tau_range" in given:
        return found
    tau = network.tau_default if network.tau_conditioned else header.provenance.get("tau")
    if network.tau_conditioned:
        found["tau_range"] = (network.tau_low, network.tau_high)
    if given.get("finetune_halting") and isinstance(tau, int | float):
        found["tau"] = float(tau)
    return found


def initial_params(
    config: TrainingConfig, plan: Plan, say: Callable[[str], None] = lambda text: None
) -> dict[str, np.ndarray]:
    """Draw fresh parameters, or take those of the checkpoint to fine-tune.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    plan : Plan
        Of its network.
    say : callable
        Told if the classifier is drawn anew.

    Raises
    ------
    ValueError
        If that checkpoint cannot be read or does not fit.
    """
    params = init_params(plan, config.seed)
    if config.finetune_from:
        source = checkpoints.read(config.finetune_from)
        params |= transferable(
            source,
            plan,
            config.finetune_from,
            config.finetune_halting,
            config.finetune_first_units,
        )
        theirs, ours = source.config.num_classes, plan.config.num_classes
        if theirs != ours:
            say(f"{config.finetune_from} knows {theirs} classes: for {ours}, the classifier is new")
    return params


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
    newly_conditioned = plan.config.tau_conditioned and not source.config.tau_conditioned

    newly_classified = plan.config.num_classes != source.config.num_classes

    def counts(name: str) -> bool:
        if newly_classified and name.startswith(f"{plan.logits.name}/"):
            return False
        if name.endswith("/tau_shift") and newly_conditioned:
            return False
        return halting or "/halting_proba/" not in name

    had = {name: value for name, value in source.params.items() if counts(name)}
    if first_units:
        deeper = _units_beyond(source.config, plan.config)
        had = {name: value for name, value in had.items() if not name.startswith(deeper)}
    shapes = {name: value.shape for name, value in had.items()}
    absent = {n: s for n, s in plan.param_shapes.items() if not counts(n)}
    problems = check_params(plan, shapes | absent)
    if problems:
        more = len(problems) - MAX_LISTED
        listed = "; ".join(problems[:MAX_LISTED]) + (f"; and {more} more" if more > 0 else "")
        raise ValueError(
            f"{where} does not fit {plan.config.name} in {len(problems)} parameters: {listed}"
        )
    if halting and newly_conditioned:
        had |= _shifted_back(had, plan, source.provenance.get("tau"), where)
    return had


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
    return {name: (params[name] - added).astype(np.float32) for name in names}


def _units_beyond(source: NetworkConfig, wanted: NetworkConfig) -> tuple[str, ...]:
    """Paths of the units that a source has beyond those of the network to be."""
    return tuple(
        f"block{block}/unit{unit}/"
        for block, (theirs, ours) in enumerate(
            zip(source.units_per_block, wanted.units_per_block, strict=False), 1
        )
        for unit in range(ours + 1, theirs + 1)
    )


def read_teacher(path: str, network: NetworkConfig) -> checkpoints.Checkpoint:
    """Read the checkpoint of a teacher.

    Raises
    ------
    ValueError
        If it cannot be read or knows other classes.
    """
    teacher = checkpoints.read(path)
    if teacher.config.num_classes != network.num_classes:
        raise ValueError(
            f"the teacher {path} has {teacher.config.num_classes} classes, "
            f"the data set {network.num_classes}"
        )
    return teacher


def training_preprocessing(config: TrainingConfig, image_size: int) -> Preprocessing:
    """Say how images are prepared for evaluation, in training and from then on.

    Those of padded crops whole, photographs by their central part, as the authors'.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    image_size : int
        Side of the images trained on.
    """
    kind = config.network.facts.kind
    kept = 1.0 if config.crop == "padded" else CENTRAL_PART
    return Preprocessing(kind, image_size, crop_fraction=kept, fit="crop")


def resolve_amp(choice: str, device: str, recorded: dict[str, Any] | None = None) -> str:
    """Turn ``auto`` into ``bf16`` or ``off``.

    bfloat16 is taken where the processor multiplies it (AVX512-BF16 or AMX, a
    CUDA GPU from Ampere on): there it measured 1.6 times as fast as float32. A
    processor that emulates it is several times slower with it.

    Parameters
    ----------
    choice : str
        ``auto``, ``bf16`` or ``off``.
    device : str
        torch device.
    recorded : dict, optional
        Recipe of the run to go on with: what it says holds.
    """
    if choice != "auto":
        return choice
    if recorded is not None and recorded.get("amp") in ("off", "bf16"):
        return str(recorded["amp"])
    if device.startswith("cuda"):
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "off"
    return "bf16" if _cpu_multiplies_bf16() else "off"


def _cpu_multiplies_bf16(info: str | Path = "/proc/cpuinfo") -> bool:
    try:
        text = Path(info).read_text()
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags
