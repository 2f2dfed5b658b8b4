"""Measure in seconds.

::

    python -m sact_core.benchmark infer                           # everything, about an hour
    python -m sact_core.benchmark infer --only resnet32-batch1 --threads 1
    python -m sact_core.benchmark infer --only resnet32-batch1 --against benchmarks/infer-….json
    python -m sact_core.benchmark infer --map pretrained/cifar10_resnet32_sact_tau0.05.h5
    python -m sact_core.benchmark infer --map FILE.h5 --format int8 --rival-format int8
    python -m sact_core.benchmark targets                         # 12 minutes of a quiet machine
    python -m sact_core.benchmark accuracy cifar10 cifar10-anytau --data-dir DIR
    python -m sact_core.benchmark halting
    python -m sact_core.benchmark family pretrained/*.h5 --data-dir DIR
    python -m sact_core.benchmark train --threads 1               # a minute or two
    python -m sact_core.benchmark report          # tables and charts anew, nothing measured

Every kind of machine has files of its own (see `machine`). Results of ``infer``
and ``family`` are merged into those that the same kind of machine left in the
folder; every row says the revision and the packages it was measured with.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sact_core.benchmark import accuracy_command, map_command, storing, targets_command
from sact_core.benchmark.break_even import RATIOS as MAP_RATIOS
from sact_core.benchmark.cases import CASES, RATIOS
from sact_core.benchmark.infer import DENSE, SIDES
from sact_core.benchmark.sides import SIDES as ALL_SIDES
from sact_core.benchmark.train import SIDES as TRAIN_SIDES
from sact_core.commands import add_data_set, at_least_one, parse, run
from sact_core.extras import need
from sact_core.processes import Processes

#: Length of the longest turn.
MAX_SECONDS = 3600

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
    _add_targets(commands.add_parser("targets", help="three number formats against the bars"))
    _add_accuracy(commands.add_parser("accuracy", help="accuracy against milliseconds"))
    _add_report(commands.add_parser("report", help="render stored results again"))
    return parser


def _add_infer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", choices=KEYS, metavar="CASE",
                        help=f"which of {', '.join(KEYS)}")  # fmt: skip
    map_command.add(parser)
    parser.add_argument("--threads", nargs="+", type=int,
                        help="default: 1, and one for each core; of --map the latter")  # fmt: skip
    parser.add_argument("--ratios", nargs="+", type=float,
                        help="shares of the dense FLOPs; 1: nothing halts (default: "
                             f"{map_command.listed(RATIOS)}; "
                             f"of --map {map_command.listed(MAP_RATIOS)})")  # fmt: skip
    parser.add_argument("--sides", nargs="+", choices=SIDES, metavar="SIDE",
                        help=f"masked, and one at least of {', '.join(DENSE)}; the rest of "
                             f"{', '.join(SIDES)} (default: all that are installed)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7, help="turns of every side")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn")
    parser.add_argument("--no-start", action="store_true", help="leave the time of a start out")
    parser.add_argument("--against", type=Path, metavar="FILE",
                        help="results of an earlier run: exit code 1 where a case takes over 10 %% "
                             "more of the dense time than there")  # fmt: skip
    parser.add_argument("--out", help="folder (default: benchmarks; none with --against)")
    parser.set_defaults(run=run_infer)


def _add_targets(parser: argparse.ArgumentParser) -> None:
    targets_command.add(parser)
    parser.set_defaults(run=run_targets)


def _add_accuracy(parser: argparse.ArgumentParser) -> None:
    accuracy_command.add(parser)
    parser.set_defaults(run=run_accuracy)


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
    add_data_set(parser)
    parser.add_argument("--num-images", type=int, default=128, help="one batch (default: 128)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn")
    parser.add_argument("--out", default="benchmarks", help="folder (default: benchmarks)")
    parser.set_defaults(run=run_family)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="benchmarks", help="folder (default: benchmarks)")
    parser.add_argument("--readme", type=Path, metavar="FILE.md",
                        help="put the short table of this machine's targets into a document, "
                             "between its two marks")  # fmt: skip
    parser.set_defaults(run=run_report)


def run_family(args: argparse.Namespace) -> None:
    """Measure trained networks."""
    _need_packages()
    from sact_core.backends.masked import thread_count
    from sact_core.benchmark import family
    from sact_core.checkpoint import read_header
    from sact_core.data.splits import evaluation_split, open_split

    at_least_one(args, "rounds", "num_images")
    _check_seconds(args.seconds)
    threads = thread_count(args.threads)
    path, values = storing.earlier(args.out, "family")
    together: dict[tuple[str, str], list[Path]] = {}  # those tested on the same images
    for file in args.checkpoints:
        chosen = evaluation_split(read_header(file).provenance, args.dataset, args.split)
        together.setdefault(chosen, []).append(file)
    rows: list[dict[str, Any]] = []
    for (name, split), files in together.items():
        source = open_split(name, split, args.data_dir).spread()
        found = family.measure_family(
            files, source, args.num_images, threads, args.rounds, args.seconds
        )
        rows += [{**row, "data": f"{name} {split}"} for row in found]
    storing.finish(path, values, family.merge(values["rows"], storing.signed(rows, args.command)))


def run_infer(args: argparse.Namespace) -> int:
    """Measure every case, writing what there is after each; 1 where one got slower."""
    _need_packages()
    from sact_core.backends.masked import thread_count
    from sact_core.benchmark import against, infer, report, start
    from sact_core.benchmark.machine import machine, software

    at_least_one(args, "rounds", "image_size")
    _check_seconds(args.seconds)
    if not all(0 < ratio <= 1 for ratio in args.ratios or []):
        raise ValueError("--ratios must be above 0 and at most 1")
    for count in args.threads or []:
        thread_count(count)
    sides = _chosen_sides(args.sides)  # says what it leaves out, so nothing is refused after it
    if args.map is not None:
        return map_command.run(args, sides)
    of_map = ("batches", "image_size", "format", "rival_format")
    if any(getattr(args, name) is not None for name in of_map):
        raise ValueError("--batches, --image-size, --format and --rival-format go with --map")
    only, ratios = args.only or KEYS, args.ratios or list(RATIOS)
    threads = args.threads or sorted({1, thread_count(None)})
    earlier: dict[against.Key, infer.Row] = {}
    if args.against is not None:
        wanted = set(itertools.product(only, threads, ratios))
        earlier = against.read_earlier(args.against, machine(), wanted, sides)
    # A check must not replace what it is held against, and then pass.
    keep = args.out is not None or args.against is None
    if keep:
        path, values = storing.earlier(args.out or "benchmarks", "infer")
        if not args.no_start:
            values["start"] = {**start.measure_start(), "software": software()}
    order = {case.key: i for i, case in enumerate(CASES)}
    comparisons: list[against.Comparison] = []
    for case in (case for case in CASES if case.key in only):
        for count in threads:
            rows = infer.measure_case(case, count, ratios, sides, args.rounds, args.seconds)
            comparisons += against.compare(earlier, rows)
            if keep:
                values["rows"] = sorted(
                    infer.merge(values["rows"], storing.signed(rows, args.command)),
                    key=lambda row: (order.get(row["case"], 99), row["threads"], -row["ratio"]),
                )
                report.write_results(path, values)
    if keep:
        storing.finish(path, values, values["rows"])
    for each in comparisons:
        print(each)
    if args.against is not None:
        print(against.summary(comparisons, args.against))
    return int(any(each.failed for each in comparisons))


def run_targets(args: argparse.Namespace) -> int:
    """Measure the tables that targets are asked of."""
    _need_packages()
    return targets_command.run(args, _planned(args))


def run_accuracy(args: argparse.Namespace) -> int:
    """Measure accuracy against milliseconds."""
    _need_packages()
    return accuracy_command.run(args, _planned(args))


def _planned(args: argparse.Namespace) -> list[str]:
    """The sides that are named, or those of the targets, once flags are checked."""
    from sact_core.benchmark.targets import planned_sides

    _check_seconds(args.seconds)
    unknown = sorted({*(args.sides or [])} - {*SIDES})
    if unknown:
        raise ValueError(f"--sides names {', '.join(unknown)}; there are {', '.join(SIDES)}")
    return _chosen_sides(args.sides, planned_sides())


def run_halting(args: argparse.Namespace) -> None:
    """Measure the halting rule."""
    _need_packages()
    from sact_core.benchmark import halting

    at_least_one(args, "rounds", "threads")
    path, values = storing.earlier(args.out, "halting")
    rows = halting.measure_halting(threads=args.threads, rounds=args.rounds)
    storing.finish(path, values, storing.signed(rows, args.command))


def run_train(args: argparse.Namespace) -> None:
    """Measure a training step with and without halting."""
    need("train", "a measurement of training")
    from sact_core.benchmark import train
    from sact_core.config import NetworkConfig, parse_units

    at_least_one(args, "rounds", "threads", "batch_size")
    units = parse_units(args.units)
    network = NetworkConfig(units_per_block=units, base_channels=args.base_channels)
    path, values = storing.earlier(args.out, "train")
    rows = train.measure_steps(
        network, args.batch_size, args.amp, args.sides, args.rounds, args.threads, args.device
    )
    storing.finish(path, {**values, "network": network.name}, storing.signed(rows, args.command))


def run_report(args: argparse.Namespace) -> None:
    """Render tables and charts of stored results again."""
    need("plots", "a chart", "plotly")
    from sact_core.benchmark.report import render_again

    for path in render_again(Path(args.out)):
        print(f"{path.with_suffix('.md')} holds the results of {path.name}.")
    if args.readme is not None:
        from sact_core.benchmark.readme import put_table

        path, values = storing.earlier(args.out, "targets")
        put_table(args.readme, path, values)
        print(f"{args.readme} has the table of {path.name}.")


def _chosen_sides(given: Sequence[str] | None, usual: Sequence[str] = SIDES) -> list[str]:
    """The sides that were named, or the usual ones; of these what is not installed is said.

    Raises
    ------
    ValueError
        If one that was named is not installed, or ours or the dense one is missing.
    """
    names = list(usual) if given is None else list(dict.fromkeys(given))
    absent = {name: ALL_SIDES[name].absent() for name in names}
    absent = {name: reason for name, reason in absent.items() if reason}
    said = "; ".join(f"{ALL_SIDES[name].title}: {reason}" for name, reason in absent.items())
    if absent and given is not None:
        raise ValueError(f"--sides names what is not here ({said})")
    if absent:
        print(f"Left out ({said}); requirements-bench.txt brings them.")
    names = [name for name in names if name not in absent]
    if "masked" not in names or not set(DENSE) & set(names):
        raise ValueError(f"--sides must name masked and one of {', '.join(DENSE)}")
    return names


def _check_seconds(seconds: float) -> None:
    """Refuse a length of a turn that is none."""
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"--seconds must be above 0 and at most {MAX_SECONDS}, got {seconds:g}")


def _need_packages() -> None:
    """Refuse, before the long work, to measure without the dense side or without charts."""
    need("train", "a measurement against PyTorch", "torch")
    need("plots", "the chart of a measurement", "plotly")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    args.command = Processes().command("benchmark", argv)
    return run(lambda: args.run(args), "stopped; what was measured before is kept")


if __name__ == "__main__":
    raise SystemExit(main())
