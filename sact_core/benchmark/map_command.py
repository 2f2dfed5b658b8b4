"""``infer --map``: where halting pays, and which network and format are the cheapest."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sact_core.benchmark import storing
from sact_core.benchmark.break_even import BATCHES, RATIOS
from sact_core.benchmark.formats import CHOICES, FASTEST, lacking
from sact_core.texts import shown

#: Most images at once.
MAX_BATCH = 4096


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the flags."""
    parser.add_argument("--map", nargs="?", const="", metavar="FILE.h5",
                        help="where halting pays, by density and batch size, of the network of a "
                             "checkpoint (default: ResNet-32), instead of cases")  # fmt: skip
    parser.add_argument("--batches", nargs="+", type=int,
                        help=f"of --map: images at once (default: {listed(BATCHES)})")  # fmt: skip
    parser.add_argument("--format", choices=CHOICES,
                        help="of --map: number format in which ours is held against rivals "
                             f"(default: {FASTEST})")  # fmt: skip
    parser.add_argument("--rival-format", choices=CHOICES, help="the same of the rivals")
    parser.add_argument("--image-size", type=int, metavar="N",
                        help="of --map: side in pixels (default: the checkpoint's)")  # fmt: skip


def listed(values: Sequence[float]) -> str:
    """Numbers as they are typed."""
    return " ".join(f"{value:g}" for value in values)


def run(args: argparse.Namespace, sides: list[str]) -> int:
    """Measure where halting pays, and say it in one sentence."""
    from sact_core.backends.masked import thread_count
    from sact_core.benchmark import break_even

    if args.only or args.against is not None:
        raise ValueError("--map measures one network: leave --only and --against out")
    batches = sorted(set(args.batches or BATCHES))
    if not 1 <= batches[0] <= batches[-1] <= MAX_BATCH:
        raise ValueError(f"--batches must be from 1 to {MAX_BATCH}, got {listed(batches)}")
    chosen = args.format or FASTEST, args.rival_format or FASTEST
    for own, number_format in zip((True, False), chosen, strict=True):
        if gap := lacking(own, number_format, sides):
            raise ValueError(gap.rstrip("."))
    config, side = break_even.network_of(args.map or None, args.image_size)
    path, values = storing.earlier(args.out or "benchmarks", "map")
    for threads in sorted(set(args.threads or [thread_count(None)])):
        rows = break_even.measure_map(
            config, side, batches, threads, sides, args.ratios or list(RATIOS), args.rounds,
            args.seconds,
        )  # fmt: skip
        rows = _with_accuracies(_named(rows, args.map), args)
        values["rows"] = break_even.merge(values["rows"], storing.signed(rows, args.command))
        print(f"{threads} threads: {break_even.verdict(rows, *chosen)}")
        for batch, said in {row["batch"]: row.get("cheapest") for row in rows}.items():
            if said:
                print(f"{threads} threads, batch {batch}: {said}")
    storing.finish(path, values, values["rows"])
    return 0


def _named(rows: list[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """Rows that say whose architecture was measured, where it is a checkpoint's."""
    from sact_core.checkpoint import read_header

    if not source:
        return rows
    about = {"file": shown(Path(source).name), "content_hash": read_header(source).content_hash}
    return [{**row, **about} for row in rows]


def _with_accuracies(rows: list[dict[str, Any]], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of a map that say what is the cheapest at which accuracy, where that is known."""
    from sact_core.benchmark import cheapest, known
    from sact_core.checkpoint import read_header

    if not args.map:
        return rows
    header = read_header(args.map)
    if rows[0]["side"] != header.preprocessing.image_size:
        return rows
    entries = [
        *known.load(known.shipped()),
        *known.load(Path(args.out or "benchmarks") / known.FILE),
    ]
    formats = args.format or FASTEST, args.rival_format or FASTEST
    found = []
    for row in rows:
        points = [
            point
            for point in cheapest.points_of_map(rows, entries, header.content_hash, row["batch"])
            if formats[not point.own] in (FASTEST, point.number_format)
        ]
        found.append({**row, "cheapest": cheapest.sentence(points)} if points else row)
    return found
