"""Bytes -> RGB pixels: the one definition of decode and resize for training, calibration, verification and serving.

The steps, in this order:

1. Recognise the format by content, among `signatures.SUPPORTED`. An animation is represented by its first frame.
2. Check the header's width x height against the limit before decoding.
3. Decode a JPEG much larger than needed at 1/2, 1/4 or 1/8 (libjpeg's scaled DCT), but not below twice the target
   size. A 12-megapixel photograph then takes a quarter of the time and memory.
4. Convert CMYK, palettes, 16-bit grey and other modes to 8-bit grey or RGB. ICC profiles are not applied.
5. Resize to the target size, ignoring the aspect ratio, with Pillow's BILINEAR filter, which widens its support when
   shrinking (antialiasing). Transparent parts become white.
6. Rotate by the EXIF orientation. Except HEIF: its decoder applies the file's own rotation, and EXIF's must be ignored
   (ISO/IEC 23008-12, 7.2.2). Pillow reports AVIF's own rotation as EXIF's.

A truncated JPEG or PNG is read without its missing rows if they are few (see _rows_read).
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

# The module that registers each format's reader. It is imported with the first such file, so that a cold start for a
# JPEG does not load the decoders of AVIF and HEIF. Image.open would import the five most common ones at once.
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

# Exceptions that Pillow 13 raises for invalid or hostile bytes: the documented OSError and SyntaxError, and those of
# its parsers (ImageFile.__init__ turns some into SyntaxError while opening, but none while loading). AssertionError and
# AttributeError: its plugins assert, and read incomplete tags. A list and not `Exception`: an error of ours, such as a
# NameError, must not be recorded as a damaged upload.
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

# Larger pictures (in pixels) are decoded one at a time, whatever the number of threads. Decoded and converted to
# another mode, 25 megapixels take up to 200 MB; ten pictures at the limit would not fit into memory.
_LARGE = 25_000_000
_one_large_picture = threading.Lock()

# Decoding a progressive JPEG takes one pass over all pixels for each scan. Ten scans are usual, but a small file can
# have thousands. This limit of pixels x scans, 20 scans of the largest allowed picture, takes about 3 s.
_MAX_SCANNED_PIXELS = 2_000_000_000

# The largest share of missing rows with which a JPEG or PNG is still read. A JPEG may lack one row of blocks (16 pixels
# high, plus 2 that chroma upsampling holds back) if that is at most a tenth: a missing end marker alone costs as much.
_MAX_MISSING = 0.05
_JPEG_BLOCK_ROWS, _MAX_BLOCKS_MISSING = 18, 0.1

# A reduced JPEG has at least this multiple of the target size, so that the resize filter still determines the result.
_DRAFT_MARGIN = 2

# EXIF orientation (tag 0x0112, EXIF 2.32 section 4.6.4) -> the operation that makes the picture upright.
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

_DETAIL_LENGTH = 200  # characters of a decoder's message


class Reason(StrEnum):
    """The reason why an object cannot be read as a picture. The values are stored in rows: do not rename them."""

    EMPTY = "EMPTY"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    TRUNCATED = "TRUNCATED"
    CORRUPT = "CORRUPT"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    UNSUPPORTED = "UNSUPPORTED"
    ARCHIVED = "ARCHIVED"  # in a storage class that requires a restore before reading
    ENCRYPTED = "ENCRYPTED"  # with a key that the function may not use


class Unreadable(Exception):
    """The object is not a readable picture. This is a result and not a failure: a retry would not change it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[Unreadable], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)  # makes it picklable, for the model build's process pools


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture at the network's size, and its original size and format."""

    pixels: NDArray[np.uint8]  # [height, width, 3] of the target size, RGB, C-contiguous
    width: int  # of the original, in pixels, as displayed (after EXIF rotation)
    height: int
    format: str  # one of signatures.SUPPORTED


