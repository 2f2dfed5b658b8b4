"""Growing a deeper network out of a shallower one, whose function it keeps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sact_core import checkpoint as checkpoints
from sact_core.checkpoint import Checkpoint
from sact_core.commands import BACKENDS
from sact_core.config import NetworkConfig, default_preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.train import __main__ as command
from sact_core.train.learner import Learner
from sact_core.train.recipes import TrainingConfig
from sact_core.train.start import initial_params
from tests.networks import assert_close, build_net, random_params
from tests.training import TINY, batch, flags

CIFAR = NetworkConfig(units_per_block=(2, 1, 2), base_channels=4, num_classes=3)
IMAGENET = NetworkConfig(
    family="imagenet", units_per_block=(1, 2, 1, 1), base_channels=4, num_classes=5
)
DEEPER = {CIFAR: (4, 1, 3), IMAGENET: (3, 2, 2, 1)}
INSERTED = {
    CIFAR: ("block1/unit3/", "block1/unit4/", "block3/unit3/"),
    IMAGENET: ("block1/unit2/", "block1/unit3/", "block3/unit2/"),
}


def write(path: Path, network: NetworkConfig, tau: float | None = None) -> Checkpoint:
    params = random_params(np.random.default_rng(3), network)
    about = {"tau": tau}
    made = Checkpoint(network, params, default_preprocessing(network.family), provenance=about)
    checkpoints.write(path, made)
    return made


def grow(path: Path, network: NetworkConfig, **more: Any) -> Checkpoint:
    more |= {"crop": "resized", "image_size": 32} if network.facts.photographs else {}
    config = TrainingConfig(network, grow_from=str(path), seed=9, **more)
    params = initial_params(config, build_plan(network))
    return Checkpoint(network, params, default_preprocessing(network.family))


def images(num: int = 3) -> np.ndarray:
    return np.random.default_rng(4).standard_normal((num, 32, 32, 3), dtype=np.float32)


# --- what is kept ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("old", DEEPER, ids=lambda old: old.family)
def test_growth_changes_no_bit_of_the_logits(
    tmp_path: Path, backend: str, old: NetworkConfig
) -> None:
    source = write(tmp_path / "old.h5", old)
    made = grow(tmp_path / "old.h5", dataclasses.replace(old, units_per_block=DEEPER[old]))
    ref = build_net(source, backend).forward(images())
    comp = build_net(made, backend).forward(images())
    assert comp.logits.tobytes() == ref.logits.tobytes()
    assert (comp.flops > ref.flops).all()
    fresh = init_params(build_plan(made.config), 9)
    for name, value in made.params.items():
        if not name.startswith(INSERTED[old]):
            np.testing.assert_array_equal(value, source.params[name], err_msg=name)
        elif name.rsplit("/", 2)[1] == ("conv3" if old.facts.photographs else "conv2"):
            assert not value.any(), name
        else:
            np.testing.assert_array_equal(value, fresh[name], err_msg=name)


def test_inserted_units_learn() -> None:
    config = TrainingConfig(dataclasses.replace(CIFAR, units_per_block=(3, 1, 2)))
    params = init_params(build_plan(config.network))
    for part in ("weight", "bias"):
        params[f"block1/unit3/conv2/{part}"][:] = 0
    learner = Learner(config, params)
    for _ in range(2):
        learner.learn(learner.look(batch()), 1.0)
    after = learner.network.params()
    assert after["block1/unit3/conv2/weight"].all()
    assert (after["block1/unit3/conv1/weight"] != params["block1/unit3/conv1/weight"]).any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("halting", ["act", "sact"])
def test_a_network_that_halts_keeps_its_logits_with_its_branches(
    tmp_path: Path, backend: str, halting: str
) -> None:
    old = dataclasses.replace(CIFAR, units_per_block=(3, 2, 3), halting=halting, halting_bias=-1)
    source = write(tmp_path / "old.h5", old)
    new = dataclasses.replace(old, units_per_block=(4, 2, 5))
    made = grow(tmp_path / "old.h5", new, finetune_halting=True)
    ref = build_net(source, backend).forward(images())
    comp = build_net(made, backend).forward(images())
    assert_close(comp.logits, ref.logits, "logits")
    first, kept, _ = zip(comp.blocks, ref.blocks, strict=True)
    np.testing.assert_array_equal(kept[0].num_units, kept[1].num_units)
    stopped = first[1].num_units < 3
    np.testing.assert_array_equal(first[0].num_units[stopped], first[1].num_units[stopped])
    assert (first[0].num_units[~stopped] >= 3).all()


def test_halting_branches_are_taken_only_where_asked(tmp_path: Path) -> None:
    old = dataclasses.replace(CIFAR, units_per_block=(2, 2, 2), halting="sact")
    source = write(tmp_path / "old.h5", old)
    new = dataclasses.replace(old, units_per_block=(4, 2, 2))
    fresh = init_params(build_plan(new), 9)
    for taken in (False, True):
        params = grow(tmp_path / "old.h5", new, finetune_halting=taken).params
        branches = [name for name in params if "/halting_proba/" in name]
        inserted = ("block1/unit2/", "block1/unit3/")  # unit 2 was the last, which has none
        assert any(name.startswith(inserted) for name in branches)
        for name in branches:
            ref = fresh if name.startswith(inserted) or not taken else source.params
            np.testing.assert_array_equal(params[name], ref[name], err_msg=name)


def test_growth_goes_with_a_range_of_tau(tmp_path: Path) -> None:
    old = dataclasses.replace(CIFAR, units_per_block=(2, 2, 2), halting="sact")
    source = write(tmp_path / "old.h5", old, tau=0.02)
    new = dataclasses.replace(
        old, units_per_block=(3, 2, 2), tau_conditioned=True, tau_low=0.02, tau_high=0.2
    )
    params = grow(tmp_path / "old.h5", new, finetune_halting=True).params
    fresh = init_params(build_plan(new), 9)
    for name in (n for n in params if n.endswith("local_conv/bias")):
        ref = fresh if name.startswith("block1/unit2") else source.params
        np.testing.assert_array_equal(params[name], ref[name])  # nothing to shift at the low end


# --- the command ---


def test_what_flags_leave_open_is_as_in_the_file_but_the_depth(tmp_path: Path) -> None:
    old = dataclasses.replace(CIFAR, halting="sact", halting_bias=-0.5, eps=0.05)
    write(tmp_path / "old.h5", old)
    argv = ["--grow-from", str(tmp_path / "old.h5")]
    made = command.parse_config(command.build_parser().parse_args([*argv, "--units", "2_2_4"]))[0]
    assert made.network == dataclasses.replace(old, units_per_block=(2, 2, 4), num_classes=10)
    assert made.grow_from == argv[1]
    usual = command.parse_config(command.build_parser().parse_args(argv))[0]
    assert usual.network.units_per_block == (5, 5, 5)


def test_a_grown_network_trains_and_says_what_it_grew_from(
    noise_data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.h5"
    write(file, dataclasses.replace(TINY, halting="none", units_per_block=(1, 2, 1)))
    more = ("--grow-from", str(file), "--max-steps", "2")
    before = torch.get_num_threads()
    assert command.main(flags(noise_data_set, tmp_path / "run", *more)) == 0
    torch.set_num_threads(before)
    assert "ResNet-14 SACT" in capsys.readouterr().out
    made = checkpoints.read(tmp_path / "run" / "last.h5")
    assert made.provenance["recipe"]["grow_from"] == str(file)
    assert made.params["block1/unit2/conv2/weight"].any()


@pytest.mark.parametrize(
    ("changes", "more", "reason"),
    [
        (
            {"units_per_block": (3, 2, 4), "base_channels": 8, "num_classes": 10},
            (),
            "cannot grow into ResNet-14 SACT: its width is 8, not 4; its number of classes is 10, "
            "not 3; its block1 has 3 units, more than 2; its block3 has 4 units, more than 2",
        ),
        (
            {"family": "imagenet", "units_per_block": (1, 1, 1, 1)},
            ("--family", "cifar"),
            "cannot grow into ResNet-14 SACT: its family is imagenet, not cifar",
        ),
        (
            {"units_per_block": (2, 1, 1)},
            ("--finetune-halting",),
            "does not fit ResNet-14 SACT in 11 parameters: missing: block1/unit1/halting_proba/",
        ),
        ({}, ("--finetune-first-units",), "a network starts from one checkpoint"),
        ({}, ("--finetune-from", "old.h5"), "a network starts from one checkpoint"),
    ],
)
def test_a_network_that_is_no_prefix_is_one_sentence(
    noise_data_set: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    more: tuple[str, ...],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    kind = {"units_per_block": (1, 1, 1), "base_channels": 4, "num_classes": 3}
    write(tmp_path / "old.h5", NetworkConfig(**(kind | changes)))
    argv = flags(noise_data_set, tmp_path / "run", "--grow-from", "old.h5", *more)
    assert command.main(argv) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
