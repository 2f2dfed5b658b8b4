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
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.metrics import AUTHORS_L2, Metrics, authors_block_name, l2_loss

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.checkpoint import Checkpoint
    from sact_core.data import Source

BATCH = 100
POLL_SECONDS = 2.0

#: Names of `sact_core.backends.BACKENDS`, the default first; not imported for --help.
BACKENDS = ("masked", "dense", "reference")


def evaluate(
    net: Net,
    source: Source,
    *,
    batch_size: int = BATCH,
    num_examples: int | None = None,
    shard: tuple[int, int] = (0, 1),
    tau: float = 0.0,
    regularization: float = 0.0,
    done: Callable[[int], object] = lambda count: None,
) -> Metrics:
    """Run a network over a split.

    Parameters
    ----------
    net : Net
        The network, on any backend.
    source : Source
        The images and their labels.
    batch_size : int
        Images read at a time, and run at a time where they have one size.
    num_examples : int, optional
        Only the first so many.
    shard : tuple of int
        This share of how many: batches ``shard[0]``, ``shard[0] + shard[1]``, …;
        `Metrics.merge` puts the shares together.
    tau : float
        Price of a unit in the loss.
    regularization : float
        The L2 part of the loss.
    done : callable
        Told how many more images are done.

    Returns
    -------
    Metrics
        Of the images of this shard.

    Raises
    ------
    ValueError
        If the classes do not fit, the split is empty, or an image cannot be run.
    """
    offset = label_offset(net, source)
    metrics = Metrics(net.plan, tau, regularization)
    for number, chunk in enumerate(source.chunks(batch_size, num_examples)):
        if number % shard[1] == shard[0]:
            for x, labels in _prepared(net, source, chunk):
                metrics.update(net.forward(x), labels + offset)
                done(len(labels))
    if not metrics.count and shard == (0, 1):
        raise ValueError(f"{source.name} {source.split} has no examples")
    return metrics


def label_offset(net: Net, source: Source) -> int:
    """What to add to a data set's labels: 1 where class 0 of the network is background.

    Raises
    ------
    ValueError
        If the classes do not fit.
    """
    theirs, ours = source.class_names, net.class_names
    if net.config.num_classes == len(theirs) + 1:  # as the authors' ImageNet networks
        return 1
    if net.config.num_classes != len(theirs):
        raise ValueError(
            f"the network has {net.config.num_classes} classes, {source.name} has {len(theirs)}"
        )
    if ours and ours != theirs:
        one, other = next((a, b) for a, b in zip(ours, theirs, strict=True) if a != b)
        raise ValueError(
            f"the classes of the network and of {source.name} differ: {one!r} and {other!r}"
        )
    return 0


def loss_terms(checkpoint: Checkpoint, tau: float | None = None) -> tuple[float, float]:
    """Price of a unit and L2 part of the loss of a checkpoint.

    Both as it was trained where it says so; else nothing for a unit, and the
    authors' weight of L2.
    """
    recipe = checkpoint.provenance.get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    if tau is None:
        recorded = checkpoint.provenance.get("tau")
        tau = float(recorded) if isinstance(recorded, int | float) else 0.0
    l2 = recipe.get("l2")
    l2 = float(l2) if isinstance(l2, int | float) else AUTHORS_L2[checkpoint.config.family]
    return tau, l2_loss(checkpoint.params, l2)


def table(metrics: Metrics, dense_flops: float) -> str:
    """Lay out the metrics for people."""
    found = metrics.summary()
    lines = [f"eval/Accuracy     {found['eval/Accuracy']:14.2%}"]
    if "eval/Recall@5" in found:
        lines.append(f"eval/Recall@5     {found['eval/Recall@5']:14.2%}")
    lines.append(
        f"eval/Mean Loss    {found['eval/Mean Loss']:14.4f}   cross-entropy "
        f"{found['eval/Cross Entropy']:.4f} + tau {metrics.tau:g} x ponder cost + L2 "
        f"{metrics.regularization:.4f}"
    )
    mean, std = found["Total Flops/mean"], found["Total Flops/std"]
    lines.append(f"Total Flops/mean  {mean:14,.0f}   {mean / dense_flops:.1%} of dense")
    lines.append(f"Total Flops/std   {std:14,.0f}")
    names = list(next(iter(metrics.blocks.values())))
    lines += ["", " " * 10 + "".join(f"{name + '_mean':>18}{name + '_std':>18}" for name in names)]
    for block in metrics.blocks:
        name = authors_block_name(metrics.plan.config.family, block)
        cells = (found[f"{name}/{metric}_{part}"] for metric in names for part in ("mean", "std"))
        lines.append(f"{name:<10}" + "".join(f"{_number(cell):>18}" for cell in cells))
    return "\n".join(lines)


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


