"""Give a checkpoint the scales by which it is computed in eight-bit integers.

::

    python -m sact_core.calibrate cifar10-anytau --out cifar10_int8.h5
    python -m sact_core.calibrate NAME.h5 --dataset photographs/ --method percentile --out INT8.h5

Some hundred images are run in float32, and what every convolution reads is looked at; no
labels are needed, and nothing is trained. The file that is written holds the network as it
was, and the scales beside it: ``precision="int8"`` of the masked backend needs them.

Where no images are named, the checkpoint's own training images are taken. A folder may hold
class folders, splits of them, or any photographs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.commands import at_least_one, parse, progress, refuse_existing, run

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.data.records import Unreadable
    from sact_core.data.source import Source

#: Images that are run at once, where they have one size and memory allows.
BATCH = 16

#: Names of `sact_core.calibrate.scales.METHODS`, the default first.
METHODS = ("mse", "percentile", "range")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.calibrate",
        description="Give a network the scales by which it is computed in eight-bit integers.",
    )
    add = parser.add_argument
    add("checkpoint", metavar="FILE", help="the network")
    add("--out", required=True, metavar="FILE", help="checkpoint to write")
    add("--force", action="store_true", help="replace --out if it exists")
    add("--dataset", help="TFDS name or folder of photographs (default: what it was trained on)")
    add("--split", help="such as train or train[:5%%] (default: the training images)")
    add("--data-dir", help="where TFDS keeps its data")
    add(
        "--num-examples",
        type=int,
        default=256,
        metavar="N",
        help="images, drawn at random (default: 256)",
    )
    add("--seed", type=int, default=0, help="of the draw (default: 0)")
    add(
        "--method",
        choices=METHODS,
        default=METHODS[0],
        help="least squared error of rounding, a percentile at either end, or the whole range "
        f"(default: {METHODS[0]})",
    )
    add(
        "--percentile",
        type=float,
        metavar="P",
        help="how much of 100 lies inside, for --method percentile (default: 99.99)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    return run(lambda: _calibrate(args, argv), stopped="stopped: nothing was written")


def _calibrate(args: argparse.Namespace, argv: Sequence[str]) -> None:
    _check(args)
    from sact_core.backends import Net
    from sact_core.backends.memory import batch_that_fits
    from sact_core.calibrate.images import draw, open_images
    from sact_core.calibrate.scales import PERCENT, find_scales
    from sact_core.checkpoint import read, write
    from sact_core.data.records import Unreadable
    from sact_core.provenance import hardware, versions

    checkpoint = read(args.checkpoint)
    net = Net.from_checkpoint(checkpoint, "reference")
    source = open_images(checkpoint.provenance, args.dataset, args.split, args.data_dir)
    chosen = draw(len(source), args.num_examples, args.seed)
    count = len(chosen)
    began, left_out = time.perf_counter(), Unreadable()
    side = net.preprocessing.image_size
    most = batch_that_fits(net.plan, (side, side), BATCH)
    with progress(count) as bar:
        batches = _batches(net, source, chosen, most, left_out, bar.update)
        percent = PERCENT if args.percentile is None else args.percentile
        found = find_scales(checkpoint, batches, args.method, percent)
    seconds = time.perf_counter() - began
    method: dict[str, Any] = {"method": args.method}
    if args.method == "percentile":
        method["percentile"] = percent
    about = {
        **method,
        "data_set": source.name,
        "split": source.split,
        "num_examples": count - len(left_out),
        "seed": args.seed,
        **({"digest": source.digest} if source.digest else {}),
        **({"left_out": left_out.record()} if len(left_out) else {}),
        "image_size": side,
        "command": ["python", "-m", "sact_core.calibrate", *argv],
        "hardware": hardware(),
        "packages": versions(("numpy",)),
    }
    write(args.out, replace(checkpoint, quantisation=replace(found, about=about)))
    print(
        f"{args.out}: scales of {len(found.inputs)} convolutions by {args.method}, of "
        f"{count - len(left_out):,} images of {source.name} {source.split}, in {seconds:.1f} s"
    )
    if len(left_out):
        print(left_out.line(count))


def _check(args: argparse.Namespace) -> None:
    """Refuse what makes no sense, before anything is read."""
    at_least_one(args, "num_examples")
    if args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}")
    if args.percentile is not None:
        if args.method != "percentile":
            raise ValueError("--percentile is for --method percentile")
        if not 50 < args.percentile <= 100:
            raise ValueError(
                f"--percentile must be above 50 and at most 100, got {args.percentile:g}"
            )
    if not Path(args.out).parent.is_dir():
        raise ValueError(f"cannot write {args.out}: there is no folder {Path(args.out).parent}")
    refuse_existing(args.out, args.force)


def _batches(
    net: Net,
    source: Source,
    chosen: Sequence[int],
    most: int,
    left_out: Unreadable,
    done: Any,
) -> Iterator[np.ndarray]:
    """Preprocessed images, as many of one size as follow each other, at most ``most``."""
    waiting: list[np.ndarray] = []
    for image, *_ in source.readable(chosen, left_out):
        x = net.see(image).x
        if waiting and (len(waiting) == most or x.shape != waiting[0].shape):
            yield np.concatenate(waiting)
            done(len(waiting))
            waiting = []
        waiting.append(x)
    if waiting:
        yield np.concatenate(waiting)
        done(len(waiting))


if __name__ == "__main__":
    raise SystemExit(main())
