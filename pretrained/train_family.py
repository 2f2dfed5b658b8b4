"""Train the whole family of CIFAR-10 networks, one run after another.

::

    python pretrained/train_family.py --data-dir DIR               # all, in order of value
    python pretrained/train_family.py --data-dir DIR --list        # what is done, what is next
    python pretrained/train_family.py --data-dir DIR sact_tau0.05 static_3_3_3
    python pretrained/train_family.py --data-dir DIR --until 21:30 # stop and keep the state

Every run is ``python -m sact_core.train`` with the flags below, in ``runs/family/NAME``.
One that is finished is skipped, one that was stopped goes on where it was, and the next
starts when one ends. A run that begins at another's network trains that one first. What
ships is copied to ``pretrained/``, the table and the plot are made at the end.

Ctrl-C, or the hour given with ``--until``, stops between two steps and loses nothing.
Weights are always those of the last epoch: none are chosen by test accuracy.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from sact_core import commands  # noqa: E402
from sact_core.checkpoint import CheckpointError, Header, read_header  # noqa: E402
from sact_core.files import write_bytes  # noqa: E402

#: Whoever answers 130 was stopped, with its state kept.
STOPPED = 130

#: Images are cut from reflected borders: black ones move the mean and the deviation that an
#: image is standardised with, in training only.
BORDERS = ("--crop-border", "reflect")


@dataclass(frozen=True)
class Run:
    """A network of the family.

    Parameters
    ----------
    name : str
        Of its folder in ``runs/family``.
    flags : tuple of str
        Of ``python -m sact_core.train``.
    start : str
        The run whose last network it begins with; empty for fresh weights.
    teacher, also : str
        The runs whose last networks teach it; empty for none.
    ships : str
        Name of its file in ``pretrained/`` without the suffix; empty where it is but a step.
    seed : int
        Of order, augmentation and fresh weights.
    repeats : bool
        Whether it is but a further seed of what ships under that name: its figures are kept,
        in ``NAME.seedN.json``, and not its weights.
    grows : bool
        Whether ``start`` is a shallower network, whose units come first.
    """

    name: str
    flags: tuple[str, ...]
    start: str = ""
    teacher: str = ""
    also: str = ""
    ships: str = ""
    seed: int = 1
    repeats: bool = False
    grows: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Runs that must be finished before."""
        return tuple(dict.fromkeys(name for name in (self.start, self.teacher, self.also) if name))


def _vanilla() -> list[Run]:
    """ResNet-32 from scratch, and again from there with itself as the teacher."""
    fast = ("--preset", "fast", "--epochs", "40", "--crop-padding", "4", *BORDERS)
    again = ("--preset", "finetune", "--halting", "none", "--epochs", "12", "--eval-every", "4")
    return [
        Run("vanilla_first", (*fast, "--eval-every", "5")),
        Run(
            "vanilla",
            (*again, *BORDERS),
            start="vanilla_first",
            teacher="vanilla_first",
            ships="cifar10_resnet32",
        ),
    ]


def _wide() -> Run:
    """A shallow ResNet of three times the width: no better than ResNet-32 (92.2 %), but the two
    together are (93.7 %), since they err on different images.
    """
    size = ("--units", "2", "--base-channels", "48")
    cheap = ("--first-size", "24", "--first-share", "0.5", "--eval-every", "4")
    recipe = ("--preset", "fast", "--epochs", "16", *BORDERS, *cheap)
    return Run("wide", ("--halting", "none", *size, *recipe))


def _vanilla_long() -> Run:
    """ResNet-32 for longer, taught by itself and the wide one."""
    recipe = ("--preset", "finetune", "--halting", "none", "--epochs", "45", "--eval-every", "15")
    flags = (*recipe, *BORDERS, "--distill-views", "15")
    return Run("vanilla_long", flags, start="vanilla", teacher="vanilla", also="wide")


def _deep() -> Run:
    """ResNet-110, grown from ResNet-32."""
    recipe = ("--preset", "finetune", "--epochs", "15", "--distill-views", "15", *BORDERS)
    flags = ("--halting", "none", "--units", "18", *recipe, "--eval-every", "5")
    ships = "cifar10_resnet110"
    return Run("resnet110", flags, start="vanilla", teacher="vanilla", ships=ships, grows=True)


