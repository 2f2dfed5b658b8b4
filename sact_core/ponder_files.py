"""The files that `sact_core.ponder` writes of each photograph: names, and which are done.

A hundred thousand are looked through in half a minute, so that going on costs little.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sact_core.commands import refuse_existing
from sact_core.files import MAX_NAMED, clear_leftovers

ENDINGS = ("_im.png", "_ponder.png", "_overlay.png", "_colorbar.png", "_maps.h5")
_SIGNATURE = b"\x89HDF\r\n\x1a\n\0"  # of a file of HDF5, and the version that we write
_END = slice(40, 48)  # where such a file says how long it is


def output_stems(names: Sequence[str | Path], out: Path) -> list[Path]:
    """Beginnings of the output files' names, told apart where photographs share a name.

    Parameters
    ----------
    names : sequence of path
        What photographs are called; those of folders below a folder keep their folders.
    out : Path
        Where the files are to stand.
    """
    stems: dict[str, None] = {}
    last: dict[str, int] = {}  # of each name, so that many of one name take no time
    for name in map(Path, names):
        first = stem = str(name.with_name(name.stem))
        i = last.get(first, 1)
        while stem in stems:
            i += 1
            stem = f"{first}_{i}"
        last[first] = i
        stems[stem] = None
    return [out / stem for stem in stems]


def output_paths(stem: Path) -> list[Path]:
    """The files of a photograph, in the order in which they are written."""
    return [stem.with_name(stem.name + ending) for ending in ENDINGS]


def refuse_outputs(stems: Sequence[Path], force: bool) -> None:
    """Refuse files that are there.

    Raises
    ------
    FileExistsError
        If there is one, unless they are to be replaced.
    """
    there = {folder for folder in {stem.parent for stem in stems} if folder.exists()}
    for stem in stems:
        for path in output_paths(stem) if stem.parent in there else ():
            refuse_existing(path, force)


def clear_unfinished(stems: Sequence[Path]) -> None:
    """Remove what a run that was killed has left of these photographs' files."""
    ours: dict[Path, set[str]] = {}
    for stem in stems:
        names = ours.setdefault(stem.parent, set())
        names.update((stem.name + ending)[:MAX_NAMED] for ending in ENDINGS)
    for folder, names in ours.items():
        clear_leftovers(folder, names.__contains__)


def is_done(stem: Path, name: str, provenance: Mapping[str, Any]) -> bool:
    """Whether a photograph's files are there, and were made as these would be.

    Raises
    ------
    ValueError
        If they were made otherwise, or of another photograph.
    """
    paths = output_paths(stem)
    if not all(map(os.path.exists, paths)) or not _is_whole(paths[-1]):
        return False
    found = _said(paths)
    if found is None:
        return False
    wanted = json.loads(json.dumps(provenance))
    if any(found.get(key) != value for key, value in wanted.items()):
        raise ValueError(
            f"{paths[-1]} was made by another command or network; give --force to replace it"
        )
    if found.get("image", name) != name:
        raise ValueError(
            f"{paths[-1]} was made of {found['image']}, not of {name}: photographs were added or "
            f"removed; give another --out, or --force to replace it"
        )
    return True


def _said(paths: Sequence[Path]) -> dict[str, Any] | None:
    """What the files of a photograph say of their origin; None where they cannot be read."""
    from sact_core.maps.drawing import about_picture
    from sact_core.maps.file import MapError, MapFile

    try:
        found = about_picture(paths[-2])
        if found is None:  # which takes thirty times as long
            with MapFile(paths[-1]) as file:
                found = file.provenance
    except (MapError, ValueError, OSError):
        return None
    return found


def _is_whole(path: Path) -> bool:
    """Whether a file of maps is as long as it says."""
    try:
        with open(path, "rb") as file:
            begin = file.read(_END.stop)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return False
    return begin.startswith(_SIGNATURE) and int.from_bytes(begin[_END], "little") == size
