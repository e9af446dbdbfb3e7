"""Result events, gathered for EventBridge."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from labeller.pipeline import WorkerPool
from labeller.storage import MAX_ENTRIES, Storage

Pending = tuple[Mapping[str, Any], "asyncio.Future[None]"]

# The longest that an event waits for others. A call takes 1 to 2 ms of processor time, however many events it carries.
# A batch of ten labels about two pictures in 0.1 s: a shorter time would mean four or five calls instead of two.
_LONGEST_WAIT = 0.5  # seconds


class Publisher:
    """Publishes for one invocation, as many events in a call as possible.

    An event waits until all deliveries under way wait for their events, so that the last one is never held up, but not
    longer than _LONGEST_WAIT: a costly picture does not delay its neighbours' events.
    """

    def __init__(self, storage: Storage, pool: WorkerPool) -> None:
        self._storage = storage
        self._pool = pool
        self._under_way = 0  # deliveries
        self._sent = 0  # events of calls under way
        self._pending: list[Pending] = []
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()  # referenced until they are done

    @contextmanager
    def delivery(self) -> Iterator[None]:
        """Around the work on a delivery, which waits for one event at a time."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._send_if_complete()

    def publish(self, detail: Mapping[str, Any]) -> asyncio.Future[None]:
        """Begin; the future is done when EventBridge has accepted the event, and raises AwsFailure otherwise."""
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[None] = loop.create_future()
        self._pending.append((detail, accepted))
        if not self._send_if_complete() and self._timer is None:
            self._timer = loop.call_later(_LONGEST_WAIT, self._send)
        return accepted

    def _send_if_complete(self) -> bool:
        is_complete = len(self._pending) >= min(self._under_way - self._sent, MAX_ENTRIES)
        if is_complete:
            self._send()
        return is_complete

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._pending:
            # Ten events always fit into a call: keys, labels and scores are bounded, so that an event has under 25 KB.
            batch, self._pending = self._pending[:MAX_ENTRIES], self._pending[MAX_ENTRIES:]
            self._sent += len(batch)
            # A task of its own: the cancellation of one publisher must not stop the others' events.
            call = asyncio.create_task(self._call(batch))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _call(self, batch: Sequence[Pending]) -> None:
        failures: Sequence[BaseException | None]
        try:
            failures = await self._pool(self._storage.put_events, [detail for detail, _ in batch])
        except BaseException as error:
            failures = [error] * len(batch)  # raised by those who wait for their event
        finally:
            self._sent -= len(batch)
        for (_, accepted), failure in zip(batch, failures, strict=True):
            if accepted.done():  # cancelled
                continue
            if failure is None:
                accepted.set_result(None)
            else:
                accepted.set_exception(failure)
