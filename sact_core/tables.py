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
from sact_core.texts import escaped, shown

#: Endings of tables.
TABLES = (".csv", ".tex", ".md")
#: Endings of files of many rows, as one for each image.
ROWS = (".csv", ".parquet")

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


def check_rows(path: str) -> None:
    """Refuse a file of ``--per-image`` that could not be written.

    Raises
    ------
    ValueError
        If its ending is none of `ROWS`, or it is Parquet and pyarrow is not installed.
    """
    import importlib.util

    ending = Path(path).suffix.lower()
    if ending not in ROWS:
        raise ValueError(f"--per-image {shown(path)} must end in {' or '.join(ROWS)}")
    if ending == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ValueError(
            "a Parquet file needs pyarrow, which is not installed: pip install pyarrow, or let "
            "--per-image end in .csv"
        )


def write_rows(
    path: str, header: Sequence[str], rows: Sequence[Sequence[Any]], about: Mapping[str, Any]
) -> None:
    """Write many rows as CSV or Parquet, with where they come from in comments or metadata.

    Parameters
    ----------
    path : str
        Ends in one of `ROWS`.
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence
        Texts, numbers, booleans and None.
    about : mapping
        As in `table_text`.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if Path(path).suffix.lower() == ".parquet":
        write_bytes(path, _parquet(header, rows, about))
        return
    cells = [[_cell(value) for value in row] for row in rows]
    write_bytes(path, _csv(header, cells, about_lines(about)).encode())


def about_lines(about: Mapping[str, Any]) -> list[str]:
    """What a file says of its origin, a line for each value."""
    return [f"{name}: {text}" for name, text in about_texts(about).items()]


def about_texts(about: Mapping[str, Any]) -> dict[str, str]:
    """What a file says of its origin, each value as a text of one line."""
    return {name: _one_line(value) for name, value in about.items()}


def _one_line(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return escaped(text)


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]], about: Sequence[str]) -> str:
    out = io.StringIO()
    out.writelines(f"# {line}\n" for line in about)
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return f"{value:.9g}" if isinstance(value, float) else value


def _parquet(
    header: Sequence[str], rows: Sequence[Sequence[Any]], about: Mapping[str, Any]
) -> bytes:
    import pyarrow
    from pyarrow import parquet

    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    table = pyarrow.table(columns).replace_schema_metadata(about_texts(about))
    out = io.BytesIO()
    parquet.write_table(table, out)
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
