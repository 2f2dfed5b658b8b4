"""How fast does it train on a GPU? The CIFAR-10 family, all on one device.

::

    python benchmarks/gpu_family.py pack --data-dir DIR        # data in parts: runs/gpu/data
    python benchmarks/gpu_family.py store runs/gpu/data/*.npy  # on the machine with the GPU
    python benchmarks/gpu_family.py train --minutes 9 --out OUT
    python benchmarks/gpu_family.py take OUT                   # finished runs to runs/family
    python benchmarks/gpu_family.py run FLAGS…                 # one run, flags of sact_core.train

``train`` takes the runs of ``pretrained/train_family.py`` in their order, skips those that
are finished, goes on with one that is half done, and stops by itself before its minutes
are over. Every minute what it has is in OUT, from where ``--bring`` takes it up again.
``--device cpu --tiny`` tries all of it with tiny numbers. benchmarks/README.md has it step
by step.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
PRETRAINED = HERE.parent / "pretrained"
sys.path[:0] = [str(HERE.parent), str(PRETRAINED), str(HERE)]

import gpu_data  # noqa: E402
from gpu_bundles import Bundles, bring  # noqa: E402
from train_family import FAMILY, Run, Shop, in_order  # noqa: E402

from sact_core import commands  # noqa: E402
from sact_core.extras import need  # noqa: E402

STORE = Path("~/.cache/sact_gpu")
WORK = Path("runs/gpu")
DIVERGED = "the loss is no longer finite; try a smaller --batch-size"

#: Of the time given: what evaluation and the last files may take, and what a run is begun for.
RESERVE_SHARE, RESERVE_SECONDS, WORTH_SECONDS = 0.1, 20.0, 10.0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/gpu_family.py",
        description="Train the CIFAR-10 family with everything on one device.",
    )
    parts = parser.add_subparsers(dest="what", required=True)
    pack = parts.add_parser("pack", help="write a data set as parts that can be sent")
    pack.add_argument("--dataset", default="cifar10", help="as sact_core.train takes it")
    pack.add_argument("--splits", nargs=2, default=["train", "test"], metavar="SPLIT")
    pack.add_argument("--data-dir", metavar="DIR", help="where TFDS keeps its data")
    pack.add_argument("--part-mib", type=int, default=20, metavar="N", help="most of a part")
    pack.add_argument("--out", default=str(WORK / "data"), metavar="DIR", help="of the parts")
    store = parts.add_parser("store", help="keep parts on the machine with the GPU, and check them")
    store.add_argument("files", nargs="+", metavar="PART", help="with parts.json beside it")
    train = parts.add_parser("train", help="train the family, in order of value")
    train.add_argument("runs", nargs="*", metavar="RUN", help="these, and what they need; or all")
    train.add_argument("--minutes", type=float, default=10.0, help="stop before (default: 10)")
    train.add_argument("--out", default=str(WORK / "out"), metavar="DIR", help="for what is made")
    train.add_argument("--bring", metavar="DIR", help="earlier OUT, or NAME.h5 of finished runs")
    train.add_argument("--batch-size", type=int, default=512, help="of a step (default: 512)")
    train.add_argument("--compile", action="store_true", help="torch.compile: pays for long runs")
    train.add_argument("--tiny", action="store_true", help="a few steps of tiny networks: a trial")
    train.add_argument("--bundle-mib", type=int, default=15, metavar="N", help="most of a file")
    take = parts.add_parser("take", help="put finished runs where train_family.py finds them")
    take.add_argument("folder", metavar="OUT")
    one = parts.add_parser(
        "run", help="train one run; all other flags are those of sact_core.train"
    )
    for each in (train, take):
        each.add_argument("--run-dir", metavar="DIR", help="of the runs (default: runs/family)")
    for each in (train, one):
        each.add_argument("--device", default="cuda", help="default: cuda")
        each.add_argument("--no-capture", action="store_true", help="launch steps, replay none")
        each.add_argument(
            "--save-seconds", type=float, default=60.0, metavar="S", help="between two states"
        )
    for each in (store, train, one):
        each.add_argument("--store", default=str(STORE), metavar="DIR", help=f"default: {STORE}")
    return parser


def main(argv: Sequence[str] | None = None, family: Sequence[Run] = FAMILY) -> int:
    """Run the command; return its exit code."""
    begin = time.perf_counter()
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["run"]:
        parser = build_parser()
        args, words = parser.parse_known_args(argv)
        return commands.run(lambda: _run(args, words))
    args = commands.parse(build_parser(), argv)
    work: dict[str, Callable[[], int]] = {
        "pack": lambda: _pack(args),
        "store": lambda: _store(args),
        "take": lambda: _take(args),
        "train": lambda: _train(args, family, begin),
    }
    return commands.run(work[args.what], stopped="stopped; what was kept last is in --out")


def _pack(args: argparse.Namespace) -> int:
    splits = args.splits[0], args.splits[1]
    gpu_data.pack(args.dataset, splits, args.data_dir, Path(args.out), args.part_mib, _say)
    return 0


def _store(args: argparse.Namespace) -> int:
    gpu_data.store(list(map(Path, args.files)), _store_of(args), _say)
    return 0


def _take(args: argparse.Namespace) -> int:
    shop = Shop(Path(args.run_dir or "runs/family"), PRETRAINED)
    bring(Path(args.folder), shop, _say, finished_only=True)
    return 0


def _run(args: argparse.Namespace, words: list[str]) -> int:
    _use_device(args.device)
    from gpu_runs import train_one
    from gpu_steps import Manner

    from sact_core.train.loop import Diverged, Interrupted

    packed = gpu_data.load(_store_of(args))
    manner = Manner(not args.no_capture, args.save_seconds)
    try:
        train_one(words, packed, args.device, manner, _say)
    except Interrupted:
        _say("stopped and saved; the same command with --resume goes on with it")
        return 130
    except Diverged:
        _say(f"{DIVERGED} or --learning-rate")
        return 1
    return 0


def _train(args: argparse.Namespace, family: Sequence[Run], begin: float) -> int:
    commands.at_least_one(args, "bundle_mib")
    if args.minutes <= 0 or args.save_seconds < 0:
        raise ValueError("--minutes must be above 0, and --save-seconds at least 0")
    _use_device(args.device)
    from gpu_runs import Results, larger_batches, train_one
    from gpu_steps import Manner

    from sact_core.train.loop import Diverged, Interrupted

    seconds = 60 * args.minutes
    until = begin + seconds - min(RESERVE_SHARE * seconds, RESERVE_SECONDS)
    runs = Path(args.run_dir or (WORK / "tiny" if args.tiny else "runs/family"))
    # A trial starts from nothing that ships, which has other widths.
    shop = Shop(runs, runs / "shipped" if args.tiny else PRETRAINED)
    if args.bring:
        bring(Path(args.bring), shop, _say)
    order = in_order(family, args.runs)
    packed = gpu_data.load(_store_of(args))
    out = Path(args.out)
    bundles, results = Bundles(out, runs, args.bundle_mib), Results(out, args.device, _say)
    absent: set[str] = set()  # runs that cannot be had, and those that need them
    for number, run in enumerate(order):
        if shop.is_done(run):
            shop.restore(run)
            _say(f"{run.name}: finished before")
            continue
        if absent.intersection(run.needs):
            absent.add(run.name)
            _say(f"{run.name}: left out, as it needs {' and '.join(run.needs)}")
            continue
        left = until - time.perf_counter()
        if left < min(WORTH_SECONDS, RESERVE_SHARE * seconds):
            _say(f"the time is over: {len(order) - number} runs are left, {run.name} the first")
            break
        words = [*shop.command(run), *(["--compile"] if args.compile else [])]
        words = larger_batches(words, args.batch_size, args.tiny)
        manner = Manner(
            not args.no_capture,
            args.save_seconds,
            until,
            lambda name=run.name: bundles.going_on(name),  # type: ignore[misc]
        )
        _say(f"{run.name}: {shlex.join(words)}")
        try:
            results.add(run.name, train_one(words, packed, args.device, manner, _say, args.tiny))
        except Interrupted:
            if time.perf_counter() < until:
                _say(f"{run.name}: stopped and saved")
                return 130
            _say(f"{run.name}: the time is over; --bring {out} goes on with it")
            break
        except Diverged:
            absent.add(run.name)
            _say(f"{run.name}: {DIVERGED}")
            continue
        bundles.done(run.name)
        _say(f"{run.name}: done, {time.perf_counter() - begin:.0f} s since the start")
    return 1 if absent else 0


def _use_device(device: str) -> None:
    """Refuse a device that is not there; have float32 mean float32 on it."""
    need("train", "training", "torch")
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {device!r} is not to be had ({str(error).strip().splitlines()[0]}); "
            f"--device cpu --tiny tries this with tiny numbers"
        ) from None
    if device.startswith("cuda"):
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def _store_of(args: argparse.Namespace) -> Path:
    return Path(args.store).expanduser()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
