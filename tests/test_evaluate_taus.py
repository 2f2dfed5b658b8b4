"""Evaluating a network that takes any tau: at one, at several, for a budget."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net
from sact_core.config import NetworkConfig
from sact_core.data.splits import open_split
from sact_core.evaluate import __main__ as command
from sact_core.evaluate.run import Job, inputs
from sact_core.evaluate.taus import Rises, measure_taus, parse_taus
from sact_core.flops import dense_flops
from sact_core.processes import Processes
from tests.exits import exit_code
from tests.test_evaluate import SACT, data_set, run_json, write_checkpoint

__all__ = ["data_set"]  # the fixture

LOW, HIGH = 0.002, 0.2
ANY = dataclasses.replace(
    SACT, halting_bias=-2.0, tau_conditioned=True, tau_low=LOW, tau_high=HIGH, tau_default=0.01
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("any") / "any.h5", ANY))


@pytest.fixture
def argv(file: str, data_set: str) -> tuple[str, ...]:
    return ("--checkpoint", file, "--dataset", data_set, "--backend", "reference")


@pytest.fixture
def job(file: str, data_set: str) -> Job:
    net = Net.from_checkpoint(checkpoints.read(file), "reference")
    return Job(net, open_split(data_set, "test"), 0.01, 0.0, 10, 4)


def flops_at(job: Job, tau: float) -> np.ndarray:
    return np.concatenate([job.net.forward(x, tau=tau).flops for x, _ in inputs(job)])


# --- one tau ---


@pytest.mark.parametrize(
    ("more", "tau"), [((), 0.01), (("--tau", "0.2"), 0.2), (("--tau", "7", "--clamp-tau"), 0.2)]
)
def test_it_runs_at_the_tau_that_is_asked_for(
    argv: tuple[str, ...],
    job: Job,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    tau: float,
) -> None:
    found = run_json(capsys, *argv, *more)
    assert found["tau"] == tau
    assert found["Total Flops/mean"] == flops_at(job, tau).mean()
    units = sum(found[f"block_{b}/ponder_cost_mean"] for b in (1, 2, 3))
    assert found["eval/Mean Loss"] > found["eval/Cross Entropy"] + 0.99 * tau * units
    assert command.main([*argv, *more]) == 0
    assert f"pixels, tau {tau:g}\n" in capsys.readouterr().out


def test_other_networks_only_price_the_loss(
    data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = ("--checkpoint", str(write_checkpoint(tmp_path / "it.h5")), "--dataset", data_set)
    one = run_json(capsys, *plain, "--backend", "reference")
    other = run_json(capsys, *plain, "--backend", "reference", "--tau", "7")
    assert (one["tau"], other["tau"]) == (0.01, 7)
    assert one["Total Flops/mean"] == other["Total Flops/mean"]
    assert one["eval/Mean Loss"] < other["eval/Mean Loss"]
    for option, value in (("--taus", "9"), ("--taus", "0.01,0.02"), ("--target-flops", "0.5")):
        assert command.main([*plain, option, value]) == 2
        said = capsys.readouterr().err
        assert "error: this ResNet-16 SACT is not conditioned on tau" in said
        assert said.count("\n") == 1


# --- several ---


def test_a_curve_compares_every_image_with_itself(
    argv: tuple[str, ...], job: Job, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_json(capsys, *argv, "--taus", "5")
    taus = [row["tau"] for row in found["rows"]]
    assert (taus[0], taus[-1]) == (LOW, HIGH)
    np.testing.assert_allclose(taus, np.geomspace(LOW, HIGH, 5), rtol=1e-3)
    flops = np.array([flops_at(job, tau) for tau in taus])
    assert [row["Total Flops/mean"] for row in found["rows"]] == flops.mean(1).tolist()
    assert [row["count"] for row in found["rows"]] == [10] * 5
    assert found["content_hash"] == checkpoints.read_header(file).content_hash
    rises = np.maximum(np.diff(flops, axis=0), 0) / dense_flops(job.net.plan, (16, 16)).total[0]
    told = found["more_work_for_more_tau"]
    assert told["images"] == (rises > 0).any(0).sum()
    assert told["largest_share_of_dense"] == pytest.approx(rises.max())
    steps = [row["more_work_than_before"] for row in found["rows"]]
    assert steps == [0, *(rises > 0).sum(1).tolist()]
    for row in (found["rows"][0], found["rows"][-1]):
        alone = run_json(capsys, *argv, "--tau", str(row["tau"]))
        for key in set(row) & set(alone) - {"count"}:
            assert alone[key] == pytest.approx(row[key], rel=1e-12), key


def test_the_curve_is_readable(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(capsys, *argv, "--taus", "0.2, 0.002,0.02")
    assert [row["tau"] for row in found["rows"]] == [0.002, 0.02, 0.2]
    assert command.main([*argv, "--taus", "0.2, 0.002,0.02"]) == 0
    head, _, columns, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("ResNet-16 SACT any tau, ")
    assert columns.split()[:5] == ["tau", "accuracy", "MFLOPs", "std", "of"]
    for row, line in zip(found["rows"], lines, strict=False):
        tau, accuracy, mflops, _, share, *_ = line.split()
        assert (float(tau), accuracy) == (row["tau"], f"{row['eval/Accuracy']:.2%}")
        assert mflops == f"{row['Total Flops/mean'] / 1e6:.1f}"
        assert share == f"{row['Total Flops/mean'] / row['Dense Flops/mean']:.1%}"
        assert line.endswith(f"{row['block_3/num_units_mean']:.2f}")
    assert lines[-1].startswith("More tau ")
    assert command.main([*argv, "--taus", "0.02"]) == 0
    assert "more work:" not in capsys.readouterr().out


def test_rises_are_counted_by_hand() -> None:
    shares = np.array([[0.9, 0.8, 0.7, 0.5], [0.5, 0.81, 0.7, 0.4], [0.6, 0.82, 0.1, 0.4]])
    whole = Rises(0, [0, 0])
    whole.add(shares)
    assert (whole.images, whole.steps) == (2, [1, 2])
    assert whole.largest == pytest.approx(0.1)
    assert whole.total == pytest.approx(0.12)
    assert whole.sentence(4) == (
        "More tau meant more work somewhere on this curve for 2 of the 4 images (50.00%): "
        "4.000% of dense on average, 10.000% at most."
    )
    parts = [Rises(0, [0, 0]), Rises(0, [0, 0])]
    parts[0].add(shares[:, :1])
    parts[1].add(shares[:, 1:])
    parts[0].merge(parts[1])
    assert parts[0].sentence(4) == whole.sentence(4)
    assert Rises(0, [0]).sentence(1000) == (
        "More tau never meant more work, for any of the 1,000 images."
    )


def test_processes_share_a_curve(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    taus = [LOW, 0.03, HIGH]
    whole = measure_taus(job, taus, Processes())
    sent: list[Any] = []

    def gather(self: Processes, values: Any) -> list[Any]:
        sent.append(json.loads(json.dumps(values)))
        return list(sent)

    monkeypatch.setattr(Processes, "gather", gather)
    measure_taus(job, taus, Processes(0, 2))
    shared = measure_taus(job, taus, Processes(1, 2))
    for tau in taus:
        assert shared.metrics[tau].summary() == pytest.approx(whole.metrics[tau].summary())
        assert shared.metrics[tau].flops == whole.metrics[tau].flops
    assert (shared.rises.images, shared.rises.steps) == (whole.rises.images, whole.rises.steps)
    assert shared.rises.largest == whole.rises.largest


def test_taus_are_parsed() -> None:
    assert parse_taus("3", ANY) == [LOW, 0.02, HIGH]
    assert parse_taus("0.01,0.002, 0.01", ANY) == [LOW, 0.01]
    assert parse_taus(["0.01", "0.002,", "0.01"], ANY) == [LOW, 0.01]
    assert parse_taus("1,0.01", ANY, clamp=True) == [0.01, HIGH]
    with pytest.raises(ValueError, match="not conditioned"):
        parse_taus("3", NetworkConfig())


# --- a budget ---


def test_a_budget_finds_its_tau(
    argv: tuple[str, ...], job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = int(dense_flops(job.net.plan, (16, 16)).total[0])
    ends = [flops_at(job, tau).mean() / whole for tau in (LOW, HIGH)]
    target = round(sum(ends) / 2, 3)
    found = run_json(capsys, *argv, "--target-flops", str(target))
    assert (found["target_flops"], found["tau_found_on"]) == (target, 10)
    assert LOW < found["tau"] < HIGH
    assert found["Total Flops/mean"] == flops_at(job, found["tau"]).mean()
    assert found["Total Flops/mean"] / whole == pytest.approx(target, abs=0.01)
    assert command.main([*argv, "--target-flops", str(target)]) == 0
    said = capsys.readouterr()
    assert f"tau {found['tau']:.4g}, found on the first 10 images\n" in said.out
    assert said.err == ""


def test_a_budget_out_of_reach_is_a_warning(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*argv, "--target-flops", "0.01", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["tau"] == HIGH
    assert said.err.startswith("warning: no tau spends 1.0% of dense on these images: tau 0.2 ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--tau", "0.3"), "tau 0.3 is outside of the range"),
        (("--tau", "nan"), "argument --tau: must be a finite number, got 'nan'"),
        (("--taus", "0.01,0.3"), "tau 0.3 is outside of the range"),
        (("--taus", "few"), "--taus takes taus such as 0.002,0.02,0.2, or how many"),
        (("--taus", ""), "--taus takes taus such as"),
        (("--taus", "2000"), "--taus spreads at most 1000"),
        (("--taus", "1"), "tau 1 is outside of the range"),
        (("--target-flops", "0"), "must be a share of dense in (0, 1], got 0.0"),
        (("--target-flops", "1.5"), "must be a share of dense in (0, 1], got 1.5"),
        (("--target-flops", "nan"), "argument --target-flops: must be a finite number"),
        (("--taus", "3", "--sizes", "16,32"), "go with neither --watch nor --sizes"),
        (("--target-flops", "0.5", "--sizes", "16"), "go with neither --watch nor --sizes"),
    ],
)
def test_a_mistake_is_one_sentence(
    argv: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    reason: str,
) -> None:
    assert exit_code(command.main, [*argv, *more]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert reason in said
    assert said.count("\n") == 1
