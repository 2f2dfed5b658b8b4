"""Numbers on a command line: every flag that takes one has bounds, whoever adds it."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from sact_core.commands.running import escaping
from sact_core.processes import MAX_THREADS

#: Beyond is no sensible number: of whole ones, which seeds may nearly be, and of others.
MOST_WHOLE, MOST = 10**18, 1e9

#: Of what flags count, by the end of their names: beyond, memory or time is gone before
#: anything else is refused.
MOST_OF = {
    "threads": MAX_THREADS,
    "workers": MAX_THREADS,
    "batch_size": 1 << 20,
    "num_images": 1 << 20,
    "num_batches": 1 << 20,
    "num_examples": 1 << 40,
    "rounds": 100_000,
}


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Read a command line; its numbers are finite and within bounds.

    What cannot be read is said in one line, and ends the command with exit code 2. A flag's
    own bounds, where they are closer, are whoever's who reads it. Flags that take several
    numbers or choices take them with commas or spaces between.
    """
    _bound(parser)
    with escaping():
        return parser.parse_args(_spread(parser, sys.argv[1:] if argv is None else argv))


def at_least_one(args: argparse.Namespace, *names: str) -> None:
    """Refuse flags that count something and are below 1, or ask for far too much of it.

    Raises
    ------
    ValueError
        If one is or does; the message names it.
    """
    for name in names:
        value, flag = getattr(args, name), f"--{name.replace('_', '-')}"
        most = next((MOST_OF[end] for end in MOST_OF if name.endswith(end)), None)
        if value is None or 1 <= value <= (most or value):
            continue
        if value < 1 and most != MAX_THREADS:
            raise ValueError(f"{flag} must be at least 1, got {value}")
        raise ValueError(f"{flag} must be from 1 to {most}, got {value}")


def _spread(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """Words in which every item of a list stands by itself."""
    lists, found, left = _lists(parser), [], 0
    for word in argv:
        flag, is_one, value = word.partition("=")
        if flag in lists:
            left = lists[flag]
            found.append(flag)
            word = value
            if not is_one:
                continue
        elif re.match(r"-\D", word):
            left = 0
        items = [item for item in word.split(",") if item] if left > 0 else [word]
        found += items
        left -= len(items)
    return found


def _lists(parser: argparse.ArgumentParser) -> dict[str, int]:
    """Flags of several numbers or choices, and how many they take at most."""
    found: dict[str, int] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                found |= _lists(part)
        elif action.choices or action.type in (_whole, _number):
            most = sys.maxsize if action.nargs == "+" else action.nargs
            if isinstance(most, int) and most > 1:
                found |= dict.fromkeys(action.option_strings, most)
    return found


def _say(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    parser.exit(2, f"error: {message} (flags: {parser.prog} --help)\n")


def _bound(parser: argparse.ArgumentParser) -> None:
    if Path(sys.argv[0]).stem == "sact":  # the console command, `sact_core.__main__`
        parser.prog = re.sub(r"^python -m sact_core\.(\w+)", _as_typed, parser.prog)
    parser.error = partial(_say, parser)  # type: ignore[method-assign]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                _bound(part)
        elif action.type is int:
            action.type = _whole
        elif action.type is float:
            action.type = _number


def _as_typed(module: re.Match[str]) -> str:
    return f"sact {module[1].replace('_', '-')}"


def _whole(text: str) -> int:
    try:
        value = int(text) if len(text) < 100 else None  # Python counts digits itself
    except ValueError:
        value = None
    if value is None or abs(value) > MOST_WHOLE:
        raise argparse.ArgumentTypeError(
            f"must be a whole number of at most 18 digits, got {_cut(text)}"
        )
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= MOST:
        what = f"number from {-MOST:g} to {MOST:g}" if math.isfinite(value) else "finite number"
        raise argparse.ArgumentTypeError(f"must be a {what}, got {_cut(text)}")
    return value


def _cut(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
