"""Try many inputs: ``make fuzz``, or

::

    python -m tests.fuzz [KIND …] [--seed 1] [--first 0] [-n 1000] [--keep build/fuzz]

``-n`` counts inputs of the cheapest kinds; of slower ones as many are tried as take
about as long, at least one. Ends with 1 where a fault was found.
"""

from __future__ import annotations

import argparse
import collections
import sys
from pathlib import Path

from tests.fuzz.campaign import campaign
from tests.fuzz.worker import KINDS


def main(argv: list[str] | None = None) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("-n", type=int, default=1000, help="inputs of the cheapest kinds")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="for faults")
    args = parser.parse_args(argv)
    chosen = args.kinds or list(KINDS)
    if unknown := set(chosen) - set(KINDS):
        parser.error(f"no kind {', '.join(sorted(unknown))}: choose from {', '.join(KINDS)}")
    numbers = {
        kind: range(args.first, args.first + max(1, args.n // KINDS[kind].cost)) for kind in chosen
    }
    tried: collections.Counter[str] = collections.Counter()
    faults: collections.Counter[str] = collections.Counter()
    for kind, _, fault in campaign(numbers, args.seed, args.keep.absolute()):
        tried[kind] += 1
        if fault is not None:
            faults[kind] += 1
            print(fault, flush=True)
        if tried[kind] == len(numbers[kind]):
            print(f"{kind}: {tried[kind]} inputs, {faults[kind]} faults", flush=True)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
