"""A few hundred inputs of the fuzzers, and that they see what they are there for."""

from __future__ import annotations

import os
import shutil
import time
import warnings

import numpy as np
import pytest

from tests.fuzz import flags, worker
from tests.fuzz.campaign import Fault, campaign
from tests.fuzz.kinds import Case, Kind, command

SEED = 20
#: How many of each kind; about 25 seconds of one core in all.
COUNTS = {
    "images": 60, "checkpoints": 35, "bundles": 40, "archives": 15, "prepared": 15, "maps": 25,
    "parts": 20, "fixations": 25, "boxes": 25, "curves": 10, "answers": 10, "results": 25,
    "runs": 5, "flags": 6, "pages": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What was tried, by kind; one process tries it all."""
    keep = tmp_path_factory.mktemp("faults")
    results: dict[str, list[Fault | None]] = {kind: [] for kind in COUNTS}
    for kind, _, fault in campaign({k: range(n) for k, n in COUNTS.items()}, SEED, keep):
        results[kind].append(fault)
    return results


@pytest.mark.parametrize("kind", worker.KINDS)
def test_strange_inputs_are_taken_or_refused_in_a_sentence(found, kind):
    assert len(found[kind]) == COUNTS[kind]
    faults = [str(fault) for fault in found[kind] if fault is not None]
    assert not faults, "\n".join(faults)


def test_flags_begin_with_calls_that_work(tmp_path, monkeypatch, capsys):
    """So that a strange flag reaches beyond what the call lacked."""
    flags.Flags(tmp_path / "good")
    refused = {}
    for name, argv in flags.NEEDS.items():
        command_name, *sub = name.split()
        where = tmp_path / name.replace(" ", "-")
        shutil.copytree(tmp_path / "good", where)
        monkeypatch.chdir(where)
        if command(command_name)([*sub, *argv]) != 0:
            refused[name] = capsys.readouterr().err
    assert set(refused) == {"benchmark infer"}  # it would measure: refused, it takes no time
    assert "holds no results" in refused["benchmark infer"]


# --- what is a fault ---


def says(code, text="error: no"):
    import sys

    print(text, file=sys.stderr)
    return code


def raises(error):
    raise error


def works():
    began = time.process_time()
    while time.process_time() - began < 5:
        pass
    return 0


def interrupted():
    try:
        works()
    except KeyboardInterrupt:
        return 130
    return 0


def slow():
    began = time.process_time()
    while time.process_time() - began < worker.REFUSAL_SECONDS:
        pass
    return says(2)


def hungry():
    np.ones(worker.MEMORY_BYTES // 8 + 1_000_000)
    return 0


def loud():
    np.float32(3e38) * np.float32(3e38)
    return 0


FAULTS = {
    "a traceback": (lambda: raises(RuntimeError("it broke")), "RuntimeError: it broke"),
    "out of memory": (lambda: raises(MemoryError()), "MemoryError: "),
    "an exit": (lambda: raises(SystemExit(3)), "SystemExit: 3"),
    "an exit code": (lambda: says(1), "exit code 1"),
    "Ctrl-C": (works, "Ctrl-C came through"),
    "silence": (lambda: 2, "refused without a word"),
    "a printed traceback": (
        lambda: says(0, "Traceback (most recent call last):"), "a traceback on stderr",
    ),
    "time": (slow, "seconds to refuse"),
    "memory": (hungry, "GiB of memory"),
    "a long message": (lambda: says(2, "x" * 30_000), "a message of 30001 characters"),
    "an escape": (lambda: says(2, "\x1b[2J"), "control characters"),
    "a warning": (loud, "a warning: RuntimeWarning: overflow"),
}  # fmt: skip


@pytest.fixture
def ctrl_c(monkeypatch):
    """As in the worker's own process."""
    import signal

    before = signal.signal(signal.SIGPROF, worker.press)
    yield
    signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_seen(ctrl_c, monkeypatch, name):
    monkeypatch.setattr(worker, "REFUSAL_SECONDS", 0.2)
    monkeypatch.setattr(worker, "MEMORY_BYTES", 1 << 26)
    run, wanted = FAULTS[name]
    problem, _ = worker.attempt(Case(name, run), 1)
    assert problem is not None
    assert wanted in problem


@pytest.mark.parametrize(
    ("run", "stops"), [(lambda: 0, 30), (lambda: says(2), 30), (interrupted, 0.2)]
)
def test_what_is_right_is_no_fault(ctrl_c, run, stops):
    with warnings.catch_warnings():
        assert worker.attempt(Case("it", run), stops)[0] is None


ANSWERS_AT_ONCE = """
import sys
print('{"ready": true}', flush=True)
for _ in sys.stdin:
    print('{"begun": "it"}\\n{"problem": null, "said": "all"}', flush=True)
"""


def test_two_answers_that_come_at_once_are_both_heard(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fuzz.campaign.PROGRAM", ("-c", ANSWERS_AT_ONCE))
    heard = list(campaign({"it": range(3)}, 1, tmp_path, 5.0))
    assert heard == [("it", number, None) for number in range(3)]


class Broken(Kind):
    """Inputs that end the process, that hang, and that show a fault otherwise."""

    RUNS = (lambda: os.kill(os.getpid(), 11), lambda: time.sleep(60), lambda: 3)

    def make(self, rng, folder):
        number = int(rng.integers(1 << 30))
        (folder / "it").write_text(str(number))
        return Case(str(number), Broken.RUNS[number % 3])


def test_crashes_and_hangs_are_told_and_can_be_repeated(tmp_path, monkeypatch):
    patch = "from tests.fuzz import test_fuzz, worker; worker.KINDS['broken'] = test_fuzz.Broken\n"
    patch += "import sys; worker._warm = lambda *_: None; worker.main(sys.argv[1])"
    monkeypatch.setattr("tests.fuzz.campaign.PROGRAM", ("-c", patch))
    drawn = [int(worker.generator(1, "broken", i).integers(1 << 30)) % 3 for i in range(50)]
    numbers = [drawn.index(way) for way in range(3)]
    faults = [fault for *_, fault in campaign({"broken": numbers}, 1, tmp_path, 4.0)]
    wanted = ["the process ended with -11", "it hangs", "exit code 3"]
    assert [fault.problem for fault in faults] == wanted
    last = faults[-1]
    assert (last.kept / "it").read_text() == last.shown
    assert f"KINDS=broken SEED=1 FIRST={numbers[-1]} N=1" in str(last)
    again = next(fault for *_, fault in campaign({"broken": [last.number]}, 1, tmp_path, 4.0))
    assert (again.problem, again.shown) == (last.problem, last.shown)
