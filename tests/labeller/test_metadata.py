"""Metadata that is damaged, unusual or huge changes no pixel and makes no picture unreadable."""

from __future__ import annotations

import struct
import zlib
from time import process_time

import numpy as np
import pytest
from PIL import Image

from labeller.images import Decoded, Unreadable, decode
from labeller.metadata import without_metadata
from tests.support import RED, encoded, exif_orientation, photo_like, plain

PHOTO = photo_like(48, 32)
PNG, JPEG = encoded(PHOTO), encoded(PHOTO, "JPEG")
HUGE = zlib.compress(bytes(3_000_000))


def decoded(data: bytes) -> Decoded:
    return decode(data, (32, 48), 10_000)


def chunk(name: bytes, body: bytes = b"", crc: int | None = None) -> bytes:
    crc = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)


def segment(marker: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2 if length is None else length) + body


def before(data: bytes, name: bytes, inserted: bytes) -> bytes:
    """The PNG `data` with `inserted` in front of its first chunk `name`."""
    at = data.index(name) - 4
    return data[:at] + inserted + data[at:]


FRAME = struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, 0, 0)
CHUNKS = {
    "profile of an unknown method": chunk(b"iCCP", b"name\0\1xyz"),
    "profile without an end of its name": chunk(b"iCCP", b"name"),
    "empty profile": chunk(b"iCCP"),
    "profile of 3 MB": chunk(b"iCCP", b"name\0\0" + HUGE),
    "text of 3 MB": chunk(b"zTXt", b"key\0\0" + HUGE),
    "text of an unknown method": chunk(b"zTXt", b"key\0\7" + HUGE),
    "international text of 3 MB": chunk(b"iTXt", b"key\0\1\0\0\0" + HUGE),
    "EXIF in a text of 3 MB": chunk(b"zTXt", b"Raw profile type exif\0\0" + HUGE),
    "EXIF in a text that cannot be inflated": chunk(b"zTXt", b"Raw profile type exif\0\0xyz"),
    "EXIF in a text of an unknown method": chunk(b"zTXt", b"Raw profile type exif\0\1" + zlib.compress(b"x")),
    "EXIF in a text that is no EXIF": chunk(b"tEXt", b"Raw profile type exif\0x"),
    **{f"short {name.decode()}": chunk(name, b"\1") for name in (b"gAMA", b"cHRM", b"pHYs", b"tRNS", b"acTL", b"fcTL")},
    "empty sRGB": chunk(b"sRGB"),
    **{f"wrong checksum of {name.decode()}": chunk(name, b"key\0value", 1) for name in (b"tEXt", b"prVt", b"eXIf")},
    "wrong checksum of the transparency": chunk(b"tRNS", bytes(6), 1),
    "stray frame": chunk(b"fdAT", b"\0\0\0\5" + zlib.compress(bytes(100))),
    "frame without a sequence": chunk(b"fdAT"),
    "frame out of its sequence": chunk(b"fcTL", b"\0\0\0\7" + FRAME[4:]),
    "frame outside the picture": chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", FRAME[:4] + bytes(4) * 2),
    "frame smaller than the picture": chunk(b"fcTL", FRAME),
}


