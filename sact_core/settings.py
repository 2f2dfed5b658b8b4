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

import dataclasses
import sys
import textwrap
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Record = TypeVar("Record")

WIDTH = 88  # of a docstring
TELLING = 100_000  # a bound beyond is there against nonsense, and not told
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
    choices : collection, optional
        All that it may be; a table that grows is looked into when it counts.
    group : str
        Of flags, where it is one.
    open_low : bool
        Whether ``low`` itself is out of bounds.
    """

    name: str
    kind: type
    optional: bool
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: Collection[Any] | None = None
    group: str = ""
    open_low: bool = False

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
            mark = "," if self.choices is None else ";"
            raise ValueError(f"{self.name} must be {problem}{mark} got {value!r}")

    def _problem(self, value: object) -> str | None:
        """What a value must be that is not; None where all is well."""
        if self.choices is not None:
            # 1 == True == 1.0, and a list is in no table: the kind counts too.
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
            if self.kind is int:
                return f"{what} from {self.low} to {self.high}"
            if self.open_low:
                return f"above {self.low:g} and at most {self.high:g}"
            return f"from {self.low:g} to {self.high:g}"
        return None

    def _is_within(self, value: Any) -> bool:
        most = sys.float_info.max  # a whole number may be larger, and no float at all
        low = -most if self.low is None else self.low
        high = most if self.high is None else self.high
        return low <= value <= high and not (self.open_low and value == low)

    def lines(self) -> str:
        """Say in a docstring what it is."""
        text = self.help[0].upper() + self.help[1:] + "."
        if self.choices is not None:
            text += " One of " + ", ".join(f"``{choice!r}``" for choice in self.choices) + "."
        if self.low is not None and self.high is not None and self.high <= TELLING:
            begin, to = ("Above", ", at most") if self.open_low else ("From", " to")
            text += f" {begin} {self.low:g}{to} {self.high:g}."
        head = f"    {self.name} : {self.kind.__name__}" + (", optional" if self.optional else "")
        return f"{head}\n{textwrap.indent(textwrap.fill(text, WIDTH - 8), 8 * ' ')}"


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Collection[Any] | None = None,
    group: str = "",
    open_low: bool = False,
) -> Any:
    """Make a dataclass field that says what it is; see `Setting`."""
    known = {"help": help, "low": low, "high": high, "choices": choices, "group": group}
    known["open_low"] = open_low
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
    parser: Any, each: Setting, defaults: str = "", choices: Collection[Any] | None = None
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
    choices : collection, optional
        What the flag takes, where that is more than the setting.
    """
    import argparse

    text = each.help + (f" ({defaults})" if defaults else "")
    options: dict[str, Any] = {"help": text.replace("%", "%%"), "default": argparse.SUPPRESS}
    if each.kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options |= {"type": each.kind, "choices": choices or each.choices}
    parser.add_argument(f"--{each.name.replace('_', '-')}", **options)
