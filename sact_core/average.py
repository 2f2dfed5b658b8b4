"""Average the weights of networks that were fine-tuned from one network.

::

    python -m sact_core.average runs/seed1/last.h5 runs/seed2/last.h5 --out average.h5

The average of networks that were trained on from the same weights is often more
accurate than each of them, for the FLOPs of one. Networks that were trained from
different weights have nothing in common: their average is worthless.

The first file says what is made: its halting, its tau and its recipe. Of the others,
halting branches are taken where the whole network is of the same config, and all else
where it has the same units and width: a vanilla network adds to a SACT one.

Moving statistics of batch normalisations do not average; they are computed anew on
training images, augmented as the first file's recipe says. The result is evaluated and
says in its provenance what it was made of; its epochs and hours are the sum of theirs.

Sources: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better
Generalization", arXiv:1803.05407; Wortsman et al. 2022, "Model soups", arXiv:2203.05482.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.checkpoint import Checkpoint, read, read_header, write
from sact_core.commands import at_least_one, parse, progress, refuse_existing, run
from sact_core.config import NetworkConfig
from sact_core.extras import need
from sact_core.network import Plan
from sact_core.plans import build_plan
from sact_core.processes import Processes

if TYPE_CHECKING:
    from sact_core.train.batches import Batch
    from sact_core.train.feed import Feed
    from sact_core.train.recipes import TrainingConfig

MAX_LISTED = 5


def average(checkpoints: Iterable[Checkpoint], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Average the parameters of checkpoints, as networks of the first one's config.

    Parameters
    ----------
    checkpoints : iterable of Checkpoint
        At least two, each held no longer than it takes to add it.
    names : sequence of str
        What to call each in a message.

    Returns
    -------
    dict of str to np.ndarray [float32]
        Every parameter of the first; means in float64, rounded once. Moving statistics
        among them are means too: `recompute_statistics`.

    Raises
    ------
    ValueError
        If there is one only, or one lacks parameters of the first, has them in another
        shape, or other preprocessing or classes; what does not fit is listed.
    """
    if len(names) < 2:
        raise ValueError("an average is of at least two checkpoints: name another")
    several = iter(checkpoints)
    first = next(several)
    sums = {key: value.astype(np.float64) for key, value in first.params.items()}
    counts = dict.fromkeys(sums, 1)
    for other, name in zip(several, names[1:], strict=True):
        _check_fits(first, other, names[0], name)
        same = _same(other.config, first.config)
        for key in sums:
            if same or not _is_halting(key):
                sums[key] += other.params[key]
                counts[key] += 1
    return {key: (total / counts[key]).astype(np.float32) for key, total in sums.items()}


def recompute_statistics(
    plan: Plan, params: dict[str, np.ndarray], batches: Iterable[Batch]
) -> dict[str, np.ndarray]:
    """Compute the moving statistics of batch normalisations anew.

    Parameters
    ----------
    plan : Plan
        The network.
    params : dict of str to np.ndarray
        Its parameters.
    batches : iterable of Batch
        Training images, with taus where the network is conditioned on tau.

    Returns
    -------
    dict of str to np.ndarray [float32]
        ``params`` with every ``moving_mean`` and ``moving_variance`` replaced by the mean
        over the batches of what one batch gives, all positions counted, as in training.

    Raises
    ------
    ValueError
        If there is no batch.
    """
    import torch

    from sact_core.backends import dense

    network = dense.Network(plan, params, fused=True).train()
    moving = dict(network.named_buffers())
    sums = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in moving.items()}
    count = 0
    with torch.no_grad():
        for batch in batches:
            before = {name: value.double() for name, value in moving.items()}
            x = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
            told = {} if batch.taus is None else {"tau": torch.from_numpy(batch.taus)}
            network(x, **told)
            count += 1
            for name, value in moving.items():  # a step of a moving average, undone
                step = value.double() - plan.bn_decay * before[name]
                sums[name] += step / (1 - plan.bn_decay)
    if not count:
        raise ValueError("no training images to compute moving statistics on")
    return params | {name: (value / count).float().numpy() for name, value in sums.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    return run(lambda: _make(args, argv), stopped="stopped: nothing was written")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.average",
        description="Average networks that were fine-tuned from one network.",
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="checkpoints; the first says what is made")
    add("--out", required=True, help="checkpoint to write")
    add("--force", action="store_true", help="replace --out if it exists")
    add("--data-dir", help="where TFDS keeps its data")
    add(
        "--num-batches",
        type=int,
        default=100,
        help="batches of training images for moving statistics (default: 100)",
    )
    add("--num-threads", type=int, help="of PyTorch")
    return parser


def _make(args: argparse.Namespace, argv: Sequence[str]) -> None:
    at_least_one(args, "num_batches", "num_threads")
    if not Path(args.out).parent.is_dir():
        raise ValueError(f"cannot write {args.out}: there is no folder {Path(args.out).parent}")
    refuse_existing(args.out, args.force)
    need("train", "average, which reads training images and computes statistics anew,", "torch")
    checkpoints: list[Checkpoint] = []  # without their parameters: there may be many

    def in_turn() -> Iterator[Checkpoint]:
        for file in args.files:
            checkpoint = read(file)
            checkpoints.append(dataclasses.replace(checkpoint, params={}))
            yield checkpoint

    params = average(in_turn(), args.files)
    config = _recipe(checkpoints[0], args.files[0])
    from sact_core.backends import dense
    from sact_core.train import evaluation
    from sact_core.train.start import use_threads

    use_threads(args.num_threads, Processes())

    feed = _feed(config, args.data_dir)
    plan = build_plan(config.network)
    params = recompute_statistics(plan, params, _batches(feed, config, args.num_batches))
    found = evaluation.measure(dense.Network(plan, params, fused=True), config, feed)
    record = _describe(args, argv, checkpoints, config, feed, found)
    first = checkpoints[0]
    write(args.out, dataclasses.replace(first, params=params, provenance=record))
    for each in record["averaged"]:
        print(f"{_points(each['accuracy'])}  {each['file']}")
    print(f"{_points(found['eval/Accuracy'])}  their average, {args.out}")


