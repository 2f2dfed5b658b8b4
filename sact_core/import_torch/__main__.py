"""The command: ``python -m sact_core.import_torch``."""

from __future__ import annotations

import argparse
import sys

from sact_core.checkpoint import write
from sact_core.commands import parse, read_class_names, refuse_existing, run
from sact_core.config import parse_units
from sact_core.families import FAMILIES
from sact_core.import_torch.convert import PUBLISHED, import_state_dict
from sact_core.import_torch.names import read_table


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.import_torch",
        description="Import a network from a state dict of PyTorch, bit for bit. Tensors are read "
        "and nothing else.",
    )
    parser.add_argument("file", metavar="FILE.pth", help="what torch.save wrote of a state dict")
    parser.add_argument(
        "--as",
        required=True,
        dest="kind",
        choices=[*PUBLISHED, *FAMILIES],
        help="a published network, or a family of ours whose network is found from names and "
        "shapes",
    )
    parser.add_argument("--out", required=True, metavar="FILE.h5", help="checkpoint to write")
    parser.add_argument("--force", action="store_true", help="replace --out if it exists")
    parser.add_argument(
        "--names",
        metavar="TABLE.json",
        help="of a family: what its layers are called in the file (default: as in ours)",
    )
    parser.add_argument(
        "--units", help="of a family: units per block, such as 1_2_3, where names do not tell them"
    )
    parser.add_argument(
        "--eps", type=float, default=0.01, help="halting slack of the network (default 0.01)"
    )
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="text file with a class name per line, or the word cifar10 or imagenet (default: "
        "those of a published network)",
    )
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="side of the input in pixels (default: usual)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; give its exit code."""
    args = parse(build_parser(), argv)
    given = sys.argv[1:] if argv is None else argv
    command = " ".join(["python -m sact_core.import_torch", *given])
    return run(lambda: _import(args, command))


def _import(args: argparse.Namespace, command: str) -> None:
    refuse_existing(args.out, args.force)
    names = read_class_names(args.class_names) if args.class_names else ()
    table = read_table(args.names) if args.names is not None else None
    units = parse_units(args.units, args.kind) if args.units and args.kind in FAMILIES else None
    if args.kind not in FAMILIES and (args.names or args.units):
        raise ValueError(
            f"names and units of {args.kind} are known: --names and --units are for families"
        )
    checkpoint = import_state_dict(
        args.file, args.kind, table, units, args.eps, names, args.image_size, command
    )
    write(args.out, checkpoint)
    config = checkpoint.config
    print(
        f"{args.out}: {config.name}, {config.family} family, units {config.units_per_block}, "
        f"{config.base_channels} base channels, {config.num_classes} classes, "
        f"{sum(p.size for p in checkpoint.params.values()):,} parameters"
    )
    converted = checkpoint.provenance["imported"].get("converted_from")
    if converted:
        print(f"  {converted} became float32")


if __name__ == "__main__":
    raise SystemExit(main())
