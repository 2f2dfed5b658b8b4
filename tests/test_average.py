"""Averages of checkpoints: of what belongs together, with statistics of their own."""

from __future__ import annotations

import dataclasses
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sact_core import average
from sact_core.average import recompute_statistics
from sact_core.backends import dense
from sact_core.checkpoint import Checkpoint, read, read_header, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.evaluate import __main__ as evaluate
from sact_core.plans import build_plan
from sact_core.train import __main__ as train
from sact_core.train.batches import Batch
from tests.networks import random_params
from tests.training import flags

TINY = NetworkConfig(units_per_block=(2, 2, 2), base_channels=4, num_classes=3, halting="sact")
ANY = dataclasses.replace(TINY, tau_conditioned=True, tau_low=0.002, tau_high=0.2)


def checkpoint(seed: int, config: NetworkConfig = TINY, **changes: Any) -> Checkpoint:
    params = random_params(np.random.default_rng(seed), config)
    made = Checkpoint(config, params, Preprocessing("cifar", 8), ("a", "b", "c"))
    return dataclasses.replace(made, **changes)


def names(checkpoints: list[Checkpoint]) -> list[str]:
    return [f"file{number}.h5" for number in range(len(checkpoints))]


def batches(seed: int, num: int = 2, taus: bool = False) -> list[Batch]:
    rng = np.random.default_rng(seed)
    return [
        Batch(
            rng.standard_normal((6, 8, 8, 3), np.float32),
            np.zeros(6, np.int64),
            rng.uniform(0.002, 0.2, 6) if taus else None,
        )
        for _ in range(num)
    ]


def test_every_parameter_is_the_mean() -> None:
    of = [checkpoint(seed) for seed in range(3)]
    found = average.average(of, names(of))
    assert set(found) == set(of[0].params)
    for key, value in found.items():
        together = np.stack([each.params[key].astype(np.float64) for each in of])
        np.testing.assert_array_equal(value, together.mean(0).astype(np.float32))
        assert value.dtype == np.float32


def test_one_checkpoint_is_held_at_a_time() -> None:
    """Besides the first, whose config holds; of many, memory is that of few."""
    alive: list[weakref.ref[np.ndarray]] = []

    def in_turn() -> Iterator[Checkpoint]:
        for seed in range(5):
            # The caller holds the one before, whose place this one takes.
            assert sum(each() is not None for each in alive) <= 2
            made = checkpoint(seed)
            alive.append(weakref.ref(made.params["stem/weight"]))
            yield made
            del made

    average.average(in_turn(), [f"file{i}.h5" for i in range(5)])
    assert len(alive) == 5


def test_halting_branches_are_those_of_the_same_config() -> None:
    started = dataclasses.replace(TINY, halting_bias=-1.0)
    of = [
        checkpoint(0),
        checkpoint(1, dataclasses.replace(TINY, halting="none")),
        checkpoint(2, dataclasses.replace(TINY, halting="act")),
        checkpoint(3, ANY),
        checkpoint(4, started),
    ]
    found = average.average(of, names(of))
    assert set(found) == set(of[0].params)
    for key, value in found.items():
        among = [of[0], of[4]] if "/halting_proba/" in key else of
        together = np.stack([each.params[key].astype(np.float64) for each in among])
        np.testing.assert_allclose(value, together.mean(0), rtol=1e-6, atol=1e-7)


def test_one_config_may_be_run_at_several_taus() -> None:
    of = [
        checkpoint(seed, dataclasses.replace(ANY, tau_default=0.01 * (1 + seed))) for seed in (0, 1)
    ]
    found = average.average(of, names(of))
    (key, *_) = [key for key in found if key.endswith("/tau_shift")]
    np.testing.assert_allclose(found[key], (of[0].params[key] + of[1].params[key]) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], "an average is of at least two checkpoints"),
        ([checkpoint(1, class_names=("a", "b", "d"))], "file1.h5 has other classes than file0.h5"),
        (
            [checkpoint(1, preprocessing=Preprocessing("cifar", 16))],
            "file1.h5 has other preprocessing than file0.h5",
        ),
        (
            [checkpoint(1), checkpoint(2, dataclasses.replace(TINY, base_channels=8))],
            r"file0.h5 and file2.h5 have no average, they differ in \d+ parameters: .*"
            r"block1/unit1/conv1/weight: \(3, 3, 4, 4\) and \(3, 3, 8, 8\).*; and \d+ more",
        ),
        (
            [checkpoint(1, dataclasses.replace(TINY, units_per_block=(2, 2, 3)))],
            "block3/unit3/.*: absent and",
        ),
    ],
)
def test_what_does_not_fit_is_refused(others: list[Checkpoint], said: str) -> None:
    of = [checkpoint(0), *others]
    with pytest.raises(ValueError, match=said):
        average.average(of, names(of))


@pytest.mark.parametrize("config", [TINY, ANY, dataclasses.replace(TINY, halting="act")])
def test_with_the_statistics_of_a_batch_it_is_seen_as_in_training(config: NetworkConfig) -> None:
    plan, params = build_plan(config), random_params(np.random.default_rng(1), config)
    (batch,) = batches(2, 1, config.tau_conditioned)
    found = recompute_statistics(plan, params, [batch])
    x = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
    told = {} if batch.taus is None else {"tau": torch.from_numpy(batch.taus)}
    with torch.no_grad():
        training, traces = dense.Network(plan, params).train()(x, **told)
        seen, as_seen = dense.Network(plan, found).eval()(x, **told)
    assert torch.equal(traces[0].num_units, as_seen[0].num_units)
    torch.testing.assert_close(seen, training, rtol=1e-4, atol=1e-4)


