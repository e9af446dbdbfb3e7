"""Recognise a file's format by its first bytes, and tell whether the file is cut off.

`images` decodes. This module explains why a file could not be decoded. It never uses the file name or the
Content-Type: the uploader chooses both.
"""

import struct

import numpy as np
from numpy.typing import NDArray

# The formats that images.decode reads, by Pillow's names.
SUPPORTED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    # Picture formats that this service does not read.
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "PSD"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"qoif", "QOI"),
    (b"<svg", "SVG"),
)
# Brands of ISO base media files (ISO/IEC 23008-12 annex B for HEIF, the AV1 image format for AVIF). mif1 and msf1
# mean HEIF with any codec, so AVIF files carry them too.
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"), "HEIF"
)
_MOST_BOXES = 1000  # read; a picture has a handful, a hostile file may have millions
_TAIL = 4096  # bytes at the end that are searched for an end marker: cameras append small trailers after it


def identify(data: bytes) -> str | None:
    """The picture format by the first bytes: a name in SUPPORTED or of an unsupported format. None if unknown."""
    for start, name in _STARTS:
        if data.startswith(start):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = (data[8:12], *(data[i : i + 4] for i in range(16, min(_box_end(data, 0), 64), 4)))
        names = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return "AVIF" if "AVIF" in names else next(iter(names), None)
    # Text may start with "BM" too, so the size of the DIB header that follows is checked as well.
    if data[:2] == b"BM" and (len(data) < 18 or data[14:18] in _DIB_HEADERS):
        return "BMP"
    return None


_DIB_HEADERS = {size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124)}


def ends_early(data: bytes, name: str) -> bool:
    """Whether a file of format `name` lacks its end marker, or is shorter than the length it declares."""
    tail = data[-_TAIL:]
    if name == "JPEG":
        return b"\xff\xd9" not in tail
    if name == "PNG":
        return b"IEND" not in tail
    if name == "GIF":
        return not data.rstrip(b"\x00").endswith(b";")
    if name == "WEBP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    if name == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little") or len(data) < 18
    if name in ("AVIF", "HEIF"):
        return _boxes_end(data) > len(data)
    if name == "TIFF":
        return _tiff_end(data) > len(data)
    return False


def _box_end(data: bytes, start: int) -> int:
    """The end of the ISO box at `start`; past the data if its header is cut off. Size 0 means "to the end"."""
    header = data[start : start + 16]
    if len(header) < 8:
        return start + 8
    size = int.from_bytes(header[:4], "big")
    if size == 1:
        size = int.from_bytes(header[8:16], "big")
    return start + max(size, 8) if size else max(len(data), start + 8)


def _boxes_end(data: bytes) -> int:
    end = 0
    for _ in range(_MOST_BOXES):
        if end >= len(data):
            break
        end = _box_end(data, end)
    return end


# Bytes of a value of each TIFF field type (TIFF 6.0 section 2), and the tags with the positions of the pixels:
# StripOffsets with StripByteCounts, TileOffsets with TileByteCounts.
_TIFF_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_PIXELS = ((273, 279), (324, 325))
_TIFF_POSITIONS = {tag for pair in _TIFF_PIXELS for tag in pair}


def _tiff_end(data: bytes) -> int:
    """The end of a classic TIFF according to its first directory. 0 for BigTIFF, which is left to Pillow."""
    order = "<" if data[:1] == b"I" else ">"
    if data[2:4] not in (b"*\x00", b"\x00*"):
        return 0
    if len(data) < 8:
        return 8
    start = int.from_bytes(data[4:8], "little" if order == "<" else "big")
    if start + 2 > len(data):
        return start + 2
    (count,) = struct.unpack_from(order + "H", data, start)
    end = start + 2 + 12 * count + 4
    if end > len(data):
        return end
    numbers: dict[int, NDArray[np.int64]] = {}
    for entry in range(start + 2, end - 4, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", data, entry)
        size = _TIFF_TYPES.get(kind, 1) * length
        at = entry + 8 if size <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
        end = max(end, at + size)
        if kind in (3, 4) and tag in _TIFF_POSITIONS - set(numbers) and at + size <= len(data):
            # numpy, because a hostile directory may declare millions of strips.
            numbers[tag] = np.frombuffer(data, f"{order}u{_TIFF_TYPES[kind]}", length, at).astype(np.int64)
    for offsets, sizes in _TIFF_PIXELS:
        strips = min(len(numbers.get(offsets, ())), len(numbers.get(sizes, ())))
        if strips:
            end = max(end, int((numbers[offsets][:strips] + numbers[sizes][:strips]).max()))
    return end
