"""An unfinished export: parts in a folder, each whole or absent, joined in the end.

HDF5 files do not survive being cut off in the middle of a write. So an export to
``maps.h5`` first fills the folder ``maps.h5.parts`` with small files, written
beside and renamed; an interrupted one goes on where it stopped, and several
processes can share the work. ``job.json`` says what the parts belong to.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sact_core.data.records import Unreadable
from sact_core.files import MAX_NAMED, clear_leftovers, read_small, write_bytes, written_in
from sact_core.maps.file import MapError, MapFile
from sact_core.maps.writing import Rows, merge_maps, write_maps
from sact_core.untrusted_json import from_json

#: Uncompressed bytes that one part is made of at most; bounds the memory taken.
PART_BYTES = 1 << 25
MAX_NOTE_BYTES = 64 << 20  # which names photographs that were left out

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
        num_rows = 0 if found is None else len(found["images"])
        skipped = [[index, why, name] for index, (name, why) in left_out.found.items()]
        note = {"rows": num_rows, "skipped": skipped}
        with self._kept():
            if found is not None:
                part = [indices.start, indices.stop, self.num_examples]
                write_maps(self._file(indices), found, {**about, "part": part})
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
        clear_leftovers(self.out.parent, self.out.name[:MAX_NAMED].__eq__)
        full = [indices for indices in self.ranges if self._read_note(indices)["rows"]]
        if not full:
            raise MapError("not one image could be read")
        with self._kept():
            try:
                for indices in full:
                    with MapFile(self._file(indices)) as part:
                        if part.num_images != self._read_note(indices)["rows"]:
                            raise MapError(f"{part.path} is damaged: it lacks images")
                num_images = merge_maps([self._file(i) for i in full], self.out, about)
            except MapError as error:
                raise MapError(f"{error}; give --force to start the export anew") from None
        remove_parts(self.out)
        return num_images

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Say after what cannot be written what is kept."""
        try:
            yield
        except OSError as error:
            raise type(error)(
                f"{error}; what is done is kept in {self.folder}: run the same command again to "
                f"go on"
            ) from None

    def _file(self, indices: range) -> Path:
        return self.folder / f"{indices.start:08d}.h5"

    def _note(self, indices: range) -> Path:
        return self.folder / f"{indices.start:08d}.json"

    def _read_note(self, indices: range) -> dict[str, Any]:
        file, note = self._note(indices), None
        with contextlib.suppress(ValueError):
            note = from_json(read_small(file, MAX_NOTE_BYTES, "a note"))
        if not isinstance(note, dict) or not _is_note({"skipped": [], **note}, indices):
            raise MapError(f"{file} is damaged: give --force to start the export anew")
        note.setdefault("skipped", [])
        return note


def _is_note(note: dict[str, Any], indices: range) -> bool:
    rows, skipped = note.get("rows"), note["skipped"]
    return (
        isinstance(rows, int)
        and isinstance(skipped, list)
        and 0 <= rows <= len(indices)
        and all(
            isinstance(one, list)
            and [type(part) for part in one] == [int, str, str]
            and one[0] in indices
            for one in skipped
        )
    )


def parts_folder(out: Path) -> Path:
    """Where the parts of an unfinished export to ``out`` lie."""
    return out.with_name(out.name + ".parts")


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other exports to a file off, as long as the block lasts.

    The folder of its parts is locked, by this machine's processes alone; nobody is kept off
    without locks on this system, or on a disk that has none.

    Raises
    ------
    MapError
        If another process is at it.
    OSError
        If the folder cannot be made.
    """
    folder = parts_folder(out)
    with written_in(folder.parent):  # which people know
        folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not on this system
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MapError(
                f"another process is exporting to {out}: wait until it is done, or give another "
                f"--out"
            ) from None
        except OSError:  # a folder of a network that has no locks
            pass
        yield
    finally:
        os.close(lock)
        with contextlib.suppress(OSError):  # what is done is kept
            folder.rmdir()


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
        before = from_json(read_small(noted, MAX_NOTE_BYTES, "a note"))
    except (FileNotFoundError, ValueError):
        before = None
    if not isinstance(before, dict):
        clear_parts(out)
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
    clear_parts(out)
    with contextlib.suppress(OSError):  # somebody's own files lie there too
        parts_folder(out).rmdir()


def clear_parts(out: Path) -> None:
    """As `remove_parts`; the folder itself stays."""
    folder = parts_folder(out)
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if _PART.fullmatch(path.name):
            path.unlink(missing_ok=True)
    clear_leftovers(folder, _PART.fullmatch)


def unfinished(out: Path) -> str | None:
    """Say how far an unfinished export to ``out`` has come; None if there is none."""
    folder = parts_folder(out)
    try:
        job = from_json(read_small(folder / "job.json", MAX_NOTE_BYTES, "a note"))
        parts = Parts(out, int(job["num_examples"]), int(job["part_size"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (
        f"{out} is not finished: {parts.num_done()} of {parts.num_examples} images are in "
        f"{folder}; run the same export again to go on"
    )
