"""The command: ``python -m sact_core.prepare``."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sact_core.commands import parse, progress, run
from sact_core.data.published import PUBLISHED, Published, published
from sact_core.data.records import DataError
from sact_core.extras import need
from sact_core.files import require_ordinary
from sact_core.texts import shown

if TYPE_CHECKING:
    from sact_core.prepare.writing import DataSet

#: So many times the bytes of the published archive, packed again or not at all, at most.
MOST_TIMES = 2
_OWN_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.prepare",
        description="Prepare a data set of its archive, as TFDS lays it out, without TensorFlow.",
    )
    add = parser.add_argument
    add(
        "name",
        metavar="NAME",
        help=f"{', '.join(PUBLISHED)}; or a name of your own, for an archive of class folders",
    )
    add(
        "--archive",
        required=True,
        metavar="FILE",
        help="the published archive (of CIFAR the binary one), the folder that it unpacks to, or "
        "an address to fetch it from",
    )
    add("--data-dir", metavar="DIR", help="where TFDS keeps its data")
    add("--force", action="store_true", help="replace the data set if it is there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parse(build_parser(), argv)
    return run(lambda: _prepare(args), "stopped: no data set was written; what was fetched stays")


def _prepare(args: argparse.Namespace) -> None:
    need("data", "prepare", "tensorflow_datasets", "array_record")
    from sact_core.data.tfds import data_root
    from sact_core.prepare.writing import clear_unfinished, folder_of, write_data_set

    about = _about(args.name)
    root = data_root(args.data_dir)
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(f"{root} is no folder: name another --data-dir")
    folder = folder_of(about, root)
    if folder.exists() and not args.force:
        raise FileExistsError(f"{folder} exists; give --force to replace it")
    archive = _archive(args.archive, root, about)
    _compare(archive, about)
    root.mkdir(parents=True, exist_ok=True)
    clear_unfinished(about, root)
    with tempfile.TemporaryFile(dir=root) as spool:
        data = _read(about, archive, spool)
        with progress(sum(data.counts.values())) as bar:
            counts = write_data_set(data, root, bar.update)
    classes = len(data.labels["label"])
    splits = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    print(f"{shown(folder)}: {classes} classes, images: {splits}")


def _about(name: str) -> Published:
    from sact_core.data.tfds import is_builder, ways_to_get

    known = published(name)
    if known is not None:
        return known
    if not _OWN_NAME.fullmatch(name):
        raise ValueError(
            f"{shown(name)} is none of {', '.join(PUBLISHED)}, and no name of your own, of small "
            f"letters, digits and _"
        )
    if is_builder(name):
        raise ValueError(
            f"{name} is a data set of TFDS that is not made of class folders: prepare it with "
            f"{ways_to_get(name)}, or choose a name of your own"
        )
    return Published(
        name, "1.0.0", "sact_core.prepare", "", "Photographs in class folders.", "", 0, ""
    )


def _archive(given: str, root: Path, about: Published) -> Path:
    from sact_core.prepare.fetch import fetch, is_url

    if is_url(given):
        return fetch(
            given,
            root / "downloads",
            lambda total, there: progress(total, "bytes", there),
            lambda size: _refuse_size(given, size, about),
        )
    path = Path(given).expanduser()
    if not given or not path.exists():
        raise FileNotFoundError(f"there is no archive {shown(given)!r}")
    require_ordinary(path)
    return path


def _refuse_size(archive: str | Path, size: int, about: Published) -> None:
    """Refuse what cannot be a data set's archive, however packed, before it is gone through."""
    if about.num_bytes and size > MOST_TIMES * about.num_bytes:
        raise DataError(
            f"{shown(archive)} has {size:,} bytes, and the published archive of {about.name} "
            f"{about.num_bytes:,}: take {about.url}"
        )


def _compare(archive: Path, about: Published) -> None:
    """Refuse what is no archive of the data set by its size or beginning; warn of another one.

    Only what has the published one's size is read for its hash; the parts of an archive have
    checksums of their own.

    Raises
    ------
    DataError
        If it is far too large, or no archive.
    """
    from sact_core.prepare.archives import require_archive

    if not archive.is_file():
        return
    size = archive.stat().st_size
    _refuse_size(archive, size, about)
    require_archive(archive)
    if not about.sha256:
        return
    found, wanted = f"it has {size:,} bytes", f"{about.num_bytes:,}"
    if size == about.num_bytes:
        with open(archive, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest == about.sha256:
            return
        found, wanted = f"its SHA-256 is {digest}", about.sha256
    print(
        f"warning: {shown(archive)} is not the published archive of {about.name}: {found}, not "
        f"{wanted} ({about.url})",
        file=sys.stderr,
    )


def _read(about: Published, archive: Path, spool: IO[bytes]) -> DataSet:
    from sact_core.prepare.cifar import read_cifar
    from sact_core.prepare.photographs import read_photographs

    if about.name in ("cifar10", "cifar100"):
        return read_cifar(about.name, archive)
    with progress(None, "files") as bar:
        return read_photographs(about, archive, spool, bar.update)


if __name__ == "__main__":
    raise SystemExit(main())
