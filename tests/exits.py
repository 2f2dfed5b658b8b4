"""How a command ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

Main = Callable[[Sequence[str]], int]


def exit_code(main: Main, argv: Sequence[str]) -> int:
    """What a command returns, or what it ends with where a flag cannot be read."""
    try:
        return main(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


def fails(main: Main, capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """Run a command, which must fail; give what it says, which is an error and nothing else."""
    capsys.readouterr()  # what was said before
    assert exit_code(main, [str(arg) for arg in argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    return said.err


def one_sentence(main: Main, capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """As `fails`, in one sentence."""
    said = fails(main, capsys, *argv)
    assert said.count("\n") == 1
    return said