def _tuned(name: str, *flags: str, ships: str, seed: int = 1, views: bool = True) -> Run:
    """What begins with the vanilla network, and is taught by it: one recipe."""
    often = ("--epochs", "15", "--eval-every", "15")
    taught = ("--distill-views", "15") if views else ()  # the teacher is asked once, for all runs
    suffix = "" if seed == 1 else f"_seed{seed}"
    return Run(
        name + suffix,
        ("--preset", "finetune", *often, *BORDERS, *taught, *flags),
        start="vanilla",
        teacher="vanilla",
        ships=ships,
        seed=seed,
        repeats=seed != 1,
    )


def _sact(tau: str, seed: int = 1) -> Run:
    ships = f"cifar10_resnet32_sact_tau{tau}"
    flags = ("--halting", "sact", "--tau", tau, "--price", "computed")
    return _tuned(f"sact_tau{tau}", *flags, ships=ships, seed=seed)


def _act(tau: str) -> Run:
    ships = f"cifar10_resnet32_act_tau{tau}"
    return _tuned(f"act_tau{tau}", "--halting", "act", "--tau", tau, ships=ships)


def _static(units: str, seed: int = 1) -> Run:
    layers = 2 + 2 * sum(map(int, units.split("_")))
    ships = f"cifar10_resnet{layers}_static_{units}"
    flags = ("--halting", "none", "--units", units, "--finetune-first-units")
    return _tuned(f"static_{units}", *flags, ships=ships, seed=seed)


def _any_tau(seed: int = 1) -> Run:
    flags = ("--halting", "sact", "--tau-range", "0.0005", "0.5", "--tau", "0.02")
    more = ("--halting-bias=-2", "--price", "computed")
    ships = "cifar10_resnet32_sact_anytau"
    return _tuned("sact_anytau", *flags, *more, ships=ships, seed=seed, views=False)


#: All of the family, the most valuable first: what the comparisons need, then their
#: neighbours along the curve, then further seeds for the deviation.
FAMILY: tuple[Run, ...] = (
    *_vanilla(),
    _wide(),
    _vanilla_long(),
    _any_tau(),
    _static("3_3_3"),
    _sact("0.05"),
    _static("4_4_4"),
    _sact("0.02"),
    *map(_sact, ("0.1", "0.03", "0.01", "0.005")),
    _deep(),
    *map(_act, ("0.1", "0.05", "0.02")),
    *map(_static, ("2_2_3", "3_4_3", "5_4_4", "5_5_4")),
    *(make(seed) for seed in (2, 3) for make in (lambda s: _sact("0.05", s), _any_tau)),
    *(_static(units, seed) for seed in (2, 3) for units in ("3_3_3", "4_4_4")),
    *(_sact("0.02", seed) for seed in (2, 3)),
)


