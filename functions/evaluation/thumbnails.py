"""Pictures for pages: small JPEGs in data URIs."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL = 200  # pixels of the longer side


def thumbnail(pixels: NDArray[np.uint8], width: int, height: int) -> str:
    """A data URI of what the network received, scaled back to the proportions of the original picture.

    `pixels` is uint8 [H, W, 3] from images.decode, resized to the network's shape; `width` and `height` are the
    original's.
    """
    longest = max(width, height)
    size = (max(1, round(THUMBNAIL * width / longest)), max(1, round(THUMBNAIL * height / longest)))
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=75)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
