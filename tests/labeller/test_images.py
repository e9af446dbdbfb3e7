from __future__ import annotations

import io
import pickle
import struct
import sys
import warnings
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from labeller import images, jpeg
from labeller.images import Decoded, Reason, Unreadable, decode
from labeller.signatures import SUPPORTED, ends_early, identify
from tests.hostile import damaged_files
from tests.support import BLUE, RED, encoded, exif_orientation, photo_like, plain

LIMIT = 10**6  # pixels


def decoded(data: bytes, size: tuple[int, int] = (4, 4)) -> Decoded:
    return decode(data, size, LIMIT)


def reason(data: bytes) -> Reason:
    with pytest.raises(Unreadable) as caught:
        decoded(data)
    return caught.value.reason


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    more = chunk(extra[:4], extra[4:]) if extra else b""
    body = [chunk(b"IHDR", header), more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


# ---- what every picture becomes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_supported_format_becomes_rgb_bytes_of_the_wanted_size(name: str) -> None:
    result = decoded(encoded(plain((200, 100, 50), 40, 30), name), (6, 10))

    assert (result.width, result.height, result.format) == (40, 30, name)
    assert result.pixels.shape == (6, 10, 3)
    assert result.pixels.dtype == np.uint8
    assert result.pixels.flags.c_contiguous
    # Lossy formats may be off by a few; the palette of a GIF holds the only colour exactly.
    assert np.abs(result.pixels.astype(int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize("options", [{"big_tiff": True}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}])
def test_tiffs_of_other_builds_are_read_too(options: dict[str, Any]) -> None:
    result = decoded(encoded(plain((200, 100, 50), 40, 30), "TIFF", **options))

    assert np.abs(result.pixels.astype(int) - (200, 100, 50)).max() <= 4


def test_shrinking_weighs_pixels_by_a_triangle_twice_as_wide_as_an_output_pixel() -> None:
    # Four columns, black black white white, to two. The first output pixel is centred between columns 0 and
    # 1, its triangle reaches two columns far: weights 3/4, 3/4, 1/4 for columns 0, 1, 2. White: 1/4 of 7/4.
    row = np.array([[0, 0, 255, 255]] * 2, np.uint8)

    result = decoded(encoded(Image.fromarray(row)), (1, 2))

    assert result.pixels[0, :, 0].tolist() == [round(255 / 7), round(255 * 6 / 7)]


def test_the_aspect_ratio_is_given_up_and_nothing_is_cropped() -> None:
    left_red = np.zeros((2, 100, 3), np.uint8)
    left_red[:, :50] = (255, 0, 0)
    left_red[:, 50:] = (0, 0, 255)

    result = decoded(encoded(Image.fromarray(left_red)), (4, 4))

    assert result.pixels[0, 0].tolist() == [255, 0, 0]
    assert result.pixels[3, 3].tolist() == [0, 0, 255]


def test_one_pixel_fills_the_whole_input() -> None:
    result = decoded(encoded(plain((9, 8, 7), 1, 1)))

    assert (result.width, result.height) == (1, 1)
    assert (result.pixels == (9, 8, 7)).all()


def test_a_large_jpeg_decoded_at_reduced_size_differs_little_from_the_whole_one() -> None:
    photo = photo_like(1600, 1200)
    data = encoded(photo, "JPEG", quality=90)
    whole = np.asarray(Image.open(io.BytesIO(data)).resize((64, 64), Image.Resampling.BILINEAR))

    result = decode(data, (64, 64), 10**7)

    assert (result.width, result.height) == (1600, 1200)
    assert np.abs(result.pixels.astype(int) - whole).mean() < 1.0  # of 255


@pytest.mark.parametrize(("width", "height"), [(1000, 750), (1008, 756)])  # a fourth of a camera's 12 megapixels
def test_a_quarter_of_a_photograph_of_12_megapixels_is_enough(width: int, height: int) -> None:
    data = encoded(photo_like(width, height), "JPEG", quality=90)
    quarter = Image.open(io.BytesIO(data))
    quarter.draft(None, (width // 4, height // 4))

    result = decode(data, (96, 96), 10**6)  # a fourth of 384 pixels

    assert (result.pixels == np.asarray(quarter.resize((96, 96), Image.Resampling.BILINEAR))).all()


# ---- orientation ------------------------------------------------------------------------------------------

# EXIF 2.32, section 4.6.4: which sides of the scene the stored 0th row and 0th column are.
UPRIGHT = {
    1: lambda a: a,  # top, left
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.swapaxes(0, 1),  # left, top
    6: lambda a: np.rot90(a, -1),  # right, top: turn clockwise
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda a: np.rot90(a),  # left, bottom: turn counter-clockwise
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP"])
def test_a_rotated_picture_is_turned_as_its_exif_says(name: str, orientation: int) -> None:
    stored = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
    options = {"lossless": True, "exact": True} if name == "WEBP" else {}
    data = encoded(Image.fromarray(stored), name, exif=exif_orientation(orientation), **options)
    expected = UPRIGHT[orientation](stored)

    result = decoded(data, expected.shape[:2])

    assert (result.height, result.width) == expected.shape[:2]
    np.testing.assert_array_equal(result.pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["AVIF", "HEIF"])
def test_a_picture_whose_container_turns_it_is_turned_once(name: str, orientation: int) -> None:
    stored = np.full((48, 64, 3), 255, np.uint8)
    stored[:24, :32] = (255, 0, 0)  # the upper left quarter
    # Phones write both, and so do these encoders: irot and imir boxes, and, in HEIF, an EXIF orientation.
    data = encoded(Image.fromarray(stored), name, exif=exif_orientation(orientation).tobytes())
    assert (b"irot" in data or b"imir" in data) == (orientation != 1)
    expected = UPRIGHT[orientation](stored)

    result = decode(data, (2, 2), LIMIT)

    assert (result.height, result.width) == expected.shape[:2]
    red = result.pixels[:, :, 1] < 128
    np.testing.assert_array_equal(red, expected[[0, 0, -1, -1], [0, -1, 0, -1], 1].reshape(2, 2) < 128)


def test_an_exif_orientation_alone_does_not_turn_a_heif() -> None:
    # ISO/IEC 23008-12, 7.2.2: the transformations of the picture count, EXIF's orientation is informative.
    turned = encoded(plain((9, 9, 9), 64, 48), "HEIF", exif=exif_orientation(6).tobytes())
    assert turned.count(b"irot") == 1
    association = turned.index(b"ipma")
    properties = turned.index(b"irot") - 4
    assert properties < association
    data = turned[: properties + 4] + b"free" + turned[properties + 8 :]  # the rotation becomes padding

    result = decoded(data)

    assert (result.width, result.height) == (64, 48)


def test_a_rotated_jpeg_has_the_size_it_is_displayed_with_and_its_top_on_top() -> None:
    stored = np.zeros((40, 80, 3), np.uint8)
    stored[:, :40] = (255, 255, 255)  # white on the left; turned clockwise (6), the left side is on top

    result = decoded(encoded(Image.fromarray(stored), "JPEG", exif=exif_orientation(6)), (8, 4))

    assert (result.width, result.height) == (40, 80)
    assert result.pixels[0].min() > 245
    assert result.pixels[-1].max() < 10


def test_turning_after_shrinking_equals_turning_before_but_for_rounding() -> None:
    photo = photo_like(200, 100)
    data = encoded(photo, "PNG", exif=exif_orientation(6))
    before = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    expected = np.asarray(before.resize((20, 30), Image.Resampling.BILINEAR)).astype(int)

    assert np.abs(decoded(data, (30, 20)).pixels - expected).max() <= 1


@pytest.mark.parametrize(
    "block",
    [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0garbage garbage"],
)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning", "ignore:Truncated:UserWarning")
def test_a_broken_exif_block_does_not_make_a_picture_unreadable(name: str, block: bytes) -> None:
    assert decoded(encoded(plain((255, 255, 255)), name, exif=block)).pixels.min() > 250


XMP_TURNED = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_xmp_orientation_alone_does_not_turn_a_picture(name: str) -> None:
    options: dict[str, Any] = {"xmp": XMP_TURNED}
    if name == "PNG":
        options = {"pnginfo": PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP_TURNED.decode())
    elif name == "TIFF":
        options = {"tiffinfo": {700: XMP_TURNED}}
    data = encoded(plain(RED, 64, 48), name, **options)
    assert XMP_TURNED in data

    assert (decoded(data).width, decoded(data).height) == (64, 48)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_exif_does_not_define_is_ignored(value: int) -> None:
    result = decoded(encoded(plain((1, 2, 3), 30, 20), exif=exif_orientation(value)))

    assert (result.width, result.height) == (30, 20)


# ---- colours ----------------------------------------------------------------------------------------------


def test_a_cmyk_jpeg_of_adobe_with_inverted_inks_has_its_real_colours() -> None:
    red_in_inks = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    data = encoded(red_in_inks, "JPEG")
    assert b"Adobe" in data

    assert (decoded(data).pixels == (255, 0, 0)).all()


def test_a_cmyk_jpeg_without_adobes_marker_is_not_inverted() -> None:
    # libjpeg stores the inverted inks (0, 0, 0, 255 here) and Adobe's marker. Without the marker the stored
    # values are the inks themselves: full black.
    data = encoded(Image.new("CMYK", (32, 32), (255, 255, 255, 0)), "JPEG")
    marker = data.index(b"\xff\xee")
    length = int.from_bytes(data[marker + 2 : marker + 4], "big")
    without = data[:marker] + data[marker + 2 + length :]

    assert (decoded(without).pixels == (0, 0, 0)).all()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 128)), (255, 127, 127)),  # 255 - 128 of white
        (Image.new("RGBA", (8, 8), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("LA", (8, 8), (0, 0)), (255, 255, 255)),
        (Image.new("LA", (8, 8), (10, 255)), (10, 10, 10)),
    ],
)
def test_transparency_shows_white(image: Image.Image, expected: tuple[int, int, int]) -> None:
    assert (decoded(encoded(image)).pixels == expected).all()


def test_a_transparent_palette_entry_shows_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])

    assert (decoded(encoded(image)).pixels == (255, 0, 0)).all()
    assert (decoded(encoded(image, transparency=1)).pixels == (255, 255, 255)).all()
    assert (decoded(encoded(image, "GIF", transparency=1)).pixels == (255, 255, 255)).all()


