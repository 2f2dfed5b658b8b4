"""Names of files as text that can be written anywhere.

A name is bytes to the system, and old archives hold names that are not UTF-8. Python
keeps such bytes as half characters, which open the file again, but which no terminal,
HDF5 file or JSON reader takes. Whoever opens a file has its path as it is; whatever is
said or written of it goes through here.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any


def shown(name: str | os.PathLike[str]) -> str:
    r"""Give a name as text: bytes that are not UTF-8 as ``\xe9``, all else as it is."""
    text = os.fspath(name)
    try:
        text.encode()
    except UnicodeEncodeError:
        with contextlib.suppress(UnicodeEncodeError):
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        # Half characters that stand for no byte: Windows allows them.
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def shown_values(values: Any) -> Any:
    """Apply `shown` to every text in plain JSON values."""
    if isinstance(values, str):
        return shown(values)
    if isinstance(values, dict):
        return {shown_values(key): shown_values(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [shown_values(value) for value in values]
    return values
