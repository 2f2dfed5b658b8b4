"""Where results of this machine go, and what it left there before."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from sact_core import __version__
from sact_core.benchmark.machine import earlier_results, machine, results_path, software


def earlier(out: str, what: str) -> tuple[Path, dict[str, Any]]:
    """Give the file of a measurement of this machine, and what is in it.

    Parameters
    ----------
    out : str
        Folder; made where it is missing, before the long work.
    what : str
        As `machine.results_path`.

    Raises
    ------
    ValueError
        As `machine.earlier_results`.
    OSError
        If the folder cannot be made.
    """
    where = machine()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    path = results_path(folder, what, where)
    return path, earlier_results(path, where)


def signed(rows: list[dict[str, Any]], command: str) -> list[dict[str, Any]]:
    """Rows that say what they were measured with, when (UTC), and by which command."""
    signature = software()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    by = {"version": __version__, "command": command}
    return [{**row, "software": signature, "when": now, **by} for row in rows]


def finish(path: Path, values: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write results and say where."""
    from sact_core.benchmark.report import write_results

    write_results(path, {**values, "rows": rows})
    print(f"{path.with_suffix('.md')} holds the results.")
