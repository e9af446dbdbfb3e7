"""Result events, batched for EventBridge."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from labeller.pipeline import WorkerPool
from labeller.storage import MAX_ENTRIES, Storage

Pending = tuple[Mapping[str, Any], "asyncio.Future[None]"]


class Publisher:
    """Publishes for one invocation. Events that arrive during a call are sent together in the next one."""

    def __init__(self, storage: Storage, pool: WorkerPool) -> None:
        self._storage = storage
        self._pool = pool
        self._pending: list[Pending] = []
        self._sending: asyncio.Task[None] | None = None

    def publish(self, detail: Mapping[str, Any]) -> asyncio.Future[None]:
        """Begin; the future is done when EventBridge has accepted the event, and raises AwsFailure otherwise."""
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((detail, accepted))
        if self._sending is None or self._sending.done():
            # A task of its own: the cancellation of one publisher must not stop the others' events.
            self._sending = asyncio.create_task(self._send())
        return accepted

    async def _send(self) -> None:
        while self._pending:
            # Ten events always fit into a call: keys, labels and scores are bounded, so that an event has under 25 KB.
            batch, self._pending = self._pending[:MAX_ENTRIES], self._pending[MAX_ENTRIES:]
            failures: Sequence[BaseException | None]
            try:
                failures = await self._pool(self._storage.put_events, [detail for detail, _ in batch])
            except BaseException as error:
                failures = [error] * len(batch)  # raised by those who wait for their event
            for (_, accepted), failure in zip(batch, failures, strict=True):
                if accepted.done():  # cancelled
                    continue
                if failure is None:
                    accepted.set_result(None)
                else:
                    accepted.set_exception(failure)
