"""Training one network for every tau: prices drawn, told and paid per image."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sact_core import checkpoint as checkpoints
from sact_core.backends import dense
from sact_core.backends.dense import kernels
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.plans import build_plan
from sact_core.train import __main__ as command
from sact_core.train import report
from sact_core.train.batches import Augmenter, Batch
from sact_core.train.learner import Learner
from sact_core.train.loop import Trainer
from sact_core.train.recipes import TrainingConfig, config_from_dict, config_to_dict
from sact_core.train.run_dir import RunDir
from sact_core.train.start import initial_params
from tests.networks import random_params
from tests.training import batch, draw_images, examples

LOW, HIGH = 0.002, 0.2
TINY = NetworkConfig(
    units_per_block=(2, 2, 2),
    base_channels=4,
    num_classes=3,
    halting="sact",
    halting_bias=-0.5,
    tau_conditioned=True,
    tau_low=LOW,
    tau_high=HIGH,
)


def spread(num: int = 12) -> np.ndarray:
    return np.geomspace(LOW, HIGH, num)


def priced(num: int = 12) -> Batch:
    given = batch(num)
    return Batch(given.images, given.labels, spread(num))


# --- prices ---


def test_taus_depend_on_seed_epoch_and_step_alone() -> None:
    images, labels = draw_images(32)
    config = TrainingConfig(TINY, batch_size=16)
    one, other = (Augmenter(images, labels, config, "cifar") for _ in range(2))
    order = one.order(0)
    first, second = (one.batch(0, step, order, 0, 1).taus for step in (0, 1))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(other.batch(0, 1, order, 0, 1).taus, second)
    for rank in (0, 1):
        np.testing.assert_array_equal(one.batch(0, 1, order, rank, 2).taus, second[rank::2])
    other_epoch = one.batch(1, 0, order, 0, 1).taus
    assert len({*first, *second, *np.asarray(other_epoch)}) == 48
    fixed = TrainingConfig(NetworkConfig(halting="sact"), batch_size=16)
    plain = Augmenter(images, labels, fixed, "cifar").batch(0, 1, order, 0, 1)
    assert plain.taus is None
    np.testing.assert_array_equal(plain.images, one.batch(0, 1, order, 0, 1).images)


def test_taus_are_even_in_the_logarithm() -> None:
    images, labels = draw_images(2000)
    config = TrainingConfig(TINY, batch_size=2000)
    augmenter = Augmenter(images, labels, config, "cifar")
    taus = augmenter.batch(0, 0, augmenter.order(0), 0, 1).taus
    assert taus is not None
    assert LOW <= taus.min() < 1.01 * LOW
    assert HIGH / 1.01 < taus.max() <= HIGH
    counts = np.histogram(np.log(taus), np.linspace(np.log(LOW), np.log(HIGH), 5))[0]
    assert counts == pytest.approx([500] * 4, abs=80)  # four deviations


def test_every_image_pays_its_own_price() -> None:
    network = dense.Network(
        build_plan(TINY), initial_params(TrainingConfig(TINY), build_plan(TINY))
    )
    traces = [
        dense.BlockTrace(ponder_cost=torch.tensor([[[1.0, 3.0]], [[4.0, 4.0]]])),
        dense.BlockTrace(ponder_cost=torch.tensor([2.0, 3.0])),  # ACT
    ]
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    parts = dense.loss(network, logits, traces, labels, torch.tensor([0.1, 0.01]))
    # Means over positions are 2 and 4, then 2 and 3.
    assert parts.price.item() == pytest.approx(((0.1 * 2 + 0.01 * 4) + (0.1 * 2 + 0.01 * 3)) / 2)
    assert parts.ponder.item() == pytest.approx(3 + 2.5)
    assert parts.total.item() == pytest.approx(np.log(3) + parts.price.item())
    same = dense.loss(network, logits, traces, labels, torch.tensor([0.1, 0.1]))
    assert same.total.item() == pytest.approx(
        dense.loss(network, logits, traces, labels, 0.1).total.item()
    )


# --- gradients ---


@pytest.mark.parametrize("halting", ["act", "sact"])
def test_gradient_of_the_shift_is_that_of_its_formula(
    rng: np.random.Generator, halting: str
) -> None:
    config = dataclasses.replace(TINY, halting=halting)
    plan = build_plan(config)
    network = dense.Network(plan, random_params(rng, config)).train()
    taus = spread(4)
    images, labels = draw_images(4)
    x = torch.from_numpy(images.astype(np.float32) / 60 - 1).permute(0, 3, 1, 2)
    shifts: list[Tensor] = []
    plain = network._shifted

    def kept(logit: Tensor, branch: object, pieces: Tensor | None) -> Tensor:
        shifted = plain(logit, branch, pieces)  # type: ignore[arg-type]
        shifted.retain_grad()
        shifts.append(shifted)
        return shifted

    network._shifted = kept  # type: ignore[method-assign]
    logits, traces = network(x, tau=torch.from_numpy(taus))
    dense.loss(
        network, logits, traces, torch.from_numpy(labels), torch.from_numpy(taus)
    ).total.backward()
    units = [unit for unit in plan.units if unit.halting is not None]
    assert len(units) == len(shifts) == 3
    along = 8 * np.log(taus / LOW) / np.log(HIGH / LOW)
    some = False
    for unit, shift in zip(units, shifts, strict=True):
        assert unit.halting is not None
        assert unit.halting.tau_shift is not None
        w = network._parameters[unit.halting.tau_shift.name]
        assert w is not None
        assert w.grad is not None
        assert shift.grad is not None
        per_image = shift.grad.reshape(4, -1).sum(1).numpy()
        passed = np.clip(along[:, None] - np.arange(8), 0, 1)
        ref = per_image @ passed / (1 + np.exp(-w.detach().numpy()))  # softplus' slope
        np.testing.assert_allclose(w.grad.numpy(), ref, rtol=1e-3, atol=1e-7)
        some = some or bool(np.abs(ref).max() > 1e-6)
    assert some


@pytest.mark.skipif(kernels.INTERPRETED, reason="needs compiled vectors")
@pytest.mark.parametrize(("halting", "kernel_size"), [("act", 3), ("sact", 1), ("sact", 3)])
def test_fused_passes_agree_with_autograd(
    rng: np.random.Generator, halting: str, kernel_size: int
) -> None:
    config = dataclasses.replace(
        TINY, base_channels=16, units_per_block=(3, 2, 2), halting=halting,
        sact_kernel_size=kernel_size,
    )  # fmt: skip
    plan = build_plan(config)
    params = random_params(rng, config)
    x = torch.from_numpy(rng.standard_normal((6, 3, 8, 8)).astype(np.float32))
    tau, labels = torch.from_numpy(spread(6)), torch.arange(6) % 3
    found = []
    for is_fused in (False, True):
        network = dense.Network(plan, params, is_fused).train()
        logits, traces = network(x, tau=tau)
        total = dense.loss(network, logits, traces, labels, tau).total
        total.backward()
        grads = {k: v.grad for k, v in network.named_parameters()}
        counts = dense.count_positions(plan, traces, 6, (8, 8))
        network.eval()
        with torch.inference_mode():
            found.append((total.item(), grads, counts, network(x, tau=tau)[0]))
    (ref_total, ref_grads, ref_counts, ref_logits), (total, grads, counts, evaluated) = found
    assert total == pytest.approx(ref_total, rel=1e-5)
    torch.testing.assert_close(evaluated, ref_logits, rtol=1e-4, atol=1e-4)
    for name, count in counts.items():
        np.testing.assert_array_equal(count, ref_counts[name])
    largest = max(float(value.norm()) for value in ref_grads.values() if value is not None)
    num_shifts = 0
    for name, grad in grads.items():
        ref = ref_grads[name]
        assert grad is not None, name
        assert ref is not None, name
        # A few activations lie within rounding of the kink, where either slope is right.
        assert (grad - ref).norm() <= 2e-2 * ref.norm() + 1e-4 * largest, name
        num_shifts += name.endswith("/tau_shift") and float(ref.norm()) > 0
    assert num_shifts > 0


# --- learning ---


def test_l2_leaves_the_shift_alone_and_the_halting_rate_moves_it() -> None:
    config = TrainingConfig(TINY, l2=0.5, learning_rate=0.1, halting_lr=3.0)
    plan = build_plan(TINY)
    params = initial_params(config, plan)
    comp = Learner(config, params)
    seen = comp.look(priced())
    comp.learn(seen, 1.0)
    after = comp.network.params()
    moved = 0
    for name in (name for name in params if name.endswith("/tau_shift")):
        grad = comp.network._parameters[name].grad  # type: ignore[union-attr]
        assert grad is not None
        np.testing.assert_allclose(after[name], params[name] - 0.3 * grad.numpy(), rtol=1e-5)
        moved += bool(grad.abs().max() > 0)
    assert moved


def test_images_that_pay_learn_to_run_less() -> None:
    network = dataclasses.replace(TINY, tau_low=5.0, tau_high=50.0, tau_default=None)
    config = TrainingConfig(network, l2=0.0, learning_rate=0.02)
    comp = Learner(config, initial_params(config, build_plan(network)))
    given = dataclasses.replace(batch(16), taus=np.full(16, 5.0))
    before = comp.look(given).ponder
    for _ in range(6):
        comp.learn(comp.look(given), 1.0)
    assert comp.look(given).ponder < before - 0.3


def test_fine_tuning_draws_the_shift_anew(tmp_path: Path) -> None:
    plan = build_plan(TINY)
    rng = np.random.default_rng(3)
    made = checkpoints.Checkpoint(TINY, random_params(rng, TINY), Preprocessing("cifar", 8))
    checkpoints.write(tmp_path / "any.h5", made)
    config = TrainingConfig(TINY, finetune_from=str(tmp_path / "any.h5"), seed=1)
    params = initial_params(config, plan)
    names = [name for name in params if name.endswith("/tau_shift")]
    assert len(names) == 3
    for name in names:
        assert params[name].shape == (8,)
        # Eight even pieces that make 4.5 together.
        np.testing.assert_allclose(F.softplus(torch.from_numpy(params[name])), 4.5 / 8, rtol=1e-5)
        assert (made.params[name] != params[name]).all()
    kept = initial_params(dataclasses.replace(config, finetune_halting=True), plan)
    np.testing.assert_array_equal(kept[names[0]], made.params[names[0]])


def test_halting_branches_of_a_fixed_tau_go_on_from_there(tmp_path: Path) -> None:
    fixed = NetworkConfig(units_per_block=(2, 2, 2), base_channels=4, num_classes=3, halting="sact")
    plan = build_plan(fixed)
    made = checkpoints.Checkpoint(
        fixed,
        random_params(np.random.default_rng(1), fixed),
        Preprocessing("cifar", 8),
        provenance={"tau": 0.05},
    )
    file = str(tmp_path / "fixed.h5")
    checkpoints.write(file, made)
    config = TrainingConfig(TINY, finetune_from=file, finetune_halting=True)
    params = initial_params(config, build_plan(TINY))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32))
    told = dense.Network(build_plan(TINY), params).eval()
    logits, traces = told(x, tau=torch.full((4,), 0.05))
    ref_logits, ref_traces = dense.Network(plan, made.params).eval()(x)
    torch.testing.assert_close(logits, ref_logits, rtol=0, atol=1e-4)
    for trace, ref in zip(traces, ref_traces, strict=True):
        torch.testing.assert_close(trace.num_units, ref.num_units)
    assert not torch.allclose(told(x, tau=torch.full((4,), HIGH))[0], ref_logits, atol=1e-4)
    narrow = dataclasses.replace(TINY, tau_high=0.04, tau_default=None)
    with pytest.raises(ValueError, match=r"was trained at tau 0\.05, which is not in the range"):
        initial_params(dataclasses.replace(config, network=narrow, tau=0.0), build_plan(narrow))


def test_recipes_evaluate_at_the_networks_default() -> None:
    config = TrainingConfig(TINY, tau=0.7)
    assert config.tau == TINY.tau_default == pytest.approx(0.02)
    assert config_from_dict(config_to_dict(config)) == config
    parse = command.build_parser().parse_args
    argv = ["--halting", "sact", "--tau-range", "0.002", "0.2"]
    made, _ = command.parse_config(parse([*argv, "--tau", "0.01"]))
    assert (made.network.tau_low, made.network.tau_high, made.tau) == (0.002, 0.2, 0.01)
    assert command.run_name(made) == "cifar10_resnet32_sact_any_tau"
    made, _ = command.parse_config(parse(argv))
    assert made.tau == pytest.approx(0.02)


def test_a_teacher_for_every_tau_teaches_at_its_own_default() -> None:
    """At the low end of its range it is the teacher without a shift."""
    params = random_params(np.random.default_rng(7), TINY)
    plain = dataclasses.replace(
        TINY, tau_conditioned=False, tau_low=None, tau_high=None, tau_default=None
    )
    fewer = {name: value for name, value in params.items() if not name.endswith("/tau_shift")}

    def total(teacher: NetworkConfig, params: dict[str, np.ndarray]) -> float:
        config = TrainingConfig(plain, distill_weight=1.0, tau=0.0)
        made = checkpoints.Checkpoint(teacher, params, Preprocessing("cifar", 8))
        student = initial_params(config, build_plan(plain))
        return Learner(config, student, [made]).look(batch()).total

    ref = total(plain, fewer)
    assert total(dataclasses.replace(TINY, tau_default=LOW), params) == ref
    assert total(dataclasses.replace(TINY, tau_default=HIGH), params) != ref


# --- a run ---


def test_a_run_tells_both_ends_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    config = TrainingConfig(TINY, epochs=1, batch_size=16, eval_every=1)
    run_dir = RunDir(tmp_path / "run")
    run_dir.start(config, "it", False)
    said: list[str] = []
    row = Trainer(config, examples(48), examples(24, 1), run_dir, say=said.append).run()
    run_dir.close()
    made = checkpoints.read(tmp_path / "run" / "last.h5")
    assert made.config == TINY
    assert made.provenance["tau"] == TINY.tau_default
    assert made.provenance["tau_range"] == [LOW, HIGH]
    assert all(made.params[name].shape == (8,) for name in made.params if "tau_shift" in name)
    network = dense.Network(build_plan(TINY), made.params).eval()
    images, labels = draw_images(24, 1)
    x = (images - images.mean((1, 2, 3), keepdims=True)) / images.std((1, 2, 3), keepdims=True)
    for tau in (LOW, HIGH, None):
        taus = np.full(24, TINY.tau_default if tau is None else tau)
        result = dense.infer(network, x.astype(np.float32), taus=taus)
        prefix = "" if tau is None else f"eval@{tau:g}/"
        assert row[f"{prefix}Total Flops/mean"] == result.flops.mean()
        accuracy = row["eval/Accuracy"] if tau is None else row[f"eval@{tau:g}/Accuracy"]
        assert accuracy == pytest.approx((result.logits.argmax(1) == labels).mean())
    assert row["eval@0.2/Total Flops/mean"] < row["eval@0.002/Total Flops/mean"]
    assert "; at tau 0.002 " in said[0]
    assert "; at tau 0.2 " in said[0]


def test_halting_is_dead_where_no_tau_wakes_it() -> None:
    plan = build_plan(dataclasses.replace(TINY, units_per_block=(3, 3, 3)))

    def row(low: float, high: float, shares: tuple[float, float] = (1.0, 0.5)) -> dict[str, float]:
        found: dict[str, float] = {}
        for end, units, share in (("0.002", low, shares[0]), ("0.2", high, shares[1])):
            found[f"eval@{end}/flops_share"] = share
            found |= {f"eval@{end}/block_{b}/units": units for b in (1, 2, 3)}
            found |= {f"block_{b}/num_units_mean": 3.0 for b in (1, 2, 3)}
        return found

    assert report.warnings(plan, row(3.0, 1.0)) == []
    assert len(report.warnings(plan, row(3.0, 3.0))) == 3
    assert "no position ever stops" in report.warnings(plan, row(3.0, 3.0))[0]
    assert "--tau-range" in report.warnings(plan, row(3.0, 3.0))[0]
    assert "every position stops at unit 1" in report.warnings(plan, row(1.0, 1.0))[0]
    (told,) = report.warnings(plan, row(2.0, 2.0, (0.7, 0.699)))
    assert "both ends of the range of tau do the same work" in told
