"""Boxes around the objects of images.

A JSON file of lists, by the image's name, which may be its path below a folder::

    {"units": "shares", "boxes": {"cat.jpg": [[top, left, bottom, right], …], …}}

in shares of the image's height and width, or with ``"units": "pixels"`` in pixels
of the upright image. An empty list says that the image shows no object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.files import read_small
from sact_core.texts import shown
from sact_core.untrusted_json import from_json

UNITS = ("shares", "pixels")
MAX_BYTES = 32 << 20  # what is read of JSON takes ten times as much
MAX_SIDE = 1 << 30  # pixels, more than any photograph has; larger numbers may not be floats

Box = tuple[float, float, float, float]  # top, left, bottom, right


@dataclass(frozen=True)
class Boxes:
    """Where the objects of each image are.

    Attributes
    ----------
    units : str
        One of `UNITS`.
    by_name : dict of str to list of Box
        By the image's name.
    """

    units: str
    by_name: dict[str, list[Box]]


def read_boxes(path: str | Path) -> Boxes:
    """Read a file of boxes.

    Raises
    ------
    ValueError
        If it is no such JSON file, or a box is out of order or out of range.
    OSError
        If it cannot be opened.
    """
    data = read_small(path, MAX_BYTES, "boxes")
    try:
        values = from_json(data)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    boxes = values.get("boxes") if isinstance(values, dict) else None
    if not isinstance(boxes, dict) or not boxes:
        raise ValueError(f'{path} must hold {{"boxes": {{NAME: [[top, left, bottom, right], …]}}}}')
    units = values.get("units", UNITS[0])
    if units not in UNITS:
        raise ValueError(f"{path}: units must be one of {', '.join(UNITS)}, got {units!r}")
    for name, listed in boxes.items():
        if not isinstance(listed, list) or not all(_is_box(box, units) for box in listed):
            limit = " from 0 to 1" if units == "shares" else " from 0"
            raise ValueError(
                f"{path}: {name} must have a list of [top, left, bottom, right]{limit}, top above "
                f"bottom and left before right; got {json.dumps(listed)[:100]}"
            )
    return Boxes(units, {name: [tuple(box) for box in listed] for name, listed in boxes.items()})


def names_in(boxes: Boxes, files: Sequence[tuple[Path, int, str]]) -> list[str]:
    """Say by which name the boxes know each photograph: its path below a folder, or its file name.

    A path that the boxes name is never taken for the file name of another photograph.

    Parameters
    ----------
    boxes : Boxes
        Where their objects are.
    files : sequence of (Path, int, str)
        Each photograph, its class, and its path below the folder that was given; as of
        `sact_core.data.records.FileRecords`.

    Returns
    -------
    list of str
        One for each; the path of a photograph that the boxes do not name.

    Raises
    ------
    ValueError
        If a name of the boxes could mean several photographs.
    """
    exact = {name for *_, name in files if name in boxes.by_name}
    meant: dict[str, Path] = {}  # by the name of its boxes
    found = []
    for path, _, name in files:
        bare = Path(name).name
        if name not in exact and bare in boxes.by_name and bare not in exact:
            name = bare
        if name in boxes.by_name and meant.setdefault(name, path) != path:
            raise ValueError(
                f"the boxes of {name!r} could be those of {shown(meant[name])} or of "
                f"{shown(path)}: name them by their paths below one folder, such as "
                f"'{shown(path.parent.name)}/{shown(path.name)}'"
            )
        found.append(name)
    return found


def inside_mask(
    boxes: Sequence[Box], units: str, image_size: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Mark the positions of a map whose middle lies in a box.

    Parameters
    ----------
    boxes : sequence of Box
        In shares of the image, or in its pixels.
    units : str
        Which of `UNITS`.
    image_size, size : tuple of int
        Height and width of the image and of the map.

    Returns
    -------
    np.ndarray [shape=size, bool]

    Raises
    ------
    ValueError
        If a box reaches beyond the image.
    """
    height, width = (1, 1) if units == "shares" else image_size
    down, right = ((np.arange(side) + 0.5) / side for side in size)
    inside = np.zeros(size, bool)
    for top, left, bottom, end in boxes:
        if bottom > height or end > width:
            raise ValueError(
                f"its box [{top:g}, {left:g}, {bottom:g}, {end:g}] reaches beyond its "
                f"{height} x {width} {units} (height x width)"
            )
        rows = (down >= top / height) & (down < bottom / height)
        columns = (right >= left / width) & (right < end / width)
        inside |= rows[:, None] & columns
    return inside


def _is_box(box: Any, units: str) -> bool:
    if not isinstance(box, list) or len(box) != 4:
        return False
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in box):
        return False
    top, left, bottom, right = box
    most = 1 if units == "shares" else MAX_SIDE
    return bool(0 <= top < bottom <= most and 0 <= left < right <= most)