def test_the_colour_below_full_transparency_does_not_bleed_into_its_neighbours() -> None:
    pixels = np.zeros((2, 4, 4), np.uint8)
    pixels[:, :2] = (0, 255, 0, 0)  # invisible green
    pixels[:, 2:] = (255, 255, 255, 255)

    assert (decoded(encoded(Image.fromarray(pixels)), (1, 2)).pixels == (255, 255, 255)).all()


@pytest.mark.parametrize(("stored", "expected"), [(0, 0), (257, 1), (32896, 128), (65535, 255)])
@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(name: str, stored: int, expected: int) -> None:
    data = encoded(Image.fromarray(np.full((8, 8), stored, np.uint16)), name)

    assert (decoded(data).pixels == expected).all()


def test_16_bit_colours_keep_their_upper_byte() -> None:
    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8080, 0x0000) * 2

    assert (decoded(png(2, 2, 16, 2, row * 2)).pixels == (255, 128, 0)).all()


def test_black_and_white_bits_become_0_and_255() -> None:
    assert (decoded(png(2, 2, 1, 0, b"\0\x40" * 2), (2, 2)).pixels[:, :, 0] == [[0, 255], [0, 255]]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0, 0.2], [0, 128, 255, 51]),  # white is 1
        ([0.0, 128.0, 255.0, 51.0], [0, 128, 255, 51]),  # white is 255
        ([0.0, 32896.0, 65535.0, 257.0], [0, 128, 255, 1]),  # white is 65535
        ([-1.0, 0.0, 1.0, 0.0], [0, 128, 255, 128]),  # none of them: stretched
        ([float("nan"), 0.0, 1.0, float("inf")], [0, 0, 255, 0]),
        ([1e9, 1e9, 1e9, 1e9], [0, 0, 0, 0]),
    ],
)
def test_grey_in_floats_is_given_the_smallest_usual_white_that_holds_it(
    values: list[float], expected: list[int]
) -> None:
    image = Image.fromarray(np.array(values, np.float32).reshape(2, 2))

    assert decoded(encoded(image, "TIFF"), (2, 2)).pixels[:, :, 0].ravel().tolist() == expected


