"""From variables to a config and parameters; every number is taken over bit for bit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.families import FAMILIES
from sact_core.import_tf.bundle import Bundle, open_bundle
from sact_core.import_tf.choose import AVERAGE, Choice, choose, listed
from sact_core.import_tf.names import tf_name, to_tf_names
from sact_core.plans import build_plan
from sact_core.texts import shown

#: Types of variables that are taken over, and how many misfits are named.
FLOATS = ("float32", "float16", "bfloat16", "float64")
MAX_PROBLEMS = 20
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
    raw = choose(variables).raw
    shapes = {name: tuple(variables[entry].shape) for name, entry in raw.items()}
    config = config_from_tf(shapes, eps)
    check_variables(config, shapes, {name: str(variables[raw[name]].dtype) for name in raw})
    names = to_tf_names(build_plan(config))
    return config, {ours: variables[raw[theirs]] for ours, theirs in names.items()}


def check_variables(
    config: NetworkConfig,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    types: Collection[str] = ("float32",),
) -> None:
    """Compare names, shapes and types with what a network needs.

    Raises
    ------
    ValueError
        Listing missing and unknown variables, wrong shapes and types: the first
        `MAX_PROBLEMS`, and how many more.
    """
    plan = build_plan(config)
    wanted = {tf_name(config.family, name): shape for name, shape in plan.param_shapes.items()}
    problems = [f"missing: {name} {shape}" for name, shape in wanted.items() if name not in shapes]
    for name, shape in shapes.items():
        if name not in wanted:
            problems.append(f"unknown: {shown(name)} {shape}")
        elif shape != wanted[name]:
            problems.append(f"wrong shape: {name} is {shape}, should be {wanted[name]}")
        elif dtypes[name] not in types:
            problems.append(f"wrong type: {name} is {dtypes[name]}, should be float32")
    if problems:
        more = len(problems) - MAX_PROBLEMS
        if more > 1:
            problems[MAX_PROBLEMS:] = [f"and {more:,} more"]
        lines = "\n".join(f"- {problem}" for problem in problems)
        raise ValueError(
            f"the variables do not make up a {config.name} ({config.family}, units "
            f"{config.units_per_block}):\n{lines}"
        )


def import_checkpoint(
    prefix: str | Path,
    eps: float = 0.01,
    class_names: tuple[str, ...] = (),
    image_size: int | None = None,
    command: str = "",
    weights: str | None = None,
    scope: str | None = None,
) -> Checkpoint:
    """Read a TensorFlow V2 checkpoint of the authors' code.

    Numbers are taken over bit for bit; those of half precision become the same in
    float32, those of double precision are rounded to it. What was taken, from where, and
    what was left out stand in the provenance, under ``imported``.

    Parameters
    ----------
    prefix : str or Path
        Common part of the names of its files, the name of one of them, or their folder,
        of which the newest is taken.
    eps : float
        Halting slack that the network was trained with.
    class_names : tuple of str
        One per class, or empty. For a network with one class more, as the
        published ImageNet ones, "background" is put in front.
    image_size : int, optional
        Side of the input in pixels; the family's default if left out.
    command : str
        What to note as the command in the provenance.
    weights : str, optional
        ``"averaged"``: moving averages where a variable has one. ``"raw"``: what the last
        step left. By default the first, where there are any.
    scope : str, optional
        Of the network that is meant, where there are several.

    Raises
    ------
    ValueError
        If the files are damaged, or are no such checkpoint; all that does not
        fit is listed.
    """
    bundle = open_bundle(prefix).by_name()
    entries = bundle.entries
    choice = choose(entries, scope)
    taken = _take(choice, weights)
    shapes = {name: entries[entry].shape for name, entry in taken.items()}
    config = config_from_tf(shapes, eps)
    # Names, shapes and types are checked before a tensor is read.
    dtypes = {name: entries[entry].dtype for name, entry in taken.items()}
    check_variables(config, shapes, dtypes, FLOATS)
    names = to_tf_names(build_plan(config))
    params = {ours: _single(theirs, bundle.read(taken[theirs])) for ours, theirs in names.items()}
    if class_names and len(class_names) == config.num_classes - 1:
        class_names = ("background", *class_names)
    preprocessing = default_preprocessing(config.family)
    if image_size is not None:
        preprocessing = type(preprocessing)(
            preprocessing.kind, image_size, preprocessing.crop_fraction
        )
    provenance = _provenance(bundle, command)
    provenance["imported"] = _imported(choice, taken, {dtypes[name] for name in names.values()})
    return Checkpoint(config, params, preprocessing, class_names, provenance)


def _last_side(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    if name not in shapes or len(shapes[name]) != 4:
        raise ValueError(f"the variables lack {name}, a convolution, so the network is unknown")
    return shapes[name][3]


def _take(choice: Choice, weights: str | None) -> dict[str, str]:
    """The entry of every variable, by the network's own name."""
    if weights == "raw":
        return choice.raw
    if weights == "averaged" and not choice.averages:
        raise ValueError("the checkpoint holds no moving averages: leave out --weights averaged")
    return choice.raw | choice.averages


def _single(name: str, values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        single: np.ndarray = values.astype(np.float32)
    if np.isinf(single).any() and not np.isinf(values).any():
        raise ValueError(f"{shown(name)} holds numbers that are too large for single precision")
    return single


def _imported(choice: Choice, taken: Mapping[str, str], dtypes: Collection[str]) -> dict[str, Any]:
    """What was taken and left out, in plain JSON values."""
    averaged = sum(name in choice.averages for name in taken if taken is not choice.raw)
    left_out = Counter(choice.left_out)
    if choice.averages and not averaged:
        left_out[f"of {AVERAGE}"] += len(choice.averages)
    about: dict[str, Any] = {"weights": "averaged" if averaged else "raw"}
    if averaged:
        about |= {"num_averaged": averaged, "num_raw": len(taken) - averaged}
    if choice.scope:
        about["scope"] = choice.scope
    if others := sorted(set(dtypes) - {"float32"}):
        about["converted_from"] = ", ".join(others)
    return about | ({"left_out": listed(left_out)} if left_out else {})


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
