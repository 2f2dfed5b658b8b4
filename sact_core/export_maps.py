"""Export ponder maps of a data set or of photographs to HDF5.

::

    python -m sact_core.export_maps --checkpoint NAME.h5 --dataset cifar10 --num-examples 1000 \\
        --out maps.h5
    python -m sact_core.export_maps photos/ --checkpoint NAME.h5 --out maps.h5
    torchrun --nproc-per-node=2 --local-addr=127.0.0.1 -m sact_core.export_maps …    # shared

Names and shapes are those of the authors' exporter; see `sact_core.maps.file`.
Memory stays constant. An interrupted export goes on when the same command is
run again. Images that cannot be read are left out, named and counted.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.ahead import batches_ahead
from sact_core.commands import (
    add_data_set,
    add_network,
    at_least_one,
    open_data_set,
    open_network,
    parse,
    progress,
    refuse_existing,
    run_together,
    spend_target,
)
from sact_core.data.records import Unreadable
from sact_core.maps.parts import PART_BYTES, Parts, alone, clear_parts, start
from sact_core.maps.share import Share
from sact_core.processes import Processes
from sact_core.shipped import that_halts

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.data.source import Example, Source
    from sact_core.maps.writing import Rows


def export(
    net: Net,
    source: Source,
    out: str | Path,
    *,
    num_examples: int | None = None,
    batch_size: int = 32,
    image_size: int | None = None,
    provenance: dict[str, Any] | None = None,
    num_workers: int = 2,
    processes: Processes | None = None,
    say: Callable[[str], None] = lambda _: None,
    show_progress: bool = False,
    anew: bool = False,
) -> tuple[int, Unreadable]:
    """Run a network over images and write what it did, a part at a time.

    Parameters
    ----------
    net : Net
        The network; not vanilla.
    source : Source
        What to run it on.
    out : str or Path
        File to write. What an interrupted export of the same left is used.
    num_examples : int, optional
        Only the first so many.
    batch_size : int
        Images run at a time.
    image_size : int, optional
        Side of the square input; the checkpoint's own where left out.
    provenance : dict, optional
        Where the maps come from; plain JSON values. Tau is added where the
        network takes any.
    num_workers : int
        Threads that read and prepare images.
    processes : Processes, optional
        Who shares the work; this one alone where left out.
    say : callable
        Told where an interrupted export goes on.
    show_progress : bool
        Show a progress bar on a terminal.
    anew : bool
        Do not go on with what an interrupted export left, but begin again.

    Returns
    -------
    num_images : int
        Images in the file (0 in processes other than the first).
    left_out : Unreadable
        Images that cannot be read.

    Raises
    ------
    ValueError
        If the network is vanilla, a value is out of range, no image can be read,
        or what an unfinished export left belongs to another.
    OSError
        If something cannot be written, or another process has stopped; run again to go on.
    """
    from sact_core.backends.memory import batch_that_fits
    from sact_core.maps.writing import map_attributes

    processes = processes or Processes()
    out = Path(out)
    preprocessing = net.preprocessing_for(image_size, "crop")
    if not net.config.halts:
        raise ValueError(
            "the network is vanilla: every position runs every unit, so it has no maps; "
            + that_halts()
        )
    for name, value in (("num_examples", num_examples), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    at = {} if net.tau is None else {"tau": net.tau}
    provenance = (provenance or {}) | {"precision": net.precision} | at
    provenance |= {"image_size": preprocessing.image_size, "fit": preprocessing.fit}
    total = min(num_examples or len(source), len(source))
    job = {
        **source.identity,
        "num_examples": total,
        "network": provenance.get("checkpoint"),
        "backend": net.backend,
        "image_size": preprocessing.image_size,
        "batch_size": batch_size,
        **({} if net.precision == "float32" else {"precision": net.precision}),
        **at,
    }
    part_size = _part_size(_image_bytes(net, image_size), batch_size)
    size = (preprocessing.image_size, preprocessing.image_size)
    together = batch_that_fits(net.plan, size, batch_size, processes.here)
    names = net.class_names or (
        source.class_names if len(source.class_names) == net.config.num_classes else ()
    )

    numbers = _numbers(net, source, say if processes.is_first else lambda _: None)

    def about(**more: Any) -> dict[str, Any]:
        return map_attributes(net.config, names, provenance | more)

    with contextlib.ExitStack() as stack:
        if processes.is_first:
            stack.enter_context(alone(out))
            if anew:
                clear_parts(out)
            parts = start(out, job, part_size)
            if before := parts.num_done():
                say(f"going on: {before} of {total} images are in {parts.folder}")
        parts = Parts(out, total, part_size)
        share = Share.of(parts, processes, job)
        mine = share.mine
        shown = None if show_progress and processes.is_first else False
        batches = [
            range(i, min(i + together, part.stop))
            for part in mine
            for i in range(part.start, part.stop, together)
        ]
        with progress(total, done=parts.num_done(), shown=shown) as bar:
            prepared = _prepared(net, source, image_size, batches, num_workers)
            for part in mine:
                found, left_out = _run_part(
                    net, numbers, part, together, batch_size, prepared, bar.update
                )
                share.write(part, found, left_out, about())
        share.finish()
        if not processes.is_first:
            return 0, Unreadable()
        left_out = parts.left_out()
        made = about(skipped=left_out.record()) if left_out else about()
        return parts.join(made), left_out


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.export_maps",
        description="Export ponder maps of a data set or of photographs to HDF5.",
    )
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="photographs, or folders of them"
    )
    add_network(parser)
    parser.add_argument("--out", required=True, metavar="FILE.h5", help="file to write")
    add_data_set(parser, default="photographs")
    parser.add_argument(
        "--num-examples", type=int, metavar="N", help="N only, of every class or folder its share"
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="default: 32")
    parser.add_argument("--image-size", type=int, metavar="N", help="side of the square input")
    parser.add_argument(
        "--num-workers", type=int, default=2, metavar="N", help="threads that read images"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace --out, and start an unfinished export anew"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    processes = Processes.from_environment()
    command = processes.command("export_maps", argv)
    return run_together(
        lambda: _export(args, command, processes),
        processes,
        "stopped; run the same command again to go on",
    )


def _export(args: argparse.Namespace, command: str, processes: Processes) -> None:
    out = Path(args.out)
    net, source = processes.agree(lambda: _open(args, processes))
    first = range(min(args.num_examples or len(source), len(source)))

    def images() -> Iterator[np.ndarray]:
        return (image for image, _, _ in source.spread().readable(first, Unreadable()))

    net = spend_target(net, args, images, "crop", processes)
    num_images, left_out = export(
        net,
        source,
        out,
        num_examples=args.num_examples,
        batch_size=args.batch_size,
        image_size=args.image_size,
        provenance=_provenance(args, source, command),
        num_workers=args.num_workers,
        processes=processes,
        say=lambda text: print(text, file=sys.stderr),
        show_progress=True,
        anew=args.force,
    )
    if processes.is_first:
        print(summary(out, num_images))
        if left_out:
            print(left_out.line(num_images + len(left_out)))


def _open(args: argparse.Namespace, processes: Processes) -> tuple[Net, Source]:
    """Check the flags, read the checkpoint and find the images."""
    from sact_core.checkpoint import read_header
    from sact_core.data.folders import photographs

    out = Path(args.out)
    refuse_existing(out, args.force)
    if out.is_dir() or not out.name:
        raise IsADirectoryError(f"--out must be a file, but {out} is a folder")
    if bool(args.images) == bool(args.dataset):
        raise ValueError("give photographs, or a data set with --dataset")
    at_least_one(args, "num_examples", "batch_size", "num_workers")
    if args.images:
        source = photographs(args.images)
    else:
        source = open_data_set(args, read_header(args.checkpoint).provenance)
    if args.num_examples is not None:
        source = source.spread()
    net = open_network(args, processes)
    net.preprocessing_for(args.image_size, "crop")
    return net, source


def summary(out: Path, num_images: int) -> str:
    """Say in one line what is in an exported file."""
    from sact_core.maps.file import MapFile

    with MapFile(out) as file:
        flops = file.root["flops_exact"][()].mean()
        labels, predictions = file.root["labels"][()], file.root["predictions"][()]
    known = labels >= 0
    accuracy = f", accuracy {(labels == predictions)[known].mean():.2%}" if known.any() else ""
    size = out.stat().st_size / 1e6
    return (
        f"{out}: {num_images} images, {flops / 1e6:,.1f} MFLOPs on average{accuracy}; "
        f"{size:,.1f} MB"
    )


def _part_size(image_bytes: int, batch_size: int) -> int:
    """Images of a part: whole batches, unless one batch is more than a part should hold."""
    images = max(1, PART_BYTES // image_bytes)
    return images if images < batch_size else images // batch_size * batch_size


def _image_bytes(net: Net, image_size: int | None) -> int:
    """Uncompressed bytes that one image takes in the file."""
    side = net.preprocessing_for(image_size, "crop").image_size
    numbers = side * side * 5 + net.config.num_classes
    for block, (height, width) in zip(
        net.plan.blocks, net.plan.block_sizes((side, side)), strict=True
    ):
        numbers += height * width * (len(block.units) + 2)
    return 4 * numbers


def _numbers(net: Net, source: Source, say: Callable[[str], None]) -> dict[int, int]:
    """The network's number of every class of the images; none where they do not fit."""
    from sact_core.data.classes import class_numbers

    ours, theirs = net.class_names, source.class_names
    if not theirs:
        return {}
    try:
        numbers = class_numbers(ours, net.config.num_classes, theirs, source.name)
    except ValueError as error:
        say(f"what the images show is left out: {error}")
        return {}
    return dict(enumerate(numbers.tolist()))


