import base64
import io

import numpy as np
import pytest
from PIL import Image

from evaluation.thumbnails import thumbnail


def test_a_thumbnail_has_the_proportions_of_the_picture_and_not_of_the_network() -> None:
    pixels = np.full((64, 64, 3), (200, 30, 30), np.uint8)
    kind, _, content = thumbnail(pixels, 4000, 3000).partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.size == (200, 150)
        assert np.allclose(np.asarray(image), (200, 30, 30), atol=6)


@pytest.mark.parametrize(("picture", "size"), [((1, 5000), (1, 200)), ((5000, 1), (200, 1))])
def test_a_thumbnail_of_the_thinnest_picture_has_two_sides(picture: tuple[int, int], size: tuple[int, int]) -> None:
    content = base64.b64decode(thumbnail(np.zeros((8, 8, 3), np.uint8), *picture).partition(",")[2])
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == size
