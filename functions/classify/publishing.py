"""Result events, gathered on their way to EventBridge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from classify.lanes import Lane
from labeller.storage import MAX_ENTRIES, MAX_ENTRIES_BYTES, Storage

_AROUND = 512  # bytes of an entry beside its detail: source, type and name of the bus, with room

Waiting = tuple[Mapping[str, Any], "asyncio.Future[None]"]


class Publisher:
    """Publishes for one invocation. What comes while a call is under way goes together with the next one."""

    def __init__(self, storage: Storage, lane: Lane) -> None:
        self._storage = storage
        self._lane = lane
        self._waiting: list[Waiting] = []
        self._sending: asyncio.Task[None] | None = None

    def publish(self, detail: Mapping[str, Any]) -> asyncio.Future[None]:
        """Begin; the future is done when EventBridge has taken the event, and raises AwsFailure if it has not."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((detail, taken))
        if self._sending is None or self._sending.done():
            # A task of its own: if one of those who publish is cancelled, the others' events go all the same.
            self._sending = asyncio.create_task(self._send())
        return taken

    async def _send(self) -> None:
        while self._waiting:
            batch = self._take()
            details = [detail for detail, _ in batch]
            ends: Sequence[BaseException | None]
            try:
                ends = await self._lane(self._storage.put_events, details)
            except BaseException as error:
                ends = [error] * len(batch)  # those who wait for it raise it
            for (_, taken), end in zip(batch, ends, strict=True):
                if taken.done():  # cancelled
                    continue
                if end is None:
                    taken.set_result(None)
                else:
                    taken.set_exception(end)

    def _take(self) -> list[Waiting]:
        """The next events for one call: as many as it may carry."""
        number, size = 0, 0
        for detail, _ in self._waiting[:MAX_ENTRIES]:
            size += len(json.dumps(detail, ensure_ascii=False).encode()) + _AROUND
            if number and size > MAX_ENTRIES_BYTES:
                break
            number += 1
        batch, self._waiting = self._waiting[:number], self._waiting[number:]
        return batch
