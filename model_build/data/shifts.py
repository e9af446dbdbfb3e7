"""Changed copies of photographs: what other cameras, programs and web sites do to pictures (CHANGES); and copies that
have nothing left of what they show, as stand-ins for pictures of something else (DESTRUCTIONS).

Each picture has one copy, with one kind of change. Its content decides which, so that a set of pictures has all kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from random import Random

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from labeller.decoder_process import decode
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from model_build.data.folders import SECONDS

QUALITY = 90
"""Of the JPEG files that hold the copies, where quality is not what is changed."""


def _blur(image: Image.Image, _: Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(0.008 * max(image.size)))


def _border(image: Image.Image, random: Random) -> Image.Image:
    side = round(1.25 * max(image.size))
    return ImageOps.pad(image, (side, side), color=random.choice(["black", "white"]))


def _crop(image: Image.Image, random: Random) -> Image.Image:
    width, height = (max(1, round(random.uniform(0.55, 0.8) * side)) for side in image.size)
    left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _light(image: Image.Image, random: Random) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(random.choice([0.45, 1.7]))


def _small(image: Image.Image, random: Random) -> Image.Image:
    factor = random.uniform(0.25, 0.5)
    return image.resize((max(1, round(factor * image.width)), max(1, round(factor * image.height))))


def _stretch(image: Image.Image, random: Random) -> Image.Image:
    factor = random.choice([2 / 3, 3 / 2])
    return image.resize((max(1, round(factor * image.width)), image.height))


def _tiles(image: Image.Image, random: Random) -> Image.Image:
    """Eight by eight tiles in another order."""
    side = 8 * max(1, round(max(image.size) / 8))
    squares = np.asarray(image.resize((side, side))).reshape(8, side // 8, 8, side // 8, 3).swapaxes(1, 2)
    order = random.sample(range(64), 64)
    shuffled = squares.reshape(64, side // 8, side // 8, 3)[order].reshape(8, 8, side // 8, side // 8, 3)
    return Image.fromarray(shuffled.swapaxes(1, 2).reshape(side, side, 3))


def _corner(image: Image.Image, random: Random) -> Image.Image:
    """A fifth of the sides at a corner, where there is mostly background, in the picture's size."""
    width, height = (max(1, side // 5) for side in image.size)
    left, top = random.choice([0, image.width - width]), random.choice([0, image.height - height])
    return image.crop((left, top, left + width, top + height)).resize(image.size)


def _noise(image: Image.Image, random: Random) -> Image.Image:
    noise = np.random.default_rng(random.getrandbits(64)).normal(0, 100, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


Changes = Mapping[str, Callable[[Image.Image, Random], Image.Image]]
"""Kinds of change by name."""

CHANGES: Changes = {
    "blurred": _blur,
    "with a border": _border,
    "cropped": _crop,
    "darker or brighter": _light,
    "JPEG quality 8 to 20": lambda image, _: image,
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "shrunk to 25% to 50%": _small,
    "stretched": _stretch,
}
"""Each kind by the name that the model card shows."""


DESTRUCTIONS: Changes = {
    "in tiles": _tiles,
    "a corner": _corner,
    "blurred away": lambda image, _: image.filter(ImageFilter.GaussianBlur(0.06 * max(image.size))),
    "under noise": _noise,
}
"""What these leave is fur and ground, but no animal. Four by four tiles would leave whole heads."""


def change_of(sha256: str, changes: Changes = CHANGES) -> str:
    """The kind of change in the copy of the picture with this SHA-256."""
    return list(changes)[int(sha256[:8], 16) % len(changes)]


def changed_copy(content: bytes, sha256: str, side: int, changes: Changes = CHANGES) -> bytes:
    """A JPEG file with the copy of a picture, which is reduced first if its longer side is above `side`.

    Raises Unreadable.
    """
    kind, random = change_of(sha256, changes), Random(sha256)  # noqa: S311  no secret
    original = decode(content, (1, 1), DEFAULT_MAX_IMAGE_PIXELS, SECONDS)
    scale = min(1.0, side / max(original.width, original.height))
    size = max(1, round(scale * original.height)), max(1, round(scale * original.width))
    image = Image.fromarray(decode(content, size, DEFAULT_MAX_IMAGE_PIXELS, SECONDS).pixels)
    file = BytesIO()
    quality = random.randint(8, 20) if kind.startswith("JPEG") else QUALITY
    changes[kind](image, random).save(file, "JPEG", quality=quality)
    return file.getvalue()
