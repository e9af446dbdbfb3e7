from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from classify.publishing import Publisher
from labeller.aws_errors import AwsFailure


class Bus:
    """Takes the place of Storage: remembers the calls, and refuses what is said to be bad."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.under_way = asyncio.Event()
        self.may_end = asyncio.Event()

    def put_events(self, details: Sequence[Mapping[str, Any]]) -> list[AwsFailure | None]:
        self.calls.append([detail["key"][:10] for detail in details])
        return [AwsFailure("refused") if detail["key"] == "bad" else None for detail in details]

    async def pool(self, function: Any, /, *arguments: Any) -> Any:
        self.under_way.set()
        await self.may_end.wait()
        return function(*arguments)


def publish(*keys: str) -> tuple[list[list[str]], list[BaseException | None]]:
    """Publish the first key, the others while its call is under way; the calls made, and how each key ended."""

    async def run() -> tuple[list[list[str]], list[BaseException | None]]:
        bus = Bus()
        publisher = Publisher(bus, bus.pool)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(publisher.publish({"key": keys[0]}))]
        await bus.under_way.wait()
        tasks += [asyncio.ensure_future(publisher.publish({"key": key})) for key in keys[1:]]
        await asyncio.sleep(0)
        bus.may_end.set()
        return bus.calls, await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(run())


def test_the_first_event_is_sent_at_once_and_later_ones_in_one_call() -> None:
    calls, ends = publish("a", "b", "c", "d")

    assert calls == [["a"], ["b", "c", "d"]]
    assert ends == [None] * 4


def test_a_call_carries_ten_events_at_most() -> None:
    calls, _ = publish(*(str(number) for number in range(24)))

    assert [len(call) for call in calls] == [1, 10, 10, 3]


def test_an_event_that_is_refused_fails_alone() -> None:
    calls, ends = publish("a", "b", "bad", "c")

    assert calls == [["a"], ["b", "bad", "c"]]
    assert [type(end) for end in ends] == [type(None), type(None), AwsFailure, type(None)]


def test_a_failed_call_raises_in_every_waiting_publisher() -> None:
    async def run() -> list[Any]:
        async def broken(function: Any, /, *arguments: Any) -> Any:
            raise ZeroDivisionError

        publisher = Publisher(Bus(), broken)  # type: ignore[arg-type]
        return await asyncio.gather(*(publisher.publish({"key": key}) for key in "ab"), return_exceptions=True)

    assert [type(end) for end in asyncio.run(run())] == [ZeroDivisionError, ZeroDivisionError]


def test_cancelling_one_publisher_does_not_affect_the_others() -> None:
    async def run() -> tuple[list[list[str]], list[Any]]:
        bus = Bus()
        publisher = Publisher(bus, bus.pool)  # type: ignore[arg-type]
        first, second = (asyncio.ensure_future(publisher.publish({"key": key})) for key in ("a", "b"))
        await bus.under_way.wait()
        first.cancel()
        bus.may_end.set()
        return bus.calls, await asyncio.gather(first, second, return_exceptions=True)

    calls, ends = asyncio.run(run())

    assert calls == [["a", "b"]]
    assert isinstance(ends[0], asyncio.CancelledError)
    assert ends[1] is None


@pytest.mark.parametrize("times", [1, 2])
def test_a_publisher_is_reusable_after_it_ran_empty(times: int) -> None:
    async def run() -> list[list[str]]:
        bus = Bus()
        bus.may_end.set()
        publisher = Publisher(bus, bus.pool)  # type: ignore[arg-type]
        for _ in range(times):
            await publisher.publish({"key": "a"})
        return bus.calls

    assert asyncio.run(run()) == [["a"]] * times
