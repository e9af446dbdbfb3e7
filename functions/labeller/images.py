"""Decode bytes to RGB pixels: the one decode and resize for training, calibration, verification and serving.

The steps, in this order:

1. Recognise the format by content, among `signatures.SUPPORTED`. The first frame of an animation counts. What the
   pixels do not need is left out (`metadata`).
2. Check the header's width x height, and the memory that pixels of this kind take, before decoding.
3. Decode a JPEG that is much larger than needed at 1/2, 1/4 or 1/8 (libjpeg's scaled DCT), never below nearly twice
   the target size. A 12-megapixel photograph then takes a quarter of the time and memory.
4. Convert CMYK, palettes, 16-bit grey and other modes to 8-bit grey or RGB.
5. Resize to the target size, ignoring the aspect ratio, with Pillow's BILINEAR filter, which antialiases.
   Transparent parts become white.
6. Rotate by the EXIF orientation, never by XMP's. Exception: the HEIF decoder has applied the file's own rotation,
   and EXIF's must be ignored (ISO/IEC 23008-12, 7.2.2). Pillow reports the rotation of AVIF as EXIF's.
7. Convert the small picture to sRGB, if the file's ICC profile says something else (see `icc`).

A PNG that lacks only a few rows at the end is decoded without them, a JPEG that is only a little damaged without what
is missing at its end (see `jpeg`).

What hostile bytes do to a decoder is bounded only by `decoder_process.decode`, for bytes of other people.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import import_module
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from labeller import boxes, icc, jpeg, signatures, tiff
from labeller.colours import shrink
from labeller.headers import first_frame, has_too_many_parts, sides
from labeller.metadata import without_metadata

# Pillow warns of odd metadata on stderr, which would reach the log.
warnings.filterwarnings("ignore", module=r"PIL\.")

# The module that registers each format's reader, imported with the first file of that format: a cold start for a
# JPEG does not load the decoders of AVIF and HEIF. Image.open would import five formats at once.
_PLUGINS = {
    "JPEG": "PIL.JpegImagePlugin",
    "PNG": "PIL.PngImagePlugin",
    "WEBP": "PIL.WebPImagePlugin",
    "GIF": "PIL.GifImagePlugin",
    "BMP": "PIL.BmpImagePlugin",
    "AVIF": "PIL.AvifImagePlugin",
    "HEIF": "pillow_heif",
}

# What Pillow 13 raises for hostile bytes: its documented OSError and SyntaxError, and errors of its parsers (while
# opening, ImageFile.__init__ turns some into SyntaxError; while loading, nothing does). Its plugins assert
# (AssertionError) and read half-filled tags (AttributeError). A list instead of `Exception`, so that an error of our
# own, such as a NameError, is not recorded as the uploader's.
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

# Memory for a picture's pixels, so that decoding takes at most 512 MB in all.
_MOST_MEMORY = 440_000_000  # bytes
# Bytes for a pixel, with all copies that decoder, conversion and resize make, measured at 25 megapixels. By format
# where the decoder takes most, else by Pillow's mode. Transparency means a copy as RGBA and one for the resize filter.
_FORMAT_BYTES = {"WEBP": 17.3, "AVIF": 12.3, "HEIF": 8.6}
_MODE_BYTES = {"1": 2.2, "L": 1.1, "P": 5.3, "I;16": 6.1, "I;16B": 6.1, "RGB": 4.3, "I": 4.3, "F": 4.3, "LA": 12.3}
_OTHER_MODES_BYTES = 8.3
_LONGEST_SIDE = 65_535

# The modes whose ICC profile is applied -> whether it is one of grey.
_PROFILED_MODES = dict.fromkeys(("RGB", "RGBA", "RGBX", "P", "PA"), False)
_PROFILED_MODES |= dict.fromkeys(("1", "L", "LA", "I;16", "I;16B"), True)

# Decoding a progressive JPEG passes over its pixels once for each scan. Ten scans are usual, but a small file can hold
# thousands. This total, 20 scans of the largest allowed picture, takes about 3 s.
_MOST_SCANNED = 2_000_000_000

# A PNG is nearly whole if at most this share of its rows is missing; for JPEGs see `jpeg_scan`.
_MOST_MISSING = 0.05

# A JPEG is decoded to at least this many times the target size, so that the resize filter decides the result. A quarter
# of a photograph of 12 megapixels (3,000 or 3,024 pixels high) is enough for 384 pixels, a half takes twice the time.
_DRAFT_MARGIN = 1.9

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

TOO_MUCH_MEMORY = "decoding takes more memory than is available"
_DETAIL_LENGTH = 200  # characters of a decoder's message


class Reason(StrEnum):
    """Why an object cannot be read as a picture. Rows store the values: do not rename them."""

    EMPTY = "EMPTY"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    TRUNCATED = "TRUNCATED"
    CORRUPT = "CORRUPT"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    UNSUPPORTED = "UNSUPPORTED"
    ARCHIVED = "ARCHIVED"  # in a storage class from which objects must be restored before reading
    ENCRYPTED = "ENCRYPTED"  # with a key that the function may not use
    TOO_COSTLY = "TOO_COSTLY"  # decoding takes more time or memory than one picture may
    DECODER_CRASHED = "DECODER_CRASHED"  # the decoder of its format ended without an answer


class Unreadable(Exception):
    """The object is not a picture that this service can read. A result, not a failure: retrying changes nothing."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[Self], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)  # makes it picklable for process pools


