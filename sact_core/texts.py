r"""Texts of strangers, made so that they can be written anywhere.

A name is bytes to the system, and old archives hold names that are not UTF-8. Python
keeps such bytes as half characters, which open the file again, but which no terminal,
HDF5 file or JSON reader takes. Names, and what stands in files, may also hold characters
that steer a terminal or turn the direction of what follows, and be of any length. Whoever
opens a file has its path as it is; whatever is said or written of it goes through here:
`shown` for one name, `plain` for a message.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

#: Of a message.
MAX_LINES, MAX_LINE = 30, 1000

#: Control characters, line and paragraph separators, marks that change the direction of
#: text, half characters. Those that join letters (as in Persian and in emoji) are text.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

#: What only writing runs into.
_UNWRITABLE = (errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)

#: What a byte that is not UTF-8 is shown as.
_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")


def shown(name: str | os.PathLike[str]) -> str:
    r"""Give a name as one line of text that steers nothing.

    Bytes that are not UTF-8 become ``\xe9`` and the like, as do control characters
    (``\n``, ``\x1b``, ``\u202e``); all else is as it is.
    """
    return escaped(_writable(os.fspath(name)))


def unshown(path: Path) -> Path:
    r"""Find the file whose path `shown` wrote with bytes that are not UTF-8 as ``\\xe9``.

    Parameters
    ----------
    path : Path
        As `shown` gave it.

    Returns
    -------
    Path
        With the bytes put back; as it is where it has none, or there is no such file.
    """
    raw = _BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), str(path))
    return Path(raw) if raw != str(path) and os.path.exists(raw) else path


def escaped(text: str, keep: str = "") -> str:
    r"""Replace control characters by what stands for them in Python, such as ``\x1b``.

    Parameters
    ----------
    text : str
        Any.
    keep : str
        Those that stay, such as ``"\n"``.
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def cut(text: str, most: int = MAX_LINE) -> str:
    """Shorten a line to about ``most`` characters: the middle goes, and how much is said."""
    if len(text) <= most:
        return text
    end = most // 4
    return f"{text[: most - end]} … {len(text) - most:,} more characters … {text[-end:]}"


def plain(text: object, most_lines: int = MAX_LINES, most: int = MAX_LINE) -> str:
    """Give a message as a terminal or a page may show it: whole lines, few and short.

    Parameters
    ----------
    text : object
        A text, or what makes one, such as an error; one of the system is put in words.
    most_lines, most : int
        Lines that are kept of it, and characters of each. Where more lines go, the last
        one says how many.
    """
    lines = (told(text) if isinstance(text, BaseException) else str(text)).split("\n")
    more = len(lines) - most_lines
    if more > 1:
        lines[most_lines:] = [f"… and {more:,} more lines"]
    return "\n".join(shown(cut(line, most)) for line in lines)


def told(error: BaseException) -> str:
    """Put an error of the system in words: ``there is no file cat.jpg``.

    Parameters
    ----------
    error : BaseException
        An OSError of the system has a number and a path; any other error says already what
        is wrong.
    """
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    name = error.filename
    if not isinstance(name, str | bytes | os.PathLike):
        return str(error)
    path = os.fsdecode(name)
    if error.errno == errno.ENOENT:
        kind = "file" if os.path.splitext(path)[1] else "file or folder"
        return f"there is no {kind} {path}"
    if error.errno == errno.EISDIR:
        return f"{path} is a folder, not a file"
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and os.path.lexists(path):
        return f"{path} exists" if os.path.isdir(path) else f"{path} is a file, not a folder"
    if error.errno == errno.ENOTDIR:
        return f"there is no file {path}: a part of its path is no folder"
    verb = "write" if error.errno in _UNWRITABLE else "open"
    return f"cannot {verb} {path}: {(error.strerror or 'no reason given').lower()}"


def lasting(seconds: float) -> str:
    """Say how long something takes, for people: ``40 s``, ``12 min``, ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(round(seconds), 1)} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 10:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def shown_values(values: Any) -> Any:
    """Make every text in plain JSON values one that a file takes, as `shown` does.

    Control characters stay: JSON escapes them itself.
    """
    if isinstance(values, str):
        return _writable(values)
    if isinstance(values, dict):
        return {shown_values(key): shown_values(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [shown_values(value) for value in values]
    return values


def _writable(text: str) -> str:
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half characters that stand for no byte: Windows allows them
        return text.encode("utf-8", "backslashreplace").decode()


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
