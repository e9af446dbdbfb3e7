"""Tell from the structure of a file, without reading pixels, whether decoding it is sure to cost little."""

from collections.abc import Iterator
from itertools import islice

from labeller import tiff
from labeller.metadata import EXIF_TEXT, jpeg_segments, png_chunks

# Chunks, segments or strips. Encoders write a chunk of PNG every 8 KB, or one a row, which is at most 65,535.
_ORDINARY_PARTS = 10_000
_MOST_PARTS = 100_000
_SHORTEST_PART = 4  # bytes: a segment of a JPEG without content

# Pixels that take at most 250 MB (images.memory_of). A JPEG that is not progressive is decoded at reduced size.
_ORDINARY_PIXELS = {"JPEG": 100_000_000, "PNG": 20_000_000, "WEBP": 14_000_000}
_ORDINARY_PROGRESSIVE = 30_000_000
_PROGRESSIVE = b"\xc2"
# Pixels times scans of a JPEG, which each scan passes over: ten are usual of a progressive one.
_ORDINARY_SCANNED = 300_000_000
_SCAN = b"\xff\xda"
_FRAMES = [bytes([kind]) for kind in range(0xC0, 0xD0) if kind not in (0xC4, 0xC8, 0xCC)]  # ITU-T T.81, table B.1
# Arithmetic coding and other frames that nobody writes; animations, of which a decoder reads all frames.
_RARE = {*_FRAMES[3:], b"ANIM", b"ANMF"}

_EXIF = (b"\xe1", b"eXIf", b"EXIF", b"tEXt", b"zTXt")
# Pillow copies what the directory refers to, however often it refers to it.
_ORDINARY_EXIF = 2**20


def is_ordinary(data: bytes, name: str) -> bool:
    """Whether `data`, of format `name`, is a JPEG, PNG or WebP that is sure to be decoded in 1 s and 250 MB."""
    if name not in _ORDINARY_PIXELS:
        return False
    most = _ORDINARY_PIXELS[name]
    size = _png_sides(data) if name == "PNG" else None
    frame = end = 0
    for count, (kind, start, end) in enumerate(_parts(data, name)):
        if count == _ORDINARY_PARTS or kind in _RARE or (kind in _EXIF and _is_large_exif(data[start:end])):
            return False
        if kind == _PROGRESSIVE:
            most = _ORDINARY_PROGRESSIVE
        if kind in _FRAMES:
            frame = start
        size = size or _sides(data, kind, start)
    width, height = size or (0, 0)
    if name != "JPEG" or (most != _ORDINARY_PROGRESSIVE and _is_one_scan(data, frame, end)):
        return width * height <= most
    return width * height <= most and data.count(_SCAN, end) * width * height <= _ORDINARY_SCANNED


def _is_one_scan(data: bytes, frame: int, end: int) -> bool:
    """Whether the first scan of a sequential JPEG, at `end`, has all components of the frame at `frame`."""
    return data.startswith(_SCAN, end) and data[end + 4 : end + 5] == data[frame + 5 : frame + 6]


def has_too_many_parts(data: bytes, name: str) -> bool:
    """Whether the file is so fragmented that reading its parts, one by one, takes seconds."""
    if name == "TIFF":
        return tiff.strips(data) > _MOST_PARTS
    if len(data) < _SHORTEST_PART * _MOST_PARTS:
        return False
    return next(islice(_parts(data, name), _MOST_PARTS, None), None) is not None


def sides(data: bytes, name: str) -> tuple[int, int]:
    """Width and height in pixels according to the header of a JPEG, PNG or WebP; zeros if it has none."""
    if name == "PNG":
        return _png_sides(data)
    sizes = (_sides(data, kind, start) for kind, start, _ in _parts(data, name))
    return next(filter(None, sizes), (0, 0))


def first_frame(data: bytes) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the first frame of an animated WebP (RFC 9649, section 2.7.1.1), in pixels."""
    start = next((start for kind, start, _ in _parts(data, "WEBP") if kind == b"ANMF"), None)
    if start is None:
        return None
    left, top, width, height = (_little(data, start + offset, 3) for offset in (0, 3, 6, 9))
    return 2 * left, 2 * top, 2 * left + width + 1, 2 * top + height + 1


def _png_sides(data: bytes) -> tuple[int, int]:
    return _big(data, 16, 4), _big(data, 20, 4)


def _sides(data: bytes, kind: bytes, start: int) -> tuple[int, int] | None:
    """Width and height if this is the part that tells them."""
    if kind in _FRAMES:
        return _big(data, start + 3, 2), _big(data, start + 1, 2)
    if kind == b"VP8X":  # RFC 9649, sections 2.5 to 2.7
        return _little(data, start + 4, 3) + 1, _little(data, start + 7, 3) + 1
    if kind == b"VP8L":
        bits = _little(data, start + 1, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return _little(data, start + 6, 2) & 0x3FFF, _little(data, start + 8, 2) & 0x3FFF
    return None


def _parts(data: bytes, name: str) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each part, and where its content starts and ends."""
    if name == "JPEG":
        for number, start, end in jpeg_segments(data):
            yield bytes([number]), start + 4, end
    elif name == "PNG":
        yield from png_chunks(data)
    elif name == "WEBP":
        position = 12
        while position + 8 <= len(data):
            end = position + 8 + _little(data, position + 4, 4)
            yield data[position : position + 4], position + 8, end
            position = end + end % 2


def _is_large_exif(block: bytes) -> bool:
    if block.startswith(EXIF_TEXT):
        return True
    return len(block) > 2**16 or tiff.directory_bytes(block.removeprefix(b"Exif\0\0")) > _ORDINARY_EXIF


def _little(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "little")


def _big(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "big")
