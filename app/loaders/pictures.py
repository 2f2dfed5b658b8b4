"""Pictures: examples that come with the program, and what somebody handed in."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import math
from pathlib import Path

import numpy as np
import streamlit as st

from app.folders import EXAMPLES, InputError, sentence
from app.records import Picture
from app.texts import short, uploaded_name
from sact_core.data.folders import images_in

#: What is kept of an uploaded image, so that many people have room.
MAX_KEPT_PIXELS = 16_000_000
#: Shorter side in pixels below which no thumbnail is decoded.
SMALL_SIDE = 128


def example_names() -> list[str]:
    """Names of the photographs that come with the program."""
    found = images_in(EXAMPLES, deep=False)
    return [path.stem.capitalize() for path in found if path.suffix == ".jpg"]


def example(name: str) -> Picture:
    """Open an example photograph.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in example_names():
        raise InputError(f"There is no example named {short(name)}.")
    pixels = _example_pixels(name)
    return Picture(name, pixels, _digest(pixels))


def uploaded_picture(name: str, data: bytes) -> Picture:
    """Open an image that somebody handed in.

    Raises
    ------
    InputError
        If it is too large, truncated, or no image.
    """
    return _opened(uploaded_name(name) or "Image", data)


def filed_picture(name: str, path: Path) -> Picture:
    """Open an image of a folder of this machine that may be opened.

    Raises
    ------
    InputError
        As `uploaded_picture`.
    """
    return _opened(name, path)


def small_pixels(source: bytes | Path) -> np.ndarray:
    """Read a photograph for a thumbnail, as small as its format allows [shape=(h, w, 3), uint8].

    Raises
    ------
    InputError
        As `uploaded_picture`.
    """
    from sact_core.data.images import read_image

    def shrink(width: int, height: int) -> int:
        return next((n for n in (8, 4, 2) if min(width, height) >= n * SMALL_SIDE), 1)

    try:
        return read_image(source, "The image", shrink, lambda _: None)
    except (ValueError, OSError) as error:
        raise InputError(sentence(error)) from None


def _opened(name: str, source: bytes | Path) -> Picture:
    from sact_core.data.images import read_image

    said: list[str] = []
    try:
        pixels = read_image(source, "the image", said=said.append)
    except (ValueError, OSError) as error:
        raise InputError(sentence(error).replace("The image", name, 1)) from None
    height, width = pixels.shape[:2]
    factor = math.ceil(math.sqrt(height * width / MAX_KEPT_PIXELS))
    if factor == 1:
        return picture(
            name, pixels, "upload", said[0].replace("the image has", "of") if said else ""
        )
    note = f"made {factor} times smaller first, since {width} × {height} pixels are very many"
    return picture(name, _smaller(pixels, factor), "upload", note)


def give_back_memory() -> None:
    """Free what a photograph took while it was decoded: hundreds of megabytes, not used again.

    Python keeps what refers to itself until it has time, and the C library what was freed.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # another C library


def _smaller(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Average squares of pixels; no network here takes nearly as many."""
    from PIL import Image

    return np.array(Image.fromarray(pixels).reduce(factor))


def picture(name: str, pixels: np.ndarray, origin: str, note: str = "") -> Picture:
    """Make a picture of pixels that have been read [shape=(h, w, 3), uint8]."""
    pixels = _frozen(np.ascontiguousarray(pixels))
    return Picture(name, pixels, _digest(pixels), origin, note)


@st.cache_resource(max_entries=32, show_spinner=False)
def _example_pixels(name: str) -> np.ndarray:
    from sact_core.data.images import read_image

    return _frozen(read_image(EXAMPLES / f"{name.lower()}.jpg"))


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _digest(pixels: np.ndarray) -> str:
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
