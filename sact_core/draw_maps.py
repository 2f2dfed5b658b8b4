"""Draw exported ponder maps, and put them on a contact sheet, cheapest to dearest.

::

    python -m sact_core.draw_maps maps.h5 --out figures

Reads what `sact_core.export_maps` or the authors' exporter wrote. Writes, for each
image, with file names that sort by mean ponder cost::

    20.92_93_im.jpg        the image (number 93)
    20.92_93_ponder.png    its ponder map
    20.92_93_overlay.jpg   the map over the image

and ``colorbar.png``, ``index.html`` with everything, and ``contact_sheet.png``. All
maps share one scale: from the 0.1th to the 99.9th percentile of all values, as
the authors draw them, or with ``--scale units`` from the least to the most that
the network can spend.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core import __version__
from sact_core.commands import parse, progress, run
from sact_core.extras import need
from sact_core.files import make_folder, write_bytes, written_in
from sact_core.maps import drawing
from sact_core.maps.drawing import COLOUR_MAPS
from sact_core.processes import Processes

if TYPE_CHECKING:
    from sact_core.maps.file import MapFile

METRICS = {"ponder_cost": "ponder cost, units", "num_units": "units run"}
SCALES = ("percentile", "units")
MAX_SHEET_ROWS = 96
SHEET_SIDE = 160
SUMMARIES = ("colorbar.png", "contact_sheet.png", "index.html")
_DRAWN = re.compile(r"\d+\.\d\d_\d+_(im\.jpg|ponder\.png|overlay\.jpg)")


@dataclass(frozen=True)
class Drawn:
    """One image of a file, as it is drawn.

    Attributes
    ----------
    stem : str
        Beginning of its files' names.
    caption : str
        Mean cost, name, prediction and label, where known.
    """

    stem: str
    caption: str


def draw(
    file: MapFile,
    out: str | Path,
    *,
    metric: str = "ponder_cost",
    scale: str = "percentile",
    colour_map: str = "viridis",
    show_progress: bool = False,
    command: str = "",
) -> list[Drawn]:
    """Draw every map of a file.

    Parameters
    ----------
    file : MapFile
        Open; with maps.
    out : str or Path
        Folder; made if absent. Pictures are drawn beside what is in it; when all are
        there, they take the place of an earlier drawing, which is removed.
    metric : str
        ``"ponder_cost"`` or ``"num_units"``.
    scale : str
        ``"percentile"`` or ``"units"``.
    colour_map : str
        One of `sact_core.maps.drawing.COLOUR_MAPS`.
    show_progress : bool
        Show a progress bar on a terminal.
    command : str
        What pictures say that they were drawn by, besides what the file says of its origin.

    Returns
    -------
    list of Drawn
        Cheapest to dearest.

    Raises
    ------
    MapError
        If the file is partial, holds no maps, or turns out to be damaged.
    OSError
        If something cannot be written. An earlier drawing is then as it was.
    """
    file.check_maps()
    limits = colour_limits(file, metric, scale)
    means = file.mean_costs(metric)
    said = {**file.provenance, "drawn_by": command, "metric": metric, "colour_map": colour_map}
    said |= {"drawn_with": __version__, "limits": [float(end) for end in limits]}
    with _swapped(Path(out)) as beside:
        drawn, sheet = _draw_images(file, beside, means, said, show_progress)
        bar = drawing.colour_bar(limits, colour_map, METRICS[metric])
        drawing.write_picture(beside / "colorbar.png", bar, said)
        drawing.write_picture(
            beside / "contact_sheet.png", drawing.contact_sheet(sheet, SHEET_SIDE), said
        )
        write_bytes(beside / "index.html", page(file, drawn, metric, limits).encode())
    return drawn


def _draw_images(
    file: MapFile,
    folder: Path,
    means: np.ndarray,
    said: Mapping[str, Any],
    show_progress: bool,
) -> tuple[list[Drawn], list[tuple[list[np.ndarray], str]]]:
    """Draw each image as ``said``, cheapest to dearest; also the rows of the contact sheet."""
    metric, limits, colour_map = said["metric"], said["limits"], said["colour_map"]
    order = np.argsort(means, kind="stable")
    digits = len(f"{means.max():.2f}")  # so that names sort as numbers do
    drawn: list[Drawn] = []
    sheet: list[tuple[list[np.ndarray], str]] = []
    on_sheet = set(
        np.linspace(0, len(order) - 1, min(len(order), MAX_SHEET_ROWS)).round().astype(int)
    )
    with progress(len(order), shown=None if show_progress else False) as bar:
        for place, index in enumerate(order):
            i = int(index)
            stem = f"{means[i]:0{digits}.2f}_{i}"
            caption = ", ".join(filter(None, (f"{means[i]:.2f}", file.name(i), file.caption(i))))
            image = drawing.displayable(file.image(i))
            colours = drawing.colour(file.map(i, metric), limits, colour_map)
            pictures = [
                drawing.enlarge(picture)
                for picture in (image, colours, drawing.blend(image, colours))
            ]
            for picture, ending in zip(
                pictures, ("im.jpg", "ponder.png", "overlay.jpg"), strict=True
            ):
                about = {**said, "image": file.name(i)}
                drawing.write_picture(folder / f"{stem}_{ending}", picture, about)
            drawn.append(Drawn(stem, caption))
            if place in on_sheet:
                sheet.append(([drawing.thumbnail(p, SHEET_SIDE) for p in pictures], caption))
            bar.update()
    return drawn, sheet


@contextlib.contextmanager
def _swapped(out: Path) -> Iterator[Path]:
    """Lend a folder inside of ``out``; what is in it replaces the old drawing if all went well.

    Renaming takes no time beside drawing. A folder that was made for it goes again if not.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    make_folder(out)
    try:
        with contextlib.ExitStack() as stack:
            with written_in(out):
                lent = tempfile.TemporaryDirectory(prefix=".draw_maps-", suffix=".tmp", dir=out)
            name = stack.enter_context(lent)
            yield Path(name)
            old = list(_drawn_before(out))
            new = {path.name for path in Path(name).iterdir()}
            for file in sorted(new):
                os.replace(Path(name) / file, out / file)
            for path in old:
                if path.name not in new:
                    path.unlink()
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


