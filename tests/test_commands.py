"""One sentence and an exit code for whatever stops a command."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sact_core import backends, commands
from sact_core.backends import budget
from sact_core.benchmark.process import SideError
from sact_core.checkpoint import write
from sact_core.commands import run, run_together
from sact_core.processes import Agreed, Processes, Stopped
from tests.conftest import ROOT
from tests.networks import any_tau_checkpoint


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


def test_an_error_of_the_system_is_put_in_words(tmp_path, capsys):
    (tmp_path / "plain").write_bytes(b"")
    for act, said in (
        ((tmp_path / "no.jpg").read_bytes, f"there is no file {tmp_path / 'no.jpg'}"),
        (lambda: os.scandir(tmp_path / "no"), f"there is no file or folder {tmp_path / 'no'}"),
        (tmp_path.read_bytes, f"{tmp_path} is a folder, not a file"),
        (lambda: os.scandir(tmp_path / "plain"), f"{tmp_path / 'plain'} is a file, not a folder"),
        (lambda: os.mkdir(tmp_path), f"{tmp_path} exists"),
    ):
        assert run(act) == 2
        assert capsys.readouterr() == ("", f"error: {said}\n")


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        commands.refuse_existing(tmp_path, force=False)


def test_long_messages_are_cut_and_steer_no_terminal(capsys):
    def work(message):
        raise ValueError(message)

    assert run(lambda: work("these do not fit:\n" + "- x\n" * 100_000)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert (len(lines), lines[-1]) == (31, "… and 99,972 more lines")
    assert run(lambda: work(f"{'a' * 10**6} cannot be read: do this")) == 2
    error = capsys.readouterr().err
    assert len(error) < 1100
    assert "… 999,024 more characters …" in error
    assert error.endswith("cannot be read: do this\n")
    assert run(lambda: work("no \x1b[31mred\r\x07\x9b\u202e file")) == 2
    assert capsys.readouterr().err == "error: no \\x1b[31mred\\r\\x07\\x9b\\u202e file\n"


def test_nothing_that_a_command_prints_steers_a_terminal(capsys):
    def work():
        print("a\tname \x1b]0;title\x07 \x1b[2J\u2028 日本 é")
        print("left out: \x9b31m\x7f", file=sys.stderr)

    assert run(work) == 0
    assert capsys.readouterr() == (
        "a\tname \\x1b]0;title\\x07 \\x1b[2J\\u2028 日本 é\n",
        "left out: \\x9b31m\\x7f\n",
    )
    print("\x1b[0m")  # as before
    assert capsys.readouterr().out == "\x1b[0m\n"


@pytest.mark.parametrize(
    "error", [MemoryError(), MemoryError("Unable to allocate 3 GiB"), RuntimeError("out of memory")]
)
def test_memory_that_ran_out_is_one_sentence(error, capsys):
    def work():
        raise error

    assert run(work) == 2
    out, said = capsys.readouterr()
    assert (out, said.count("\n")) == ("", 1)
    assert said.startswith("error: there is not enough memory")


def test_flags_steer_no_terminal(capsys):
    parser = argparse.ArgumentParser()
    with pytest.raises(SystemExit):
        commands.parse(parser, ["--\x1b[2J", "\u202e"])
    assert "unrecognized arguments: --\\x1b[2J \\u202e" in capsys.readouterr().err


def test_lists_have_commas_or_spaces():
    parser = argparse.ArgumentParser()
    parts = parser.add_subparsers()
    part = parts.add_parser("draw")
    part.add_argument("--taus", nargs="+", type=float)
    part.add_argument("--range", nargs=2, type=int)
    part.add_argument("--sides", nargs="+", choices=["a", "b"])
    part.add_argument("--out", nargs="+")
    part.add_argument("--one", type=int)
    part.add_argument("images", nargs="*")
    for words in ("0.1 0.2 -3", "0.1,0.2,-3", "0.1, 0.2, -3", "0.1 0.2,-3"):
        args = commands.parse(parser, ["draw", "--taus", *words.split(), "--one", "1"])
        assert args.taus == [0.1, 0.2, -3]
    words = ["draw", "--range", "1,2", "x,y.jpg", "--sides=b,a", "--out", "p,q.svg", "r.svg"]
    args = commands.parse(parser, words)
    assert (args.range, args.images, args.sides) == ([1, 2], ["x,y.jpg"], ["b", "a"])
    assert args.out == ["p,q.svg", "r.svg"]  # names may have commas
    for words in (["--taus", "0.1,x"], ["--taus", ","], ["--range", "1"], ["--one", "1,2"]):
        with pytest.raises(SystemExit):
            commands.parse(parser, ["draw", *words])


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
        ("doubt.__main__", ["--checkpoint", "absent.h5", "--labels", "absent.npy"]),
        ("damage.__main__", ["worst", "--checkpoint", "absent.h5"]),
        ("saliency", ["absent", "--checkpoint", "absent.h5"]),
        ("import_tf.__main__", ["absent", "--out", "out.h5"]),
        ("import_torch.__main__", ["absent", "--as", "cifar", "--out", "out.h5"]),
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
    """A pipe that nobody writes to holds it in the midst of its work."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = "import sys\nfrom sact_core import commands\n"
    code += "sys.exit(commands.run(lambda: print(open(sys.argv[1]).read())))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(pipe)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    held = None
    deadline = time.monotonic() + 60
    while held is None and time.monotonic() < deadline:
        try:
            held = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.05)
    assert held is not None
    said = None
    while said is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)  # again, if a read began just after the first
        with contextlib.suppress(subprocess.TimeoutExpired):
            said = process.communicate(timeout=5)[1]
    os.close(held)
    assert (process.returncode, said) == (130, "stopped\n")


