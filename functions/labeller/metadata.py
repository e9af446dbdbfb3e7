"""Leave out of a JPEG or PNG what its pixels do not need, before a decoder reads it.

Damaged, unusual or huge metadata then neither makes a picture unreadable nor costs time. The palette, transparency,
colour space and the EXIF block, which holds the orientation, remain. What is not understood is left to the decoder. The
ICC profile, which decoders need not see either, is for `icc`.
"""

import io
import re
import zlib
from collections.abc import Iterator

from labeller.icc import LONGEST

# PNG, third edition: a chunk whose name begins with a small letter is ancillary. The pixels need two of these, eXIf and
# tRNS. The first frame of an animation is the IDAT, so the animation's own chunks go as well.
_ANCILLARY = 0x20
# Colour type -> bytes of tRNS at least. Pillow refuses shorter ones, and more than 256 for a palette.
_SHORTEST_TRANSPARENCY = {0: 2, 2: 6, 3: 1}
_LONGEST_TRANSPARENCY = 256
_PALETTE = 3
EXIF_TEXT = b"Raw profile type exif\0"  # the EXIF block as ImageMagick wrote it before eXIf existed
_LONGEST_TEXT = 2**20  # bytes once inflated; Pillow refuses more

# ITU-T T.81, table B.1. A marker may be preceded by any number of 0xFF; 0xFF 0x00 is none. Restart markers and TEM have
# no length, and decoders skip those that are outside a scan.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_WITH_LENGTH = {*range(0xC0, 0xD0), *range(0xDB, 0xFF)}
_APPLICATION_OR_COMMENT = {*range(0xE0, 0xF0), 0xFE}
# The application segments that the pixels need: how the content begins, and the bytes that Pillow wants.
_NEEDED_SEGMENTS = {0xE0: (b"JFIF", 7), 0xE1: (b"Exif\0\0", 6), 0xEE: (b"Adobe", 7)}
_ICC = b"ICC_PROFILE\0"


def without_metadata(data: bytes, name: str) -> tuple[io.BytesIO, bytes]:
    """A JPEG or PNG without unneeded metadata, and its ICC profile; a file of another format as it is.

    The profile is empty if there is none, or if it is damaged or longer than icc.LONGEST.
    """
    profile: list[bytes] = []
    unneeded = _of_jpeg(data, profile) if name == "JPEG" else _of_png(data, profile) if name == "PNG" else iter(())
    first = next(unneeded, None)
    if first is None:
        return io.BytesIO(data), b""  # shares the bytes
    stream, view = io.BytesIO(), memoryview(data)
    stream.write(view[: first[0]])
    position = first[1]
    for start, end in unneeded:
        stream.write(view[position:start])
        position = end
    stream.write(view[position:])
    stream.seek(0)
    return stream, _profile(profile, name)


def _profile(parts: list[bytes], name: str) -> bytes:
    """The ICC profile in the ICC segments of a JPEG, or in the iCCP chunk of a PNG."""
    if not parts or sum(map(len, parts)) > LONGEST:
        return b""
    if name == "JPEG":  # each begins with its number, from 1, and the number of all; ICC.1:2022, annex B.4
        parts.sort()
        return b"".join(part[2:] for part in parts) if parts[-1][:1] == bytes([len(parts)]) else b""
    try:  # a name, a zero and the method
        return zlib.decompressobj().decompress(parts[0].partition(b"\0")[2][1:], LONGEST + 1)
    except zlib.error:
        return b""


def _of_png(data: bytes, profile: list[bytes]) -> Iterator[tuple[int, int]]:
    """The unneeded chunks, as (start, end). Of those of one name, the first is kept. Adds the first iCCP's content.

    As in libpng, an ancillary chunk with a wrong checksum counts as unneeded, and the checksum of no other one matters.
    """
    kept: set[bytes] = set()
    for chunk, start, end in png_chunks(data):
        if chunk[0] & _ANCILLARY or (chunk == b"PLTE" and data[25] != _PALETTE):  # elsewhere only suggested
            if chunk not in kept and end + 4 <= len(data) and _is_needed(data, chunk, start, end):
                kept.add(chunk)
            else:
                if chunk == b"iCCP" and not profile:
                    profile.append(data[start:end])
                yield start - 8, end + 4


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name of each chunk of a PNG, and where its content starts and ends, which may be after the data."""
    position = 8
    while position + 8 <= len(data) and (chunk := data[position + 4 : position + 8]).isalpha():
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        yield chunk, position + 8, end
        position = end + 4


def _is_needed(data: bytes, chunk: bytes, start: int, end: int) -> bool:
    """Whether the pixels need this ancillary chunk, whose content is data[start:end]."""
    if chunk == b"tRNS":
        shortest = _SHORTEST_TRANSPARENCY.get(data[25])  # colour type
        needed = shortest is not None and shortest <= end - start <= _LONGEST_TRANSPARENCY
    elif chunk in (b"tEXt", b"zTXt"):
        needed = data.startswith(EXIF_TEXT, start, end) and (chunk == b"tEXt" or _inflates(data, start, end))
    else:
        needed = chunk == b"eXIf"
    return needed and zlib.crc32(memoryview(data)[start - 4 : end]) == int.from_bytes(data[end : end + 4], "big")


def _inflates(data: bytes, start: int, end: int) -> bool:
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(data[start + len(EXIF_TEXT) + 1 : end], _LONGEST_TEXT)
    except zlib.error:
        return False
    return data[start + len(EXIF_TEXT)] == 0 and not inflater.unconsumed_tail


def _of_jpeg(data: bytes, profile: list[bytes]) -> Iterator[tuple[int, int]]:
    """The unneeded segments before the first scan, and what is between segments, as (start, end).

    Of several EXIF blocks, the first is kept. Adds the parts of the ICC profile.
    """
    position, has_exif = 2, False
    for kind, start, end in jpeg_segments(data):
        if start > position:
            yield position, start
        if kind in _APPLICATION_OR_COMMENT:
            begins, shortest = _NEEDED_SEGMENTS.get(kind, (b"", len(data)))
            needed = end - start - 4 >= shortest and data.startswith(begins, start + 4)
            is_exif = kind == 0xE1
            if needed and not (is_exif and has_exif):
                has_exif |= is_exif
            else:
                if kind == 0xE2 and data.startswith(_ICC, start + 4):
                    profile.append(data[start + 4 + len(_ICC) : end])
                yield start, end
        position = end


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The kind of each segment of a JPEG before its first scan, where its marker starts and where the segment ends."""
    position = 2
    while marker := _MARKER.search(data, position):
        start, kind = marker.start(), data[marker.start() + 1]
        if kind not in _WITH_LENGTH:
            return  # the first scan, or the decoder's to judge
        # libjpeg and Pillow take a length of 0 or 1 as 2, the least: the length includes itself.
        position = start + 2 + max(2, int.from_bytes(data[start + 2 : start + 4], "big"))
        yield kind, start, position
