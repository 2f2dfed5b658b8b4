"""Texts of strangers on a page: shown as they are, never read as anything; no Streamlit.

Names of files, classes and data sets, commands, runs and the values of links may come
from anybody. Streamlit reads most of what it is given as Markdown, and Plotly reads
tags. `plain` is for the former, `figure_text` for the latter, `short` for what takes
text as it is: select boxes, tables of data, code and the viewer.
"""

from __future__ import annotations

import re

from sact_core.texts import cut, shown

#: Characters of a text: of a name, and of what may be a sentence or a path.
MAX_NAME, MAX_TEXT = 80, 400
#: Lines of a message.
MAX_LINES = 12

#: Seen by nobody; parts what would be replaced after Markdown was read: addresses, which
#: become links, and names between colons, which become pictures.
JOINER = "\u2060"
_ESCAPED = re.compile(r"[\\`*\[\]<>~$&|]|(?<!\w)_|_(?!\w)")
_AFTER_COLON = re.compile(r":(?=[A-Za-z_+/-]|[\w+-]+:)")
_WWW = re.compile(r"(?<=www)(?=\.)", re.IGNORECASE)
_SYMBOL = re.compile(r"(?<!\S)([<>~-])(?=-?[->=](?!\S))")
_BLOCK = re.compile(r"^([-+=#]|\d{1,9}(?=[.)](\s|$)))")


def plain(text: object, most: int = MAX_TEXT) -> str:
    """Give a text as Markdown that shows it as it is: one line, of about ``most`` characters.

    Nothing in it becomes a picture, a link, a colour, a formula or a heading, and no
    address is made one; control characters are shown as Python writes them.
    """
    line = short(text, most).strip()
    line = _SYMBOL.sub(rf"\1{JOINER}", _AFTER_COLON.sub(f":{JOINER}", line))
    line = _WWW.sub(JOINER, line).replace("@", f"{JOINER}@")
    line = _ESCAPED.sub(lambda found: f"\\{found[0]}", line)
    return _BLOCK.sub(lambda found: _stopped(found[1]), line)


def plain_lines(text: object, most_lines: int = MAX_LINES) -> str:
    """Give a message as Markdown, as `plain`; lines that begin with ``-`` stay a list."""
    lines = str(text).split("\n")
    if len(lines) > most_lines + 1:
        lines[most_lines:] = [f"… and {len(lines) - most_lines:,} more"]
    listed = [(line.removeprefix("- "), line.startswith("- ")) for line in lines]
    return "\n".join(
        f"- {plain(line, 1000)}" if item else plain(line, 1000) for line, item in listed
    )


def short(text: object, most: int = MAX_NAME) -> str:
    """Give a text as one line without control characters, of about ``most`` characters."""
    return cut(shown(str(text)[: 20 * most]), most)


def figure_text(text: object, most: int = MAX_NAME) -> str:
    """Give a text so that Plotly, which reads tags, shows it as it is."""
    line = short(text, most)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code_span(text: object, most: int = MAX_TEXT) -> str:
    """Give a text as code in a line of Markdown."""
    line = short(text, most)
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def file_stem(*parts: str) -> str:
    """Give the name of a file to download, made of parts that may hold anything."""
    kept = "_".join(re.sub(r"[^\w.+-]+", "_", short(part)).strip("_") for part in parts)
    return kept.strip("._") or "file"


def uploaded_name(name: str) -> str:
    """Give the name of a file that was uploaded, which may hold anything, without folders."""
    return shown(name.replace("\\", "/").rsplit("/", 1)[-1][:MAX_NAME])


def _stopped(start: str) -> str:
    return f"{start}\\" if start.isdigit() else f"\\{start}"
