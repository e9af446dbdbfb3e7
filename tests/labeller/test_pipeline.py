from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeller.pipeline import Deadline, OutOfTime, WorkerPool, ensure_time, run, stage


class Broken(Exception):
    """What an item's work raises in these tests."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Broken) and self.args == other.args

    __hash__ = Exception.__hash__


class Gauge:
    """How many are inside at a time, and how many were at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


async def echo(item: int) -> int:
    return item


# An item: how often it yields before and between its steps, and which step fails (0: none).
ITEMS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(items=ITEMS, in_flight=st.integers(1, 8), first=st.integers(1, 3), second=st.integers(1, 3))
def test_whatever_happens_each_item_ends_as_its_own_work_does_in_order_and_within_bounds(
    items: list[tuple[int, int]], in_flight: int, first: int, second: int
) -> None:
    pools = WorkerPool(first, "first"), WorkerPool(second, "second")
    flying, working = Gauge(), (Gauge(), Gauge())
    drawn = 0

    def draw() -> Iterator[tuple[int, tuple[int, int]]]:
        nonlocal drawn
        for numbered in enumerate(items):
            drawn += 1
            assert drawn - len(ended) <= in_flight
            yield numbered

    ended: list[int] = []

    def step(pool: int, number: int, fails: bool) -> int:
        with working[pool]:
            if fails:
                raise Broken(number)
            return number * 10

    async def work(numbered: tuple[int, tuple[int, int]]) -> int:
        number, (pauses, failing) = numbered
        with flying:
            try:
                for _ in range(pauses):
                    await asyncio.sleep(0)
                once = await pools[0](step, 0, number, failing == 1)
                twice = await pools[1](step, 1, once, failing == 2)
                if failing == 3:
                    raise Broken(number)
                return twice
            finally:
                ended.append(number)

    results = asyncio.run(asyncio.wait_for(run(draw(), work, in_flight=in_flight), 20))

    expected = [
        {0: number * 100, 1: Broken(number), 2: Broken(number * 10), 3: Broken(number)}[failing]
        for number, (_, failing) in enumerate(items)
    ]
    assert results == expected
    assert flying.most <= in_flight
    assert working[0].most <= first
    assert working[1].most <= second


def test_no_items_are_no_results() -> None:
    assert asyncio.run(run([], echo, in_flight=3)) == []


def test_while_one_item_waits_another_one_is_worked_on() -> None:
    network, cpu = WorkerPool(4, "network"), WorkerPool(1, "cpu")
    here = threading.Barrier(4)  # passes only if four are inside at once

    async def work(item: int) -> int:
        await network(here.wait, 5)
        return await cpu(abs, item)

    assert asyncio.run(run([-1, -2, -3, -4], work, in_flight=4)) == [1, 2, 3, 4]


def test_what_cannot_be_finished_in_time_is_not_begun() -> None:
    begun = []

    async def work(item: int) -> int:
        begun.append(item)
        await asyncio.sleep(0.15)
        return item

    results = asyncio.run(run(range(4), work, in_flight=1, deadline=Deadline.in_seconds(1.2, item=1.0)))

    assert begun == [0, 1]  # at 0 and 0.15 s; at 0.3 s less than a second is left
    assert results[:2] == [0, 1]
    assert [type(result) for result in results[2:]] == [OutOfTime, OutOfTime]
    assert "not begun" in str(results[2])


def test_what_has_not_ended_at_the_deadline_is_given_up_and_takes_no_further_step() -> None:
    pool = WorkerPool(2, "pool")
    steps: list[str] = []
    release = threading.Event()

    def slow(name: str) -> None:
        steps.append(name)
        release.wait(5)

    async def work(item: str) -> str:
        if item == "slow":
            await pool(slow, "first")
            await pool(slow, "second")
        return item

    start = time.monotonic()
    results = asyncio.run(run(["slow", "quick"], work, in_flight=2, deadline=Deadline.in_seconds(0.2)))

    assert time.monotonic() - start < 2  # did not wait for the thread
    assert "given up" in str(results[0])
    assert results[1] == "quick"
    release.set()
    time.sleep(0.05)
    assert steps == ["first"]


def test_an_item_gets_no_more_time_than_is_left() -> None:
    async def work(_: int) -> None:
        await asyncio.sleep(0.5)

    (result,) = asyncio.run(run([1], work, in_flight=1, deadline=Deadline.in_seconds(0.05)))

    assert isinstance(result, OutOfTime)


def test_a_step_that_outlives_its_item_is_told_so() -> None:
    pool = WorkerPool(1, "pool")
    resumed, said = threading.Event(), []

    def retries() -> None:
        ensure_time()  # in time
        resumed.wait(5)
        try:
            ensure_time()  # long after
        except OutOfTime as error:
            said.append(error)

    async def work(_: int) -> None:
        await pool(retries)

    asyncio.run(run([1], work, in_flight=1, deadline=Deadline.in_seconds(0.1)))
    resumed.set()
    asyncio.run(pool(abs, 1))  # the pool's only thread has finished the first step

    assert len(said) == 1


def test_a_step_still_in_line_at_the_deadline_never_runs() -> None:
    pool = WorkerPool(1, "pool")
    release, ran = threading.Event(), []

    async def work(item: int) -> None:
        await pool(release.wait, 5) if item == 0 else await pool(ran.append, item)

    results = asyncio.run(run([0, 1], work, in_flight=2, deadline=Deadline.in_seconds(0.1)))
    release.set()
    asyncio.run(pool(abs, 1))

    assert [type(result) for result in results] == [OutOfTime, OutOfTime]
    assert ran == []


def test_an_items_own_timeout_is_not_taken_for_the_deadline() -> None:
    async def work(_: int) -> None:
        raise TimeoutError("its own")

    (result,) = asyncio.run(run([1], work, in_flight=1, deadline=Deadline.in_seconds(5)))

    assert isinstance(result, TimeoutError)
    assert str(result) == "its own"


def test_an_interruption_ends_the_whole_run() -> None:
    async def work(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run([1, 2], work, in_flight=1))


def test_an_item_that_waits_for_what_another_one_cancels_ends_alone() -> None:
    async def work(item: asyncio.Future[int] | None) -> int:
        if item is None:
            return 1
        item.cancel()
        return await item

    async def go() -> list[int | Exception]:
        return await run([asyncio.get_running_loop().create_future(), None], work, in_flight=1)

    given_up, done = asyncio.run(go())

    assert isinstance(given_up, OutOfTime)
    assert done == 1


def test_a_run_that_is_cancelled_begins_no_further_item() -> None:
    begun = []

    async def work(item: int) -> None:
        begun.append(item)
        await asyncio.sleep(0.02)

    async def go() -> None:
        whole = asyncio.create_task(run(range(3), work, in_flight=1))
        while not begun:
            await asyncio.sleep(0)
        whole.cancel()
        with pytest.raises(asyncio.CancelledError):
            await whole

    asyncio.run(go())

    assert begun == [0]


def test_the_first_stage_of_a_name_is_counted_from_zero() -> None:
    durations: dict[str, float] = {}

    with stage("read", durations):
        time.sleep(0.001)

    assert 1.0 <= durations["read_ms"] < 100.0


def test_a_repeated_stage_adds_its_milliseconds_and_a_failed_one_counts() -> None:
    durations: dict[str, float] = {"write_ms": 1000.0}

    with pytest.raises(KeyError), stage("write", durations):
        raise KeyError

    assert 1000.0 <= durations["write_ms"] < 1100.0
