"""``python -m sact_core.benchmark accuracy``: accuracy against milliseconds, rivals too."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sact_core.benchmark import storing
from sact_core.commands import add_data_set, at_least_one

MAX_BATCH = 4096


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="FILE.h5",
        help="networks, with halting and without: rivals compute the latter",
    )
    add_data_set(parser)
    parser.add_argument(
        "--taus",
        nargs="+",
        type=float,
        metavar="T",
        help="prices of a unit of networks that take a choice (default: four)",
    )
    parser.add_argument(
        "--sides", nargs="+", metavar="SIDE", help="default: all of targets that are installed"
    )
    parser.add_argument(
        "--num-examples",
        type=int,
        metavar="N",
        help="images that accuracy is counted on (default: the whole split)",
    )
    parser.add_argument("--batch", type=int, default=128, help="images at once (default: 128)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--rounds", type=int, default=5, help="turns of every side; 0: accuracies only"
    )
    parser.add_argument("--seconds", type=float, default=0.15, help="length of a turn")
    parser.add_argument("--anew", action="store_true", help="compute what is known, too")
    parser.add_argument("--out", default="benchmarks", help="folder (default: benchmarks)")


def run(args: argparse.Namespace, sides: list[str], say: Any = print) -> int:
    """Count, time, write tables and a chart, and say what is the cheapest."""
    from sact_core.backends.masked import thread_count
    from sact_core.benchmark import accuracy, known
    from sact_core.benchmark.accuracy_table import groups, heading
    from sact_core.benchmark.cheapest import points_of_rows, sentence

    at_least_one(args, "num_examples", "batch")
    if args.batch > MAX_BATCH:
        raise ValueError(f"--batch must be at most {MAX_BATCH}, got {args.batch}")
    if args.rounds < 0:
        raise ValueError(f"--rounds must be at least 0, got {args.rounds}")
    threads = thread_count(args.threads)
    cache = Path(args.out) / known.FILE
    known.load(cache)  # a damaged file is said before anything is opened
    networks = [_network(Path(each), args) for each in _files(args.checkpoints)]
    path, values = storing.earlier(args.out, "accuracy")
    rows = accuracy.measure_accuracy(
        networks, sides, cache, threads, args.batch, args.num_examples, args.rounds, args.seconds,
        args.anew, say,
    )  # fmt: skip
    if args.rounds == 0:
        say(f"{cache} holds the accuracies.")
        return 0
    storing.finish(path, values, accuracy.merge(values["rows"], storing.signed(rows, args.command)))
    for each in groups(rows):
        say(f"{heading(each)}: {sentence(points_of_rows(each))}")
    return 0


def _files(given: list[str]) -> list[str]:
    """Files by name, each once."""
    from sact_core.shipped import find_network

    return list(dict.fromkeys(str(find_network(each)) for each in given))


def _network(path: Path, args: argparse.Namespace) -> Any:
    """A checkpoint with its images."""
    from sact_core.benchmark.accuracy import Network, taus_of
    from sact_core.calibrate.images import open_images
    from sact_core.checkpoint import read_header
    from sact_core.data.records import DataError
    from sact_core.data.splits import evaluation_split, open_split

    header = read_header(path)
    name, split = evaluation_split(header.provenance, args.dataset, args.split)
    test = open_split(name, split, args.data_dir)
    try:
        training = open_images(header.provenance, None, None, args.data_dir)
    except DataError:
        training = None
    return Network(path, header, taus_of(path, args.taus), test, training)
