"""Accuracies that were computed once, by network, side, images and software.

An accuracy takes a pass over a whole split; it is the same on every machine of a kind, quiet
or busy. So it is kept in a file, and runs that measure time look it up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sact_core import __version__
from sact_core.benchmark.sides import SIDES, Kind
from sact_core.files import written_beside
from sact_core.provenance import versions
from sact_core.shipped import networks_dir
from sact_core.untrusted_json import from_json

#: Name of the file, in the folder of results and beside the shipped networks.
FILE = "accuracies.json"

#: What makes two entries the same.
KEYS = ("content_hash", "scales", "tau", "side", "data", "count", "versions")

#: Numbers and texts that every entry has beside them.
FACTS = {"accuracy": float, "mflops": float, "dense_mflops": float, "network": str, "twin": str}

Entry = dict[str, Any]


def software_of(side: str) -> dict[str, str]:
    """Versions that a side's answers depend on."""
    if SIDES[side].kind is Kind.OWN:
        return {"sact_core": __version__}
    packages = SIDES[side].packages
    return {name: version for name, version in versions(packages).items() if name in packages}


def shipped() -> Path:
    """The file beside the shipped networks."""
    return networks_dir() / FILE


def load(path: Path) -> list[Entry]:
    """Read entries; none where there is no file.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    if not path.exists():
        return []
    try:
        entries = from_json(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise ValueError("it holds no list")
        for entry in entries:
            if entry["side"] not in SIDES or any(key not in entry for key in KEYS):
                raise ValueError("an entry is of no side, or lacks a fact")
            if not all(isinstance(entry[key], kind) for key, kind in FACTS.items()):
                raise ValueError("an entry lacks a fact")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"an entry lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{path} holds no accuracies ({reason}): remove it, and they are computed anew"
        ) from None
    return entries


def find(entries: Iterable[Entry], wanted: Entry) -> Entry | None:
    """The entry whose `KEYS` are those that are wanted."""
    return next((e for e in entries if all(e[key] == wanted[key] for key in KEYS)), None)


def store(path: Path, entry: Entry) -> None:
    """Put an entry into a file, in the place of what was computed with other software."""
    rest = [key for key in KEYS if key != "versions"]
    kept = [each for each in load(path) if any(each[key] != entry[key] for key in rest)]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(each) for each in [*kept, entry])
    with written_beside(path) as beside:
        beside.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
