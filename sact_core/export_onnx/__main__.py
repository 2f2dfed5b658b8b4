"""The command: ``python -m sact_core.export_onnx``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sact_core.commands import parse, refuse_existing, run
from sact_core.commands.flags import TAU
from sact_core.extras import need
from sact_core.processes import Processes


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.export_onnx", description="Write a network as an ONNX file."
    )
    add = parser.add_argument
    add("file", metavar="FILE.h5", help="checkpoint of the network")
    add("--out", required=True, metavar="FILE.onnx", help="file to write")
    add("--tau", type=float, help=TAU)
    add("--clamp-tau", action="store_true", help="take the nearest end for a tau out of range")
    add("--early-exit", action="store_true",
        help="of ACT: leave out the units that no image of a batch needs")  # fmt: skip
    add("--force", action="store_true", help="replace --out if it exists")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    command = Processes().command("export_onnx", argv)
    return run(lambda: _export(args, command), stopped="stopped: nothing was written")


def _export(args: argparse.Namespace, command: str) -> None:
    need("onnx", "export_onnx")
    refuse_existing(args.out, args.force)
    from sact_core.checkpoint import read
    from sact_core.export_onnx.model import OPSET, export
    from sact_core.files import write_bytes

    checkpoint = read(args.file)
    model = export(checkpoint, args.tau, args.clamp_tau, args.early_exit, command)
    data = model.SerializeToString()
    write_bytes(args.out, data)
    outputs = ", ".join(output.name for output in model.graph.output)
    print(
        f"{args.out}: {checkpoint.config.name}, {len(data) / 1e6:.1f} MB, ONNX operators of "
        f"version {OPSET}; gives {outputs}. Its metadata says what the input must be."
    )


if __name__ == "__main__":
    raise SystemExit(main())