def _prepared(
    net: Net,
    source: Source,
    image_size: int | None,
    batches: Sequence[range],
    num_workers: int,
) -> Iterator[list[Example | Exception]]:
    """Network inputs of each batch, or why there is none, read two batches ahead."""
    from sact_core.preprocess import check_image

    def one(index: int) -> Example | Exception:
        try:
            [(image, label, name)] = source.read([index])
            check_image(image)
        except (ValueError, OSError, RuntimeError) as error:
            return error
        return net.see(image, image_size, "crop").x, label, name  # an error stops the command

    return batches_ahead(one, batches, num_workers)


def _run_part(
    net: Net,
    numbers: Mapping[int, int],
    part: range,
    together: int,
    batch_size: int,
    prepared: Iterator[list[Example | Exception]],
    update: Callable[[int], Any],
) -> tuple[Rows | None, Unreadable]:
    """Run one part, so many images together; its rows, or None if no image could be read."""
    from sact_core.data.images import ImageError
    from sact_core.maps.writing import map_rows

    found: list[Rows] = []
    left_out = Unreadable()
    for begin in range(part.start, part.stop, together):
        batch, good = next(prepared), []
        for index, example in enumerate(batch, begin):
            if isinstance(example, Exception):
                known = example.name if isinstance(example, ImageError) else None
                left_out.add(index, known or f"example {index}", example)
            else:
                good.append(example)
        if good:
            x = np.concatenate([each for each, _, _ in good])
            labels, names = [numbers.get(k, -1) for _, k, _ in good], [name for *_, name in good]
            found.append(map_rows(net.config, x, net.forward(x), names, labels, batch_size))
        update(len(batch))
    if not found:
        return None, left_out
    return {name: np.concatenate([rows[name] for rows in found]) for name in found[0]}, left_out


def _provenance(args: argparse.Namespace, source: Source, command: str) -> dict[str, Any]:
    from sact_core import __version__
    from sact_core.checkpoint import read_header

    header = read_header(args.checkpoint)
    return {
        "command": command,
        "checkpoint": {"name": Path(args.checkpoint).name, "content_hash": header.content_hash},
        "examples": source.identity,
        "backend": args.backend,
        "version": __version__,
        "packages": {"sact_core": __version__, "numpy": np.__version__},
    }


if __name__ == "__main__":
    raise SystemExit(main())
