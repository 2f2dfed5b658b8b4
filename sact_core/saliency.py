"""Score ponder maps against where people looked.

::

    python -m sact_core.saliency DIR --checkpoint NAME.h5 --image-size 320
    python -m sact_core.saliency DIR --checkpoint NAME.h5 --blur 0.04 --centre-weight 0.5
    python -m sact_core.saliency DIR --checkpoint NAME.h5 --out maps       # as pictures too

``DIR`` is laid out like CAT2000: ``Stimuli/<Category>/NNN.jpg`` and
``FIXATIONLOCS/<Category>/NNN.mat``. Prints, by category and in total, AUC-Judd
(see `sact_core.measures.gaze`) of

- the ponder map of the whole photograph, its longer side ``--image-size``;
- the centre: a Gaussian in the middle that knows nothing of the photograph;
- the map after post-processing: blurred, and mixed with that Gaussian.

How much to blur and to mix is chosen on every other photograph of each
category, and only the rest is scored; with ``--blur`` and ``--centre-weight``
all are. A photograph that cannot be used is left out, named and counted.

Source: after the experiment of Figurnov et al. 2017, arXiv:1612.02297, on CAT2000;
the grid that is tried, and which half is which, are ours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.commands import (
    add_network,
    at_least_one,
    open_network,
    parse,
    progress,
    refuse_existing,
    run,
    spend_target,
)
from sact_core.measures.cat2000 import Stimulus, read_stimulus, stimuli
from sact_core.measures.gaze import auc_judd, blur, centre_map, mix, post_process
from sact_core.texts import told

if TYPE_CHECKING:
    from sact_core.backends import Net

#: What is tried where neither is given.
BLURS = (0.0, 0.01, 0.02, 0.04, 0.08)
CENTRE_WEIGHTS = tuple(round(0.1 * i, 1) for i in range(11))
SCORES = ("map", "centre", "processed")


@dataclass
class Saliency:
    """What was found.

    Attributes
    ----------
    blur, centre_weight : float
        The post-processing.
    num_chosen_on : int
        Photographs that it was chosen on; 0 where it was given.
    scores : dict of str to list
        By category, for every photograph its scores in the order of `SCORES`.
    skipped : dict of str to str
        What was left out, and why.
    """

    blur: float
    centre_weight: float
    num_chosen_on: int = 0
    scores: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def num_images(self) -> int:
        """How many photographs are scored."""
        return sum(map(len, self.scores.values()))

    def means(self, category: str | None = None) -> dict[str, float]:
        """Mean scores of a category, or of all photographs alike."""
        chosen = self.scores if category is None else {category: self.scores[category]}
        means = np.mean([row for rows in chosen.values() for row in rows], axis=0)
        return dict(zip(SCORES, means.tolist(), strict=True))


def score(
    net: Net,
    found: Sequence[Stimulus],
    image_size: int | None = None,
    processing: tuple[float, float] | None = None,
    write: Callable[[Stimulus, np.ndarray, tuple[int, int]], object] = lambda *_: None,
    done: Callable[[], object] = lambda: None,
) -> Saliency:
    """Score a network's ponder maps.

    Parameters
    ----------
    net : Net
        A SACT network.
    found : sequence of Stimulus
        The photographs.
    image_size : int, optional
        Longer side of the input; the checkpoint's own where left out.
    processing : (float, float), optional
        Blur and share of the centre. Left out, they are chosen on every other
        photograph of each category.
    write : callable
        Given each scored photograph, its map after post-processing and the
        photograph's height and width.
    done : callable
        Told after each photograph.

    Raises
    ------
    ValueError
        If the network has no maps by position, no photograph can be used, or
        none is left to choose on.
    """
    if not net.config.by_position:
        raise ValueError(f"{net.config.name} has no map by position: it is no SACT network")
    from sact_core.backends import NotFinite

    net.preprocessing_for(image_size, "keep")
    skipped: dict[str, str] = {}

    def maps(some: Iterable[Stimulus]) -> Iterable[tuple[Stimulus, np.ndarray, np.ndarray]]:
        for stimulus in some:
            try:
                image, fixations = read_stimulus(stimulus)
                values = net.run([image], image_size, "keep")[0].map("ponder_cost")[0]
                yield stimulus, values, fixations
            except NotFinite:
                raise  # not this photograph's fault
            except (ValueError, OSError) as error:
                skipped[stimulus.name] = told(error).partition("\n")[0]
            done()

    rest, num_chosen_on = list(found), 0
    if processing is None:
        places = _places(found)
        rest = [s for s, place in zip(found, places, strict=True) if place % 2]
        chosen_on = [s for s, place in zip(found, places, strict=True) if not place % 2]
        processing, num_chosen_on = _choose(maps(chosen_on))
    result = Saliency(*processing, num_chosen_on, skipped=skipped)
    for stimulus, values, fixations in maps(rest):
        processed = post_process(values, *processing)
        all_maps = (values, centre_map(values.shape), processed)
        rows = result.scores.setdefault(stimulus.category, [])
        rows.append(tuple(auc_judd(one, fixations) for one in all_maps))
        write(stimulus, processed, fixations.shape)
    if not result.num_images:
        raise ValueError(_none_left(skipped))
    return result


def table(result: Saliency) -> str:
    """Lay out the scores for people."""
    wide = max(10, *map(len, result.scores))
    lines = [f"{'category':<{wide}}  images{'map':>9}{'centre':>9}{'processed':>11}"]
    for category in [*sorted(result.scores), None]:
        means = result.means(category)
        count = len(result.scores[category]) if category is not None else result.num_images
        lines.append(
            f"{'total' if category is None else category:<{wide}}  {count:6,}{means['map']:9.4f}"
            f"{means['centre']:9.4f}{means['processed']:11.4f}"
        )
    chosen = (
        f"chosen on {result.num_chosen_on:,} other photographs" if result.num_chosen_on else "given"
    )
    lines.append(
        f"\nprocessed: blurred by {result.blur:g} of the longer side, {result.centre_weight:.0%} "
        f"centre; {chosen}"
    )
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.saliency",
        description="Score ponder maps against where people looked (AUC-Judd).",
    )
    add = parser.add_argument
    add("folder", metavar="DIR", help="holds Stimuli and FIXATIONLOCS, as CAT2000 does")
    add_network(parser)
    add("--image-size", type=int, metavar="N", help="longer side (default: the checkpoint's)")
    add("--num-examples", type=int, metavar="N", help="the first N of each category only")
    add("--blur", type=float, metavar="S", help="standard deviation, share of the longer side")
    add("--centre-weight", type=float, metavar="W", help="share of the centre, from 0 to 1")
    add("--out", metavar="DIR", help="folder, made if absent: write the processed maps as PNG")
    add("--force", action="store_true", help="replace files in --out")
    add("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parse(build_parser(), argv)
    return run(lambda: _score(args))


def _score(args: argparse.Namespace) -> None:
    processing = _processing(args)
    at_least_one(args, "num_examples", "num_threads")
    found = stimuli(args.folder, args.num_examples)
    pictures = {} if args.out is None else {s.name: _picture(Path(args.out), s) for s in found}
    for picture in pictures.values():
        refuse_existing(picture, args.force)
    net = spend_target(open_network(args), args, lambda: _readable(found), "keep")

    def write(stimulus: Stimulus, values: np.ndarray, size: tuple[int, int]) -> None:
        if pictures:
            _write_map(pictures[stimulus.name], values, size)

    with progress(len(found)) as bar:
        result = score(net, found, args.image_size, processing, write, bar.update)
    for name, reason in result.skipped.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    size = args.image_size or net.preprocessing.image_size
    if args.json:
        about = {"precision": net.precision} | ({} if net.tau is None else {"tau": net.tau})
        print(json.dumps(_as_json(args, result, size) | about))
        return
    left_out = f", {len(result.skipped)} left out" if result.skipped else ""
    print(
        f"{net.config.name}, {args.checkpoint}: AUC-Judd on {result.num_images:,} photographs of "
        f"{args.folder}{left_out}, longer side {size} pixels\n\n{table(result)}"
    )


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


def _choose(
    maps: Iterable[tuple[Stimulus, np.ndarray, np.ndarray]],
) -> tuple[tuple[float, float], int]:
    """Choose the post-processing that scores best; also on how many photographs."""
    totals = np.zeros((len(BLURS), len(CENTRE_WEIGHTS)))
    count = 0
    for _, values, fixations in maps:
        count += 1
        for i, width in enumerate(BLURS):
            blurred = blur(values, width)
            for j, weight in enumerate(CENTRE_WEIGHTS):
                totals[i, j] += auc_judd(mix(blurred, weight), fixations)
    if not count:
        raise ValueError(
            "no photograph is left to choose the post-processing on: give --blur and "
            "--centre-weight"
        )
    best, weight_at = np.unravel_index(totals.argmax(), totals.shape)
    return (BLURS[best], CENTRE_WEIGHTS[weight_at]), count


def _places(found: Sequence[Stimulus]) -> list[int]:
    """Place of each photograph in its category."""
    seen: dict[str, int] = {}
    places = []
    for stimulus in found:
        places.append(seen.get(stimulus.category, 0))
        seen[stimulus.category] = places[-1] + 1
    return places


def _none_left(skipped: dict[str, str]) -> str:
    if not skipped:
        return "no photograph is left to score: give --blur and --centre-weight"
    name, reason = next(iter(skipped.items()))
    return f"none of the photographs can be scored; {name}: {reason}"


def _picture(out: Path, stimulus: Stimulus) -> Path:
    return out / stimulus.category / f"{stimulus.image.stem}.png"


def _write_map(path: Path, values: np.ndarray, size: tuple[int, int]) -> None:
    """Write a map in [0, 1] as a grey picture of the photograph's size."""
    from PIL import Image

    from sact_core.maps.drawing import write_picture

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values.astype(np.float32))
    large = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))
    write_picture(path, np.rint(large * 255).clip(0, 255).astype(np.uint8))


def _as_json(args: argparse.Namespace, result: Saliency, size: int) -> dict[str, Any]:
    return {
        "checkpoint": args.checkpoint,
        "folder": args.folder,
        "image_size": size,
        "num_images": result.num_images,
        "num_chosen_on": result.num_chosen_on,
        "blur": result.blur,
        "centre_weight": result.centre_weight,
        "total": result.means(),
        "categories": {name: result.means(name) for name in sorted(result.scores)},
        "skipped": result.skipped,
    }


if __name__ == "__main__":
    raise SystemExit(main())
