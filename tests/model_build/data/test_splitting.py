import hashlib
from collections import Counter

from hypothesis import assume, given
from hypothesis import strategies as st

from model_build.data.splitting import SHARES, split

MINIMUM = {"train": 10, "validation": 5, "test": 5}

hashes = st.sets(st.integers(0, 10**9), min_size=20, max_size=60).map(
    lambda numbers: [hashlib.sha256(str(number).encode()).hexdigest() for number in sorted(numbers)]
)


def test_the_hash_decides_the_split() -> None:
    first_digit = {"0": "train", "7": "train", "8": "validation", "b": "validation", "c": "test", "f": "test"}
    assert split([digit * 64 for digit in first_digit], dict.fromkeys(SHARES, 0)) == {
        digit * 64: name for digit, name in first_digit.items()
    }


def test_a_short_split_gets_the_images_nearest_to_its_share() -> None:
    # All belong to train; 0x7f... and 0x7e... are nearest to the start of validation.
    pictures = [f"{value:02x}" + "0" * 62 for value in (0x00, 0x10, 0x7D, 0x7E, 0x7F)]
    moved = split(pictures, {"train": 1, "validation": 2, "test": 1})
    assert [moved[picture] for picture in pictures] == ["train", "train", "test", "validation", "validation"]


@given(hashes)
def test_every_split_has_its_minimum_if_there_are_enough_images(pictures: list[str]) -> None:
    count = Counter(split(pictures, MINIMUM).values())
    assert all(count[name] >= least for name, least in MINIMUM.items())
    assert count.total() == len(pictures)


@given(hashes, st.randoms())
def test_the_order_of_the_pictures_does_not_matter(pictures: list[str], chance) -> None:
    shuffled = chance.sample(pictures, len(pictures))
    assert split(shuffled, MINIMUM) == split(pictures, MINIMUM)


@given(hashes, st.integers(0, 10**9))
def test_an_added_picture_moves_no_other_where_no_split_is_short(pictures: list[str], number: int) -> None:
    added = hashlib.sha256(str(number).encode()).hexdigest()
    small = {"train": 2, "validation": 2, "test": 2}
    before, after = split(pictures, small), split([*pictures, added], small)
    assume(before == split(pictures, dict.fromkeys(SHARES, 0)))
    assert all(after[picture] == before[picture] for picture in pictures)
