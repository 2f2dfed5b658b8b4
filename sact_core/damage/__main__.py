"""Damage images and see what it does to answers and to cost; make one as dear as can be.

::

    python -m sact_core.damage kinds --checkpoint cifar10-anytau STATIC.h5 --num-examples 2000
    python -m sact_core.damage kinds --checkpoint cifar10-anytau STATIC.h5 --target-flops 0.58 \\
        --out damage.png damage.md
    python -m sact_core.damage worst --checkpoint cifar10-anytau --tau 0.02
    python -m sact_core.damage worst --checkpoint caltech101-anytau --image cat.jpg \\
        --image-size 160 --out worst.png

`kinds` runs the networks on images with noise, blur, less contrast, JPEG and pixelation, each
at five strengths: accuracy and FLOPs, and how far ahead of the last network the others are.

`worst` tells what the dearest of the images costs, and how far the FLOPs of one image can be
driven up by changing no value of a pixel by more than ``--bound`` of 255: gradient ascent on
the ponder cost (PyTorch), checked by counting FLOPs anew on whole values of pixels. ``--out``
draws the image that became dearest, before and after, with its maps.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sact_core import __version__
from sact_core.commands import at_least_one, parse, progress, refuse_unwritable, run
from sact_core.commands.over_split import Priced, add_passes, kept, over_split, priced
from sact_core.damage.kinds import KINDS, STRENGTHS, damage
from sact_core.extras import need
from sact_core.figure.saving import FIGURES
from sact_core.processes import Processes
from sact_core.tables import TABLES, write_table
from sact_core.texts import shown

#: Images that are made dearer, and how many at a time.
NUM_IMAGES, BATCH = 100, 50
#: Flags that say nothing of one photograph.
_OF_SPLIT = ("dataset", "split", "num_examples", "keep", "images")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.damage", description="Damaged images, and the dearest one."
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    kinds = parts.add_parser("kinds", help="five kinds of damage at five strengths")
    worst = parts.add_parser("worst", help="the dearest image, and how dear one can be made")
    for each in (kinds, worst):
        add = each.add_argument
        add_passes(each)
        add("--seed", type=int, default=0, help="of noise, of the bootstrap and of the ascent")
        ends = " ".join((*FIGURES, *TABLES) if each is kinds else FIGURES)
        add("--out", nargs="+", default=[], metavar="FILE", help=f"end in {ends}")
        add("--width", type=float, default=9.0, help="of figures, in inches (default: 9)")
        add("--force", action="store_true", help="replace files of --out")
        add("--json", action="store_true", help="print one JSON object")
    add = worst.add_argument
    add("--image", metavar="FILE", help="make this photograph dearer, and look at no data set")
    add("--image-size", type=int, metavar="N", help="longer side of --image in pixels")
    add("--images", type=int, help=f"to make dearer (default: the first {NUM_IMAGES})")
    add("--bound", type=int, default=8, help="largest change of a value of 255 (default: 8)")
    add("--steps", type=int, default=40, help="of gradient ascent (default: 40)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    command = Processes().command("damage", argv)
    return run(lambda: (_kinds if args.part == "kinds" else _worst)(args, command))


def _kinds(args: argparse.Namespace, command: str) -> None:
    from sact_core.damage import measured

    paths = _check(args, (*FIGURES, *TABLES))
    networks = list(over_split(args))
    found: list[dict[str, Any]] = [dict(one.record) for one, _ in networks]
    for kind in (None, *KINDS):
        for strength in (0,) if kind is None else STRENGTHS:
            changed = {} if kind is None else {"damage": kind, "strength": strength}
            runs = [
                kept(
                    one,
                    source,
                    args,
                    None if kind is None else _change(kind, strength, args.seed),
                    **changed | ({"seed": args.seed} if kind == "noise" else {}),
                )
                for one, source in networks
            ]
            if kind is None:
                whole = runs
            for record, this, before in zip(found, runs, whole, strict=True):
                rival = None if this is runs[-1] else runs[-1]
                if rival is not None and rival.names.tolist() != this.names.tolist():
                    raise ValueError("the networks were shown different images: give --dataset")
                point = measured.point(this, before, rival, args.seed)
                if kind is None:
                    record |= {"images": len(this), "undamaged": point}
                else:
                    record.setdefault(kind, []).append(point)
    about = {"title": "accuracy and FLOPs of damaged images", **_about(found, command)}
    for path in paths:
        if path.suffix.lower() in TABLES:
            write_table(path, measured.HEADER, measured.rows(found), about)
        else:
            measured.draw_to(path, found, args.width, about)
    if args.json:
        print(json.dumps({"version": __version__, "command": command, "networks": found}))
        return
    print(f"{found[0]['images']:,} images of {found[0]['data_set']} {found[0]['split']}\n")
    print(measured.text(found))
    _say_written(paths)


def _worst(args: argparse.Namespace, command: str) -> None:
    from sact_core.backends import Net
    from sact_core.damage.drawing import draw_to
    from sact_core.damage.worst import sum_up

    at_least_one(args, "images", "steps")
    of_split = [name for name in _OF_SPLIT if getattr(args, name) is not None]
    if args.image is not None and of_split:
        flag = of_split[0].replace("_", "-")
        raise ValueError(f"--{flag} is of a data set, and --image looks at none")
    args.images = args.images or NUM_IMAGES
    if not 1 <= args.bound <= 255:
        raise ValueError(f"--bound must be from 1 to 255, got {args.bound}")
    if args.steps > 10_000 or args.images > 100_000:
        raise ValueError("--steps takes 10000 at most, --images 100000")
    paths = _check(args, FIGURES)
    need("train", "gradient ascent", "torch")
    one, record, pixels, chosen = (_of_split if args.image is None else _of_photograph)(args)
    dense = Net.from_checkpoint(one.checkpoint, "dense", num_threads=args.num_threads)
    if one.net.tau is not None:
        dense = dense.at_tau(one.net.tau)
    if len({image.shape for image in pixels}) > 1:
        raise ValueError("images of different sizes are not made dearer together: give --image")
    before, after, risen = _made_dearer(one.net, dense, np.stack(pixels), args)
    record |= {"bound": args.bound, "steps": args.steps}
    record["changed"] = sum_up(before.flops, after.flops, record["dense"], args.seed)
    top = int((after.flops / before.flops).argmax())
    record["changed"]["dearest_index"] = chosen[top]
    about = {"title": "an image made dear", **_about([record], command)}
    for path in paths:
        both = (before.of(top), after.of(top))
        draw_to(path, (pixels[top], risen[top]), both, record["dense"], args.width, about)
    if args.json:
        print(json.dumps(record | {"version": __version__, "command": command}))
        return
    print(_told(record))
    _say_written(paths)


def _only(networks: Sequence[Any]) -> Any:
    """The one network at one price that is asked for."""
    if len(networks) > 1:
        raise ValueError("worst is of one network at one price: give one --checkpoint and --tau")
    return networks[0]


def _of_split(
    args: argparse.Namespace,
) -> tuple[Priced, dict[str, Any], list[np.ndarray], list[int]]:
    """The network, what its split costs, the images to make dearer and where they stand."""
    if args.image_size is not None:
        raise ValueError("--image-size is of --image")
    one, source = _only(list(over_split(args)))
    _require_halting(one)
    costs = kept(one, source, args)
    at = int(costs.flops.argmax())
    record: dict[str, Any] = {
        **one.record,
        "images": len(costs),
        "flops": float(costs.flops.mean()),
        "spread": float(costs.flops.std()),
        "percentile_99.9": float(np.percentile(costs.flops, 99.9)),
        "dense": int(costs.dense[at]),
        "dearest": {
            "name": str(costs.names[at]),
            "index": int(costs.indices[at]),
            "flops": int(costs.flops[at]),
            "share_of_dense": float(costs.flops[at] / costs.dense[at]),
        },
    }
    chosen = costs.indices[: args.images].tolist()
    return one, record, [one.net.see(image).pixels for image, *_ in source.each(chosen)], chosen


def _of_photograph(
    args: argparse.Namespace,
) -> tuple[Priced, dict[str, Any], list[np.ndarray], list[int]]:
    """The same of one photograph."""
    from sact_core.data.images import read_image
    from sact_core.flops import dense_flops

    image, fit = read_image(args.image), "keep" if args.image_size else None
    one = _only(list(priced(args, lambda *_: [image])))
    _require_halting(one)
    pixels = one.net.see(image, args.image_size, fit).pixels
    dense = int(dense_flops(one.net.plan, (pixels.shape[0], pixels.shape[1])).total[0])
    seen = one.net.preprocessing_for(args.image_size, fit)
    record = one.record | {"image_size": seen.image_size, "fit": seen.fit, "dense": dense}
    record |= {"image": shown(Path(args.image).name), "images": 1}
    return one, record, [pixels], [0]


def _require_halting(one: Priced) -> None:
    if not one.net.config.halts:
        raise ValueError(f"{one.net.config.name} never halts: each image costs the same")


class _Costs:
    """FLOPs [shape=(n,)] and results of some images, of a batch each."""

    def __init__(self, net: Any, pixels: np.ndarray) -> None:
        from sact_core.preprocess import normalise

        self._net, self._pixels, self._kind = net, pixels, net.preprocessing.kind
        self._normalise = normalise
        parts = [pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH)]
        self.flops = np.concatenate([net.forward(normalise(p, self._kind)).flops for p in parts])

    def of(self, i: int) -> Any:
        """The result of one image."""
        return self._net.forward(self._normalise(self._pixels[i : i + 1], self._kind))


def _made_dearer(
    net: Any, dense: Any, pixels: np.ndarray, args: argparse.Namespace
) -> tuple[_Costs, _Costs, np.ndarray]:
    from sact_core.damage.worst import dearer

    parts = []
    starts = range(0, len(pixels), BATCH)
    with progress(len(starts) * (args.steps + 1), "steps") as bar:
        for begin in starts:
            some = pixels[begin : begin + BATCH]
            parts.append(dearer(dense, some, args.bound, args.steps, args.seed, bar.update))
    risen = np.concatenate(parts)
    return _Costs(net, pixels), _Costs(net, risen), risen


def _told(record: dict[str, Any]) -> str:
    changed, dense = record["changed"], record["dense"]
    tau = "" if record["tau"] is None else f", tau {record['tau']:.4g}"
    lines = [f"{record['network']}, {record['file']}{tau}, dense {dense / 1e6:,.1f} MFLOPs", ""]
    if "dearest" in record:
        dearest = record["dearest"]
        lines += [
            f"{record['images']:,} images of {record['data_set']} {record['split']}: "
            f"{record['flops'] / 1e6:,.1f} ± {record['spread'] / 1e6:,.1f} MFLOPs",
            f"the dearest, image {dearest['index']}: {dearest['flops'] / 1e6:,.1f} MFLOPs, "
            f"{dearest['share_of_dense']:.1%} of dense, "
            f"{dearest['flops'] / record['flops']:.2f} times the mean; 99.9 % of images cost less "
            f"than {record['percentile_99.9'] / 1e6:,.1f}",
        ]
    what = record.get("image", f"the first {changed['images']:,}")
    ends = changed["times_as_dear_interval"]
    times = f"{changed['times_as_dear']:.2f}"
    times += "" if ends is None else f" ({ends[0]:.2f} to {ends[1]:.2f})"
    lines.append(
        f"changed by at most {record['bound']} of 255, {what}: {changed['flops'] / 1e6:,.1f} "
        f"MFLOPs became {changed['flops_changed'] / 1e6:,.1f}, {times} times as much, "
        f"{changed['share_of_dense_changed']:.1%} of dense"
    )
    if changed["images"] > 1:
        lines.append(
            f"at most {changed['times_as_dear_at_most']:.2f} times (image "
            f"{changed['dearest_index']}); the dearest of them "
            f"{changed['largest_share_of_dense_changed']:.1%} of dense"
        )
    return "\n".join(lines)


def _change(kind: str, strength: int, seed: int) -> Any:
    return lambda pixels, index: damage(pixels, kind, strength, seed + index)


def _about(found: Sequence[dict[str, Any]], command: str) -> dict[str, Any]:
    told = (
        *("network", "file", "content_hash", "tau", "precision", "image_size", "fit"),
        *("data_set", "split", "images"),
    )
    return {
        "version": __version__,
        "command": command,
        "networks": [{name: one[name] for name in told if name in one} for one in found],
    }


def _check(args: argparse.Namespace, known: Sequence[str]) -> list[Path]:
    """Refuse what makes no sense before anything is run; give the files to write."""
    if args.seed < 0:
        raise ValueError(f"--seed must be 0 at least, got {args.seed}")
    if not 2 <= args.width <= 50:
        raise ValueError(f"--width must be from 2 to 50, got {args.width:g}")
    paths = [Path(file) for file in args.out]
    for path in paths:
        if path.suffix.lower() not in known:
            raise ValueError(f"--out {shown(path)} must end in {' '.join(known)}")
        refuse_unwritable(path, args.force)
    if any(path.suffix.lower() in FIGURES for path in paths):
        need("plots", "a figure", "matplotlib")
    return paths


def _say_written(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"\nwritten: {shown(path)}")


if __name__ == "__main__":
    raise SystemExit(main())
