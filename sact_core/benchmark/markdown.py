"""Parts of a report in Markdown: tables, and what was measured where and with what."""

from __future__ import annotations

from typing import Any

from sact_core.benchmark.machine import softwares

Row = dict[str, Any]


class Software:
    """A column for the number of the software that a row was measured with.

    It is there only where not all rows agree; `where` says what the numbers mean.
    """

    def __init__(self, rows: list[Row]) -> None:
        self.known = softwares(rows)
        self.head = ["software"] if len(self.known) > 1 else []

    def cell(self, row: Row) -> list[str]:
        """Give the cell of a row, if there is a column."""
        return [str(self.known.index(row["software"]) + 1)] if self.head else []


def where(values: dict[str, Any]) -> str:
    """Say machine and software of results, numbered where there are several."""
    here = values["machine"]
    vectors = f" ({here['vectors']})" if here.get("vectors") else ""
    memory = f", {here['memory_gib']} GiB" if "memory_gib" in here else ""
    dates = sorted({row["when"][:10] for row in values["rows"] if "when" in row})
    when = " " + " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else ""
    text = f"Measured{when} on {here['hardware']}{vectors}{memory}, {here['system']}"
    known = [
        ", ".join(f"{name} {version}" for name, version in each.items())
        for each in softwares(values["rows"])
    ]
    if len(known) == 1:
        lines = [f"{text}; {known[0]}."]
    else:
        listed = [f"{i}. {each}." for i, each in enumerate(known, start=1)]
        lines = [f"{text}. Rows name the software that they were measured with:", "", *listed]
    for by in commands(values["rows"]):
        lines += ["", f"    {by}"]
    return "\n".join(lines)


def commands(rows: list[Row]) -> list[str]:
    """Give every command that rows were measured by, once; older rows say none."""
    return list(dict.fromkeys(row["command"] for row in rows if "command" in row))


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write a table whose first column is of words and whose others are of numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