def _recipe(checkpoint: Checkpoint, name: str) -> TrainingConfig:
    from sact_core.config import to_dict
    from sact_core.train.recipes import config_from_dict

    recipe = checkpoint.provenance.get("recipe")
    if not isinstance(recipe, dict):
        raise ValueError(
            f"{name} does not say how it was trained, so its statistics cannot be computed anew: "
            f"begin with a file that sact_core.train wrote"
        )
    config = config_from_dict({**recipe, "network": to_dict(checkpoint.config)})
    # Statistics are those of whole images, whatever the first steps learnt from.
    return dataclasses.replace(config, first_size=None, first_share=type(config).first_share)


def _feed(config: TrainingConfig, data_dir: str | None) -> Feed:
    from sact_core.data.source import Examples, Source, load_source
    from sact_core.data.splits import open_split
    from sact_core.processes import Processes
    from sact_core.train.feed import Feed
    from sact_core.train.start import training_preprocessing

    train = open_split(config.dataset, config.train_split, data_dir)
    test = open_split(config.dataset, config.eval_split, data_dir)
    images: list[Examples | Source] = [train, test]
    if config.crop != "resized":
        size = config.image_size
        fit = None if size is None else training_preprocessing(config, size)
        images = [load_source(train, config.num_train_examples, fit), load_source(test, None, fit)]
    return Feed(config, images[0], images[1], Processes(), 2)


def _batches(feed: Feed, config: TrainingConfig, num_batches: int) -> Iterable[Batch]:
    """The first batches that the recipe's training sees; how far they are, on a terminal."""
    an_epoch = max(feed.num_train // config.batch_size, 1)
    with progress(num_batches, "batches") as bar:
        for number in range(num_batches):
            epoch, step = divmod(number, an_epoch)
            yield feed.batch(epoch, step, feed.order(epoch))
            bar.update()


def _describe(
    args: argparse.Namespace,
    argv: Sequence[str],
    checkpoints: Sequence[Checkpoint],
    config: TrainingConfig,
    feed: Feed,
    found: dict[str, Any],
) -> dict[str, Any]:
    """Where an average comes from, in plain JSON values."""
    from sact_core.processes import Processes
    from sact_core.provenance import hardware, versions

    first = checkpoints[0].provenance
    made_of = []
    for file, each in zip(args.files, checkpoints, strict=True):
        theirs = each.provenance
        metrics = theirs.get("metrics")
        made_of.append(
            {
                "file": file,
                "content_hash": read_header(file).content_hash,
                "accuracy": metrics.get("eval/Accuracy") if isinstance(metrics, dict) else None,
                **{k: theirs.get(k) for k in ("command", "epochs", "hours", "hardware")},
            }
        )
    kept = ("recipe", "tau", "tau_range", "seed")
    return {
        "data_set": {
            "name": config.dataset,
            "train_split": config.train_split,
            "train_count": feed.counts()[0],
        },
        "command": Processes().command("average", argv),
        **{key: first[key] for key in kept if key in first},
        "averaged": made_of,
        **_sums(made_of),
        "hardware": hardware(),
        "metrics": {"split": config.eval_split, "count": feed.counts()[1], **found},
        "packages": versions(),
    }


def _check_fits(first: Checkpoint, other: Checkpoint, name: str, other_name: str) -> None:
    for what, one, two in (
        ("preprocessing", first.preprocessing, other.preprocessing),
        ("classes", first.class_names, other.class_names),
    ):
        if one != two:
            raise ValueError(f"{other_name} has other {what} than {name}: they have no average")
    wanted = {key: v.shape for key, v in first.params.items() if not _is_halting(key)}
    theirs = {key: v.shape for key, v in other.params.items() if not _is_halting(key)}
    apart = [
        f"{key}: {wanted.get(key, 'absent')} and {theirs.get(key, 'absent')}"
        for key in sorted(wanted | theirs)
        if wanted.get(key) != theirs.get(key)
    ]
    if apart:
        more = f"; and {len(apart) - MAX_LISTED} more" if len(apart) > MAX_LISTED else ""
        raise ValueError(
            f"{name} and {other_name} have no average, they differ in {len(apart)} parameters: "
            f"{'; '.join(apart[:MAX_LISTED])}{more}"
        )


def _is_halting(key: str) -> bool:
    return "/halting_proba/" in key


def _same(one: NetworkConfig, other: NetworkConfig) -> bool:
    """Whether halting branches mean the same; what they began with or run at may differ."""
    alike = dataclasses.replace(one, tau_default=other.tau_default, halting_bias=other.halting_bias)
    return alike == other


def _sums(made_of: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Epochs and hours of all files together, where all are known."""
    found = {}
    for key in ("epochs", "hours"):
        values = [each[key] for each in made_of]
        if all(isinstance(value, int | float) for value in values):
            found[key] = round(sum(values), 4)
    return found


def _points(accuracy: object) -> str:
    return f"{accuracy:7.2%}" if isinstance(accuracy, float) else "unknown"


if __name__ == "__main__":
    raise SystemExit(main())
