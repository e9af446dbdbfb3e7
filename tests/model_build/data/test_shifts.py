"""Changed copies of pictures."""

from hashlib import sha256
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from labeller.images import decode
from model_build.data.shifts import CHANGES, DESTRUCTIONS, change_of, changed_copy

EVERY = {**CHANGES, **DESTRUCTIONS}


def sha_of(change: str) -> str:
    """The SHA-256 of a picture that is changed in this way, among EVERY."""
    return f"{list(EVERY).index(change):08x}" + "0" * 56


def picture(width: int, height: int) -> bytes:
    """Dark on the left, bright on the right, with stripes."""
    across = np.linspace(20, 200, width)[None, :, None] + 30 * (np.arange(width) % 8 < 4)[None, :, None]
    file = BytesIO()
    Image.fromarray(np.broadcast_to(across, (height, width, 3)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def copy_of(change: str, width: int = 80, height: int = 60, side: int = 1000) -> np.ndarray:
    file = BytesIO(changed_copy(picture(width, height), sha_of(change), side, EVERY))
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
        copies = [Image.open(BytesIO(changed_copy(picture(width, 60), sha, 1000, EVERY))) for sha in shas]
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


def test_tiles_keep_all_pixels_and_change_their_places() -> None:
    tiles, whole = copy_of("in tiles", 64, 64), original(64, 64)
    assert np.abs(tiles - whole).mean() > 20  # the left is dark, the right is bright
    assert tiles.mean() == pytest.approx(whole.mean(), abs=1)
    assert np.sort(tiles, axis=None) == pytest.approx(np.sort(whole, axis=None), abs=12)  # JPEG


def test_a_corner_shows_one_end_of_the_picture_in_its_size() -> None:
    corner, whole = copy_of("a corner", 400, 300), original(400, 300)
    assert corner.shape == whole.shape
    assert not whole[:, 80:320].mean() - 30 < corner.mean() < whole[:, 80:320].mean() + 30


def test_nothing_is_left_under_blur_and_noise() -> None:
    flat, stripes = (np.diff(one.mean(axis=2), axis=1)[10:-10, 10:-10] for one in (copy_of("blurred away"), original()))
    assert np.abs(flat).max() < 0.2 * np.abs(stripes).max()
    assert np.abs(copy_of("under noise") - original()).mean() > 40


def test_a_large_picture_is_reduced_before_it_is_changed() -> None:
    assert copy_of("mirrored", 400, 200, side=100).shape == (50, 100, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
@pytest.mark.parametrize("change", EVERY)
def test_pictures_of_a_single_pixel_or_row_can_be_changed(change: str, size: tuple[int, int]) -> None:
    assert copy_of(change, *size).size
