"""A run's state that is damaged: refused in one sentence before a step is taken."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from sact_core.train import __main__ as train
from sact_core.train import read_metrics
from tests.training import flags


@pytest.fixture(scope="module")
def run(noise_data_set, tmp_path_factory):
    """A run of two epochs that is over."""
    folder = tmp_path_factory.mktemp("state") / "run"
    assert train.main(flags(noise_data_set, folder, "--epochs", "2", "--ema", "0.9")) == 0
    return folder


def first(moments):
    return next(iter(moments.values()))


def nan(tensor):
    tensor[(0,) * tensor.ndim] = np.nan


EDITS = {
    "no_network": (lambda s: s.pop("network"), "network has other parts"),
    "a_number_for_the_network": (lambda s: s.update(network=3), "network has other parts"),
    "a_parameter_is_gone": (lambda s: s["network"].pop("stem/weight"), "network has other parts"),
    "a_parameter_is_smaller": (
        lambda s: s["network"].update({"stem/weight": torch.zeros(2)}), "another shape or type",
    ),
    "a_parameter_is_of_another_type": (
        lambda s: s["network"].update({"stem/bias": s["network"]["stem/bias"].double()}),
        "another shape or type",
    ),
    "a_parameter_is_nan": (lambda s: nan(s["network"]["stem/weight"]), "NaN or infinite"),
    "a_momentum_is_nan": (
        lambda s: nan(first(s["optimiser"]["state"])["momentum_buffer"]), "NaN or infinite",
    ),
    "a_momentum_is_gone": (lambda s: s["optimiser"]["state"].pop(0), "state has other parts"),
    "a_momentum_is_smaller": (
        lambda s: first(s["optimiser"]["state"]).update(momentum_buffer=torch.zeros(1)),
        "another shape or type",
    ),
    "the_optimiser_is_a_tensor": (
        lambda s: s.update(optimiser=torch.zeros(2)), "optimiser has other parts",
    ),
    "a_group_is_gone": (
        lambda s: s["optimiser"]["param_groups"].pop(), "param_groups has other parts",
    ),
    "a_learning_rate_is_a_text": (
        lambda s: s["optimiser"]["param_groups"][0].update(lr="x"), "lr is no such number",
    ),
    "a_parameter_is_in_no_group": (
        lambda s: s["optimiser"]["param_groups"][0].update(params=[]), "params has other parts",
    ),
    "the_average_is_gone": (lambda s: s.pop("average"), "average has other parts"),
    "the_average_counts_nothing": (
        lambda s: s["average"].update(num_updates=None), "num_updates is no such number",
    ),
    "no_progress": (lambda s: s.pop("progress"), "it has no progress"),
    "more_progress": (lambda s: s["progress"].update(more=1), "progress has other parts"),
    "too_far": (lambda s: s["progress"].update(step=9), "between 0 and 8 steps"),
    "backwards": (lambda s: s["progress"].update(epoch=-1), "between 0 and 8 steps"),
    "half_an_epoch": (lambda s: s["progress"].update(epoch=0.5), "progress is no number"),
    "nan_seconds": (lambda s: s["progress"].update(seconds=np.nan), "between 0 and 8 steps"),
    "sums_are_texts": (lambda s: s["progress"].update(sums={"loss": "x"}), "sums are no numbers"),
    "a_row_is_gone": (lambda s: s["progress"]["rows"].pop(), "no metrics of 2 epochs"),
    "a_row_has_no_loss": (
        lambda s: s["progress"]["rows"][0].pop("train/Total Loss"), "no metrics of 2 epochs",
    ),
    "left_out_is_a_list": (lambda s: s.update(left_out=[1]), "left_out names no images"),
}  # fmt: skip


def resume(noise_data_set, folder):
    return train.main(flags(noise_data_set, folder, "--epochs", "2", "--ema", "0.9", "--resume"))


@pytest.mark.parametrize("name", EDITS)
def test_a_state_of_something_else_is_refused(noise_data_set, run, tmp_path, capsys, name):
    folder, (edit, wanted) = tmp_path / "run", EDITS[name]
    shutil.copytree(run, folder)
    state = torch.load(folder / "state.pt", weights_only=True)
    edit(state)
    torch.save(state, folder / "state.pt")
    assert resume(noise_data_set, folder) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "state.pt is damaged (" in said
    assert wanted in said
    assert said.count("\n") == 1
    assert read_metrics(folder) == read_metrics(run)


def test_a_flipped_bit_is_found(noise_data_set, run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    data = bytearray((folder / "state.pt").read_bytes())
    bias = torch.load(folder / "state.pt", weights_only=True)["network"]["stem/bias"]
    data[data.index(bias.numpy().tobytes())] ^= 1  # torch would not notice
    (folder / "state.pt").write_bytes(data)
    assert resume(noise_data_set, folder) == 2
    assert "state.pt is damaged (" in capsys.readouterr().err


def test_a_whole_state_goes_on(noise_data_set, run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert resume(noise_data_set, folder) == 0
    assert "going on from step 8 of 8" in capsys.readouterr().out