@dataclass(frozen=True)
class Shop:
    """Where the family is trained, and with what.

    Parameters
    ----------
    runs : Path
        Folder of the runs' folders.
    pretrained : Path
        Folder of the shipped files.
    common : tuple of str
        Flags that every run gets.
    """

    runs: Path
    pretrained: Path
    common: tuple[str, ...] = ()

    def last(self, name: str) -> Path:
        """The last checkpoint of a run."""
        return self.runs / name / "last.h5"

    def command(self, run: Run) -> list[str]:
        """Arguments of ``python -m sact_core.train`` that start a run, or go on with it."""
        words = ["--run-dir", str(self.runs / run.name), *run.flags, "--seed", str(run.seed)]
        if run.start:
            how = "--grow-from" if run.grows else "--finetune-from"
            words += [how, str(self.last(run.start))]
        if run.teacher:
            words += ["--distill-from", str(self.last(run.teacher))]
        if run.also:
            words += ["--distill-also", str(self.last(run.also))]
        words += self.common
        return [*words, "--resume"] if (self.runs / run.name / "config.json").exists() else words

    def state(self, run: Run) -> str:
        """``done``, ``started, E of N steps`` or ``not started``."""
        if self.is_done(run):
            return "done"
        steps = steps_of(self.last(run.name))
        if steps is not None:
            return f"started, {steps[0]:,} of {steps[1]:,} steps"
        return "started" if (self.runs / run.name / "config.json").exists() else "not started"

    def is_done(self, run: Run) -> bool:
        """Whether a run has taken all of its steps, as its folder or its shipped file says."""
        last = self.last(run.name)
        if run.repeats and not last.exists():
            return self.record(run).exists()
        steps = steps_of(last) if last.exists() else steps_of(self._shipped_by(run))
        return steps is not None and steps[0] >= steps[1]

    def record(self, run: Run) -> Path:
        """Where the figures of a further seed are kept."""
        return self.pretrained / f"{run.ships}.seed{run.seed}.json"

    def restore(self, run: Run) -> None:
        """Bring the network of a finished run, whose folder is gone, back from its file."""
        last = self.last(run.name)
        if not run.repeats and not last.exists():
            last.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(last, self._shipped_by(run).read_bytes())

    def ship(self, run: Run, curve_of: Callable[[Path], dict[str, Any]]) -> None:
        """Copy what a finished run made to the shipped files, with the curve of any tau.

        Parameters
        ----------
        run : Run
            Finished. Of one that repeats another only the figures are written.
        curve_of : callable
            Evaluates a checkpoint over its range of tau, as ``evaluate --taus --json`` does.
        """
        last = self.last(run.name)
        if not run.ships or (run.repeats and not last.exists()):
            return
        self.pretrained.mkdir(parents=True, exist_ok=True)
        header = read_header(last)
        any_tau = header.config.tau_conditioned
        if run.repeats:
            self._keep_figures(run, header, curve_of if any_tau else None)
            return
        target = self.pretrained / f"{run.ships}.h5"
        # The same weights may hold scales for int8 since, which the run's own file does not.
        if not target.exists() or not _same_network(read_header(target), header):
            write_bytes(target, last.read_bytes())
        curve = target.with_suffix(".curve.json")
        if any_tau and not _is_of(curve, header.content_hash):
            write_bytes(curve, _text(curve_of(target)))

    def _keep_figures(
        self, run: Run, header: Header, curve_of: Callable[[Path], dict[str, Any]] | None
    ) -> None:
        if _is_of(self.record(run), header.content_hash):
            return
        kept = ("command", "hardware", "hours", "epochs", "seed", "tau", "metrics", "packages")
        record = {name: header.provenance[name] for name in kept if name in header.provenance}
        record["content_hash"] = header.content_hash
        if curve_of is not None:
            record["curve"] = curve_of(self.last(run.name))
        write_bytes(self.record(run), _text(record))

    def _shipped_by(self, run: Run) -> Path:
        """The shipped file, where this very run made it; else a path at which nothing is."""
        path = self.pretrained / f"{run.ships}.h5"
        ours = (self.runs.name, run.name)
        return path if any(Path(made).parts[-2:] == ours for made in _run_dirs(path)) else Path()


def _same_network(one: Header, other: Header) -> bool:
    return one.content_hash == other.content_hash and one.provenance == other.provenance


def in_order(family: Sequence[Run], wanted: Sequence[str]) -> list[Run]:
    """The runs that are wanted, each after those that it needs.

    Parameters
    ----------
    family : sequence of Run
        All there are.
    wanted : sequence of str
        Names; all, in their order, where empty.

    Raises
    ------
    ValueError
        If there is no run of a name, or runs need each other in a circle.
    """
    by_name = {run.name: run for run in family}
    order: dict[str, Run] = {}

    def add(name: str, below: tuple[str, ...]) -> None:
        if name not in by_name:
            raise ValueError(f"there is no run {name!r}: choose from {', '.join(by_name)}")
        if name in below:
            raise ValueError(f"runs need each other: {' -> '.join((*below, name))}")
        if name not in order:
            for need in by_name[name].needs:
                add(need, (*below, name))
            order[name] = by_name[name]

    for name in wanted or by_name:
        add(name, ())
    return list(order.values())


