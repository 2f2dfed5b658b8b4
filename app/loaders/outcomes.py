"""Parts of data sets that have run, on disk: a reload or a restart of the app shows them.

One file for each part, under a name that is the hash of all that it depends on: network, data,
which images, tau and number format. Files are arrays alone, which execute nothing; what cannot
be read counts as absent, and runs anew.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np

from app.folders import cache_dir
from sact_core.files import require_ordinary, write_bytes

FORMAT = 1
#: Files that are kept, of some kilobytes each; beyond, the oldest go.
MOST_FILES = 5000

Arrays = dict[str, np.ndarray]


def file_of(*key: object) -> Path:
    """Where the arrays of a part are kept."""
    digest = hashlib.sha256("\0".join(map(str, (FORMAT, *key))).encode()).hexdigest()
    return cache_dir() / "outcomes" / f"{digest}.npz"


def load(file: Path, names: tuple[str, ...], length: int) -> Arrays | None:
    """Read the arrays of a part; None where they are not there whole.

    Parameters
    ----------
    file : Path
        From `file_of`.
    names : tuple of str
        Of all arrays. Each but the last has a row for every image that could be read.
    length : int
        Images of the part; the last array names those that could not be read.
    """
    try:
        require_ordinary(file)
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
            found = {name: stored[name] for name in names}
    except Exception:  # of a damaged file NumPy raises whatever its parsers do
        return None
    shapes = [found[name].shape for name in names]
    if not all(shapes):
        return None
    readable = length - shapes[-1][0]
    return found if all(shape[0] == readable for shape in shapes[:-1]) else None


def save(file: Path, arrays: Arrays) -> str:
    """Keep the arrays of a part; give what the system says where it cannot, else nothing."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, buffer.getvalue())
        _let_go(file.parent)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def _let_go(folder: Path) -> None:
    with os.scandir(folder) as entries:
        files = [entry.path for entry in entries if entry.name.endswith(".npz")]
    if len(files) > MOST_FILES:
        files.sort(key=os.path.getmtime)
        for path in files[: len(files) - MOST_FILES * 9 // 10]:
            Path(path).unlink(missing_ok=True)
