"""The flags that say which network runs, at which price, and on which images."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sact_core.commands.numbers import at_least_one
from sact_core.processes import Processes

if TYPE_CHECKING:
    import numpy as np

    from sact_core.backends import Net
    from sact_core.backends.budget import Budget
    from sact_core.checkpoint import Checkpoint
    from sact_core.data.source import Source

#: Names of `sact_core.backends.BACKENDS`, the default first.
BACKENDS = ("masked", "dense", "reference")

#: Names of `sact_core.backends.PRECISIONS`.
PRECISIONS = ("float32", "bfloat16", "int8")

TAU = "price of a unit, for a network trained with --tau-range (default: its own)"


def add_network(
    parser: argparse.ArgumentParser, *, checkpoint: bool = True, tau: str = TAU
) -> argparse._MutuallyExclusiveGroup:
    """Add the flags that say which network runs, on what, and at which price.

    Parameters
    ----------
    parser : ArgumentParser
        Of the command.
    checkpoint : bool
        Whether ``--checkpoint`` is among them.
    tau : str
        What ``--tau`` is, where it is more than `TAU`.

    Returns
    -------
    argparse group
        Of flags that say the price in ways that exclude one another.
    """
    add = parser.add_argument
    if checkpoint:
        add("--checkpoint", required=True, metavar="FILE", help="the network")
    add("--backend", choices=BACKENDS, default=BACKENDS[0], help=f"default: {BACKENDS[0]}")
    add(
        "--precision",
        choices=PRECISIONS,
        help="what the masked backend multiplies; int8 needs a file of sact_core.calibrate "
        "(default: SACT_PRECISION, or float32)",
    )
    add("--num-threads", type=int, metavar="N", help="threads of the masked or dense backend")
    add("--device", help="of the dense backend: cpu (default) or cuda")
    add("--clamp-tau", action="store_true", help="take the nearest end for a tau out of range")
    price = parser.add_mutually_exclusive_group()
    price.add_argument("--tau", type=float, help=tau)
    price.add_argument(
        "--target-flops",
        type=float,
        metavar="SHARE",
        help="find the tau that spends this share of dense on the first images",
    )
    return price


def open_network(args: argparse.Namespace, processes: Processes | None = None) -> Net:
    """Read the checkpoint that the flags of `add_network` name, to be run as they say.

    A ``--target-flops`` is checked; the tau for it is found by `spend_target`.

    Raises
    ------
    ValueError
        If flags do not go together, a value is out of range, or the network is not
        conditioned on tau and is asked for one; `CheckpointError` if the file is no
        usable checkpoint.
    OSError
        If it cannot be opened.
    """
    from sact_core.backends.budget import check_target
    from sact_core.checkpoint import read
    from sact_core.taus import tau_range

    _backend_options(args, processes)  # refused before anything is read
    net = build_network(read(args.checkpoint), args, processes)
    if args.tau is not None:
        return net.at_tau(args.tau, args.clamp_tau)
    if args.target_flops is not None:
        tau_range(net.config)
        check_target(args.target_flops)
    return net


def build_network(
    checkpoint: Checkpoint, args: argparse.Namespace, processes: Processes | None = None
) -> Net:
    """Build the network of a checkpoint on the backend that the flags name, at its own tau.

    Raises
    ------
    ValueError
        As `open_network`.
    """
    from sact_core.backends import Net

    return Net.from_checkpoint(checkpoint, args.backend, **_backend_options(args, processes))


def _backend_options(args: argparse.Namespace, processes: Processes | None) -> dict[str, Any]:
    """Options of the backend; processes on one machine share its cores."""
    from sact_core.backends.precision import choose_precision

    processes = processes or Processes()
    options: dict[str, Any] = {"precision": choose_precision(args.precision, args.backend)}
    if args.device is not None:
        if args.backend != "dense":
            raise ValueError(f"--device is for --backend dense, not {args.backend}")
        options["device"] = args.device
        if args.device == "cuda" and processes.world > 1:
            options["device"] = f"cuda:{os.environ.get('LOCAL_RANK', processes.rank)}"
    at_least_one(args, "num_threads")
    if args.num_threads is not None and args.backend == "reference":
        raise ValueError("--num-threads is for the masked and dense backends")
    num_threads = processes.num_threads() if args.num_threads is None else args.num_threads
    if num_threads is not None and args.backend != "reference":
        options["num_threads"] = num_threads
    return options


def spend_target(
    net: Net,
    args: argparse.Namespace,
    images: Callable[[], Iterable[np.ndarray]],
    fit: str | None = None,
    processes: Processes | None = None,
) -> Net:
    """Give the network at the tau that spends ``--target-flops`` on the first images.

    Says on stderr which it is. Where no ``--target-flops`` is given, the network as it is.

    Parameters
    ----------
    net : Net
        From `open_network`.
    args : Namespace
        Its ``target_flops`` and ``image_size`` count.
    images : callable
        Reads what it is to run on, images [shape=(h, w, 3), uint8]; no more of them are
        asked for than are needed, but again where they are too large to be kept.
    fit : str, optional
        As in `Net.see`.
    processes : Processes, optional
        The first one searches, the others wait.

    Raises
    ------
    ValueError
        If there is no image, or one cannot be run.
    """
    if args.target_flops is None:
        return net
    processes = processes or Processes()

    def inputs() -> Iterator[np.ndarray]:
        return (net.see(image, args.image_size, fit).x for image in images())

    budget, count = find_budget(net, args.target_flops, inputs, processes)
    if processes.is_first:
        print(
            f"warning: {budget.warning}"
            if budget.warning is not None
            else f"tau {budget.tau:.4g} spends {budget.share:.1%} of dense on "
            + ("one image" if count == 1 else f"the first {count:,} images"),
            file=sys.stderr,
        )
    return net.at_tau(budget.tau)


def find_budget(
    net: Net,
    target: float,
    inputs: Callable[[], Iterable[np.ndarray]],
    processes: Processes,
) -> tuple[Budget, int]:
    """Find the tau that spends a share of dense on the first images.

    Parameters
    ----------
    net : Net
        Conditioned on tau.
    target : float
        The share, in (0, 1].
    inputs : callable
        Makes batches of preprocessed images [shape=(n, H, W, 3), float32], of which the
        first `sact_core.backends.budget.NUM_IMAGES` count; again, where they are too
        large to be kept.
    processes : Processes
        The first one searches, the others wait.

    Returns
    -------
    budget : Budget
        The tau, and what it spends.
    count : int
        On how many images.

    Raises
    ------
    ValueError
        If there is no image, or as `sact_core.backends.Net.find_tau`.
    OSError
        If another process has stopped.
    """
    from sact_core.backends.budget import Budget, FirstInputs

    found: dict[str, Any] | None = None
    if processes.is_first:
        first = FirstInputs(inputs)
        if not first.count:
            raise ValueError("there is no image to find the tau for --target-flops on")
        found = {"budget": vars(net.find_tau(first, target)), "count": first.count}
    found = processes.gather(found)[0]
    assert found is not None
    return Budget(**found["budget"]), found["count"]


def add_data_set(parser: argparse.ArgumentParser, default: str = "the checkpoint's") -> None:
    """Add the flags that say which images a network is shown.

    Parameters
    ----------
    parser : ArgumentParser
        Of the command.
    default : str
        What is shown where no data set is named.
    """
    add = parser.add_argument
    add("--dataset", help=f"TFDS name or folder of class folders (default: {default})")
    add("--split", help="such as test or test[:1000] (default: what it was evaluated on)")
    add("--data-dir", help="where TFDS keeps its data")


def open_data_set(args: argparse.Namespace, provenance: Mapping[str, Any]) -> Source:
    """Open the split that the flags of `add_data_set` name for a checkpoint.

    Parameters
    ----------
    args : Namespace
        Read flags.
    provenance : mapping
        Of the checkpoint.

    Raises
    ------
    DataError
        As `sact_core.data.splits.open_split`. If none is named and the checkpoint's own
        images have no labels.
    """
    from sact_core.data.records import DataError
    from sact_core.data.splits import evaluation_split, open_split

    recipe = provenance.get("recipe")
    if args.dataset is None and isinstance(recipe, dict) and recipe.get("labels") == "none":
        other = " (or, to evaluate how often it agrees with its teacher, --labels-from)"
        raise DataError(
            "the network was taught on photographs without labels: give --dataset"
            + (other if hasattr(args, "labels_from") else "")
        )
    return open_split(*evaluation_split(provenance, args.dataset, args.split), args.data_dir)