def test_statistics_are_the_mean_over_batches_whatever_they_were() -> None:
    plan, params = build_plan(TINY), random_params(np.random.default_rng(3), TINY)
    moving = [key for key in params if "/moving_" in key]
    other = params | {key: params[key] * 3 + 1 for key in moving}
    many = batches(4, 3)
    found = recompute_statistics(plan, params, many)
    again = recompute_statistics(plan, other, many)
    alone = [recompute_statistics(plan, params, [batch]) for batch in many]
    for key in params:
        expected = params[key]
        if key in moving:
            expected = np.mean([one[key] for one in alone], 0)
        np.testing.assert_allclose(found[key], expected, rtol=1e-4, atol=1e-5)
        if key in moving:
            np.testing.assert_allclose(again[key], expected, rtol=1e-4, atol=1e-5)


def test_without_images_there_are_no_statistics() -> None:
    with pytest.raises(ValueError, match="no training images"):
        recompute_statistics(build_plan(TINY), checkpoint(0).params, [])


@pytest.fixture(scope="module")
def runs(noise_data_set: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A network, and two that were trained on from it with other seeds."""
    folder = tmp_path_factory.mktemp("runs")
    first = folder / "first"
    assert train.main([*flags(noise_data_set, first), "--epochs", "1"]) == 0
    found = [str(first / "last.h5")]
    for seed in ("1", "2"):
        where = folder / f"seed{seed}"
        more = ["--finetune-from", found[0], "--finetune-halting", "--seed", seed, "--epochs", "1"]
        assert train.main([*flags(noise_data_set, where), *more]) == 0
        found.append(str(where / "last.h5"))
    return found


def test_the_command_writes_what_evaluate_finds(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "average.h5"
    argv = [*runs[1:], "--out", str(out), "--num-batches", "5"]
    assert average.main(argv) == 0
    said = capsys.readouterr().out.splitlines()
    made, one, two = read(out), *map(read, runs[1:])
    assert made.config == one.config
    record = made.provenance
    assert record["command"].endswith(f"sact_core.average {' '.join(argv)}")
    assert [each["file"] for each in record["averaged"]] == runs[1:]
    hashes = [read_header(run).content_hash for run in runs[1:]]
    assert [each["content_hash"] for each in record["averaged"]] == hashes
    assert record["epochs"] == 2
    assert record["hours"] == pytest.approx(one.provenance["hours"] + two.provenance["hours"])
    assert (record["tau"], record["recipe"]) == (one.provenance["tau"], one.provenance["recipe"])
    weights = "block2/unit2/conv1/weight"
    np.testing.assert_allclose(
        made.params[weights], (one.params[weights] + two.params[weights]) / 2, rtol=1e-6, atol=1e-7
    )
    metrics = record["metrics"]
    assert (metrics["split"], metrics["count"]) == ("test", 24)
    assert said[-1] == f"{metrics['eval/Accuracy']:7.2%}  their average, {out}"
    assert said[0] == f"{one.provenance['metrics']['eval/Accuracy']:7.2%}  {runs[1]}"
    assert evaluate.main(["--checkpoint", str(out), "--json"]) == 0
    by_masked_engine = json.loads(capsys.readouterr().out)
    for key in ("eval/Accuracy", "Total Flops/mean", "block_3/num_units_mean"):
        assert by_masked_engine[key] == pytest.approx(metrics[key], rel=1e-9)


def test_the_same_files_give_the_same_bytes_but_for_the_name(
    runs: list[str], tmp_path: Path
) -> None:
    outs = [tmp_path / name for name in ("one.h5", "two.h5")]
    for out in outs:
        assert average.main([*runs[1:], "--out", str(out), "--num-batches", "2"]) == 0
    one, two = map(read, outs)
    assert all(one.params[key].tobytes() == two.params[key].tobytes() for key in one.params)


def test_an_input_is_not_replaced_unasked(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "last.h5"
    out.write_bytes(Path(runs[1]).read_bytes())
    argv = [str(out), runs[2], "--out", str(out), "--num-batches", "1"]
    before = out.read_bytes()
    assert average.main(argv) == 2
    assert capsys.readouterr().err == f"error: {out} exists; give --force to replace it\n"
    assert out.read_bytes() == before
    assert average.main([*argv, "--force"]) == 0
    assert len(read(out).provenance["averaged"]) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--num-batches", "0"], "--num-batches must be at least 1, got 0"),
        (["--num-threads", "0"], "--num-threads must be from 1 to 1024, got 0"),
        (["--out", "absent/average.h5"], "there is no folder absent"),
    ],
)
def test_bad_flags_are_one_sentence(
    change: list[str], said: str, runs: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert average.main([*runs[1:], "--out", "average.h5", *change]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.h5"))


def test_a_file_without_a_recipe_cannot_be_the_first(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = read(runs[0])
    write(tmp_path / "bare.h5", dataclasses.replace(first, provenance={}))
    argv = [str(tmp_path / "bare.h5"), runs[1], "--out", str(tmp_path / "average.h5")]
    assert average.main(argv) == 2
    assert "does not say how it was trained" in capsys.readouterr().err
    assert average.main([runs[1], *argv[:1], *argv[2:]]) == 0
    record = read(tmp_path / "average.h5").provenance
    assert not {"epochs", "hours"} & set(record)
