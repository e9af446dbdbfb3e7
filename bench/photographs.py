"""Photographs as they come from S3, and as a camera makes them."""

import io
from pathlib import Path

from PIL import Image


def photographs(folder: Path, number: int) -> list[bytes]:
    """`number` files of `folder`, evenly spread over it."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return [path.read_bytes() for path in files[:: max(1, len(files) // number)][:number]]


def enlarged(photograph: bytes, megapixels: float) -> bytes:
    """The photograph as a JPEG of that many megapixels, 4:3."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(photograph)) as image:
        large = image.convert("RGB").resize((height * 4 // 3, height), Image.Resampling.BICUBIC)
    large.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
