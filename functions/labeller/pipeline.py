"""Work on many items at once, with limits on threads, on items in flight and on time. Knows no pictures and no AWS.

An item is a coroutine. Each of its steps runs in a pool of threads for one kind of work, so that one item is decoded
while another one waits for the network. An item that waits for a free thread holds none.

    pool = WorkerPool(2, "cpu")

    async def work(item):
        return await pool(predict, await network_pool(fetch, item))

    results = asyncio.run(run(items, work, in_flight=16, deadline=Deadline.in_seconds(50)))
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Self, TypeVar, TypeVarTuple

Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class OutOfTime(Exception):
    """The deadline passed before the work was begun, or before it was finished."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The times (time.monotonic) after which no item is begun, and no step."""

    begin: float
    end: float

    @classmethod
    def in_seconds(cls, seconds: float, *, item: float = 0.0) -> Self:
        """The deadline in `seconds`; no item is begun in its last `item` seconds, which one item may take."""
        end = monotonic() + seconds
        return cls(end - item, end)


_deadline: contextvars.ContextVar[Deadline | None] = contextvars.ContextVar("deadline", default=None)


def ensure_time() -> None:
    """Raise OutOfTime if the item of the current step has been given up.

    For steps with retries: Lambda may halt a process after its answer and resume it much later, and a thread must not
    then send outdated results.
    """
    deadline = _deadline.get()
    if deadline is not None and monotonic() >= deadline.end:
        raise OutOfTime("the deadline has passed")


class WorkerPool:
    """Runs functions in up to `threads` threads, in the order of the calls."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)  # starts a thread when it is needed

    async def __call__(self, function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Result:
        """function(*arguments), or its exception. OutOfTime if the deadline passed before its turn."""
        return await self.end(self.begin(function, *arguments))

    def begin(self, function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> "Future[Result]":
        """Begin a call without waiting for it; in any thread, also in a step."""
        context = contextvars.copy_context()

        def step() -> Result:
            ensure_time()
            return function(*arguments)

        return self._threads.submit(context.run, step)

    async def end(self, call: "Future[Result]") -> Result:
        """What the call returns or raises."""
        return await asyncio.wrap_future(call)


@contextmanager
def stage(name: str, durations: dict[str, float]) -> Iterator[None]:
    """Add the milliseconds that the block takes to durations["<name>_ms"]."""
    start = perf_counter()
    try:
        yield
    finally:
        durations[f"{name}_ms"] = durations.get(f"{name}_ms", 0.0) + (perf_counter() - start) * 1000


async def run(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Result]],
    *,
    in_flight: int,
    deadline: Deadline | None = None,
) -> list[Result | Exception]:
    """The result of work(item), or the exception it raised, for every item, in their order.

    At most `in_flight` items are worked on at a time. `items` is read no further ahead, so that it may be a generator.
    Items that cannot be begun or finished in time get OutOfTime. A thread in the middle of such an item's step
    finishes that step, and nothing waits for it.
    """
    source = enumerate(items)
    results: dict[int, Result | Exception] = {}

    async def worker() -> None:
        _deadline.set(deadline)
        for index, item in source:  # shared: each worker takes the next item
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
            return OutOfTime("given up: not finished in time")
        return error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return OutOfTime("given up: work that it waited for was cancelled")
    except Exception as error:  # belongs to this item and must not end the others
        return error