def colour_limits(file: MapFile, metric: str, scale: str) -> tuple[float, float]:
    """Values of the first and the last colour, the same for every map of a file."""
    from sact_core.maps.limits import percentile_limits, unit_limits

    if scale == "units":
        return unit_limits(file.units_per_block, metric)
    return percentile_limits(lambda: file.map_chunks(metric))


def page(file: MapFile, drawn: Sequence[Drawn], metric: str, limits: tuple[float, float]) -> str:
    """Write the contact sheet as HTML, which needs nothing but the pictures beside it."""
    title = f"Ponder maps of {file.path.name}"
    source = file.provenance.get("checkpoint")
    network = f" of {html.escape(str(source.get('name')))}" if isinstance(source, dict) else ""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{html.escape(title)}</h1>",
            f"<p>{len(drawn)} images{network}, cheapest to dearest by mean "
            f"{METRICS[metric].split(',')[0]}. Colours run from {limits[0]:.2f} to "
            f"{limits[1]:.2f} units.</p>",
            f'<img class="bar" src="colorbar.png" alt="Colour bar: {METRICS[metric]}">',
            "<main>",
            *_figures(drawn, metric),
            "</main></body></html>\n",
        ]
    )


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.draw_maps",
        description="Draw exported ponder maps, cheapest to dearest.",
    )
    parser.add_argument("maps", metavar="FILE.h5", help="what export_maps wrote")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder; made if absent")
    parser.add_argument("--metric", choices=tuple(METRICS), default="ponder_cost")
    parser.add_argument("--scale", choices=SCALES, default="percentile")
    parser.add_argument("--colour-map", choices=COLOUR_MAPS, default="viridis")
    parser.add_argument("--force", action="store_true", help="replace what was drawn in --out")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    command = Processes().command("draw_maps", argv)
    return run(lambda: _draw(args, command))


def _draw(args: argparse.Namespace, command: str) -> int:
    from sact_core.maps.file import MapError, MapFile
    from sact_core.maps.parts import unfinished

    need("plots", "draw_maps", "matplotlib")
    path, out = Path(args.maps), Path(args.out)
    if not path.exists() and (partial := unfinished(path)):
        raise MapError(partial)
    if not args.force and (old := next(_drawn_before(out), None)):
        raise FileExistsError(f"{old} exists; give --force to replace what was drawn before")
    with MapFile(path) as file:
        options: dict[str, Any] = {"metric": args.metric, "scale": args.scale, "command": command}
        drawn = draw(file, out, colour_map=args.colour_map, show_progress=True, **options)
        low, high = colour_limits(file, args.metric, args.scale)
    print(
        f"{out / 'index.html'}: {len(drawn)} images, {METRICS[args.metric].split(',')[0]} "
        f"between {low:.2f} and {high:.2f}"
    )
    return 0


def _drawn_before(out: Path) -> Iterator[Path]:
    if out.is_dir():
        for path in sorted(out.iterdir()):
            if path.name in SUMMARIES or _DRAWN.fullmatch(path.name):
                yield path


def _figures(drawn: Sequence[Drawn], metric: str) -> Iterator[str]:
    for one in drawn:
        pictures = "".join(
            f'<a href="{one.stem}_{ending}"><img loading="lazy" src="{one.stem}_{ending}" '
            f'alt="{what}"></a>'
            for ending, what in (
                ("im.jpg", "image"),
                ("ponder.png", f"map of {metric.replace('_', ' ')}"),
                ("overlay.jpg", "map over the image"),
            )
        )
        yield f"<figure>{pictures}<figcaption>{html.escape(one.caption)}</figcaption></figure>"


_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(30rem, 1fr)) }
figure { margin: 0 }
figure a { display: inline-block; width: 33% }
figure img { width: 100%; image-rendering: pixelated }
figcaption { overflow-wrap: anywhere }
.bar { float: right; height: 12rem; margin-left: 1rem }
@media (max-width: 32rem) { body { margin: 1rem } main { grid-template-columns: 1fr } }
"""


if __name__ == "__main__":
    raise SystemExit(main())
