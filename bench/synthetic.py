"""Drawn pictures that show none of a model's labels: pages, screens, drawings, noise and plain colours."""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

SIDE = 320  # pixels

_WORDS = ("invoice", "total", "parcel", "meeting", "thank you", "order", "please reply", "until Friday", "street")


def draw(folder: Path, count: int) -> Path:
    """Write `count` PNG files of each kind, named by kind and number, always the same ones; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, paint in KINDS.items():
        for number in range(count):
            paint(Random(f"{kind} {number}")).save(folder / f"{kind} {number}.png")  # noqa: S311  no secret
    return folder


def _plain(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), colour)


def _colour(random: Random) -> tuple[int, int, int]:
    return random.randrange(256), random.randrange(256), random.randrange(256)


def _lines(pen: ImageDraw.ImageDraw, random: Random, left: int, top: int) -> None:
    for line in range(top, SIDE - 20, random.randint(14, 24)):
        pen.text((left, line), " ".join(random.choices(_WORDS, k=random.randint(3, 7))), fill=(30, 30, 30))


def _text(random: Random) -> Image.Image:
    image = _plain((255, 255, 255))
    _lines(ImageDraw.Draw(image), random, 16, 16)
    return image


def _screenshot(random: Random) -> Image.Image:
    """A window with a title, a list at the left and text beside it."""
    image = _plain((245, 245, 245))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, SIDE, 28), fill=_colour(random))
    pen.rectangle((0, 28, 90, SIDE), fill=(225, 228, 235))
    for row in range(random.randint(4, 9)):
        pen.rectangle((10, 40 + 26 * row, 80, 56 + 26 * row), fill=_colour(random))
    _lines(pen, random, 104, 44)
    return image


def _drawing(random: Random) -> Image.Image:
    image = _plain((255, 255, 255))
    pen = ImageDraw.Draw(image)
    for _ in range(random.randint(5, 14)):
        x, y, side = random.randrange(SIDE - 60), random.randrange(SIDE - 60), random.randint(20, 100)
        paint = random.choice([pen.ellipse, pen.rectangle])
        paint((x, y, x + side, y + side), outline=(20, 20, 20), fill=_colour(random), width=3)
        pen.line((x, y, random.randrange(SIDE), random.randrange(SIDE)), fill=(20, 20, 20), width=2)
    return image


def _noise(random: Random) -> Image.Image:
    grain = random.choice([1, 2, 4, 8])
    size = SIDE // grain
    return Image.frombytes("RGB", (size, size), random.randbytes(3 * size * size)).resize((SIDE, SIDE), 0)


def _blank(random: Random) -> Image.Image:
    """Paper: almost white, a little darker towards one side."""
    shade = Image.linear_gradient("L").rotate(random.choice([0, 90, 180, 270])).resize((SIDE, SIDE))
    return Image.merge("RGB", [shade.point(lambda value: 235 + value // 16)] * 3)


KINDS: Mapping[str, Callable[[Random], Image.Image]] = {
    "blank": _blank,
    "noise": _noise,
    "text": _text,
    "screenshot": _screenshot,
    "drawing": _drawing,
    "black": lambda _: _plain((0, 0, 0)),
    "white": lambda _: _plain((255, 255, 255)),
    "one colour": lambda random: _plain(_colour(random)),
}
"""How each kind is painted."""
