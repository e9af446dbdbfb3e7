"""An object's tags, read while the network is about to end instead of afterwards.

S3 has no conditional write for tags: a change by others between reading and writing them is overwritten. So they are
read as late as possible, and again if the network takes longer than expected.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from labeller.events import ObjectRef
from labeller.pipeline import WorkerPool
from labeller.records import Tag
from labeller.storage import Storage

# Before the expected end of the network: S3's median for small objects is 20 ms, from a function in the same region.
_LEAD = 0.025  # seconds
_LONGEST_WAIT = 0.020  # seconds between reading and the end of the network; tags that are older are read again
_WEIGHT = 0.2  # of the last picture in the expected duration


@dataclass(slots=True)
class Pace:
    """How long the network takes for a picture, in this process."""

    seconds: float | None = None  # None until a picture has been through it

    def after(self, seconds: float) -> float | None:
        """How long the network still takes, `seconds` after it began."""
        return None if self.seconds is None else self.seconds - seconds

    def add(self, seconds: float) -> None:
        """Take another picture into account."""
        self.seconds = seconds if self.seconds is None else self.seconds + _WEIGHT * (seconds - self.seconds)


class TagsAhead:
    """The tags of one object. Begin with the network, end it with the network, then read."""

    def __init__(
        self, storage: Storage, pool: WorkerPool, ref: ObjectRef, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage, self._pool, self._ref, self._now = storage, pool, ref, now
        self._call: Future[tuple[list[Tag], float]] | None = None
        self._network_ended = threading.Event()

    def begin(self, expected: float | None) -> None:
        """Read the tags shortly before the `expected` seconds of the network have passed; not at all if unknown."""
        if expected is not None:
            self._call = self._pool.begin(self._read_in, expected - _LEAD)

    def end(self) -> None:
        """The network has ended: tags that were not read yet are read at once."""
        self._network_ended.set()

    async def read(self) -> list[Tag]:
        """The tags, and those of now at each further call. Raises Gone, Denied, AwsFailure."""
        call, self._call = self._call, None
        if call is not None:
            tags, read_at = await self._pool.end(call)
            if self._now() - read_at <= _LONGEST_WAIT:
                return tags
        return await self._pool(self._storage.read_tags, self._ref)

    def _read_in(self, seconds: float) -> tuple[list[Tag], float]:
        self._network_ended.wait(max(seconds, 0.0))
        return self._storage.read_tags(self._ref), self._now()
