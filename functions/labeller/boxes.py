"""Boxes of the ISO base media files AVIF and HEIF (ISO/IEC 14496-12): where they end, and the clean aperture."""

import struct
from collections.abc import Iterator

_MOST_BOXES = 1000  # read in one box; a picture has a handful, a hostile file may have millions

Crop = tuple[int, int, int, int]  # left, top, right, bottom in pixels


def box_end(data: bytes | memoryview, start: int) -> int:
    """The end of the box at `start`; past the data if its header is cut off. Size 0 means "to the end"."""
    header = data[start : start + 16]
    if len(header) < 8:
        return start + 8
    size = int.from_bytes(header[:4], "big")
    if size == 1:
        size = int.from_bytes(header[8:16], "big")
    return start + max(size, 8) if size else max(len(data), start + 8)


def end(data: bytes) -> int:
    """Where the file ends at the earliest, according to its boxes."""
    position = 0
    for _ in range(_MOST_BOXES):
        if position >= len(data):
            break
        position = box_end(data, position)
    return position


def clean_aperture(data: bytes, width: int, height: int) -> Crop | None:
    """The part of the primary picture, of these sides, that is to be shown; None if that is all of it.

    As libavif and browsers do, one that is not within the picture or not of whole pixels is ignored.
    """
    from fractions import Fraction  # here, because few files need it

    try:
        numbers = _primary_clap(memoryview(data))
        if numbers is None:
            return None
        w, h, x, y = (Fraction(n, d) for n, d in zip(numbers[::2], numbers[1::2], strict=True))
    except (StopIteration, IndexError, struct.error, ZeroDivisionError):
        return None
    # ISO/IEC 14496-12, 12.1.4: the offsets are those of the centres.
    left, top = x + (width - w) / 2, y + (height - h) / 2
    crop = (left, top, left + w, top + h)
    if any(side.denominator > 1 for side in crop) or not (
        0 <= left < left + w <= width and 0 <= top < top + h <= height
    ):
        return None
    return int(left), int(top), int(left + w), int(top + h)


def _primary_clap(data: memoryview) -> tuple[int, ...] | None:
    """Numerators and denominators of width, height and both offsets (ISO/IEC 23008-12, 6.5.9); None without one."""
    meta = _find(data, b"meta")[4:]
    primary = _find(meta, b"pitm")
    item = primary[4:6] if primary[0] == 0 else primary[4:8]
    properties = _find(meta, b"iprp")
    boxes = list(_boxes(_find(properties, b"ipco")))
    for kind, associations in _boxes(properties):
        if kind == b"ipma":
            for index in _associated(associations, int.from_bytes(item, "big")):
                if 0 < index <= len(boxes) and boxes[index - 1][0] == b"clap":
                    return struct.unpack_from(">IIIIiIiI", boxes[index - 1][1])
    return None


def _associated(ipma: memoryview, item: int) -> Iterator[int]:
    """The numbers of the properties of an item, from 1 (ISO/IEC 23008-12, 9.3.1)."""
    long_item, long_index = ipma[0] > 0, ipma[3] & 1
    (count,) = struct.unpack_from(">I", ipma, 4)
    position = 8
    for _ in range(min(count, _MOST_BOXES)):
        identity, number = struct.unpack_from(">IB" if long_item else ">HB", ipma, position)
        position += 5 if long_item else 3
        indices = struct.unpack_from(f">{number}{'H' if long_index else 'B'}", ipma, position)
        position += number * (2 if long_index else 1)
        if identity == item:
            yield from (index & (0x7FFF if long_index else 0x7F) for index in indices)


def _find(data: memoryview, kind: bytes) -> memoryview:
    """The content of the first box of a kind. Raises StopIteration if there is none."""
    return next(content for name, content in _boxes(data) if name == kind)


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    position = 0
    for _ in range(_MOST_BOXES):
        if position + 8 > len(data):
            return
        end = box_end(data, position)
        header = 16 if int.from_bytes(data[position : position + 4]) == 1 else 8
        yield bytes(data[position + 4 : position + 8]), data[position + header : end]
        position = end
