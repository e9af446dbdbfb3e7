"""Bytes -> RGB pixels. The one definition of decode and resize for training, calibration, verification
and serving: a network is only as good on a picture as that picture is like those it was trained on.

What a picture is turned into, in this order:

1. The format is recognised by content, among `signatures.SUPPORTED`. Of an animation the first frame counts.
2. The header's width x height is held against the limit before anything is decoded.
3. A JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8 (libjpeg's scaled DCT), never below twice
   the wanted size. A 12-megapixel photograph then takes a quarter of the time and memory.
4. CMYK, palettes, 16-bit grey and the rest become 8-bit grey or RGB. ICC profiles are not applied.
5. Squashed to the wanted size, whatever the aspect ratio, by Pillow's BILINEAR filter, which widens its
   support when shrinking (antialiasing). Transparent parts end up white.
6. Turned as the EXIF orientation says. Not so HEIF: its rotation is a part of the picture, which the decoder
   applies, and EXIF's is to be ignored (ISO/IEC 23008-12, 7.2.2). Pillow gives that of AVIF as EXIF's.

A JPEG or PNG that was cut off is read without what is missing while that is little (see _rows_read).
"""

from __future__ import annotations

import io
import re
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from labeller import signatures
from labeller.colours import shrink

# What registers the reader of each format. Imported when the first such file comes: a cold start that a JPEG
# caused needs not load the decoders of AVIF and HEIF. Image.open would import the five commonest at once.
_PLUGINS = {
    "JPEG": "PIL.JpegImagePlugin",
    "PNG": "PIL.PngImagePlugin",
    "WEBP": "PIL.WebPImagePlugin",
    "GIF": "PIL.GifImagePlugin",
    "BMP": "PIL.BmpImagePlugin",
    "TIFF": "PIL.TiffImagePlugin",
    "AVIF": "PIL.AvifImagePlugin",
    "HEIF": "pillow_heif",
}

# What Pillow 13 lets through for hostile bytes: its documented OSError and SyntaxError, and what its parsers
# trip over (while opening, ImageFile.__init__ turns some into SyntaxError; while loading, nothing does).
# AssertionError and AttributeError: its plugins assert, and read half-filled tags. A list, not `Exception`: a
# mistake of ours, a NameError say, must not be stored as the uploader's.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    AssertionError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)

# Above this many pixels only one picture is decoded at a time, whatever the number of threads. Decoded, and
# converted to another mode, 25 megapixels take up to 200 MB; ten pictures at the limit would not fit.
_LARGE = 25_000_000
_one_large_picture = threading.Lock()

# A progressive JPEG goes over its pixels once for each scan. Ten scans are usual, but a small file can hold
# thousands. This many pixels in all, 20 scans of the largest picture allowed, take about 3 s.
_MOST_SCANNED = 2_000_000_000

# A JPEG or PNG is nearly whole if at most this share of its rows is missing. A JPEG may lack one row of blocks (16
# pixels high, and 2 that the upsampling of colours holds back) if that is no more than a tenth: so much is lost
# when only the end marker is.
_MOST_MISSING = 0.05
_JPEG_BLOCKS, _MOST_BLOCKS_MISSING = 18, 0.1

# A reduced JPEG has at least this many times the wanted size, so that the filter still decides what is seen.
_DRAFT_MARGIN = 2

# EXIF orientation (tag 0x0112, EXIF 2.32 section 4.6.4) -> what makes the picture upright.
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)

_DETAIL_LENGTH = 200  # of what a decoder says, in characters


class Reason(StrEnum):
    """Why an object cannot be read as a picture. The values are stored in rows: do not rename them."""

    EMPTY = "EMPTY"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    TRUNCATED = "TRUNCATED"
    CORRUPT = "CORRUPT"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    UNSUPPORTED = "UNSUPPORTED"
    ARCHIVED = "ARCHIVED"  # in a storage class whose objects must be restored before they can be read
    ENCRYPTED = "ENCRYPTED"  # with a key that the function may not use


class Unreadable(Exception):
    """The object is no picture this service can read. A result, no failure: trying again changes nothing."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[Unreadable], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)  # lets it cross process pools, as the model build's do


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as the network sees it, and as its owner knows it."""

    pixels: NDArray[np.uint8]  # height x width x 3, RGB, C-contiguous, of the size asked for
    width: int  # of the original, in pixels, as displayed (after EXIF rotation)
    height: int
    format: str  # one of signatures.SUPPORTED


def decode(data: bytes, size: tuple[int, int], max_pixels: int) -> Decoded:
    """Decode `data` and squash it to `size` = (height, width), as 8-bit RGB.

    `max_pixels` limits width x height of the original. Pillow's own limit, twice Image.MAX_IMAGE_PIXELS
    (178,956,970), holds besides it. Raises Unreadable, and nothing else whatever the bytes are; its detail
    quotes nothing of them. May be called from several threads at once.
    """
    if not data:
        raise Unreadable(Reason.EMPTY, "the object has no content")
    name = signatures.identify(data)
    if name is None:
        raise Unreadable(Reason.NOT_AN_IMAGE, "the content starts like no known picture format")
    if name not in signatures.SUPPORTED:
        raise Unreadable(Reason.UNSUPPORTED, f"{name} is not among {', '.join(signatures.SUPPORTED)}")
    try:
        with _open(data, name) as image:
            _check_work(image, data, name, max_pixels)
            return _decode(image, name, size)
    except Image.DecompressionBombError as error:
        raise Unreadable(Reason.TOO_MANY_PIXELS, str(error)) from error
    except MemoryError as error:
        raise Unreadable(Reason.TOO_LARGE, "decoding takes more memory than there is") from error
    except _DECODER_ERRORS as error:
        raise _explain(error, data, name) from error


