"""Simulates a queue whose messages Lambda takes in batches; exact for the rules below.

Rules (Lambda developer guide, "Configuring scaling behavior for SQS event source mappings" and "Configuring maximum
concurrency"): Lambda starts with five batches at once, adds 300 a minute while messages are left over, up to
MaximumConcurrency, and returns to five when traffic is low. An invocation takes the oldest messages, up to the batch
size. It runs in the environment that finished last; if no environment is idle, one starts cold.

Not simulated: throttling by the account, retries, and the several hosts of a queue, which make batches smaller while
the backlog is short.
"""

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]  # seconds since the start; arrivals are in ascending order


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many invocations may run at once, and how that changes."""

    most: int  # MaximumConcurrency, or what the account has left
    start: int = 5
    growth: float = 5.0  # added per second while messages are left over: 300 a minute
    calm: float = 60.0  # seconds without a backlog until it falls back; assumed, AWS gives no figure
    keep: float = 300.0  # seconds that an idle environment is kept; assumed, AWS gives no figure


@dataclass(frozen=True, slots=True)
class Run:
    """When each message arrived, started and finished; inf if not by the end of the simulation."""

    arrived: Times
    started: Times  # given to the function: a message's age in the queue ends here
    finished: Times
    cold_starts: int
    invocations: int
    busy_seconds: float  # of all environments together, initialisation included
    most_at_once: int
    end: float  # seconds; no message starts later

    @property
    def age(self) -> Times:
        """Seconds in the queue of each message that was started."""
        begun = np.isfinite(self.started)
        return np.asarray(self.started[begun] - self.arrived[begun])

    def queued(self, time: float) -> int:
        """Number of messages waiting at `time`."""
        return int((self.arrived <= time).sum() - (self.started <= time).sum())

    def longest_queue(self) -> int:
        """The largest number of messages waiting at once; it is reached at an arrival."""
        started = np.sort(self.started)
        waiting = np.arange(1, len(self.arrived) + 1) - np.searchsorted(started, self.arrived, side="right")
        return int(waiting.max(initial=0))


def simulate(
    arrived: Times,
    batch_seconds: Callable[[int], float],
    scaling: Scaling,
    batch_size: int = 10,
    init_seconds: float = 0.0,
    end: float = math.inf,
) -> Run:
    """Simulate the arrivals until `end`. `batch_seconds(n)` is the time that a warm function takes for n messages."""
    arrivals = arrived.tolist()
    started = np.full(len(arrivals), np.inf)
    finished = np.full(len(arrivals), np.inf)
    busy: list[float] = []  # heap of the times at which running invocations end
    idle: list[float] = []  # time since which each idle environment is idle, the latest last
    limit, grown, blocked = min(scaling.start, scaling.most), -math.inf, -math.inf
    cold, invocations, busy_seconds, most = 0, 0, 0.0, 0
    first, now = 0, 0.0
    while first < len(arrivals):
        now = max(now, arrivals[first])
        if now > end:
            break
        while busy and busy[0] <= now:
            idle.append(heapq.heappop(busy))
        if len(busy) >= limit:
            blocked = now
            growth = max(grown + 1 / scaling.growth, now) if limit < scaling.most else math.inf
            if busy[0] <= growth:
                now = busy[0]
            else:
                now = grown = growth
                limit += 1
            continue
        if now - blocked > scaling.calm:
            limit = max(min(scaling.start, scaling.most), len(busy) + 1)
        last = bisect_right(arrivals, now, lo=first, hi=min(first + batch_size, len(arrivals)))
        took = batch_seconds(last - first)
        warm = bool(idle) and now - idle.pop() <= scaling.keep
        if not warm:
            idle.clear()  # the latest has expired, so all have
            cold += 1
            took += init_seconds
        heapq.heappush(busy, now + took)
        started[first:last], finished[first:last] = now, now + took
        invocations, busy_seconds, most = invocations + 1, busy_seconds + took, max(most, len(busy))
        first = last
    return Run(arrived, started, finished, cold, invocations, busy_seconds, most, min(end, now))


def constant(rate: float, seconds: float, seed: int) -> Times:
    """Arrivals at `rate` a second, independent of each other (Poisson)."""
    return varying(lambda time: np.full_like(time, rate), rate, seconds, seed)


def daily(mean: float, seed: int) -> Times:
    """Arrivals of a day that starts at its quietest hour: `mean` a second, times 0.2 then and 1.8 at noon."""
    return varying(lambda time: mean * (1 - 0.8 * np.cos(2 * np.pi * time / 86400)), mean * 1.8, 86400, seed)


def burst(rate: float, extra: int, at: float, seconds: float, seed: int) -> Times:
    """`constant`, and `extra` more messages, all at the time `at`."""
    return np.sort(np.concatenate([constant(rate, seconds, seed), np.full(extra, at)]))


def varying(rate: Callable[[Times], Times], highest: float, seconds: float, seed: int) -> Times:
    """Arrivals at a rate that varies with time and never exceeds `highest`: thinning (Lewis and Shedler, 1979)."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, seconds, rng.poisson(highest * seconds)))
    return np.asarray(times[rng.uniform(0, highest, len(times)) < rate(times)])
