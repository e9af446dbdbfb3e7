"""Changed copies of pictures."""

from hashlib import sha256
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from labeller.images import decode
from model_build.data.shifts import CHANGES, change_of, changed_copy


def sha_of(change: str) -> str:
    """The SHA-256 of a picture that is changed in this way."""
    return f"{list(CHANGES).index(change):08x}" + "0" * 56


def picture(width: int, height: int) -> bytes:
    """Dark on the left, bright on the right, with stripes."""
    across = np.linspace(20, 200, width)[None, :, None] + 30 * (np.arange(width) % 8 < 4)[None, :, None]
    file = BytesIO()
    Image.fromarray(np.broadcast_to(across, (height, width, 3)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def copy_of(change: str, width: int = 80, height: int = 60, side: int = 1000) -> np.ndarray:
    file = BytesIO(changed_copy(picture(width, height), sha_of(change), side))
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def original(width: int = 80, height: int = 60) -> np.ndarray:
    return decode(picture(width, height), (height, width), 10**6).pixels.astype(int)


def test_a_picture_always_has_the_same_copy_and_many_have_all_kinds() -> None:
    shas = [sha256(bytes([number])).hexdigest() for number in range(100)]
    assert {change_of(sha) for sha in shas} == set(CHANGES)
    assert changed_copy(picture(80, 60), shas[0], 100) == changed_copy(picture(80, 60), shas[0], 100)


def test_the_size_of_the_copies() -> None:
    shapes = {change: copy_of(change).shape[:2] for change in CHANGES}
    for change in ("blurred", "darker or brighter", "JPEG quality 8 to 20", "mirrored"):
        assert shapes[change] == (60, 80)
    assert shapes["with a border"] == (100, 100)
    assert 0.25 * 60 <= shapes["shrunk to 25% to 50%"][0] <= 0.5 * 60
    assert all(0.5 * full <= side <= 0.82 * full for side, full in zip(shapes["cropped"], (60, 80), strict=True))


def test_stretched_copies_are_two_thirds_or_one_and_a_half_times_as_wide() -> None:
    for width, widths in ((80, {53, 120}), (1, {1, 2})):
        shas = [f"{sha_of('stretched')[:8]}{number:056x}" for number in range(10)]
        copies = [Image.open(BytesIO(changed_copy(picture(width, 60), sha, 1000))) for sha in shas]
        assert {copy.size for copy in copies} == {(width, 60) for width in widths}


def test_what_is_done_to_the_pixels() -> None:
    assert np.abs(copy_of("mirrored")[:, ::-1] - original()).mean() < 4
    assert not 0.8 < copy_of("darker or brighter").mean() / original().mean() < 1.2
    assert (
        np.abs(np.diff(copy_of("blurred", 800, 600), axis=1)).max() < np.abs(np.diff(original(800, 600), axis=1)).max()
    )
    assert (
        np.abs(copy_of("JPEG quality 8 to 20") - original()).mean()
        > np.abs(copy_of("mirrored")[:, ::-1] - original()).mean()
    )


def test_a_large_picture_is_reduced_before_it_is_changed() -> None:
    assert copy_of("mirrored", 400, 200, side=100).shape == (50, 100, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
@pytest.mark.parametrize("change", CHANGES)
def test_pictures_of_a_single_pixel_or_row_can_be_changed(change: str, size: tuple[int, int]) -> None:
    assert copy_of(change, *size).size
