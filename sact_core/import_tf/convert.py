"""From variables to a config and parameters; every number is taken over bit for bit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.families import FAMILIES
from sact_core.import_tf.bundle import Bundle, open_bundle
from sact_core.import_tf.names import is_model_variable, tf_name, to_tf_names
from sact_core.plans import build_plan

_ROOTS = {"resnet_residual/": "cifar", "resnet_v2/": "imagenet"}
#: What has as many channels out as the config's ``base_channels``.
_WIDTHS = {"cifar": "stem/weight", "imagenet": "block1/unit1/conv1/weight"}
_UNIT = re.compile(r"(?:resnet_residual/block_|resnet_v2/block)(\d{1,9})/unit_(\d{1,9})/")


def config_from_tf(shapes: Mapping[str, tuple[int, ...]], eps: float = 0.01) -> NetworkConfig:
    """Find out what network variables describe.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        Shape of every variable by its TensorFlow name. Slots are ignored.
    eps : float
        Halting slack, which no variable tells.

    Raises
    ------
    ValueError
        If they are of neither family, or the network cannot be made out.
    """
    families = {
        family for root, family in _ROOTS.items() if any(n.startswith(root) for n in shapes)
    }
    if len(families) != 1:
        raise ValueError(
            "the variables are not those of one network of the authors: names should start with "
            "resnet_residual/ (CIFAR) or resnet_v2/ (ImageNet)"
        )
    family = families.pop()
    units = [0] * len(FAMILIES[family].stages)
    for match in filter(None, map(_UNIT.match, shapes)):
        block, unit = int(match[1]), int(match[2])
        if not 1 <= block <= len(units):
            raise ValueError(
                f"the variables have a block {block}; {family} networks have {len(units)}"
            )
        units[block - 1] = max(units[block - 1], unit)
    halting, kernel_size = "none", 3
    for name, shape in shapes.items():
        if "/halting_proba/local_conv/weights" in name:
            halting, kernel_size = "sact", shape[0] if len(shape) == 4 else 0
            break
        if "/halting_proba/" in name:
            halting = "act"
    return NetworkConfig(
        family,
        tuple(units),
        base_channels=_last_side(shapes, tf_name(family, _WIDTHS[family])),
        num_classes=_last_side(shapes, tf_name(family, "logits/weight")),
        halting=halting,
        sact_kernel_size=kernel_size,
        eps=eps,
    )


def params_from_tf(
    variables: Mapping[str, np.ndarray], eps: float = 0.01
) -> tuple[NetworkConfig, dict[str, np.ndarray]]:
    """Turn TensorFlow variables into a config and parameters.

    Parameters
    ----------
    variables : dict of str to np.ndarray [float32]
        By TensorFlow name. Slots and counters are left out.
    eps : float
        Halting slack, which no variable tells.

    Returns
    -------
    config : NetworkConfig
        What they describe.
    params : dict of str to np.ndarray [float32]
        In the order of the plan; the numbers are untouched.

    Raises
    ------
    ValueError
        If the network cannot be made out; or listing every missing and unknown
        variable and every wrong shape and type.
    """
    shapes = {name: tuple(values.shape) for name, values in variables.items()}
    config = config_from_tf(shapes, eps)
    check_variables(config, shapes, {name: str(v.dtype) for name, v in variables.items()})
    names = to_tf_names(build_plan(config))
    return config, {ours: variables[theirs] for ours, theirs in names.items()}


def check_variables(
    config: NetworkConfig, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]
) -> None:
    """Compare names, shapes and types with what a network needs.

    Raises
    ------
    ValueError
        Listing every missing and unknown variable and every wrong shape and type.
    """
    plan = build_plan(config)
    wanted = {tf_name(config.family, name): shape for name, shape in plan.param_shapes.items()}
    problems = [f"missing: {name} {shape}" for name, shape in wanted.items() if name not in shapes]
    for name, shape in shapes.items():
        if name not in wanted:
            if is_model_variable(name, shapes):
                problems.append(f"unknown: {name} {shape}")
        elif shape != wanted[name]:
            problems.append(f"wrong shape: {name} is {shape}, should be {wanted[name]}")
        elif dtypes[name] != "float32":
            problems.append(f"wrong type: {name} is {dtypes[name]}, should be float32")
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise ValueError(
            f"the variables do not make up a {config.name} ({config.family}, units "
            f"{config.units_per_block}):\n{listed}"
        )


def import_checkpoint(
    prefix: str | Path,
    eps: float = 0.01,
    class_names: tuple[str, ...] = (),
    image_size: int | None = None,
    command: str = "",
) -> Checkpoint:
    """Read a TensorFlow V2 checkpoint of the authors' code.

    Parameters
    ----------
    prefix : str or Path
        Common part of the names of its files.
    eps : float
        Halting slack that the network was trained with.
    class_names : tuple of str
        One per class, or empty. For a network with one class more, as the
        published ImageNet ones, "background" is put in front.
    image_size : int, optional
        Side of the input in pixels; the family's default if left out.
    command : str
        What to note as the command in the provenance.

    Raises
    ------
    ValueError
        If the files are damaged, or are no such checkpoint; all that does not
        fit is listed.
    """
    bundle = open_bundle(prefix)
    entries = bundle.entries
    shapes = {name: entry.shape for name, entry in entries.items()}
    config = config_from_tf(shapes, eps)
    # Names, shapes and types are checked before a tensor is read.
    check_variables(config, shapes, {name: entry.dtype for name, entry in entries.items()})
    names = to_tf_names(build_plan(config))
    params = {ours: bundle.read(theirs) for ours, theirs in names.items()}
    if class_names and len(class_names) == config.num_classes - 1:
        class_names = ("background", *class_names)
    preprocessing = default_preprocessing(config.family)
    if image_size is not None:
        preprocessing = type(preprocessing)(
            preprocessing.kind, image_size, preprocessing.crop_fraction
        )
    return Checkpoint(config, params, preprocessing, class_names, _provenance(bundle, command))


def _last_side(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    if name not in shapes or len(shapes[name]) != 4:
        raise ValueError(f"the variables lack {name}, a convolution, so the network is unknown")
    return shapes[name][3]


def _provenance(bundle: Bundle, command: str) -> dict[str, Any]:
    from sact_core import __version__

    provenance: dict[str, Any] = {
        "source": "imported from a TensorFlow V2 checkpoint",
        "files": bundle.hashes(),
        "command": command,
        "versions": {"sact_core": __version__, "numpy": np.__version__},
    }
    step = bundle.entries.get("global_step")
    if step is not None and step.dtype in ("int32", "int64") and step.shape == ():
        provenance["global_step"] = int(bundle.read("global_step"))
    return provenance
