"""JPEGs have the pixels that Pillow gives them; damaged ones are read only if nearly everything is there."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from time import process_time

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from simplejpeg import decode_jpeg

from labeller import jpeg, jpeg_scan
from labeller.images import Reason, Unreadable, decode
from labeller.jpeg import load
from labeller.jpeg_scan import whole_part
from tests.support import encoded, photo_like, plain

PHOTO = photo_like(320, 400)
BASELINE = encoded(PHOTO, "JPEG", quality=85)
PROGRESSIVE = encoded(PHOTO, "JPEG", quality=85, progressive=True)
GREY = encoded(PHOTO.convert("L"), "JPEG", quality=85)
RESTARTS = encoded(PHOTO, "JPEG", quality=85, restart_marker_rows=1)  # 25 rows of blocks
KINDS = {
    "baseline": BASELINE,
    "optimised": encoded(PHOTO, "JPEG", quality=85, optimize=True),
    "every colour sampled": encoded(PHOTO, "JPEG", subsampling=0),
    "half the columns sampled": encoded(PHOTO, "JPEG", subsampling=1),
    "progressive": PROGRESSIVE,
    "restart markers": RESTARTS,
    "grey": GREY,
    "inks": encoded(PHOTO.convert("CMYK"), "JPEG"),
    "RGB": encoded(PHOTO, "JPEG", keep_rgb=True),
    "one pixel": encoded(plain((9, 8, 7), 1, 1), "JPEG"),
}
RESTART = re.compile(rb"\xff[\xd0-\xd7]")


def opened(data: bytes) -> JpegImageFile:
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, JpegImageFile)
    return image


def start(data: bytes) -> int:
    """Where the data of the first scan begins."""
    header = data.index(b"\xff\xda") + 2
    return header + int.from_bytes(data[header : header + 2], "big")


def in_scan(data: bytes, share: float) -> int:
    return start(data) + int((len(data) - start(data)) * share)


def is_read(data: bytes) -> bool:
    try:
        result = decode(data, (8, 8), 10**6)
    except Unreadable as error:
        if error.reason not in (Reason.CORRUPT, Reason.TRUNCATED):
            raise
        return False
    assert (result.width, result.height) == PHOTO.size
    return True


@pytest.mark.parametrize("side", [10_000, 150, 60, 30])  # whole, 1/2, 1/4, 1/8
@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_jpeg_has_the_pixels_that_pillow_gives_it(
    kind: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg, "whole_part", None)  # which is slow: only a damaged file needs it
    data = KINDS[kind]
    image, expected = opened(data), opened(data)
    for picture in (image, expected):
        picture.draft(None, (side, side))

    loaded = load(image, data, True)

    assert loaded.size == expected.size
    assert np.asarray(loaded.convert(expected.mode)).tobytes() == np.asarray(expected).tobytes()


def hole(data: bytes, first: float, last: float, fill: Callable[[int], bytes] = bytes) -> bytes:
    """`data` with other bytes at these shares of the scan; the end marker remains."""
    begin, end = in_scan(data, first), min(in_scan(data, last), len(data) - 2)
    return data[:begin] + fill(end - begin) + data[end:]


def scan_replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    return data[: start(data)] + data[start(data) :].replace(old, new)


def swapped(data: bytes) -> bytes:
    a, b, c, d = (in_scan(data, share) for share in (0.2, 0.35, 0.6, 0.75))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def seven_bits(data: bytes) -> bytes:
    return data[: start(data)] + bytes(byte & 127 for byte in data[start(data) : -2]) + data[-2:]


RANDOM = np.random.default_rng(11)
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a fifth and an end marker": lambda data: data[: in_scan(data, 0.2)] + b"\xff\xd9",
    "zeros from 30 %": lambda data: hole(data, 0.3, 1),
    "ones from 30 %": lambda data: hole(data, 0.3, 1, lambda size: b"\xff" * size),
    "zeros at 40 to 60 %": lambda data: hole(data, 0.4, 0.6),
    "random bytes at 40 to 60 %": lambda data: hole(data, 0.4, 0.6, RANDOM.bytes),
    "nothing at 40 to 60 %": lambda data: hole(data, 0.4, 0.6, lambda _: b""),
    "line feeds after carriage returns": lambda data: scan_replaced(data, b"\n", b"\r\n"),
    "no carriage returns": lambda data: scan_replaced(data, b"\r", b""),
    "text of 7 bits": lambda data: (
        data[: start(data)] + bytes(byte & 127 for byte in data[start(data) : -2]) + data[-2:]
    ),
    "a marker in the middle": lambda data: hole(data, 0.5, 0.5, lambda _: b"\xff\x33"),
    "exchanged parts": swapped,
    "a part twice": lambda data: data[: in_scan(data, 0.6)] + data[in_scan(data, 0.4) :],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["baseline", "optimised", "progressive", "restart markers", "grey"])
def test_a_jpeg_with_much_damage_is_refused(kind: str, damage: str) -> None:
    assert not is_read(DAMAGES[damage](KINDS[kind]))


@pytest.mark.parametrize("data", [BASELINE, GREY, RESTARTS])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9", b"\xff\x33 and more \xff\xd9"])
def test_a_jpeg_that_breaks_off_late_is_read_without_what_is_missing(data: bytes, end: bytes) -> None:
    read = [share for share in np.arange(0.9, 1, 0.01) if is_read(data[: in_scan(data, share)] + end)]

    # At least 95 %. 16 rows of blocks of 400 are 4 %: a break in one loses it.
    assert 0.95 <= min(read) <= 0.98
    assert len(read) == round((1 - min(read)) / 0.01)


def test_what_is_missing_is_left_out_and_not_grey() -> None:
    white = encoded(plain((255, 255, 255), 320, 400), "JPEG", restart_marker_rows=1)
    markers = [match.start() for match in RESTART.finditer(white)]

    pixels = decode(white[: markers[-1]] + b"\xff\x33\xff\xd9", (400, 320), 10**6).pixels

    assert pixels.min() > 250


def test_a_damaged_interval_between_restart_markers_costs_only_itself() -> None:
    markers = [match.start() for match in RESTART.finditer(RESTARTS)]

    def without(*intervals: int) -> bytes:
        data = bytearray(RESTARTS)
        for number in intervals:
            begin, end = markers[number] + 2, markers[number + 1]
            data[begin:end] = b"\x55" * (end - begin)
        return bytes(data)

    assert is_read(without(3))  # 1 of 25 rows of blocks
    assert not is_read(without(3, 9))


@pytest.mark.parametrize("lost", [[5], range(24), range(4, 12)])
def test_without_its_restart_markers_a_jpeg_is_refused(lost: list[int]) -> None:
    parts = RESTART.split(RESTARTS)
    markers = RESTART.findall(RESTARTS)
    data = parts[0] + b"".join((b"" if i in lost else markers[i]) + part for i, part in enumerate(parts[1:]))

    assert not is_read(data)


@pytest.mark.parametrize("extra", [b"\1\2", b"\x7f\x3c" * 20])
def test_a_few_bytes_before_the_end_marker_do_no_harm(extra: bytes) -> None:
    assert is_read(BASELINE[:-2] + extra + BASELINE[-2:])
    assert not is_read(BASELINE[:-2] + extra * 100_000 + BASELINE[-2:])


def test_each_interval_between_restart_markers_may_have_one_byte_too_many() -> None:
    narrow = encoded(plain((255, 255, 255), 32, 400), "JPEG", restart_marker_rows=1)  # intervals of a few bytes
    first, *others = RESTART.split(narrow)
    markers = RESTART.findall(narrow)

    def with_extra(extra: bytes) -> bytes:
        return first + extra + b"".join(map(b"".join, zip(markers, others, [extra] * len(others), strict=True)))

    assert max(map(len, others)) < 20
    assert whole_part(with_extra(b"\0")) is not None
    assert whole_part(with_extra(b"\0\0")) is None


def test_a_warning_about_the_header_does_no_harm() -> None:
    version = BASELINE.index(b"JFIF\0") + 5
    data = BASELINE[:version] + b"\x07" + BASELINE[version + 1 :]

    assert is_read(data)


HUFFMAN = BASELINE.index(b"\xff\xc4")
FRAME = BASELINE.index(b"\xff\xc0")


@pytest.mark.parametrize(
    ("at", "bytes_"),
    [
        (HUFFMAN + 5, b"\xff" * 16),  # more codes than there are
        (HUFFMAN + 4, b"\x0f"),  # a table that no component uses, so one is missing
        (FRAME + 5, bytes(4)),  # no sides
        (FRAME + 4, b"\x0c"),  # 12 bits
        (start(BASELINE) - 10, b"\x01"),  # a scan of one component of three
        (start(BASELINE) - 8, b"\x33"),  # tables that do not exist
        (FRAME + 12, b"\x07"),  # a quantisation table that does not exist
    ],
)
def test_of_a_damaged_header_nothing_counts_as_whole(at: int, bytes_: bytes) -> None:
    data = BASELINE[:at] + bytes_ + BASELINE[at + len(bytes_) :]

    assert whole_part(BASELINE) is not None
    assert whole_part(data) is None


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", BASELINE[:100], BASELINE[: start(BASELINE)], PROGRESSIVE])
def test_without_a_sequential_scan_nothing_counts_as_whole(data: bytes) -> None:
    assert whole_part(data) is None


@pytest.mark.parametrize(("name", "limit"), [("_LONGEST_SCAN", 1000), ("_MOST_RESTARTS", 5)])
def test_reading_a_scan_is_bounded(name: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert whole_part(RESTARTS) is not None

    monkeypatch.setattr(jpeg_scan, name, limit)

    assert whole_part(RESTARTS) is None


def test_pixels_keep_what_the_conversion_of_inks_needs() -> None:
    assert load(opened(KINDS["inks"]), KINDS["inks"], True).info["adobe"] == 100


def filled(data: bytes, first: float, last: float, byte: int) -> bytes:
    """The file with a part of its scans, between these shares of them, filled with one byte."""
    begin, end = in_scan(data, first), in_scan(data, last)
    return data[:begin] + bytes([byte]) * (end - begin) + data[end:]


@pytest.mark.parametrize("byte", [0x00, 0x0A, 0x20, 0xF6])
@pytest.mark.parametrize("kind", ["baseline", "grey", "every colour sampled", "progressive", "restart markers"])
def test_a_hole_filled_with_one_byte_is_no_picture_though_it_is_valid_code(kind: str, byte: int) -> None:
    data = filled(KINDS[kind], 0.4, 0.6, byte)

    assert not is_read(data)
    assert jpeg_scan.has_hole(data, start(data)) or kind == "progressive" or byte == 0x0A  # libjpeg gives warnings


def test_a_hole_that_leaves_no_warning_is_noticed() -> None:
    grey = encoded(photo_like(64, 64).convert("L"), "JPEG", quality=30)
    # The usual code of a block of 63 coefficients of -1 is 191 bits of zeros: 00, then 63 times 000. Of 64 blocks it is
    # 1,528 bytes.
    data = grey[: start(grey)] + bytes(64 * 191 // 8) + b"\xff\xd9"
    strict = decode_jpeg(data, "GRAY", strict=True)

    assert strict.shape == (64, 64, 1)
    assert jpeg_scan.has_hole(data, start(data))
    with pytest.raises(ValueError, match="hole"):
        load(opened(data), data, True)


def test_of_a_file_with_a_hole_near_its_end_the_rest_is_read() -> None:
    data = filled(RESTARTS, 0.97, 0.985, 0)

    assert jpeg_scan.has_hole(data, start(data))
    assert is_read(data)


COLUMNS = np.tile(np.arange(1024), (256, 1))
DRAWN = {
    "white": np.full((256, 1024, 3), 255),
    "grey": np.full((256, 1024), 128),
    "a ramp": COLUMNS // 4,
    "stripes": (COLUMNS % 8 < 4) * 255,
    "squares": (COLUMNS // 8 + COLUMNS[:, :256].T.repeat(4, axis=1) // 8) % 2 * 255,
    "half white": np.where(COLUMNS < 512, np.random.default_rng(0).integers(0, 256, COLUMNS.shape), 255),
}


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("kind", DRAWN)
def test_what_is_drawn_repeats_itself_and_has_no_hole(kind: str, options: dict[str, bool]) -> None:
    data = encoded(Image.fromarray(DRAWN[kind].astype(np.uint8)), "JPEG", **options)

    assert not jpeg_scan.has_hole(data, start(data))
    assert decode(data, (8, 8), 10**6).width == 1024


def test_zeros_between_the_last_block_and_the_end_marker_do_no_harm() -> None:
    assert is_read(BASELINE[:-2] + bytes(100_000) + BASELINE[-2:])


def test_zeros_after_the_picture_are_no_hole() -> None:
    for data in (BASELINE, PROGRESSIVE):
        assert not jpeg_scan.has_hole(data + bytes(5000), start(data))


def test_many_flat_parts_are_looked_through_at_once() -> None:
    flat = encoded(Image.new("L", (256, 256), 128), "JPEG", optimize=True)
    begin = start(flat)
    assert flat[begin + 10 : begin + 50] == bytes(40)
    data = flat[:begin] + (bytes(40) + b"\1") * 40_000 + b"\xff\xd9"
    time = process_time()

    jpeg_scan.has_hole(data, begin)

    assert process_time() - time < 0.5


def test_damaged_tables_are_no_hole() -> None:
    data = filled(BASELINE, 0.4, 0.6, 0)
    table = data.index(b"\xff\xc4") + 5
    damaged = data[:table] + b"\xff" * 16 + data[table + 16 :]

    assert not jpeg_scan.has_hole(damaged, start(data))
