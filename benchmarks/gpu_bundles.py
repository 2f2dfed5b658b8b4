"""Runs in a few files, as a machine that is lent gives them back.

::

    done-1.zip …     finished runs: NAME/last.h5, config.json, metrics.jsonl, …
    going-on.zip     the run in hand with its state, from which it goes on

Every file is written beside and renamed: what comes back is whole, whenever it was taken.
"""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from train_family import Shop, steps_of

from sact_core.checkpoint import CheckpointError, read_header
from sact_core.files import write_bytes

GOING_ON = "going-on.zip"
_KEPT = ("config.json", "images.json", "command.txt", "metrics.jsonl", "last.h5")
_MEMBER = re.compile(r"([A-Za-z0-9][\w.-]*)/([\w.]+)", re.ASCII)


class Bundles:
    """What is written for whoever waits for the runs.

    Parameters
    ----------
    out : Path
        Where; made if need be.
    runs : Path
        Folder of the runs' folders.
    most_mib : int
        Most of a file, in MiB; one that a single run fills may be larger.
    """

    def __init__(self, out: Path, runs: Path, most_mib: int) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._out, self._runs, self._most = out, runs, most_mib * 2**20
        self._number = 1 + len(list(out.glob("done-*.zip")))
        self._names: list[str] = []

    def going_on(self, name: str) -> None:
        """Keep the run in hand as its folder is now."""
        write_bytes(self._out / GOING_ON, _packed(self._runs, [name], (*_KEPT, "state.pt")))

    def done(self, name: str) -> None:
        """Keep a finished run, without its state."""
        data = _packed(self._runs, [*self._names, name], _KEPT)
        if self._names and len(data) > self._most:
            self._number += 1
            self._names = []
            data = _packed(self._runs, [name], _KEPT)
        self._names.append(name)
        write_bytes(self._out / f"done-{self._number}.zip", data)
        (self._out / GOING_ON).unlink(missing_ok=True)


def bring(
    folder: Path, shop: Shop, say: Callable[[str], None], finished_only: bool = False
) -> None:
    """Put runs where they go on, or are found finished.

    Parameters
    ----------
    folder : Path
        Holds what `Bundles` wrote, or checkpoints of finished runs as ``NAME.h5``.
    shop : Shop
        Where the runs' folders are. A run that is as far already is left as it is.
    say : callable
        Told every run that is taken.
    finished_only : bool
        Leave half-done runs out.

    Raises
    ------
    ValueError
        If the folder is not there, or a file in it is damaged or none of ours.
    OSError
        If something cannot be written.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder} to bring runs from")
    shop.runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shop.runs) as beside:
        for path in sorted(folder.glob("*.zip")):
            _unpack(path, Path(beside))
        for path in sorted(folder.glob("*.h5")):
            try:
                read_header(path)
            except CheckpointError as error:
                raise ValueError(f"{path}: {error}") from None
            (Path(beside) / path.stem).mkdir(exist_ok=True)
            write_bytes(Path(beside) / path.stem / "last.h5", path.read_bytes())
        for run in sorted(Path(beside).iterdir()):
            target = shop.runs / run.name
            here, there = (steps_of(each / "last.h5") for each in (target, run))
            finished = there is not None and there[0] >= there[1]
            if finished_only and not finished:
                continue
            if target.exists() and (here or (-1, 0)) >= (there or (-1, 0)):
                continue
            target.mkdir(exist_ok=True)
            # The recipe last: a folder with it is gone on with.
            for file in sorted(run.iterdir(), key=lambda file: file.name == "config.json"):
                write_bytes(target / file.name, file.read_bytes())
            say(f"{run.name}: brought along, {'finished' if finished else 'to be gone on with'}")


def _packed(runs: Path, names: list[str], files: tuple[str, ...]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name in names:
            for file in files:
                if (runs / name / file).exists():
                    made.write(runs / name / file, f"{name}/{file}")
    return buffer.getvalue()


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as packed:
            for member in packed.namelist():
                named = _MEMBER.fullmatch(member)
                if named is None or named[2] not in (*_KEPT, "state.pt"):
                    raise ValueError(f"{path} holds no runs of ours, but {member[:80]!r}")
                (folder / named[1]).mkdir(exist_ok=True)
                (folder / named[1] / named[2]).write_bytes(packed.read(member))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
