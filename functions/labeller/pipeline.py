"""Work on many items at once, within bounds: of threads, of items in flight, of time.

An item is a coroutine, which reads from top to bottom: fetch, decode, predict, write. Each step runs in a lane, some
threads kept for one kind of work, so while one item waits for the network another one is decoded. Steps wait in
line; an item holds no thread while it does.

    lane = Lane(2, "cpu")

    async def work(item):
        return await lane(predict, await network(fetch, item))

    results = asyncio.run(run(items, work, in_flight=16, deadline=Deadline.in_seconds(50)))

Knows nothing of pictures or AWS.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar, TypeVarTuple

Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class OutOfTime(Exception):
    """This could not be finished in time, so it was not begun, or was given up."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When everything must have ended: items are begun until `begin`, steps until `end` (time.monotonic)."""

    begin: float
    end: float

    @classmethod
    def in_seconds(cls, seconds: float, *, item: float = 0.0) -> Deadline:
        """The deadline `seconds` from now, where an item takes `item` seconds and is not begun any later."""
        end = monotonic() + seconds
        return cls(end - item, end)


_deadline: contextvars.ContextVar[Deadline | None] = contextvars.ContextVar("deadline", default=None)


def ensure_time() -> None:
    """Raise OutOfTime if the item that this step belongs to has been given up.

    For steps that repeat themselves: a process may be halted after its answer and resumed much later, as Lambda does,
    and a thread must not then send what was true long ago.
    """
    deadline = _deadline.get()
    if deadline is not None and monotonic() >= deadline.end:
        raise OutOfTime("the time for this is over")


class Lane:
    """Runs functions in at most `threads` threads of its own, in the order of the calls."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)  # threads start when they are needed

    async def __call__(self, function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Result:
        """function(*arguments), or what it raises. OutOfTime if the time was over before its turn came."""
        context = contextvars.copy_context()

        def step() -> Result:
            ensure_time()
            return function(*arguments)

        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: context.run(step))


async def run(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Result]],
    *,
    in_flight: int,
    deadline: Deadline | None = None,
) -> list[Result | Exception]:
    """work(item) of every item, in the order of the items: its result, or the exception it raised.

    At most `in_flight` items are worked on at a time, and `items` is drawn from no further ahead, so it may be endless
    in memory's terms. What cannot be begun in time, or has not ended at the deadline, ends as OutOfTime; a thread
    that is in the middle of such an item's step finishes the step, and nobody waits for it.
    """
    source = enumerate(items)
    results: dict[int, Result | Exception] = {}

    async def worker() -> None:
        _deadline.set(deadline)
        for index, item in source:  # shared: each worker draws its next item
            results[index] = await _attempt(work, item, deadline)

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return [results[index] for index in range(len(results))]


async def _attempt(
    work: Callable[[Item], Awaitable[Result]], item: Item, deadline: Deadline | None
) -> Result | Exception:
    try:
        if deadline is None:
            return await work(item)
        if monotonic() >= deadline.begin:
            return OutOfTime("not begun: too little time was left")
        async with asyncio.timeout(max(deadline.end - monotonic(), 0)) as limit:
            return await work(item)
    except TimeoutError as error:
        if deadline is not None and limit.expired():
            return OutOfTime("given up: it had not ended in time")
        return error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return OutOfTime("given up, because what it waited for was")
    except Exception as error:  # the item's own, which must not end its neighbours
        return error