# --- flags that commands have in common ---

RUNNING = ("evaluate.__main__", "ponder", "export_maps", "objects", "saliency", "doubt.__main__")
SHOWING = ("evaluate.__main__", "doubt.__main__", "export_maps", "objects", "benchmark.__main__")


def flags_of(name, *words):
    """Flags of a command and how they are told."""
    parser = importlib.import_module(f"sact_core.{name}").build_parser()
    if words:  # of a command of the benchmark
        (parts,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = parts.choices[words[0]]
    return {
        action.option_strings[0]: (action.type, action.choices, action.default, action.help)
        for action in parser._actions
        if action.option_strings
    }


def test_networks_are_named_by_the_same_flags_everywhere():
    common = {
        "--backend", "--precision", "--num-threads", "--device", "--tau", "--target-flops",
        "--clamp-tau",
    }  # fmt: skip
    ref = flags_of("ponder")
    for name in RUNNING:
        flags = flags_of(name)
        assert "--checkpoint" in flags
        for flag in common:
            told = [*flags[flag]]
            if (name, flag) == ("evaluate.__main__", "--tau"):  # a price in the loss, too
                told[-1] = ref[flag][-1]
            assert told == [*ref[flag]], (name, flag)


def test_images_are_named_by_the_same_flags_everywhere():
    ref = flags_of("evaluate.__main__")
    for name in SHOWING:
        flags = flags_of(name, *(["family"] if "benchmark" in name else []))
        for flag in ("--split", "--data-dir"):
            assert flags[flag] == ref[flag], (name, flag)
        assert "folder of class folders (default: " in flags["--dataset"][-1]


def test_backends_are_those_that_there_are():
    assert sorted(commands.BACKENDS) == sorted(backends.BACKENDS)
    assert commands.PRECISIONS == backends.PRECISIONS


@pytest.fixture
def any_tau(tmp_path):
    write(tmp_path / "any.h5", any_tau_checkpoint())
    return tmp_path / "any.h5"


def asked(checkpoint, *flags):
    parser = argparse.ArgumentParser()
    parser.add_argument("--image-size", type=int)
    commands.add_network(parser)
    return parser.parse_args(["--checkpoint", str(checkpoint), *flags])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--device", "cpu"], "--device is for --backend dense, not masked"),
        (["--backend", "dense", "--precision", "bfloat16"], "for the masked backend; the dense"),
        (["--num-threads", "0"], "--num-threads must be from 1 to 1024, got 0"),
        (["--num-threads", "1" + 22 * "0"], "--num-threads must be from 1 to 1024, got 1000"),
        (["--backend", "reference", "--num-threads", "1"], "for the masked and dense backends"),
        (["--tau", "5"], "outside of the range"),
        (["--target-flops", "1.5"], "must be a share of dense"),
    ],
)
def test_flags_of_the_network_that_make_no_sense(any_tau, flags, said):
    with pytest.raises(ValueError, match=said):
        commands.open_network(asked(any_tau, *flags))


