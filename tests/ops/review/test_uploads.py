"""Queues of uploads, on rows that are not in any table."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from ops.review.uploads import UploadQueue, Uploads


class Rows:
    """In place of the desk: a row of the index is the whole row, and the item."""

    async def aws_pool(self, call: Any, *arguments: Any) -> Any:
        return call(*arguments)

    def read_rows(self, rows: Any) -> Any:
        return rows

    def item_of(self, row: Any) -> Any:
        return row


def test_a_reply_has_at_most_as_many_pictures_as_asked_for() -> None:
    rows: list[Any] = [{"status": "UNSURE", "etag": "e", "number": number} for number in range(20)]
    for row in rows[:4]:
        row["human_label"] = "red"
    queue = UploadQueue(cast("Uploads", Rows()), "UNSURE", rows)

    async def all_replies() -> list[list[int]]:
        replies, after = [], 0
        while after < queue.total:
            items, after = await queue.items(after, 7)
            replies.append([cast("Any", item)["number"] for item in items])
        return replies

    replies = asyncio.run(all_replies())
    assert [len(reply) for reply in replies] == [7, 7, 2]
    assert [number for reply in replies for number in reply] == list(range(4, 20))
