"""An unfinished export: parts in a folder, each whole or absent, joined in the end.

HDF5 files do not survive being cut off in the middle of a write. So an export to
``maps.h5`` first fills the folder ``maps.h5.parts`` with small files, written
beside and renamed; an interrupted one goes on where it stopped, and several
processes can share the work. ``job.json`` says what the parts belong to.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sact_core.data.records import Unreadable
from sact_core.files import clear_leftovers, write_bytes
from sact_core.maps.file import MapError
from sact_core.maps.writing import Rows, merge_maps, write_maps
from sact_core.untrusted_json import from_json

#: Uncompressed bytes that one part is made of at most; bounds the memory taken.
PART_BYTES = 1 << 25

_PART = re.compile(r"job\.json|\d{8,}\.(h5|json)")


@dataclass(frozen=True)
class Parts:
    """The parts of one export.

    Attributes
    ----------
    out : Path
        The file to be.
    num_examples : int
        Examples in all, those that will be left out included.
    part_size : int
        Examples of each part but the last.
    """

    out: Path
    num_examples: int
    part_size: int

    @property
    def folder(self) -> Path:
        """Where the parts lie."""
        return parts_folder(self.out)

    @property
    def ranges(self) -> list[range]:
        """Indices of the examples of each part."""
        return [
            range(start, min(start + self.part_size, self.num_examples))
            for start in range(0, self.num_examples, self.part_size)
        ]

    def is_done(self, indices: range) -> bool:
        """Whether a part is there. Its note is written last."""
        return self._note(indices).exists()

    def num_done(self) -> int:
        """How many examples have been dealt with."""
        return sum(len(indices) for indices in self.ranges if self.is_done(indices))

    def write(
        self,
        indices: range,
        found: Rows | None,
        left_out: Unreadable,
        about: Mapping[str, Any],
    ) -> None:
        """Write one part.

        Parameters
        ----------
        indices : range
            One of `ranges`.
        found : dict of str to np.ndarray, optional
            What `map_rows` gives; None if every example was left out.
        left_out : Unreadable
            The examples that were left out.
        about : dict
            What `map_attributes` gives.

        Raises
        ------
        OSError
            If it cannot be written; parts that were written stay.
        """
        num_rows = 0
        if found is not None:
            num_rows = len(found["images"])
            part = [indices.start, indices.stop, self.num_examples]
            write_maps(self._file(indices), found, {**about, "part": part})
        skipped = [[index, why, name] for index, (name, why) in left_out.found.items()]
        note = {"rows": num_rows, "skipped": skipped}
        write_bytes(self._note(indices), json.dumps(note).encode())

    def left_out(self) -> Unreadable:
        """Every example that was left out."""
        found = Unreadable()
        for indices in self.ranges:
            for index, why, name in self._read_note(indices)["skipped"]:
                found.add(index, name, why)
        return found

    def join(self, about: Mapping[str, Any]) -> int:
        """Make the file of all parts, and remove them.

        Returns
        -------
        int
            Number of images in it.

        Raises
        ------
        MapError
            If no example could be used, or a part is damaged.
        OSError
            If it cannot be written; the parts stay.
        """
        clear_leftovers(self.out.parent, self.out.name.startswith)
        full = [indices for indices in self.ranges if self._read_note(indices)["rows"]]
        if not full:
            raise MapError("not one image could be read")
        num_images = merge_maps([self._file(i) for i in full], self.out, about)
        remove_parts(self.out)
        return num_images

    def _file(self, indices: range) -> Path:
        return self.folder / f"{indices.start:08d}.h5"

    def _note(self, indices: range) -> Path:
        return self.folder / f"{indices.start:08d}.json"

    def _read_note(self, indices: range) -> dict[str, Any]:
        note: dict[str, Any] = json.loads(self._note(indices).read_text())
        return note


def parts_folder(out: Path) -> Path:
    """Where the parts of an unfinished export to ``out`` lie."""
    return out.with_name(out.name + ".parts")


def start(out: Path, job: Mapping[str, Any], part_size: int) -> Parts:
    """Begin an export, or go on with the one that was interrupted.

    Parameters
    ----------
    out : Path
        The file to be. Its folder is made if it is absent.
    job : dict
        What the maps depend on; plain JSON values, with ``num_examples``.
    part_size : int
        Examples of each part.

    Raises
    ------
    MapError
        If the parts that lie there belong to another job; all differences are
        listed.
    OSError
        If the folder cannot be made or written to.
    """
    parts = Parts(out, job["num_examples"], part_size)
    job = {**job, "part_size": part_size}
    noted = parts.folder / "job.json"
    try:
        before = from_json(noted.read_text())
    except (FileNotFoundError, ValueError):
        before = None
    if before is None:
        remove_parts(out)
        parts.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(noted, json.dumps(job, indent=1).encode())
        return parts
    differences = [
        f"{key}: {before.get(key)!r} then, {job.get(key)!r} now"
        for key in {**before, **job}
        if before.get(key) != job.get(key)
    ]
    if differences:
        raise MapError(
            f"{parts.folder} holds an unfinished export of something else "
            f"({'; '.join(differences)}); finish it with its own command, or give --force to "
            f"start anew"
        )
    clear_leftovers(parts.folder, _PART.fullmatch)
    return parts


def remove_parts(out: Path) -> None:
    """Remove the parts of an export, and nothing else that may lie there."""
    folder = parts_folder(out)
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if _PART.fullmatch(path.name):
            path.unlink(missing_ok=True)
    clear_leftovers(folder, _PART.fullmatch)
    with contextlib.suppress(OSError):  # somebody's own files lie there too
        folder.rmdir()


def unfinished(out: Path) -> str | None:
    """Say how far an unfinished export to ``out`` has come; None if there is none."""
    folder = parts_folder(out)
    try:
        job = from_json((folder / "job.json").read_text())
        parts = Parts(out, int(job["num_examples"]), int(job["part_size"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (
        f"{out} is not finished: {parts.num_done()} of {parts.num_examples} images are in "
        f"{folder}; run the same export again to go on"
    )
