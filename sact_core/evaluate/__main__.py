"""Evaluate a checkpoint, once or continuously while it trains.

::

    python -m sact_core.evaluate --checkpoint pretrained/NAME.h5
    python -m sact_core.evaluate --checkpoint NAME.h5 --num-examples 1000 --json
    python -m sact_core.evaluate --watch runs/cifar10_resnet32      # in a second terminal

Prints the authors' metrics under the authors' names, see `sact_core.metrics`.
Data set and split are those that the checkpoint was evaluated on in training
unless others are given. Images are read and run in batches, so that memory
stays constant, by the masked engine unless told otherwise; all backends give
the same accuracy and the same FLOPs.

With ``--watch`` every new checkpoint of a run is evaluated until the run has
taken its last step. What is found goes to ``watch.jsonl`` in the run's folder,
where it completes the run's own metrics, and to TensorBoard as ``watch``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from sact_core.evaluate.run import BATCH, evaluated
from sact_core.evaluate.table import table
from sact_core.evaluate.watch import watch

#: Names of `sact_core.backends.BACKENDS`, the default first; not imported for --help.
BACKENDS = ("masked", "dense", "reference")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.evaluate",
        description="Evaluate a checkpoint, once or continuously while it trains.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", metavar="FILE", help="what to evaluate")
    what.add_argument("--watch", metavar="RUN_DIR", help="evaluate each new checkpoint of a run")
    add = parser.add_argument
    add("--dataset", help="TFDS name or folder of class folders (default: the checkpoint's)")
    add("--split", help="such as test or test[:1000] (default: the checkpoint's)")
    add("--data-dir", help="where TFDS keeps its data")
    add("--num-examples", type=int, help="the first N only")
    add("--batch-size", type=int, default=BATCH, help=f"default: {BATCH}")
    add("--backend", choices=BACKENDS, default=BACKENDS[0], help=f"default: {BACKENDS[0]}")
    add("--num-threads", type=int, help="threads of the masked or dense backend")
    add("--tau", type=float, help="price of a unit in the loss (default: the checkpoint's)")
    add("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = build_parser().parse_args(argv)
    try:
        for name in ("num_examples", "batch_size"):
            value = getattr(args, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
        if args.watch is not None:
            watch(args)
        else:
            _once(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _once(args: argparse.Namespace) -> None:
    from sact_core.checkpoint import read
    from sact_core.flops import dense_flops

    checkpoint = read(args.checkpoint)
    source, metrics = evaluated(checkpoint, args)
    if args.json:
        about = {"num_examples": metrics.count, "dataset": source.name, "split": source.split}
        print(json.dumps(metrics.summary() | about))
        return
    side = checkpoint.preprocessing.image_size
    whole = float(dense_flops(metrics.plan, (side, side)).total[0])
    print(
        f"{checkpoint.config.name}, {args.checkpoint}: {metrics.count:,} images of "
        f"{source.name} {source.split}, {args.backend} backend\n\n{table(metrics, whole)}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
