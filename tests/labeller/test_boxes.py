"""The clean aperture: the part of an AVIF or HEIC that is to be shown."""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labeller import boxes
from labeller.images import decode
from tests.support import encoded, exif_orientation

# 80 x 64 pixels, of which a HEIF's encoder adds none: 8 x 8 fields, each of its own grey.
SQUARES = np.kron(np.arange(0, 192, 3, np.uint8).reshape(8, 8), np.ones((8, 10), np.uint8))
# 40 x 20 pixels, whose centre is 10 to the right of and 5 above the picture's.
SHOWN = (40, 1, 20, 1, 10, 1, -5, 1)
LEFT, TOP, RIGHT, BOTTOM = 30, 17, 70, 37


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def split(content: bytes) -> Iterator[tuple[str, bytes]]:
    while content:
        size, kind = struct.unpack_from(">I4s", content)
        yield kind.decode(), content[8:size]
        content = content[size:]


def with_aperture(data: bytes, *numbers: int, item: int = 1) -> bytes:
    """The file with a clean aperture, associated with `item`, in a second `meta` at its end: no offset changes."""
    start = data.index(b"meta") - 4
    meta = dict(split(data[start + 12 : start + struct.unpack_from(">I", data, start)[0]]))
    properties = dict(split(meta["iprp"]))
    number = 1 + len(list(split(properties["ipco"])))
    properties["ipco"] += box(b"clap", struct.pack(">4IiIiI", *numbers))
    # Version 0: number of items, then of each item its id, the number of its properties, these numbers.
    first = properties["ipma"]
    if item == 1:
        properties["ipma"] = first[:10] + bytes([first[10] + 1, 0x80 | number]) + first[11:]
    else:
        properties["ipma"] = first[:7] + bytes([first[7] + 1]) + first[8:] + bytes([0, item, 1, 0x80 | number])
    meta["iprp"] = b"".join(box(kind.encode(), content) for kind, content in properties.items())
    content = data[start + 8 : start + 12] + b"".join(box(kind.encode(), content) for kind, content in meta.items())
    return data[: start + 4] + b"free" + data[start + 8 :] + box(b"meta", content)


def squares(name: str, **options: Any) -> bytes:
    return encoded(Image.fromarray(SQUARES).convert("RGB"), name, quality=95, **options)


@pytest.mark.parametrize("name", ["AVIF", "HEIF"])
def test_only_the_clean_aperture_is_decoded(name: str) -> None:
    decoded = decode(with_aperture(squares(name), *SHOWN), (20, 40), 10**6)

    assert (decoded.width, decoded.height) == (40, 20)
    expected = SQUARES[TOP:BOTTOM, LEFT:RIGHT]
    assert np.abs(decoded.pixels[..., 1].astype(int) - expected).max() <= 6


@pytest.mark.parametrize("name", ["AVIF", "HEIF"])
def test_the_clean_aperture_is_turned_not_cut_from_the_turned_picture(name: str) -> None:
    turned = squares(name, exif=exif_orientation(6).tobytes())

    decoded = decode(with_aperture(turned, *SHOWN), (40, 20), 10**6)

    assert (decoded.width, decoded.height) == (20, 40)
    expected = np.rot90(SQUARES[TOP:BOTTOM, LEFT:RIGHT], -1)  # clockwise
    assert np.abs(decoded.pixels[..., 1].astype(int) - expected).max() <= 6


@pytest.mark.parametrize(
    "numbers",
    [
        (40, 1, 20, 1, 30, 1, 0, 1),  # over the right edge
        (40, 1, 20, 1, 0, 1, -23, 1),  # over the upper edge
        (41, 1, 20, 1, 0, 1, 0, 1),  # from half a pixel on
        (40, 1, 20, 0, 0, 1, 0, 1),  # divided by zero
        (0, 1, 20, 1, 0, 1, 0, 1),  # no width
    ],
)
def test_an_impossible_clean_aperture_is_ignored(numbers: tuple[int, ...]) -> None:
    decoded = decode(with_aperture(squares("AVIF"), *numbers), (64, 80), 10**6)

    assert (decoded.width, decoded.height) == (80, 64)


def test_the_clean_aperture_of_another_item_than_the_picture_is_ignored() -> None:
    assert decode(with_aperture(squares("AVIF"), *SHOWN, item=7), (64, 80), 10**6).width == 80


def test_fractions_may_make_whole_pixels() -> None:
    data = with_aperture(squares("AVIF"), 120, 3, 40, 2, 30, 3, -10, 2)

    assert boxes.clean_aperture(data, 80, 64) == (LEFT, TOP, RIGHT, BOTTOM)


def test_a_file_cut_off_anywhere_has_no_aperture_or_the_whole_one() -> None:
    data = with_aperture(squares("AVIF"), *SHOWN)

    for length in range(len(data)):
        assert boxes.clean_aperture(data[:length], 80, 64) in (None, (LEFT, TOP, RIGHT, BOTTOM))
