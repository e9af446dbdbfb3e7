"""Decode a JPEG, and leave out what a damaged one lacks.

libjpeg replaces what it cannot read by grey or misplaced blocks, and only warns. Pillow does not pass the warnings on.
simplejpeg's strict mode does, and gives the same pixels: both use libjpeg-turbo.
"""

import io

from PIL import Image, ImageFile

from labeller.jpeg_scan import has_hole, whole_part

# Pillow's mode of the file -> simplejpeg's colour space, the mode that needs no copy, and how Pillow reads the bytes:
# it inverts the inks of every CMYK JPEG.
_PIXELS = {"L": ("GRAY", "L", "L"), "RGB": ("RGBX", "RGBX", "RGBX"), "CMYK": ("CMYK", "CMYK", "CMYK;I")}
_MOST_COPIED = 50_000_000  # bytes
_END_OF_IMAGE = b"\xff\xd9"


class Damaged(Exception):
    """The JPEG is damaged. Nobody has looked yet how much of it is whole."""


def load(image: ImageFile.ImageFile, data: bytes, repair: bool) -> Image.Image:
    """The pixels of `image`, which was opened from the JPEG `data`, in its current (reduced) size.

    In mode L, RGB, RGBX or CMYK. A nearly whole JPEG comes without the rows that are missing at its end. Raises
    ValueError if more is missing, and Pillow's errors; if not `repair`, Damaged for any damage.
    """
    try:
        pixels = _strictly_decoded(image, data)
        # Pillow has read up to the first scan.
        if image.fp is None or not has_hole(data, image.fp.tell()):
            return pixels
        problem = "a hole in the data is filled"
    except ValueError as error:  # an error or a warning
        # A marker that nobody knows is damage, not a format of its own.
        problem = str(error).replace("Unsupported marker", "Unexpected marker")
    if not repair:
        raise Damaged
    part = whole_part(data)
    if part is None:
        raise ValueError(problem)
    # Pillow, because simplejpeg refuses a header with a warning even if it is not strict.
    image.fp = io.BytesIO(data[: part.end] + _END_OF_IMAGE)
    image.load()
    return image.crop((0, 0, image.width, max(1, part.rows * image.height // part.height)))


def _strictly_decoded(image: Image.Image, data: bytes) -> Image.Image:
    from simplejpeg import decode_jpeg  # here, so that a cold start for another format does not load it

    space, mode, raw = _PIXELS[image.mode]
    # The smallest size of at least this is the one that Pillow chose.
    array = decode_jpeg(data, space, min_width=image.width, min_height=image.height, strict=True)
    # The filter that resizes takes a third less time for three channels than for four, which pays for a copy.
    if mode == "RGBX" and array.nbytes <= _MOST_COPIED:
        pixels = Image.frombytes("RGB", (array.shape[1], array.shape[0]), array, "raw", raw, 0, 1)
    else:
        pixels = Image.frombuffer(mode, (array.shape[1], array.shape[0]), array, "raw", raw, 0, 1)
    pixels.info = image.info
    return pixels
