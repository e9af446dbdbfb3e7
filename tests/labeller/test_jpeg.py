"""JPEGs have the pixels that Pillow gives them; damaged ones are read only if nearly everything is there."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

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


@pytest.mark.parametrize("extra", [b"\0", b"\x7f" * 40])
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
