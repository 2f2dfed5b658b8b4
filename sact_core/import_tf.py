"""Import a TensorFlow checkpoint of the authors' code, without TensorFlow.

    python -m sact_core.import_tf model.ckpt-1000 --out pretrained/model.h5
    python -m sact_core.import_tf model.ckpt --out m.h5 --class-names names.txt

Family, units per block, width, kernel size, halting kind and number of classes
are found from the variables' names and shapes. Every number is taken over bit
for bit. Optimiser slots and the global step are left out.

Source: variable names of mfigurnov/sact (``resnet_residual`` for CIFAR,
``resnet_v2`` for ImageNet).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.checkpoint import Checkpoint, write
from sact_core.commands import run
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.network import Plan, build_plan
from sact_core.tf_bundle import Bundle, open_bundle

#: The table: our paths on the left, the authors' on the right. A path is
#: translated by the first row that matches all of it; what stands behind the
#: layer (``weight``, ``gamma``, …) is translated by `_PARTS`.
_LAYERS = {
    "cifar": (
        (r"stem", r"resnet_residual/Conv"),
        (r"postnorm", r"resnet_residual/BatchNorm"),
        (r"logits", r"resnet_residual/logits"),
        (
            r"block(\d+)/unit(\d+)/halting_proba/(\w+)",
            r"resnet_residual/block_\1/unit_\2/halting_proba/\3",
        ),
        (
            r"block(\d+)/unit(\d+)/(\w+)/bn",
            r"resnet_residual/block_\1/unit_\2/residual/\3/BatchNorm",
        ),
        (r"block(\d+)/unit(\d+)/(\w+)", r"resnet_residual/block_\1/unit_\2/residual/\3"),
    ),
    "imagenet": (
        (r"stem", r"resnet_v2/conv1"),
        (r"postnorm", r"resnet_v2/postnorm"),
        (r"logits", r"resnet_v2/logits"),
        (
            r"block(\d+)/unit(\d+)/halting_proba/(\w+)",
            r"resnet_v2/block\1/unit_\2/halting_proba/\3",
        ),
        (r"block(\d+)/unit(\d+)/(\w+)/bn", r"resnet_v2/block\1/unit_\2/bottleneck_v2/\3/BatchNorm"),
        (r"block(\d+)/unit(\d+)/(\w+)", r"resnet_v2/block\1/unit_\2/bottleneck_v2/\3"),
    ),
}
_PARTS = {"weight": "weights", "bias": "biases"}
_ROOTS = {"resnet_residual/": "cifar", "resnet_v2/": "imagenet"}
_UNIT = re.compile(r"(?:resnet_residual/block_|resnet_v2/block)(\d{1,9})/unit_(\d{1,9})/")

#: What TensorFlow's optimisers add behind a variable's name.
_SLOTS = re.compile(r"/(Momentum|RMSProp(_\d)?|Adam(_\d)?|Adagrad|Adadelta(_\d)?|Ftrl(_\d)?)$")
_COUNTERS = ("global_step", "beta1_power", "beta2_power")

CIFAR10_NAMES = (
    "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
)


def tf_name(family: str, name: str) -> str:
    """Translate one of our parameter names to the authors'.

    Parameters
    ----------
    family : str
        ``"cifar"`` or ``"imagenet"``.
    name : str
        Such as ``block2/unit3/conv1/weight``.

    Raises
    ------
    ValueError
        If it is no parameter name.
    """
    layer, _, part = name.rpartition("/")
    for pattern, replacement in _LAYERS[family]:
        match = re.fullmatch(pattern, layer)
        if match:
            return f"{match.expand(replacement)}/{_PARTS.get(part, part)}"
    raise ValueError(f"{name!r} is no parameter of the {family} family")


def to_tf_names(plan: Plan) -> dict[str, str]:
    """Give the authors' name of every parameter of a network, by ours."""
    return {name: tf_name(plan.config.family, name) for name in plan.param_shapes}


def is_model_variable(name: str, names: Iterable[str]) -> bool:
    """Tell a variable of the model from optimiser slots and counters.

    Parameters
    ----------
    name : str
        A TensorFlow name.
    names : collection of str
        All names of the checkpoint: a slot belongs to one of them.
    """
    return name not in _COUNTERS and not (_SLOTS.search(name) and _SLOTS.sub("", name) in names)


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
    units = [0] * (3 if family == "cifar" else 4)
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
    width = "stem/weight" if family == "cifar" else "block1/unit1/conv1/weight"
    return NetworkConfig(
        family,
        tuple(units),
        base_channels=_last_side(shapes, tf_name(family, width)),
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


def read_class_names(source: str) -> tuple[str, ...]:
    """Read one name per line from a text file; the word ``cifar10`` stands for its ten names.

    Raises
    ------
    ValueError
        If the file is no UTF-8 text or is empty.
    OSError
        If it cannot be read.
    """
    if source == "cifar10":
        return tuple(CIFAR10_NAMES)
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{source} is no UTF-8 text") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ValueError(f"{source} holds no class names")
    return names


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.import_tf",
        description="Import a TensorFlow V2 checkpoint of the authors' code, bit for bit.",
    )
    parser.add_argument(
        "prefix", metavar="PREFIX", help="common part of the names of its .index and .data- files"
    )
    parser.add_argument("--out", required=True, metavar="FILE.h5", help="checkpoint to write")
    parser.add_argument("--force", action="store_true", help="replace --out if it exists")
    parser.add_argument(
        "--eps", type=float, default=0.01, help="halting slack of the network (default 0.01)"
    )
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="text file with a class name per line, or the word cifar10",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="side of the input in pixels (default 32 or 224)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; give its exit code."""
    args = build_parser().parse_args(argv)
    command = " ".join(["python -m sact_core.import_tf", *(sys.argv[1:] if argv is None else argv)])
    return run(lambda: _import(args, command))


def _import(args: argparse.Namespace, command: str) -> None:
    if Path(args.out).exists() and not args.force:
        raise FileExistsError(f"{args.out} exists; give --force to replace it")
    names = read_class_names(args.class_names) if args.class_names else ()
    checkpoint = import_checkpoint(args.prefix, args.eps, names, args.image_size, command)
    write(args.out, checkpoint)
    config = checkpoint.config
    print(
        f"{args.out}: {config.name}, {config.family} family, units {config.units_per_block}, "
        f"{config.base_channels} base channels, {config.num_classes} classes, "
        f"{sum(p.size for p in checkpoint.params.values()):,} parameters"
    )


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


if __name__ == "__main__":
    raise SystemExit(main())
