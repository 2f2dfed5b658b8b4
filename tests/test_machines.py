"""Commands shared by two machines, each with an address and no name that resolves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from sact_core import rendezvous
from sact_core.evaluate import __main__ as evaluate
from sact_core.export_maps import main as export
from sact_core.train import __main__ as train
from sact_core.train import read_metrics
from sact_core.train.loop import Trainer
from tests.conftest import ROOT
from tests.hosts import Hosts, two_hosts
from tests.networks import any_tau_checkpoint
from tests.training import flags, write_data_set

SECONDS = 400  # on a machine that does much else


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with two_hosts() as found:
        yield found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machines")
    write_data_set(folder / "data", 48)
    checkpoints.write(folder / "net.h5", any_tau_checkpoint())
    return folder


def ended(started: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, output and what was said of each host."""
    try:
        return [
            (process.wait(SECONDS), *process.communicate(timeout=SECONDS)) for process in started
        ]
    finally:
        for process in started:
            process.kill()


def test_the_interface_that_leads_to_this_machine_itself() -> None:
    assert rendezvous.interface_towards("127.0.0.1", 1) == "lo"
    assert rendezvous.interface_towards("nowhere.invalid", 1) is None


def test_a_first_machine_that_is_not_found_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "nowhere.invalid")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    with pytest.raises(ValueError, match=r"cannot be found at 'nowhere\.invalid'.* --master-addr"):
        rendezvous.prepare(False)
    rendezvous.prepare(True)  # all are here
    assert os.environ["MASTER_ADDR"] == "127.0.0.1"
    assert os.environ.pop("GLOO_SOCKET_IFNAME") == "lo"


def test_what_says_that_another_process_is_gone() -> None:
    text = "[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:9"
    assert rendezvous.is_lost(RuntimeError(text))
    assert not rendezvous.is_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not rendezvous.is_lost(ValueError(text))


