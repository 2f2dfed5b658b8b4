"""Score ponder maps against where people looked.

::

    python -m sact_core.saliency DIR --checkpoint NAME.h5 --image-size 320
    python -m sact_core.saliency DIR --checkpoint NAME.h5 --blur 0.04 --centre-weight 0.5
    python -m sact_core.saliency DIR --checkpoint NAME.h5 --out maps       # as pictures too
    python -m sact_core.saliency DIR --checkpoint A.h5 ANYTAU.h5 --taus 0.02 0.2 \\
        --figure looks.png --table looks.md

``DIR`` is laid out like CAT2000: ``Stimuli/<Category>/NNN.jpg`` and
``FIXATIONLOCS/<Category>/NNN.mat``. Prints, by category and in total, AUC-Judd
(see `sact_core.measures.gaze`) of

- the ponder map of the whole photograph, its longer side ``--image-size``;
- the centre: a Gaussian in the middle that knows nothing of the photograph;
- the map blurred;
- the map after post-processing: blurred, and mixed with that Gaussian;
- people: one half of the fixations as a map for the other half, which is the ceiling.

How much to blur and to mix is chosen on every other photograph of each
category, and only the rest is scored; with ``--blur`` and ``--centre-weight``
all are. Totals, and by how much maps are ahead of the centre on the same photographs, have
intervals over photographs (percentile bootstrap). A photograph
that cannot be used is left out, named and counted. ``--figure`` draws three of them:
where people looked, the map, and both; ``--table`` writes the totals.

Source: after the experiment of Figurnov et al. 2017, arXiv:1612.02297, on CAT2000.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core import __version__
from sact_core.commands import (
    at_least_one,
    origin,
    parse,
    progress,
    refuse_existing,
    refuse_unwritable,
    run,
)
from sact_core.commands.over_split import Priced, add_networks, priced
from sact_core.extras import need
from sact_core.figure.looks import MOST, Look, draw_to, smaller
from sact_core.figure.saving import FIGURES
from sact_core.files import make_folder, require_writable
from sact_core.measures.cat2000 import Stimulus, read_stimulus, stimuli
from sact_core.measures.gaze import auc_judd, blur
from sact_core.measures.saliency import AHEAD, SCORES, Saliency, score, table
from sact_core.processes import Processes
from sact_core.tables import TABLES, write_table
from sact_core.texts import shown

if TYPE_CHECKING:
    from sact_core.backends import Net
_AHEAD = [name.replace("_", " ") for name in AHEAD]
HEADER = ("network", "tau", *SCORES, *_AHEAD, "blur, centre", "photographs")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.saliency",
        description="Score ponder maps against where people looked (AUC-Judd).",
    )
    add = parser.add_argument
    add("folder", metavar="DIR", help="holds Stimuli and FIXATIONLOCS, as CAT2000 does")
    add_networks(parser)
    add("--image-size", type=int, metavar="N", help="longer side (default: the checkpoint's)")
    add("--num-examples", type=int, metavar="N", help="the first N of each category only")
    add("--blur", type=float, metavar="S", help="standard deviation, share of the longer side")
    add("--centre-weight", type=float, metavar="W", help="share of the centre, from 0 to 1")
    add("--out", metavar="DIR", help="folder, made if absent: write the processed maps as PNG")
    add("--figure", metavar="FILE", help=f"draw three photographs; ends in {' '.join(FIGURES)}")
    add(
        "--photographs",
        nargs="+",
        metavar="NAME",
        help=f"of --figure, at most {MOST}, as Category/NNN.jpg (default: the first three scored)",
    )
    add("--width", type=float, default=9.0, help="of --figure, in inches (default: 9)")
    add("--table", metavar="FILE", help=f"write the totals; ends in {' '.join(TABLES)}")
    add("--force", action="store_true", help="replace files")
    add("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    command = Processes().command("saliency", argv)
    return run(lambda: _score(args, command))


def _score(args: argparse.Namespace, command: str) -> None:
    processing = _processing(args)
    at_least_one(args, "num_examples", "num_threads")
    _check_outputs(args)
    found = stimuli(args.folder, args.num_examples)
    networks = list(priced(args, lambda *_: _readable(found), "keep"))
    if args.out is not None and len(networks) > 1:
        raise ValueError("--out holds the maps of one network at one price")
    pictures = {} if args.out is None else {s.name: _picture(Path(args.out), s) for s in found}
    for picture in pictures.values():
        refuse_existing(picture, args.force)
    for folder in {picture.parent for picture in pictures.values()}:
        # Tried where it would be made, and not made: there may be nothing to write.
        absent = [each for each in (folder, *folder.parents) if not each.exists()]
        require_writable(absent[-1] if absent else folder / "map.png")
    results = []
    looks: list[Look] = []

    def write(stimulus: Stimulus, values: np.ndarray, size: tuple[int, int]) -> None:
        if pictures:
            _write_map(pictures[stimulus.name], values, size)

    for one in networks:
        with progress(len(found)) as bar:
            results.append(score(one.net, found, args.image_size, processing, write, bar.update))
        if args.figure is not None and one is networks[0]:
            looks = _looks(args, one.net, found, results[0])
    for name, reason in results[0].skipped.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    sizes = [args.image_size or one.net.preprocessing.image_size for one in networks]
    _write(args, command, networks, results, looks)
    if args.json:
        each = [
            one.record
            | _as_json(args, result)
            | origin(one.net, one.record["content_hash"], command, size, "keep")
            for one, result, size in zip(networks, results, sizes, strict=True)
        ]
        print(json.dumps(each[0] if len(each) == 1 else {"networks": each}))
        return
    for one, result, size in zip(networks, results, sizes, strict=True):
        left_out = f", {len(result.skipped)} left out" if result.skipped else ""
        tau = f", tau {one.net.tau:.4g}" if one.net.tau is not None else ""
        print(
            f"{one.net.config.name}, {one.file}{tau}: AUC-Judd on {result.num_images:,} "
            f"photographs of {args.folder}{left_out}, longer side {size} pixels\n\n{table(result)}"
            + "\n"
            * (one is not networks[-1])
        )


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse figures and tables that cannot be written, before anything is read."""
    for flag, known in (("figure", FIGURES), ("table", TABLES)):
        file = getattr(args, flag)
        if file is None:
            continue
        if Path(file).suffix.lower() not in known:
            raise ValueError(f"--{flag} {shown(file)} must end in {' '.join(known)}")
        refuse_unwritable(file, args.force)
    if not 2 <= args.width <= 50:
        raise ValueError(f"--width must be from 2 to 50, got {args.width:g}")
    if args.figure is not None:
        need("plots", "a figure", "matplotlib")
    elif args.photographs is not None:
        raise ValueError("--photographs are those of --figure: give a file")
    if args.photographs is not None and len(args.photographs) > MOST:
        raise ValueError(f"--photographs takes {MOST} at most, got {len(args.photographs)}")


