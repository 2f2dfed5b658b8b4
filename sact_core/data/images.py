"""Read photographs as people have them: any usual format, any orientation.

The first frame is taken of an animation, the camera's orientation is applied,
transparency is laid on white, and every colour mode becomes 8-bit RGB. A file
may come from anybody: its size is looked at before a pixel is decoded.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

#: Formats as Pillow names them. JPEG includes MPO, which many cameras write as ``.jpg``.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 50_000_000
MAX_BYTES = 50_000_000


class ImageError(ValueError):
    """The file is no image that can be used; the message says why in one sentence.

    ``name`` is what a data set calls the image, where it comes from one.
    """

    name: str | None = None


def read_image(
    source: str | Path | bytes,
    name: str | None = None,
    shrink: Callable[[int, int], int] | None = None,
) -> np.ndarray:
    """Read a photograph.

    Parameters
    ----------
    source : str, Path or bytes
        A JPEG, PNG, WebP, GIF (first frame), BMP or TIFF file, or its contents.
    name : str, optional
        What to call it in messages; the file's path where left out.
    shrink : callable, optional
        Told width and height of an upright JPEG photograph, says by which factor it
        may be decoded smaller, which is quicker: 1, 2, 4 or 8.

    Returns
    -------
    np.ndarray [shape=(h, w, 3), uint8]
        RGB, upright, on white where it was transparent.

    Raises
    ------
    ImageError
        If it is none of these formats, is truncated or damaged, or has more than
        50 megapixels or 50 MB.
    OSError
        If there is no such file or it cannot be opened.
    """
    from PIL import Image

    label, data = _contents(source, name)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(_too_large(label)) from None
    except Exception:  # Pillow raises nearly anything at damaged files
        raise ImageError(f"{label} {_foreign(data)}") from None
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(_too_large(label, image.size))
        if image.width * image.height == 0:
            raise ImageError(f"{label} has no pixels")
        try:
            if shrink is not None and image.format in ("JPEG", "MPO"):
                width, height = _upright_size(image)
                factor = shrink(width, height)
                image.draft(None, (image.width // factor, image.height // factor))
            image.load()
            return np.array(_to_rgb(_upright(image)))
        except Exception as error:
            reason = str(error).strip().splitlines()
            detail = f" ({reason[0]})" if reason else ""
            raise ImageError(f"{label} is truncated or damaged{detail}") from None


def _contents(source: str | Path | bytes, name: str | None) -> tuple[str, bytes]:
    """What to call it in messages, and its bytes, at most one more than allowed."""
    if isinstance(source, bytes):
        label, data = name or "the image", source
    else:
        label = name or str(source)
        with open(source, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    if not data:
        raise ImageError(f"{label} is empty")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{label} is larger than {MAX_BYTES // 1_000_000} MB")
    return label, data


def _foreign(data: bytes) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in (
        b"heic",
        b"heix",
        b"mif1",
        b"msf1",
        b"heim",
        b"hevc",
    ):
        return "is a HEIC photograph; save it as JPEG first"
    return "is no image, or none that can be read: JPEG, PNG, WebP, GIF, BMP and TIFF can"


def _too_large(label: str, size: tuple[int, int] | None = None) -> str:
    dimensions = f" ({size[0]} x {size[1]})" if size else ""
    return f"{label} has more than {MAX_PIXELS // 1_000_000} megapixels{dimensions}"


def _upright(image: Image.Image) -> Image.Image:
    """Turn and mirror as the camera noted; a note that makes no sense is ignored."""
    from PIL import ImageOps

    with contextlib.suppress(Exception):
        return ImageOps.exif_transpose(image)
    return image


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height once it is turned as the camera noted."""
    from PIL import ExifTags

    turned = False
    with contextlib.suppress(Exception):
        turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return image.size[::-1] if turned else image.size


def _to_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "F":
        raise ValueError("it holds floating-point numbers, which have no usual brightness")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    coloured = image.convert("RGBA")
    white = Image.new("RGBA", coloured.size, "white")
    return Image.alpha_composite(white, coloured).convert("RGB")
