"""The numbers of a TIFF, in every order in which they may be stored. The files are written by hand (TIFF 6.0)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from labeller.images import Reason, Unreadable, decode
from labeller.tiff_file import TiffFile
from tests.support import encoded, photo_like

HEIGHT, WIDTH = 6, 8
ROWS_PER_STRIP = 4
RGB, CMYK, GREY, WHITE_IS_ZERO = 2, 5, 1, 0
NONE, DEFLATE = 1, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


def tiff(
    order: str, photometric: int, compression: int, planes: Sequence[NDArray[np.generic]], extra: int = -1
) -> bytes:
    """A TIFF of [HEIGHT, WIDTH] planes, each in strips of its own. `extra`: what the last one is."""
    kind = planes[0].dtype
    strips = [
        plane[row : row + ROWS_PER_STRIP].astype(kind.newbyteorder(order)).tobytes()
        for plane in planes
        for row in range(0, HEIGHT, ROWS_PER_STRIP)
    ]
    if compression == DEFLATE:
        strips = [zlib.compress(strip) for strip in strips]
    sample_format = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}[kind.kind]
    entries: dict[int, tuple[str, list[int]]] = {
        256: ("H", [WIDTH]),
        257: ("H", [HEIGHT]),
        258: ("H", [8 * kind.itemsize] * len(planes)),
        259: ("H", [compression]),
        262: ("H", [photometric]),
        273: ("I", [0] * len(strips)),
        277: ("H", [len(planes)]),
        278: ("H", [ROWS_PER_STRIP]),
        279: ("I", [len(strip) for strip in strips]),
        284: ("H", [1 if len(planes) == 1 else 2]),  # PlanarConfiguration
        339: ("H", [sample_format] * len(planes)),
    }
    if extra >= 0:
        entries[338] = ("H", [extra])
    return written(order, entries, strips)


def written(order: str, entries: dict[int, tuple[str, list[int]]], parts: Sequence[bytes], offsets: int = 273) -> bytes:
    """A TIFF with these fields (code of `struct`, numbers) and parts, whose offsets are the field `offsets`."""
    start = 1000
    if offsets in entries:
        entries[offsets] = ("I", [start + sum(map(len, parts[:number])) for number in range(len(parts))])
    directory, values, at = struct.pack(order + "H", len(entries)), b"", 8 + 2 + 12 * len(entries) + 4
    for tag, (code, numbers) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(packed) > 4:
            packed, values = struct.pack(order + "I", at + len(values)), values + packed
        directory += struct.pack(order + "HHI", tag, 3 if code == "H" else 4, len(numbers)) + packed.ljust(4, b"\0")
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return (header + directory + bytes(4) + values).ljust(start, b"\0") + b"".join(parts)


def pixels(data: bytes) -> NDArray[np.uint8]:
    return decode(data, (HEIGHT, WIDTH), 100).pixels


RANDOM = np.random.default_rng(5)
PLANES = [RANDOM.integers(0, 256, (HEIGHT, WIDTH), np.uint8) for _ in range(4)]
BITS = {8: lambda plane: plane, 16: lambda plane: plane.astype(np.uint16) * 257}


@pytest.mark.parametrize("compression", [NONE, DEFLATE])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", BITS)
def test_components_in_planes_are_those_of_the_picture(bits: int, order: str, compression: int) -> None:
    planes = [BITS[bits](plane) for plane in PLANES]
    colours = np.stack(PLANES[:3], axis=-1)

    np.testing.assert_array_equal(pixels(tiff(order, RGB, compression, planes[:3])), colours)
    # An extra component that is nothing known (0) does not show; alpha (2) does: here none is transparent.
    np.testing.assert_array_equal(pixels(tiff(order, RGB, compression, planes, extra=0)), colours)
    opaque = BITS[bits](np.full((HEIGHT, WIDTH), 255, np.uint8))
    np.testing.assert_array_equal(pixels(tiff(order, RGB, compression, [*planes[:3], opaque], extra=2)), colours)


@pytest.mark.parametrize("compression", [NONE, DEFLATE])
@pytest.mark.parametrize("bits", BITS)
def test_inks_in_planes_are_those_of_the_picture(bits: int, compression: int) -> None:
    red = [np.full((HEIGHT, WIDTH), ink, np.uint8) for ink in (0, 255, 255, 0)]

    assert (pixels(tiff(">", CMYK, compression, [BITS[bits](plane) for plane in red])) == (255, 0, 0)).all()


@pytest.mark.parametrize("compression", [NONE, DEFLATE])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.int32, np.float32])
def test_grey_is_the_same_in_either_byte_order(kind: type[np.generic], order: str, compression: int) -> None:
    grey = PLANES[0].copy()
    grey[0, :2] = (0, 255)
    values = grey.astype(kind) / np.float32(255) if kind is np.float32 else grey.astype(kind) * kind(257)

    result = pixels(tiff(order, GREY, compression, [values.astype(kind)]))

    np.testing.assert_array_equal(result, np.repeat(grey[..., np.newaxis], 3, axis=-1))


@pytest.mark.parametrize("compression", [NONE, DEFLATE])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", BITS)
def test_grey_of_which_zero_is_white_is_no_negative(bits: int, order: str, compression: int) -> None:
    grey = PLANES[0].copy()
    grey[0, :2] = (0, 255)

    result = pixels(tiff(order, WHITE_IS_ZERO, compression, [BITS[bits](grey)]))

    np.testing.assert_array_equal(result, 255 - np.repeat(grey[..., np.newaxis], 3, axis=-1))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_damaged_jpeg_in_a_tiff_is_corrupt(mode: str) -> None:
    data = encoded(photo_like().convert(mode), "TIFF", compression="jpeg")
    assert decode(data, (8, 8), 10**6).width == 160
    hole = len(data) * 6 // 10

    for fill in (b"\0", b"\x55"):
        with pytest.raises(Unreadable, match=r"CORRUPT: TIFF: 1 of . strips are corrupt JPEG data"):
            decode(data[:hole] + fill * 64 + data[hole + 64 :], (8, 8), 10**6)


def test_of_a_few_damaged_jpegs_in_many_strips_a_tiff_is_read() -> None:
    def damaged(*strips: int) -> bytes:
        data = bytearray(encoded(photo_like(320, 640), "TIFF", compression="jpeg", strip_size=320 * 3 * 16))
        starts = [at for at in range(len(data)) if data.startswith(b"\xff\xd8", at)]
        assert len(starts) >= 40
        for number in strips:
            middle = (starts[number] + starts[number + 1]) // 2
            data[middle : middle + 60] = b"\x55" * 60
        return bytes(data)

    assert decode(damaged(5, 9), (8, 8), 10**6).width == 320  # 2 of 40
    with pytest.raises(Unreadable, match="CORRUPT: TIFF: 3 of 40 strips are corrupt JPEG data"):
        decode(damaged(5, 9, 20), (8, 8), 10**6)


SIDE = 16  # of a part: the smallest that a tile may have
NOISE = [encoded(Image.fromarray(RANDOM.integers(0, 256, (SIDE, SIDE), np.uint8)), "JPEG") for _ in range(4)]


def tiff_of(jpegs: Sequence[bytes], tiled: bool = False, without: int = 0) -> bytes:
    """Grey parts one below the other, each a JPEG file, or without one of the fields."""
    count = len(jpegs)
    size = {322: ("H", [SIDE]), 323: ("H", [SIDE])} if tiled else {278: ("H", [SIDE])}
    offsets, lengths = (324, 325) if tiled else (273, 279)
    entries: dict[int, tuple[str, list[int]]] = {
        256: ("H", [SIDE]),
        257: ("H", [count * SIDE]),
        258: ("H", [8]),
        259: ("H", [7]),
        262: ("H", [GREY]),
        277: ("H", [1]),
        offsets: ("I", []),
        lengths: ("I", [len(jpeg) for jpeg in jpegs]),
    }
    fields = {tag: value for tag, value in (entries | size).items() if tag != without}
    return written("<", fields, jpegs, offsets)


def holed(jpeg: bytes) -> bytes:
    middle = len(jpeg) * 8 // 10
    return jpeg[:middle] + b"\x55" * 40 + jpeg[middle + 40 :]


@pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])
@pytest.mark.parametrize("damage", [holed, lambda jpeg: jpeg[: len(jpeg) * 3 // 4]], ids=["a hole", "an early end"])
def test_a_damaged_jpeg_of_a_tiff_that_holds_whole_files_is_corrupt(
    damage: Callable[[bytes], bytes], tiled: bool
) -> None:
    assert decode(tiff_of(NOISE, tiled), (8, 8), 10**6).height == 4 * SIDE

    for number in range(4):
        with pytest.raises(Unreadable, match="CORRUPT: TIFF: 1 of 4 strips are corrupt JPEG data"):
            decode(
                tiff_of([damage(jpeg) if at == number else jpeg for at, jpeg in enumerate(NOISE)], tiled), (8, 8), 10**6
            )


def test_a_tiff_that_does_not_say_where_its_jpegs_are_is_corrupt_and_one_that_lacks_their_lengths_is_read() -> None:
    with pytest.raises(Unreadable, match="CORRUPT: TIFF: decoder error"):
        decode(tiff_of(NOISE, without=273), (8, 8), 10**6)

    assert decode(tiff_of(NOISE[:1], without=279), (8, 8), 10**6).height == SIDE
    with pytest.raises(Unreadable, match="CORRUPT: TIFF: 1 of 1 strips are corrupt JPEG data"):
        decode(tiff_of([holed(NOISE[0])], without=279), (8, 8), 10**6)


def test_a_tiff_of_jpegs_is_read_once() -> None:
    stream = BytesIO(tiff_of(NOISE))
    image = TiffFile(stream)
    image.load()
    before = image.tobytes()

    stream.close()
    image.load()

    assert image.tobytes() == before


@pytest.mark.parametrize(
    "data",
    [
        tiff("<", WHITE_IS_ZERO, NONE, [PLANES[0].astype(np.float32)]),
        tiff(">", WHITE_IS_ZERO, NONE, [PLANES[0].astype(np.float32)]),
        tiff("<", GREY, NONE, PLANES[:2], extra=2),
        tiff("<", GREY, DEFLATE, PLANES[:2], extra=2),
        tiff("<", GREY, NONE, [BITS[16](PLANES[0])]).replace(
            struct.pack("<HHIH", 258, 3, 1, 16), struct.pack("<HHIH", 258, 3, 1, 12)
        ),
    ],
    ids=[
        "negative floats",
        "negative floats, big-endian",
        "alpha in a plane",
        "alpha in a compressed plane",
        "12 bits",
    ],
)
def test_what_would_come_out_wrong_is_unsupported(data: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        pixels(data)

    assert caught.value.reason is Reason.UNSUPPORTED
