"""From ponder maps to pictures: colours, overlays, colour bars, contact sheets.

Colour maps are perceptually uniform: equal steps of cost look equally large.
Pictures of small networks are enlarged by a whole factor, so that a position
stays a square.
"""

from __future__ import annotations

import io
import json
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.extras import need
from sact_core.files import require_ordinary, write_bytes
from sact_core.untrusted_json import from_json

COLOUR_MAPS = ("viridis", "cividis", "inferno", "magma", "plasma")
MIN_SIDE = 256  # smaller pictures are enlarged
STRIP_PIXELS = 1 << 18  # drawn at a time
MAX_COMMENT = 65_000  # bytes of a comment in JPEG
MAX_READ_COMMENT = 1 << 20  # bytes of a comment in PNG that is read again


def colour(values: np.ndarray, limits: tuple[float, float], colour_map: str) -> np.ndarray:
    """Turn a map into colours.

    Parameters
    ----------
    values : np.ndarray [shape=(h, w)]
        In units.
    limits : tuple of float
        Values of the first and the last colour; what lies beyond is clipped.
    colour_map : str
        One of `COLOUR_MAPS`.

    Returns
    -------
    np.ndarray [shape=(h, w, 3), uint8]
    """
    need("plots", "a map in colours", "matplotlib")
    import matplotlib

    low, high = limits
    colours = matplotlib.colormaps[colour_map]

    def draw(rows: np.ndarray) -> np.ndarray:
        share = (rows - low) / (high - low) if high > low else np.full(rows.shape, 0.5)
        found: np.ndarray = colours(np.clip(share, 0, 1), bytes=True)[..., :3]
        return found

    return _in_strips(draw, values)


def blend(image: np.ndarray, colours: np.ndarray, alpha: float = 0.55) -> np.ndarray:
    """Lay the colours of a map over the grey image.

    Parameters
    ----------
    image, colours : np.ndarray [shape=(h, w, 3), uint8]
        The picture, whose own colours would mix with those of the map, and the map.
    alpha : float
        Share of the map, in [0, 1].

    Returns
    -------
    np.ndarray [shape=(h, w, 3), uint8]
    """

    def draw(rows: np.ndarray, over: np.ndarray) -> np.ndarray:
        grey = rows @ np.array([0.299, 0.587, 0.114])
        mixed: np.ndarray = np.rint(grey[..., None] * (1 - alpha) + over * alpha)
        return mixed

    return _in_strips(draw, image, colours)


def image_heatmap(
    images: np.ndarray,
    maps: np.ndarray,
    max_value: float,
    alpha: float = 0.75,
    border: int = 5,
    normalise: bool = True,
) -> np.ndarray:
    """Draw image, black border, and image with the map in red, as the authors' summaries do.

    Parameters
    ----------
    images : np.ndarray [shape=(n, H, W, 3), float32]
        The network's input.
    maps : np.ndarray [shape=(n, H, W), float32]
        ``result.map(...)``, in units.
    max_value : float
        Value of full red: the units of all blocks; for the ponder cost plus the
        number of blocks.
    alpha : float
        Share of the map, in [0, 1].
    border : int
        Width of the border in pixels.
    normalise : bool
        Stretch every image to [0, 1] first.

    Returns
    -------
    np.ndarray [shape=(n, H, 2 * W + border, 3), float32]
        In [0, 1] where images were normalised.

    References
    ----------
    ``sact_image_heatmap`` in mfigurnov/sact.
    """
    n, height = images.shape[:2]
    if normalise:
        images = np.stack([stretch(image) for image in images])
    overlay = images * np.float32(1 - alpha)
    overlay[..., 0] += maps * np.float32(alpha / max_value)
    black = np.zeros((n, height, border, 3), np.float32)
    return np.concatenate([images, black, overlay], axis=2)


def stretch(image: np.ndarray) -> np.ndarray:
    """Stretch an image's values to [0, 1] [float32]; a constant one becomes 0."""
    low = image - image.min()
    stretched: np.ndarray = low / max(low.max(), np.finfo(np.float32).tiny)
    return stretched


def displayable(x: np.ndarray) -> np.ndarray:
    """Turn a network's input back into a picture.

    Parameters
    ----------
    x : np.ndarray [shape=(h, w, 3), float32]
        Scaled to [-1, 1] (ImageNet), or standardised (CIFAR), which is undone up
        to brightness and contrast.

    Returns
    -------
    np.ndarray [shape=(h, w, 3), uint8]
    """
    low, high = x.min(), x.max()
    if low < -1 or high > 1:  # as `stretch`
        span = max(high - low, np.finfo(np.float32).tiny)
        return _in_strips(lambda rows: np.rint((rows - low) / span * 255), x)
    return _in_strips(lambda rows: np.rint((rows + 1) / 2 * 255), x)


