"""``python -m sact_core.benchmark targets``: three number formats, rivals, and the bars."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sact_core.benchmark import storing
from sact_core.commands import at_least_one

#: Where ``--quick`` writes if nothing is said: never among results that are kept.
QUICK_OUT = "runs/benchmark-quick"

NAMES = (
    "resnet101-224", "resnet32-batch1", "resnet32-batch128", "resnet110-batch128",
    "efficientnet-lite1-224",
)  # fmt: skip


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("--minutes", type=float, default=12.0,
                        help="nothing is begun that is not likely to end within them (default: "
                             "12); the next run goes on with what is missing")  # fmt: skip
    parser.add_argument("--prepare", action="store_true",
                        help="build every side once, so that caches of compiled code are warm, and "
                             "measure nothing")  # fmt: skip
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"a small network, one turn: does it run? (--out {QUICK_OUT})",
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="CASE",
                        help=f"which of {', '.join(NAMES)}")  # fmt: skip
    parser.add_argument("--threads", nargs="+", type=int, choices=(1, 2), help="1, 2 or both")
    parser.add_argument(
        "--sides", nargs="+", metavar="SIDE", help="default: all that are installed"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of every side")
    parser.add_argument("--seconds", type=float, default=0.15, help="length of a turn")
    parser.add_argument("--out", help="folder (default: benchmarks)")


def run(args: argparse.Namespace, sides: list[str], say: Any = print) -> int:
    """Measure what the next table lacks; rows are kept as they are done."""
    from sact_core.backends.masked import thread_count
    from sact_core.benchmark import report, targets_run
    from sact_core.benchmark.machine import software

    at_least_one(args, "rounds")
    if not 0 < args.minutes <= 24 * 60:
        raise ValueError(f"--minutes must be above 0 and at most 1440, got {args.minutes:g}")
    tasks = targets_run.QUICK if args.quick else targets_run.TASKS
    ratios = targets_run.QUICK_RATIOS if args.quick else targets_run.RATIOS
    if args.quick:
        args.rounds, args.seconds = 1, 0.001
    cores, wanted = thread_count(None), args.threads or (1, 2)
    tasks = tuple(
        task
        for task in tasks
        if task.threads in wanted and (args.only is None or task.case.key in args.only)
    )
    for task in [task for task in tasks if task.threads > cores]:
        say(f"{task.name}: left out, for there are {cores} cores")
    tasks = tuple(task for task in tasks if task.threads <= cores)
    if not tasks:
        raise ValueError("nothing is left to measure: name other --only or --threads")
    if args.prepare:
        targets_run.prepare(tasks, sides, say)
        return 0
    path, values = storing.earlier(
        args.out or (QUICK_OUT if args.quick else "benchmarks"), "targets"
    )
    signature = software()

    def keep(rows: list[dict[str, Any]]) -> None:
        values["rows"] = rows
        report.write_results(path, values)

    rows = targets_run.measure_tables(
        values["rows"], signature, tasks, ratios, sides, args.rounds, args.seconds, args.minutes,
        keep, say, args.command,
    )  # fmt: skip
    values["calibration"] = {
        "seconds": targets_run.measure_calibration(), "software": signature,
    }  # fmt: skip
    storing.finish(path, values, rows)
    _say_targets(path, say)
    return 0


def _say_targets(path: Path, say: Any) -> None:
    """The part of the tables that holds the bars."""
    text = path.with_suffix(".md").read_text()
    say(text.partition("## Targets")[2].partition("## Every side")[0].strip())
