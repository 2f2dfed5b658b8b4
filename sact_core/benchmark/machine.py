"""Where and with what a measurement was made, and which file holds it.

Every kind of machine has files of its own, ``infer-amd-epyc-2-cores-avx2.json``
for one, so that times of different machines never stand in one table. Within a
file every row says the revision and the packages that it was measured with.
"""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from sact_core.files import read_small
from sact_core.provenance import hardware, versions
from sact_core.untrusted_json import from_json

MAX_BYTES = 64 << 20  # of results

#: Instruction sets that decide about the speed of vector code, the widest last.
VECTORS = ("asimd", "avx2", "avx512f")

#: What makes two machines the same kind: processor and cores, and its vectors.
KIND = ("hardware", "vectors")

#: Packages of the sides that are not in `sact_core.provenance.PACKAGES`.
RIVALS = ("numba", "onnx", "onnxruntime", "openvino", "nncf")


def machine() -> dict[str, Any]:
    """Describe where the measurement runs."""
    found: dict[str, Any] = {"hardware": hardware(), "system": platform.platform(terse=True)}
    info = Path("/proc/cpuinfo")
    if info.exists():
        text = info.read_text()
        flags = re.split(r"flags|Features", text, maxsplit=1)[-1].partition("\n")[0].split()
        found["vectors"] = ", ".join(each for each in VECTORS if each in flags)
    memory = Path("/proc/meminfo")
    if memory.exists():
        found["memory_gib"] = round(int(memory.read_text().split()[1]) / 2**20, 1)
    return found


def software() -> dict[str, str]:
    """Say what is measured: the revision of this repository, and versions of packages."""
    return {"revision": _revision(), **versions(), **versions(RIVALS)}


def slug(where: dict[str, Any]) -> str:
    """Name a kind of machine in a file name: processor, cores, widest vectors.

    Parameters
    ----------
    where : dict
        From `machine`.
    """
    widest = where.get("vectors", "").split(", ")[-1].removesuffix("f")
    words = re.findall(r"[a-z0-9]+", f"{where['hardware']} {widest}".lower())
    return "-".join(words)


def results_path(folder: Path, what: str, where: dict[str, Any]) -> Path:
    """Give the JSON file of a measurement of one kind of machine.

    Parameters
    ----------
    folder : Path
        Where results lie.
    what : str
        ``"infer"``, ``"family"``, ``"halting"`` or ``"train"``.
    where : dict
        From `machine`.
    """
    return folder / f"{what}-{slug(where)}.json"


def read_results(path: Path) -> dict[str, Any]:
    """Read results: ``machine`` and ``rows`` at least.

    Raises
    ------
    ValueError
        If the file is no JSON object with a machine and rows.
    """
    data = read_small(path, MAX_BYTES, "results")
    try:
        values = from_json(data)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    rows, where = values.get("rows"), values.get("machine")
    if not isinstance(where, dict) or "hardware" not in where or not isinstance(rows, list):
        raise ValueError(f"{path} holds no results: it names no machine, or has no rows")
    if not all(isinstance(row, dict) and isinstance(row.get("software"), dict) for row in rows):
        raise ValueError(f"{path} has rows that do not say with what software they were measured")
    return values


def earlier_results(path: Path, where: dict[str, Any]) -> dict[str, Any]:
    """Read what this kind of machine measured before, or nothing.

    Raises
    ------
    ValueError
        As `read_results`; if the file holds results of another kind of machine.
    """
    if not path.exists():
        return {"machine": where, "rows": []}
    values = read_results(path)
    if any(values["machine"].get(key) != where.get(key) for key in KIND):
        other = values["machine"]
        raise ValueError(
            f"{path} holds results of another machine ({other['hardware']}, "
            f"{other.get('vectors') or 'no vectors named'}): move it away, or give another --out"
        )
    return {**values, "machine": where}


def softwares(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Give every software that rows were measured with, once, in their order."""
    found: list[dict[str, str]] = []
    for row in rows:
        if row["software"] not in found:
            found.append(row["software"])
    return found


def _revision() -> str:
    """The commit that is checked out, and whether the program differs from it."""
    here = Path(__file__).resolve().parents[1]

    def git(*argv: str) -> str:
        done = subprocess.run(["git", "-C", here, *argv], capture_output=True, text=True)
        done.check_returncode()
        return done.stdout.strip()

    try:
        if not git("ls-files", "--", __file__):  # some other repository's folder
            return "unknown"
        commit = git("rev-parse", "--short=10", "HEAD")
        changed = git("status", "--porcelain", "--", str(here))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with changes" if changed else commit
