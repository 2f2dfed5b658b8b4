"""Photographs in every form that people have them, and files that are none."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from sact_core.data import images
from sact_core.data.images import ImageError, read_image
from tests.conftest import ROOT

# Four quarters: red, green / blue, white. JPEG's blocks of 8 (and 16, for colour) fit.
QUARTERS = np.zeros((32, 64, 3), np.uint8)
QUARTERS[:16, :32, 0] = QUARTERS[:16, 32:, 1] = QUARTERS[16:, :32, 2] = 255
QUARTERS[16:, 32:] = 255


def encode(array, kind, **options):
    out = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name, body, length=None, crc=None):
    """A chunk of a PNG file, whose length or checksum may be wrong."""
    length, crc = len(body) if length is None else length, crc or zlib.crc32(name + body)
    return struct.pack(">I", length) + name + body + struct.pack(">I", crc)


def png(row, width, depth, colour, after=b"", **chunks):
    """A PNG file of one row, written by hand, with further chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    return data + chunk(b"IDAT", zlib.compress(b"\0" + row)) + after + chunk(b"IEND", b"")


def assert_close(comp, ref, atol):
    assert comp.dtype == np.uint8
    assert comp.shape == ref.shape
    assert np.abs(comp.astype(int) - ref.astype(int)).max() <= atol


# --- formats ---


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
def test_lossless_formats(tmp_path, kind):
    data = encode(QUARTERS, kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(read_image(data), QUARTERS)
    (tmp_path / "a.dat").write_bytes(data)  # the name does not count
    np.testing.assert_array_equal(read_image(tmp_path / "a.dat"), QUARTERS)
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.dat")), QUARTERS)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg(options):
    data = encode(QUARTERS, "JPEG", quality=95, subsampling=0, **options)
    assert_close(read_image(data), QUARTERS, 8)
    halved = read_image(encode(QUARTERS, "JPEG", quality=95, **options))
    assert_close(halved[:12, :28], QUARTERS[:12, :28], 8)  # colour runs over the edges


def test_mpo_of_a_camera():
    out = io.BytesIO()
    image = Image.fromarray(QUARTERS)
    image.save(out, "MPO", save_all=True, append_images=[image.rotate(180)], subsampling=0)
    assert_close(read_image(out.getvalue()), QUARTERS, 8)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(compression):
    data = encode(QUARTERS, "TIFF", compression=compression)
    np.testing.assert_array_equal(read_image(data), QUARTERS)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation(kind):
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (0, 128, 255)]
    out = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(read_image(out.getvalue()), np.zeros((8, 8, 3), np.uint8))


