"""Networks at their prices over a split, image by image, by the flags of a command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core.commands.flags import (
    add_data_set,
    add_network,
    build_network,
    open_data_set,
    spend_target,
)
from sact_core.commands.numbers import at_least_one
from sact_core.commands.running import progress
from sact_core.texts import shown

if TYPE_CHECKING:
    import numpy as np

    from sact_core.backends import Net
    from sact_core.checkpoint import Checkpoint
    from sact_core.data.source import Source
    from sact_core.measures.passes import Pass


@dataclass(frozen=True)
class Priced:
    """A network at one price.

    Attributes
    ----------
    checkpoint : Checkpoint
        What it was read from.
    net : Net
        At that price.
    file : str
        As it was given.
    record : dict
        ``network``, ``file``, ``content_hash``, ``tau``, ``image_size``, ``fit`` and
        ``precision``, as plain JSON values.
    """

    checkpoint: Checkpoint
    net: Net
    file: str
    record: dict[str, Any]


def add_networks(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name networks, several of them, and their prices."""
    parser.add_argument(
        "--checkpoint", nargs="+", required=True, metavar="FILE", help="networks, or their names"
    )
    price = add_network(parser, checkpoint=False)
    price.add_argument("--taus", nargs="+", type=float, metavar="TAU", help="several prices")


def add_passes(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `add_networks`, those of the images, and where passes are kept."""
    add_networks(parser)
    add_data_set(parser)
    add = parser.add_argument
    add("--num-examples", type=int, metavar="N", help="the first N images only")
    add("--keep", metavar="DIR", help="folder, made if absent: keep what networks did by image")


def priced(
    args: argparse.Namespace,
    images: Callable[[Net, Checkpoint], Any],
    fit: str | None = None,
) -> Iterator[Priced]:
    """Give every network of `add_networks` at every price.

    ``--tau`` and ``--taus`` are of networks that take any; others run at their own.

    Parameters
    ----------
    args : Namespace
        Read flags.
    images : callable
        Gives what ``--target-flops`` is found on, images [shape=(h, w, 3), uint8].
    fit : str, optional
        How these are fitted, as `sact_core.backends.Net.see`.

    Raises
    ------
    ValueError
        As `sact_core.commands.open_network`, and if no network takes a tau that is asked for.
    """
    from sact_core.checkpoint import content_hash, read
    from sact_core.checkpoint.records import trained_at

    at_least_one(args, "num_threads")
    checkpoints = [(file, read(file)) for file in args.checkpoint]
    asked = args.tau is not None or args.taus is not None or args.target_flops is not None
    if asked and not any(each.config.tau_conditioned for _, each in checkpoints):
        which = "this network does not take" if len(checkpoints) == 1 else "none of them takes"
        raise ValueError(f"{which} a tau: each was trained for its own")
    for file, checkpoint in checkpoints:
        net = build_network(checkpoint, args)
        found = [net]
        if net.config.tau_conditioned:
            taus = args.taus if args.taus is not None else [args.tau]
            found = [net if tau is None else net.at_tau(tau, args.clamp_tau) for tau in taus]
            if args.target_flops is not None:
                flags = argparse.Namespace(**{"image_size": None} | vars(args))
                found = [spend_target(net, flags, partial(images, net, checkpoint), fit)]
        for each in found:
            record = {
                "network": each.config.name,
                "file": shown(Path(file).name),
                "content_hash": content_hash(checkpoint),
                "tau": each.tau if each.tau is not None else trained_at(checkpoint),
                "image_size": each.preprocessing.image_size,
                "fit": each.preprocessing.fit,
                "precision": each.precision,
            }
            yield Priced(checkpoint, each, file, record)


def over_split(args: argparse.Namespace) -> Iterator[tuple[Priced, Source]]:
    """Give every network at every price, and the split that it is run over.

    Raises
    ------
    ValueError, OSError
        As `priced` and `sact_core.commands.open_data_set`.
    """
    at_least_one(args, "num_examples")
    sources: dict[int, Source] = {}

    def source(checkpoint: Checkpoint) -> Source:
        if id(checkpoint) not in sources:
            sources[id(checkpoint)] = open_data_set(args, checkpoint.provenance)
        return sources[id(checkpoint)]

    def images(_: Net, checkpoint: Checkpoint) -> Iterator[np.ndarray]:
        split = source(checkpoint)
        return (image for image, *_ in split.each(range(len(split))))

    for one in priced(args, images):
        split = source(one.checkpoint)
        one.record.update(data_set=split.name, split=split.split)
        yield one, split


def kept(
    one: Priced,
    source: Source,
    args: argparse.Namespace,
    change: Callable[[np.ndarray, int], np.ndarray] | None = None,
    **changed: Any,
) -> Pass:
    """Run a network over its split, or find again what ``--keep`` holds of it.

    Parameters
    ----------
    one, source
        Of `over_split`.
    args : Namespace
        Of `add_passes`.
    change : callable, optional
        As for `sact_core.measures.passes.run_pass`.
    **changed
        What tells this change from others, as plain JSON values.

    Raises
    ------
    ValueError, OSError
        As `run_pass` and `sact_core.measures.passes.kept_pass`.
    """
    from sact_core.files import make_folder, require_writable
    from sact_core.measures.passes import about_pass, kept_pass, run_pass

    total = min(args.num_examples or len(source), len(source))

    def work() -> Pass:
        with progress(total) as bar:
            return run_pass(one.net, source, total, change, bar.update)

    keep = None if args.keep is None else Path(args.keep)
    if keep is not None:
        make_folder(keep)
        require_writable(keep / "pass.npz")
    key = {"content_hash": one.record["content_hash"]} | about_pass(one.net, source, total)
    return kept_pass(keep, key | changed, work, one.record["file"].removesuffix(".h5"))
