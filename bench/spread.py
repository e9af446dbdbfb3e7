"""What several rounds of one measurement come to, and how contenders take turns."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle value of some rounds, and the quartiles around it: half of the rounds lie between."""

    median: float
    low: float
    high: float
    rounds: int

    def to_json(self) -> dict[str, float]:
        """As in bench.json, to four significant digits: no timing here is better than that."""
        return {name: value if name == "rounds" else float(f"{value:.4g}") for name, value in asdict(self).items()}


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of at least one value (interpolated between values, which are all there is)."""
    if not values:
        raise ValueError("no rounds were measured")
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return Spread(median, low, high, len(values))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Quotients round by round: what both sides of a round had to bear, such as a busy machine, cancels out."""
    return spread([one / other for one, other in zip(numerators, denominators, strict=True)])


def turns(contenders: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """The order of each round. Every second one is the one before backwards, and each such pair begins one contender
    later, so that nobody always goes first or always follows the same neighbour."""
    for number in range(rounds):
        start = number // 2 % len(contenders)
        order = [*contenders[start:], *contenders[:start]]
        yield order[::-1] if number % 2 else order
