"""What a unit costs: the same everywhere, or by its FLOPs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sact_core import checkpoint as checkpoints
from sact_core.backends import dense, reference
from sact_core.config import NetworkConfig
from sact_core.evaluate import __main__ as evaluation
from sact_core.evaluate import trained_prices
from sact_core.flops import UnitPrices, count_flops, unit_prices
from sact_core.measures.metrics import Metrics
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.preprocess import Preprocessing
from sact_core.train import __main__ as command
from sact_core.train.batches import Batch
from sact_core.train.learner import Learner
from sact_core.train.loop import Trainer
from sact_core.train.recipes import TrainingConfig
from sact_core.train.run_dir import RunDir
from sact_core.train.targets import relative_prices
from tests.networks import random_params
from tests.test_metrics import drawn
from tests.training import TINY, batch, examples, flags

#: Of 8x8 pixels. Its units need, by two per multiply-add: two of 2 * 9 * 2 * 2 * 64 and a
#: halting branch of 2 * 2 * 1 that decides once an image (18,436 in two units); then one of
#: 2 * 9 * 2 * 4 * 16 + 2 * 9 * 4 * 4 * 16 (6,912), and one of 4 to 8 channels at 2x2 (6,912).
BY_HAND = NetworkConfig(units_per_block=(2, 1, 1), base_channels=2, halting="act")


def test_prices_by_hand() -> None:
    plan = build_plan(BY_HAND)
    mean = (18_436 + 6_912 + 6_912) / 4
    ref = [9_218 / mean, 6_912 / mean, 6_912 / mean]
    prices = unit_prices(plan, (8, 8), "flops")
    assert prices.blocks == pytest.approx(ref, rel=1e-12)
    assert prices.halos is None
    assert unit_prices(plan, (8, 8), "units") == UnitPrices((1.0, 1.0, 1.0))
    assert unit_prices(plan, (8, 8), "computed") == prices  # ACT has no positions to reach beyond
    with pytest.raises(ValueError, match="price must be one of units, flops, computed; got"):
        unit_prices(plan, (8, 8), "cents")


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_tau_keeps_its_scale(family: str) -> None:
    units = (5, 2, 3) if family == "cifar" else (3, 4, 6, 3)
    plan = build_plan(NetworkConfig(family=family, units_per_block=units, halting="sact"))
    prices = unit_prices(plan, (32, 32), "flops")
    assert np.dot(prices.blocks, units) == pytest.approx(sum(units))
    assert len(set(prices.blocks)) == len(units)


def traces() -> list[dense.BlockTrace]:
    """Two images: means over positions are 2 and 4, then 2 and 3."""
    return [
        dense.BlockTrace(ponder_cost=torch.tensor([[[1.0, 3.0]], [[4.0, 4.0]]])),
        dense.BlockTrace(ponder_cost=torch.tensor([2.0, 3.0])),
    ]


def test_the_loss_by_hand() -> None:
    network = dense.Network(build_plan(TINY), init_params(build_plan(TINY)))
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    parts = dense.loss(network, logits, traces(), labels, 0.1, unit_prices=UnitPrices((0.5, 2.0)))
    assert parts.price.item() == pytest.approx(0.1 * (0.5 * 3 + 2 * 2.5))
    assert parts.ponder.item() == pytest.approx(3 + 2.5)  # in units, whatever they cost
    assert parts.total.item() == pytest.approx(np.log(3) + parts.price.item())
    taus = torch.tensor([0.1, 0.01])
    parts = dense.loss(network, logits, traces(), labels, taus, unit_prices=UnitPrices((0.5, 2.0)))
    ref = 0.5 * (0.1 * 2 + 0.01 * 4) / 2 + 2 * (0.1 * 2 + 0.01 * 3) / 2
    assert parts.price.item() == pytest.approx(ref)


@pytest.mark.parametrize("by_image", [False, True], ids=["one tau", "any tau"])
def test_gradients_are_those_of_the_blocks_times_their_prices(
    rng: np.random.Generator, by_image: bool
) -> None:
    config = NetworkConfig(units_per_block=(3, 2, 2), base_channels=4, halting="sact")
    network = dense.Network(build_plan(config), random_params(rng, config)).train()
    given = batch(4)
    x, labels = torch.from_numpy(given.images).permute(0, 3, 1, 2), torch.from_numpy(given.labels)
    tau = torch.tensor([0.5, 0.1, 0.2, 0.9]) if by_image else 0.5

    def gradients(*prices: float) -> dict[str, np.ndarray]:
        network.zero_grad()
        dense.loss(
            network, *network(x), labels, tau, unit_prices=UnitPrices(prices)
        ).total.backward()
        return {n: v.grad.numpy() for n, v in network.named_parameters() if v.grad is not None}

    without = {name: value.copy() for name, value in gradients(0, 0, 0).items()}
    one, two, three = (
        {name: value - without[name] for name, value in gradients(*prices).items()}
        for prices in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    )
    some = False
    for name, comp in gradients(0.5, 2.0, 3.0).items():
        ref = without[name] + 0.5 * one[name] + 2 * two[name] + 3 * three[name]
        np.testing.assert_allclose(comp, ref, atol=1e-5 * max(1, np.abs(ref).max()), err_msg=name)
        some = some or bool(np.abs(two[name]).max() > 1e-3)
    assert some


def test_the_mean_loss_has_it(rng: np.random.Generator) -> None:
    plan = build_plan(NetworkConfig(halting="sact", num_classes=12))
    result, labels = drawn(rng, 50, 12)
    metrics = Metrics(plan, tau=0.5, regularization=0.25, unit_prices=UnitPrices((0.5, 1.0, 3.0)))
    metrics.update(result, labels)
    found = metrics.summary()
    costs = [block.ponder_cost.mean() for block in result.blocks if block.ponder_cost is not None]
    ref = found["eval/Cross Entropy"] + 0.5 * np.dot((0.5, 1.0, 3.0), costs) + 0.25
    assert found["eval/Mean Loss"] == pytest.approx(ref)


@pytest.mark.parametrize("more", [(), ("--tau-range", "0.01", "1")], ids=["one tau", "any tau"])
def test_evaluate_charges_what_training_did(
    noise_data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    before = torch.get_num_threads()
    argv = ("--price", "flops", "--tau", "0.5", "--max-steps", "2", *more)
    assert command.main(flags(noise_data_set, tmp_path / "run", *argv)) == 0
    torch.set_num_threads(before)
    capsys.readouterr()
    file = tmp_path / "run" / "last.h5"
    made = checkpoints.read(file)
    assert made.provenance["recipe"]["price"] == "flops"
    prices = trained_prices(made)
    assert prices == unit_prices(build_plan(made.config), (8, 8), "flops")
    assert min(abs(price - 1) for price in prices.blocks) > 0.01
    trained = made.provenance["metrics"]
    for size in (8, 16):  # the price is that of training at any size
        wanted = ["--checkpoint", str(file), "--backend", "dense", "--image-size", str(size)]
        assert evaluation.main([*wanted, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        if size == 8:
            assert found["eval/Mean Loss"] == pytest.approx(trained["eval/Mean Loss"], rel=1e-6)
        costs = [found[f"block_{b}/ponder_cost_mean"] for b in (1, 2, 3)]
        squares = sum((v**2).sum() for k, v in made.params.items() if k.endswith("/weight"))
        ref = found["eval/Cross Entropy"] + 0.5 * np.dot(prices.blocks, costs) + 5e-4 / 2 * squares
        assert found["eval/Mean Loss"] == pytest.approx(ref, rel=1e-6)
    if more:
        argv = ("--checkpoint", str(file), "--backend", "dense", "--taus", "0.5,1", "--json")
        assert evaluation.main(list(argv)) == 0
        row = json.loads(capsys.readouterr().out)["rows"][0]
        assert row["eval/Mean Loss"] == pytest.approx(trained["eval/Mean Loss"], rel=1e-6)
    assert evaluation.main(wanted) == 0
    told = " / ".join(f"{price:.3f}" for price in prices.blocks)
    assert f"a unit of each block costs {told} tau, by its FLOPs" in capsys.readouterr().out


def test_a_step_is_charged_at_the_size_of_training(tmp_path: Path) -> None:
    def seen(price: str) -> float:
        config = TrainingConfig(TINY, tau=2.0, price=price, batch_size=12, l2=0.0)
        trainer = Trainer(config, examples(24), examples(24), RunDir(tmp_path / price))
        found = trainer.learner.look(Batch(given.images, given.labels))
        kept = [trace.ponder_cost for trace in found.traces]
        costs = [cost.detach().mean().item() for cost in kept if cost is not None]
        prices = unit_prices(trainer.learner.plan, (8, 8), price)
        return found.total - 2.0 * float(np.dot(prices.blocks, costs))

    given = batch(12)
    assert seen("flops") == pytest.approx(seen("units"), rel=1e-5)


def test_a_price_that_makes_no_sense_is_one_sentence(
    noise_data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--price", "flops", "--halting", "none")
    assert command.main(flags(noise_data_set, tmp_path / "run", *more)) == 2
    said = capsys.readouterr().err
    assert "error: a vanilla network never halts, so its units have no price" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="price must be one of units, flops, computed; got"):
        TrainingConfig(TINY, price="cents")


# --- what is computed around the positions that go on ---


def test_shares_of_a_unit_by_hand() -> None:
    """A 1x1 before a 3x3 and a 1x1: 4c * c of (4 + 9 + 4) c^2 reach a pixel beyond."""
    plan = build_plan(NetworkConfig(units_per_block=(2, 2, 2), halting="sact"))
    assert unit_prices(plan, (32, 32), "computed").halos == (((1, 0.5), (0, 0.5)),) * 3
    config = NetworkConfig("imagenet", (2, 2, 2, 2), halting="sact")
    for shares in unit_prices(build_plan(config), (64, 64), "computed").halos or ():
        assert dict(shares) == pytest.approx({1: 4 / 17, 0: 13 / 17})


def test_a_lonely_position_pays_for_its_ring() -> None:
    """Half of a unit is paid at nine positions, half at one: (1 + 9) / 2 of 25."""
    network = dense.Network(build_plan(TINY), init_params(build_plan(TINY)))
    cost = torch.zeros(1, 5, 5, requires_grad=True)
    with torch.no_grad():
        cost[0, 2, 2] = 4.0
    prices = UnitPrices((3.0,), (((1, 0.5), (0, 0.5)),))
    logits, labels = torch.zeros(1, 3), torch.tensor([0])
    parts = dense.loss(
        network, logits, [dense.BlockTrace(ponder_cost=cost)], labels, 0.1, unit_prices=prices
    )
    assert parts.price.item() == pytest.approx(0.1 * 3 * 4 * 5 / 25)
    assert parts.ponder.item() == pytest.approx(4 / 25)
    parts.price.backward()
    assert cost.grad is not None
    assert cost.grad[0, 2, 2].item() == pytest.approx(0.1 * 3 * 5 / 25)


def test_what_is_paid_is_what_is_computed(rng: np.random.Generator) -> None:
    """With unit counts for costs, the price is the FLOPs of the units' convolutions."""
    config = NetworkConfig(
        units_per_block=(3, 3, 3), base_channels=4, halting="sact", halting_bias=0.5
    )
    plan = build_plan(config)
    images = rng.normal(size=(4, 16, 16, 3)).astype(np.float32)
    result = reference.Engine(plan, random_params(rng, config)).forward(images)
    prices = unit_prices(plan, (16, 16), "computed")
    counts = [
        dataclasses.replace(block, ponder_cost=block.num_units.astype(np.float32))
        for block in result.blocks
        if block.num_units is not None
    ]
    metrics = Metrics(plan, tau=1.0, unit_prices=prices)
    metrics.update(dataclasses.replace(result, blocks=tuple(counts)), np.zeros(4, np.int64))
    flops, halted = count_flops(plan, result.positions).layers, False
    for block, paid in zip(plan.blocks, metrics.paid, strict=True):
        later = [conv for unit in block.units[1:] for conv in unit.convs]
        spent = sum(int(flops[conv.name].sum()) for conv in later)
        height, width = plan.block_sizes((16, 16))[plan.blocks.index(block)]
        one = sum(2 * np.prod(conv.weight_shape) for conv in block.units[1].convs)
        # All but the first unit, which runs everywhere.
        assert spent / one == pytest.approx((paid.mean - 1) * 4 * height * width)
        halted = halted or spent < (len(block.units) - 1) * one * 4 * height * width
    assert halted


