"""What is searched of a tree of folders, and where its symbolic links lead.

`sact_core.data.folders` says by which rules.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sact_core.data.images import IMAGE_SUFFIXES

#: Folders that archives and systems add: macOS, Synology, Windows, Linux.
SYSTEM_NAMES = (
    "__MACOSX",
    "@eaDir",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
)


@dataclass(frozen=True)
class File:
    """A file of a tree: its path, where it really lies, whether it is a link itself."""

    path: Path
    real: str
    is_link: bool


def walk(root: Path, deep: bool = True) -> tuple[set[Path], list[File]]:
    """Search a tree, every folder of it once.

    Parameters
    ----------
    root : Path
        Its top, whose own name does not count. One that cannot be listed is empty.
    deep : bool
        Its sub-folders too.

    Returns
    -------
    folders : set of Path
        Those that were searched.
    files : list of File
        Those whose names are not hidden, in no order; several may be one file, see `once`.
    """
    top = os.path.realpath(root)
    folders: dict[str, Path] = {}  # by where they really lie
    files: list[File] = []
    plain, linked = [(root, top)], deque[tuple[Path, str]]()
    while plain or linked:  # links last, so that a folder keeps the name it has itself
        folder, real = plain.pop() if plain else linked.popleft()
        if real in folders:
            continue
        folders[real] = folder
        for entry in _entries(folder):
            path, is_link = folder / entry.name, entry.is_symlink()
            there = os.path.realpath(path) if is_link else os.path.join(real, entry.name)
            if not _is_folder(entry):
                if not entry.name.startswith("."):
                    files.append(File(path, there, is_link))
            elif not deep or not _is_searched(entry.name):
                continue
            elif not is_link:
                plain.append((path, there))
            elif not _leads_back(there, top) and not _lies_in(real, there):
                linked.append((path, there))
    return set(folders.values()), files


def once(files: Iterable[File]) -> list[Path]:
    """Give every file once, by its own name rather than that of a link to it; sorted."""
    found: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: (file.is_link, file.path)):
        found.setdefault(file.real, file.path)
    return sorted(found.values())


def sub_folders(folder: Path) -> list[Path]:
    """List the folders in a folder that may hold photographs, sorted by name.

    Raises
    ------
    OSError
        If it cannot be listed.
    """
    top = os.path.realpath(folder)
    found: dict[str, Path] = {}  # by where they really lie
    paths = [path for path in folder.iterdir() if _is_searched(path.name) and path.is_dir()]
    for path in sorted(paths, key=lambda path: (path.is_symlink(), path.name)):
        real = os.path.realpath(path)
        if not path.is_symlink() or not _leads_back(real, top):
            found.setdefault(real, path)
    return sorted(found.values(), key=lambda path: path.name)


def _leads_back(real: str, top: str) -> bool:
    """Whether a link to a folder leads above a tree, or to where the tree is searched anyway."""
    if _lies_in(top, real):
        return True
    return _lies_in(real, top) and all(map(_is_searched, Path(real).relative_to(top).parts))


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_searched(name: str) -> bool:
    """Whether a folder of this name is searched."""
    foreign = name.startswith(".") or name in SYSTEM_NAMES
    return not (foreign or name.lower().endswith(IMAGE_SUFFIXES))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
