"""Recognise a file's format by its first bytes, and tell whether the file is cut off.

`images` decodes. This module explains why a file could not be decoded. It never uses the file name or the
Content-Type: the uploader chooses both.
"""

import re
from itertools import islice

from labeller import boxes, tiff
from labeller.metadata import jpeg_segments

# The formats that images.decode reads, by Pillow's names.
SUPPORTED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")

_RAW = "camera raw"
_OTHER_HEIF = "HEIF of another codec or layout"
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
    (b"II\xbc", "JPEG XR"),
    (b"8BPS", "PSD"),
    (b"gimp xcf", "XCF"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x02\x00\x01\x00", "CUR"),
    (b"icns", "ICNS"),
    (b"qoif", "QOI"),
    (b"v/1\x01", "EXR"),
    (b"#?RADIANCE", "HDR"),
    (b"#?RGBE", "HDR"),
    (b"DDS ", "DDS"),
    (b"BPG\xfb", "BPG"),
    (b"FLIF", "FLIF"),
    (b"farbfeld", "farbfeld"),
    (b"\x8aMNG\r\n\x1a\n", "MNG"),
    (b"\x8bJNG\r\n\x1a\n", "JNG"),
    (b"SDPX", "DPX"),
    (b"XPDS", "DPX"),
    (b"SIMPLE  =", "FITS"),
    (b"AT&TFORM", "DjVu"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"/* XPM */", "XPM"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"\x97JB2\r\n\x1a\n", "JBIG2"),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"IIRO", _RAW),  # Olympus ORF, three kinds
    (b"IIRS", _RAW),
    (b"MMOR", _RAW),
    (b"IIU\x00", _RAW),  # Panasonic RW2
    (b"II\x1a\x00\x00\x00HEAPCCDR", _RAW),  # Canon CRW
    (b"\x00MRM", _RAW),  # Minolta
    (b"FOVb", _RAW),  # Sigma X3F
)
_AT_OFFSETS = ((40, b" EMF", "EMF"), (128, b"DICM", "DICOM"), (-18, b"TRUEVISION-XFILE.\x00", "TGA"))
# Patterns are atomic or of fixed length, so that no content takes long.
_PATTERNS = (
    (re.compile(rb"P[1-6]\s+[\d#]|P7\n|P[Ff]\n"), "PNM"),
    (re.compile(rb"\x0a[\x00\x02-\x05]\x01[\x01\x02\x04\x08]"), "PCX"),
    (re.compile(rb"\x01\xda[\x00\x01][\x01\x02]"), "SGI"),
    # After a byte order mark, XML declaration, comments and document type.
    (
        re.compile(
            rb"(?:\xef\xbb\xbf)?(?>\s|<\?.*?\?>|<!--.*?-->|<!DOCTYPE\s+svg[^\[>]*(?:\[.*?\]\s*)?>)*+<(?:[\w.-]++:)?svg[\s>/]",
            re.DOTALL | re.IGNORECASE,
        ),
        "SVG",
    ),
    # TGA's first version has no signature: kinds of colour map and picture, map, origin, sides, bits, two zero bits.
    (
        re.compile(
            rb".(?:\x00[\x02\x03\x0a\x0b]\x00{5}|\x01[\x01\x09].{4}[\x0f\x10\x18\x20]).{4}"
            rb"(?!\x00\x00)..(?!\x00\x00)..[\x08\x0f\x10\x18\x20][\x00-\x3f]",
            re.DOTALL,
        ),
        "TGA",
    ),
)
_HEAD = 2**16  # bytes at the start in which an SVG must begin; a licence may stand before it
# Markers of a JPEG's frame (ITU-T T.81, table B.1; T.87) -> what its decoder does not know, or, with arithmetic coding,
# does not notice the damage of. No browser shows these.
_FRAMES = (
    dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC3), "JPEG")
    | dict.fromkeys((0xC5, 0xC6, 0xC7), "hierarchical JPEG")
    | dict.fromkeys((*range(0xC9, 0xCC), *range(0xCD, 0xD0)), "JPEG with arithmetic coding")
    | {0xF7: "JPEG-LS"}
)
_DEEP = (12, 16)  # bits of a sample
_MOST_SEGMENTS = 1000
# Brands of ISO base media files (ISO/IEC 23008-12 annex B for HEIF, the AV1 image format for AVIF). mif1 and msf1
# mean HEIF with any codec, so AVIF files carry them too.
_BRANDS = (
    {b"avif": "AVIF", b"avis": "AVIF", b"crx ": _RAW, b"mif3": _OTHER_HEIF}
    | dict.fromkeys(
        (b"jpeg", b"jpgs", b"avci", b"avcs", b"vvic", b"vvis", b"evbi", b"evbs", b"j2ki", b"j2is"), _OTHER_HEIF
    )
    | dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"), "HEIF"
    )
)
_TAIL = 4096  # bytes at the end that are searched for an end marker: cameras append small trailers after it


def identify(data: bytes) -> str | None:
    """The picture format by the first bytes: a name in SUPPORTED or of an unsupported format. None if unknown."""
    for start, name in _STARTS:
        if data.startswith(start):
            return (
                _identify_jpeg(data) if name == "JPEG" else _RAW if name == "TIFF" and tiff.is_preview(data) else name
            )
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _identify_boxes(data)
    # Text may start with "BM" too, so the size of the DIB header that follows is checked as well.
    if data[:2] == b"BM" and (len(data) < 18 or data[14:18] in _DIB_HEADERS):
        return "BMP"
    for offset, content, name in _AT_OFFSETS:
        if data[offset:].startswith(content):
            return name
    head = data[:_HEAD]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", "ignore").encode()
    return next((name for pattern, name in _PATTERNS if pattern.match(head)), None)


def _identify_jpeg(data: bytes) -> str:
    for kind, start, _ in islice(jpeg_segments(data), _MOST_SEGMENTS):
        if kind in _FRAMES:
            return "JPEG of more than 8 bits" if int.from_bytes(data[start + 4 : start + 5]) in _DEEP else _FRAMES[kind]
    return "JPEG"  # the decoder will say what is wrong


def _identify_boxes(data: bytes) -> str | None:
    brands = (data[8:12], *(data[i : i + 4] for i in range(16, min(boxes.box_end(data, 0), 64), 4)))
    names = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    first = next(iter(names), None)
    return "AVIF" if first == "HEIF" and "AVIF" in names else first


def is_unsupported(data: bytes, name: str) -> bool:
    """Whether the pixels of a file of format `name` are coded in a way that no decoder here knows."""
    if name == "TIFF":
        return tiff.is_unsupported(data)
    if name not in _CODECS:
        return False
    items = set(_ITEM.findall(data))
    return _CODECS[name] not in items and (bool(items & _ALL_CODECS) or (not items and b"moov" in data))


# The codec that each container's decoder knows, and all that ISO/IEC 23008-12 and 23001-17 name as types of items.
_CODECS = {"HEIF": b"hvc1", "AVIF": b"av01"}
_ALL_CODECS = {b"hvc1", b"hev1", b"lhv1", b"av01", b"avc1", b"jpeg", b"j2k1", b"vvc1", b"evc1", b"unci"}
_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(.{4})", re.DOTALL)

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
        return boxes.end(data) > len(data)
    if name == "TIFF":
        return tiff.end(data) > len(data)
    return False