def _open(data: bytes, name: str) -> ImageFile.ImageFile:
    # Not Image.open: that swallows the cause of a failure, and the row is to tell what is wrong.
    return _reader(name)(io.BytesIO(data), "")


@cache
def _reader(name: str) -> Callable[[io.BytesIO, str], ImageFile.ImageFile]:
    plugin = import_module(_PLUGINS[name])
    if name == "HEIF":
        # No thumbnails: they may show something else than the picture, and it is the picture that is labelled.
        # One thread: several pictures are decoded at once already.
        plugin.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    factory, _ = Image.OPEN[name]
    return factory


def _check_work(image: ImageFile.ImageFile, data: bytes, name: str, max_pixels: int) -> None:
    """Raise Unreadable if decoding would take too much memory or time, by what the header says."""
    width, height = image.size
    limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
    if width * height > limit:
        raise Unreadable(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels, more than the limit of {limit}")
    scans = data.count(b"\xff\xda") if name == "JPEG" else 1  # "start of scan"; never within compressed data
    if scans * width * height > _MOST_SCANNED:
        raise Unreadable(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels in {scans} scans")


def _decode(image: ImageFile.ImageFile, name: str, size: tuple[int, int]) -> Decoded:
    width, height = image.size
    with _one_large_picture if width * height > _LARGE else nullcontext():
        whole = _load(image, name, _DRAFT_MARGIN * max(size))
        if name == "TIFF":
            width, height = whole.size  # Pillow turns TIFFs upright while loading
        orientation = 1 if name == "HEIF" else _orientation(image)
        swapped = orientation in _SWAPS_SIDES
        target = size if swapped else size[::-1]  # Pillow's sizes are (width, height)
        # Shrinking comes before turning: it costs nothing then, and the filter is the same in both directions.
        small = shrink(whole, name, target)
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    pixels = np.ascontiguousarray(np.asarray(small, dtype=np.uint8))
    return Decoded(pixels, *((height, width) if swapped else (width, height)), name)


def _load(image: ImageFile.ImageFile, name: str, side: int) -> Image.Image:
    """The decoded picture; one of a JPEG may be reduced, to no less than `side` x `side`, and one that was cut
    off lacks its last rows."""
    height = image.height
    if name == "JPEG":
        image.draft(None, (side, side))  # the same for both sides: it is not yet known whether they swap
    try:
        image.load()
    except OSError as error:
        rows = _rows_read(image, name, height) if "truncated" in str(error) else None
        if rows is None:
            raise
        image.tile = []  # nothing is left to decode, as far as Pillow is concerned
        return image.crop((0, 0, image.width, rows))
    return image


def _rows_read(image: ImageFile.ImageFile, name: str, height: int) -> int | None:
    """How many rows were decoded before the file ended, if that is nearly all of `height` rows (before any
    reduction); else None.

    Pillow leaves what was not decoded at zero, so rows that end the picture in pure black count as missing: in
    doubt a file is refused. Of a progressive JPEG no row is decoded before all of them are. Interlaced PNGs and
    the other formats spread what is missing, or cannot tell, and are refused.
    """
    if name not in ("JPEG", "PNG") or image.info.get("interlace"):
        return None
    box = image.im.getbbox()
    if box is None:
        return None
    missing = (image.height - box[3]) * height / image.height  # rows of the original
    blocks = min(_JPEG_BLOCKS, _MOST_BLOCKS_MISSING * height) if name == "JPEG" else 0
    return box[3] if missing <= max(_MOST_MISSING * height, blocks) else None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if there is none. A broken EXIF block does not make a picture unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _explain(error: BaseException, data: bytes, name: str) -> Unreadable:
    """Which reason a decoder's complaint stands for: cut off, a variant nobody supports, or damaged."""
    message = str(error).lower()
    # Decoders quote what they stumble over: a chunk's name, a number that is none. It is the uploader's, and
    # goes neither into the row nor into the log.
    said = re.sub(r"b?['\"].*|[^ -~]+", "...", str(error), flags=re.DOTALL)[:_DETAIL_LENGTH]
    detail = f"{name}: {said or type(error).__name__}"
    # "truncated" is in Pillow's own messages (ImageFile.load, _safe_read).
    if "truncated" in message or signatures.ends_early(data, name):
        return Unreadable(Reason.TRUNCATED, detail)
    if any(word in message for word in ("unsupported", "unknown pixel mode", "not supported")):
        return Unreadable(Reason.UNSUPPORTED, detail)
    return Unreadable(Reason.CORRUPT, detail)