def enlarge(picture: np.ndarray, min_side: int = MIN_SIDE) -> np.ndarray:
    """Repeat the pixels of a small picture [shape=(h, w, 3)] a whole number of times."""
    factor = -(-min_side // max(picture.shape[:2]))
    return picture.repeat(factor, 0).repeat(factor, 1)


def write_picture(
    path: str | Path, picture: np.ndarray, about: Mapping[str, Any] | None = None
) -> None:
    """Write a PNG or, by its name, a JPEG file, beside and renamed.

    Parameters
    ----------
    path : str or Path
        Ends in ``.png`` or ``.jpg``.
    picture : np.ndarray [shape=(h, w, 3), uint8]
        RGB.
    about : mapping, optional
        What it shows and where it comes from, as JSON in the comment of the file.

    Raises
    ------
    OSError
        As `sact_core.files.write_bytes`.
    """
    from PIL import Image, PngImagePlugin

    jpeg, text = Path(path).suffix == ".jpg", json.dumps(about or {})
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if jpeg else {"optimize": False}
    if about and jpeg:
        options["comment"] = text.encode()[:MAX_COMMENT]
    elif about:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("Comment", text)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG" if jpeg else "PNG", **options)
    write_bytes(path, out.getvalue())


def about_picture(path: str | Path) -> dict[str, Any] | None:
    """What a PNG file of `write_picture` says of itself; None where it says nothing.

    Only its beginning is read, where the comment stands: a folder may hold many.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    require_ordinary(path)
    with open(path, "rb") as file:
        begin = file.read(41)  # signature, the chunk of sizes, the next one's length and name
        if begin[:8] != b"\x89PNG\r\n\x1a\n" or begin[37:] != b"iTXt":
            return None
        (length,) = struct.unpack(">I", begin[33:37])
        text = file.read(min(length, MAX_READ_COMMENT))
    start = b"Comment" + bytes(5)  # not packed, in no language
    if not text.startswith(start):
        return None
    try:
        found = from_json(text[len(start) :])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def colour_bar(limits: tuple[float, float], colour_map: str, label: str) -> np.ndarray:
    """Draw the legend of a map.

    Parameters
    ----------
    limits : tuple of float
        Values of the first and the last colour.
    colour_map : str
        One of `COLOUR_MAPS`.
    label : str
        Name and unit of what is shown.

    Returns
    -------
    np.ndarray [shape=(h, w, 3), uint8]
    """
    low, high = limits if limits[1] > limits[0] else (limits[0] - 0.5, limits[0] + 0.5)
    bars: dict[tuple[str, str], _Bar] = vars(_drawn).setdefault("bars", {})
    if (colour_map, label) not in bars:
        bars[colour_map, label] = _Bar(colour_map, label)
    return bars[colour_map, label].draw(low, high)


class _Bar:
    """A figure of a legend, whose values change: building it anew takes as long as drawing it."""

    def __init__(self, colour_map: str, label: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.cm import ScalarMappable
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.5, 4), dpi=100)
        self._canvas: Any = FigureCanvasAgg(figure)  # whose methods are published without types
        self._colours = ScalarMappable(cmap=colour_map)
        axes = figure.add_axes((0.1, 0.05, 0.2, 0.9))
        figure.colorbar(self._colours, cax=axes, label=label)

    def draw(self, low: float, high: float) -> np.ndarray:
        from matplotlib.colors import Normalize

        self._colours.set_norm(Normalize(low, high))
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()


_drawn = threading.local()  # the app draws for several people at once


def thumbnail(picture: np.ndarray, side: int) -> np.ndarray:
    """Resize a picture [shape=(h, w, 3), uint8] so that its longer side is ``side``."""
    from PIL import Image

    shown = Image.fromarray(picture)
    scale = side / max(shown.size)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return np.asarray(shown.resize(size, how))


def contact_sheet(rows: Sequence[tuple[Sequence[np.ndarray], str]], side: int) -> np.ndarray:
    """Lay out captioned rows of pictures, in columns that make the sheet about square.

    Parameters
    ----------
    rows : sequence of (pictures, caption)
        ``pictures`` are arrays [shape=(h, w, 3), uint8] of at most ``side`` pixels,
        shown beside each other. Read downwards, then to the right.
    side : int
        Longer side of a picture in pixels.

    Returns
    -------
    np.ndarray [shape=(h, w, 3), uint8]
    """
    from PIL import Image, ImageDraw, ImageFont

    gap, text = 8, 16
    width = len(rows[0][0]) * (side + 2) + gap
    height = max(p.shape[0] for pictures, _ in rows for p in pictures) + text + gap
    columns = max(1, round((len(rows) * height / width) ** 0.5))
    per_column = -(-len(rows) // columns)
    size = (-(-len(rows) // per_column) * width + gap, per_column * height + gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for i, (pictures, caption) in enumerate(rows):
        left = gap + i // per_column * width
        top = gap + i % per_column * height
        for j, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (left + j * (side + 2), top))
        place = (left, top + height - text - gap)
        draw.text(place, _fitting(caption, font, width - gap), "black", font)
    return np.asarray(sheet)


def _in_strips(draw: Callable[..., np.ndarray], *maps: np.ndarray) -> np.ndarray:
    """Draw maps [shape=(h, w, …)] some rows at a time: what lies between takes memory."""
    height, width = maps[0].shape[:2]
    picture = np.empty((height, width, 3), np.uint8)
    num_rows = max(1, STRIP_PIXELS // max(width, 1))
    for top in range(0, height, num_rows):
        picture[top : top + num_rows] = draw(*(each[top : top + num_rows] for each in maps))
    return picture


def _fitting(text: str, font: Any, width: float) -> str:
    while text and font.getlength(text) > width:
        text = text[:-2] + "…" if len(text) > 2 else ""
    return text
