"""See where a network spends its computation on photographs.

::

    python -m sact_core.ponder cat.jpg --checkpoint pretrained/NAME.h5 --out maps
    python -m sact_core.ponder *.jpg --checkpoint NAME.h5 --out maps --image-size 480
    python -m sact_core.ponder photos/ --checkpoint NAME.h5 --out maps --resume

Prints the predicted classes, the FLOPs of each block against those of the dense
network and the units that positions ran. Writes into the folder, for each
image ``NAME``::

    NAME_im.png         what the network saw
    NAME_ponder.png     the ponder map: the blocks' ponder costs, or with --metric the units
                        that ran, enlarged and summed
    NAME_overlay.png    the map over the image
    NAME_colorbar.png   its colours, in units
    NAME_maps.h5        all numbers, in the layout of sact_core.maps.file

Of a folder all photographs are taken, those of its sub-folders into sub-folders.

``--target-flops SHARE`` runs all of them at the one tau at which they spend this
share of dense together, in a network trained with ``--tau-range``.

With ``--html FILE.html``, beside ``--out`` or in its place, one file that opens in any
browser without a network, to hand on: image, maps (of a network for every tau those of all
prices, under a slider), the film of units, why a position stopped, FLOPs, predictions and
where they come from, see `sact_core.handout`.

With ``--image-size`` the whole photograph is taken, its longer side resized to
that many pixels; else it is prepared as the checkpoint says.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.commands import (
    add_network,
    open_network,
    parse,
    refuse_existing,
    run,
    spend_target,
)
from sact_core.config import FITS
from sact_core.extras import need
from sact_core.files import make_folder, require_writable
from sact_core.maps.drawing import COLOUR_MAPS
from sact_core.ponder_files import (
    clear_unfinished,
    is_done,
    output_paths,
    output_stems,
    refuse_outputs,
)
from sact_core.processes import Processes
from sact_core.shipped import that_halts
from sact_core.texts import shown, told

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.handout import Gathering
    from sact_core.network import Conv
    from sact_core.preprocess import Seen
    from sact_core.result import Result

Photographs = list[tuple[Path, Path]]

SCALES = ("percentile", "units")
LABELS = {"ponder_cost": "ponder cost, units", "num_units": "units run, units"}
NAMED = 20  # photographs of a command, in what its files say of their origin
OPACITY = 0.55  # of the map over the image


@dataclass(frozen=True, eq=False)
class Pondered:
    """One photograph and what a network did with it.

    Attributes
    ----------
    name : str
        The file's name.
    seen : Seen
        The photograph as the network saw it.
    result : Result
        With ``n = 1``.
    """

    name: str
    seen: Seen
    result: Result


def ponder(
    net: Net,
    path: str | Path,
    image_size: int | None = None,
    fit: str | None = None,
    name: str | None = None,
) -> Pondered:
    """Read one photograph and run a network on it.

    Parameters
    ----------
    net : Net
        The network.
    path : str or Path
        The photograph.
    image_size : int, optional
        Side of the input in pixels; its longer side where the aspect is kept.
    fit : str, optional
        ``"crop"``, ``"square"`` or ``"keep"``. Left out, as the checkpoint says; but with an
        ``image_size`` the aspect is kept.
    name : str, optional
        What to call it; the file's name where left out.

    Raises
    ------
    ValueError
        If the photograph cannot be read, or a value is out of range.
    OSError
        If there is no such file.
    """
    from sact_core.data.images import read_image

    seen = net.see(read_image(path), image_size, fit or ("keep" if image_size else None))
    return Pondered(name or shown(Path(path).name), seen, net.forward(seen.x))


def describe(net: Net, pondered: Pondered) -> str:
    """Tell what a network did with a photograph, in a few lines."""
    from sact_core.flops import count_flops, dense_flops

    result = pondered.result
    height, width = result.input_size
    lines = [f"{pondered.name}: {width} x {height} pixels"]
    probabilities = result.probabilities[0]
    for i in np.argsort(-probabilities, kind="stable")[:5]:
        name = shown(net.class_names[i]) if net.class_names else f"class {i}"
        lines.append(f"  {probabilities[i]:7.2%}  {name}")
    dense = dense_flops(net.plan, result.input_size)
    lines.append(
        f"  {'':8} {'MFLOPs':>10}  {'of dense':>9}  units run, mean (least to most) of all"
    )
    ran, plan = count_flops(net.plan, result.positions), net.plan

    def line(conv: Conv) -> str:
        return _flops_line(conv.name, ran.layers[conv.name][0], dense.layers[conv.name][0], "")

    lines.append(line(plan.stem))
    for block, planned in zip(result.blocks, plan.blocks, strict=True):
        units = ""
        if block.num_units is not None:
            run = block.num_units
            units = f"{run.mean():.2f} ({run.min()} to {run.max()}) of {len(planned.units)}"
        lines.append(_flops_line(block.name, block.flops[0], dense.block(block.name)[0], units))
    lines += [line(conv) for conv in (plan.head, plan.logits) if conv is not None]
    lines.append(_flops_line("network", result.flops[0], dense.total[0], ""))
    return "\n".join(lines)


def limits(
    net: Net, values: np.ndarray, scale: str, metric: str = "ponder_cost"
) -> tuple[float, float]:
    """Choose the values of the first and last colour of a ponder map.

    Parameters
    ----------
    net : Net
        The network.
    values : np.ndarray [shape=(H, W)]
        The map, in units.
    scale : str
        ``"percentile"``: from the 0.1th to the 99.9th of this map. ``"units"``:
        the least and the most that the network can spend, the same for any image.
    metric : str
        What the map shows, one of `LABELS`.
    """
    from sact_core.maps.limits import percentile_limits, unit_limits

    if scale == "units":
        return unit_limits(net.config.units_per_block, metric)
    return percentile_limits(lambda: [values])


def write_outputs(
    net: Net,
    pondered: Pondered,
    stem: Path,
    provenance: dict[str, Any],
    colour_map: str = "viridis",
    scale: str = "percentile",
    metric: str = "ponder_cost",
    opacity: float = OPACITY,
    between: tuple[float, float] | None = None,
) -> list[Path]:
    """Write the pictures and the numbers of one photograph.

    Parameters
    ----------
    net : Net
        The network. It must not be vanilla.
    pondered : Pondered
        What it did.
    stem : Path
        Beginning of the files' names; see `sact_core.ponder_files`.
    provenance : dict
        What the files say of their origin; plain JSON values.
    colour_map : str
        One of `sact_core.maps.drawing.COLOUR_MAPS`.
    scale : str
        As in `limits`.
    metric : str
        What the map shows, one of `LABELS`.
    opacity : float
        Of the map over the image, in [0, 1].
    between : tuple of float, optional
        Values of the first and last colour, in place of the scale's.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    OSError
        If one cannot be written.
    """
    from sact_core.maps import drawing
    from sact_core.maps.writing import map_attributes, map_rows, write_maps

    values, pixels = pondered.result.map(metric)[0], pondered.seen.pixels
    between = between or limits(net, values, scale, metric)
    colours = drawing.colour(values, between, colour_map)
    paths = output_paths(stem)
    said = {**provenance, "image": pondered.name, "input_size": list(pondered.result.input_size)}
    said |= {"metric": metric, "colour_map": colour_map, "limits": [float(b) for b in between]}
    said["opacity"] = opacity
    for path, picture in zip(
        paths, (pixels, colours, drawing.blend(pixels, colours, opacity)), strict=False
    ):
        drawing.write_picture(path, drawing.enlarge(picture), said)
    bar = drawing.colour_bar(between, colour_map, LABELS[metric])
    drawing.write_picture(paths[3], bar, said)
    about = map_attributes(net.config, net.class_names, provenance)
    rows = map_rows(net.config, pondered.seen.x, pondered.result, [pondered.name])
    write_maps(paths[4], rows, about)
    return paths


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.ponder",
        description="See where a network spends its computation on photographs.",
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="photographs, or folders of them"
    )
    add_network(parser)
    parser.add_argument("--out", metavar="DIR", help="folder; made if absent")
    parser.add_argument(
        "--html", metavar="FILE", help="one file for all, to look into without Python or network"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="take the whole image, its longer side N pixels"
    )
    parser.add_argument(
        "--fit",
        choices=FITS,
        help="crop as in the evaluation, the central square, or keep the aspect",
    )
    parser.add_argument("--metric", choices=tuple(LABELS), default="ponder_cost")
    parser.add_argument("--colour-map", choices=COLOUR_MAPS, default="viridis")
    parser.add_argument(
        "--opacity",
        type=float,
        default=OPACITY,
        metavar="SHARE",
        help=f"of the map over the image, 0 to 1 (default: {OPACITY})",
    )
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument(
        "--scale",
        choices=SCALES,
        default="percentile",
        help="colours between the 0.1th and 99.9th percentile of each map (default), or from the "
        "least to the most units that the network can spend",
    )
    scale.add_argument(
        "--limits",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values of the first and the last colour, in units",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--force", action="store_true", help="replace files")
    again.add_argument(
        "--resume", action="store_true", help="go on: leave out photographs that are done"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    command = _command(argv, args.images)
    again = ": go on with --resume" if args.out and not args.html else ""
    return run(lambda: _ponder_all(args, command), f"stopped; what was written is kept{again}")


def _ponder_all(args: argparse.Namespace, command: str) -> int:
    between = _between(args.limits)
    photos, stems = _check(args)
    net = open_network(args)
    if not net.config.halts:
        raise ValueError(
            f"{args.checkpoint} is a vanilla network: every position runs every unit, so it "
            f"has no ponder map; {that_halts(args.checkpoint)}"
        )
    fit = args.fit or ("keep" if args.image_size else None)
    preprocessing = net.preprocessing_for(args.image_size, fit)
    net = spend_target(net, args, lambda: _readable(photos), fit)
    provenance = _provenance(net, args, command)
    provenance |= {"image_size": preprocessing.image_size, "fit": preprocessing.fit}
    if args.out is not None:
        make_folder(args.out)
        if args.resume:
            clear_unfinished([stem for stem in stems if stem is not None])
    if args.html is None:
        return _ponder_each(args, net, fit, photos, stems, provenance, between, None)
    from sact_core.handout import Gathering

    require_writable(args.html)
    stretch = args.scale == "percentile"
    handout = Gathering(net, preprocessing, provenance, args.metric, stretch, between)
    try:
        code = _ponder_each(args, net, fit, photos, stems, provenance, between, handout)
    finally:  # what was done is kept, whatever stopped the rest
        if handout.scenes:
            handout.write(args.html, colour_map=args.colour_map, opacity=args.opacity)
    if handout.num_left_out:
        print(
            f"error: {args.html} is full with {len(handout.scenes):,} photographs; "
            f"{handout.num_left_out:,} more were left out of it: write them to a second file, or "
            f"choose a smaller --image-size",
            file=sys.stderr,
        )
        return 2
    return code


def _check(args: argparse.Namespace) -> tuple[Photographs, list[Path | None]]:
    """Refuse flags that do not go together, and files that are there.

    Returns
    -------
    list of (Path, Path)
        The photographs, as `sact_core.data.folders.named_photographs` lists them.
    list of Path
        The stems of their outputs.
    """
    from sact_core.data.folders import named_photographs

    if args.out is None and args.html is None:
        raise ValueError("give --out DIR, --html FILE or both: where to write")
    if args.html is not None:
        if args.resume:
            raise ValueError("--resume goes on with --out; --html is written whole: leave one out")
        refuse_existing(args.html, args.force)
        if Path(args.html).suffix.lower() != ".html":
            raise ValueError(f"--html {shown(args.html)} must end in .html")
    if not 0 <= args.opacity <= 1:
        raise ValueError(f"--opacity {args.opacity:g} does not lie between 0 and 1")
    if args.out is None:
        photos = named_photographs(args.images)
        return photos, [None] * len(photos)
    need("plots", "ponder, which draws what it finds,", "matplotlib")
    photos = _beside(named_photographs(args.images), args.images, Path(args.out))
    stems = output_stems([name for _, name in photos], Path(args.out))
    if not args.resume:
        refuse_outputs(stems, args.force)
    return photos, [*stems]


def _beside(photos: Photographs, given: Sequence[str], out: Path) -> Photographs:
    """Leave out what was drawn into a folder of the photographs' own before."""
    real = os.path.realpath(out)
    folders = [os.path.realpath(path) for path in given if os.path.isdir(path)]
    if real in folders:
        raise ValueError(
            f"--out {shown(out)} is the folder of the photographs, in which the pictures would be "
            f"taken for more of them: give another"
        )
    if not any(real.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders):
        return photos
    within = real + os.sep
    kept = [each for each in photos if not os.path.realpath(each[0]).startswith(within)]
    if not kept:
        raise ValueError(f"there are no photographs but those in --out {shown(out)}")
    return kept


