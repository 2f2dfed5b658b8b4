"""Small checkpoints of TensorFlow with the authors' names, and how they are imported."""

from __future__ import annotations

from functools import partial

import numpy as np

from sact_core.config import NetworkConfig
from sact_core.import_tf import import_checkpoint, to_tf_names
from sact_core.import_tf.__main__ import main
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests import exits, tf_writer

CONFIGS = [
    NetworkConfig("cifar", (1, 2, 1), 4, 10, "sact"),
    NetworkConfig("cifar", (2, 1, 3), 2, 5, "act"),
    NetworkConfig("cifar", (1, 1, 1), 2, 3),
    NetworkConfig("imagenet", (1, 2, 1, 3), 2, 1001, "sact", sact_kernel_size=1),
    NetworkConfig("imagenet", (2, 1, 1, 1), 1, 4, "act"),
    NetworkConfig("imagenet", (1, 1, 2, 1), 1, 4),
]


def tf_variables(config, seed=0):
    plan = build_plan(config)
    params = init_params(plan, seed)
    return {theirs: params[ours] for ours, theirs in to_tf_names(plan).items()}


def imported(folder, variables, **options):
    tf_writer.write_bundle(folder / "model.ckpt", variables)
    made = import_checkpoint(folder / "model.ckpt", **options)
    return made, made.provenance["imported"]


def assert_params(made, variables, change=lambda v: v):
    for ours, theirs in to_tf_names(build_plan(made.config)).items():
        np.testing.assert_array_equal(made.params[ours], change(variables[theirs]), err_msg=ours)


fails = partial(exits.fails, main)
