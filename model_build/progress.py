"""What a person sees while a build runs: a line when a stage starts, a bar while it lasts, seconds when it ends."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

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


def bar(items: Sequence[Item], unit: str) -> Iterator[Item]:
    """The items, with a progress bar on a terminal, or a line now and then in a log."""
    if sys.stdout.isatty():
        layout = "      {percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt} {unit}, {rate_fmt}, {remaining} left"
        yield from tqdm(items, unit=unit, file=sys.stdout, bar_format=layout, leave=False)
        return
    start = last = time.perf_counter()
    for number, item in enumerate(items):
        yield item
        now = time.perf_counter()
        if now - last >= LOG_INTERVAL:
            last = now
            print(
                f"      {number + 1}/{len(items)} {unit}, {(number + 1) / (now - start):.0f} a second",
                flush=True,
            )


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