def test_a_network_is_opened_as_the_flags_say(any_tau):
    net = commands.open_network(
        asked(any_tau, "--tau", "5", "--clamp-tau", "--backend", "dense", "--num-threads", "1")
    )
    assert (net.backend, net.tau, net.engine.num_threads) == ("dense", 0.1, 1)
    own = commands.open_network(asked(any_tau, "--backend", "reference"))
    assert own.tau == pytest.approx(0.01)


def test_processes_on_a_machine_share_its_cores(any_tau, monkeypatch):
    monkeypatch.setattr(Processes, "num_threads", lambda self: 3)
    args = asked(any_tau, "--backend", "dense")
    assert commands.open_network(args, Processes(0, 2)).engine.num_threads == 3


def test_a_budget_is_looked_for_on_the_first_images(any_tau, rng, monkeypatch, capsys):
    monkeypatch.setattr(budget, "NUM_IMAGES", 6)
    images = rng.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    args = asked(any_tau, "--backend", "reference", "--target-flops", "0.97")
    net = commands.open_network(args)
    seen = []

    def given():
        for image in images:
            seen.append(image)
            yield image

    found = commands.spend_target(net, args, given)
    assert len(seen) == 6  # no more are read than count
    ref = net.find_tau([net.see(image).x for image in images[:6]], 0.97)
    assert found.tau == ref.tau
    assert capsys.readouterr().err.endswith("of dense on the first 6 images\n")
    with pytest.raises(ValueError, match="there is no image"):
        commands.spend_target(net, args, list)
    monkeypatch.setattr(budget, "KEEP_BYTES", 2 * 16 * 16 * 3 * 4)
    seen.clear()
    assert commands.spend_target(net, args, given).tau == ref.tau
    assert len(seen) > 6  # read again, and not kept


def test_progress_is_quiet_where_nobody_looks(capsys):
    with commands.progress(3) as bar:
        bar.update()
    assert capsys.readouterr() == ("", "")
    with commands.progress(3, "steps", 1, shown=True) as bar:
        bar.update()
    assert "3" in capsys.readouterr().err


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_printed_to_in_vain(tmp_path, closed):
    """As of a service: the code tells, and no file that is written takes a stream's number."""
    write(tmp_path / "net.h5", any_tau_checkpoint())
    for out, code in (("out.onnx", 0), ("absent/out.onnx", 2)):
        argv = f"'{sys.executable}' -m sact_core.export_onnx net.h5 --out {out} {closed}"
        done = subprocess.run(
            ["sh", "-c", argv], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert done.returncode == code
    assert (tmp_path / "out.onnx").stat().st_size > 1000


def test_no_stream_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)

    def work():
        print("said")
        raise ValueError("no")

    assert run(work) == 2


def test_ctrl_c_while_packages_are_imported(monkeypatch, capsys):
    from sact_core import __main__ as front

    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(front, "import_module", interrupted)
    assert front.main(["calibrate", "net.h5"]) == 130
    assert capsys.readouterr() == ("", "stopped\n")
