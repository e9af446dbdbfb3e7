from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from classify import publishing
from classify.publishing import Publisher
from labeller.aws_errors import AwsFailure


class Bus:
    """Takes the place of Storage: remembers the calls, and refuses what is said to be bad."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.under_way = asyncio.Event()
        self.may_end = asyncio.Event()

    def put_events(self, details: Sequence[Mapping[str, Any]]) -> list[AwsFailure | None]:
        return [AwsFailure("refused") if detail["key"] == "bad" else None for detail in details]

    async def pool(self, function: Any, details: Any) -> Any:
        self.calls.append([detail["key"] for detail in details])
        self.under_way.set()
        await self.may_end.wait()
        return function(details)


def publish(*keys: str, deliveries: int) -> tuple[list[list[str]], list[BaseException | None]]:
    """Publish while so many deliveries are under way; the calls made, and how each key ended."""

    async def run() -> tuple[list[list[str]], list[BaseException | None]]:
        bus = Bus()
        bus.may_end.set()
        publisher = Publisher(bus, bus.pool)  # type: ignore[arg-type]
        with ExitStack() as work:
            for _ in range(deliveries):
                work.enter_context(publisher.delivery())
            accepted = [publisher.publish({"key": key}) for key in keys]
            return bus.calls, await asyncio.gather(*accepted, return_exceptions=True)

    return asyncio.run(run())


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent because of the clock."""
    monkeypatch.setattr(publishing, "_LONGEST_WAIT", 3600)


@pytest.mark.usefixtures("patience")
def test_events_are_sent_together_once_all_deliveries_wait_for_theirs() -> None:
    calls, ends = publish("a", "b", "c", deliveries=3)

    assert calls == [["a", "b", "c"]]
    assert ends == [None] * 3


@pytest.mark.usefixtures("patience")
def test_a_delivery_that_ends_without_an_event_is_not_waited_for() -> None:
    async def run() -> list[list[str]]:
        bus = Bus()
        bus.may_end.set()
        publisher = Publisher(bus, bus.pool)  # type: ignore[arg-type]
        with publisher.delivery():
            with publisher.delivery():
                accepted = publisher.publish({"key": "a"})
                await asyncio.sleep(0)
                assert bus.calls == []
            await accepted
        return bus.calls

    assert asyncio.run(run()) == [["a"]]


def test_an_event_waits_for_a_slow_delivery_no_longer_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_LONGEST_WAIT", 0)

    assert publish("a", deliveries=2) == ([["a"]], [None])


@pytest.mark.usefixtures("patience")
def test_a_call_carries_ten_events_at_most() -> None:
    calls, _ = publish(*map(str, range(24)), deliveries=24)

    assert [len(call) for call in calls] == [10, 10, 4]


@pytest.mark.usefixtures("patience")
def test_the_last_event_does_not_wait_for_a_call_under_way() -> None:
    async def run() -> list[list[str]]:
        bus = Bus()
        publisher = Publisher(bus, bus.pool)  # type: ignore[arg-type]
        first = publisher.publish({"key": "a"})
        await bus.under_way.wait()
        second = publisher.publish({"key": "b"})
        await asyncio.sleep(0)
        assert bus.calls == [["a"], ["b"]]
        bus.may_end.set()
        await asyncio.gather(first, second)
        return bus.calls

    assert asyncio.run(run()) == [["a"], ["b"]]


def test_an_event_that_is_refused_fails_alone() -> None:
    calls, ends = publish("a", "bad", "c", deliveries=3)

    assert calls == [["a", "bad", "c"]]
    assert [type(end) for end in ends] == [type(None), AwsFailure, type(None)]


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
        with publisher.delivery(), publisher.delivery():
            first, second = (publisher.publish({"key": key}) for key in ("a", "b"))
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
