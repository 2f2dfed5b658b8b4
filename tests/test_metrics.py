"""Streaming metrics against the authors' numbers and against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sact_core.backends import Net
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.flops import dense_flops
from sact_core.measures.metrics import Metrics, Spread, authors_block_name, l2_loss
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.result import BlockResult, Result
from tests.authors import read_network
from tests.conftest import need_reference


def authors_metrics() -> tuple[dict[str, np.ndarray], Net]:
    arrays = dict(np.load(need_reference("summary_sact_cifar.npz")))
    _, plan, params = read_network(need_reference(f"{arrays['variables_from']}.npz"))
    checkpoint = Checkpoint(plan.config, params, default_preprocessing("cifar"))
    return arrays, Net.from_checkpoint(checkpoint, "reference")


@pytest.mark.shared
def test_two_batches_stream_to_the_authors_numbers() -> None:
    arrays, net = authors_metrics()
    metrics = Metrics(net.plan)
    for images in (arrays["images"], arrays["images_second_batch"]):
        metrics.update(net.forward(images), np.zeros(len(images), np.int64))
    comp = metrics.summary()
    ref = {k.removeprefix("metric_stream/"): v for k, v in arrays.items() if "_stream/" in k}
    assert len(ref) == 20
    for name, value in ref.items():
        found = comp[name]
        if name in ("Total Flops/std", *(f"block_{b}/flops_std" for b in (1, 2, 3))):
            # Their [B, B] arrays count each image B = 3 times, 18 values of 6 images.
            found *= math.sqrt(3 * 5 / 17)
        assert found == pytest.approx(float(value), rel=2e-6), name


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float32])
def test_spread_is_numpys(rng: np.random.Generator, kind: type) -> None:
    values = (rng.random(1000) * 1e8).astype(kind)
    whole, parts = Spread(), [Spread(), Spread()]
    whole.add(values)
    parts[0].add(values[:1].reshape(1, 1))
    parts[1].add(values[1:].reshape(37, 27))
    parts[0].merge(parts[1])
    for spread in (whole, parts[0]):
        assert spread.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-12)
        assert spread.std == pytest.approx(values.std(dtype=np.float64, ddof=1), rel=1e-9)
    if kind is not np.float32:
        assert parts[0] == whole  # to the last bit


def test_spread_of_little() -> None:
    spread = Spread()
    assert math.isnan(spread.mean)
    spread.add(np.array([5]))
    assert (spread.mean, spread.std) == (5, 0)
    same = Spread()
    same.add(np.full(1000, 0.1, np.float32))
    assert same.std == pytest.approx(0, abs=1e-8)


def test_whole_numbers_are_exact_however_large() -> None:
    spread = Spread()
    spread.add(np.array([10**10 + 1, 10**10 + 3]))
    spread.add(np.array([10**10 + 5], np.int64))
    assert spread.total == 3 * 10**10 + 9
    assert (spread.mean, spread.std) == (10**10 + 3, 2)  # squares of 1e20 would lose it in float64


def drawn(rng: np.random.Generator, n: int, classes: int) -> tuple[Result, np.ndarray]:
    logits = rng.standard_normal((n, classes)).astype(np.float32)
    flops = rng.integers(1, 9, n)
    blocks = tuple(
        BlockResult(
            f"block{b + 1}",
            flops // 3,
            (2, 2),
            ponder_cost=rng.random((n, 2, 2), np.float32),
            num_units=rng.integers(1, 4, (n, 2, 2), np.int32),
        )
        for b in range(3)
    )
    return Result(logits, flops, blocks, {}, (8, 8)), rng.integers(0, classes, n)


def test_loss_accuracy_and_recall(rng: np.random.Generator) -> None:
    plan = build_plan(NetworkConfig(halting="sact", num_classes=12))
    result, labels = drawn(rng, 200, 12)
    metrics = Metrics(plan, tau=0.5, regularization=0.25)
    metrics.update(result, labels)
    found = metrics.summary()
    logits = result.logits.astype(np.float64)
    proba = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy = -np.log(proba[np.arange(200), labels]).mean()
    ponder = sum(
        block.ponder_cost.mean() for block in result.blocks if block.ponder_cost is not None
    )
    assert found["eval/Cross Entropy"] == pytest.approx(entropy)
    assert found["eval/Mean Loss"] == pytest.approx(entropy + 0.5 * ponder + 0.25)
    best = np.argsort(-logits, 1)
    assert found["eval/Accuracy"] == (best[:, 0] == labels).mean()
    assert found["eval/Recall@5"] == (best[:, :5] == labels[:, None]).any(1).mean()


def test_ties_by_hand() -> None:
    """Of equal logits the first is the answer; all of them are among the best five."""
    plan = build_plan(NetworkConfig(num_classes=12))
    flat, labels = np.zeros((4, 12), np.float32), np.array([0, 1, 11, 3])
    flat[3, 4:10] = 1  # six above the label's, so that five are better
    metrics = Metrics(plan)
    metrics.update(Result(flat, np.ones(4, np.int64), (), {}, (8, 8)), labels)
    assert (metrics.right, metrics.right_of_5) == (1, 3)


def test_every_image_counts_in_the_dense_flops() -> None:
    plan = build_plan(NetworkConfig())
    metrics = Metrics(plan)
    for n, side in ((3, 8), (1, 16)):
        result = Result(np.zeros((n, 10)), np.ones(n, np.int64), (), {}, (side, side))
        metrics.update(result, np.zeros(n, np.int64))
    small, large = (int(dense_flops(plan, (side, side)).total[0]) for side in (8, 16))
    assert metrics.dense.count == 4
    assert metrics.dense.mean == pytest.approx((3 * small + large) / 4, rel=1e-12)


def test_what_was_left_out_anywhere_is_kept() -> None:
    shards = [Metrics(build_plan(NetworkConfig())) for _ in range(3)]
    shards[0].left_out = {7: ("a.png", "is cut off")}
    shards[1].left_out = {2: ("b.png", "is no image"), 9: ("c.png", "is empty")}
    for shard in shards[1:]:
        shards[0].merge(shard)
    assert shards[0].left_out == {
        7: ("a.png", "is cut off"), 2: ("b.png", "is no image"), 9: ("c.png", "is empty")
    }  # fmt: skip


def test_batches_and_shards_change_nothing(rng: np.random.Generator) -> None:
    plan = build_plan(NetworkConfig(halting="sact"))
    batches = [drawn(rng, n, 10) for n in (3, 1, 4)]
    whole, shards = Metrics(plan, 0.1), [Metrics(plan, 0.1) for _ in range(2)]
    for i, batch in enumerate(batches):
        whole.update(*batch)
        shards[i % 2].update(*batch)
    shards[0].merge(shards[1])
    assert shards[0].summary() == pytest.approx(whole.summary(), rel=1e-12)
    assert shards[0].flops == whole.flops
    assert "eval/Recall@5" not in whole.summary()  # ten classes


def test_a_vanilla_network_has_flops_only(rng: np.random.Generator) -> None:
    metrics = Metrics(build_plan(NetworkConfig()), tau=1.0)
    metrics.update(*drawn(rng, 5, 10))
    found = metrics.summary()
    assert found["eval/Mean Loss"] == found["eval/Cross Entropy"]
    assert [name for name in found if "units" in name or "ponder" in name] == []
    assert "block_3/flops_std" in found


def test_block_names_are_the_authors() -> None:
    assert authors_block_name("cifar", "block2") == "block_2"
    assert authors_block_name("imagenet", "block2") == "block2"


def test_l2_covers_convolution_weights_only() -> None:
    params = init_params(build_plan(NetworkConfig(units_per_block=(1, 1, 1), base_channels=2)))
    ref = sum(float((v.astype(float) ** 2).sum()) for k, v in params.items() if k[-7:] == "/weight")
    assert l2_loss(params, 0.5) == pytest.approx(0.25 * ref)
