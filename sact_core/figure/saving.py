"""Write figures and tables, each with what it shows and how it was made inside the file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core.files import write_bytes, written_beside
from sact_core.texts import escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Endings of figures, and of tables.
FIGURES, TABLES = (".svg", ".pdf", ".png"), (".csv", ".tex", ".md")
#: Dots per inch of PNG, which the other figures do not have.
DPI = 300

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


@contextmanager
def style(font_size: float) -> Iterator[None]:
    """Draw with one size of type, the same bytes each time, maps and images kept apart."""
    import matplotlib

    with matplotlib.rc_context(
        {
            "font.size": font_size,
            "axes.titlesize": font_size,
            "axes.labelsize": font_size,
            "xtick.labelsize": font_size,
            "ytick.labelsize": font_size,
            "legend.fontsize": font_size,
            "text.parse_math": False,  # names are strangers'
            "image.composite_image": False,
            "pdf.fonttype": 42,  # type that a publisher can embed
            "svg.hashsalt": "sact",
        }
    ):
        yield


def write_figure(path: Path, figure: Figure, about: Mapping[str, Any]) -> None:
    """Write a figure at its own width, as its ending says.

    Parameters
    ----------
    path : Path
        Ends in one of `FIGURES`.
    figure : Figure
        Drawn within `style`.
    about : mapping
        What it shows and how it was made: ``title``, ``version`` and more, as JSON in the
        metadata of the file (SVG and PNG: Description, PDF: Subject).

    Raises
    ------
    OSError
        If it cannot be written.
    """
    kind, text = path.suffix.lower()[1:], json.dumps(about)
    title, creator = str(about["title"]), f"SACT Explorer {about['version']}"
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Title": title, "Description": text, "Creator": creator, "Date": None},
        "pdf": {"Title": title, "Subject": text, "Creator": creator, "CreationDate": None},
        "png": {"Title": title, "Description": text, "Software": creator},
    }
    with written_beside(path) as beside:
        figure.savefig(beside, format=kind, dpi=DPI, metadata=metadata[kind])


def write_table(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], about: Mapping[str, Any]
) -> None:
    """Write a table as its ending says: CSV, LaTeX (booktabs) or Markdown.

    Parameters
    ----------
    path : Path
        Ends in one of `TABLES`.
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
        The cells.
    about : mapping
        As in `write_figure`, word for word: in lines of comment that come first, of Markdown
        in a block of code that comes last.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    lines = [f"{name}: {_one_line(value)}" for name, value in about.items()]
    write: dict[str, Callable[..., str]] = {".csv": _csv, ".tex": _latex, ".md": _markdown}
    write_bytes(path, write[path.suffix.lower()](header, rows, lines).encode())


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