# --- orientation ---


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, orientation):
    """What is stored is the upright image, moved by the inverse of the camera's note."""
    moved = {
        1: QUARTERS,
        2: QUARTERS[:, ::-1],
        3: QUARTERS[::-1, ::-1],
        4: QUARTERS[::-1],
        5: QUARTERS.swapaxes(0, 1),
        6: np.rot90(QUARTERS, 1),
        7: QUARTERS[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(QUARTERS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encode(np.ascontiguousarray(moved), kind, exif=exif, **options)
    assert_close(read_image(data), QUARTERS, 8)


def test_a_senseless_orientation_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 77
    np.testing.assert_array_equal(read_image(encode(QUARTERS, "PNG", exif=exif)), QUARTERS)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_that_ends_in_the_middle_is_ignored():
    broken = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01"
    np.testing.assert_array_equal(read_image(encode(QUARTERS, "PNG", exif=broken)), QUARTERS)


# --- colour modes ---


def test_transparency_is_laid_on_white():
    array = np.zeros((2, 3, 4), np.uint8)
    array[..., 0] = 200
    array[0, :, 3] = [0, 128, 255]
    comp = read_image(encode(array, "PNG"))
    np.testing.assert_array_equal(comp[0, 0], [255, 255, 255])
    assert_close(comp[:1, 1:2], np.array([[[227, 127, 127]]], np.uint8), 1)
    np.testing.assert_array_equal(comp[0, 2], [200, 0, 0])
    assert_close(read_image(encode(array, "WEBP", lossless=True)), comp, 1)


def test_grey_with_transparency():
    array = np.array([[[10, 255], [10, 0]]], np.uint8)
    comp = read_image(encode(Image.fromarray(array, "LA"), "PNG"))
    np.testing.assert_array_equal(comp, [[[10, 10, 10], [255, 255, 255]]])


def test_a_transparent_colour_of_a_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    ref = [[[255, 255, 255], [0, 255, 0]]]
    for kind in ("PNG", "GIF"):
        np.testing.assert_array_equal(read_image(encode(image, kind, transparency=0)), ref)
    np.testing.assert_array_equal(read_image(encode(image, "PNG")), [[[255, 0, 0], [0, 255, 0]]])


def test_a_transparent_colour_of_rgb_and_grey():
    comp = read_image(encode(QUARTERS, "PNG", transparency=(255, 0, 0)))
    assert (comp[:16, :32] == 255).all()
    assert (comp[16:, :32] == [0, 0, 255]).all()
    grey = encode(np.array([[0, 9]], np.uint8), "PNG", transparency=0)
    np.testing.assert_array_equal(read_image(grey)[0, :, 0], [255, 9])


def test_grey_and_bilevel():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    ref = np.repeat(grey[..., None], 3, 2)
    np.testing.assert_array_equal(read_image(encode(grey, "PNG")), ref)
    bits = Image.fromarray(grey > 100)
    np.testing.assert_array_equal(read_image(encode(bits, "PNG")), (ref > 100) * np.uint8(255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_brightness(kind):
    array = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    comp = read_image(encode(array, kind))
    np.testing.assert_array_equal(comp[0, :, 0], [0, 0, 1, 128, 255])
    assert (comp[..., 1:] == comp[..., :1]).all()


def test_sixteen_bit_colour():
    """Written by hand: Pillow reads such PNG files, but does not write them."""

    data = png(struct.pack(">6H", 65535, 0, 32768, 256, 257, 255), 2, 16, 2)
    np.testing.assert_array_equal(read_image(data), [[[255, 0, 128], [1, 1, 0]]])


def test_a_transparent_value_of_sixteen_bits():
    """White only where all 16 bits fit, in grey; a colour is read with 8 bits."""
    grey = np.array([[0, 40000, 40001]], ">u2")
    comp = read_image(png(grey.tobytes(), 3, 16, 0, tRNS=struct.pack(">H", 40000)))
    np.testing.assert_array_equal(comp[0, :, 0], [0, 255, 156])
    colours = struct.pack(">6H", 65535, 0, 300, 65535, 0, 0)
    comp = read_image(png(colours, 2, 16, 2, tRNS=colours[:6]))
    np.testing.assert_array_equal(comp, [[[255, 255, 255], [255, 0, 0]]])


@pytest.mark.parametrize("kind", [np.int32, np.uint32])
def test_whole_numbers_of_32_bits_are_refused_by_name(kind):
    with pytest.raises(ImageError, match="holds whole numbers of 32 bits, which have no usual"):
        read_image(encode(Image.fromarray(np.array([[0, 255]], kind).astype(np.int32)), "TIFF"))


def test_twelve_bits_keep_their_brightness():
    """A TIFF file by hand, of two grey values of 12 bits: 4095 and 2048."""
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3}
    data = b"II*\0" + struct.pack("<I", 12) + b"\xff\xf8\x00\0" + struct.pack("<H", len(tags))
    data += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    np.testing.assert_array_equal(read_image(data + bytes(4))[0, :, 0], [255, 128])


def test_floating_point_tiff():
    with pytest.raises(ImageError, match="floating-point"):
        read_image(encode(np.ones((2, 2), np.float32), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind):
    options = {"quality": 95} if kind == "JPEG" else {}
    comp = read_image(encode(Image.fromarray(QUARTERS).convert("CMYK"), kind, **options))
    assert_close(comp, QUARTERS, 10)


def test_lab():
    lab = ImageCms.profileToProfile(
        Image.fromarray(QUARTERS),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    comp = read_image(encode(lab, "TIFF"))
    assert comp.shape == QUARTERS.shape
    assert comp[20, 40].min() > 240  # white stays white


# --- what a PNG file holds besides its pixels ---

LONG = zlib.compress(bytes(3 << 20))
BROKEN = {
    "a text of 1.5 MB": chunk(b"tEXt", b"Comment\0" + b"x" * 1_500_000),
    "a text that inflates to 3 MB": chunk(b"zTXt", b"Comment\0\0" + LONG),
    "a note of the camera that inflates to 3 MB": chunk(
        b"zTXt", b"Raw profile type exif\0\0" + LONG
    ),
    "an international text that inflates to 3 MB": chunk(
        b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG
    ),
    "a profile that inflates to 3 MB": chunk(b"iCCP", b"sRGB\0\0" + LONG),
    "a text packed by an unknown method": chunk(b"zTXt", b"Comment\0\7abc"),
    "a profile packed by an unknown method": chunk(b"iCCP", b"sRGB\0\7abc"),
    "a profile of nothing": chunk(b"iCCP", b""),
    "half a gamma": chunk(b"gAMA", b"\0\0"),
    "half a density": chunk(b"pHYs", b"\0\0\1"),
    "half a transparent colour": chunk(b"tRNS", b"\0\0\0\0"),
    "a wrong checksum": chunk(b"tEXt", b"Comment\0hello", crc=1),
    "a length that is too small": chunk(b"tEXt", b"Comment\0hello", length=3),
    "a length that is too large": chunk(b"tEXt", b"Comment\0hello", length=50),
    "a length beyond the file": chunk(b"tEXt", b"Comment\0hello", length=2**31 - 1),
    "a length beyond all files": chunk(b"tEXt", b"Comment\0hello", length=2**32 - 1),
    "frames out of order": chunk(b"acTL", bytes([0, 0, 0, 2] * 2)) + chunk(b"fcTL", bytes(26)) * 2,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_pixels_are_those_without_a_broken_ancillary_chunk(broken):
    whole = encode(QUARTERS, "PNG")
    pixels, end = whole.index(b"IDAT") - 4, whole.index(b"IEND") - 4
    np.testing.assert_array_equal(read_image(whole[:pixels] + broken + whole[pixels:]), QUARTERS)
    np.testing.assert_array_equal(read_image(whole[:end] + broken + whole[end:]), QUARTERS)


@pytest.mark.parametrize("key", ["exif", "xmp"])
def test_what_texts_say_of_the_camera_is_kept(key):
    """As ImageMagick and Adobe note it: a half turn, among a text that is too long."""
    exif = Image.Exif()
    exif[0x0112] = 3
    raw = exif.tobytes()
    xmp = b'<x:xmpmeta xmlns:tiff="t" tiff:Orientation="3"/>'
    said = {
        "exif": chunk(
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()),
        ),
        "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
    }[key]
    whole = encode(QUARTERS[::-1, ::-1].copy(), "PNG")
    at = whole.index(b"IDAT") - 4
    long = BROKEN["a text of 1.5 MB"]
    np.testing.assert_array_equal(read_image(whole[:at] + long + said + whole[at:]), QUARTERS)


# --- photographs of very many pixels ---


@pytest.mark.parametrize(
    ("size", "options", "factor"),
    [
        ((32, 64), {}, 2),
        ((31, 63), {}, 2),
        ((24, 32), {}, 1),
        ((56, 64), {}, 4),
        ((32, 64), {"progressive": True}, 4),
        ((40, 60), {"progressive": True}, None),
        ((60, 80), {}, None),
    ],
)
def test_a_large_jpeg_is_decoded_smaller_and_it_is_said(monkeypatch, caplog, size, options, factor):
    """By limits of so many hundred pixels as there are millions."""
    monkeypatch.setattr(images, "MAX_PIXELS", 800)
    monkeypatch.setattr(images, "MAX_JPEG_PIXELS", 4000)
    monkeypatch.setattr(images, "MAX_COEFFICIENT_BYTES", 13_000)
    images._logged().clear()
    pixels = np.full((*size, 3), 200, np.uint8)
    pixels[: size[0] // 2] = [90, 20, 20]
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encode(pixels, "JPEG", quality=95, subsampling=0, exif=exif, **options)
    if factor is None:
        with pytest.raises(ImageError, match=r"megapixels|is a progressive JPEG of 60 x 40 pixels"):
            read_image(data)
        return
    comp = read_image(data, "it.jpg")
    assert comp.shape == (-(-size[0] // factor), -(-size[1] // factor), 3)
    assert_close(comp[-1:], np.full((1, comp.shape[1], 3), [90, 20, 20], np.uint8), 8)  # upright
    assert_close(comp[:1], np.full((1, comp.shape[1], 3), 200, np.uint8), 8)
    sentence = f"it.jpg has {size[1]} x {size[0]} pixels: decoded at 1/{factor} of that"
    assert caplog.messages == ([sentence] if factor > 1 else [])
    read_image(data, "it.jpg")
    assert len(caplog.messages) <= 1  # once
    heard = []
    assert read_image(data, "it.jpg", lambda *_: 4, heard.append).shape[0] == -(-size[0] // 4)
    assert heard == ([sentence] if factor > 1 else [])


def test_a_large_jpeg_2000_is_decoded_smaller(monkeypatch):
    monkeypatch.setattr(images, "MAX_JPEG_2000_PIXELS", 2000)
    heard = []
    comp = read_image(encode(QUARTERS, "JPEG2000"), said=heard.append)
    assert comp.shape == (16, 32, 3)
    assert_close(comp[2:6, 2:14], QUARTERS[2:6, 2:14], 8)
    assert heard == ["the image has 64 x 32 pixels: decoded at 1/2 of that"]


def test_only_the_first_ones_are_named(monkeypatch, caplog):
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    images._logged().clear()
    data = encode(QUARTERS, "JPEG")
    for i in range(9):
        read_image(data, f"{i}.jpg")
    assert [message[:5] for message in caplog.messages] == [f"{i}.jpg" for i in range(5)]
    assert caplog.messages[-1].endswith("decoded at 1/2 of that; more are not named")


@pytest.mark.parametrize(("width", "height"), [(9504, 6336), (12000, 9000), (16000, 12500)])
def test_photographs_of_61_108_and_200_megapixels(width, height):
    """Their headers before pixels of a few rows; what is missing the decoder makes grey."""
    data = bytearray(encode(QUARTERS, "JPEG", subsampling=0))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    heard = []
    assert read_image(bytes(data), said=heard.append).shape == (height // 2, width // 2, 3)
    assert heard == [f"the image has {width:,} x {height:,} pixels: decoded at 1/2 of that"]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="tells no peak of memory")
@pytest.mark.parametrize("kind", ["JPEG of 108 megapixels", "PNG", "PNG with transparency", "BMP"])
def test_the_largest_stay_below_a_gigabyte(tmp_path, kind):
    size, colours = ((12000, 9000), 3) if "108" in kind else ((8192, 6100), 3 + ("with" in kind))
    if kind == "BMP":
        size = (8192, 2030)  # as many bytes as a file may have
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGBA" if colours == 4 else "RGB", size, (9, 8, 7, 6)[:colours])
    options = {} if kind == "BMP" else {"exif": exif}
    image.save(tmp_path / "a", kind.split()[0], **options)
    code = "from tests.peak_memory import peak; from sact_core.data.images import read_image; "
    code += f"shape = read_image({str(tmp_path / 'a')!r}).shape; print(*shape[:2], peak())"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    height, width, peak = map(int, done.stdout.split())
    assert (height, width) == {
        "JPEG of 108 megapixels": (6000, 4500),
        "BMP": (2030, 8192),
    }.get(kind, (8192, 6100))
    assert peak < 700_000_000
    assert ("decoded at 1/2" in done.stderr) == ("108" in kind)


# --- what is refused ---


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match=r"a\.jpg is a pipe: save what comes out of it"):
        read_image(tmp_path / "a.jpg")


def test_a_missing_file_or_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(IsADirectoryError):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the image is empty"),
        (b"hello", "is no image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no image"),
        (b"\xff\xd8\xff\xe0 not a jpeg", "is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "is a HEIC photograph; save it as JPEG first"),
        (b"\0\0\0\x18ftypheix\0\0\0\0", "is a HEIC photograph; save it as JPEG first"),
        (b"\0\0\0\x18ftyphevx\0\0\0\0", "is a HEIC photograph; save it as JPEG first"),
        (b"\xff\x0a\xfa\x7f\x01", "is a JPEG XL photograph; save it as JPEG first"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "is a JPEG XL photograph; save it as JPEG first"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "is a raw photograph of a camera; save it as JPEG"),
        (b"FUJIFILMCCD-RAW 0201", "is a raw photograph of a camera; save it as JPEG first"),
        (b"8BPS\0\1", "is a Photoshop document; save it as JPEG first"),
        (b"%PDF-1.7\n", "is a PDF document; save it as JPEG first"),
    ],
)
def test_fake_files(data, message):
    with pytest.raises(ImageError, match=message):
        read_image(data)


def test_the_message_names_the_file(tmp_path):
    (tmp_path / "holiday.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"holiday\.jpg is no image, or none that can be read"):
        read_image(tmp_path / "holiday.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_truncation_is_refused_or_whole(rng, kind):
    """Nothing but ImageError comes out, whatever is cut off."""
    array = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    data = encode(array, kind)
    whole = read_image(data)
    for length in range(0, len(data) * 3 // 4, 11):
        with pytest.raises(ImageError):
            read_image(data[:length])
    for length in range(len(data) * 3 // 4, len(data)):
        try:
            comp = read_image(data[:length])
        except ImageError:
            continue
        np.testing.assert_array_equal(comp, whole)  # only padding or an end mark was missing


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.filterwarnings("ignore")
def test_flipped_bits_give_an_image_or_one_error(rng, kind):
    data = encode(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), kind)
    for at in rng.integers(len(data), size=200):
        broken = bytearray(data)
        broken[at] ^= 1 << int(rng.integers(8))
        try:
            comp = read_image(bytes(broken))
        except ImageError:
            continue
        assert comp.dtype == np.uint8
        assert comp.shape[2] == 3


def png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + header + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"


@pytest.mark.parametrize(
    "size", [(7072, 7072), (50_000_001, 1), (10_000, 10_000), (60_000, 60_000), (2**31 - 1, 1)]
)
def test_a_decompression_bomb_is_refused_undecoded(size):
    with pytest.raises(ImageError, match="has more than 50 megapixels"):
        read_image(png_header(*size))


def test_a_file_of_too_many_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 1_000_000)
    with pytest.raises(ImageError, match="larger than 1 MB"):
        read_image(bytes(1_000_001))
    with open(tmp_path / "a.png", "wb") as file:
        file.truncate(1_000_001)
    with pytest.raises(ImageError, match=r"a\.png is larger than 1 MB"):
        read_image(tmp_path / "a.png")
    with pytest.raises(ImageError, match="larger than 1 MB"):
        read_image("/dev/zero")
