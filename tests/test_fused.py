"""The fused training step against float64 formulas and against the plain one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sact_core.backends import dense
from sact_core.backends.dense import fused, kernels
from sact_core.config import NetworkConfig
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.test_dense import golden, golden_loss

pytestmark = pytest.mark.skipif(kernels.INTERPRETED, reason="needs compiled vectors")

EPS, SLOPE = 1e-3, 0.1
#: Largest difference, relative to the largest value of an array.
CLOSE = {torch.float32: 2e-6, torch.bfloat16: 6e-3}


def drawn(rng: np.random.Generator, dtype: torch.dtype, *shape: int, mean: float = 0.0) -> Tensor:
    values = torch.from_numpy(mean + rng.standard_normal(shape)).to(dtype)
    if len(shape) == 4:
        values = values.contiguous(memory_format=torch.channels_last)
    return values.requires_grad_()


def ref_norm(x: Tensor, gamma: Tensor, beta: Tensor, slope: float) -> Tensor:
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    z = (x - mean) / torch.sqrt(variance + EPS)
    return F.leaky_relu(z * gamma[:, None, None] + beta[:, None, None], slope)


def agree(
    comp: Callable[..., tuple[Tensor, ...]],
    ref: Callable[..., tuple[Tensor, ...]],
    inputs: list[Tensor],
    rng: np.random.Generator,
) -> None:
    """Results and gradients of two functions agree; the reference runs in float64."""
    doubles = [value.detach().double().requires_grad_(value.requires_grad) for value in inputs]
    close = CLOSE[inputs[0].dtype]
    comps, refs = comp(*inputs), ref(*doubles)
    weights = [torch.from_numpy(rng.standard_normal(r.shape)) for r in refs]
    torch.autograd.backward(comps, [w.to(c.dtype) for w, c in zip(weights, comps, strict=True)])
    weights = [w.to(c.dtype).double() for w, c in zip(weights, comps, strict=True)]
    torch.autograd.backward(refs, weights)
    pairs = list(zip(comps, refs, strict=True))
    pairs += [
        (mine.grad, theirs.grad)
        for mine, theirs in zip(inputs, doubles, strict=True)
        if mine.requires_grad and mine.grad is not None and theirs.grad is not None
    ]
    assert len(pairs) == len(comps) + sum(value.requires_grad for value in inputs)
    for mine, theirs in pairs:
        assert mine.shape == theirs.shape
        assert (mine.double() - theirs).abs().max() <= close * max(1, theirs.abs().max())


@pytest.mark.parametrize(("channels", "side"), [(16, 8), (48, 3), (32, 1)])
@pytest.mark.parametrize(
    ("dtype", "mean"),
    [(torch.float32, 0.0), (torch.float32, 30.0), (torch.bfloat16, 0.0)],
)
def test_norm_agrees_with_float64(
    rng: np.random.Generator, dtype: torch.dtype, channels: int, side: int, mean: float
) -> None:
    x = drawn(rng, dtype, 4, channels, side, side, mean=mean)
    gamma, beta = drawn(rng, torch.float32, channels), drawn(rng, torch.float32, channels)

    def ref(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        return ref_norm(x, gamma, beta, SLOPE), x.mean((2, 3))

    agree(lambda *a: fused.norm(*a, EPS, SLOPE)[:2], ref, [x, gamma, beta], rng)
    moments = fused.norm(x, gamma, beta, EPS, SLOPE)[2:]
    values = x.detach().double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(moments[0].double(), values.mean(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(moments[1].double(), values.var(1, correction=0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("channels", "height", "width"), [(16, 8, 8), (32, 3, 5), (16, 1, 2)])
def test_branch_agrees_with_float64(
    rng: np.random.Generator, dtype: torch.dtype, channels: int, height: int, width: int
) -> None:
    x = drawn(rng, dtype, 3, channels, height, width)
    norms = [drawn(rng, torch.float32, channels) for _ in range(4)]
    weight = drawn(rng, torch.float32, 1, channels, 3, 3)

    def comp(x: Tensor, g1: Tensor, b1: Tensor, g2: Tensor, b2: Tensor, w: Tensor):  # type: ignore[no-untyped-def]
        return fused.branch(x, (g1, b1, 0.0), (g2, b2, SLOPE), w, EPS)[:3]

    def ref(x: Tensor, g1: Tensor, b1: Tensor, g2: Tensor, b2: Tensor, w: Tensor):  # type: ignore[no-untyped-def]
        filtered = F.conv2d(ref_norm(x, g2, b2, SLOPE), w.contiguous(), padding=1)
        return ref_norm(x, g1, b1, 0.0), filtered[:, 0], x.mean((2, 3))

    agree(comp, ref, [x, *norms, weight], rng)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gate_agrees_with_float64(rng: np.random.Generator, dtype: torch.dtype) -> None:
    x, residual, output = (drawn(rng, dtype, 3, 32, 5, 4) for _ in range(3))
    active = torch.from_numpy(rng.random((3, 5, 4)) < 0.5)
    left = (torch.from_numpy(rng.random((3, 5, 4)).astype(np.float32)) * active).requires_grad_()

    def ref(x: Tensor, residual: Tensor, output: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        return x + residual * active[:, None], output + residual * left[:, None]

    agree(
        lambda x, residual, output, left: fused.gate(x, residual, output, active, left),
        ref,
        [x, residual, output, left],
        rng,
    )


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit(rng: np.random.Generator, threads: int) -> None:
    plan = build_plan(NetworkConfig(units_per_block=(2, 2, 2), base_channels=16, halting="sact"))
    params = init_params(plan)
    x = torch.from_numpy(rng.standard_normal((4, 3, 8, 8)).astype(np.float32))
    norms = []
    before = torch.get_num_threads()
    for count in (1, threads):
        torch.set_num_threads(count)
        try:
            gamma, beta = torch.ones(16, requires_grad=True), torch.zeros(16, requires_grad=True)
            map_ = F.conv2d(x, torch.from_numpy(params["stem/weight"]).permute(3, 2, 0, 1))
            map_ = map_.detach().requires_grad_()
            y = fused.norm(map_, gamma, beta, EPS, SLOPE)[0]
            y.backward(y.detach())
        finally:
            torch.set_num_threads(before)
        norms.append([y.detach(), map_.grad, gamma.grad, beta.grad])
    for one, many in zip(*norms, strict=True):
        assert one is not None
        assert many is not None
        assert torch.equal(one, many)


def evaluated(network: dense.Network, x: Tensor) -> Tensor:
    """Logits in evaluation, by the moving statistics."""
    network.eval()
    with torch.inference_mode():
        return network(x)[0]


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize(
    ("halting", "kernel_size"), [("none", 3), ("act", 3), ("sact", 1), ("sact", 3)]
)
def test_network_agrees_with_the_plain_one(halting: str, family: str, kernel_size: int) -> None:
    units = (2, 3, 1) if family == "cifar" else (2, 3, 1, 2)
    plan = build_plan(
        NetworkConfig(
            family=family,
            units_per_block=units,
            halting=halting,
            halting_bias=-0.5,
            sact_kernel_size=kernel_size,
        )
    )
    rng = np.random.default_rng(1)
    params = init_params(plan, 1)
    side = 16 if family == "cifar" else 40
    x = torch.from_numpy(rng.standard_normal((6, 3, side, side)).astype(np.float32))
    labels = torch.arange(6)
    found = []
    for is_fused in (False, True):
        network = dense.Network(plan, params, is_fused).train()
        logits, traces = network(x)
        total = dense.loss(network, logits, traces, labels, 0.01, 2e-4).total
        total.backward()
        grads = {k: v.grad for k, v in network.named_parameters()}
        counts = dense.count_positions(plan, traces, 6, (side, side))
        buffers = {k: v.clone() for k, v in network.named_buffers()}
        found.append((total, grads, buffers, counts, evaluated(network, x)))
    (ref_total, ref_grads, ref_buffers, ref_counts, ref_logits), comp = found
    total, grads, buffers, counts, logits = comp
    torch.testing.assert_close(logits, ref_logits, rtol=1e-4, atol=1e-4)
    assert total.item() == pytest.approx(ref_total.item(), rel=1e-5)
    for name, count in counts.items():
        np.testing.assert_array_equal(count, ref_counts[name])
    for name, moving in buffers.items():
        torch.testing.assert_close(moving, ref_buffers[name], rtol=1e-5, atol=1e-5)
    largest = max(value.norm() for value in ref_grads.values() if value is not None)
    for name, grad in grads.items():
        ref = ref_grads[name]
        assert grad is not None, name
        assert ref is not None, name
        # A few activations lie within rounding of the kink, where either slope is right.
        assert (grad - ref).norm() <= 2e-2 * ref.norm() + 1e-4 * largest, name


@pytest.mark.shared
@pytest.mark.parametrize("name", ["train_cifar_sact_2", "train_imagenet_sact_2_2_2_2"])
def test_three_fused_steps_end_where_the_authors_end(name: str) -> None:
    arrays, network = golden(name)
    network.fused = True
    before = dict(network.params())
    seen: list[Tensor] = []
    assert any(bn.channels % kernels.LANES == 0 for bn in network.plan.batch_norms)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=float(arrays["learning_rate"]), momentum=float(arrays["momentum"])
    )
    for _ in range(3):
        total = golden_loss(network, arrays).total
        seen.append(total.detach())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    ref = arrays["trajectory_total_loss"]
    np.testing.assert_allclose(torch.stack(seen).numpy(), ref, rtol=1e-5)
    assert any((network.params()[k] != v).any() for k, v in before.items())
