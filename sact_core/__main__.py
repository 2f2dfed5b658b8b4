"""Every command under one name.

::

    sact ponder cat.jpg --checkpoint cifar10-anytau --out maps     # in an environment that has it
    python -m sact_core ponder cat.jpg --checkpoint cifar10-anytau --out maps
    python -m sact_core.ponder cat.jpg --checkpoint cifar10-anytau --out maps

are the same: each command is a module with a ``main`` that takes its arguments and gives
an exit code. Only the module that is asked for is imported.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module, util

from sact_core import __version__
from sact_core.commands import run

#: Command -> what it does. The module of a command has its name, with ``_`` for ``-``.
COMMANDS = {
    "app": "open the app",
    "ponder": "see where a network spends its computation on photographs",
    "evaluate": "accuracy and FLOPs of a checkpoint, once or while it trains",
    "export-maps": "ponder maps of a data set or of photographs, to HDF5",
    "draw-maps": "draw exported ponder maps, cheapest to dearest",
    "figure": "figures and tables for a paper",
    "objects": "whether maps prefer objects to their background",
    "doubt": "whether a network thinks longer where people doubt, or errs",
    "damage": "what damaged images do to answers and cost, and how dear one can be made",
    "saliency": "maps against where people looked",
    "train": "train a network",
    "average": "average networks that were fine-tuned from one",
    "calibrate": "find the scales by which a network is computed in int8",
    "prepare": "prepare a data set of its archive",
    "import-tf": "import a TensorFlow checkpoint of the authors' code",
    "import-torch": "import a network from a state dict of PyTorch",
    "export-onnx": "write a network as an ONNX file",
    "benchmark": "measure in seconds",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    command = name.replace("_", "-")
    if command not in COMMANDS:
        return run(lambda: _answer(name))
    module = f"sact_core.{command.replace('-', '_')}"
    found = util.find_spec(module)
    assert found is not None, module
    if found.submodule_search_locations is not None:
        module += ".__main__"
    try:
        code: int = import_module(module).main(rest)
    except KeyboardInterrupt:  # while packages are imported: nothing has begun
        print("stopped", file=sys.stderr)
        return 130
    return code


def _answer(name: str) -> None:
    if name in ("-h", "--help", "help"):
        print("usage: sact COMMAND …\n\nSACT Explorer: see where a network thinks.\n")
        for command, what in COMMANDS.items():
            print(f"  {command:<13}{what}")
        print("\nsact COMMAND --help lists its flags; networks go by file or by name.")
    elif name in ("-V", "--version"):
        print(__version__)
    else:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        meant = f"did you mean {near[0]}?" if near else "sact --help lists them"
        raise ValueError(f"there is no command {name!r}: {meant}")


if __name__ == "__main__":
    sys.exit(main())
