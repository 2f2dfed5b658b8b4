"""One sentence and an exit code for whatever stops a command."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time

import pytest

from sact_core.benchmark.sides import SideError
from sact_core.commands import run, run_together
from sact_core.processes import Agreed, Processes, Stopped
from tests.conftest import ROOT


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (2, 2)])
def test_work_gives_the_exit_code(answer, code, capsys):
    assert run(lambda: answer) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ValueError("too few"), OSError("disk full"), SideError("ended")])
def test_bad_input_is_one_sentence(error, capsys):
    def work():
        raise error

    assert run(work, who=" (process 1)") == 2
    assert capsys.readouterr() == ("", f"error (process 1): {error}\n")


def test_a_mistake_of_ours_is_no_bad_input():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


def test_ctrl_c_says_what_is_kept(capsys):
    def work():
        raise KeyboardInterrupt

    assert run(work, "stopped; all is kept") == 130
    assert capsys.readouterr() == ("", "stopped; all is kept\n")


class Two(Processes):
    """One of two processes, of which the other says ``theirs`` whenever values are gathered."""

    theirs: object = None

    def gather(self, values):
        if isinstance(self.theirs, Exception):
            raise self.theirs
        return [values, self.theirs] if self.is_first else [self.theirs, values]

    def start(self, device):
        pass


def two(rank, theirs):
    made = Two(rank, 2)
    object.__setattr__(made, "theirs", theirs)
    return made


def refuse():
    raise ValueError("no such split")


@pytest.mark.parametrize(
    ("rank", "theirs", "said"),
    [
        (0, "no such split", "error: no such split\n"),
        (0, None, "error: no such split\n"),
        (1, "no such split", ""),
        (1, Stopped("gone"), ""),
    ],
)
def test_what_all_processes_know_is_said_once(rank, theirs, said, capsys):
    processes = two(rank, theirs)
    assert run_together(lambda: processes.agree(refuse), processes) == 2
    assert capsys.readouterr() == ("", said)


def test_all_go_on_or_none(capsys):
    ours = two(0, "process 1 cannot read it")
    assert run_together(lambda: ours.agree(lambda: 3), ours) == 2
    assert capsys.readouterr().err == "error: process 1 cannot read it\n"
    assert two(0, None).agree(lambda: 3) == 3
    assert Processes().agree(lambda: 3) == 3
    with pytest.raises(Agreed, match="no such split"):
        Processes().agree(refuse)


def test_what_one_process_alone_finds_it_says_itself(capsys):
    assert run_together(refuse, two(1, None)) == 2
    assert capsys.readouterr().err == "error (process 1): no such split\n"


def test_output_that_nobody_reads_ends_a_command_silently():
    program = (
        "from sact_core.commands import run\n"
        "def work():\n"
        "    for _ in range(100_000):\n"
        "        print('a line of a table')\n"
        "raise SystemExit(run(work))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("ponder", ["absent.jpg", "--checkpoint", "absent.h5", "--out", "maps"]),
        ("draw_maps", ["absent.h5", "--out", "drawn"]),
        ("export_maps", ["absent.jpg", "--checkpoint", "absent.h5", "--out", "maps.h5"]),
        ("objects", ["absent", "--checkpoint", "absent.h5", "--boxes", "absent.json"]),
        ("saliency", ["absent", "--checkpoint", "absent.h5"]),
        ("import_tf.__main__", ["absent", "--out", "out.h5"]),
        ("train.__main__", ["--finetune-from", "absent.h5"]),
        ("evaluate.__main__", ["--checkpoint", "absent.h5"]),
        ("benchmark.__main__", ["report", "--out", "absent"]),
    ],
)
def test_every_command_says_what_is_absent(name, flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = importlib.import_module(f"sact_core.{name}")
    assert command.main(flags) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "absent" in said
    assert said.count("\n") == 1


def test_ctrl_c_ends_a_command_without_a_traceback(tmp_path):
    """A pipe that nobody writes to holds the command in the midst of its work."""
    pipe = tmp_path / "boxes.json"
    os.mkfifo(pipe)
    flags = ["--checkpoint", "absent.h5", "--boxes", str(pipe)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sact_core.objects", str(tmp_path), *flags],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    held = None
    deadline = time.monotonic() + 60
    while held is None and time.monotonic() < deadline:
        try:
            held = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.05)
    assert held is not None
    process.send_signal(signal.SIGINT)
    os.close(held)  # a read that began just after the signal would wait for more
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (130, "stopped\n")