@pytest.mark.parametrize("more", [(), ("--tau-range", "0.01", "1")], ids=["one tau", "any tau"])
def test_evaluate_charges_the_ring_as_training_did(
    noise_data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    before = torch.get_num_threads()
    argv = ("--price", "computed", "--tau", "0.5", "--max-steps", "2", "--halting-bias=0", *more)
    assert command.main(flags(noise_data_set, tmp_path / "run", *argv)) == 0
    torch.set_num_threads(before)
    file = tmp_path / "run" / "last.h5"
    trained = checkpoints.read(file).provenance["metrics"]
    capsys.readouterr()
    assert evaluation.main(["--checkpoint", str(file), "--backend", "dense", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["eval/Mean Loss"] == pytest.approx(trained["eval/Mean Loss"], rel=1e-6)
    assert evaluation.main(["--checkpoint", str(file), "--backend", "dense"]) == 0
    assert "tau, by its FLOPs, paid where it is computed" in capsys.readouterr().out


def test_shards_pay_together(rng: np.random.Generator) -> None:
    plan = build_plan(NetworkConfig(halting="sact", num_classes=12))
    result, labels = drawn(rng, 50, 12)
    prices = UnitPrices((0.5, 1.0, 3.0), (((1, 0.5), (0, 0.5)),) * 3)
    metrics = [Metrics(plan, tau=0.5, unit_prices=prices) for _ in range(3)]
    for one in metrics[:2]:
        one.update(result, labels)
        metrics[2].merge(one)
    found = [one.summary()["eval/Mean Loss"] for one in metrics]
    assert found[2] == pytest.approx(found[0], rel=1e-12)
    even = Metrics(plan, tau=0.5, unit_prices=UnitPrices((0.5, 1.0, 3.0)))
    even.update(result, labels)
    assert found[0] > even.summary()["eval/Mean Loss"]


# --- hard images ---


def test_hard_images_are_cheaper_by_the_teachers_doubt() -> None:
    """Chances 1/2, 1/4 and 3/4 of the right class, squared: 4, 1 and 9 of 14, times 3."""
    third = np.log(3)
    target = torch.tensor([[0.0, 0.0], [third, 0.0], [third, 0.0]], dtype=torch.float32)
    comp = relative_prices(target, torch.tensor([0, 1, 0]), 2.0)
    np.testing.assert_allclose(comp.numpy(), np.array([4, 1, 9]) * 3 / 14, rtol=1e-6)
    even = relative_prices(target, torch.tensor([0, 1, 0]), 0.0)
    np.testing.assert_allclose(even.numpy(), 1, rtol=1e-6)


@pytest.mark.parametrize("tau_range", [None, (0.01, 0.1)])
def test_a_step_pays_by_the_teachers_doubt(tau_range: tuple[float, float] | None) -> None:
    """Also in a network for any tau, where an image's price is its own tau's share."""
    network = TINY
    if tau_range:
        low, high = tau_range
        network = dataclasses.replace(TINY, tau_conditioned=True, tau_low=low, tau_high=high)
    teacher = checkpoints.Checkpoint(
        TINY, init_params(build_plan(TINY), 7), Preprocessing("cifar", 8)
    )
    recipe = TrainingConfig(network, distill_from="some.h5", difficulty=3.0, tau=0.5)
    even = dataclasses.replace(recipe, difficulty=0.0)
    given = batch()
    taus = np.full(len(given.labels), 0.5, np.float32)
    if tau_range:
        taus = np.linspace(*tau_range, len(given.labels)).astype(np.float32)
        given = dataclasses.replace(given, taus=taus)
    params = random_params(np.random.default_rng(1), network)
    seen = [Learner(config, params, [teacher]).look(given) for config in (recipe, even)]
    ponder = sum(t.ponder_cost.detach().reshape(len(taus), -1).mean(1) for t in seen[0].traces)
    x = torch.from_numpy(given.images).permute(0, 3, 1, 2)
    with torch.no_grad():
        answer = dense.Network(build_plan(TINY), teacher.params).eval()(x)[0]
    ratio = relative_prices(answer, torch.from_numpy(given.labels), 3.0)
    assert ratio.std() > 0.01
    ref = ((ratio - 1) * torch.from_numpy(taus) * ponder).mean()
    assert seen[0].total - seen[1].total == pytest.approx(ref.item(), rel=1e-3, abs=1e-6)
    assert abs(ref.item()) > 1e-4


@pytest.mark.parametrize(
    "values", [{"network": TINY}, {"network": dataclasses.replace(TINY, halting="none")}]
)
def test_difficulty_needs_a_teacher_and_a_price(values: dict[str, NetworkConfig]) -> None:
    more = {"distill_from": "some.h5"} if not values["network"].halts else {}
    with pytest.raises(ValueError, match="give --distill-from and --halting act or sact too"):
        TrainingConfig(**values, difficulty=1.0, **more)
