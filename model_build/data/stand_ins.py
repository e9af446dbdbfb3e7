"""Stand-ins for strangers: pictures of none of the labels that a build can make by itself.

Drawn ones are what platforms receive besides photographs: blank pages, noise, text, screenshots, drawings. Scrambled
ones have the colours and textures of photographs with labels, in 16 squares in random order, so that nothing is whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from labeller.images import Unreadable
from model_build.data.dataset import Example
from model_build.data.reader import read

DRAWN_OF_A_KIND = 12
SCRAMBLED = 64
"""Pictures, at most: with the drawn ones, seconds of a build."""

SEED = 1406
SQUARES = 4
"""Squares of a scrambled picture in a row and in a column."""

SYLLABLES = ("an", "be", "co", "da", "el", "fi", "gra", "ho", "in", "ka", "lo", "mu", "ne", "or", "pa", "re", "si")

Colour = tuple[int, int, int]


def _blank(side: int, random: Random) -> Image.Image:
    colour = random.choice([(0, 0, 0), (255, 255, 255), _colour(random), _colour(random)])
    return Image.new("RGB", (side, side), colour)


def _noise(side: int, random: Random) -> Image.Image:
    generator, block = np.random.default_rng(random.getrandbits(32)), random.choice([1, 1, 2, 4, 16])
    shape = (-(-side // block), -(-side // block), random.choice([1, 3]))
    values = random.choice(
        [generator.integers(0, 256, shape), generator.normal(random.randint(60, 200), random.randint(8, 60), shape)]
    )
    pixels = np.broadcast_to(np.clip(values, 0, 255).astype(np.uint8), (*shape[:2], 3))
    return Image.fromarray(pixels.repeat(block, 0).repeat(block, 1)[:side, :side])


def _gradient(side: int, random: Random) -> Image.Image:
    first, last = np.array(_colour(random)), np.array(_colour(random))
    share = np.linspace(0, 1, side)[:, None, None]
    pixels = np.broadcast_to(first + (last - first) * share, (side, side, 3)).astype(np.uint8)
    return Image.fromarray(pixels if random.random() < 0.5 else pixels.swapaxes(0, 1))


def _text(side: int, random: Random) -> Image.Image:
    dark, light = (random.randint(0, 90),) * 3, (random.randint(225, 255),) * 3
    paper, ink = (light, dark) if random.random() < 0.8 else (dark, light)
    image = Image.new("RGB", (side, side), paper)
    _write(image, (side // 16, side // 16, side, side), ink, random)
    return image


def _screenshot(side: int, random: Random) -> Image.Image:
    image = Image.new("RGB", (side, side), _colour(random))
    pen = ImageDraw.Draw(image)
    for _ in range(random.randint(1, 3)):
        left, top = random.randint(0, side // 3), random.randint(0, side // 3)
        right, bottom = random.randint(side // 2, side), random.randint(side // 2, side)
        pen.rectangle((left, top, right, bottom), fill=(random.randint(235, 255),) * 3, outline=(120, 120, 120))
        pen.rectangle((left, top, right, top + side // 16), fill=_colour(random))
        _write(image, (left + side // 32, top + side // 10, right, bottom), (40, 40, 40), random)
        for number in range(random.randint(1, 4)):
            x, y = left + side // 32 + number * side // 8, bottom - side // 12
            pen.rounded_rectangle((x, y, x + side // 10, y + side // 20), side // 80, fill=_colour(random))
    return image


def _drawing(side: int, random: Random) -> Image.Image:
    image = Image.new("RGB", (side, side), random.choice([(255, 255, 255), _colour(random)]))
    pen, width = ImageDraw.Draw(image), max(1, side // random.randint(40, 100))
    for _ in range(random.randint(4, 14)):
        xs, ys = (sorted(random.choices(range(side), k=2)) for _ in range(2))
        box, fill, ink = (xs[0], ys[0], xs[1], ys[1]), random.choice([None, _colour(random)]), _colour(random)
        match random.choice(["ellipse", "rectangle", "polygon", "line", "arc"]):
            case "ellipse":
                pen.ellipse(box, fill=fill, outline=ink, width=width)
            case "rectangle":
                pen.rectangle(box, fill=fill, outline=ink, width=width)
            case "polygon":
                pen.polygon([(random.randrange(side), random.randrange(side)) for _ in range(3)], fill, ink, width)
            case "line":
                pen.line(box, fill=ink, width=width)
            case "arc":
                pen.arc(box, random.randint(0, 180), random.randint(181, 360), fill=ink, width=width)
    return image


DRAWN: Mapping[str, Callable[[int, Random], Image.Image]] = {
    "one colour": _blank,
    "gradient": _gradient,
    "noise": _noise,
    "text": _text,
    "screenshot": _screenshot,
    "drawing": _drawing,
}
"""Each kind by the name that the model card shows."""


def draw(folder: Path, side: int) -> dict[str, list[Example]]:
    """Write drawn stand-ins of `side` pixels to `folder`; returns the examples of each kind."""
    random = Random(SEED)  # noqa: S311  # pictures, not secrets
    return {
        kind: [_save(draw_one(side, random), folder, f"{kind} {number}") for number in range(DRAWN_OF_A_KIND)]
        for kind, draw_one in DRAWN.items()
    }


def scramble(examples: Sequence[Example], folder: Path, side: int) -> list[Example]:
    """Write a scrambled copy of each readable example to `folder`; returns them, with the original's label."""
    copies = []
    for example in examples:
        with suppress(Unreadable):
            square = side // SQUARES
            pixels = read(example, square * SQUARES).pixels
            squares = pixels.reshape(SQUARES, square, SQUARES, square, 3).swapaxes(1, 2).reshape(-1, square, square, 3)
            order = list(range(len(squares)))
            Random(example.sha256).shuffle(order)  # noqa: S311
            mixed = squares[order].reshape(SQUARES, SQUARES, square, square, 3).swapaxes(1, 2)
            image = Image.fromarray(mixed.reshape(pixels.shape))
            copies.append(_save(image, folder, f"scrambled {example.sha256[:16]}", example.label))
    return copies


def _save(image: Image.Image, folder: Path, name: str, label: int = 0) -> Example:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    image.save(path, compress_level=1)
    return Example(path, label, hashlib.sha256(path.read_bytes()).hexdigest())


def _write(image: Image.Image, box: tuple[int, int, int, int], ink: Colour, random: Random) -> None:
    """Lines of random words within a box."""
    left, top, right, bottom = box
    size = max(6, image.width // random.randint(16, 40))
    font, pen = ImageFont.load_default(size), ImageDraw.Draw(image)
    for y in range(top, bottom - size, round(1.4 * size)):
        words = ["".join(random.choices(SYLLABLES, k=random.randint(1, 4))) for _ in range(random.randint(2, 14))]
        line = " ".join(words)
        while line and left + pen.textlength(line, font) > right:
            line = line[:-1]
        pen.text((left, y), line, ink, font)


def _colour(random: Random) -> Colour:
    return random.randrange(256), random.randrange(256), random.randrange(256)