def test_two_processes_of_a_machine_whose_name_does_not_resolve(data: Path) -> None:
    """By the README's flags; without them ``torchrun`` waits for minutes."""
    told = re.search(
        r"^torchrun (.*) -m sact_core\.evaluate ", (ROOT / "README.md").read_text(), re.M
    )
    assert told is not None
    if subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode:
        pytest.skip("this machine's name cannot be changed for a process")
    argv = ["--checkpoint", str(data / "net.h5"), "--dataset", str(data / "data"), "--json"]
    argv += ["--split", "test", "--backend", "reference"]
    done = subprocess.run(
        ["unshare", "--uts", "sh", "-c", 'hostname nosuch.invalid; exec "$@"', "sh",
         *(sys.executable, "-m", "torch.distributed.run", *told[1].split()),
         *("-m", "sact_core.evaluate", *argv)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_examples"] == 24


def test_evaluation_by_two_machines_gives_what_one_gives(
    hosts: Hosts, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--checkpoint", str(data / "net.h5"), "--dataset", str(data / "data"), "--json"]
    argv += ["--split", "test", "--batch-size", "5", "--backend", "reference"]
    assert evaluate.main(argv) == 0
    ref = json.loads(capsys.readouterr().out)
    (code, out, err), (other, nothing, _) = ended(hosts.start("sact_core.evaluate", (argv, argv)))
    assert (code, other, nothing) == (0, 0, ""), err
    comp = json.loads(out)
    assert comp.keys() == ref.keys()
    assert "--batch-size 5" in ref.pop("command")
    assert comp["command"].startswith("torchrun --nproc-per-node=1 --nnodes=2 ")
    for name, value in ref.items():
        if isinstance(value, float):  # sums of parts round elsewhere in the last digit
            assert comp[name] == pytest.approx(value, rel=1e-12), name
        else:
            assert comp[name] == value, name
    for name in ("eval/Accuracy", "Total Flops/mean"):
        assert comp[name] == ref[name]


def same_files(ref: Path, comp: Path) -> None:
    with h5py.File(ref) as one, h5py.File(comp) as other:
        names: list[str] = []
        one.visit(names.append)
        for name in names:
            if isinstance(one[name], h5py.Dataset):
                np.testing.assert_array_equal(one[name][()], other[name][()])


@pytest.mark.parametrize("shared", [True, False])
def test_an_export_by_two_machines_gives_what_one_gives(
    hosts: Hosts, data: Path, tmp_path: Path, shared: bool
) -> None:
    argv = ["--checkpoint", str(data / "net.h5"), "--dataset", str(data / "data")]
    argv += ["--split", "test", "--batch-size", "5", "--backend", "reference", "--out"]
    assert export([*argv, str(tmp_path / "ref.h5")]) == 0
    outs = [tmp_path / ("a" if shared or node == 0 else "b") / "maps.h5" for node in range(2)]
    for out in outs:
        out.parent.mkdir(exist_ok=True)
    script = tmp_path / "small_parts.py"
    script.write_text(
        "import sys\n"
        "from sact_core import export_maps\n"
        "export_maps._part_size = lambda _, batch_size: batch_size\n"
        "raise SystemExit(export_maps.main(sys.argv[1:]))\n"
    )
    argvs = ([*argv, str(outs[0])], [*argv, str(outs[1])])
    started = hosts.start(str(script), argvs, torchrun=not shared)
    (code, _, err), (other, nothing, _) = ended(started)
    assert (code, other, nothing) == (0, 0, ""), err
    same_files(tmp_path / "ref.h5", outs[0])
    assert [p.name for out in outs for p in out.parent.iterdir()].count("maps.h5") == 1 + shared


@pytest.mark.parametrize("shared", [True, False])
def test_a_run_goes_on_with_another_number_of_machines(
    hosts: Hosts,
    data: Path,
    tmp_path: Path,
    shared: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One process is stopped after three of four steps, two machines go on."""
    runs = [tmp_path / ("a" if shared or node == 0 else "b") / "run" for node in range(2)]
    one, other = (flags(str(data / "data"), run, "--epochs", "2") for run in runs)
    finish = Trainer._finish_epoch

    def stop_then(trainer: Trainer, *args: Any) -> None:
        finish(trainer, *args)
        trainer.stop_asked = True

    monkeypatch.setattr(Trainer, "_finish_epoch", stop_then)
    assert train.main(one) == 130
    argvs = ([*one, "--resume"], [*other, "--resume"])
    started = hosts.start("sact_core.train", argvs, torchrun=not shared)
    (code, out, err), (also, nothing, _) = ended(started)
    assert (code, also, nothing) == (0, 0, ""), err
    assert "going on from step 3 of 4" in out
    capsys.readouterr()
    monkeypatch.undo()
    assert train.main([*one, "--resume"]) == 0
    assert "going on from step 4 of 4" in capsys.readouterr().out
    assert [row["step"] for row in read_metrics(runs[0])] == [2, 4]
    assert shared or not (tmp_path / "b").exists()


def test_machines_that_see_other_images_are_told(hosts: Hosts, data: Path, tmp_path: Path) -> None:
    write_data_set(tmp_path / "other", 24)
    argvs = (
        flags(str(data / "data"), tmp_path / "a", "--epochs", "1"),
        flags(str(tmp_path / "other"), tmp_path / "b", "--epochs", "1"),
    )
    (code, _, err), (other, _, _) = ended(hosts.start("sact_core.train", argvs, torchrun=False))
    assert code != 0
    assert other != 0
    said = [line for line in err.splitlines() if line.startswith("error")]
    assert said == [
        "error: the images of process 1 are not those of the first: give every machine the same "
        "command, data set and files"
    ]


@pytest.mark.parametrize("how", ["cable", "killed"])
def test_a_machine_that_dies_ends_the_others(data: Path, tmp_path: Path, how: str) -> None:
    """Without a word, or with its processes only: within a minute, in a sentence each."""
    script = tmp_path / "sleeps_in_process_1.py"
    script.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from sact_core.evaluate import run\n"
        "from sact_core.evaluate.__main__ import main\n"
        "def sleep(*_, **__):\n"
        "    Path(sys.argv[1]).touch()\n"
        "    time.sleep(600)\n"
        "if os.environ['RANK'] == '1': run.evaluate = sleep\n"
        "raise SystemExit(main(sys.argv[2:]))\n"
    )
    asleep = tmp_path / "asleep"
    argv = [str(asleep), "--checkpoint", str(data / "net.h5"), "--dataset", str(data / "data")]
    argv += ["--split", "test", "--backend", "reference"]
    with two_hosts() as hosts:
        started = hosts.start(str(script), (argv, argv))
        deadline = time.monotonic() + SECONDS
        while not asleep.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2 * rendezvous.BEAT)
        if how == "cable":
            hosts.cut()
        else:
            hosts.kill(1)
        began = time.monotonic()
        (code, out, err), (_, _, other) = ended(started)
        took = time.monotonic() - began
    assert code != 0
    assert out == ""
    said = [line for line in err.splitlines() if line.startswith("error")]
    assert len(said) == 1, err
    if how == "cable":
        assert said[0].startswith("error: process 1 has given no sign of life for 30 seconds")
        assert "error (process 1): the machine of the first process cannot be reached" in other
    else:
        assert said[0].startswith("error: process 1 was killed or cannot be reached")
    assert took < 60 + 30  # torchrun itself waits for half a minute


def test_what_a_process_said_last_is_no_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be heard after the end of the process that said it."""
    monkeypatch.setattr(rendezvous, "BEAT", 0.1)
    signs = object.__new__(rendezvous.SignsOfLife)
    signs._heard = {1: 0.0, 2: 0.0}
    heard = threading.Timer(0.1, lambda: signs._heard.update({1: 1.0}))
    heard.start()
    assert signs.silent() == [1, 2]
    heard.join()
