"""Run a network over a split and count the authors' metrics.

Images are read and run in batches, so that memory stays constant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.metrics import AUTHORS_L2, Metrics, l2_loss

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.checkpoint import Checkpoint
    from sact_core.data import Source

BATCH = 100


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


def evaluated(checkpoint: Checkpoint, args: argparse.Namespace) -> tuple[Source, Metrics]:
    """Evaluate a checkpoint as the command line says.

    Raises
    ------
    ValueError, OSError
        As `evaluate`; if an option makes no sense or the data are absent.
    """
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
