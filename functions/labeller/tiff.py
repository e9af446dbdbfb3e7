"""The first directory of a TIFF: what kind of file it is, and where it ends.

TIFF 6.0, section 2. BigTIFF has wider numbers (libtiff's "BigTIFF Design").
"""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Field type -> bytes of a value, and the types of unsigned numbers: SHORT, LONG, LONG8.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_LONG, _LONG8 = 4, 16
_NUMBERS = (3, _LONG, _LONG8)

_REDUCED, _COMPRESSION, _SUB_IFDS, _DNG_VERSION = 254, 259, 330, 50706
# The tags with the positions of the pixels: StripOffsets with StripByteCounts, TileOffsets with TileByteCounts.
_PIXELS = ((273, 279), (324, 325))
# Tags whose numbers a picture needs, of any width in a BigTIFF: ImageWidth, ImageLength, RowsPerStrip, tile sides.
_NEEDED_NUMBERS = {256, 257, 278, 322, 323, *(tag for pair in _PIXELS for tag in pair)}
# Compressions that Pillow's wheel decodes; not WebP (50001), whose library it lacks.
_COMPRESSIONS = {*range(1, 9), 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000}
_MOST_ENTRIES = 65_535  # a classic TIFF has no more


class _Entry(NamedTuple):
    tag: int
    kind: int
    length: int  # number of values
    at: int  # position of the values
    size: int  # bytes of the values


def is_camera_raw(data: bytes) -> bool:
    """Whether the first picture is only the preview of a camera raw, such as NEF or DNG, whose pixels are elsewhere."""
    entries, _ = _directory(data)
    tags = {entry.tag for entry in entries}
    return _DNG_VERSION in tags or (_SUB_IFDS in tags and bool(_number(data, entries, _REDUCED) & 1))


def is_unsupported(data: bytes) -> bool:
    """Whether the pixels are compressed in a way that Pillow does not know."""
    entries, _ = _directory(data)
    return _number(data, entries, _COMPRESSION, 1) not in _COMPRESSIONS


def strips(data: bytes) -> int:
    """The number of strips or tiles."""
    return max((entry.length for entry in _directory(data)[0] if entry.tag in (273, 324)), default=0)


def directory_bytes(data: bytes) -> int:
    """The total size of all values to which the first directory refers, each as often as it is referred to."""
    return sum(entry.size for entry in _directory(data)[0])


def end(data: bytes) -> int:
    """Where the file ends at the earliest, according to its first directory."""
    entries, last = _directory(data)
    numbers: dict[int, NDArray[np.int64]] = {}
    for entry in entries:
        last = max(last, entry.at + entry.size)
        if entry.tag in _NEEDED_NUMBERS - set(numbers):
            # numpy, because a hostile directory may declare millions of strips.
            numbers[entry.tag] = _numbers(data, entry)
    for offsets, sizes in _PIXELS:
        strips = min(len(numbers.get(offsets, ())), len(numbers.get(sizes, ())))
        if strips:
            last = max(last, int((numbers[offsets][:strips] + numbers[sizes][:strips]).max()))
    return last


def readable(data: bytes) -> bytes:
    """`data`; a big-endian BigTIFF, which Pillow does not read, with a classic directory at its end."""
    if not data.startswith(b"MM\x00+") or end(data) > len(data):  # a decoder would read the directory as pixels
        return data
    added = bytearray()
    fields: dict[int, bytes] = {}
    for entry in _directory(data)[0]:
        kind, at, size = entry.kind, entry.at, entry.size
        if kind == _LONG8:  # the others keep their values where they are
            if entry.tag not in _NEEDED_NUMBERS - set(fields):
                continue
            kind, at, size = _LONG, len(data) + len(added), size // 2
            added += _numbers(data, entry).astype(">u4").tobytes()
        content = (data[at : at + size] or bytes(added[at - len(data) :])) if size <= 4 else struct.pack(">I", at)
        fields[entry.tag] = struct.pack(">HHI", entry.tag, kind, entry.length) + content.ljust(4, b"\0")
    directory = struct.pack(">H", len(fields)) + b"".join(fields.values()) + bytes(4)
    return b"MM\x00*" + struct.pack(">I", len(data) + len(added)) + data[8:] + added + directory


def _directory(data: bytes) -> tuple[list[_Entry], int]:
    """The entries of the first directory, none if it is cut off, and where the directory ends."""
    order, is_big = _order(data), b"+" in data[2:4]
    number, count, width, header = ("Q", "Q", 8, 16) if is_big else ("I", "H", 4, 8)
    if len(data) < header:
        return [], header
    (start,) = struct.unpack_from(order + number, data, header - width)
    first = start + struct.calcsize(count)
    if first > len(data):
        return [], first
    (length,) = struct.unpack_from(order + count, data, start)
    step = 4 + 2 * width
    last = first + step * length + width
    if last > len(data) or length > _MOST_ENTRIES:
        return [], last
    entries = []
    for position in range(first, last - width, step):
        tag, kind, values = struct.unpack_from(f"{order}HH{number}", data, position)
        size = _SIZES.get(kind, 1) * values
        at = position + 4 + width
        if size > width:
            (at,) = struct.unpack_from(order + number, data, at)
        entries.append(_Entry(tag, kind, values, at, size))
    return entries, last


def _order(data: bytes) -> str:
    return "<" if data[:1] == b"I" else ">"


def _numbers(data: bytes, entry: _Entry) -> NDArray[np.int64]:
    """The values of an entry; none if they are no unsigned numbers or are cut off."""
    if entry.kind not in _NUMBERS or entry.at + entry.size > len(data):
        return np.zeros(0, np.int64)
    return np.frombuffer(data, f"{_order(data)}u{_SIZES[entry.kind]}", entry.length, entry.at).astype(np.int64)


def _number(data: bytes, entries: list[_Entry], tag: int, default: int = 0) -> int:
    """The first value of a tag."""
    values = next((_numbers(data, entry) for entry in entries if entry.tag == tag), None)
    return default if values is None or not len(values) else int(values[0])