def _ponder_each(
    args: argparse.Namespace,
    net: Net,
    fit: str | None,
    photos: Photographs,
    stems: Sequence[Path | None],
    provenance: dict[str, Any],
    between: tuple[float, float] | None,
    handout: Gathering | None,
) -> int:
    from sact_core.backends import NotFinite

    num_failed, made = 0, set[Path]()
    for (path, name), stem in zip(photos, stems, strict=True):
        if stem is not None and args.resume and is_done(stem, shown(name), provenance):
            continue
        try:
            pondered = ponder(net, path, args.image_size, fit, shown(name))
            if stem is not None:
                if stem.parent not in made:
                    make_folder(stem.parent)
                    made.add(stem.parent)
                look = (args.colour_map, args.scale, args.metric, args.opacity, between)
                write_outputs(net, pondered, stem, provenance, *look)
            if handout is not None:
                handout.add(pondered.name, pondered.seen, pondered.result)
        except NotFinite:
            raise  # not this photograph's fault
        except (ValueError, OSError) as error:
            print(f"error: {told(error)}", file=sys.stderr)
            num_failed += 1
            continue
        print(describe(net, pondered), flush=True)
    if num_failed and len(photos) > 1:
        print(f"error: {num_failed} of {len(photos)} images were left out", file=sys.stderr)
    return 2 if num_failed else 0


