"""Run a network over a split and count the authors' metrics.

Images are read and run in batches, so that memory stays constant.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sact_core.commands import build_network, open_data_set, progress
from sact_core.data.classes import class_numbers
from sact_core.data.records import Unreadable
from sact_core.flops import PRICES, UnitPrices, unit_prices
from sact_core.measures.metrics import Metrics, l2_loss

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.checkpoint import Checkpoint
    from sact_core.data.source import Source
    from sact_core.evaluate.images import ByImage, Place
    from sact_core.processes import Processes

BATCH = 100


@dataclass(frozen=True)
class Job:
    """What an evaluation needs, checked.

    Attributes
    ----------
    net : Net
        The network, with the preprocessing that is asked for.
    source : Source
        The images and their labels.
    tau, regularization : float
        As in `evaluate`.
    num_examples : int
        How many images, the first ones, see `sact_core.data.source.Source.spread`.
    batch_size : int
        As in `evaluate`.
    unit_prices : UnitPrices, optional
        As in `evaluate`.
    judge : Net, optional
        As in `evaluate`.
    by_image : ByImage, optional
        Takes in what the network does with every image.
    """

    net: Net
    source: Source
    tau: float
    regularization: float
    num_examples: int
    batch_size: int
    unit_prices: UnitPrices | None = None
    judge: Net | None = None
    by_image: ByImage | None = None

    def metrics(self, tau: float | None = None) -> Metrics:
        """Metrics of no image yet, at a tau; at the job's where left out."""
        tau = self.tau if tau is None else tau
        judged = self.judge is not None
        return Metrics(self.net.plan, tau, self.regularization, self.unit_prices, judged)

    def at_size(self, image_size: int | None, fit: str | None = None) -> Job:
        """The same with another size of the network's input.

        Parameters
        ----------
        image_size : int, optional
            Side of the square input, or its longer side where the aspect is kept;
            as it is where left out.
        fit : str, optional
            ``"crop"``, ``"square"`` or ``"keep"``; as it is where left out.

        Raises
        ------
        ValueError
            If a value is out of range, the network cannot take such an input, or there
            is no memory for a single one.
        """
        from sact_core.backends.memory import batch_that_fits

        wanted = self.net.preprocessing_for(image_size, fit)
        if wanted.fit != "keep":
            batch_that_fits(self.net.plan, (wanted.image_size, wanted.image_size), 1)
        return replace(self, net=replace(self.net, preprocessing=wanted))

    def first(self, num_examples: int) -> Job:
        """The same with at most so many images, the first ones."""
        return replace(self, num_examples=min(self.num_examples, num_examples))

    def at_tau(self, tau: float) -> Job:
        """The same at another price of a unit, for a network conditioned on it.

        Raises
        ------
        ValueError
            As `sact_core.backends.Net.at_tau`.
        """
        return replace(self, net=self.net.at_tau(tau), tau=tau)

    @contextlib.contextmanager
    def progress(self, processes: Processes) -> Iterator[Callable[[int], object]]:
        """Show on a terminal how many images are done; give what is to be told."""
        share = -(-self.num_examples // processes.world)
        with progress(share, shown=None if processes.is_first else False) as bar:
            yield bar.update

    def run(self, processes: Processes) -> Metrics:
        """Evaluate together with the other processes; give the metrics of all images.

        Raises
        ------
        ValueError, OSError
            As `evaluate`; if another process has stopped.
        """
        with self.progress(processes) as done:
            mine = evaluate(
                self.net,
                self.source,
                batch_size=self.batch_size,
                num_examples=self.num_examples,
                shard=(processes.rank, processes.world),
                tau=self.tau,
                regularization=self.regularization,
                unit_prices=self.unit_prices,
                judge=self.judge,
                by_image=self.by_image,
                done=done,
            )
        if self.by_image is not None:
            self.by_image.gather(processes)
        together = self.metrics()
        for counts in processes.gather(mine.counts()):
            together.add_counts(counts)
        if not together.count:
            raise ValueError(f"not one image of {self.source.name} {self.source.split} can be read")
        return together


def evaluate(
    net: Net,
    source: Source,
    *,
    batch_size: int = BATCH,
    num_examples: int | None = None,
    shard: tuple[int, int] = (0, 1),
    tau: float = 0.0,
    regularization: float = 0.0,
    unit_prices: UnitPrices | None = None,
    judge: Net | None = None,
    by_image: ByImage | None = None,
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
        Images read at a time, and run at a time where they have one size and
        memory allows.
    num_examples : int, optional
        Only the first so many.
    shard : tuple of int
        This share of how many: batches ``shard[0]``, ``shard[0] + shard[1]``, …;
        `Metrics.merge` puts the shares together.
    tau : float
        Price of a unit in the loss.
    regularization : float
        The L2 part of the loss.
    unit_prices : UnitPrices, optional
        What a unit of each block costs in the loss, see `sact_core.measures.metrics.Metrics`.
    judge : Net, optional
        What it answers to the same inputs counts as right, in place of labels.
    by_image : ByImage, optional
        Takes in what the network does with every image.
    done : callable
        Told how many more images are done.

    Returns
    -------
    Metrics
        Of the images of this shard; ``left_out`` has those that cannot be read.

    Raises
    ------
    ValueError
        If the classes do not fit, the split is empty, or an image cannot be run.
    """
    total = len(source) if num_examples is None else min(num_examples, len(source))
    job = Job(net, source, tau, regularization, total, batch_size, unit_prices, judge)
    metrics = job.metrics()
    for x, labels, places in placed_inputs(job, shard, Unreadable(metrics.left_out)):
        result = net.forward(x)
        metrics.update(result, labels)
        if by_image is not None:
            by_image.add(net, result, labels, places, tau if net.config.halts else None)
        done(len(labels))
    return metrics


def inputs(
    job: Job, shard: tuple[int, int] = (0, 1), left_out: Unreadable | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the images of a job and their labels, as `placed_inputs`, without their places."""
    return ((x, labels) for x, labels, _ in placed_inputs(job, shard, left_out))


def placed_inputs(
    job: Job, shard: tuple[int, int] = (0, 1), left_out: Unreadable | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, list[Place]]]:
    """Give the images of a job, as many at a time as fit in memory, and their labels.

    Parameters
    ----------
    job : Job
        Its data, preprocessing and batches count.
    shard : tuple of int
        As in `evaluate`.
    left_out : Unreadable, optional
        Gets the images that cannot be read.

    Yields
    ------
    x : np.ndarray [shape=(n, H, W, 3), float32]
    labels : np.ndarray [shape=(n,), int64]
        Classes of the network; what the job's judge answers, where it has one.
    places : list of (int, str)
        Their numbers in the order of the source, and their names.

    Raises
    ------
    ValueError
        As `evaluate`.
    """
    from sact_core.backends.stacking import stacked

    net, source = job.net, job.source
    numbers = None if job.judge is not None else classes_of(net, source)
    if not len(source):
        raise ValueError(f"{source.name} {source.split} has no examples")
    left_out = Unreadable() if left_out is None else left_out
    # No process gets nothing while another has all.
    batch_size = min(job.batch_size, -(-job.num_examples // shard[1]))
    for number, chunk in enumerate(source.chunks(batch_size, job.num_examples)):
        if number % shard[1] == shard[0]:
            readable = _numbered(source, chunk, left_out)
            made = ((net.see(image).x, (label, place)) for image, label, place in readable)
            for x, tags in stacked(made, net.plan, batch_size, shard[1]):
                places = [place for _, place in tags]
                if numbers is not None:
                    yield x, numbers[np.array([label for label, _ in tags], np.int64)], places
                elif job.judge is not None:
                    yield x, job.judge.forward(x).logits.argmax(1), places


def _numbered(
    source: Source, chunk: range, left_out: Unreadable
) -> Iterator[tuple[np.ndarray, int, Place]]:
    """Examples that can be read, with their numbers and names."""
    numbers = iter(chunk)
    for image, label, name in source.readable(chunk, left_out):
        number = next(each for each in numbers if each not in left_out.found)
        yield image, label, (number, name)


def classes_of(net: Net, source: Source) -> np.ndarray:
    """Give the network's number of every class of a data set.

    Returns, raises: as `sact_core.data.classes.class_numbers`.
    """
    return class_numbers(net.class_names, net.config.num_classes, source.class_names, source.name)


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
    l2 = float(l2) if isinstance(l2, int | float) else checkpoint.config.facts.l2
    return tau, l2_loss(checkpoint.params, l2)


def trained_prices(checkpoint: Checkpoint) -> UnitPrices:
    """What a unit of each block cost when a checkpoint was trained, in units of tau.

    At the size it was trained at. The same for all blocks where it says nothing else.
    """
    from sact_core.plans import build_plan

    recipe = checkpoint.provenance.get("recipe")
    price = recipe.get("price") if isinstance(recipe, dict) else None
    side = checkpoint.preprocessing.image_size
    plan = build_plan(checkpoint.config)
    return unit_prices(plan, (side, side), price if price in PRICES else "units")


def prepare_job(checkpoint: Checkpoint, args: argparse.Namespace, processes: Processes) -> Job:
    """Build the network and open the data that the command line names.

    Raises
    ------
    ValueError, OSError
        If an option makes no sense, or the data are absent or do not fit.
    """
    from sact_core.evaluate.images import ByImage

    net = build_network(checkpoint, args, processes)
    tau, regularization = loss_terms(checkpoint, args.tau)
    if net.config.tau_conditioned:  # there it is what the network runs at
        net = net if args.tau is None else net.at_tau(args.tau, args.clamp_tau)
        assert net.tau is not None
        tau = net.tau
    judge = None
    if args.labels_from is None:
        source = open_data_set(args, checkpoint.provenance).spread()
        classes_of(net, source)
    else:
        judge = _read_judge(net, args, processes)
        source = _open_photographs(checkpoint, args).spread()
    num_examples = min(args.num_examples or len(source), len(source))
    prices = trained_prices(checkpoint)
    rows = ByImage() if getattr(args, "per_image", None) is not None else None
    job = Job(net, source, tau, regularization, num_examples, args.batch_size, prices, judge, rows)
    return job.at_size(args.image_size, args.fit)


def _read_judge(net: Net, args: argparse.Namespace, processes: Processes) -> Net:
    """Read the network whose answers count as right."""
    from sact_core.checkpoint import read

    judge = build_network(read(args.labels_from), args, processes)
    facts = {
        "classes": (judge.config.num_classes, net.config.num_classes),
        "preprocessing": (judge.preprocessing.kind, net.preprocessing.kind),
    }
    for what, (theirs, ours) in facts.items():
        if theirs != ours:
            raise ValueError(
                f"{args.labels_from} cannot say what is right: its {what}: {theirs}, the "
                f"network's: {ours}"
            )
    return judge


def _open_photographs(checkpoint: Checkpoint, args: argparse.Namespace) -> Source:
    """Open the photographs that are named, or those that the training held out."""
    from sact_core.data.splits import recorded_split
    from sact_core.data.unlabelled import open_unlabelled

    name, split = recorded_split(checkpoint.provenance)
    recipe = checkpoint.provenance.get("recipe")
    taught = isinstance(recipe, dict) and recipe.get("labels") == "none"
    if args.dataset is not None or name is None or split is None or not taught:
        if args.dataset is None:
            raise ValueError("--labels-from needs photographs: give --dataset")
        return open_unlabelled(args.dataset, args.split or "all", args.data_dir)
    return open_unlabelled(name, args.split or split, args.data_dir)