def decode(data: bytes, size: tuple[int, int], max_pixels: int) -> Decoded:
    """Decode `data` and resize it to `size` = (height, width), as 8-bit RGB. Thread-safe.

    `max_pixels` limits width x height of the original; Pillow's own limit, twice Image.MAX_IMAGE_PIXELS (178,956,970),
    applies too. Raises Unreadable, and nothing else for any bytes; its detail quotes none of them.
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
    # Not Image.open, which hides the cause of a failure: the row records it.
    return _reader(name)(io.BytesIO(data), "")


@cache
def _reader(name: str) -> Callable[[io.BytesIO, str], ImageFile.ImageFile]:
    plugin = import_module(_PLUGINS[name])
    if name == "HEIF":
        # No thumbnails: they may differ from the picture. One thread: several pictures are decoded at once already.
        plugin.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    factory, _ = Image.OPEN[name]
    return factory


def _check_work(image: ImageFile.ImageFile, data: bytes, name: str, max_pixels: int) -> None:
    """Raise Unreadable if decoding would take too much memory or time, according to the header."""
    width, height = image.size
    limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
    if width * height > limit:
        raise Unreadable(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels, more than the limit of {limit}")
    scans = data.count(b"\xff\xda") if name == "JPEG" else 1  # "start of scan"; never within compressed data
    if scans * width * height > _MAX_SCANNED_PIXELS:
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
        # Resizing comes before rotating: it is then cheap, and the filter is the same in both directions.
        small = shrink(whole, name, target)
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    pixels = np.ascontiguousarray(np.asarray(small, dtype=np.uint8))
    return Decoded(pixels, *((height, width) if swapped else (width, height)), name)


def _load(image: ImageFile.ImageFile, name: str, side: int) -> Image.Image:
    """The decoded picture. A JPEG may be reduced, to at least `side` x `side`; a truncated file lacks its last rows."""
    height = image.height
    if name == "JPEG":
        image.draft(None, (side, side))  # both sides: whether they swap is not known yet
    try:
        image.load()
    except OSError as error:
        rows = _rows_read(image, name, height) if "truncated" in str(error) else None
        if rows is None:
            raise
        image.tile = []  # tells Pillow that nothing is left to decode
        return image.crop((0, 0, image.width, rows))
    return image


def _rows_read(image: ImageFile.ImageFile, name: str, height: int) -> int | None:
    """The number of rows decoded before the file ended, if nearly all of `height` (before any reduction); else None.

    Pillow leaves missing rows at zero, so black rows at the end count as missing: in doubt a file is rejected. A
    progressive JPEG has no complete row before its last scan. Interlaced PNGs and other formats spread the missing
    data over the picture, or do not report it, and are rejected.
    """
    if name not in ("JPEG", "PNG") or image.info.get("interlace"):
        return None
    box = image.im.getbbox()
    if box is None:
        return None
    missing = (image.height - box[3]) * height / image.height  # rows of the original
    blocks = min(_JPEG_BLOCK_ROWS, _MAX_BLOCKS_MISSING * height) if name == "JPEG" else 0
    return box[3] if missing <= max(_MAX_MISSING * height, blocks) else None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 without one. A damaged EXIF block does not make a picture unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _explain(error: BaseException, data: bytes, name: str) -> Unreadable:
    """The reason behind a decoder's error: truncated, an unsupported variant, or damaged."""
    message = str(error).lower()
    # Decoders quote the invalid bytes, such as a chunk's name. Uploaded content goes neither into the row nor the log.
    text = re.sub(r"b?['\"].*|[^ -~]+", "...", str(error), flags=re.DOTALL)[:_DETAIL_LENGTH]
    detail = f"{name}: {text or type(error).__name__}"
    # "truncated" is in Pillow's own messages (ImageFile.load, _safe_read).
    if "truncated" in message or signatures.ends_early(data, name):
        return Unreadable(Reason.TRUNCATED, detail)
    if any(word in message for word in ("unsupported", "unknown pixel mode", "not supported")):
        return Unreadable(Reason.UNSUPPORTED, detail)
    return Unreadable(Reason.CORRUPT, detail)
