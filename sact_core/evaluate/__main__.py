"""Evaluate a checkpoint, once or continuously while it trains.

::

    python -m sact_core.evaluate --checkpoint pretrained/NAME.h5
    python -m sact_core.evaluate --checkpoint NAME.h5 --num-examples 1000 --json
    python -m sact_core.evaluate --checkpoint NAME.h5 --image-size 224
    python -m sact_core.evaluate --checkpoint A.h5 B.h5 --sizes 128,160,224,320 --plot sizes.png
    python -m sact_core.evaluate --checkpoint ANYTAU.h5 --tau 0.01    # trained with --tau-range
    python -m sact_core.evaluate --checkpoint ANYTAU.h5 --taus 9 --json > ANYTAU.curve.json
    python -m sact_core.evaluate --checkpoint ANYTAU.h5 --taus 9 \\
        --rival DENSE.h5 --sizes 160,192,224 --plot rival.png
    python -m sact_core.evaluate --checkpoint ANYTAU.h5 --target-flops 0.5
    python -m sact_core.evaluate --checkpoint INT8.h5 --precision int8 --against float32
    python -m sact_core.evaluate --checkpoint TAUGHT.h5 --labels-from DENSE.h5 --dataset ~/photos
    torchrun --nproc-per-node=2 --local-addr=127.0.0.1 -m sact_core.evaluate …    # shared
    python -m sact_core.evaluate --watch runs/cifar10_resnet32      # in a second terminal

Prints the authors' metrics under the authors' names, see `sact_core.measures.metrics`.
Data set and split are those that the checkpoint was evaluated on in training
unless others are given. Images are read and run in batches, so that memory
stays constant, by the masked engine unless told otherwise; all backends give
the same accuracy and the same FLOPs.

A network takes images of any size. ``--image-size`` is the side of the square
that the checkpoint's crop is resized to, or, where the aspect is kept (``--fit
keep``), the longer side. ``--sizes`` evaluates at several: accuracy against
FLOPs, as a table and as a plot.

A network that was trained for a range of tau runs at ``--tau``, its default where
left out. ``--taus`` gives accuracy against FLOPs at several, and counts the images
for which more tau meant more work; with ``--rival``, how far it is ahead of another
network that saves as much by smaller images. ``--target-flops`` looks for the one tau that
spends this share of dense on the first 500 images, without their labels, and
evaluates all images there.

``--labels-from`` tells how often the network answers as another one does, in place of
accuracy: no labels are needed, and all photographs of a folder or data set count. For a
network that was taught without labels, they are those that were held out.

``--against`` runs the images in a second number format too, and counts what ``--precision``
changes: answers, unit counts, FLOPs, logits and halting scores.

Processes of ``torchrun`` share the batches, and the cores of a machine. The
first one prints what a single process would: counts and FLOPs are equal, means
of other numbers up to rounding.

``--table`` writes what is printed as CSV, LaTeX (booktabs) or Markdown, and ``--per-image``
what came of every image as CSV or Parquet: its number and name, size, tau, label, prediction,
sureness, FLOPs, their share of dense and the ponder cost of each block. Files carry networks
with their hashes, tau, size, fit, version and this command.

With ``--watch`` every new checkpoint of a run is evaluated until the run has
taken its last step. What is found goes to ``watch.jsonl`` in the run's folder,
where it completes the run's own metrics, and to TensorBoard as ``watch``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sact_core import __version__
from sact_core.commands import (
    PRECISIONS,
    add_data_set,
    add_network,
    at_least_one,
    origin,
    parse,
    refuse_unwritable,
    run_together,
)
from sact_core.config import FITS
from sact_core.data.records import Unreadable
from sact_core.evaluate.changes import check_against, count_changes
from sact_core.evaluate.results import Found, about_found, check_tables, write_tables
from sact_core.evaluate.rival import as_json, plot_rival, rival_table
from sact_core.evaluate.run import BATCH, prepare_job
from sact_core.evaluate.sizes import (
    Curve,
    check_plot,
    measure,
    parse_sizes,
    plot_sizes,
    sizes_table,
)
from sact_core.evaluate.table import table
from sact_core.evaluate.taus import (
    TauCurve,
    check_budget,
    find_tau,
    measure_taus,
    parse_taus,
    print_taus,
)
from sact_core.evaluate.watch import watch
from sact_core.processes import Processes
from sact_core.tables import ROWS, TABLES, check_rows

if TYPE_CHECKING:
    from sact_core.evaluate.run import Job
    from sact_core.measures.metrics import Metrics


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.evaluate",
        description="Evaluate a checkpoint, once or continuously while it trains.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--checkpoint", metavar="FILE", nargs="+", help="what to evaluate; several with --sizes"
    )
    what.add_argument("--watch", metavar="RUN_DIR", help="evaluate each new checkpoint of a run")
    add = parser.add_argument
    add_data_set(parser)
    add(
        "--labels-from",
        metavar="FILE",
        help="count as right what this network answers, on photographs in any folder: agreement",
    )
    add("--num-examples", type=int, help="N only, of every class its share")
    add("--batch-size", type=int, default=BATCH, help=f"default: {BATCH}")
    add("--image-size", type=int, metavar="N", help="side of the input (default: the checkpoint's)")
    add(
        "--fit",
        choices=FITS,
        help="crop, the central square, or keep the aspect: N is the longer side",
    )
    add("--sizes", nargs="+", metavar="N", help="evaluate at each of these sizes")
    add(
        "--rival",
        metavar="FILE",
        help="set --taus against this network at --sizes: what smaller images cost and lose",
    )
    add("--plot", metavar="FILE", help="draw accuracy against FLOPs by size (.png, .svg, .pdf)")
    add("--table", nargs="+", metavar="FILE", help=f"write a table ({', '.join(TABLES)})")
    add("--per-image", metavar="FILE", help=f"write what came of each image ({', '.join(ROWS)})")
    add("--force", action="store_true", help="replace files that exist")
    tau = add_network(
        parser,
        checkpoint=False,
        tau="price of a unit in the loss (default: the checkpoint's); "
        "a network trained for a range of tau runs at it",
    )
    tau.add_argument(
        "--taus",
        nargs="+",
        metavar="N",
        help="evaluate at N taus of the range, or at each of T T …",
    )
    add(
        "--against",
        choices=PRECISIONS,
        help="count what --precision changes: answers, unit counts, FLOPs, logits",
    )
    add("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    processes = Processes.from_environment()
    args.command = processes.command("evaluate", argv)
    work = _evaluate if args.watch is None else _watch
    return run_together(lambda: work(args, processes), processes)


def _watch(args: argparse.Namespace, processes: Processes) -> None:
    _check(args, processes)
    watch(args)


def _evaluate(args: argparse.Namespace, processes: Processes) -> None:
    curves = processes.agree(lambda: _curves(args, processes))
    if args.sizes is not None and args.rival is None:
        measure(curves, parse_sizes(args.sizes), processes)
        if processes.is_first:
            _print_sizes(args, curves)
            _write(args, [found for each in curves for found in each.found])
        return
    job = curves[0].job
    if args.against is not None:
        _print_changes(args, curves[0])
        return
    if args.taus is not None:
        taus = parse_taus(args.taus, job.net.config, args.clamp_tau)
        curve = measure_taus(job, taus, processes)
        if args.rival is not None:
            measure(curves[1:], parse_sizes(args.sizes), processes)
        if processes.is_first:
            _print_taus(args, curve, curves)
            at = [(curves[0].file, job.at_tau(tau), each) for tau, each in curve.metrics.items()]
            _write(args, [*at, *(found for each in curves[1:] for found in each.found)])
        return
    about_tau: dict[str, float] = {}
    searched = 0
    if args.target_flops is not None:
        budget, searched = find_tau(job, args.target_flops, processes)
        job = job.at_tau(budget.tau)
        about_tau = {"target_flops": args.target_flops, "tau_found_on": searched}
        if budget.warning is not None and processes.is_first:
            print(f"warning: {budget.warning}", file=sys.stderr)
    metrics = job.run(processes)
    if not processes.is_first:
        return
    net, source = job.net, job.source
    found = [(curves[0].file, job, metrics)]
    _write(args, found)
    if net.config.halts:
        about_tau["tau"] = metrics.tau
    if args.json:
        from sact_core.checkpoint import read_header

        about = {
            "num_examples": metrics.count,
            "dataset": source.name,
            "split": source.split,
            "Dense Flops/mean": metrics.dense.mean,
            "skipped": Unreadable(metrics.left_out).record(),
        }
        about |= origin(net, read_header(curves[0].file).content_hash, args.command)
        print(json.dumps(metrics.summary() | about | about_tau))
        return
    print(
        f"{net.config.name}, {curves[0].file}: {metrics.count:,} images of {source.name} "
        f"{source.split}, {net.computed_by}, {curves[0].size_means} "
        f"{net.preprocessing.image_size} pixels"
        + (f", tau {metrics.tau:.4g}" if net.config.tau_conditioned else "")
        + (f", found on the first {about_tau['tau_found_on']:,} images" if searched else "")
        + f"\n\n{table(metrics)}"
    )
    _say_left_out(job, metrics)


def _check(args: argparse.Namespace, processes: Processes) -> None:
    """Refuse options that make no sense, before anything is read."""
    at_least_one(args, "num_examples", "batch_size")
    if args.watch is not None and (args.table or args.per_image is not None):
        raise ValueError("--watch goes with neither --table nor --per-image")
    if args.per_image is not None and args.checkpoint is not None and len(args.checkpoint) > 1:
        raise ValueError("--per-image is of one checkpoint; evaluate them one by one")
    if args.per_image is not None:
        check_rows(args.per_image)
    check_tables(args.table or ())
    for path in [*(args.table or ()), *([args.per_image] if args.per_image else [])]:
        refuse_unwritable(path, args.force)
    if args.against is not None:
        check_against(args, processes)
    if args.watch is not None and processes.world > 1:
        raise ValueError("--watch runs in a single process, without torchrun")
    if args.rival is not None:
        _check_rival(args)
        return
    several = args.taus is not None or args.target_flops is not None
    if several and (args.watch is not None or args.sizes is not None):
        raise ValueError("--taus and --target-flops go with neither --watch nor --sizes")
    if args.sizes is None:
        if args.plot is not None:
            raise ValueError("--plot draws what --sizes finds: give --sizes too")
        if args.checkpoint is not None and len(args.checkpoint) > 1:
            raise ValueError("several checkpoints are for --sizes; evaluate them one by one")
        return
    if args.watch is not None or args.image_size is not None:
        raise ValueError("--sizes goes with neither --watch nor --image-size")
    parse_sizes(args.sizes)
    if args.plot is not None:
        check_plot(args.plot)
        refuse_unwritable(args.plot, args.force)


def _check_rival(args: argparse.Namespace) -> None:
    if args.taus is None or args.sizes is None or args.checkpoint is None:
        raise ValueError("--rival is another network at --sizes beside the --taus: give both")
    if len(args.checkpoint) > 1:
        raise ValueError("--rival is set against one checkpoint; evaluate them one by one")
    if args.labels_from is not None:
        raise ValueError("--rival is set against by labels: leave --labels-from out")
    parse_sizes(args.sizes)
    if args.plot is not None:
        check_plot(args.plot)
        refuse_unwritable(args.plot, args.force)


def _of_rival(args: argparse.Namespace) -> argparse.Namespace:
    """The flags, for the rival, which runs at its own tau."""
    return argparse.Namespace(**vars(args) | {"tau": None, "image_size": None, "per_image": None})


def _curves(args: argparse.Namespace, processes: Processes) -> list[Curve]:
    """Read the checkpoints and open their data; what cannot be run is refused."""
    from sact_core.checkpoint import read

    _check(args, processes)
    curves = [Curve(file, prepare_job(read(file), args, processes)) for file in args.checkpoint]
    sized = curves
    if args.rival is not None:
        sized = [Curve(args.rival, prepare_job(read(args.rival), _of_rival(args), processes))]
        curves += sized
    for curve in sized:
        for size in parse_sizes(args.sizes) if args.sizes is not None else ():
            curve.job.at_size(size)
    if args.taus is not None:
        parse_taus(args.taus, curves[0].job.net.config, args.clamp_tau)
    if args.target_flops is not None:
        check_budget(curves[0].job, args.target_flops)
    return curves


def _print_taus(args: argparse.Namespace, curve: TauCurve, curves: Sequence[Curve]) -> None:
    file, rivals = curves[0].file, curves[1:]
    more = {"version": __version__, "command": args.command}
    print_taus(curve, file, args.json, more | (as_json(curve, rivals[0]) if rivals else {}))
    if not rivals:
        return
    if not args.json:
        print(f"\n{rival_table(curve, rivals[0])}")
    if args.plot is not None:
        job = curves[0].job
        found = [(file, job.at_tau(tau), each) for tau, each in curve.metrics.items()]
        found += rivals[0].found
        plot_rival(args.plot, curve, rivals[0], file, about_found(found, args.command))
        if not args.json:
            print(f"drawn: {args.plot}")


def _print_changes(args: argparse.Namespace, curve: Curve) -> None:
    """Run in both formats, and say what the one changes."""
    from sact_core.checkpoint import read, read_header

    other = argparse.Namespace(**vars(args) | {"precision": args.against})
    job, left_out = curve.job, Unreadable()
    found = count_changes(job, prepare_job(read(curve.file), other, Processes()).net, left_out)
    about: dict[str, Any] = {"dataset": job.source.name, "split": job.source.split}
    about |= origin(job.net, read_header(curve.file).content_hash, args.command)
    if job.net.config.halts:
        about["tau"] = job.tau
    if args.json:
        print(json.dumps(about | found.summary() | {"skipped": left_out.record()}))
        return
    at_tau = f", tau {job.tau:.4g}" if job.net.config.tau_conditioned else ""
    print(
        f"{job.net.config.name}, {curve.file}: {found.count:,} images of {job.source.name} "
        f"{job.source.split}, {job.net.computed_by} against {args.against}{at_tau}\n\n"
        f"{found.table()}"
    )
    if left_out:
        print(left_out.line(job.num_examples))


def _print_sizes(args: argparse.Namespace, curves: Sequence[Curve]) -> None:
    if args.plot is not None:
        found = [found for each in curves for found in each.found]
        plot_sizes(args.plot, curves, about_found(found, args.command))
    if args.json:
        networks = [curve.as_json() for curve in curves]
        print(json.dumps({"networks": networks, "version": __version__, "command": args.command}))
        return
    for curve in curves:
        source, count = curve.job.source, next(iter(curve.metrics.values())).count
        print(
            f"{curve.job.net.config.name}, {curve.file}: {count:,} images of {source.name} "
            f"{source.split}, {curve.job.net.computed_by}; "
            f"size: {curve.size_means} in pixels\n\n"
            f"{sizes_table(curve)}\n"
        )
        _say_left_out(curve.job, next(iter(curve.metrics.values())))
    if args.plot is not None:
        print(f"drawn: {args.plot}")


def _write(args: argparse.Namespace, found: Sequence[Found]) -> None:
    """Write the files that are asked for."""
    about = about_found(found, args.command) if args.table or args.per_image else {}
    if args.table:
        write_tables(args.table, found, about)
    if args.per_image is not None:
        job = found[0][1]
        assert job.by_image is not None
        own = [each for each in found if each[0] == found[0][0]]
        job.by_image.write(args.per_image, job.net, about_found(own, args.command))


def _say_left_out(job: Job, metrics: Metrics) -> None:
    """Name and count the images that could not be read; they are the same at every size."""
    if left_out := Unreadable(metrics.left_out):
        print(left_out.line(job.num_examples))


if __name__ == "__main__":
    raise SystemExit(main())
