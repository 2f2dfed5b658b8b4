"""The authors' networks in the reference files, under our names.

A small mapping of TensorFlow names of its own, so that the tests of the
backends do not lean on the importer.
"""

from __future__ import annotations

import re

import numpy as np

from sact_core.config import NetworkConfig
from sact_core.plans import build_plan

LAST = {"weights": "weight", "biases": "bias"}


def param_name(name):
    """Rewrite a TensorFlow variable name as a path of ours."""
    root, *parts = name.split("/")
    if root == "resnet_residual":
        path = "/".join(parts)
        path = re.sub(r"^Conv/", "stem/", path)
        path = re.sub(r"^BatchNorm/", "postnorm/", path)
        path = path.replace("/residual/", "/")
    else:
        assert root == "resnet_v2"
        path = "/".join(parts)
        path = re.sub(r"^conv1/", "stem/", path)
        path = path.replace("/bottleneck_v2/", "/")
    path = path.replace("BatchNorm/", "bn/")
    path = re.sub(r"block_?(\d+)/unit_(\d+)/", r"block\1/unit\2/", path)
    head, last = path.rsplit("/", 1)
    return f"{head}/{LAST.get(last, last)}"


def read_network(path):
    """Give the arrays, the plan and the parameters of a reference file."""
    arrays = dict(np.load(path))
    source = arrays
    if "variables_from" in arrays:
        source = np.load(path.parent / f"{arrays['variables_from']}.npz")
    params = {
        param_name(name.removeprefix("var/")): np.asarray(source[name])
        for name in source
        if name.startswith("var/")
    }
    family = (
        "imagenet" if "stem/weight" in params and params["stem/weight"].shape[0] == 7 else "cifar"
    )
    units = [int(count) for count in arrays["model"]]
    if family == "cifar" and len(units) == 1:
        units *= 3
    kind = str(arrays["model_type"]).removesuffix("_early_stopping")
    local = next((v for k, v in params.items() if k.endswith("local_conv/weight")), None)
    config = NetworkConfig(
        family=family,
        units_per_block=tuple(units),
        base_channels=int(arrays["base_channels"]),
        num_classes=int(arrays["num_classes"]),
        halting="none" if kind == "vanilla" else kind,
        sact_kernel_size=3 if local is None else local.shape[0],
    )
    return arrays, build_plan(config), params
