from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from time import process_time

import pytest
from PIL.PngImagePlugin import PngInfo

from labeller.headers import is_ordinary, sides
from labeller.images import Reason, Unreadable, decode
from labeller.signatures import identify
from tests.support import BLUE, RED, encoded, exif_orientation, photo_like, plain

PICTURE = photo_like(40, 30)
JPEG, PROGRESSIVE = encoded(PICTURE, "JPEG"), encoded(PICTURE, "JPEG", progressive=True)
PNG = encoded(PICTURE)
WEBP, LOSSLESS = encoded(PICTURE, "WEBP"), encoded(PICTURE, "WEBP", lossless=True)
EXTENDED = encoded(PICTURE.convert("RGBA"), "WEBP", exif=exif_orientation(1))  # with a VP8X chunk


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*chunks: bytes) -> bytes:
    """PNG with chunks before its pixels."""
    return PNG[:33] + b"".join(chunks) + PNG[33:]


def jpeg_with(*segments: bytes) -> bytes:
    """JPEG with segments at its start."""
    parts = (b"\xff" + part[:1] + struct.pack(">H", len(part) + 1) + part[1:] for part in segments)
    return JPEG[:2] + b"".join(parts) + JPEG[2:]


def webp_of(kind: bytes, content: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def frame(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header declares other sides."""
    at = next(data.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in data) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def in_scans(count: int) -> bytes:
    """A progressive JPEG with its last scan repeated."""
    start = PROGRESSIVE.rindex(b"\xff\xda")
    missing = count - PROGRESSIVE.count(b"\xff\xda")
    return PROGRESSIVE[:-2] + PROGRESSIVE[start:-2] * missing + PROGRESSIVE[-2:]


def sequential(count: int) -> bytes:
    """A JPEG that is not progressive, with scans of one component."""
    return JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xda\0\x08\x01\x01\x00\x00\x3f\x00" * count


def header(width: int, height: int) -> bytes:
    return PNG[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + PNG[33:]


def exif(entries: int, size: int) -> bytes:
    """An EXIF block whose directory refers to the same bytes again and again."""
    directory = b"".join(struct.pack("<HHII", tag, 7, size, 8) for tag in range(1000, 1000 + entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + directory + bytes(4)


def canvas(width: int, height: int) -> bytes:
    return webp_of(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def exif_text() -> bytes:
    info = PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n      0\n")
    return encoded(PICTURE, pnginfo=info)


ORDINARY: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: JPEG,
    "progressive JPEG": lambda: PROGRESSIVE,
    "grey JPEG": lambda: encoded(PICTURE.convert("L"), "JPEG"),
    "JPEG with EXIF": lambda: encoded(PICTURE, "JPEG", exif=exif_orientation(6)),
    "PNG": lambda: PNG,
    "PNG with EXIF": lambda: encoded(PICTURE, exif=exif_orientation(6)),
    "WebP": lambda: WEBP,
    "lossless WebP": lambda: LOSSLESS,
    "extended WebP": lambda: EXTENDED,
    "a camera's JPEG of 100 megapixels": lambda: frame(JPEG, 11600, 8620),
    "progressive JPEG of 30 megapixels": lambda: frame(PROGRESSIVE, 5000, 6000),
    "a camera's JPEG of 100 megapixels with previews": lambda: frame(
        jpeg_with(*[b"\xe2\xff\xda"] * 9) + b"\xff\xda" * 9, 11600, 8620
    ),
    "JPEG of 10 megapixels in 3 scans, one for each component": lambda: frame(sequential(3), 4000, 2500),
    "progressive JPEG of 10 megapixels in 30 scans": lambda: frame(in_scans(30), 4000, 2500),
    "PNG of 20 megapixels": lambda: header(4000, 5000),
    "WebP of 14 megapixels": lambda: canvas(3500, 4000),
    "PNG of 10,000 chunks": lambda: png_with(*[chunk(b"tEXt")] * (10_000 - PNG.count(b"IDAT") - 2)),
    "JPEG with an EXIF that refers to a megabyte": lambda: jpeg_with(b"\xe1Exif\0\0" + exif(32, 2**15)),
}
RARE: dict[str, Callable[[], bytes]] = {
    "GIF": lambda: encoded(PICTURE, "GIF"),
    "BMP": lambda: encoded(PICTURE, "BMP"),
    "TIFF": lambda: encoded(PICTURE, "TIFF"),
    "AVIF": lambda: encoded(PICTURE, "AVIF"),
    "HEIF": lambda: encoded(PICTURE, "HEIF"),
    "arithmetic JPEG": lambda: JPEG.replace(b"\xff\xc0", b"\xff\xc9"),
    "lossless JPEG": lambda: JPEG.replace(b"\xff\xc0", b"\xff\xc3"),
    "JPEG of more than 100 megapixels": lambda: frame(JPEG, 11600, 8621),
    "progressive JPEG of more than 30 megapixels": lambda: frame(PROGRESSIVE, 5000, 6001),
    "progressive JPEG of 10 megapixels in 31 scans": lambda: frame(in_scans(31), 4000, 2500),
    "JPEG of 10 megapixels in 31 scans": lambda: frame(sequential(31), 4000, 2500),
    "PNG of more than 20 megapixels": lambda: header(4000, 5001),
    "WebP of more than 14 megapixels": lambda: canvas(3501, 4000),
    "animated WebP": lambda: encoded(plain(RED), "WEBP", save_all=True, append_images=[plain(BLUE)]),
    "PNG of more than 10,000 chunks": lambda: png_with(*[chunk(b"tEXt")] * 10_000),
    "JPEG of more than 10,000 segments": lambda: jpeg_with(*[b"\xfe"] * 10_000),
    "PNG with EXIF as text": exif_text,
    "PNG with a long EXIF": lambda: png_with(chunk(b"eXIf", exif(1, 4) + bytes(2**16))),
    "JPEG with an EXIF that refers to more than a megabyte": lambda: jpeg_with(b"\xe1Exif\0\0" + exif(33, 2**15)),
}


@pytest.mark.parametrize("kind", [*ORDINARY, *RARE])
def test_ordinary_is_what_is_sure_to_cost_little(kind: str) -> None:
    data = {**ORDINARY, **RARE}[kind]()
    assert is_ordinary(data, str(identify(data))) is (kind in ORDINARY)


@pytest.mark.parametrize(
    "data",
    [JPEG, PROGRESSIVE, PNG, WEBP, LOSSLESS, EXTENDED],
    ids=["JPEG", "progressive", "PNG", "VP8", "VP8L", "VP8X"],
)
def test_sides_are_those_of_the_picture(data: bytes) -> None:
    name = str(identify(data))
    assert sides(data, name) == (40, 30)
    for length in range(33):
        assert len(sides(data[:length], name)) == 2  # whatever is cut off


FRAGMENTED = {
    "empty IDAT": lambda: png_with(*[chunk(b"IDAT")] * 100_000),
    "iCCP": lambda: png_with(*[chunk(b"iCCP")] * 100_000),
    "segments": lambda: jpeg_with(*[b"\xe2"] * 100_000),
    "RIFF": lambda: canvas(8, 8) + (b"EXIF" + bytes(4)) * 100_000,
}


@pytest.mark.parametrize("kind", FRAGMENTED)
def test_a_file_of_more_than_a_hundred_thousand_parts_is_refused_in_a_moment(kind: str) -> None:
    data = FRAGMENTED[kind]()
    start = process_time()
    with pytest.raises(Unreadable) as caught:
        decode(data, (4, 4), 10**6)
    assert caught.value.reason is Reason.TOO_COSTLY
    assert process_time() - start < 1