@dataclass(frozen=True, slots=True)
class Decoded:
    """The network's input, and the size and format of the original."""

    pixels: NDArray[np.uint8]  # height x width x 3, RGB, C-contiguous, of the requested size
    width: int  # of the original, in pixels, as displayed (after EXIF rotation)
    height: int
    format: str  # one of signatures.SUPPORTED


def decode(data: bytes, size: tuple[int, int], max_pixels: int, repair: bool = True) -> Decoded:
    """Decode `data` and resize it to `size` = (height, width), as 8-bit RGB.

    `max_pixels` limits width x height of the original, in addition to Pillow's own limit, twice
    Image.MAX_IMAGE_PIXELS (178,956,970). Raises only Unreadable, whatever the bytes are; its detail quotes none of
    them. Thread-safe.

    To see how much of a damaged JPEG is whole takes up to seconds. If not `repair`, it raises jpeg.Damaged instead.
    """
    if not data:
        raise Unreadable(Reason.EMPTY, "the object has no content")
    name = signatures.identify(data)
    if name is None:
        raise Unreadable(Reason.NOT_AN_IMAGE, "the first bytes are not those of a known picture format")
    if name not in signatures.SUPPORTED:
        raise Unreadable(Reason.UNSUPPORTED, f"{name} is not one of {', '.join(signatures.SUPPORTED)}")
    if has_too_many_parts(data, name):
        raise Unreadable(Reason.TOO_COSTLY, f"the {name} is in too many parts")
    if name == "WEBP":
        _check_memory(*sides(data, name), _FORMAT_BYTES[name])  # its decoder takes memory as soon as it is made
    try:
        # Not Image.open: it hides the cause of a failure, which the row must name.
        stream, profile = without_metadata(tiff.readable(data) if name == "TIFF" else data, name)
        with _reader(name)(stream, "") as image:
            image.info.pop("xmp", None)  # Pillow would turn the picture by XMP's orientation, as no browser does
            _check_work(image, stream, name, max_pixels)
            convert = _conversion(image, profile)
            decoded = _decode(image, stream, name, size, repair)
            return decoded if convert is None else replace(decoded, pixels=convert(decoded.pixels))
    except Image.DecompressionBombError as error:
        raise Unreadable(Reason.TOO_MANY_PIXELS, str(error)) from error
    except MemoryError as error:
        raise Unreadable(Reason.TOO_COSTLY, TOO_MUCH_MEMORY) from error
    except _DECODER_ERRORS as error:
        raise _explain(error, data, name) from error


@cache
def _reader(name: str) -> Callable[[io.BytesIO, str], ImageFile.ImageFile]:
    if name == "TIFF":
        from labeller.tiff_file import TiffFile

        return TiffFile
    try:
        plugin = import_module(_PLUGINS[name])
    except ModuleNotFoundError as error:
        if error.name != "pillow_heif":
            raise
        detail = "HEIF is not decoded here: the libraries layer was filled without it (make layer HEIC=0)"
        raise Unreadable(Reason.UNSUPPORTED, detail) from error
    if name == "HEIF":
        # No thumbnails: they may show something other than the picture to be labelled. One thread: several pictures are
        # decoded at once already.
        plugin.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    factory, _ = Image.OPEN[name]
    return factory


