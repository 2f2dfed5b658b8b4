"""Ask whether a network thinks longer where people doubt, and where it is wrong.

::

    python -m sact_core.doubt --checkpoint cifar10-anytau --labels cifar10h-counts.npy
    python -m sact_core.doubt --checkpoint cifar10-anytau --taus 0.002 0.02 0.2 --labels …
    python -m sact_core.doubt --checkpoint A.h5 B.h5 --labels cifar10_h --json
    python -m sact_core.doubt --checkpoint A.h5 --labels … --out doubt.png doubt.md

``--labels`` is a ``.npy`` file of counts [images, classes] in the order of the official test
file, as github.com/jcpeterson/cifar-10h has it, or ``cifar10_h``, of TFDS. Answers are joined
to images by number, and refused where they are not as many as the images of the whole split,
or people's most frequent answer is the label on less than nine in ten.

Per image of the test split: ponder cost, whole and by block, FLOPs, the softmax's entropy,
right or wrong, people's entropy and disagreement, and, as controls, the image's edge density
and colourfulness. Prints rank correlations, partial ones given the controls, areas under the
ROC curve of what finds errors, calibration by cost, and the images where network and people
differ most; all with percentile bootstrap intervals, and beside them what a thousand random
orders of the answers give. ``--per-image`` writes all that is known of each image (CSV, or
Parquet by pyarrow); ``--keep`` holds the passes, so that only the statistics are computed anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sact_core import __version__
from sact_core.commands import parse, refuse_unwritable, run
from sact_core.commands.over_split import Priced, add_passes, kept, over_split
from sact_core.figure.saving import FIGURES
from sact_core.processes import Processes
from sact_core.tables import ROWS, TABLES, check_rows, write_rows, write_table
from sact_core.texts import shown

if TYPE_CHECKING:
    from sact_core.data.source import Source
    from sact_core.measures.people import Answers


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.doubt",
        description="Ask whether a network thinks longer where people doubt.",
    )
    add = parser.add_argument
    add_passes(parser)
    add(
        "--labels",
        required=True,
        metavar="FILE",
        help="people's answers: a .npy file of counts, or cifar10_h of TFDS",
    )
    add("--resamples", type=int, metavar="N", help="of the bootstrap (default: 1,000)")
    add("--seed", type=int, default=0, help="of the bootstrap and of shuffled answers")
    add(
        "--out",
        nargs="+",
        default=[],
        metavar="FILE",
        help=f"figures and tables, that end in {' '.join((*FIGURES, *TABLES))}",
    )
    add(
        "--per-image",
        metavar="FILE",
        help=f"write what came of each image, and people's answers ({', '.join(ROWS)})",
    )
    add("--width", type=float, default=9.0, help="of figures, in inches (default: 9)")
    add("--force", action="store_true", help="replace files")
    add("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    command = Processes().command("doubt", argv)
    return run(lambda: _doubt(args, command))


def _doubt(args: argparse.Namespace, command: str) -> None:
    from sact_core.doubt import by_image, words
    from sact_core.doubt.findings import find
    from sact_core.measures.people import join, read_answers
    from sact_core.measures.ranks import RESAMPLES, SHUFFLES

    resamples = RESAMPLES if args.resamples is None else args.resamples
    if not 10 <= resamples <= 100_000:
        raise ValueError(f"--resamples must be from 10 to 100000, got {resamples}")
    if args.seed < 0:
        raise ValueError(f"--seed must be 0 at least, got {args.seed}")
    paths = _outputs(args)
    answers = read_answers(args.labels, args.data_dir)
    networks = list(over_split(args))
    _check(networks, answers, paths, args.num_examples)
    found, ran = [], []
    for network, source in networks:
        one = kept(network, source, args)
        classes = network.net.config.num_classes
        people = join(answers, one.names, one.labels, classes, source.whole)
        found.append(network.record | find(one, people, resamples, args.seed))
        ran.append((network.record, one, people))
    about = {
        "title": "ponder cost and people's doubt",
        "version": __version__,
        "command": command,
        "networks": [{k: one[k] for k in _TOLD} for one in found],
        "images": found[0]["images"],
        "resamples": resamples,
        "shuffles": SHUFFLES,
    }
    for path in paths:
        if path.suffix.lower() in TABLES:
            write_table(path, words.HEADER, words.rows(found), about)
        else:
            from sact_core.doubt.drawing import draw_to

            draw_to(path, found, args.width, about)
    if args.per_image is not None:
        header = by_image.header([one for _, one, _ in ran])
        blocks = sum(name.startswith("block") for name in header)
        rows = [row for each in ran for row in by_image.rows(*each, blocks)]
        about = about | {"title": "every image: what it cost, and what people answered"}
        write_rows(args.per_image, header, rows, about)
        paths.append(Path(args.per_image))
    if args.json:
        told = {"version": __version__, "command": command, "networks": found}
        print(json.dumps({"labels": shown(args.labels)} | told))
        return
    print("\n\n\n".join(map(words.summary, found)))
    for path in paths:
        print(f"\nwritten: {shown(path)}")


_TOLD = (
    *("network", "file", "content_hash", "tau", "precision", "image_size", "fit"),
    *("data_set", "split"),
)


def _check(
    networks: Sequence[tuple[Priced, Source]],
    answers: Answers,
    paths: Sequence[Path],
    num_examples: int | None,
) -> None:
    """Refuse answers of other images and figures without room, before any network runs."""
    from sact_core.data.classes import class_numbers
    from sact_core.data.records import Record
    from sact_core.doubt.drawing import check_room
    from sact_core.measures.people import join

    if any(path.suffix.lower() in FIGURES for path in paths):
        check_room([(str(one.record["network"]), one.net.config.halts) for one, _ in networks])
    seen = set()
    for network, source in networks:
        if (network.file, id(source)) in seen:  # at another tau
            continue
        seen.add((network.file, id(source)))
        net = network.net
        classes = net.config.num_classes
        numbers = class_numbers(net.class_names, classes, source.class_names, source.name)
        total = min(num_examples or len(source), len(source))
        there = [r for _, r in source.encoded(range(total)) if isinstance(r, Record)]
        if there:  # else the pass says why none can be read
            names = np.array([record.name for record in there])
            labels = numbers[[record.label for record in there]]
            join(answers, names, labels, classes, source.whole)


def _outputs(args: argparse.Namespace) -> list[Path]:
    """Files that are asked for, before anything is run."""
    from sact_core.doubt.drawing import LEAST_WIDTH
    from sact_core.extras import need

    paths = [Path(file) for file in args.out]
    for path in paths:
        if path.suffix.lower() not in (*FIGURES, *TABLES):
            raise ValueError(f"--out {shown(path)} must end in {' '.join((*FIGURES, *TABLES))}")
        refuse_unwritable(path, args.force)
    if args.per_image is not None:
        check_rows(args.per_image)
        refuse_unwritable(args.per_image, args.force)
        if Path(args.per_image) in paths:
            raise ValueError(f"--out and --per-image both name {shown(args.per_image)}")
    if any(path.suffix.lower() in FIGURES for path in paths):
        need("plots", "a figure", "matplotlib")
    if not LEAST_WIDTH <= args.width <= 50:
        raise ValueError(f"--width must be from {LEAST_WIDTH:g} to 50, got {args.width:g}")
    return paths


if __name__ == "__main__":
    raise SystemExit(main())