def test_grey_in_32_bit_integers_is_scaled_too() -> None:
    image = Image.fromarray(np.array([[0, 65535], [32896, 257]], np.int32))

    assert decoded(encoded(image, "TIFF"), (2, 2)).pixels[:, :, 0].tolist() == [[0, 255], [128, 1]]


def heif_of(*pictures: pillow_heif.HeifFile, **options: Any) -> bytes:
    file = pillow_heif.HeifFile()
    for picture in pictures:
        file.add_from_heif(picture[0])
    buffer = io.BytesIO()
    file.save(buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


def heif_plain(mode: str, colour: Sequence[int], width: int = 64, height: int = 64) -> pillow_heif.HeifFile:
    kind = np.uint16 if mode.endswith("16") else np.uint8
    pixels = np.empty((height, width, len(colour)), kind)
    pixels[:] = colour
    return pillow_heif.from_bytes(mode, (width, height), pixels.tobytes())


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB;16", (65535, 32896, 0), (255, 128, 0)),  # stored with 10 bits
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 128), (255, 127, 127)),
        ("RGBA;16", (65535, 0, 0, 65535), (255, 0, 0)),
        ("L", (77,), (77, 77, 77)),
    ],
)
def test_heifs_of_more_bits_with_transparency_or_without_colour_are_read(
    mode: str, colour: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    pixels = decoded(heif_of(heif_plain(mode, colour))).pixels

    assert np.abs(pixels.astype(int) - expected).max() <= 2


def test_of_a_burst_of_heif_pictures_the_primary_one_counts() -> None:
    data = heif_of(heif_plain("RGB", (255, 0, 0)), heif_plain("RGB", (0, 0, 255), 80), primary_index=1)

    result = decoded(data)

    assert (result.width, result.height, result.format) == (80, 64, "HEIF")
    assert np.abs(result.pixels.astype(int) - (0, 0, 255)).max() <= 2


@pytest.mark.parametrize(
    ("major", "compatible", "name"),
    [
        *((major, [b"mif1"], "HEIF") for major in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")),
        (b"mif1", [b"heic"], "HEIF"),
        (b"msf1", [b"hevc"], "HEIF"),
        (b"MiHE", [b"mif1", b"heic"], "HEIF"),  # a major brand of its own, as some phones write
        (b"avif", [b"mif1"], "AVIF"),
        (b"mif1", [b"miaf", b"avif"], "AVIF"),
        (b"mp42", [b"isom"], None),
    ],
)
def test_brands_tell_heif_avif_and_films_apart(major: bytes, compatible: list[bytes], name: str | None) -> None:
    assert identify(brand(major, *compatible)) == name


@pytest.mark.parametrize("major", [b"heix", b"mif1", b"msf1", b"MiHE"])
def test_a_heif_of_another_brand_is_read_as_well(major: bytes) -> None:
    data = encoded(plain((200, 100, 50), 64, 64), "HEIF")

    assert decoded(data[:8] + major + data[12:]).format == "HEIF"


@pytest.mark.parametrize("transparency", [None, 1])
def test_a_first_frame_smaller_than_the_canvas_of_a_gif_lies_on_white(transparency: int | None) -> None:
    frame = Image.new("P", (2, 2), 0)
    frame.putpalette([255, 0, 0, 0, 0, 255])
    data = bytearray(encoded(frame, "GIF", **({} if transparency is None else {"transparency": transparency})))
    at = data.index(b",", 13 + 3 * 2)  # the image descriptor, after header and colour table
    data[6:10] = struct.pack("<HH", 4, 4)  # the canvas
    data[at + 1 : at + 5] = struct.pack("<HH", 2, 1)  # left and top of the frame
    expected = np.full((4, 4, 3), 255)
    expected[1:3, 2:4] = RED

    np.testing.assert_array_equal(decoded(bytes(data)).pixels, expected)


@pytest.mark.parametrize("has_alpha", [False, True])
def test_a_first_frame_smaller_than_the_canvas_of_a_webp_lies_on_white(has_alpha: bool) -> None:
    still = encoded(plain(RED, 2, 4), "WEBP", lossless=True)[12:]  # a chunk VP8L

    def chunk(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("<I", len(content)) + content

    # RFC 9649, section 2.7: canvas; background (blue), loops; left and top / 2, width and height - 1, 100 ms.
    canvas = bytes([0x12 if has_alpha else 0x02, 0, 0, 0]) + b"\x07\0\0" + b"\x05\0\0"
    frame = b"\1\0\0" + b"\1\0\0" + b"\1\0\0" + b"\3\0\0" + b"\x64\0\0\0" + still
    chunks = chunk(b"VP8X", canvas) + chunk(b"ANIM", b"\xff\0\0\xff\0\0") + chunk(b"ANMF", frame) * 2
    expected = np.full((6, 8, 3), 255)
    expected[2:6, 2:4] = RED

    result = decoded(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks, (6, 8))

    np.testing.assert_array_equal(result.pixels, expected)


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(name: str) -> None:
    frames = [plain((255, 0, 0)), plain((0, 0, 255)), plain((0, 255, 0))]
    options = {"lossless": True} if name == "WEBP" else {}
    data = encoded(frames[0], name, save_all=True, append_images=frames[1:], duration=100, **options)

    assert (decoded(data).pixels == (255, 0, 0)).all()


def test_a_picture_of_several_pictures_is_its_first_one() -> None:
    data = encoded(plain((255, 255, 255)), "MPO", save_all=True, append_images=[plain((0, 0, 0))])

    result = decoded(data)

    assert result.format == "JPEG"  # what an iPhone calls .jpg
    assert result.pixels.min() > 250


# ---- what cannot be read ----------------------------------------------------------------------------------


def test_nothing_at_all_is_empty() -> None:
    assert reason(b"") is Reason.EMPTY


@pytest.mark.parametrize(
    "data",
    [
        b"This is a text that somebody named cat.jpg",
        b"BM is how this text begins, not a bitmap",
        b"%PDF-1.7 ...",
        b"PK\x03\x04 a zip",
        b"\x00" * 1000,
        b"\x7fELF",
        b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
        b"<html><img src=x></html>",
    ],
)
def test_what_starts_like_no_picture_is_not_an_image(data: bytes) -> None:
    assert reason(data) is Reason.NOT_AN_IMAGE


def brand(major: bytes, *compatible: bytes) -> bytes:
    brands = major + b"\0\0\0\0" + b"".join(compatible)
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands


def framed(marker: int, bits: int = 8) -> bytes:
    """A JPEG with a comment, and a frame of this kind."""
    data = encoded(photo_like(), "JPEG", comment=b"made by hand")
    at = data.index(b"\xff\xc0")
    return data[: at + 1] + bytes([marker]) + data[at + 2 : at + 4] + bytes([bits]) + data[at + 5 :]


SVG = "<svg xmlns='http://www.w3.org/2000/svg'/>"
DOCTYPE = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd" [<!ENTITY a "b">]>'


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n....", "JPEG 2000"),
        (b"\xff\x0a rest of a JPEG XL", "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n....", "JPEG XL"),
        (b"II\xbc\x01\x20\0\0\0", "JPEG XR"),
        (b"8BPS\x00\x01", "PSD"),
        (b"\x00\x00\x01\x00\x01\x00", "ICO"),
        (b"v/1\x01\x02\0\0\0", "EXR"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "HDR"),
        (SVG.encode(), "SVG"),
        (b"\xef\xbb\xbf" + SVG.encode(), "SVG"),
        (("\ufeff" + SVG).encode("utf-16-be"), "SVG"),
        (f"<?xml version='1.0'?>\n<!-- made by hand -->\n{DOCTYPE}\n{SVG}".encode(), "SVG"),
        (b"<svg:svg xmlns:svg='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><ns0:svg xmlns:ns0='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<!--" + b" a long licence" * 2000 + b"-->" + SVG.encode(), "SVG"),
        (framed(0xC9), "JPEG with arithmetic coding"),
        (framed(0xCA), "JPEG with arithmetic coding"),
        (framed(0xC5), "hierarchical JPEG"),
        (framed(0xF7), "JPEG-LS"),
        (framed(0xC1, 12), "JPEG of more than 8 bits"),
        (framed(0xC3, 16), "JPEG of more than 8 bits"),
        (b"P6\n2 2\n255\n" + bytes(12), "PNM"),
        (b"P1\n# a comment\n2 2\n0 1 1 0", "PNM"),
        (b"P7\nWIDTH 2\n", "PNM"),
        (b"Pf\n2 2\n-1.0\n", "PNM"),
        (encoded(plain((1, 2, 3)), "TGA"), "TGA"),
        (encoded(plain((1, 2, 3)), "TGA")[:-26], "TGA"),  # without version 2's footer
        (encoded(plain((1, 2, 3)).quantize(4), "TGA", compression="tga_rle")[:-26], "TGA"),
        (encoded(plain((1, 2, 3)), "PCX"), "PCX"),
        (encoded(plain((1, 2, 3)), "SGI"), "SGI"),
        (b"\1\0\0\0" + bytes(36) + b" EMF", "EMF"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"FUJIFILMCCD-RAW 0201", "camera raw"),
        (b"IIRO\x08\0\0\0", "camera raw"),
        (b"IIU\0\x18\0\0\0", "camera raw"),
        (brand(b"crx ", b"crx ", b"isom"), "camera raw"),
        (brand(b"mif3", b"avif"), "HEIF of another codec or layout"),
        (brand(b"avci", b"mif1"), "HEIF of another codec or layout"),
    ],
)
def test_pictures_in_other_formats_are_unsupported_by_name(data: bytes, name: str) -> None:
    with pytest.raises(Unreadable) as caught:
        decoded(data)

    assert (caught.value.reason, caught.value.detail.split(" is not one of ")[0]) == (Reason.UNSUPPORTED, name)


@pytest.mark.parametrize("text", ["<!-- a comment", "<?xml ?>", "<!---->", "<!DOCTYPE svg []>", " "])
def test_a_text_that_never_becomes_an_svg_takes_no_time(text: str) -> None:
    start = process_time()

    assert identify((text * 5000).encode()) is None

    assert process_time() - start < 0.5


def heif_coded_as(codec: bytes, configuration: bytes) -> bytes:
    data = encoded(plain(RED, 64, 64), "HEIF")
    assert data.count(b"hvc1") == 1
    return data.replace(b"hvc1", codec).replace(b"hvcC", configuration)


@pytest.mark.parametrize("codec", [b"jpeg jpgC", b"avc1 avcC", b"j2k1 j2kH", b"unci uncC", b"av01 av1C"])
def test_a_heif_of_another_codec_is_unsupported(codec: bytes) -> None:
    assert reason(heif_coded_as(*codec.split())) is Reason.UNSUPPORTED


def test_without_its_decoder_a_heif_is_unsupported_and_the_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(plain(RED, 64, 64), "HEIF")
    images._reader.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # Python then raises ModuleNotFoundError

    with pytest.raises(Unreadable) as caught:
        decoded(data)

    assert caught.value.reason is Reason.UNSUPPORTED
    assert "the libraries layer was filled without it (make layer HEIC=0)" in caught.value.detail


@pytest.mark.parametrize("code", [50001, 34712, 9])  # WebP, JPEG 2000, JBIG
def test_a_tiff_of_another_compression_is_unsupported(code: int) -> None:
    data = encoded(photo_like(), "TIFF", compression="tiff_lzw")
    lzw, other = (struct.pack("<HHIH", 259, 3, 1, number) for number in (5, code))
    assert data.count(lzw) == 1

    assert reason(data.replace(lzw, other)) is Reason.UNSUPPORTED


def directory(side: int, *more: tuple[int, int, int], order: str = "<", reduced: int = 0, following: int = 0) -> bytes:
    """A directory of a TIFF: side x side grey pixels, and other entries (tag, type, value)."""
    entries = [(254, 4, reduced), (256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 500)]
    entries = sorted([*entries, (277, 3, 1), (278, 4, side), (279, 4, side**2), *more])
    fields = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1)
        + struct.pack(order + ("H" if kind == 3 else "I"), value).ljust(4, b"\0")
        for tag, kind, value in entries
        if (tag, value) != (254, 0)
    )
    return struct.pack(order + "H", len(fields) // 12) + fields + struct.pack(order + "I", following)


def raw_tiff(
    *more: tuple[int, int, int], order: str = "<", reduced: int = 0, following: int = 0, other: int = 64
) -> bytes:
    """A TIFF like those of cameras: 8 x 8 pixels first, and a directory of `other` x `other` pixels at 300."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    first = directory(8, *more, order=order, reduced=reduced, following=following)
    header = start + struct.pack(order + "I", 16) + bytes(8) + first
    return (header.ljust(300, b"\0") + directory(other, order=order)).ljust(500, b"\0") + b"\x55" * 64**2


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("more", "changes"),
    [
        ([(330, 4, 300)], {"reduced": 1}),  # NEF
        ([(50706, 1, 0x401)], {}),  # DNG
        ([(330, 4, 300)], {}),  # its first directory does not say that it is reduced
        ([(330, 13, 300)], {}),  # the type of directories' offsets
        ([(255, 3, 2), (330, 4, 300)], {"other": 4}),  # reduced, in the old words
        ([], {"reduced": 1, "following": 300}),
        ([], {"following": 300}),  # a thumbnail, then the picture
    ],
)
def test_a_tiff_is_not_labelled_from_a_preview(
    order: str, more: list[tuple[int, int, int]], changes: dict[str, Any]
) -> None:
    assert reason(raw_tiff(*more, order=order, **changes)) is Reason.UNSUPPORTED


def test_a_canon_raw_is_unsupported() -> None:
    data = raw_tiff()

    assert reason(data[:8] + b"CR\2\0" + data[12:]) is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    "data",
    [
        raw_tiff(),
        raw_tiff(reduced=1),  # there is no other
        raw_tiff((330, 4, 300), other=4),  # a pyramid: the whole first, then smaller ones
        raw_tiff((330, 4, 1 << 31)),  # nowhere
        raw_tiff(following=300, other=12),  # pages of a document
        raw_tiff(following=16),  # itself
    ],
)
def test_a_tiff_whose_first_directory_is_the_picture_is_read(data: bytes) -> None:
    assert (decoded(data).pixels == 0x55).all()


def test_a_large_page_after_one_that_is_no_thumbnail_is_another_page() -> None:
    data = encoded(plain(RED, 400, 40), "TIFF", save_all=True, append_images=[plain(RED, 1000, 100)])

    assert decoded(data).width == 400


def big_endian(wide: tuple[int, ...], strip_bytes: bytes, compression: int = 1) -> bytes:
    """A big-endian BigTIFF of two strips of 8 x 4 grey pixels; the numbers of the tags `wide` have 64 bits."""
    half = len(strip_bytes) // 2
    numbers = {256: [8], 257: [8], 258: [8], 259: [compression], 262: [1], 277: [1], 278: [4]}
    numbers |= {273: [600, 600 + half], 279: [half, half]}
    fields, values = b"", b""
    for tag, content in sorted(numbers.items()):
        kind, code = (16, "Q") if tag in wide else (4, "I")
        packed = struct.pack(f">{len(content)}{code}", *content)
        if len(packed) > 8:
            packed, values = struct.pack(">Q", 400 + len(values)), values + packed
        fields += struct.pack(">HHQ", tag, kind, len(content)) + packed.ljust(8, b"\0")
    header = b"MM\0+" + struct.pack(">HHQQ", 8, 0, 16, len(numbers)) + fields + bytes(8)
    return header.ljust(400, b"\0") + values.ljust(200, b"\0") + strip_bytes


@pytest.mark.parametrize("wide", [(), (273, 279), (256, 257, 278, 273, 279)])
def test_a_big_endian_bigtiff_is_read(wide: tuple[int, ...]) -> None:
    rows = np.arange(64, dtype=np.uint8).reshape(8, 8)
    packed = zlib.compress(rows[:4].tobytes(), 0), zlib.compress(rows[4:].tobytes(), 0)

    plain_strips = decoded(big_endian(wide, rows.tobytes()), (8, 8))
    deflated = decoded(big_endian(wide, b"".join(packed), 8), (8, 8))

    for result in (plain_strips, deflated):
        np.testing.assert_array_equal(result.pixels[:, :, 0], rows)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_big_endian_bigtiff_cut_off_is_truncated() -> None:
    data = big_endian((273, 279), bytes(64))

    for length in (10, 20, 200, 420, 630):
        assert reason(data[:length]) is Reason.TRUNCATED


@pytest.mark.parametrize("name", SUPPORTED)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_cut_off_is_truncated(name: str, share: float) -> None:
    data = encoded(photo_like(), name)

    assert reason(data[: int(len(data) * share)]) is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("name", "options", "rows_lost"),
    [("JPEG", {}, 0.05), ("JPEG", {"subsampling": 0}, 0.05), ("PNG", {}, 0.05)],
)
def test_a_file_nearly_whole_is_read_without_what_is_missing(
    name: str, options: dict[str, Any], rows_lost: float
) -> None:
    # Noise, so that bytes and rows are lost in the same proportion.
    picture = Image.fromarray(np.random.default_rng(3).integers(1, 256, (640, 480, 3), np.uint8))
    data = encoded(picture, name, **options)

    accepted = [share for share in np.arange(0.5, 1, 0.005) if _is_read(data[: int(len(data) * share)])]

    # JPEG decodes in rows of blocks: up to 16 more rows, 0.025, are lost with the one that is cut.
    assert accepted
    assert 1 - rows_lost <= min(accepted) <= 1 - rows_lost + 0.03
    assert len(accepted) == round((1 - min(accepted)) / 0.005)  # all above the first: no gaps


def _is_read(data: bytes) -> bool:
    try:
        result = decode(data, (4, 4), LIMIT)
    except Unreadable as error:
        return error.reason is not Reason.TRUNCATED
    assert (result.width, result.height) == (480, 640)  # as the header says
    return True


def test_what_is_missing_is_left_out_and_not_black() -> None:
    data = encoded(plain((200, 100, 50), 320, 400), "JPEG")

    pixels = decode(data[:-2], (100, 4), LIMIT).pixels

    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 2


def test_a_jpeg_that_lacks_nothing_but_its_end_marker_is_read() -> None:
    # One row of blocks, 16 of 192 rows, hangs upon the marker: more than 5 %, and still nearly whole.
    assert decoded(encoded(photo_like(256, 192), "JPEG")[:-2]).height == 192


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_picture_whose_passes_or_scans_are_cut_off_is_truncated() -> None:
    # All rows have something of the first passes and nothing of the last: how much there is cannot be told.
    assert reason(encoded(photo_like(), "JPEG", progressive=True)[:-20]) is Reason.TRUNCATED
    passes = [(8, 8), (8, 8), (16, 8), (16, 16), (32, 16), (32, 32), (64, 32)]  # Adam7, for 64 x 64
    noise = np.random.default_rng(5)
    rows = b"".join(b"\0" + noise.bytes(width) for width, height in passes for _ in range(height))
    interlaced = bytearray(png(64, 64, 8, 0, rows))
    interlaced[28] = 1  # interlace method
    interlaced[29:33] = struct.pack(">I", zlib.crc32(interlaced[12:29]))
    assert decoded(bytes(interlaced)).width == 64
    del interlaced[-1000:]
    assert reason(bytes(interlaced)) is Reason.TRUNCATED


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "jpeg"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_compressed_tiff_cut_off_is_truncated(compression: str) -> None:
    data = encoded(photo_like(), "TIFF", compression=compression)

    assert reason(data[:-200]) is Reason.TRUNCATED


@pytest.mark.parametrize(("name", "options"), [("WEBP", {"lossless": True}), ("GIF", {})])
def test_a_file_damaged_inside_is_corrupt(name: str, options: dict[str, bool]) -> None:
    data = bytearray(encoded(photo_like(), name, **options))
    middle = len(data) // 2
    data[middle : middle + 40] = b"\xff\x00" * 20

    assert reason(bytes(data)) is Reason.CORRUPT


def test_a_jpeg_with_a_damaged_header_is_corrupt() -> None:
    data = bytearray(encoded(photo_like(), "JPEG"))
    start_of_frame = data.index(b"\xff\xc0")
    data[start_of_frame + 9] = 9  # number of components

    assert reason(bytes(data)) in (Reason.CORRUPT, Reason.UNSUPPORTED)


def test_a_png_with_a_wrong_checksum_is_corrupt() -> None:
    data = bytearray(encoded(photo_like()))
    data[29] ^= 1  # CRC of IHDR

    assert reason(bytes(data)) is Reason.CORRUPT


def test_more_pixels_than_allowed_are_refused_before_they_are_decoded() -> None:
    bomb = png(2000, 1000, 8, 2, b"")  # a header of 2 million pixels and no content: decoding it would fail

    with pytest.raises(Unreadable) as caught:
        decode(bomb, (4, 4), 2_000_000 - 1)

    assert caught.value.reason is Reason.TOO_MANY_PIXELS
    assert caught.value.detail == "2000 x 1000 pixels, more than the limit of 1999999"


def gif(canvas: tuple[int, int], frame_at: tuple[int, int]) -> bytes:
    screen = struct.pack("<HHBBB", *canvas, 0xF0, 0, 0) + b"\0\0\0\xff\xff\xff"
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", *frame_at, 8, 8, 0) + b"\2\2\x4c\1\0;"


def tiff(**values: int) -> bytes:
    """A TIFF of 8 x 8 grey pixels, written by hand, with other values in its directory."""
    tags = {"width": 256, "height": 257, "rows": 278, "bytes": 279, "compression": 259, "samples": 277}
    entries = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 8, 279: 64}
    entries |= {tags[name]: value for name, value in values.items()}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory).ljust(200, b"\0") + b"\x55" * 64


def with_size_box(data: bytes, width: int, height: int) -> bytes:
    """A HEIF or AVIF whose ispe box tells another size."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def canvas_of(data: bytes, width: int, height: int) -> bytes:
    """An extended WebP with another canvas."""
    at = data.index(b"VP8X") + 12
    return data[:at] + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + data[at + 6 :]


BOMBS = {
    "PNG that is all header": lambda: png(9999, 9999, 8, 2, b""),
    "GIF with a huge canvas": lambda: gif((65535, 65535), (0, 0)),
    "GIF with a frame far outside": lambda: gif((8, 8), (60000, 60000)),
    "WebP with a huge canvas": lambda: canvas_of(
        encoded(plain(RED), "WEBP", save_all=True, append_images=[plain(BLUE)]), 16384, 16384
    ),
    "TIFF of 4 billion columns": lambda: tiff(width=0xFFFFFFFF),
    "TIFF with a strip that is not there": lambda: tiff(width=9000, height=9000, rows=9000),
    "TIFF with 65535 samples a pixel": lambda: tiff(samples=65535),
    "HEIF that claims a billion pixels": lambda: with_size_box(encoded(plain(RED, 64, 64), "HEIF"), 32000, 32000),
    "HEIF that has more pixels than it claims": lambda: with_size_box(encoded(plain(RED, 1200, 1200), "HEIF"), 64, 64),
    "HEIF that has fewer pixels than it claims": lambda: with_size_box(encoded(plain(RED, 64, 64), "HEIF"), 9000, 9000),
    "AVIF that claims a billion pixels": lambda: with_size_box(encoded(plain(RED, 64, 64), "AVIF"), 32000, 32000),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_bomb_is_refused_at_once_and_without_memory(bomb: str) -> None:
    data = BOMBS[bomb]()
    with pytest.raises(Unreadable):  # loads the format's decoder
        decode(data, (4, 4), 100_000_000)
    before, start = _peak_bytes(reset=True), process_time()

    with pytest.raises(Unreadable):
        decode(data, (4, 4), 100_000_000)

    assert process_time() - start < 0.5  # seconds
    assert _peak_bytes() - before < 50_000_000


KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "progressive JPEG": ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    "PNG": ("PNG", "RGB", {}),
    "PNG with a transparent colour": ("PNG", "RGB", {"transparency": (1, 2, 3)}),
    "PNG with alpha": ("PNG", "RGBA", {}),
    "grey PNG with alpha": ("PNG", "LA", {}),
    "PNG with a palette": ("PNG", "P", {}),
    "PNG with a transparent palette": ("PNG", "P", {"transparency": 3}),
    "PNG of 16 bits": ("PNG", "I;16", {}),
    "black and white PNG": ("PNG", "1", {}),
    "WebP with alpha": ("WEBP", "RGBA", {"lossless": True, "quality": 0, "method": 0}),
    "GIF": ("GIF", "P", {"transparency": 3}),
    "BMP": ("BMP", "RGB", {}),
    "CMYK TIFF": ("TIFF", "CMYK", {}),
    "TIFF that is turned": ("TIFF", "RGB", {"tiffinfo": {274: 6}}),
    "TIFF of floats": ("TIFF", "F", {}),
    "AVIF with alpha": ("AVIF", "RGBA", {"speed": 10}),
    "HEIF with alpha": ("HEIF", "RGBA", {"quality": 30}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_picture_takes_more_memory_than_it_is_taken_to(kind: str) -> None:
    name, mode, options = KINDS[kind]
    side = 1400
    data = encoded(Image.new(mode, (side, side)), name, **options)
    decode(encoded(plain(RED, 64, 64), name), (4, 4), LIMIT)  # loads the format's decoder
    with images._reader(name)(io.BytesIO(data), "") as image:
        expected = images._bytes_per_pixel(image, name)
    before = _peak_bytes(reset=True)

    decode(data, (4, 4), 10**8)

    # A megabyte or two is not the pixels'. libheif's threads keep up to 12, more or less in every run; at the limit of
    # 51 megapixels a picture took 481 MB in all.
    margin = 7 if name == "HEIF" else 1
    assert (_peak_bytes() - before - 2 * len(data)) / side**2 < expected + margin


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        (png(10_000, 10_000, 8, 2, b""), False),
        (png(10_000, 10_000, 8, 0, b""), False),
        (png(10_000, 10_000, 8, 6, b""), True),
        (png(10_000, 10_000, 8, 4, b""), True),
        (png(10_000, 10_000, 16, 0, b""), True),
        (png(10_000, 10_000, 8, 2, b"", b"tRNS" + bytes(6)), True),
        (png(65_536, 1, 8, 2, b""), True),
        (png(1, 65_536, 8, 2, b""), True),
        (png(65_535, 1, 8, 2, b""), False),
    ],
)
def test_pictures_that_take_too_much_memory_are_refused(data: bytes, refused: bool) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(data, (4, 4), 10**8)
    assert (caught.value.reason is Reason.TOO_MANY_PIXELS) is refused  # else their pixels are missing


def _peak_bytes(reset: bool = False) -> int:
    """The most memory this process has had since the last reset (proc(5), clear_refs)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_a_progressive_jpeg_with_hundreds_of_scans_is_refused_before_it_is_decoded() -> None:
    data = encoded(plain((1, 2, 3), 5000, 4000), "JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    hostile = data[:-2] + last_scan * 100 + data[-2:]

    with pytest.raises(Unreadable) as caught:
        decode(hostile, (4, 4), 10**8)

    assert caught.value.reason is Reason.TOO_MANY_PIXELS
    assert caught.value.detail == "5000 x 4000 pixels in 110 scans"
    assert decode(data, (4, 4), 10**8).width == 5000


def in_scans(data: bytes, count: int) -> bytes:
    """A JPEG with that many empty scans, each of one component."""
    return data[: data.index(b"\xff\xda")] + b"\xff\xda\0\x08\x01\x01\x00\x00\x3f\x00" * count


@pytest.mark.parametrize(("scans", "refused"), [(100, False), (101, True)])
def test_two_billion_pixels_may_be_passed_over_and_no_more(
    monkeypatch: pytest.MonkeyPatch, scans: int, refused: bool
) -> None:
    monkeypatch.setattr(jpeg, "load", lambda *_: Image.new("RGB", (4, 4)))  # nothing is passed over here
    data = encoded(plain((1, 2, 3), 5000, 4000), "JPEG")  # 20 million pixels
    with pytest.raises(Unreadable, match="in 101 scans") if refused else nullcontext():
        decode(in_scans(data, scans), (4, 4), 10**8)


def test_what_looks_like_scans_after_the_only_one_counts_for_nothing() -> None:
    data = encoded(plain((1, 2, 3), 1000, 1000), "JPEG")
    assert decode(data + b"\xff\xda" * 3000, (4, 4), 10**8).width == 1000


def test_a_tiff_that_declares_millions_of_strips_is_refused_in_a_moment() -> None:
    count = 1_000_000
    entry = struct.pack("<HHII", 273, 4, count, 8 + 2 + 12 * 1000 + 4)
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", 1000) + entry * 1000 + b"\0" * 4 + b"\xff" * 4 * count
    start = process_time()

    assert reason(data) is Reason.TOO_COSTLY

    assert process_time() - start < 2


def test_exactly_as_many_pixels_as_allowed_are_read() -> None:
    assert decode(encoded(plain((1, 2, 3), 20, 10)), (4, 4), 200).width == 20


def test_what_pillow_itself_calls_a_bomb_is_refused_whatever_our_own_limit() -> None:
    with pytest.raises(Unreadable) as caught:
        decode(png(60000, 60000, 8, 2, b""), (4, 4), 10**10)

    assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_running_out_of_memory_is_too_costly(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(_self: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", no_memory)

    assert reason(encoded(plain((1, 2, 3)))) is Reason.TOO_COSTLY


@pytest.mark.parametrize("kind", ["items", "extents"])
def test_counts_above_libheifs_limits_are_damage_and_not_costly(kind: str) -> None:
    data = bytearray(encoded(plain(RED, 64, 64), "HEIF"))
    at = data.index(b"iloc") + (
        10 if kind == "items" else 16
    )  # of the only item: its number, method, reference, extents
    data[at] = 0x80

    assert reason(bytes(data)) is not Reason.TOO_COSTLY


@pytest.mark.parametrize("secret", [b"SeCr", b"'Cr'", b'"Cr"', b"\xe2\x80\xae\n"])
def test_the_detail_quotes_nothing_of_the_file(secret: bytes) -> None:
    whole = encoded(photo_like(24, 16))
    at = whole.index(b"IDAT")

    with pytest.raises(Unreadable) as caught:
        decoded(whole[:at] + secret + whole[at + 4 :])

    assert "Cr" not in caught.value.detail
    assert caught.value.detail.isascii()
    assert caught.value.detail.isprintable()


def test_of_a_decoders_message_two_hundred_characters_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Image.Image) -> None:
        raise OSError("x" * 201)

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(Unreadable) as caught:
        decoded(encoded(plain((1, 2, 3))))
    assert caught.value.detail == f"PNG: {'x' * 200}"


@pytest.mark.parametrize(("appended", "early"), [(0, False), (4094, False), (4095, True)])
def test_an_end_marker_counts_in_the_last_four_kilobytes(appended: int, early: bool) -> None:
    assert ends_early(encoded(photo_like(), "JPEG") + b"\0" * appended, "JPEG") is early


def test_a_mistake_of_ours_is_not_stored_as_the_uploaders(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistake(*_: object) -> None:
        raise NameError("undefined")

    monkeypatch.setattr(images, "shrink", mistake)

    with pytest.raises(NameError):
        decoded(encoded(plain((1, 2, 3))))


def test_the_reason_survives_a_process_pool() -> None:
    error = pickle.loads(pickle.dumps(Unreadable(Reason.CORRUPT, "why")))

    assert (error.reason, error.detail, str(error)) == (Reason.CORRUPT, "why", "CORRUPT: why")


# ---- hostile bytes ----------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(damaged_files())
def test_whatever_the_bytes_they_are_decoded_or_unreadable(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = decoded(data)
        except Unreadable:
            return
    assert result.pixels.shape == (4, 4, 3)
    assert result.width > 0
    assert result.height > 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_garbage_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decoded(data)
