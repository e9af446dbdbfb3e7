"""Timings of several rounds, in which contenders take turns. Standard library only: .venv-bench runs it too."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Figure = dict[str, float]
"""A measurement in bench.json: median, low and high (quartiles), rounds."""

Result = TypeVar("Result")

SPINNING = 0.03
"""Seconds for which onnxruntime's threads spin after a call."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One run."""

    seconds: float
    cpu_seconds: float  # of this process, all threads


def timed(work: Callable[[], object], pause: float = 0.0) -> Timing:
    """Run `work`. Its processor time includes that of `pause` seconds afterwards: what threads spin is its cost too."""
    cpu, start = time.process_time(), time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    time.sleep(pause)
    return Timing(seconds, time.process_time() - cpu)


def take_turns(work: Mapping[str, Callable[[], Result]], rounds: int, warm_up: int = 1) -> dict[str, list[Result]]:
    """The results of each contender by round, without those of the first `warm_up` rounds."""
    results: dict[str, list[Result]] = {name: [] for name in work}
    for order in turns(list(work), rounds + warm_up):
        for name in order:
            results[name].append(work[name]())
    return {name: values[warm_up:] for name, values in results.items()}


def turns(contenders: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """The order of each round. Odd rounds reverse the round before, and each pair of rounds begins with the next
    contender, so that none always goes first or always follows the same one."""
    for number in range(rounds):
        start = number // 2 % len(contenders)
        order = [*contenders[start:], *contenders[:start]]
        yield order[::-1] if number % 2 else order


def spread(values: Sequence[float]) -> Figure:
    """Median and quartiles, interpolated, to four significant digits: no timing here is more precise. ValueError if
    `values` is empty."""
    if not values:
        raise ValueError("no rounds were measured")
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return {"median": _rounded(median), "low": _rounded(low), "high": _rounded(high), "rounds": len(values)}


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Figure:
    """Quotients round by round: a busy machine slows both sides of a round, so its load cancels out."""
    return spread([one / other for one, other in zip(numerators, denominators, strict=True)])


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