def _check_work(image: ImageFile.ImageFile, stream: io.BytesIO, name: str, max_pixels: int) -> None:
    """Raise Unreadable if, according to the header, decoding would take too much memory or time."""
    width, height = image.size
    limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
    if width * height > limit:
        raise Unreadable(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels, more than the limit of {limit}")
    _check_memory(width, height, _bytes_per_pixel(image, name))
    scans = _scans(image, stream) if name == "JPEG" else 1
    if scans * width * height > _MOST_SCANNED:
        raise Unreadable(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels in {scans} scans")


def _scans(image: ImageFile.ImageFile, stream: io.BytesIO) -> int:
    """How often decoding a JPEG passes over its pixels, at most."""
    # Pillow has read the header of the first scan. A sequential one of all components is the only one.
    components, data = len(image.getbands()), stream.getvalue()
    header = b"\xff\xda" + bytes([0, 6 + 2 * components, components])
    if "progressive" not in image.info and data.startswith(header, stream.tell() - 8 - 2 * components):
        return 1
    return data.count(b"\xff\xda")  # "start of scan"; never within compressed data


def _bytes_per_pixel(image: ImageFile.ImageFile, name: str) -> float:
    """The memory that decoding takes for a pixel of the original."""
    if name == "JPEG":
        # Decoded at reduced size. A progressive one has 2 bytes for each pixel and component meanwhile.
        return 2.1 * len(image.getbands()) if "progressive" in image.info else 0
    if name in _FORMAT_BYTES:
        return _FORMAT_BYTES[name]
    if "transparency" in image.info:
        return 12.3 if image.mode == "RGB" else 9.3
    turned = 4 if name == "TIFF" and _orientation(image) != 1 else 0  # Pillow makes a copy
    return _MODE_BYTES.get(image.mode, _OTHER_MODES_BYTES) + turned


def _check_memory(width: int, height: int, bytes_per_pixel: float) -> None:
    if max(width, height) > _LONGEST_SIDE:
        raise Unreadable(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels, more than {_LONGEST_SIDE} on a side")
    needed = width * height * bytes_per_pixel
    if needed > _MOST_MEMORY:
        detail = f"{width} x {height} pixels of this kind take {needed / 1e6:.0f} MB"
        raise Unreadable(Reason.TOO_MANY_PIXELS, f"{detail}, more than {_MOST_MEMORY / 1e6:.0f}")


def _conversion(image: ImageFile.ImageFile, profile: bytes) -> icc.Convert | None:
    """The conversion to sRGB that the ICC profile of the file demands, if any."""
    profile = profile or image.info.get("icc_profile") or b""
    if not isinstance(profile, bytes) or not 0 < len(profile) <= icc.LONGEST or image.mode not in _PROFILED_MODES:
        return None
    return icc.conversion(profile, is_grey=_PROFILED_MODES[image.mode])


def _decode(image: ImageFile.ImageFile, stream: io.BytesIO, name: str, size: tuple[int, int], repair: bool) -> Decoded:
    width, height = image.size
    if name == "JPEG":
        side = int(_DRAFT_MARGIN * max(size))
        image.draft(None, (side, side))  # one side for both: the EXIF orientation may swap them
        whole = jpeg.load(image, stream.getvalue(), repair)
    else:
        whole = _load(image, stream, name)
    if name in ("TIFF", "AVIF"):
        width, height = whole.size  # Pillow turns TIFFs upright while loading; an AVIF may show only a part
    orientation = 1 if name == "HEIF" else _orientation(image)
    swapped = orientation in _SWAPS_SIDES
    target = size if swapped else size[::-1]  # Pillow's sizes are (width, height)
    # Resize before rotating: rotating a small picture costs nothing, and the filter is symmetric.
    small = shrink(whole, name, target)
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    pixels = np.ascontiguousarray(np.asarray(small, dtype=np.uint8))
    return Decoded(pixels, *((height, width) if swapped else (width, height)), name)


def _load(image: ImageFile.ImageFile, stream: io.BytesIO, name: str) -> Image.Image:
    """The decoded picture of another format than JPEG. A damaged PNG lacks rows."""
    aperture = boxes.clean_aperture(stream.getvalue(), *image.size) if name == "AVIF" else None
    frame = image.tile[0][1] if name == "GIF" else first_frame(stream.getvalue()) if name == "WEBP" else None
    try:
        image.load()
    except OSError as error:
        rows = _rows_read(image) if name == "PNG" and "truncated" in str(error) else None
        if rows is None:
            raise
        image.tile = []  # tells Pillow that nothing is left to decode
        return image.crop((0, 0, image.width, rows))
    if frame not in (None, (0, 0, *image.size)) and not image.has_transparency_data:
        canvas = Image.new("RGB", image.size, "white")  # decoders fill it with any colour
        canvas.paste(image.crop(frame), frame)
        return canvas
    return image.crop(aperture) if aperture else image


def _rows_read(image: ImageFile.ImageFile) -> int | None:
    """The number of rows of a PNG decoded before the file ended if nearly all of its rows; else None.

    Pillow leaves missing pixels at zero, so pure black rows at the bottom count as missing: in doubt a file is refused.
    An interlaced PNG spreads the missing pixels, and is refused.
    """
    box = None if image.info.get("interlace") else image.im.getbbox()
    return box[3] if box and image.height - box[3] <= _MOST_MISSING * image.height else None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if absent. A broken EXIF block does not make a picture unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _explain(error: BaseException, data: bytes, name: str) -> Unreadable:
    """The reason behind a decoder's error: cut off, an unsupported variant, or damaged."""
    message = str(error).lower()
    # libheif calls counts above its limits, such as those of damaged files, "memory allocation error" too.
    if "memory" in message and "security limit" not in message:
        return Unreadable(Reason.TOO_COSTLY, TOO_MUCH_MEMORY)
    # Decoders quote the offending bytes, such as a chunk's name. They are the uploader's and must reach neither the row
    # nor the log.
    text = re.sub(r"b?['\"].*|[^ -~]+", "...", str(error), flags=re.DOTALL)[:_DETAIL_LENGTH]
    detail = f"{name}: {text or type(error).__name__}"
    # "truncated" is in Pillow's own messages (ImageFile.load, _safe_read).
    if "truncated" in message or signatures.ends_early(data, name):
        return Unreadable(Reason.TRUNCATED, detail)
    unsupported = any(word in message for word in ("unsupported", "unknown pixel mode", "not supported"))
    if unsupported or signatures.is_unsupported(data, name):
        return Unreadable(Reason.UNSUPPORTED, detail)
    return Unreadable(Reason.CORRUPT, detail)
