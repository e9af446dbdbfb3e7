"""Pictures of the data set as the network sees them: decoded by `labeller.images`, as in production."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from labeller.images import Decoded, Unreadable, decode
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from model_build.dataset import Example

CORES = len(os.sched_getaffinity(0))
"""Cores this process may use; a container's CPU quota is not seen by `os.cpu_count`."""


def decoded(
    examples: Sequence[Example], image_size: int
) -> Iterator[tuple[Example, Decoded] | tuple[Example, Unreadable]]:
    """The examples in order, each with its picture or the reason there is none.

    Decodes ahead in threads (Pillow releases the interpreter lock), so that the network need not wait; never
    more than a few pictures ahead, so that memory does not grow with the data set.
    """

    def work(example: Example) -> Decoded | Unreadable:
        try:
            return decode(example.path.read_bytes(), (image_size, image_size), DEFAULT_MAX_IMAGE_PIXELS)
        except Unreadable as reason:
            return reason

    with ThreadPoolExecutor(CORES) as pool:
        waiting: deque[tuple[Example, Future[Decoded | Unreadable]]] = deque()
        source = iter(examples)
        for example in islice(source, 16 * CORES):
            waiting.append((example, pool.submit(work, example)))
        while waiting:
            example, future = waiting.popleft()
            yield example, future.result()  # type: ignore[misc]  # the union travels with its example
            for following in islice(source, 1):
                waiting.append((following, pool.submit(work, following)))


def batches(
    examples: Sequence[Example], image_size: int, size: int, unreadable: dict[Example, Unreadable]
) -> Iterator[tuple[list[Example], np.ndarray]]:
    """The readable examples in batches of at most `size`, with their pixels, uint8 [n, S, S, 3] RGB.

    Those that cannot be read are left out and noted in `unreadable`.
    """
    kept: list[Example] = []
    pixels: list[np.ndarray] = []
    for example, result in decoded(examples, image_size):
        if isinstance(result, Unreadable):
            unreadable[example] = result
            continue
        kept.append(example)
        pixels.append(result.pixels)
        if len(kept) == size:
            yield kept, np.stack(pixels)
            kept, pixels = [], []
    if kept:
        yield kept, np.stack(pixels)
