"""The command: ``python -m sact_core.import_tf``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from sact_core.checkpoint import write
from sact_core.commands import parse, read_class_names, refuse_existing, run
from sact_core.import_tf.convert import import_checkpoint
from sact_core.texts import shown


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.import_tf",
        description="Import a TensorFlow V2 checkpoint of the authors' code, bit for bit.",
    )
    parser.add_argument(
        "prefix",
        metavar="PREFIX",
        help="common part of the names of its .index and .data- files, or their folder, of which "
        "the newest is taken",
    )
    parser.add_argument("--out", required=True, metavar="FILE.h5", help="checkpoint to write")
    parser.add_argument("--force", action="store_true", help="replace --out if it exists")
    parser.add_argument(
        "--eps", type=float, default=0.01, help="halting slack of the network (default 0.01)"
    )
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="text file with a class name per line, or the word cifar10 or imagenet",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="side of the input in pixels (default 32 or 224)",
    )
    parser.add_argument(
        "--weights",
        choices=("averaged", "raw"),
        help="moving averages of the weights, or those of the last step (default: averages where "
        "the file has any)",
    )
    parser.add_argument("--scope", help="of the network, where the file holds several")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; give its exit code."""
    args = parse(build_parser(), argv)
    command = " ".join(["python -m sact_core.import_tf", *(sys.argv[1:] if argv is None else argv)])
    return run(lambda: _import(args, command))


def _import(args: argparse.Namespace, command: str) -> None:
    refuse_existing(args.out, args.force)
    names = read_class_names(args.class_names) if args.class_names else ()
    checkpoint = import_checkpoint(
        args.prefix, args.eps, names, args.image_size, command, args.weights, args.scope
    )
    write(args.out, checkpoint)
    config = checkpoint.config
    print(
        f"{args.out}: {config.name}, {config.family} family, units {config.units_per_block}, "
        f"{config.base_channels} base channels, {config.num_classes} classes, "
        f"{sum(p.size for p in checkpoint.params.values()):,} parameters"
    )
    print(describe(checkpoint.provenance))


def describe(provenance: Mapping[str, Any]) -> str:
    """Tell what was taken from which files, and what was left out."""
    about = provenance["imported"]
    lines = [f"taken from {shown(provenance['files'][0]['name'])}"]
    if "scope" in about:
        lines[0] += f", scope {shown(about['scope'])}"
    if "num_averaged" in about:
        lines.append(
            f"moving averages of {about['num_averaged']:,} variables, {about['num_raw']:,} have "
            f"none (--weights raw takes those of the last step)"
        )
    if "converted_from" in about:
        lines.append(f"{about['converted_from']} became float32")
    if "left_out" in about:
        lines.append(f"left out: {about['left_out']}")
    return "\n".join(f"  {line}" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
