"""A setting says what it is where it stands: help, bounds and choices, in its field.

::

    @described
    @dataclass(frozen=True)
    class Recipe:
        \"\"\"How to train.

        Parameters
        ----------
        {settings}
        \"\"\"

        momentum: float = setting(0.9, "of SGD", low=0, high=1)

        def __post_init__(self) -> None:
            check_settings(self)

The docstring, the refusal of what makes no sense and a command's flags
(`add_setting`) read what stands there.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Record = TypeVar("Record")

WIDTH = 88  # of a docstring
KINDS: tuple[type, ...] = (bool, int, float, str)


@dataclass(frozen=True)
class Setting:
    """What is known of a field.

    Attributes
    ----------
    name : str
        Of the field.
    kind : type
        bool, int, float or str.
    optional : bool
        Whether None is a value.
    default : object
        Its default.
    help : str
        What it is: an unfinished sentence, so that it can follow a flag.
    low, high : float, optional
        Its bounds, both included.
    choices : tuple, optional
        All that it may be.
    group : str
        Of flags, where it is one.
    """

    name: str
    kind: type
    optional: bool
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] | None = None
    group: str = ""

    def check(self, value: object) -> None:
        """Refuse a value that makes no sense.

        Raises
        ------
        ValueError
            If it is of another kind, out of bounds or none of the choices.
        """
        if value is None and self.optional:
            return
        problem = self._problem(value)
        if problem is not None:
            raise ValueError(f"{self.name} must be {problem}, got {value!r}")

    def _problem(self, value: object) -> str | None:
        """What a value must be that is not; None where all is well."""
        if self.choices is not None:
            # 1 == True == 1.0, and a list is in no set: the kind counts too.
            fits = type(value) is self.kind and value in self.choices
            return None if fits else f"one of {', '.join(map(str, self.choices))}"
        if self.kind is bool:
            return None if isinstance(value, bool) else "true or false"
        if self.kind is str:
            return None if isinstance(value, str) else "a text"
        numbers = int if self.kind is int else int | float
        fits = isinstance(value, numbers) and not isinstance(value, bool)
        if not fits or not self._is_within(value):
            what = "a whole number" if self.kind is int else "a finite number"
            if self.low is None or self.high is None:
                return what
            write = str if self.kind is int else "{:g}".format
            bounds = f"from {write(self.low)} to {write(self.high)}"
            return f"{what} {bounds}" if self.kind is int else bounds
        return None

    def _is_within(self, value: Any) -> bool:
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return low <= value <= high and (self.kind is int or math.isfinite(value))

    def lines(self) -> str:
        """Say in a docstring what it is."""
        text = self.help[0].upper() + self.help[1:] + "."
        if self.choices is not None:
            text += " One of " + ", ".join(f"``{choice!r}``" for choice in self.choices) + "."
        head = f"    {self.name} : {self.kind.__name__}" + (", optional" if self.optional else "")
        return f"{head}\n{textwrap.indent(textwrap.fill(text, WIDTH - 8), 8 * ' ')}"


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
    group: str = "",
) -> Any:
    """Make a dataclass field that says what it is; see `Setting`."""
    choices = None if choices is None else tuple(choices)
    known = {"help": help, "low": low, "high": high, "choices": choices, "group": group}
    return dataclasses.field(default=default, metadata={"setting": known})


def settings(kind: type) -> Mapping[str, Setting]:
    """Give the settings of a dataclass by name, in the order of its fields."""
    if kind in _KNOWN:
        return _KNOWN[kind]
    hints = typing.get_type_hints(kind)
    found = {}
    for field in dataclasses.fields(kind):
        if "setting" not in field.metadata:
            continue
        hint, optional = hints[field.name], False
        if isinstance(hint, types.UnionType):
            optional = type(None) in hint.__args__
            (hint,) = (each for each in hint.__args__ if each is not type(None))
        assert hint in KINDS, f"{field.name}: {hint} is no kind of setting"
        known = field.metadata["setting"]
        found[field.name] = Setting(field.name, hint, optional, field.default, **known)
    _KNOWN[kind] = types.MappingProxyType(found)
    return _KNOWN[kind]


#: Of every dataclass that was asked for: type hints are slow to read.
_KNOWN: dict[type, Mapping[str, Setting]] = {}


def check_settings(record: Any) -> None:
    """Refuse a record of which a setting makes no sense.

    Raises
    ------
    ValueError
        As `Setting.check`; the message names the setting.
    """
    for name, each in settings(type(record)).items():
        each.check(getattr(record, name))


def described(kind: type[Record]) -> type[Record]:
    """Put what is known of a dataclass' settings into its docstring, for ``{settings}``."""
    if kind.__doc__ is not None:  # None under -OO
        lines = "\n".join(each.lines() for each in settings(kind).values())
        kind.__doc__ = kind.__doc__.replace("    {settings}", lines)
    return kind


def add_setting(
    parser: Any, each: Setting, defaults: str = "", choices: Sequence[Any] | None = None
) -> None:
    """Add the flag of a setting to a parser, or to a group of one.

    A flag that is not given is no attribute of what is parsed.

    Parameters
    ----------
    parser : ArgumentParser or group
        What to add it to.
    each : Setting
        What it sets; its name with hyphens is the flag's.
    defaults : str
        Said of what holds without it.
    choices : sequence, optional
        What the flag takes, where that is more than the setting.
    """
    text = each.help + (f" ({defaults})" if defaults else "")
    options: dict[str, Any] = {"help": text.replace("%", "%%"), "default": argparse.SUPPRESS}
    if each.kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options |= {"type": each.kind, "choices": choices or each.choices}
    parser.add_argument(f"--{each.name.replace('_', '-')}", **options)
