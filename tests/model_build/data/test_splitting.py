import hashlib
from collections import Counter

from hypothesis import assume, given
from hypothesis import strategies as st

from model_build.data.splitting import SHARES, split

MINIMUM = {"train": 10, "validation": 5, "test": 5}

hashes = st.sets(st.integers(0, 10**9), min_size=20, max_size=60).map(
    lambda numbers: [hashlib.sha256(str(number).encode()).hexdigest() for number in sorted(numbers)]
)


def test_where_a_picture_goes_is_read_off_its_hash() -> None:
    first_digit = {"0": "train", "7": "train", "8": "validation", "b": "validation", "c": "test", "f": "test"}
    assert split([digit * 64 for digit in first_digit], dict.fromkeys(SHARES, 0)) == {
        digit * 64: name for digit, name in first_digit.items()
    }


def test_a_split_that_would_be_short_gets_what_lies_nearest_to_its_share() -> None:
    # All would train; 0x7f... and 0x7e... lie nearest to the half at which validation begins.
    pictures = [f"{value:02x}" + "0" * 62 for value in (0x00, 0x10, 0x7D, 0x7E, 0x7F)]
    moved = split(pictures, {"train": 1, "validation": 2, "test": 1})
    assert [moved[each] for each in pictures] == ["train", "train", "test", "validation", "validation"]


@given(hashes)
def test_every_split_has_its_minimum_as_soon_as_there_are_enough(pictures: list[str]) -> None:
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
    assert all(after[each] == before[each] for each in pictures)
