"""Read photographs as people have them: any usual format, any orientation.

The first frame is taken of an animation, the camera's orientation is applied,
transparency is laid on white, and every colour mode becomes 8-bit RGB. A file
may come from anybody: its size is looked at before a pixel is decoded.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sact_core.data.png import only_pixels
from sact_core.texts import shown

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
    data = only_pixels(data)
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
            return np.array(_to_rgb(_upright(image), _bits(image)))
        except Exception as error:
            reason = str(error).strip().splitlines()
            detail = f" ({reason[0]})" if reason else ""
            raise ImageError(f"{label} is truncated or damaged{detail}") from None


def _contents(source: str | Path | bytes, name: str | None) -> tuple[str, bytes]:
    """What to call it in messages, and its bytes, at most one more than allowed."""
    if isinstance(source, bytes):
        label, data = name or "the image", source
    else:
        label = name or shown(source)
        with open(source, "rb", opener=_open_at_once) as file:
            if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
                raise ImageError(f"{label} is a pipe: save what comes out of it in a file first")
            data = file.read(MAX_BYTES + 1)
    if not data:
        raise ImageError(f"{label} is empty")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{label} is larger than {MAX_BYTES // 1_000_000} MB")
    return label, data


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a pipe too, whose other end nobody may ever open."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


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


def _bits(image: Image.Image) -> int:
    """Bits of whole numbers with more than 8, which Pillow hands on as they are."""
    from PIL import TiffImagePlugin

    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 16
    return int(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0])


def _to_rgb(image: Image.Image, bits: int) -> Image.Image:
    from PIL import Image

    if image.mode == "F":
        raise ValueError("it holds floating-point numbers, which have no usual brightness")
    if image.mode.startswith("I"):  # which Pillow would clip at 255
        return _grey(image, bits)
    if not image.has_transparency_data:
        return image.convert("RGB")
    coloured = image.convert("RGBA")
    white = Image.new("RGBA", coloured.size, "white")
    return Image.alpha_composite(white, coloured).convert("RGB")


def _grey(image: Image.Image, bits: int) -> Image.Image:
    """Whole numbers of more than 8 bits, white where they are transparent."""
    from PIL import Image

    if bits > 16:
        raise ValueError(
            f"it holds whole numbers of {bits} bits, which have no usual brightness: "
            f"save it with 8 or 16"
        )
    values = np.asarray(image).astype(np.int64)
    grey = (np.clip(values, 0, 2**bits - 1) >> (bits - 8)).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")
