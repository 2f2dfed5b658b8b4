"""The moving average of the weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sact_core import checkpoint as checkpoints
from sact_core.backends import dense
from sact_core.config import NetworkConfig
from sact_core.evaluate import __main__ as evaluation
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.train import __main__ as command
from sact_core.train import read_metrics
from sact_core.train.ema import WeightAverage
from sact_core.train.learner import Learner
from sact_core.train.recipes import TrainingConfig
from sact_core.train.run_dir import RunDir
from tests.training import TINY, batch, flags


def test_the_average_by_hand() -> None:
    """Of 0, then 11 and 22: decays 1/10 and 2/11, then one that is capped."""
    plan = build_plan(NetworkConfig(units_per_block=(1, 1, 1), base_channels=2))
    network = dense.Network(plan, {n: np.zeros_like(v) for n, v in init_params(plan).items()})
    average = WeightAverage(network, 0.2)
    seen = []
    for value in (11.0, 22.0, 0.0):
        with torch.no_grad():
            for each in network.state_dict().values():
                each.fill_(value)
        average.update(network)
        found = average.network.params()
        assert found.keys() == plan.param_shapes.keys()  # moving statistics too
        (one,) = {round(float(v), 4) for array in found.values() for v in array.ravel()}
        seen.append(one)
    # 0.9 * 11; 2/11 of that and 9/11 of 22; 0.2 of that, where 3/12 would be more.
    assert seen == pytest.approx([9.9, 1.8 + 18, 0.2 * 19.8], abs=1e-4)


def test_a_step_moves_the_average_and_nothing_else() -> None:
    def learner(ema: float) -> Learner:
        config = TrainingConfig(TINY, ema=ema)
        return Learner(config, init_params(build_plan(TINY), 2))

    plain, averaging = learner(0.0), learner(0.99)
    assert plain.shown is plain.network
    ref = {name: value.astype(np.float64) for name, value in plain.network.params().items()}
    for t in range(3):
        for each in (plain, averaging):
            each.learn(each.look(batch()), 1.0)
        decay = (1 + t) / (10 + t)
        for name, value in plain.network.params().items():
            np.testing.assert_array_equal(averaging.network.params()[name], value)
            ref[name] = decay * ref[name] + (1 - decay) * value
    for name, value in averaging.shown.params().items():
        np.testing.assert_allclose(value, ref[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert not averaging.shown.training
    assert averaging.network.training


def test_the_average_is_what_is_evaluated_and_written(
    noise_data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_num_threads()
    more = ("--ema", "0.9", "--epochs", "2")
    assert command.main(flags(noise_data_set, tmp_path, *more)) == 0
    torch.set_num_threads(before)
    made = checkpoints.read(tmp_path / "last.h5")
    assert made.provenance["recipe"]["ema"] == 0.9
    state = RunDir(tmp_path).load_state()
    assert state is not None
    assert state["average"]["num_updates"] == 8
    differs = False
    for name, value in made.params.items():
        raw, mean = (each[name].numpy() for each in (state["network"], state["average"]["network"]))
        axes = (2, 3, 1, 0) if name.endswith("/weight") else range(raw.ndim)
        np.testing.assert_array_equal(value, mean.transpose(axes), err_msg=name)
        differs = differs or bool((value != raw.transpose(axes)).any())
    assert differs
    best = max(read_metrics(tmp_path), key=lambda row: row["eval/Accuracy"])
    capsys.readouterr()
    for name, row in (("last", read_metrics(tmp_path)[-1]), ("best", best)):
        argv = ["--checkpoint", str(tmp_path / f"{name}.h5"), "--backend", "dense", "--json"]
        assert evaluation.main(argv) == 0
        found = json.loads(capsys.readouterr().out)
        for key in ("eval/Accuracy", "eval/Mean Loss", "Total Flops/mean"):
            assert found[key] == pytest.approx(row[key], rel=1e-6), (name, key)


@pytest.mark.parametrize(
    ("decay", "reason"),
    [("1", "ema must be below 1: an average of decay 1 never moves"), ("-1", "ema must be from 0")],
)
def test_a_decay_that_makes_no_sense_is_one_sentence(
    noise_data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    decay: str,
    reason: str,
) -> None:
    assert command.main(flags(noise_data_set, tmp_path / "run", "--ema", decay)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {reason}")
    assert said.count("\n") == 1
