"""The first directory of a TIFF: what kind of file it is, and where it ends.

TIFF 6.0, section 2. BigTIFF has wider numbers (libtiff's "BigTIFF Design").
"""

import re
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Field type -> bytes of a value, and the types of unsigned numbers: SHORT, LONG, IFD, LONG8, IFD8.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_LONG, _LONG8 = 4, 16
_NUMBERS = (3, _LONG, 13, _LONG8, 18)  # 13 and 18: offsets of directories

_WIDTH, _HEIGHT, _COMPRESSION, _DNG_VERSION = 256, 257, 259, 50706
_SUB_IFDS = 330  # offsets of further directories
_REDUCED = ((254, 1), (255, 2))  # NewSubfileType and the old SubfileType of a reduced picture
# The tags with the positions of the pixels: StripOffsets with StripByteCounts, TileOffsets with TileByteCounts.
_PIXELS = ((273, 279), (324, 325))
# Tags whose numbers a picture needs, of any width in a BigTIFF: ImageWidth, ImageLength, RowsPerStrip, tile sides.
_NEEDED_NUMBERS = {256, 257, 278, 322, 323, *(tag for pair in _PIXELS for tag in pair)}
# Compressions that Pillow's wheel decodes; not WebP (50001), whose library it lacks.
_COMPRESSIONS = {*range(1, 9), 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000}
_MOST_ENTRIES = 65_535  # a classic TIFF has no more
_MOST_DIRECTORIES = 6  # looked at for a larger picture
_FEW_ENTRIES = 1000  # of these; cameras write a hundred
_LARGEST_THUMBNAIL = 320  # pixels on a side
# What libtiff says of damaged rows of a fax. A row of group 4 depends on the one before it: all that follow are lost.
_DAMAGED_ROW = re.compile(rb"^Fax([34])[^\n]* at line (\d+) of ", re.MULTILINE)
_ROWS_PER_STRIP, _TILE_LENGTH = 278, 323
# Faxes with a code for each run (ITU-T T.4, tables 2 and 3): white is at least 4 bits, from 64 pixels on 5 bits more.
_ROW_BY_ROW = (2, 3, 32771)
_FEWEST_BITS, _FEWEST_BITS_WIDE = 4, 9


class _Entry(NamedTuple):
    tag: int
    kind: int
    length: int  # number of values
    at: int  # position of the values
    size: int  # bytes of the values


def is_preview(data: bytes) -> bool:
    """Whether the first picture is only a preview, as in camera raw (NEF, DNG, CR2), of a picture elsewhere.

    In a directory that it refers to (SubIFDs), or in one that follows a thumbnail. The pages of a document are none.
    """
    entries, end = _directory(data)
    tags = {entry.tag for entry in entries}
    if data[8:12] == b"CR\x02\x00" or _DNG_VERSION in tags:
        return True
    following = _following(data, entries, end)
    if (_SUB_IFDS in tags or following) and any(_number(data, entries, tag) & bit for tag, bit in _REDUCED):
        return True
    width, height = _sides(data, entries)
    offsets = next((_numbers(data, entry) for entry in entries if entry.tag == _SUB_IFDS), ())
    for start in offsets[:_MOST_DIRECTORIES]:
        other = _sides(data, _directory(data, int(start), _FEW_ENTRIES)[0])
        if other[0] * other[1] > width * height:
            return True
    for _ in range(_MOST_DIRECTORIES):
        if not following or max(width, height) > _LARGEST_THUMBNAIL:
            return False
        entries, end = _directory(data, following, _FEW_ENTRIES)
        other = _sides(data, entries)
        if min(other[0] - 2 * width, other[1] - 2 * height) >= 0:
            return True
        following = _following(data, entries, end)
    return False


def is_unsupported(data: bytes) -> bool:
    """Whether the pixels are compressed in a way that Pillow does not know."""
    entries, _ = _directory(data)
    return _number(data, entries, _COMPRESSION, 1) not in _COMPRESSIONS


def damaged_rows(data: bytes, messages: bytes) -> float:
    """The share of the rows that a decoded file lacks: by libtiff's messages, or because there is no code for them."""
    entries, _ = _directory(data)
    width, height = _sides(data, entries)
    together = _number(data, entries, _ROWS_PER_STRIP) or _number(data, entries, _TILE_LENGTH) or height
    lost: float = sum(
        1 if group == b"3" else max(1, min(together, height) - int(line))
        for group, line in _DAMAGED_ROW.findall(messages)
    )
    if _number(data, entries, _COMPRESSION) in _ROW_BY_ROW:
        code = sum(int(_numbers(data, entry).sum()) for entry in entries if entry.tag in (279, 325))
        lost = max(lost, height - 8 * code / (_FEWEST_BITS if width < 64 else _FEWEST_BITS_WIDE))
    return min(1.0, lost / max(1, height))


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


def _layout(data: bytes) -> tuple[str, str, int]:
    """Of an offset and of the number of entries how struct reads them, and the bytes of an offset."""
    return ("Q", "Q", 8) if b"+" in data[2:4] else ("I", "H", 4)


def _start(data: bytes) -> int:
    """Where the first directory starts; past the data if the header is cut off."""
    number, _, width = _layout(data)
    if len(data) < 2 * width:
        return 2 * width
    return int(struct.unpack_from(_order(data) + number, data, width)[0])


def _following(data: bytes, entries: list[_Entry], end: int) -> int:
    """Where the directory after the one of these entries starts; 0 if there is none."""
    number, _, width = _layout(data)
    return int(struct.unpack_from(_order(data) + number, data, end - width)[0]) if entries else 0


def _sides(data: bytes, entries: list[_Entry]) -> tuple[int, int]:
    return _number(data, entries, _WIDTH), _number(data, entries, _HEIGHT)


def _directory(data: bytes, start: int | None = None, most: int = _MOST_ENTRIES) -> tuple[list[_Entry], int]:
    """The entries of the directory at `start`, by default the first, and where it ends.

    No entries if it is cut off or has more than `most`.
    """
    order, (number, count, width) = _order(data), _layout(data)
    if start is None:
        start = _start(data)
    first = start + struct.calcsize(count)
    if start < 0 or first > len(data):
        return [], first
    (length,) = struct.unpack_from(order + count, data, start)
    step = 4 + 2 * width
    last = first + step * length + width
    if last > len(data) or length > most:
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
