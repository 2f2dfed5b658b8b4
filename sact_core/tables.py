"""Tables as files, each with what it shows and how it was made inside.

CSV and Markdown for people and programs, LaTeX (booktabs) for papers; of many rows CSV
or Parquet.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sact_core.files import write_bytes
from sact_core.texts import escaped

#: Endings of tables.
TABLES = (".csv", ".tex", ".md")

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def write_table(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], about: Mapping[str, Any]
) -> None:
    """Write a table as its ending says: CSV, LaTeX (booktabs) or Markdown.

    Parameters
    ----------
    path : Path
        Ends in one of `TABLES`.
    header, rows, about
        As in `table_text`.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    write_bytes(path, table_text(path.suffix.lower(), header, rows, about).encode())


def table_text(
    ending: str, header: Sequence[str], rows: Sequence[Sequence[str]], about: Mapping[str, Any]
) -> str:
    """Give a table as text.

    Parameters
    ----------
    ending : str
        One of `TABLES`.
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
        The cells.
    about : mapping
        What it shows and how it was made: ``title``, ``version`` and more, word for word: in
        lines of comment that come first, of Markdown in a block of code that comes last.
    """
    write: dict[str, Callable[..., str]] = {".csv": _csv, ".tex": _latex, ".md": _markdown}
    return write[ending](header, rows, about_lines(about))


def about_lines(about: Mapping[str, Any]) -> list[str]:
    """What a file says of its origin, a line for each value."""
    return [f"{name}: {text}" for name, text in about_texts(about).items()]


def about_texts(about: Mapping[str, Any]) -> dict[str, str]:
    """What a file says of its origin, each value as a text of one line."""
    return {name: _one_line(value) for name, value in about.items()}


def _one_line(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return escaped(text)


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]], about: Sequence[str]) -> str:
    out = io.StringIO()
    out.writelines(f"# {line}\n" for line in about)
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]], about: Sequence[str]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in cells) + r" \\"

    return "\n".join(
        [
            *(f"% {line}" for line in about),
            f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            line(header),
            r"\midrule",
            *map(line, rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], about: Sequence[str]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    ruler = line(["---", *("--:" for _ in header[1:])])
    # In a fence all is text and stays as it is, which a comment would not allow of "--". No line
    # closes it: each begins with a name.
    origin = ["<details><summary>Origin</summary>", "", "```text", *about, "```", "", "</details>"]
    return "\n".join([line(header), ruler, *map(line, rows), "", *origin, ""])