def _between(ends: Sequence[float] | None) -> tuple[float, float] | None:
    if ends is None:
        return None
    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"--limits {low:g} {high:g}: the first must be below the second")
    return low, high


def _readable(photos: Photographs) -> Iterator[np.ndarray]:
    """Those photographs that can be read; what is wrong with the others is said later."""
    from sact_core.data.images import read_image

    for path, _ in photos:
        with contextlib.suppress(ValueError, OSError):
            yield read_image(path)


def _command(argv: Sequence[str], images: Sequence[str]) -> str:
    """What was typed, but for the flag that goes on, and with the first of many photographs."""
    left_out = set(images[NAMED:])
    words = [word for word in argv if word not in left_out and word != "--resume"]
    more = f" … ({len(images):,} photographs)" if left_out else ""
    return Processes().command("ponder", words) + more


def _provenance(net: Net, args: argparse.Namespace, command: str) -> dict[str, Any]:
    from sact_core import __version__
    from sact_core.checkpoint import read_header

    return {
        "command": command,
        "checkpoint": {
            "name": Path(args.checkpoint).name,
            "content_hash": read_header(args.checkpoint).content_hash,
        },
        "network": net.config.name,
        "backend": net.backend,
        "precision": net.precision,
        **({} if net.tau is None else {"tau": net.tau}),
        "version": __version__,
        "packages": {"sact_core": __version__, "numpy": np.__version__},
    }


def _flops_line(name: str, flops: int, dense: int, units: str) -> str:
    return f"  {name:8} {flops / 1e6:10,.1f}  {flops / dense:9.1%}  {units}".rstrip()


if __name__ == "__main__":
    raise SystemExit(main())