def _looks(
    args: argparse.Namespace, net: Net, found: Sequence[Stimulus], result: Saliency
) -> list[Look]:
    """What the figure shows."""
    by_name = {s.name: s for s in found if s.name not in result.skipped}
    names = args.photographs or list(by_name)[:3]
    absent = [name for name in names if name not in by_name]
    if absent:
        raise ValueError(f"there is no photograph {shown(absent[0])} with fixations in the folder")
    looks = []
    for name in names:
        image, fixations = read_stimulus(by_name[name])
        values = net.run([image], args.image_size, "keep")[0].map("ponder_cost")[0]
        blurred = blur(values, result.blur_alone)
        places, auc = np.argwhere(fixations), auc_judd(values, fixations)
        looks.append(Look(smaller(image), image.shape[:2], places, values, blurred, auc))
    return looks


def _write(
    args: argparse.Namespace,
    command: str,
    networks: Sequence[Priced],
    results: Sequence[Saliency],
    looks: Sequence[Look],
) -> None:
    size = args.image_size
    about = {
        "title": "ponder maps and where people look",
        "version": __version__,
        "command": command,
        "networks": [
            one.record | {"image_size": size or one.net.preprocessing.image_size, "fit": "keep"}
            for one in networks
        ],
        "images": [result.num_images for result in results],
    }
    if args.figure is not None:
        draw_to(Path(args.figure), looks, args.width, about | {"photographs": args.photographs})
    if args.table is not None:
        write_table(Path(args.table), HEADER, _rows(networks, results), about)


def _rows(networks: Sequence[Priced], results: Sequence[Saliency]) -> list[list[str]]:
    rows = []
    for one, result in zip(networks, results, strict=True):
        found = result.intervals()
        cells = [*(_cell(found[name]) for name in SCORES), *(_cell(found[n], "+") for n in AHEAD)]
        tau = one.record["tau"]
        rows.append(
            [
                one.net.config.name.removesuffix(" any tau"),
                "" if tau is None else f"{tau:.4g}",
                *cells,
                f"{result.blur:g}, {result.centre_weight:.0%}",
                str(result.num_images),
            ]
        )
    return rows


def _cell(numbers: Sequence[float | None], sign: str = "") -> str:
    if None in numbers:
        return "–"
    value, low, high = (f"{number:{sign}.3f}" for number in numbers)
    return f"{value} ({low} to {high})"


def _readable(found: Sequence[Stimulus]) -> Iterator[np.ndarray]:
    """Those photographs that can be read; what is wrong with the others is said later."""
    for stimulus in found:
        with contextlib.suppress(ValueError, OSError):
            yield read_stimulus(stimulus)[0]


def _processing(args: argparse.Namespace) -> tuple[float, float] | None:
    if args.blur is None and args.centre_weight is None:
        return None
    if args.blur is None or args.centre_weight is None:
        raise ValueError("give --blur and --centre-weight together, or neither to choose them")
    if not 0 <= args.blur <= 1:
        raise ValueError(f"--blur must be from 0 to 1, got {args.blur}")
    if not 0 <= args.centre_weight <= 1:
        raise ValueError(f"--centre-weight must be from 0 to 1, got {args.centre_weight}")
    return args.blur, args.centre_weight


def _picture(out: Path, stimulus: Stimulus) -> Path:
    return out / stimulus.category / f"{stimulus.image.stem}.png"


def _write_map(path: Path, values: np.ndarray, size: tuple[int, int]) -> None:
    """Write a map in [0, 1] as a grey picture of the photograph's size."""
    from PIL import Image

    from sact_core.maps.drawing import write_picture

    make_folder(path.parent)
    picture = Image.fromarray(values.astype(np.float32))
    large = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))
    write_picture(path, np.rint(large * 255).clip(0, 255).astype(np.uint8))


def _as_json(args: argparse.Namespace, result: Saliency) -> dict[str, Any]:
    return {
        "folder": args.folder,
        "num_images": result.num_images,
        "num_chosen_on": result.num_chosen_on,
        "blur": result.blur,
        "blur_alone": result.blur_alone,
        "centre_weight": result.centre_weight,
        "total": result.means(),
        "intervals": result.intervals(),
        "categories": {name: result.means(name) for name in sorted(result.scores)},
        "skipped": result.skipped,
    }


if __name__ == "__main__":
    raise SystemExit(main())
