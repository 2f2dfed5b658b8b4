"""Read photographs as people have them: any usual format, any orientation.

The first frame is taken of an animation, the camera's orientation is applied,
transparency is laid on white, and every colour mode becomes 8-bit RGB. A file
may come from anybody: its size is looked at before a pixel is decoded. What takes
memory is done strip by strip, so that the largest photograph stays below 1 GB.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import re
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
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")

#: How names of such files end, in lower case.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp"),
    *(".tif", ".tiff", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)

#: How the files themselves begin.
_BEGINNINGS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|RIFF....WEBP|GIF8[79]a|BM|II\*\0|MM\0\*|....ftypavi[fs]"
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51|P[1-6]\s",
    re.DOTALL,
)

#: What photographs that Pillow does not open are, and how they begin.
_OTHERS = (
    ("HEIC photograph", rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)"),
    ("JPEG XL photograph", rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("raw photograph of a camera", rb"....ftypcrx |FUJIFILMCCD-RAW|IIRO|IIU\0|\0MRM"),
    ("Photoshop document", rb"8BPS"),
    ("PDF document", rb"%PDF-"),
)

#: Decoded at most. JPEG files of more, to so many, are decoded smaller, as they allow.
MAX_PIXELS = 50_000_000
MAX_JPEG_PIXELS = 250_000_000

#: JPEG 2000 takes 20 bytes a pixel while it is decoded, and may be decoded smaller too.
MAX_JPEG_2000_PIXELS = 25_000_000

#: A progressive JPEG file is held whole before it is decoded, at any scale.
MAX_COEFFICIENT_BYTES = 700_000_000

#: Photographs that a process names as decoded smaller.
MAX_LOGGED = 5

#: Pixels brought to RGB at a time.
STRIP_PIXELS = 1 << 20

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
    said: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Read a photograph.

    Parameters
    ----------
    source : str, Path or bytes
        A JPEG, PNG, WebP, GIF (first frame), BMP, TIFF, AVIF, JPEG 2000 or PPM file, or
        its contents.
    name : str, optional
        What to call it in messages; the file's path where left out.
    shrink : callable, optional
        Told width and height of an upright JPEG photograph, says by which factor it
        may be decoded smaller, which is quicker: 1, 2, 4 or 8.
    said : callable, optional
        Told in one sentence where a photograph of too many pixels is decoded smaller.
        Where left out, the first few are logged.

    Returns
    -------
    np.ndarray [shape=(h, w, 3), uint8]
        RGB, upright, on white where it was transparent.

    Raises
    ------
    ImageError
        If it is none of these formats, is truncated or damaged, or has more than
        50 MB or 50 megapixels (JPEG: 250).
    OSError
        If there is no such file or it cannot be opened.
    """
    from PIL import Image, JpegImagePlugin

    label, data = _contents(source, name)
    data = only_pixels(data)
    image: Image.Image
    try:
        if data.startswith(b"\xff\xd8\xff"):
            # Without Pillow's own limit, which knows nothing of scaled decoding. Of several
            # photographs in a file (MPO) this is the first.
            image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        else:
            image = Image.open(io.BytesIO(data), formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(_too_large(label)) from None
    except Exception:  # Pillow raises nearly anything at damaged files
        raise ImageError(f"{label} {_foreign(data)}") from None
    with image:
        if image.width * image.height == 0:
            raise ImageError(f"{label} has no pixels")
        factor = _factor_needed(image, label)
        if factor > 1:
            (said or _log)(
                f"{label} has {image.width:,} x {image.height:,} pixels: decoded at 1/{factor} "
                f"of that"
            )
        try:
            if isinstance(image, JpegImagePlugin.JpegImageFile):
                if shrink is not None:
                    factor = max(factor, shrink(*_upright_size(image)))
                image.draft(None, (image.width // factor, image.height // factor))
            elif factor > 1:
                image.reduce = factor.bit_length() - 1  # type: ignore[method-assign, assignment]
            bits = _bits(image)
            image.load()
            _turn_upright(image)
            return _pixels(image, bits)
        except MemoryError:
            raise ImageError(f"{label} needs more memory than there is") from None
        except Exception as error:
            reason = str(error).strip().splitlines()
            detail = f" ({reason[0]})" if reason else ""
            raise ImageError(f"{label} is truncated or damaged{detail}") from None


def is_image_file(path: Path) -> bool:
    """Tell whether a file holds a photograph: by its suffix, and where it has none by its bytes."""
    if path.suffix:
        return path.name.lower().endswith(IMAGE_SUFFIXES)
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return _BEGINNINGS.match(file.read(16)) is not None
    except OSError:
        return False


@functools.lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow can read."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _factor_needed(image: Image.Image, label: str) -> int:
    """By which factor a photograph must be decoded smaller: 1, 2 or 4; or it is refused."""
    from PIL import JpegImagePlugin

    num_pixels = image.width * image.height
    if num_pixels <= MAX_PIXELS:
        return 2 if image.format == "JPEG2000" and num_pixels > MAX_JPEG_2000_PIXELS else 1
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        raise ImageError(_too_large(label, image.size))
    if num_pixels > MAX_JPEG_PIXELS:
        raise ImageError(_too_large(label, image.size, MAX_JPEG_PIXELS))
    if not image.info.get("progression"):
        return 2 if num_pixels <= 4 * MAX_PIXELS else 4
    shares = [wide * high for _, wide, high, _ in image.layer]
    if 2 * num_pixels * sum(shares) / max(shares) > MAX_COEFFICIENT_BYTES:
        raise ImageError(
            f"{label} is a progressive JPEG of {image.width} x {image.height} pixels, which takes "
            f"too much memory: save it as a usual (baseline) JPEG, or smaller"
        )
    return 4


@functools.lru_cache(maxsize=1)
def _logged() -> set[str]:
    return set()


def _log(sentence: str) -> None:
    """Say on stderr, of the first photographs of a process and of each once."""
    if len(_logged()) < MAX_LOGGED and sentence not in _logged():
        _logged().add(sentence)
        more = "; more are not named" if len(_logged()) == MAX_LOGGED else ""
        logging.getLogger(__name__).warning("%s%s", sentence, more)


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
    for what, begins in _OTHERS:
        if re.match(begins, data, re.DOTALL):
            return f"is a {what}; save it as JPEG first"
    return (
        "is no image, or none that can be read: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 "
        "and PPM can"
    )


def _too_large(label: str, size: tuple[int, int] | None = None, limit: int = MAX_PIXELS) -> str:
    dimensions = f" ({size[0]} x {size[1]})" if size else ""
    return f"{label} has more than {limit // 1_000_000} megapixels{dimensions}"


def _turn_upright(image: Image.Image) -> None:
    """Turn and mirror as the camera noted; a note that makes no sense is ignored."""
    from PIL import ImageOps

    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


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


def _pixels(image: Image.Image, bits: int) -> np.ndarray:
    """RGB of a decoded image [shape=(h, w, 3), uint8], brought there strip by strip."""
    out = np.empty((image.height, image.width, 3), np.uint8)
    num_rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, num_rows):
        bottom = min(top + num_rows, image.height)
        out[top:bottom] = np.asarray(_to_rgb(image.crop((0, top, image.width, bottom)), bits))
    return out


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
