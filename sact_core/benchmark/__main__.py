"""Measure in seconds.

::

    python -m sact_core.benchmark infer                           # everything, about an hour
    python -m sact_core.benchmark infer --only resnet32-batch1 --threads 1
    python -m sact_core.benchmark halting
    python -m sact_core.benchmark family pretrained/*.h5 --data-dir DIR
    python -m sact_core.benchmark train --threads 1               # a minute or two

Results of ``infer`` are merged into those that stand in the folder already.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sact_core.benchmark.cases import CASES, RATIOS
from sact_core.benchmark.infer import SIDES
from sact_core.benchmark.train import SIDES as TRAIN_SIDES

KEYS = [case.key for case in CASES]


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.benchmark", description="Measure in seconds."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_infer(commands.add_parser("infer", help="masked inference against dense PyTorch"))
    _add_halting(commands.add_parser("halting", help="the halting rule in Numba"))
    _add_family(commands.add_parser("family", help="trained networks on test images"))
    _add_train(commands.add_parser("train", help="a training step with and without halting"))
    return parser


def _add_infer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", choices=KEYS, default=KEYS, metavar="CASE",
                        help=f"which of {', '.join(KEYS)}")  # fmt: skip
    parser.add_argument("--threads", nargs="+", type=int, help="default: 1, and one for each core")
    parser.add_argument("--ratios", nargs="+", type=float, default=list(RATIOS),
                        help="shares of the dense FLOPs; 1: nothing halts")  # fmt: skip
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES),
                        help="masked, and one of vanilla and compiled at least")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7, help="turns of every side")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn")
    parser.add_argument("--no-start", action="store_true", help="leave the time of a start out")
    parser.add_argument("--out", default="benchmarks", help="folder (default: benchmarks)")
    parser.set_defaults(run=run_infer)


def _add_halting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, help="default: one for each core")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", default="benchmarks", help="folder (default: benchmarks)")
    parser.set_defaults(run=run_halting)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--units", default="5", help="units per block (default: 5)")
    parser.add_argument("--base-channels", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--amp", nargs="+", choices=("bf16", "off"), default=["bf16", "off"],
                        help="number formats (default: both)")  # fmt: skip
    parser.add_argument("--sides", nargs="+", choices=TRAIN_SIDES, default=list(TRAIN_SIDES),
                        metavar="SIDE", help=f"which of {', '.join(TRAIN_SIDES)}")  # fmt: skip
    parser.add_argument("--threads", type=int, help="default: torch's own setting")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every side")
    parser.add_argument("--out", default="benchmarks", help="folder (default: benchmarks)")
    parser.set_defaults(run=run_train)


def _add_family(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--dataset", default="cifar10", help="TFDS name, or a folder")
    parser.add_argument("--split", default="test")
    parser.add_argument("--data-dir", help="where TFDS keeps its data")
    parser.add_argument("--num-images", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn")
    parser.add_argument("--out", default="benchmarks", help="folder (default: benchmarks)")
    parser.set_defaults(run=run_family)


def run_family(args: argparse.Namespace) -> None:
    """Measure trained networks."""
    from sact_core.backends.masked import thread_count
    from sact_core.benchmark import family, report
    from sact_core.data import load_split

    if args.rounds < 1 or args.num_images < 1:
        raise ValueError("--rounds and --num-images must be at least 1")
    threads = thread_count(args.threads)
    data = load_split(args.dataset, args.split, args.data_dir, args.num_images)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    rows = family.measure_family(args.checkpoints, data.images, threads, args.rounds, args.seconds)
    report.write_family(
        folder,
        {"machine": report.machine(), "data": f"{args.dataset} {args.split}", "rows": rows},
    )
    print(f"{folder / 'family.md'} and {folder / 'family.html'} hold the results.")


def run_infer(args: argparse.Namespace) -> None:
    """Measure every case, writing what there is after each."""
    from sact_core.backends.masked import thread_count
    from sact_core.benchmark import infer, report, start

    if "masked" not in args.sides or not set(infer.DENSE) & set(args.sides):
        raise ValueError("--sides must name masked and one of vanilla and compiled")
    if args.rounds < 1 or not all(0 < ratio <= 1 for ratio in args.ratios):
        raise ValueError("--rounds must be at least 1, and --ratios above 0 and at most 1")
    threads = args.threads or sorted({1, thread_count(None)})
    for count in threads:
        thread_count(count)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    values = report.read_rows(folder / "infer.json")
    values = {
        "machine": report.machine(),
        "start": values.get("start"),
        "rows": values.get("rows", []),
    }
    if not args.no_start:
        values["start"] = start.measure_start()
    for case in (case for case in CASES if case.key in args.only):
        for count in threads:
            rows = infer.measure_case(
                case, count, args.ratios, args.sides, args.rounds, args.seconds
            )
            order = {(c.key): i for i, c in enumerate(CASES)}
            values["rows"] = sorted(
                infer.merge(values["rows"], rows),
                key=lambda row: (order.get(row["case"], 99), row["threads"], -row["ratio"]),
            )
            report.write_infer(folder, values)
    print(f"{folder / 'infer.md'} and {folder / 'infer.html'} hold the results.")


def run_halting(args: argparse.Namespace) -> None:
    """Measure the halting rule."""
    from sact_core.benchmark import halting, report

    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    rows = halting.measure_halting(threads=args.threads, rounds=max(1, args.rounds))
    report.write_halting(folder, {"machine": report.machine(), "rows": rows})
    print(f"{folder / 'halting.md'} and {folder / 'halting.html'} hold the results.")


def run_train(args: argparse.Namespace) -> None:
    """Measure a training step with and without halting."""
    from sact_core.benchmark import report, train
    from sact_core.config import NetworkConfig, parse_units

    units = parse_units(args.units)
    network = NetworkConfig(units_per_block=units, base_channels=args.base_channels)
    rows = train.measure_steps(
        network, args.batch_size, args.amp, args.sides, args.rounds, args.threads, args.device
    )
    values = {"machine": report.machine(), "network": network.name, "rows": rows}
    train.write_train(Path(args.out), values)
    print(f"{Path(args.out) / 'train.md'} holds the results.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_parser().parse_args(argv)
    from sact_core.benchmark.sides import SideError

    try:
        args.run(args)
    except (ValueError, OSError, SideError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
