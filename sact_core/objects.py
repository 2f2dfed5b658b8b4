"""Measure whether ponder maps prefer objects to their background.

::

    python -m sact_core.objects photos/ --checkpoint NAME.h5 --boxes docs/object_boxes.json
    python -m sact_core.objects --dataset caltech101 --checkpoint NAME.h5 --boxes boxes.json

``--boxes`` says where the objects of each image are, see `sact_core.measures.boxes`: by its
path below the folder that is given, or its file name where no other image has it; in a data
set by its id, or ``CLASS/ID`` where ids repeat.

For the whole image, its longer side ``--image-size`` pixels, prints the mean
ponder cost inside and outside the boxes and their ratio. A position costs one
unit and a remainder in every block at least, so even a map that halts at once
outside has a modest ratio; *chance* is the chance that a position inside costs
more than one outside (0.5: no preference), *centre* the same of a Gaussian in the
middle, which knows nothing of the image: objects stand in the middle.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.commands import (
    add_data_set,
    add_network,
    open_data_set,
    open_network,
    origin,
    parse,
    progress,
    run,
    spend_target,
)
from sact_core.data.images import ImageError
from sact_core.measures.boxes import Boxes, inside_mask, names_in, read_boxes
from sact_core.measures.gaze import auc_judd, centre_map
from sact_core.processes import Processes
from sact_core.texts import told

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.data.records import Record

Image = tuple[str, np.ndarray | str]  # name; pixels [shape=(h, w, 3), uint8], or why there are none


@dataclass(frozen=True)
class Preference:
    """What a map says of one image.

    Attributes
    ----------
    name : str
        The image.
    inside, outside : float
        Mean ponder cost of its positions, in units.
    chance : float
        Chance that a position inside costs more than one outside.
    centre : float
        The same of a Gaussian in the middle.
    """

    name: str
    inside: float
    outside: float
    chance: float
    centre: float


def preference(name: str, values: np.ndarray, inside: np.ndarray) -> Preference:
    """Compare a map inside and outside.

    Parameters
    ----------
    name : str
        The image.
    values : np.ndarray [shape=(h, w)]
        Its ponder map, in units.
    inside : np.ndarray [shape=(h, w), bool]
        Where its objects are.

    Raises
    ------
    ValueError
        If no position, or every one, is inside.
    """
    if inside.all() or not inside.any():
        where = "every" if inside.any() else "no"
        raise ValueError(f"{where} position lies in a box, so there is nothing to compare")
    dear, cheap = (float(values[mask].mean(dtype=np.float64)) for mask in (inside, ~inside))
    centre = centre_map(values.shape)
    return Preference(name, dear, cheap, auc_judd(values, inside), auc_judd(centre, inside))


def measure(
    net: Net,
    images: Iterator[Image],
    boxes: Boxes,
    image_size: int | None = None,
    done: Callable[[], object] = lambda: None,
) -> tuple[list[Preference], dict[str, str]]:
    """Measure every image that has boxes.

    Parameters
    ----------
    net : Net
        A SACT network.
    images : iterator of Image
        By the names of the boxes.
    boxes : Boxes
        Where their objects are.
    image_size : int, optional
        Longer side of the input; the checkpoint's own where left out.
    done : callable
        Told after each image.

    Returns
    -------
    found : list of Preference
    left_out : dict of str to str
        Images without a result, and boxes without an image; and why.

    Raises
    ------
    ValueError
        If the network has no maps by position.
    """
    if not net.config.by_position:
        raise ValueError(f"{net.config.name} has no map by position: it is no SACT network")
    from sact_core.backends import NotFinite

    net.preprocessing_for(image_size, "keep")
    found: list[Preference] = []
    left_out: dict[str, str] = {}
    missing = dict.fromkeys(boxes.by_name)
    for name, image in images:
        missing.pop(name, None)
        try:
            if isinstance(image, str):
                raise ValueError(image)
            if name not in boxes.by_name:
                raise ValueError("the boxes do not name it")
            if not boxes.by_name[name]:
                raise ValueError("it shows no object")
            values = net.run([image], image_size, "keep")[0].map("ponder_cost")[0]
            mask = inside_mask(
                boxes.by_name[name], boxes.units, (image.shape[0], image.shape[1]), values.shape
            )
            found.append(preference(name, values, mask))
        except NotFinite:
            raise  # not this image's fault
        except ValueError as error:
            left_out[name] = told(error).partition("\n")[0]
        done()
    return found, left_out | dict.fromkeys(missing, "it is not among the images")


def summary(found: Sequence[Preference]) -> dict[str, float]:
    """Put the images together: means over images, each counting alike."""
    inside, outside, chance, centre = (
        float(np.mean([getattr(one, name) for one in found]))
        for name in ("inside", "outside", "chance", "centre")
    )
    return {
        "num_images": len(found),
        "inside": inside,
        "outside": outside,
        "ratio": inside / outside,
        "num_inside_dearer": sum(one.inside > one.outside for one in found),
        "chance": chance,
        "centre": centre,
    }


def table(found: Sequence[Preference]) -> str:
    """Lay out the images and their summary for people."""
    wide = max(len(one.name) for one in found)
    head = f"{'inside':>9}{'outside':>9}{'ratio':>8}{'chance':>9}{'centre':>9}"
    lines = [f"{'image':<{wide}}{head}"]
    ordered = sorted(found, key=lambda one: -one.inside / one.outside)
    total = summary(found)
    lines += [
        *(f"{one.name:<{wide}}{_cells(asdict(one))}" for one in ordered),
        f"{'mean':<{wide}}{_cells(total)}",
        f"\ndearer inside than outside: {total['num_inside_dearer']} of {total['num_images']} "
        f"images",
    ]
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.objects",
        description="Measure whether ponder maps prefer objects to their background.",
    )
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE", help="photographs, or folders of them")
    add_network(parser)
    add("--boxes", required=True, metavar="FILE.json", help="where the objects are")
    add_data_set(parser, default="photographs")
    add("--image-size", type=int, metavar="N", help="longer side (default: the checkpoint's)")
    add("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    command = Processes().command("objects", argv)
    return run(lambda: _measure(args, command))


def _measure(args: argparse.Namespace, command: str) -> None:
    if bool(args.images) == bool(args.dataset):
        raise ValueError("give photographs, or a data set with --dataset")
    boxes = read_boxes(args.boxes)

    def images() -> Iterator[Image]:
        return _examples(args, boxes) if args.dataset else _photographs(args.images, boxes)

    def readable() -> Iterator[np.ndarray]:
        for name, pixels in images():
            if boxes.by_name.get(name) and not isinstance(pixels, str):
                yield pixels

    net = open_network(args)
    net = spend_target(net, args, readable, "keep")
    with progress(None) as bar:
        found, left_out = measure(net, images(), boxes, args.image_size, bar.update)
    if not found:
        name, reason = next(iter(left_out.items()))
        raise ValueError(f"no image can be measured; {name}: {reason}")
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    size = args.image_size or net.preprocessing.image_size
    if args.json:
        from sact_core.checkpoint import read_header
        from sact_core.checkpoint.records import trained_at

        header = read_header(args.checkpoint)
        about: dict[str, Any] = {"network": net.config.name, "checkpoint": args.checkpoint}
        about["tau"] = trained_at(header) if net.tau is None else net.tau
        about |= origin(net, header.content_hash, command, size, "keep")
        by_image = {row.pop("name"): row for row in map(asdict, found)}
        print(json.dumps(about | summary(found) | {"images": by_image, "left_out": left_out}))
        return
    more = f", {len(left_out)} left out" if left_out else ""
    print(
        f"{net.config.name}, {args.checkpoint}: ponder cost inside and outside of "
        f"{args.boxes}, {len(found)} images{more}, longer side {size} pixels\n\n{table(found)}"
    )


def _photographs(paths: Sequence[str], boxes: Boxes) -> Iterator[Image]:
    """Photographs, and those below folders, by the names that the boxes have for them."""
    from sact_core.data.folders import photographs
    from sact_core.data.records import FileRecords

    source = photographs(paths)
    assert isinstance(source.records, FileRecords)
    named = names_in(boxes, source.records.files)
    for index, record in source.encoded():
        yield named[index], _decoded(record, boxes.units)[1]


def _examples(args: argparse.Namespace, boxes: Boxes) -> Iterator[Image]:
    """Those examples of a data set that are asked for."""
    from sact_core.checkpoint import read_header

    source = open_data_set(args, read_header(args.checkpoint).provenance)
    for _, record in source.encoded():
        if isinstance(record, ImageError):
            yield _decoded(record, boxes.units)
            continue
        name = f"{source.class_names[record.label]}/{record.name}"
        name = name if name in boxes.by_name else record.name
        if name in boxes.by_name:
            yield name, _decoded(record, boxes.units)[1]


def _decoded(record: Record | ImageError, units: str) -> Image:
    """The name of an example, and its pixels or why there are none."""

    def smaller(sentence: str) -> None:
        if units == "pixels":
            raise ImageError(f"{sentence}, and its boxes are in pixels: give them as shares")

    try:
        if isinstance(record, ImageError):
            raise record
        return record.name, record.pixels(said=smaller)
    except ImageError as error:
        return error.name or "an example", told(error)


def _cells(one: Mapping[str, float]) -> str:
    return (
        f"{one['inside']:9.3f}{one['outside']:9.3f}{one['inside'] / one['outside']:8.3f}"
        f"{one['chance']:9.3f}{one['centre']:9.3f}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