def watch(args: argparse.Namespace) -> None:
    """Evaluate each new checkpoint of a run until it has taken its last step.

    Raises
    ------
    ValueError, OSError
        As `evaluate`; if there is no such folder or it cannot be written to.
    """
    from sact_core.checkpoint import read
    from sact_core.train.events import EventWriter
    from sact_core.train.run_dir import RunDir, read_rows

    folder = Path(args.watch)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: name the --run-dir of a training run")
    rows = read_rows(folder / "watch.jsonl")
    (folder / "watch").mkdir(exist_ok=True)
    events = EventWriter(folder / "watch", rows[-1]["step"] + 1 if rows else 0)
    file, seen = folder / "last.h5", None
    while True:
        stamp = (file.stat().st_mtime_ns, file.stat().st_ino) if file.exists() else None
        if stamp == seen:
            time.sleep(POLL_SECONDS)
            continue
        seen = stamp
        checkpoint = read(file)
        record = checkpoint.provenance
        step = record.get("steps")
        if not isinstance(step, int):
            raise ValueError(f"{file} does not say how far its training is")
        if not any(row.get("step") == step for row in rows):
            source, metrics = _evaluated(checkpoint, args)
            found = metrics.summary()
            about = {"split": source.split, "count": metrics.count, "backend": args.backend}
            rows.append({"epoch": record.get("epochs"), "step": step} | found | about)
            RunDir(folder).write_metrics(rows, "watch.jsonl")
            events.write(step, found)
            if args.json:
                print(json.dumps(rows[-1]), flush=True)
            else:
                print(_line(rows[-1]), flush=True)
        if step >= record.get("steps_planned", math.inf):
            return


def _once(args: argparse.Namespace) -> None:
    from sact_core.checkpoint import read
    from sact_core.flops import dense_flops

    checkpoint = read(args.checkpoint)
    source, metrics = _evaluated(checkpoint, args)
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


def _evaluated(checkpoint: Checkpoint, args: argparse.Namespace) -> tuple[Source, Metrics]:
    from tqdm import tqdm

    from sact_core.backends import Net
    from sact_core.data import open_split

    options: dict[str, Any] = {}
    if args.num_threads is not None:
        if args.backend == "reference":
            raise ValueError("--num-threads is for the masked and dense backends")
        options["num_threads"] = args.num_threads
    net = Net.from_checkpoint(checkpoint, args.backend, **options)
    name, split = _recorded_split(checkpoint)
    source = open_split(args.dataset or name, args.split or split, args.data_dir)
    total = min(args.num_examples or len(source), len(source))
    tau, regularization = loss_terms(checkpoint, args.tau)
    with tqdm(total=total, unit=" images", leave=False, disable=not sys.stderr.isatty()) as bar:
        metrics = evaluate(
            net,
            source,
            batch_size=args.batch_size,
            num_examples=args.num_examples,
            tau=tau,
            regularization=regularization,
            done=bar.update,
        )
    return source, metrics


def _recorded_split(checkpoint: Checkpoint) -> tuple[str, str]:
    """Data set and split that a checkpoint was evaluated on; CIFAR-10's test images else."""
    record = checkpoint.provenance
    data_set, metrics = record.get("data_set"), record.get("metrics")
    name = data_set.get("name") if isinstance(data_set, dict) else None
    split = metrics.get("split") if isinstance(metrics, dict) else None
    return (
        name if isinstance(name, str) else "cifar10",
        split if isinstance(split, str) else "test",
    )


def _prepared(net: Net, source: Source, chunk: range) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs [shape=(n, H, W, 3)] of one size each, and their labels."""
    from sact_core.preprocess import prepare

    inputs = [
        (prepare(image, net.preprocessing, net.plan.divisor), label)
        for image, label, _ in source.read(chunk)
    ]
    for _, group in groupby(inputs, key=lambda pair: pair[0].shape):
        together = list(group)
        yield np.stack([x for x, _ in together]), np.array([label for _, label in together])


def _line(row: dict[str, Any]) -> str:
    units = " / ".join(f"{v:.2f}" for k, v in row.items() if k.endswith("num_units_mean"))
    return (
        f"epoch {row['epoch']}, step {row['step']}: accuracy {row['eval/Accuracy']:.2%}, loss "
        f"{row['eval/Mean Loss']:.4f}, {row['Total Flops/mean'] / 1e6:.1f} MFLOPs"
        + (f", units {units}" if units else "")
        + f" ({row['count']:,} images of {row['split']})"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4f}"


if __name__ == "__main__":
    raise SystemExit(main())
