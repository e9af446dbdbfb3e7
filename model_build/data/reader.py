"""Pictures of the data set as the network sees them: decoded by `labeller.images`, as in production."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from itertools import islice

import numpy as np

from evaluation.thumbnails import thumbnail
from labeller import colours, images, signatures
from labeller.images import Decoded, Unreadable, decode
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from model_build.cache import source_of
from model_build.data.dataset import DataError, Example
from model_build.data.folders import MAX_BYTES, content_of

DECODING = (images, colours, signatures)
"""The modules that make pixels of bytes."""

DECODERS = ("pillow", "pillow-heif", "numpy")
"""The libraries by which they do."""

CORES = len(os.sched_getaffinity(0))
"""Cores this process may use; a container's CPU quota is not seen by `os.cpu_count`."""

AHEAD = 16 * CORES
"""Pictures decoded ahead of the network: enough that it need not wait, and no more memory for more pictures."""


def decoder_fingerprint() -> list[object]:
    """What the pixels of a picture depend on besides its content and their size: a part of the key of all that is kept
    of pictures."""
    sources = source_of(*(module.__file__ for module in DECODING))
    return [sources, MAX_BYTES, DEFAULT_MAX_IMAGE_PIXELS, {name: version(name) for name in DECODERS}]


def thumbnails(examples: Sequence[Example], image_size: int) -> dict[Example, str]:
    """What the network sees of each readable example, small and in its own proportions, as a data URI."""
    found: dict[Example, str] = {}
    for example in examples:
        with suppress(Unreadable):
            decoded = read(example, image_size)
            found[example] = thumbnail(decoded.pixels, decoded.width, decoded.height)
    return found


def read(example: Example, image_size: int) -> Decoded:
    """Decode one example. Raises Unreadable, and DataError if the file is not what it was when the build began."""
    try:
        content = content_of(example.path)
    except OSError as error:
        raise DataError(f"{example.path} could be read when the build began, and no longer: {error}") from error
    if hashlib.sha256(content).hexdigest() != example.sha256:
        raise DataError(f"{example.path} changed while the build ran; start again when nobody writes to the data")
    return decode(content, (image_size, image_size), DEFAULT_MAX_IMAGE_PIXELS)


def require_readable(readable: Sequence[Example], unreadable: Mapping[Example, Unreadable]) -> None:
    """Raise DataError, which names one and says what is wrong with it, if all examples are unreadable."""
    if not readable and unreadable:
        example, reason = next(iter(unreadable.items()))
        raise DataError(f"none of {len(unreadable)} pictures can be read, such as {example.path}: {reason}")


class PictureReader:
    """Reads examples in batches. What could not be read is left out, and is in `unreadable` afterwards."""

    def __init__(self, examples: Sequence[Example], image_size: int) -> None:
        self.examples = examples
        self.image_size = image_size
        self.unreadable: dict[Example, Unreadable] = {}

    def batches(self, size: int) -> Iterator[tuple[list[Example], np.ndarray]]:
        """At most `size` examples at a time, in order, and their pixels, uint8 [n, S, S, 3] RGB.

        Decodes in threads while the caller works: Pillow releases the interpreter lock.
        """
        kept: list[Example] = []
        pixels: list[np.ndarray] = []
        with ThreadPoolExecutor(CORES) as pool:
            source = iter(self.examples)
            waiting = deque((example, pool.submit(self._read, example)) for example in islice(source, AHEAD))
            while waiting:
                example, future = waiting.popleft()
                waiting += ((following, pool.submit(self._read, following)) for following in islice(source, 1))
                try:
                    pixels.append(future.result())
                except Unreadable as reason:
                    self.unreadable[example] = reason
                    continue
                kept.append(example)
                if len(kept) == size:
                    yield kept, np.stack(pixels)
                    kept, pixels = [], []
        if kept:
            yield kept, np.stack(pixels)

    def all(self, at_once: int) -> tuple[list[Example], np.ndarray]:
        """The readable examples and the pixels of all of them; for as many as memory holds. DataError if there are
        none."""
        batches = list(self.batches(at_once))
        kept = [example for part, _ in batches for example in part]
        require_readable(kept, self.unreadable)
        return kept, np.concatenate([pixels for _, pixels in batches])

    def _read(self, example: Example) -> np.ndarray:
        return read(example, self.image_size).pixels
