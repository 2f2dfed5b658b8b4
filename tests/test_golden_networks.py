"""Whole networks on every backend against the authors' own outputs."""

from __future__ import annotations

import numpy as np
import pytest

from sact_core.backends import BACKENDS
from sact_core.checkpoint import Checkpoint
from sact_core.config import default_preprocessing
from tests.authors import read_network
from tests.networks import assert_close, build_net, halting_margin

CIFAR = [
    "cifar_act_2",
    "cifar_act_2_3_4",
    "cifar_act_5",
    "cifar_act_early_stopping_2",
    "cifar_act_early_stopping_2_3_4",
    "cifar_act_early_stopping_5",
    "cifar_sact_1_2_3",
    "cifar_sact_2",
    "cifar_sact_5",
    "cifar_vanilla_1_2_3",
    "cifar_vanilla_2",
    "cifar_vanilla_5",
]
IMAGENET = [
    "imagenet_act_early_stopping_small",
    "imagenet_act_small",
    "imagenet_sact_small",
    "imagenet_vanilla_small",
]


def run(path, backend, prefix):
    """Run a reference file's images through its network."""
    arrays, plan, params = read_network(path)
    images = f"{prefix}images"
    if images not in arrays:
        arrays[images] = np.load(path.parent / f"{arrays['variables_from']}.npz")[images]
    checkpoint = Checkpoint(plan.config, params, default_preprocessing(plan.config.family))
    net = build_net(checkpoint, backend)
    return net.forward(arrays[images], keep_outputs=True), arrays, plan


def assert_golden(result, arrays, plan, prefix):
    logits = arrays[f"{prefix}logits"]
    np.testing.assert_allclose(result.logits, logits, rtol=0, atol=1e-4 * np.abs(logits).max())
    np.testing.assert_array_equal(result.flops, arrays[f"{prefix}flops"])
    if f"{prefix}predictions" in arrays:
        np.testing.assert_allclose(
            result.probabilities, arrays[f"{prefix}predictions"], rtol=0, atol=1e-4
        )
    underscore = "_" if plan.config.family == "cifar" else ""
    for i, block in enumerate(result.blocks):
        root = f"{prefix}block{underscore}{i + 1}"
        np.testing.assert_array_equal(block.flops, arrays[f"{root}/flops"])
        if f"{root}/output" in arrays:
            assert_close(block.output, arrays[f"{root}/output"], f"{root}/output")
        if plan.config.halting == "none":
            assert f"{root}/num_units" not in arrays
            assert block.num_units is None
            continue
        np.testing.assert_array_equal(block.num_units, arrays[f"{root}/num_units"])
        for name in ("ponder_cost", "halting_distribution"):
            np.testing.assert_allclose(
                getattr(block, name), arrays[f"{root}/{name}"], rtol=0, atol=1e-4, err_msg=name
            )
    if plan.config.halting != "none":
        # The file says how near the nearest running sum is; so near are ours.
        assert halting_margin(result, plan.config.eps) > arrays["margin_cumsum"] - 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CIFAR)
def test_cifar_network(reference_dir, name, backend):
    result, arrays, plan = run(reference_dir / f"{name}.npz", backend, "")
    assert_golden(result, arrays, plan, "")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("prefix", ["square/", "rect/"])
@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_network(reference_dir, name, prefix, backend):
    result, arrays, plan = run(reference_dir / f"{name}.npz", backend, prefix)
    assert_golden(result, arrays, plan, prefix)


def test_no_network_file_is_left_out(reference_dir):
    found = [path.stem for path in reference_dir.glob("cifar_*.npz")]
    assert sorted(found) == sorted(CIFAR)
    found = [path.stem for path in reference_dir.glob("imagenet_*.npz")]
    assert sorted(found) == sorted(IMAGENET)


@pytest.mark.parametrize("metric", ["ponder_cost", "num_units"])
@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_maps_agree_with_the_authors(reference_dir, family, metric):
    summary = np.load(reference_dir / f"summary_sact_{family}.npz")
    path = reference_dir / f"{summary['variables_from']}.npz"
    prefix = "" if family == "cifar" else "rect/"
    result, arrays, _ = run(path, "reference", prefix)
    if family == "cifar":
        np.testing.assert_array_equal(summary["images"], arrays["images"])
    else:
        assert str(summary["images_from"]) == f"{path.stem} rect/images"
    comp = result.map(metric)
    ref = summary[f"map/{metric}"][..., 0]
    assert comp.dtype == np.float32
    if metric == "num_units":
        np.testing.assert_array_equal(comp, ref)
    else:
        np.testing.assert_allclose(comp, ref, rtol=0, atol=1e-4)
