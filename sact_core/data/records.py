"""Examples as a data set stores them: encoded images, read one by one or many at once.

Every image is decoded by `sact_core.data.images`, wherever it comes from: any colour
mode, upright, damage told from success. What cannot be read is named, left out
and counted by whoever reads: see `Unreadable`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sact_core.data.images import ImageError, read_image
from sact_core.texts import shown

MAX_NAMED = 5  # in a line
MAX_RECORDED = 100  # in a file


class DataError(ValueError):
    """A data set that is absent or cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Record:
    """One example.

    Attributes
    ----------
    image : Path, bytes or np.ndarray
        A file, its contents, or pixels [shape=(h, w, 1 or 3), uint8].
    label : int
        Class number.
    name : str
        The data set's own name of the example, or its index.
    """

    image: Path | bytes | np.ndarray
    label: int
    name: str

    def pixels(
        self,
        shrink: Callable[[int, int], int] | None = None,
        said: Callable[[str], None] | None = None,
    ) -> np.ndarray:
        """Decode the image [shape=(h, w, 3), uint8].

        Parameters
        ----------
        shrink, said : callable, optional
            As for `sact_core.data.images.read_image`.

        Raises
        ------
        ImageError
            If it cannot be read; the message begins with the name.
        """
        if isinstance(self.image, np.ndarray):
            image = self.image
            return image.repeat(3, -1) if image.shape[-1] == 1 else image
        try:
            return read_image(self.image, self.name, shrink, said)
        except OSError as error:
            problem = ImageError(f"{self.name} cannot be opened: {error.strerror or error}")
        except ImageError as error:
            problem = error
        problem.name = self.name
        raise problem from None


class Records(Protocol):
    """What a split gives: its examples by index."""

    def __len__(self) -> int:
        """Number of examples."""

    def get(self, indices: Sequence[int]) -> list[Record | ImageError]:
        """Read examples without decoding them; an error where one cannot be read."""


@dataclass
class Unreadable:
    """Images that were left out because they cannot be read.

    Attributes
    ----------
    found : dict of int to (str, str)
        By the example's index, its name and what is wrong with it.
    """

    found: dict[int, tuple[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.found)

    def add(self, index: int, name: str, reason: object) -> None:
        """Note one."""
        self.found[index] = (name, str(reason).strip().partition("\n")[0])

    @property
    def names(self) -> list[str]:
        """Names in the data set's order."""
        return [self.found[index][0] for index in sorted(self.found)]

    def record(self) -> dict[str, Any]:
        """Say how many there are, and which: the first ones, as plain JSON values."""
        first = [self.found[index] for index in sorted(self.found)[:MAX_RECORDED]]
        images = [{"name": name, "reason": reason} for name, reason in first]
        return {"count": len(self), "images": images}

    def line(self, total: int, what: str = "images") -> str:
        """Say in one line how many of ``total`` images were left out, and which."""
        names = self.names
        more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
        return (
            f"skipped {len(names):,} of {total:,} {what} that cannot be read: "
            f"{', '.join(map(shown, names[:MAX_NAMED]))}{more}"
        )


@runtime_checkable
class Grouped(Records, Protocol):
    """Records that stand group by group, such as class by class."""

    def groups(self) -> Sequence[Hashable]:
        """What each record belongs to."""

    def ordered(self, order: Sequence[int]) -> Records:
        """The same records in another order, each named once."""


def spread_order(groups: Sequence[Hashable]) -> list[int]:
    """An order in which any first part has of every group about what the whole has."""
    sizes, before = Counter(groups), Counter[Hashable]()
    places = []
    for group in groups:
        places.append((before[group] + 0.5) / sizes[group])
        before[group] += 1
    return sorted(range(len(groups)), key=places.__getitem__)


@dataclass(frozen=True)
class FileRecords:
    """Images of files.

    Attributes
    ----------
    files : list of (Path, int, str)
        Each file, the number of its class, and what it is called.
    """

    files: list[tuple[Path, int, str]]

    def __len__(self) -> int:
        return len(self.files)

    def digest(self) -> str:
        """Tell this list from others by names, classes and bytes, wherever they lie."""
        digest = hashlib.sha256()
        for path, label, name in self.files:
            digest.update(f"{name}\0{label}\0{num_bytes(path)}\n".encode())
        return digest.hexdigest()

    def get(self, indices: Sequence[int]) -> list[Record | ImageError]:
        """Name the files; they are opened when they are decoded."""
        return [Record(*self.files[index]) for index in indices]

    def groups(self) -> list[Hashable]:
        """The class of each file; its folder where there are no classes."""
        return [label if label >= 0 else name.rpartition("/")[0] for _, label, name in self.files]

    def ordered(self, order: Sequence[int]) -> FileRecords:
        """The same files in another order."""
        return FileRecords([self.files[index] for index in order])


def num_bytes(path: Path) -> int | None:
    """Bytes of a file; None of a link to nothing."""
    try:
        return path.stat().st_size
    except OSError:
        return None
