"""Draw figures for a paper, and write their tables.

::

    python -m sact_core.figure maps cat.jpg dog.jpg --checkpoint cifar10-anytau \\
        --taus 0.002 0.02 0.2 --out maps.pdf maps.svg
    python -m sact_core.figure maps cat.jpg --checkpoint A.h5 B.h5 --image-size 256 --out maps.png
    python -m sact_core.figure curve cifar10-anytau cifar10 --out curve.pdf curve.tex curve.csv

The ending of a file says what it is: a figure (.svg, .pdf, .png) of the width in inches that
is asked for, or, of `curve`, a table (.csv, .tex with booktabs, .md). Each file carries the
networks with their hashes, tau, size, fit, version and this command.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core import __version__
from sact_core.commands import (
    add_network,
    build_network,
    parse,
    refuse_unwritable,
    run,
    spend_target,
)
from sact_core.config import FITS
from sact_core.extras import need
from sact_core.figure.maps import FONT_SIZE, LABELS, MOST_COLUMNS, MOST_ROWS, WIDTH
from sact_core.figure.saving import FIGURES
from sact_core.processes import Processes
from sact_core.shipped import that_halts
from sact_core.tables import TABLES
from sact_core.texts import shown

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.figure.maps import Cell
    from sact_core.result import Result

COLOUR_MAPS = ("viridis", "cividis", "inferno", "magma", "plasma")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.figure", description="Figures and tables for a paper."
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    maps = kinds.add_parser("maps", help="images and their maps, by tau or by network")
    maps.add_argument("images", nargs="+", metavar="IMAGE", help="photographs, one row each")
    maps.add_argument(
        *("--checkpoint",),
        nargs="+",
        required=True,
        metavar="FILE",
        help="networks, or their names; FILE@TAU for one price alone",
    )
    price = add_network(maps, checkpoint=False)
    price.add_argument("--taus", nargs="+", type=float, metavar="TAU", help="one column each")
    maps.add_argument("--image-size", type=int, metavar="N", help="longer side N pixels")
    maps.add_argument("--fit", choices=FITS, help="as of ponder")
    maps.add_argument("--metric", choices=tuple(LABELS), default="ponder_cost")
    maps.add_argument("--colour-map", choices=COLOUR_MAPS, default=COLOUR_MAPS[0])
    maps.add_argument(
        "--limits",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values of the first and the last colour (default: 0.1th and 99.9th percentile of "
        "all maps)",
    )
    maps.add_argument(
        *("--opacity",),
        type=float,
        default=1.0,
        metavar="SHARE",
        help="lay maps over the grey image, with this share of the map (default: 1, the map alone)",
    )
    maps.add_argument(
        *("--overlay",),
        type=float,
        metavar="SHARE",
        help="beside each map, the map over the grey image, with this share of the map",
    )
    maps.add_argument(
        *("--difference",), action="store_true", help="beside two maps, the second minus the first"
    )
    curve = kinds.add_parser("curve", help="accuracy against FLOPs")
    curve.add_argument(
        "networks",
        nargs="+",
        metavar="FILE",
        help="checkpoints, their names, or what evaluate --taus … --json printed",
    )
    curve.add_argument("--height", type=float, help="in inches (default: 0.62 of the width)")
    for each in (maps, curve):
        add = each.add_argument
        add("--width", type=float, default=WIDTH, help=f"in inches (default: {WIDTH})")
        add("--font-size", type=float, default=FONT_SIZE, help=f"in points (default: {FONT_SIZE})")
        ends = " ".join(FIGURES if each is maps else (*FIGURES, *TABLES))
        add("--out", nargs="+", required=True, metavar="FILE", help=f"end in {ends}")
        add("--force", action="store_true", help="replace files")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    command = Processes().command("figure", argv)
    return run(lambda: _draw(args, command))


def _draw(args: argparse.Namespace, command: str) -> None:
    paths = [Path(file) for file in args.out]
    known = FIGURES if args.kind == "maps" else (*FIGURES, *TABLES)
    for path in paths:
        if path.suffix.lower() not in known:
            raise ValueError(f"--out {shown(path)} must end in one of {' '.join(known)}")
        refuse_unwritable(path, args.force)
    for flag, most in (("width", 50), ("height", 50), ("font_size", 100)):
        value = getattr(args, flag, None)
        if value is not None and not 0.5 <= value <= most:
            name = flag.replace("_", "-")
            raise ValueError(f"--{name} must be from 0.5 to {most}, got {value:g}")
    if any(path.suffix.lower() in FIGURES for path in paths):
        need("plots", "a figure", "matplotlib")
    about = {"version": __version__, "command": command}
    (_draw_maps if args.kind == "maps" else _draw_curve)(args, paths, about)
    print("\n".join(map(shown, paths)))


def _draw_curve(args: argparse.Namespace, paths: list[Path], about: dict[str, Any]) -> None:
    from sact_core import tables
    from sact_core.figure import curve, saving
    from sact_core.figure.measured import read_measured

    networks = [read_measured(source) for source in args.networks]
    curve.refuse_others(networks)
    title = "accuracy against FLOPs"
    about = {"title": title, "networks": curve.about(networks), **about}
    for path in paths:
        if path.suffix.lower() in TABLES:
            tables.write_table(path, curve.HEADER, curve.rows(networks), about)
            continue
        with saving.style(args.font_size):
            height = args.height or 0.62 * args.width
            saving.write_figure(path, curve.draw(curve.lines(networks), args.width, height), about)


def _draw_maps(args: argparse.Namespace, paths: list[Path], about: dict[str, Any]) -> None:
    from sact_core.data.images import read_image
    from sact_core.figure import maps, saving
    from sact_core.flops import dense_flops
    from sact_core.maps.limits import percentile_limits

    if len(args.images) > MOST_ROWS:
        raise ValueError(
            f"a figure has room for {MOST_ROWS} images, got {len(args.images)}: draw many with "
            "python -m sact_core.draw_maps"
        )
    fit = args.fit or ("keep" if args.image_size else None)
    between = args.limits
    if between is not None and not between[0] < between[1]:
        raise ValueError(f"--limits must rise, got {between[0]:g} {between[1]:g}")
    images = [read_image(path) for path in args.images]
    columns = _networks(args, lambda: images, fit)
    if len(columns) > MOST_COLUMNS:
        raise ValueError(f"a figure has room for {MOST_COLUMNS} maps in a row, got {len(columns)}")
    if args.difference and len(columns) != 2:
        raise ValueError(f"--difference is of two maps in a row, got {len(columns)}")
    seen, cells = [], []
    for image in images:
        row = []
        for _, net, _ in columns:
            one = net.see(image, args.image_size, fit)
            result = net.forward(one.x)
            dense = int(dense_flops(net.plan, result.input_size).total[0])
            row.append(_cell(args, net, result, maps.share_note(int(result.flops[0]), dense)))
        seen.append(columns[0][1].see(image, args.image_size, fit).pixels)
        cells.append(row)
    if between is None:
        low, high = percentile_limits(lambda: (cell.values for row in cells for cell in row))
        between = (low, high if high > low else low + 1)
    about = {
        "title": f"{LABELS[args.metric]}: " + ", ".join(shown(Path(p).name) for p in args.images),
        "networks": [record for _, _, record in columns],
        "image_size": args.image_size or columns[0][1].preprocessing.image_size,
        "fit": fit or columns[0][1].preprocessing.fit,
        "limits": list(between),
        "opacity": args.opacity,
        **about,
    }
    colours = maps.Colours(tuple(between), args.colour_map, LABELS[args.metric])
    titles, cells = maps.beside([title for title, _, _ in columns], cells, args.overlay)
    if args.difference:
        titles, cells = maps.with_difference(titles, cells)
    with saving.style(args.font_size):
        figure = maps.draw(seen, titles, cells, colours, args.width)
        for path in paths:
            saving.write_figure(path, figure, about)


def _cell(args: argparse.Namespace, net: Net, result: Result, note: str) -> Cell:
    from sact_core.figure import maps

    return maps.Cell(maps.values_of(net.config, result, args.metric), note, args.opacity)


def _networks(
    args: argparse.Namespace, images: Any, fit: str | None
) -> list[tuple[str, Net, dict[str, Any]]]:
    """Columns of the grid: what is above each, its network at its price, and its record."""
    from sact_core.checkpoint import read
    from sact_core.checkpoint.records import trained_at
    from sact_core.checkpoint.writing import content_hash

    found = []
    for given in args.checkpoint:
        file, own = _at(given)
        checkpoint = read(file)
        net = build_network(checkpoint, args)
        taus = [own] if own is not None else args.taus or [args.tau]
        taus = taus if net.config.halts else [None]
        at = [net if tau is None else net.at_tau(tau, args.clamp_tau) for tau in taus]
        if args.target_flops is not None and own is None:
            at = [spend_target(net, args, images, fit)]
        for each in at:
            tau = each.tau if each.tau is not None else trained_at(checkpoint)
            words = [net.config.title] * (len(args.checkpoint) > 1)
            words += [f"τ = {tau:.4g}"] if tau is not None else []
            record = {
                "name": net.config.name,
                "file": shown(Path(file).name),
                "content_hash": content_hash(checkpoint),
                "tau": tau,
                "backend": net.backend,
                "precision": net.precision,
            }
            found.append(("\n".join(words or [net.config.title]), each, record))
    if not any(net.config.halts for _, net, _ in found):
        first = _at(args.checkpoint[0])[0]
        raise ValueError(f"{shown(first)} is a vanilla network and has no map; {that_halts(first)}")
    often = Counter(title for title, *_ in found)
    return [
        (f"{title}\n{record['file']}" if often[title] > 1 else title, each, record)
        for title, each, record in found
    ]


def _at(given: str) -> tuple[str, float | None]:
    """A network and the price that stands behind its name, where one does."""
    file, _, price = given.rpartition("@")
    if not file or Path(given).exists():
        return given, None
    try:
        return file, float(price)
    except ValueError:
        return given, None


if __name__ == "__main__":
    sys.exit(main())
