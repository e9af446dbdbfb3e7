"""Split unsplit images into training, validation and test by the content of each image.

The SHA-256 of an image alone decides: the first half of all values trains, the next quarter validates, the last tests.
So the same data always gives the same splits, whatever the file names; copies stay together; and an added image moves
no other: a test image is never trained on later. Only in a class too small for a split's minimum, that split gets the
images nearest to its share of the values from splits that can spare them; there an added image may move another.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

SHARES: Mapping[str, tuple[float, float]] = {"train": (0.0, 0.5), "validation": (0.5, 0.75), "test": (0.75, 1.0)}
"""Each split's range of the hash values, scaled to 0..1: 2 : 1 : 1."""


def split(sha256s: Iterable[str], minimum: Mapping[str, int]) -> dict[str, str]:
    """The split of each image of one class, by its SHA-256; each split has its minimum if there are enough images."""
    home = {sha256: _split_of(_position(sha256)) for sha256 in sorted(set(sha256s))}
    while True:
        count = Counter(home.values())
        short = next((name for name in SHARES if count[name] < minimum[name]), None)
        spare = {name for name in SHARES if count[name] > minimum[name]}
        if short is None or not spare:
            return home
        candidates = (sha256 for sha256, name in home.items() if name in spare)
        home[min(candidates, key=lambda sha256: _distance(_position(sha256), short))] = short


def _position(sha256: str) -> float:
    return int(sha256[:13], 16) / 16**13  # 52 bits, which a float holds exactly


def _split_of(position: float) -> str:
    return next(name for name, (low, high) in SHARES.items() if low <= position < high)


def _distance(position: float, name: str) -> float:
    low, high = SHARES[name]
    return max(low - position, position - high, 0.0)