def train_all(
    runs: Sequence[Run],
    shop: Shop,
    start: Callable[[list[str]], int],
    curve_of: Callable[[Path], dict[str, Any]],
    say: Callable[[str], None],
) -> int:
    """Train what is not finished, one after another.

    Parameters
    ----------
    runs : sequence of Run
        In order; see `in_order`.
    shop : Shop
        Where.
    start : callable
        Runs the training command with these arguments and gives its exit code.
    curve_of : callable
        See `Shop.ship`.
    say : callable
        Told what happens, a line each.

    Returns
    -------
    int
        0 when all are finished; else the exit code of the run that was not.
    """
    for run in runs:
        if shop.is_done(run):
            shop.restore(run)
        else:
            words = shop.command(run)
            say(f"{run.name}: python -m sact_core.train {shlex.join(words)}")
            code = start(words)
            if code:
                how = "stopped" if code == STOPPED else f"failed (exit code {code})"
                say(f"{run.name} {how}; the same command goes on with it")
                return code
        shop.ship(run, curve_of)
        say(f"{run.name}: done")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python pretrained/train_family.py",
        description="Train the whole family of CIFAR-10 networks, one run after another.",
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="these, and what they need; or all")
    parser.add_argument("--list", action="store_true", help="say what is done, and train nothing")
    parser.add_argument("--data-dir", metavar="DIR", help="where TFDS keeps its data")
    parser.add_argument("--num-threads", type=int, metavar="N", help="of PyTorch, on a CPU")
    parser.add_argument("--device", help="cpu or cuda (default: cuda when there)")
    parser.add_argument(
        "--until", type=_clock, metavar="HH:MM", help="stop then, within the next day, and keep"
    )
    parser.add_argument("--run-dir", default="runs/family", metavar="DIR", help="of the runs")
    parser.add_argument("--out", default=str(HERE), metavar="DIR", help="of the shipped files")
    return parser


def main(argv: Sequence[str] | None = None, family: Sequence[Run] = FAMILY) -> int:
    """Run the command; return its exit code."""
    args = commands.parse(build_parser(), argv)
    return commands.run(lambda: _family(args, family), stopped="stopped; the state is kept")


def _family(args: argparse.Namespace, family: Sequence[Run]) -> int:
    common: tuple[str, ...] = ()
    for flag in ("data_dir", "num_threads", "device"):
        value = getattr(args, flag)
        common += () if value is None else (f"--{flag.replace('_', '-')}", str(value))
    shop = Shop(Path(args.run_dir), Path(args.out), common)
    runs = in_order(family, args.runs)
    if args.list:
        for run in runs:
            print(f"{run.name:24} {shop.state(run):32} {run.ships}")
        return 0

    def curve_of(path: Path) -> dict[str, Any]:
        return _curve(path, [word for word in common if word != "--device" and word != args.device])

    code = train_all(runs, shop, lambda words: _start(words, args.until), curve_of, _say)
    if code == 0 and not args.runs:
        from summarise import summarise

        summarise(shop.pretrained, HERE.parent / "benchmarks")
    return code


def _start(words: list[str], until: datetime.datetime | None) -> int:
    """Run the training command; at ``until``, or at Ctrl-C, it is told to stop and to save."""
    with subprocess.Popen([sys.executable, "-m", "sact_core.train", *words]) as child:
        while True:
            left = None if until is None else (until - datetime.datetime.now()).total_seconds()
            try:
                return child.wait(None if left is None else max(left, 0))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGINT)
                until = None
            except KeyboardInterrupt:
                until = None  # the terminal has told the child too: it saves and ends


def _curve(path: Path, flags: Sequence[str]) -> dict[str, Any]:
    """What ``evaluate --taus 9 --json`` says of a checkpoint."""
    words = ["--checkpoint", str(path), "--taus", "9", "--json", *flags]
    done = subprocess.run(
        [sys.executable, "-m", "sact_core.evaluate", *words], stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise ValueError(f"the curve of {path} could not be measured (see above)")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _is_of(path: Path, content_hash: str) -> bool:
    """Whether a file of figures was made from the checkpoint of this hash."""
    try:
        return bool(json.loads(path.read_bytes())["content_hash"] == content_hash)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _text(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()


def _clock(text: str) -> datetime.datetime:
    """The next time that a clock shows this."""
    now = datetime.datetime.now()
    try:
        at = datetime.datetime.combine(now.date(), datetime.time.fromisoformat(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 21:30") from None
    return at if at > now else at + datetime.timedelta(days=1)


def steps_of(path: Path) -> tuple[int, int] | None:
    """Steps taken and planned, as a checkpoint says; None where there is none."""
    try:
        record = read_header(path).provenance
    except (OSError, CheckpointError):
        return None
    taken, planned = record.get("steps"), record.get("steps_planned")
    return (taken, planned) if isinstance(taken, int) and isinstance(planned, int) else None


def _run_dirs(path: Path) -> list[str]:
    """Folders of the run that made a checkpoint, by the command that it carries."""
    try:
        command = read_header(path).provenance.get("command")
    except (OSError, CheckpointError):
        return []
    words = shlex.split(command) if isinstance(command, str) else []
    return [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--run-dir"]


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
