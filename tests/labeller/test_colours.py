"""Modes that few files have, as 8-bit RGB. tests/labeller/test_images.py reads the common ones from files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from labeller.colours import shrink


def pixels(image: Image.Image, width: int, height: int = 1) -> np.ndarray:
    return np.asarray(shrink(image, "TIFF", (width, height)))


@pytest.mark.parametrize(
    ("values", "kind"), [([0, 51, 204], np.int32), ([0, 51, 204], np.float32), ([0, 0.2, 0.8], np.float32)]
)
def test_a_black_pixel_does_not_stretch_grey_of_32_bits(values: list[float], kind: type[np.number]) -> None:
    image = Image.fromarray(np.array([values], kind))

    assert pixels(image, 3).tolist() == [[[0, 0, 0], [51, 51, 51], [204, 204, 204]]]  # 0.2 and 0.8 of 255


def test_grey_of_32_bits_is_shrunk_like_grey_of_8_bits() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (16, 16))

    short, long = (pixels(Image.fromarray(grey.astype(kind)), 5, 5).astype(int) for kind in (np.uint8, np.int32))

    assert np.abs(short - long).max() <= 1


def test_shrinking_mixes_the_colours_of_a_palette_and_not_their_numbers() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)

    assert pixels(image, 1)[0, 0] == pytest.approx([127.5, 0, 127.5], abs=1)


def test_shrinking_mixes_black_and_white_bits_to_grey() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)

    assert pixels(image, 1)[0, 0] == pytest.approx([127.5] * 3, abs=1)


@pytest.mark.parametrize(
    ("name", "inks", "grey"), [("TIFF", 0, 255), ("TIFF", 255, 0), ("JPEG", 0, 0), ("JPEG", 255, 255)]
)
def test_only_the_inks_of_a_jpeg_without_adobes_marker_are_inverted(name: str, inks: int, grey: int) -> None:
    image = Image.new("CMYK", (1, 1), (inks,) * 4)

    assert np.asarray(shrink(image, name, (1, 1))).tolist() == [[[grey] * 3]]


def test_grey_beyond_16_bits_is_stretched_from_the_darkest_to_the_lightest() -> None:
    assert pixels(Image.fromarray(np.array([[32768, 65536]], np.float32)), 2).tolist() == [[[0] * 3, [255] * 3]]