@pytest.mark.parametrize("place", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("kind", CHUNKS)
def test_an_ancillary_chunk_never_makes_a_png_unreadable(kind: str, place: bytes) -> None:
    result = decoded(before(PNG, place, CHUNKS[kind]))

    np.testing.assert_array_equal(result.pixels, np.asarray(PHOTO))


def test_a_chunk_between_those_of_the_pixels_is_left_out() -> None:
    at = PNG.index(b"IDAT")
    body = PNG[at + 4 : PNG.index(b"IEND") - 8]
    halves = chunk(b"IDAT", body[:100]), chunk(b"IDAT", body[100:])

    for between in (chunk(b"tEXt", b"a\0b"), chunk(b"fdAT", b"\0\0\0\1" + body)):
        data = PNG[: at - 4] + between.join(halves) + PNG[PNG.index(b"IEND") - 4 :]
        np.testing.assert_array_equal(decoded(data).pixels, np.asarray(PHOTO))


def test_a_chunk_cut_off_after_the_pixels_is_left_out() -> None:
    data = before(PNG, b"IEND", chunk(b"tEXt", b"key\0" + b"value" * 1000))

    np.testing.assert_array_equal(decoded(data[:-3000]).pixels, np.asarray(PHOTO))


@pytest.mark.parametrize("image", [PHOTO, PHOTO.convert("RGBA"), PHOTO.convert("L")])
@pytest.mark.parametrize(("body", "crc"), [(b"\1\2\3", 1), (b"\1\2", None), (bytes(900), None)])
def test_a_palette_that_no_pixel_needs_never_makes_a_png_unreadable(
    image: Image.Image, body: bytes, crc: int | None
) -> None:
    result = decoded(before(encoded(image), b"IDAT", chunk(b"PLTE", body, crc)))

    np.testing.assert_array_equal(result.pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE"])
def test_a_wrong_checksum_of_a_critical_chunk_still_counts(name: bytes) -> None:
    data = bytearray(encoded(PHOTO.quantize(16)))
    at = data.index(name)
    data[at + 4 + int.from_bytes(data[at - 4 : at], "big")] ^= 1

    with pytest.raises(Unreadable, match="CORRUPT"):
        decoded(bytes(data))


@pytest.mark.parametrize(
    ("image", "body", "shown"),
    [
        (Image.new("L", (4, 4), 7), b"\0\7", 255),
        (Image.new("L", (4, 4), 7), b"\7", 7),  # too short
        (plain((7, 7, 7)), b"\0\7" * 3, 255),
        (plain((7, 7, 7)), b"\0\7" * 2 + b"\0", 7),  # too short
        (plain((7, 7, 7)).quantize(2), b"\0", 255),
        (plain((7, 7, 7)).quantize(2), bytes(256), 255),
        (plain((7, 7, 7)).quantize(2), b"", 7),
        (plain((7, 7, 7)).quantize(2), bytes(257), 7),  # more entries than a palette can have
    ],
)
def test_a_transparency_counts_if_it_is_long_enough(image: Image.Image, body: bytes, shown: int) -> None:
    assert (decoded(before(encoded(image), b"IDAT", chunk(b"tRNS", body))).pixels == shown).all()


@pytest.mark.parametrize("place", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("kind", ["eXIf", "tEXt", "zTXt"])
def test_the_orientation_in_a_png_counts(kind: str, place: bytes) -> None:
    exif = exif_orientation(6).tobytes()
    text = b"\nexif\n      %d\n%s\n" % (len(exif), exif.hex().encode())
    body = {
        "eXIf": exif[6:],
        "tEXt": b"Raw profile type exif\0" + text,
        "zTXt": b"Raw profile type exif\0\0" + zlib.compress(text),
    }[kind]

    result = decoded(before(PNG, place, chunk(kind.encode(), body)))

    assert (result.width, result.height) == (32, 48)


def test_of_two_exif_blocks_the_first_counts() -> None:
    turned, mirrored = (exif_orientation(value).tobytes()[6:] for value in (6, 1))

    png = before(PNG, b"IDAT", chunk(b"eXIf", turned) + chunk(b"eXIf", mirrored))
    jpeg = JPEG[:2] + segment(0xE1, b"Exif\0\0" + turned) + segment(0xE1, b"Exif\0\0" + mirrored) + JPEG[2:]

    assert decoded(png).width == decoded(jpeg).width == 32


SEGMENTS = {
    "JFIF too short": segment(0xE0, b"JFIF\0"),
    "Adobe too short": segment(0xEE, b"Adobe\0"),
    "empty profile": segment(0xE2, b"ICC_PROFILE\0"),
    "profile without its count": segment(0xE2, b"ICC_PROFILE\0\1"),
    "several pictures, of which none": segment(0xE2, b"MPF\0"),
    "Photoshop cut off": segment(0xED, b"Photoshop 3.0\x008BIM\4"),
    "Photoshop's resolution": segment(0xED, b"Photoshop 3.0\x008BIM\3\xed\0\0\0\0\0\1x"),
    "EXIF without an end": segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"),
    "no length": segment(0xE5, b"", 0),
    "length less than itself": segment(0xE0, b"", 1),
    "bytes that are no segment": b"\xff\0xyz\xff\0\xff\xff" + segment(0xEE, b"Adobe"),
    "marker without a length": b"\xff\x01" + segment(0xE0, b"JFIF"),
    "restart marker": b"\xff\xd3" + segment(0xE0, b"JFIF"),
    "comment": segment(0xFE, b""),
}


@pytest.mark.parametrize("kind", SEGMENTS)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning", "ignore:Truncated:UserWarning")
def test_an_application_segment_never_makes_a_jpeg_unreadable(kind: str) -> None:
    broken = SEGMENTS[kind]

    for data in (JPEG[:2] + broken + JPEG[2:], JPEG.replace(b"\xff\xdb", broken + b"\xff\xdb", 1)):
        np.testing.assert_array_equal(decoded(data).pixels, decoded(JPEG).pixels)


def test_metadata_behind_the_size_of_the_picture_is_left_out_too() -> None:
    comment = segment(0xFE, b"a comment")
    for marker in (b"\xff\xc0", b"\xff\xc4", b"\xff\xda"):  # frame, Huffman table, scan
        data = JPEG.replace(marker, comment + marker, 1)
        assert without_metadata(data, "JPEG")[0].getvalue() == JPEG


def test_the_segments_that_say_what_the_colours_are_stay() -> None:
    rgb = encoded(PHOTO, "JPEG", keep_rgb=True)
    inks = encoded(PHOTO.convert("CMYK"), "JPEG")

    assert b"Adobe" in without_metadata(inks, "JPEG")[0].getvalue()
    for data in (JPEG, rgb, inks):
        named = data[:2] + segment(0xFE, b"a comment") + data[2:]
        assert without_metadata(named, "JPEG")[0].getvalue() == data


def test_a_file_without_metadata_is_not_copied_and_not_changed() -> None:
    for name in ("PNG", "JPEG", "GIF", "WEBP"):
        data = encoded(PHOTO, name)
        assert without_metadata(data, name)[0].getvalue() is data


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("PNG", before(encoded(plain(RED)), b"IDAT", chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(10**6))) * 2000)),
        ("JPEG", JPEG[:2] + segment(0xE1, b"Exif\0\0xyz") * 50_000 + JPEG[2:]),
        ("JPEG", JPEG[:2] + b"\xff" * 1_000_000 + JPEG[3:]),
    ],
    ids=["profiles that inflate to 2 GB", "50,000 EXIF blocks", "a million fill bytes"],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning", "ignore:Truncated:UserWarning")
def test_metadata_without_end_costs_little(name: str, data: bytes) -> None:
    start = process_time()

    assert decoded(data).format == name

    assert process_time() - start < 0.5  # seconds; Pillow alone takes 4 s for the first two
