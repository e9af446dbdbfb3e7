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
6. Turned as the EXIF orientation says.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

# Importing a plugin registers its format. Image.init() would do that too, by importing all forty of them.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from labeller import signatures

_PLUGINS = (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

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

# 0..65535 -> 0..255: 65535 / 257 = 255 exactly, so white stays white. Pillow's own conversion clips at 255.
_GREY16 = np.round(np.arange(65536) / 257).astype(np.uint8)


class Reason(StrEnum):
    """Why an object cannot be read as a picture. The values are stored in rows: do not rename them."""

    EMPTY = "EMPTY"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    TRUNCATED = "TRUNCATED"
    CORRUPT = "CORRUPT"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    UNSUPPORTED = "UNSUPPORTED"
    ARCHIVED = "ARCHIVED"  # in an archive class of S3, to be restored before it can be read
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
    (178,956,970), holds besides it. Raises Unreadable, and nothing else whatever the bytes are.
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
            return _decode(image, name, size, max_pixels)
    except Image.DecompressionBombError as error:
        raise Unreadable(Reason.TOO_MANY_PIXELS, str(error)) from error
    except MemoryError as error:
        raise Unreadable(Reason.TOO_LARGE, "decoding takes more memory than there is") from error
    except _DECODER_ERRORS as error:
        raise _explain(error, data, name) from error


def _open(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=(name,))
    except Image.UnidentifiedImageError:
        # Pillow swallows the cause. Ask the plugin itself, so that the row can tell what is wrong.
        factory, _ = Image.OPEN[name]
        return factory(io.BytesIO(data), "")


def _decode(image: Image.Image, name: str, size: tuple[int, int], max_pixels: int) -> Decoded:
    if image.width * image.height > max_pixels:
        raise Unreadable(
            Reason.TOO_MANY_PIXELS,
            f"{image.width} x {image.height} pixels, more than the limit of {max_pixels}",
        )
    width, height = image.size
    if name == "JPEG":
        side = _DRAFT_MARGIN * max(size)  # the larger one for both: it is not yet known whether sides swap
        image.draft(None, (side, side))
    image.load()
    if name == "TIFF":
        width, height = image.size  # Pillow turns TIFFs upright while loading
    orientation = _orientation(image)
    swapped = orientation in _SWAPS_SIDES
    target = size if swapped else size[::-1]  # Pillow's sizes are (width, height)
    # Shrinking comes before turning: it costs nothing then, and the filter is the same in both directions.
    small = _shrink(image, name, target)
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    pixels = np.ascontiguousarray(np.asarray(small, dtype=np.uint8))
    return Decoded(pixels, *((height, width) if swapped else (width, height)), name)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if there is none. A broken EXIF block does not make a picture unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _shrink(image: Image.Image, name: str, target: tuple[int, int]) -> Image.Image:
    """The picture at `target` = (width, height), as RGB."""
    if image.mode in ("I", "F"):
        values = np.asarray(image.resize(target, Image.Resampling.BILINEAR))
        return Image.fromarray(_stretch(values)).convert("RGB")
    return _on_white(_eight_bit(image, name).resize(target, Image.Resampling.BILINEAR))


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    """The picture in one of the modes L, RGB and RGBA, which the filter treats rightly."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(_GREY16[np.asarray(image)])
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "CMYK" and name == "JPEG" and "adobe" not in image.info:
        # Adobe's files hold inverted inks, and Pillow takes every CMYK JPEG for one of them. Those without
        # Adobe's marker are not inverted, so its inversion is taken back.
        image = ImageChops.invert(image)
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _stretch(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey of 32-bit integers or floats as 8 bits. Such files declare no white: it is 1 (floats only), 255 or
    65535, the first that no value exceeds; with other or negative values the whole range becomes 0..255."""
    grey = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    whites = (1.0, 255.0, 65535.0) if np.issubdtype(values.dtype, np.floating) else (255.0, 65535.0)
    white = next((white for white in whites if low >= 0 and high <= white), None)
    if white is None:
        grey, white = grey - low, (high - low) or 1.0
    return np.round(grey / white * 255).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _explain(error: BaseException, data: bytes, name: str) -> Unreadable:
    """Which reason a decoder's complaint stands for: cut off, a variant nobody supports, or damaged."""
    detail = f"{name}: {error or type(error).__name__}"
    # "truncated" is in Pillow's own messages (ImageFile.load, _safe_read).
    if "truncated" in str(error).lower() or signatures.ends_early(data, name):
        return Unreadable(Reason.TRUNCATED, detail)
    if any(word in str(error).lower() for word in ("unsupported", "unknown pixel mode", "not supported")):
        return Unreadable(Reason.UNSUPPORTED, detail)
    return Unreadable(Reason.CORRUPT, detail)
