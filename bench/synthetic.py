"""Drawn pictures that show none of a model's labels: pages, screens, charts, codes, drawings, noise, plain colours."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

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


def _gradient(random: Random) -> Image.Image:
    """From one colour to another: along a side, or outwards."""
    shade = random.choice([Image.linear_gradient, Image.radial_gradient])("L").rotate(random.choice([0, 90, 180, 270]))
    return Image.composite(_plain(_colour(random)), _plain(_colour(random)), shade.resize((SIDE, SIDE)))


def _chart(random: Random) -> Image.Image:
    """Bars and a curve between axes, with a grid and captions."""
    image = _plain((255, 255, 255))
    pen, foot, bars = ImageDraw.Draw(image), SIDE - 40, random.randint(4, 10)
    for line in range(40, foot, 40):
        pen.line((40, line, SIDE - 10, line), fill=(225, 225, 225))
    pen.line((40, 30, 40, foot, SIDE - 10, foot), fill=(60, 60, 60), width=2)
    heights, width, colour = [random.randint(20, foot - 50) for _ in range(bars)], (SIDE - 60) // bars, _colour(random)
    for bar, height in enumerate(heights):
        left = 48 + bar * width
        pen.rectangle((left, foot - height, left + width - 8, foot), fill=colour)
        pen.text((left, foot + 8), random.choice(_WORDS)[:3], fill=(60, 60, 60))
    pen.line([(48 + bar * width, random.randint(50, foot)) for bar in range(bars)], fill=_colour(random), width=3)
    pen.text((90, 10), " ".join(random.choices(_WORDS, k=3)), fill=(30, 30, 30))
    return image


def _code(random: Random) -> Image.Image:
    """Black and white squares with a frame in three corners, as of a QR code, on a white border."""
    cells = random.choice([21, 25, 29, 33])
    code = Image.frombytes("L", (cells, cells), bytes(random.choice([0, 255]) for _ in range(cells * cells)))
    pen = ImageDraw.Draw(code)
    for left, top in ((0, 0), (cells - 7, 0), (0, cells - 7)):
        for inset, shade in enumerate((0, 255, 0)):
            pen.rectangle((left + inset, top + inset, left + 6 - inset, top + 6 - inset), fill=shade)
    image = _plain((255, 255, 255))
    image.paste(code.resize((SIDE - 60, SIDE - 60), 0), (30, 30))
    return image


def _scan(random: Random) -> Image.Image:
    """A printed page on a scanner: turned, grey, blurred, grainy."""
    page = _text(random).rotate(random.uniform(-4, 4), Image.Resampling.BICUBIC, fillcolor=(245, 245, 240))
    return _grainy(page.filter(ImageFilter.GaussianBlur(0.7)), random, 8, random.uniform(0.75, 0.95))


def _telephone(random: Random) -> Image.Image:
    """A dark chat: a bar, round pictures and speech bubbles."""
    image = _plain((24, 26, 32))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, SIDE, 40), fill=(40, 44, 54))
    pen.text((60, 14), random.choice(_WORDS), fill=(230, 230, 230))
    for row in range(4):
        mine, top, width = random.random() < 0.5, 54 + 64 * row, random.randint(110, 210)
        left = SIDE - width - 12 if mine else 52
        pen.rounded_rectangle((left, top, left + width, top + 46), 14, fill=(50, 110, 80) if mine else (58, 62, 74))
        pen.multiline_text((left + 10, top + 8), "\n".join(random.choices(_WORDS, k=2)), fill=(235, 235, 235))
        if not mine:
            pen.ellipse((10, top, 42, top + 32), fill=_colour(random))
    return image


def _clip_art(random: Random) -> Image.Image:
    """A house, a tree, a sun or a face, in flat colours with black outlines."""
    image = _plain(random.choice([(255, 255, 255), (200, 230, 250), (250, 240, 200)]))
    pen = ImageDraw.Draw(image)
    box, disc = (partial(paint, outline=(0, 0, 0), width=4) for paint in (pen.rectangle, pen.ellipse))
    for _ in range(random.randint(1, 3)):
        x, y, size = random.randint(20, 150), random.randint(60, 150), random.randint(70, 140)
        thing = random.choice(["house", "tree", "sun", "face"])
        if thing == "house":
            box((x, y, x + size, y + size), fill=_colour(random))
            pen.polygon(
                [(x - 12, y), (x + size // 2, y - size // 2), (x + size + 12, y)], _colour(random), (0, 0, 0), 4
            )
            box((x + size // 3, y + size // 2, x + size // 2, y + size), fill=_colour(random))
        elif thing == "tree":
            box((x + size // 3, y + size // 2, x + size // 2, y + size), fill=(120, 80, 40))
            disc((x, y - size // 3, x + size, y + size // 2), fill=(40, random.randint(120, 200), 60))
        else:
            disc((x, y, x + size, y + size), fill=(255, 220, 60))
            for eye in (1 / 3, 2 / 3) if thing == "face" else ():
                pen.ellipse((x + eye * size - 6, y + size / 3, x + eye * size + 6, y + size / 3 + 12), fill=(0, 0, 0))
                pen.arc((x + size // 4, y + size // 3, x + 3 * size // 4, y + 4 * size // 5), 20, 160, (0, 0, 0), 4)
    return image


def _checkerboard(random: Random) -> Image.Image:
    cells = random.choice([2, 4, 8, 16, 32])
    squares = Image.frombytes("L", (cells, cells), bytes(255 * ((i % cells + i // cells) % 2) for i in range(cells**2)))
    return Image.composite(_plain(_colour(random)), _plain(_colour(random)), squares.resize((SIDE, SIDE), 0))


def _low_light(random: Random) -> Image.Image:
    """What a camera records with its lens covered: almost black, with the sensor's noise."""
    return _grainy(_plain((90, 80, 85)), random, 60, random.uniform(0.1, 0.35))


def _bordered(random: Random) -> Image.Image:
    """One colour within a border of another."""
    image, edge = _plain(_colour(random)), random.randint(8, 60)
    image.paste(_plain(_colour(random)).crop((0, 0, SIDE - 2 * edge, SIDE - 2 * edge)), (edge, edge))
    return image


def _grainy(image: Image.Image, random: Random, sigma: float, light: float) -> Image.Image:
    """The picture under `light`, 0 to 1, with grain of about `sigma` levels before."""
    grain = Image.frombytes("RGB", image.size, random.randbytes(3 * SIDE * SIDE)).point(
        lambda value: round(128 + (value - 128) * sigma / 74)  # 74 is the deviation of bytes
    )
    return ImageChops.add(image, grain, offset=-128).point(lambda value: round(light * value))


KINDS: Mapping[str, Callable[[Random], Image.Image]] = {
    "blank": _blank,
    "noise": _noise,
    "text": _text,
    "screenshot": _screenshot,
    "drawing": _drawing,
    "black": lambda _: _plain((0, 0, 0)),
    "white": lambda _: _plain((255, 255, 255)),
    "one colour": lambda random: _plain(_colour(random)),
    "bordered": _bordered,
    "gradient": _gradient,
    "chart": _chart,
    "code": _code,
    "scan": _scan,
    "telephone": _telephone,
    "clip art": _clip_art,
    "checkerboard": _checkerboard,
    "low light": _low_light,
}
"""How each kind is painted."""
