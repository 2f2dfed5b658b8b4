"""What of a PNG file its pixels need.

A PNG file is a row of chunks. Critical ones hold the pixels; ancillary ones hold texts,
profiles and times, which are of no use here and often broken or huge: Pillow refuses
the whole file for one of them.
"""

from __future__ import annotations

import re
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: More of a text Pillow refuses.
MAX_TEXT = 1 << 20

#: Texts in which programs note how a camera was held.
_ORIENTATION_KEYS = (b"Raw profile type exif", b"XML:com.adobe.xmp", b"exif")

#: Bytes of a transparent value by colour type: grey, colour, palette.
_TRANSPARENT_BYTES = {0: 2, 2: 6, 3: 1}


def only_pixels(data: bytes) -> bytes:
    """Leave out the ancillary chunks that change no pixel, and those that are broken.

    Kept are the critical chunks as they are, a transparent value and the note how the
    camera was held.

    Parameters
    ----------
    data : bytes
        Any file.

    Returns
    -------
    bytes
        A PNG file of the same pixels; ``data`` itself of any other file.
    """
    if not data.startswith(SIGNATURE) or data[12:16] != b"IHDR":
        return data
    depth, colour = data[24:25], data[25:26]
    kept: list[bytes | memoryview] = [SIGNATURE]
    view, at = memoryview(data), len(SIGNATURE)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + length
        if name.isalpha() and name[:1].isupper():
            kept.append(view[at:end])  # whether it is whole, the decoder says
            if name == b"IEND":
                break
        elif end <= len(data) and _crc_fits(view, at, end):
            body = data[at + 8 : end - 4]
            if name == b"tRNS" and len(body) >= _TRANSPARENT_BYTES.get(colour[0], 0):
                kept.append(_transparent(body, depth + colour))
            elif name == b"eXIf" or _notes_orientation(name, body):
                kept.append(view[at:end])
        elif not _begins_chunk(data, end):
            # Its length is wrong: go on with the next chunk that is whole.
            end = _next_chunk(data, at + 8)
        at = end
    return b"".join(kept)


def _crc_fits(view: memoryview, at: int, end: int) -> bool:
    (noted,) = struct.unpack_from(">I", view, end - 4)
    return bool(zlib.crc32(view[at + 4 : end - 4]) == noted)


def _begins_chunk(data: bytes, at: int) -> bool:
    return data[at + 4 : at + 8].isalpha() and len(data) >= at + 12


def _next_chunk(data: bytes, at: int) -> int:
    """Where the next chunk with pixels or colours begins; the end where there is none."""
    for found in re.finditer(rb"PLTE|tRNS|IDAT|IEND", data[at:]):
        begin = at + found.start() - 4
        (length,) = struct.unpack_from(">I", data, begin)
        end = begin + 12 + length
        if end <= len(data) and _crc_fits(memoryview(data), begin, end):
            return begin
    return len(data)


def _transparent(body: bytes, kind: bytes) -> bytes:
    """The chunk of a transparent value; a colour of 16 bits as Pillow reads colours, with 8."""
    if kind == bytes([16, 2]):
        body = struct.pack(">3H", *(value >> 8 for value in struct.unpack(">3H", body[:6])))
    crc = zlib.crc32(b"tRNS" + body)
    return struct.pack(">I", len(body)) + b"tRNS" + body + struct.pack(">I", crc)


def _notes_orientation(name: bytes, body: bytes) -> bool:
    """Whether a text may say how the camera was held, and Pillow will read it."""
    key, _, rest = body.partition(b"\0")
    if key not in _ORIENTATION_KEYS or len(body) > MAX_TEXT:
        return False
    if name == b"zTXt":
        return rest[:1] == b"\0" and _inflates(rest[1:])
    if name == b"iTXt" and rest[:1] == b"\1":
        return _inflates(rest[2:].split(b"\0", 2)[-1])
    return name in (b"tEXt", b"iTXt")


def _inflates(data: bytes) -> bool:
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(data, MAX_TEXT)
    except zlib.error:
        return False
    return not inflater.unconsumed_tail
