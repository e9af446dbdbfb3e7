"""Result events, gathered on their way to EventBridge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from classify.lanes import Lane
from labeller.storage import MAX_ENTRIES, MAX_ENTRIES_BYTES, Storage


class Publisher:
    """Publishes for one invocation. What comes while a call is under way goes together with the next one."""

    def __init__(self, storage: Storage, lane: Lane) -> None:
        self._storage = storage
        self._lane = lane
        self._waiting: list[tuple[Mapping[str, Any], asyncio.Future[None]]] = []
        self._busy = False

    async def publish(self, detail: Mapping[str, Any]) -> None:
        """Return when EventBridge has taken the event. Raises AwsFailure if it has not."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((detail, taken))
        if not self._busy:
            self._busy = True
            try:
                while self._waiting:
                    await self._send(self._take())
            finally:
                self._busy = False
        await taken

    def _take(self) -> list[tuple[Mapping[str, Any], asyncio.Future[None]]]:
        """The next events for one call: as many as it may carry."""
        number, size = 0, 0
        for detail, _ in self._waiting[:MAX_ENTRIES]:
            size += len(json.dumps(detail, ensure_ascii=False).encode()) + 512  # source, type and bus, with room
            if number and size > MAX_ENTRIES_BYTES:
                break
            number += 1
        batch, self._waiting = self._waiting[:number], self._waiting[number:]
        return batch

    async def _send(self, batch: list[tuple[Mapping[str, Any], asyncio.Future[None]]]) -> None:
        try:
            failures = await self._lane(self._storage.put_events, [detail for detail, _ in batch])
        except BaseException as error:
            for _, taken in batch:
                taken.cancel(f"the call that published it ended by {error!r}")
            raise
        for (_, taken), failure in zip(batch, failures, strict=True):
            if taken.cancelled():
                continue
            if failure is None:
                taken.set_result(None)
            else:
                taken.set_exception(failure)
