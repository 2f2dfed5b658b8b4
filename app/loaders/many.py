"""Many photographs: where they come from, and what a network did with each, in few numbers.

What is kept of one is a row of numbers, so that a thousand have room; maps are made again for
the one that is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import streamlit as st

from app.bounded import Bounded
from app.folders import EXAMPLES, InputError, photo_folders, sentence
from app.loaders import warming
from app.loaders.pictures import example, example_names, filed_picture, small_pixels
from app.loaders.running import run_once
from app.loaders.visits import Photographs
from app.records import Look, Picture, Row
from sact_core.data.folders import images_in
from sact_core.data.images import MAX_BYTES
from sact_core.texts import shown

#: Photographs of one place that a page takes: those of a folder beyond them are left to commands.
MOST = 1000
#: Side of a thumbnail in pixels.
SIDE = 96
#: Seconds for which the list of a folder holds.
LIST_SECONDS = 10

OWN, EXAMPLE = "Yours", "Examples"


@dataclass(frozen=True)
class Photo:
    """A photograph that may be opened.

    Attributes
    ----------
    name : str
        As listed.
    identity : str
        Tells it from others, also from one of its name at another time.
    open : callable
        Gives its `Picture`; raises `InputError`.
    source : bytes or Path
        Its file.
    origin : str
        As `Picture` has it.
    """

    name: str
    identity: str
    open: Callable[[], Picture] = field(repr=False, compare=False)
    source: bytes | Path = field(repr=False, compare=False)
    origin: str = "upload"


_rows: Bounded[tuple[object, ...], Row] = Bounded(20_000)
_thumbnails: Bounded[str, np.ndarray] = Bounded(24 << 20, lambda pixels: pixels.nbytes)


def places(own: Photographs) -> list[str]:
    """Where photographs may be taken from: one's own where there are any, examples, folders."""
    folders = [f"Folder {name}" for name in photo_folders()]
    return [*([OWN] if len(own) else []), *folders, EXAMPLE]


def photos(place: str, own: Photographs) -> tuple[list[Photo], int]:
    """List the photographs of a place.

    Returns
    -------
    photos : list of Photo
        At most `MOST` of them.
    count : int
        How many there are.

    Raises
    ------
    InputError
        If its folder is not here.
    """
    if place == OWN:
        found = []
        for name in own:
            data, digest = own.file(name)
            found.append(Photo(name, digest, partial(_own, own, name), data))
        return found[:MOST], len(found)
    if place == EXAMPLE:
        files = [(name, EXAMPLES / f"{name.lower()}.jpg") for name in example_names()]
        found = [
            Photo(name, f"example {name}", partial(example, name), path, "example")
            for name, path in files
        ]
        return found, len(found)
    folder = photo_folders().get(place.removeprefix("Folder "))
    if folder is None or not folder.is_dir():
        raise InputError(f"{place} is not on this machine: was it moved, or SACT_PHOTOS misspelt?")
    paths, count = _listed(os.fsencode(folder))
    found = []
    for path in map(Path, map(os.fsdecode, paths)):
        name = shown(path.relative_to(folder).as_posix())
        try:
            stat = path.stat()
        except OSError:
            continue  # it has gone since
        identity = f"{path} {stat.st_mtime_ns} {stat.st_size}"
        found.append(Photo(name, identity, partial(filed_picture, name, path), path))
    return found, count


def row(photo: Photo, look: Look) -> Row | None:
    """What the network did with a photograph before; None where it has not run.

    ``look`` says what looks at it and how; its own picture does not count.
    """
    return _rows.peek(_key(photo, look))


def run_row(photo: Photo, look: Look) -> Row:
    """Run the network over a photograph.

    Raises
    ------
    InputError
        If it cannot be read, or as `running.run`.
    """
    engine = how()
    run = run_once(replace(look, picture=photo.open()), engine[0])
    proba = run.result.probabilities[0]
    top = int(proba.argmax())
    made = Row(
        look.model.class_name(top),
        float(proba[top]),
        int(run.executed.total[0]),
        int(run.dense.total[0]),
        run.seconds,
        run.result.input_size,
        run.backend,
        run.result.precision,
    )
    _rows.put(_key(photo, look, engine), made)
    return made


def how() -> tuple[str, str]:
    """Backend and number format of the rows that are made now."""
    return warming.backend(), warming.precision()


def forget_rows(photos: list[Photo], look: Look) -> None:
    """Have these run anew."""
    for photo in photos:
        _rows.drop(_key(photo, look))


def is_readable(photo: Photo) -> bool:
    """Whether its pixels can be read, as far as a small copy tells."""
    try:
        thumbnail(photo)
    except InputError:
        return False
    return True


def contents(path: Path) -> bytes:
    """A file of a folder, as it would be uploaded.

    Raises
    ------
    InputError
        If it has gone, or is larger than any photograph that is read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{shown(path.name)} is larger than {MAX_BYTES // 1_000_000} MB.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(sentence(error)) from None


def thumbnail(photo: Photo) -> np.ndarray:
    """The central square of a photograph, small [shape=(SIDE, SIDE, 3), uint8].

    Raises
    ------
    InputError
        If it cannot be read.
    """
    kept = _thumbnails.get(photo.identity)
    if kept is None:
        kept = _square(small_pixels(photo.source))
        _thumbnails.put(photo.identity, kept)
    return kept


def _square(pixels: np.ndarray) -> np.ndarray:
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (SIDE, SIDE)))


def _own(own: Photographs, name: str) -> Picture:
    picture = own.peek(name)
    if picture is None:
        raise InputError(f"{name} was let go, since later ones came: add it again.")
    return picture


def _key(photo: Photo, look: Look, engine: tuple[str, str] | None = None) -> tuple[object, ...]:
    looked = look.model.key, look.image_size, look.fit, look.tau
    return (photo.identity, *looked, *(engine or how()))


@st.cache_data(ttl=LIST_SECONDS, max_entries=16, show_spinner="Listing the photographs …")
def _listed(folder: bytes) -> tuple[list[bytes], int]:
    try:
        found = images_in(Path(os.fsdecode(folder)))
    except OSError as error:
        raise InputError(sentence(error)) from None
    return [os.fsencode(path) for path in found[:MOST]], len(found)
