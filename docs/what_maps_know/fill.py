"""Put the rows of the commands' tables into the page that tells of them.

::

    python docs/what_maps_know/fill.py            # after the page's commands have run here

Before each table of the page stands whose rows it has, and which columns of them, counted from 0::

    <!-- rows of doubt.md where 10 is not –: 0 1 9 10 -->
    <!-- rows of damage.md where 1 is –, 1, 3, 5: 0 1 1:3 2:3 3:3 -->

``2:3`` is column 3 of the second of several networks that share the columns 0 and 1. Heads of the
page's tables are its own.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "what_maps_know.md"
MARK = re.compile(
    r"<!-- rows of (?P<files>[\w.,\s-]+?\.md)"
    r"(?: where (?P<column>\d+) is (?P<no>not )?(?P<values>[^:]+))?: (?P<cells>[\d: ]+) -->\n"
    r"(?P<head>\|.*\n\|.*\n)(?P<rows>(?:\|.*\n)*)"
)


def filled(page: str, folder: Path = HERE) -> str:
    """The page with the rows that the tables in a folder have now."""
    return MARK.sub(lambda found: _table(found, folder), page)


def _table(found: re.Match[str], folder: Path) -> str:
    rows = [row for file in found["files"].split(", ") for row in _rows(folder / file)]
    if found["column"] is not None:
        values, wanted = found["values"].split(", "), found["no"] is None
        rows = [row for row in rows if (row[int(found["column"])] in values) == wanted]
    cells = found["cells"].split()
    if any(":" in cell for cell in cells):
        together: dict[tuple[str, str], list[list[str]]] = {}
        for row in rows:
            together.setdefault((row[0], row[1]), []).append(row)
        lines = [[_cell(cell, networks) for cell in cells] for networks in together.values()]
    else:
        lines = [[row[int(cell)] for cell in cells] for row in rows]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return found[0][: found.start("rows") - found.start()] + text


def _rows(file: Path) -> list[list[str]]:
    lines = [line for line in file.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]
    return [[each.replace(" any tau", " for any tau") or "–" for each in row] for row in cells]


def _cell(cell: str, networks: list[list[str]]) -> str:
    which, _, column = cell.rpartition(":")
    return networks[int(which or 1) - 1][int(column)]


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
    print(f"filled: {PAGE}")
