"""The build's progress on the terminal: a line when a stage starts, a bar while it runs, its seconds when it ends."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from labeller.text import printable

LOG_INTERVAL = 10.0  # seconds between lines where no terminal shows a bar


class Stages:
    """Prints and times the stages of a build. `seconds` holds those that are finished, in order."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, description: str) -> Iterator[None]:
        """Announce, time and record one stage."""
        print(f"[{len(self.seconds) + 1}/{self.total}] {name}: {printable(description)}", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)
        print(f"      done in {self.seconds[name]:.1f} s", flush=True)


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Show how many of `total` are done: a bar on a terminal, a line every 10 s in a log.

    Yields a function that takes the number done since its last call.
    """
    if sys.stdout.isatty():
        layout = "      {percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt} {unit}, {rate_fmt}, {remaining} left"
        with tqdm(total=total, unit=unit, file=sys.stdout, bar_format=layout, leave=False) as bar:
            yield bar.update
        return
    start = last = time.perf_counter()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.perf_counter()
        if now - last >= LOG_INTERVAL:
            last = now
            print(f"      {done}/{total} {unit}, {done / (now - start):.1f} per second", flush=True)

    yield advance


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hide what native libraries write to standard error while they are imported, unless the import fails.

    TensorFlow reports a missing GPU in four lines before it reads any setting.
    """
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(standard_error, hidden.read())
            raise
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
