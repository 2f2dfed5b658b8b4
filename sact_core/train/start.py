"""What a run starts from: parameters, preprocessing, a teacher, the number format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sact_core import checkpoint as checkpoints
from sact_core.config import Preprocessing
from sact_core.network import Plan
from sact_core.parameters import init_params
from sact_core.processes import Processes
from sact_core.resources import cores
from sact_core.train.recipes import TrainingConfig
from sact_core.train.transfer import grown, transferable

#: Share of each side of a photograph that is kept where training saw parts of it,
#: as in the authors' evaluation.
CENTRAL_PART = 0.875


def left_open(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give what flags leave open when a checkpoint is fine-tuned or grown: as it is itself.

    Parameters
    ----------
    given : mapping
        Flags by name; ``finetune_from`` or ``grow_from`` is one.

    Returns
    -------
    dict
        Its network, image size and, where its halting branches are taken, tau, by
        the names of the flags; nothing of the network if another family is asked for,
        and not the units of one that is to grow.

    Raises
    ------
    CheckpointError, OSError
        If it cannot be read.
    """
    grows = not given.get("finetune_from")
    header = checkpoints.read_header(given["grow_from" if grows else "finetune_from"])
    network = header.config
    if given.get("family", network.family) != network.family:
        return {}
    kept = ("family", "halting", "base_channels", "sact_kernel_size", "halting_bias", "eps")
    found: dict[str, Any] = {name: getattr(network, name) for name in kept}
    if not grows:
        found["units"] = "_".join(map(str, network.units_per_block))
    if given.get("halting", network.halting) != "none":
        found["block_output"] = network.block_output
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
    """Draw fresh parameters, or take those of the checkpoint to fine-tune or to grow.

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
    if config.grow_from:
        source = checkpoints.read(config.grow_from)
        params |= grown(source, plan, config.grow_from, config.finetune_halting)
    return params


def read_teachers(
    config: TrainingConfig, class_names: Sequence[str]
) -> list[checkpoints.Checkpoint]:
    """Read the checkpoints of the teachers: none, one or two.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    class_names : sequence of str
        Of the data set, in order; without labels they are the teacher's, and do not count.

    Raises
    ------
    ValueError
        If one cannot be read or knows other classes.
    """
    paths = filter(None, (config.distill_from, config.distill_also))
    return [_teacher(path, config, class_names) for path in paths]


def _teacher(
    path: str, config: TrainingConfig, class_names: Sequence[str]
) -> checkpoints.Checkpoint:
    teacher = checkpoints.read(path)
    if config.labels == "none":
        return teacher
    theirs, ours = teacher.config.num_classes, len(class_names)
    if theirs != ours:
        raise ValueError(f"the teacher {path} has {theirs} classes, the data set {ours}")
    pairs = zip(teacher.class_names, class_names, strict=False)  # it may not name them
    for one, other in pairs:
        if one != other:
            raise ValueError(
                f"the teacher {path} knows other classes than the data set: {one!r} where that "
                f"has {other!r}"
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


def require_compiler(device: str) -> None:
    """Refuse ``--compile`` where torch has nothing to compile with; it tries something small.

    Raises
    ------
    ValueError
        If there is no compiler, or what it made does not run; the message has torch's reason.
    """
    import torch

    try:
        torch.compile(lambda x: 2 * x + 1)(torch.ones(8, device=device))
    except Exception as error:  # whatever the compilers make of what they do not find
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"--compile finds nothing to compile with ({reason}): install a C++ compiler, such as "
            f"g++, or leave --compile out"
        ) from None
    finally:
        torch._dynamo.reset()  # so that it does not count as a first of the network's shapes


def use_threads(num_threads: int | None, processes: Processes) -> None:
    """Set torch's number of threads.

    Parameters
    ----------
    num_threads : int, optional
        As asked for; where left out it stays torch's own, but no more than this
        process' share of what may be kept busy here.
    processes : Processes
        Those on this machine share its cores.
    """
    import torch

    share = processes.num_threads() or cores()
    torch.set_num_threads(num_threads or min(torch.get_num_threads(), share))


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
