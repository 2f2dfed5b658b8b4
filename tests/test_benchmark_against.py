"""Whether a measurement tells that masked inference got slower; by made numbers."""

from __future__ import annotations

import json

import pytest

from sact_core.benchmark import against, infer, machine
from sact_core.benchmark.__main__ import main
from tests.conftest import ROOT
from tests.test_benchmark import row

CASE = "resnet32-batch1"
ARGV = ["infer", "--only", CASE, "--threads", "1", "--ratios", "0.5"]


def measured(masked, *, dense=8.0, **changes):
    """A row whose dense side, ``vanilla``, takes 8 ms."""
    ms = {"masked": masked, "vanilla": dense}
    return row(**({"case": CASE, "turns": {k: [v] for k, v in ms.items()}, "ms": ms} | changes))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run ``infer --against`` with made rows; give its code, what it said, and the folder."""

    def run(earlier, now, *argv, where=None, text=None):
        path = tmp_path / "earlier.json"
        values = {"machine": where or machine.machine(), "rows": earlier}
        path.write_text(json.dumps(values) if text is None else text)
        monkeypatch.setattr(infer, "measure_case", lambda *args: now)
        monkeypatch.chdir(tmp_path)
        code = main([*ARGV, "--against", str(path), *argv])
        return code, capsys.readouterr(), tmp_path

    return run


@pytest.mark.parametrize(
    ("masked", "dense", "code"),
    [
        (4.4, 8.0, 0),  # 10 % more is allowed
        (4.5, 8.0, 1),
        (2.0, 8.0, 0),
        (8.0, 16.0, 0),  # a machine half as fast
        (4.0, 7.0, 1),  # as many milliseconds on one that is faster
    ],
)
def test_the_share_of_the_dense_time_counts(run, masked, dense, code):
    got, said, _ = run([measured(4.0)], [measured(masked, dense=dense)])
    assert got == code
    assert f"{masked / dense:.3f} of the dense time, 0.500 before" in said.out
    assert f"{masked:.2f} ms, 4.00 ms before" in said.out
    assert f"{code} of 1 cases more than 10% slower than in" in said.out


def test_cases_are_compared_one_by_one(run):
    earlier = [measured(4.0), measured(3.0, ratio=0.3), measured(1.0, ratio=0.1)]
    now = [measured(2.0), measured(3.6, ratio=0.3), measured(5.0, ratio=0.2)]
    code, said, _ = run(earlier, now, "--ratios", "0.5", "0.3", "0.2")
    assert code == 1
    assert "1 of 2 cases more than" in said.out
    assert "30%: 0.450 of the dense time, 0.375 before (1.20 of it, slower)" in said.out
    assert "50%: 0.250 of the dense time, 0.500 before (0.50 of it, ok)" in said.out


def test_the_median_of_the_turns_counts(run):
    turns = {"masked": [4.0, 4.0, 9.0], "vanilla": [8.0, 8.0, 8.0]}
    assert run([measured(4.0)], [measured(9.0, turns=turns)])[0] == 0


def test_dense_sides_that_both_measured_count(run):
    ms = {"masked": 4.0, "vanilla": 8.0, "frozen": 5.0}
    both = measured(4.0, ms=ms, turns={k: [v] for k, v in ms.items()})
    code, said, _ = run([both], [measured(4.0)])
    assert (code, "0.500 of the dense time, 0.500 before" in said.out) == (0, True)
    code, said, _ = run([measured(4.0)], [], "--sides", "masked", "frozen")
    assert code == 2
    assert "has no dense side of --sides, but vanilla: name one of it" in said.err


def test_a_check_keeps_nothing_unless_told(run):
    folder = run([measured(4.0)], [measured(4.0)])[-1]
    assert sorted(path.name for path in folder.iterdir()) == ["earlier.json"]
    code, _, folder = run([measured(4.0)], [measured(5.0)], "--out", "kept", "--no-start")
    assert code == 1
    assert len(list((folder / "kept").glob("infer-*.json"))) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "{"}, "is no JSON"),
        ({"text": '{"machine": {"hardware": "x"}}'}, "has no rows"),
        ({"where": {"hardware": "Some chip"}}, "measured on another kind of machine (Some chip"),
        ({"earlier": [measured(4.0, threads=64)]}, f"it has {CASE} at 64 threads"),
        ({"earlier": []}, "it has no rows"),
        ({"earlier": [{"software": {}}]}, "row 1 cannot be compared with (it lacks 'case')"),
        ({"earlier": [measured(4.0) | {"ms": 3, "turns": None}]}, "is damaged, or no result of"),
        ({"earlier": [measured(4.0) | {"flops": 0}]}, "is damaged, or no result of infer: row 1"),
        (
            {"earlier": [measured(4.0) | {"turns": {"masked": [1.0], "vanilla": [0.0]}}]},
            "a time is no number above 0",
        ),
    ],
)
def test_a_file_that_cannot_be_compared_with_is_named_before_anything_runs(run, given, message):
    code, said, _ = run(**{"earlier": [measured(4.0)], "now": None, **given})
    assert code == 2
    assert message in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


def test_committed_results_can_be_compared_with():
    for path in (ROOT / "benchmarks").glob("infer-*.json"):
        values = machine.read_results(path)
        keys = {(r["case"], r["threads"], r["ratio"]) for r in values["rows"]}
        earlier = against.read_earlier(path, values["machine"], keys, infer.SIDES)
        comparisons = against.compare(earlier, values["rows"])
        assert len(comparisons) == len(keys) > 10
        assert all(each.slower == 1 for each in comparisons)
