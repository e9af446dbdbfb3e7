"""Training, validation and test pictures out of one heap, by the content of each picture.

Where a picture goes is read off its SHA-256 alone: the first half of all values trains, the next quarter validates, the
last one tests. So the same data always gives the same splits whatever the files are called, copies of a picture land
together, and a picture that is added moves no other: what was a test picture once is never trained on later. Only where
a class is so small that a split would be short of its minimum, that split gets what lies nearest to its share of the
values from the splits that can spare it; in such a class an added picture may move another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

SHARES: Mapping[str, tuple[float, float]] = {"train": (0.0, 0.5), "validation": (0.5, 0.75), "test": (0.75, 1.0)}
"""The part of the hash values, as from 0 to 1, that belongs to each split: 2 : 1 : 1, as in the article's data."""


def split(sha256s: Iterable[str], minimum: Mapping[str, int]) -> dict[str, str]:
    """The split of each picture of one class, by its SHA-256; each split has its minimum where there are enough."""
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
    return int(sha256[:13], 16) / 16**13  # 52 bits: what a float holds


def _split_of(position: float) -> str:
    return next(name for name, (low, high) in SHARES.items() if low <= position < high)


def _distance(position: float, name: str) -> float:
    low, high = SHARES[name]
    return max(low - position, position - high, 0.0)
