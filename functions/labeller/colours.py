"""Convert a picture of any Pillow mode to 8-bit RGB of the target size: steps 4 and 5 of `images`."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# 0..65535 -> 0..255: 65535 / 257 = 255 exactly, so white stays white. Pillow's own conversion clips at 255.
_GREY16 = np.round(np.arange(65536) / 257).astype(np.uint8)


def shrink(image: Image.Image, name: str, target: tuple[int, int]) -> Image.Image:
    """`image`, decoded from a file of format `name`, as RGB and resized to `target` = (width, height)."""
    if image.mode in ("I", "F"):
        values = np.asarray(image.resize(target, Image.Resampling.BILINEAR))
        return Image.fromarray(_stretch(values)).convert("RGB")
    return _on_white(_eight_bit(image, name).resize(target, Image.Resampling.BILINEAR))


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    """The picture in mode L, RGB, RGBX or RGBA, which the resize filter handles correctly."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(_GREY16[np.asarray(image)])
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode == "CMYK" and name == "JPEG" and "adobe" not in image.info:
        # Adobe's files store inverted inks, and Pillow inverts every CMYK JPEG. Files without Adobe's marker are not
        # inverted, so undo it.
        image = image.point(lambda ink: 255 - ink)
    if image.mode in ("L", "RGB", "RGBX"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _stretch(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey of 32-bit integers or floats as 8 bits. Such files do not declare their white: it is the first of 1
    (floats only), 255 and 65535 that no value exceeds; otherwise, or with negative values, the range is stretched."""
    grey = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    whites = (1.0, 255.0, 65535.0) if np.issubdtype(values.dtype, np.floating) else (255.0, 65535.0)
    white = next((white for white in whites if low >= 0 and high <= white), None)
    if white is None:
        grey, white = grey - low, (high - low) or 1.0
    return np.round(grey / white * 255).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image if image.mode == "RGB" else image.convert("RGB")  # which would copy one that is RGB
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white
