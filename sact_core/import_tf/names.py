"""Our names of parameters, and the authors' names of variables."""

from __future__ import annotations

import re

from sact_core.network import Plan

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
