"""Drawn pictures of two classes, for machines without photographs: landscapes by day and by night.

They show that the system works; their accuracy says nothing about photographs. Day and night differ in brightness and
colour, so that even a network with random weights tells most of them apart.
"""

import io
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("day", "night")
COUNTS = {"train": 80, "validation": 40, "test": 40}
SIDE = 160  # pixels; about half of the demo's photographs

Colour = tuple[int, int, int]
SKIES: dict[str, tuple[Colour, Colour]] = {  # top, horizon
    "day": ((90, 150, 225), (215, 230, 245)),
    "night": ((15, 18, 45), (60, 60, 105)),
}
GROUNDS: dict[str, Colour] = {"day": (95, 145, 70), "night": (30, 45, 40)}
DISCS: dict[str, Colour] = {"day": (255, 225, 120), "night": (225, 225, 210)}


def draw(label: str, chance: random.Random) -> Image.Image:
    """One picture, RGB: a sky with sun or moon above two hills, with random colours and positions."""
    top, horizon = (_vary(colour, chance) for colour in SKIES[label])
    image = Image.new("RGB", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    for y in range(SIDE):
        share = y / SIDE
        pen.line((0, y, SIDE, y), tuple(round(a + (b - a) * share) for a, b in zip(top, horizon, strict=True)))
    if label == "night":
        for _ in range(chance.randint(10, 40)):
            pen.point((chance.randrange(SIDE), chance.randrange(SIDE // 2)), (240, 240, 230))
    x, y, radius = chance.randrange(SIDE), chance.randrange(SIDE // 2), chance.randint(8, 20)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=DISCS[label])
    for _ in range(2):
        x, y, radius = chance.randrange(SIDE), chance.randint(SIDE // 2, SIDE), chance.randint(60, 140)
        pen.ellipse((x - radius, y, x + radius, y + 2 * radius), fill=_vary(GROUNDS[label], chance))
    return image.filter(ImageFilter.GaussianBlur(chance.uniform(0, 1)))


def draw_picture(number: int, file_format: str) -> bytes:
    """Picture `number`, encoded; even numbers are day, odd ones night."""
    content = io.BytesIO()
    draw(CLASSES[number % len(CLASSES)], random.Random(number)).save(content, file_format)  # noqa: S311
    return content.getvalue()


def draw_dataset(root: Path, counts: dict[str, int] = COUNTS, seed: int = 7) -> Path:
    """Write a data set of drawn pictures, `root/<split>/<label>/NNN.jpg`; returns `root`."""
    chance = random.Random(seed)  # noqa: S311  # pictures, not secrets
    for split, count in counts.items():
        for label in CLASSES:
            folder = root / split / label
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                draw(label, chance).save(folder / f"{index:03}.jpg", quality=90)
    return root


def _vary(colour: Colour, chance: random.Random) -> Colour:
    red, green, blue = (min(255, max(0, value + chance.randint(-30, 30))) for value in colour)
    return red, green, blue
