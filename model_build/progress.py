"""What a person sees while a build runs: a line when a stage starts, a bar while it lasts, seconds when it ends."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

LOG_INTERVAL = 10.0  # seconds between lines where there is no terminal to redraw


class Stages:
    """Times the stages of a build and says where it is. `seconds` holds the finished ones in order."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """One stage: announced, timed, recorded under `name`."""
        print(f"[{len(self.seconds) + 1}/{self.total}] {name}: {what}", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)
        print(f"      done in {self.seconds[name]:.1f} s", flush=True)


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Show how many of `total` are done: a bar on a terminal, a line now and then in a log.

    The context gives a function to be called with the number done since the last call.
    """
    if sys.stdout.isatty():
        layout = "      {percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt} {unit}, {rate_fmt}, {remaining} left"
        with tqdm(total=total, unit=unit, file=sys.stdout, bar_format=layout, leave=False) as live:
            yield live.update
        return
    start = last = time.perf_counter()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.perf_counter()
        if now - last >= LOG_INTERVAL:
            last = now
            print(f"      {done}/{total} {unit}, {done / (now - start):.1f} a second", flush=True)

    yield advance


@contextmanager
def quiet_start() -> Iterator[None]:
    """Withhold what native libraries write to standard error while they are imported: TensorFlow announces
    that it found no GPU, four lines before it reads any setting. Shown after all if the import fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as withheld:
        os.dup2(withheld.fileno(), 2)
        try:
            yield
        except BaseException:
            withheld.seek(0)
            os.write(kept, withheld.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
