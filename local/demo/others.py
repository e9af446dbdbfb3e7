"""The demo's pictures of none of the labels: drawn ones, and photographs that lie beside the checkout."""

import io
import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw

PHOTOGRAPHS = 4
SIDE = 320  # pixels

_TEXT = "Dear Ms Lee,\nthank you for your order of 24 November.\nYour parcel leaves our warehouse today.\n"


def other_pictures(photographs: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each picture: a screenshot, a drawing, a blank page, noise; some of the folder's JPEGs, if
    it exists."""
    for name, image in (("screenshot", _page()), ("drawing", _shapes()), ("blank page", _blank()), ("noise", _noise())):
        content = io.BytesIO()
        image.save(content, "PNG")
        yield f"{name}.png", content.getvalue()
    files = sorted(photographs.glob("*.jpg"))
    for path in files[:: max(1, len(files) // PHOTOGRAPHS)][:PHOTOGRAPHS]:
        yield path.name, path.read_bytes()


def _blank() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), "white")


def _page() -> Image.Image:
    image = _blank()
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, SIDE, 28), fill=(60, 90, 150))
    for line in range(5):
        pen.multiline_text((16, 44 + 52 * line), _TEXT, fill=(30, 30, 30))
    return image


def _shapes() -> Image.Image:
    image, chance = _blank(), random.Random(15)  # noqa: S311  # a picture, not a secret
    pen = ImageDraw.Draw(image)
    for draw in (pen.ellipse, pen.rectangle) * 6:
        x, y, side = chance.randrange(SIDE - 80), chance.randrange(SIDE - 80), chance.randint(20, 80)
        draw((x, y, x + side, y + side), outline=(20, 20, 20), fill=(chance.randrange(256), 80, 200), width=3)
    return image


def _noise() -> Image.Image:
    return Image.frombytes("RGB", (SIDE, SIDE), random.Random(15).randbytes(3 * SIDE * SIDE))  # noqa: S311
