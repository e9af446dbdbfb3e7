"""Read and decode the data set's images, by `labeller.images`, as in production."""

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
from labeller import (
    boxes,
    colours,
    decoder_process,
    headers,
    icc,
    images,
    jpeg,
    jpeg_scan,
    metadata,
    signatures,
    tiff,
    tiff_file,
)
from labeller.decoder_process import decode
from labeller.images import Decoded, Unreadable
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from model_build.cache import source_of
from model_build.data.dataset import DataError, Example
from model_build.data.folders import MAX_BYTES, SECONDS, content_of
from model_build.data.shifts import Changes, changed_copy

DECODING = (
    decoder_process,
    images,
    boxes,
    colours,
    headers,
    icc,
    jpeg,
    jpeg_scan,
    metadata,
    signatures,
    tiff,
    tiff_file,
)
"""The modules that turn bytes into pixels."""

DECODERS = ("pillow", "pillow-heif", "simplejpeg", "numpy")
"""The libraries they use."""

CORES = len(os.sched_getaffinity(0))
"""Cores this process may use; `os.cpu_count` ignores a container's CPU set."""

AHEAD = 16 * CORES
"""Images decoded ahead: enough to keep the network busy, and a bound on memory."""


def decoder_fingerprint() -> list[object]:
    """Everything the pixels depend on besides the image's content and size; part of the key of every cached result."""
    sources = source_of(*(module.__file__ for module in DECODING))
    return [sources, MAX_BYTES, DEFAULT_MAX_IMAGE_PIXELS, {name: version(name) for name in DECODERS}]


def thumbnails(examples: Sequence[Example], image_size: int) -> dict[Example, str]:
    """The network's input for each readable example, small and in its original proportions, as a data URI."""
    uris: dict[Example, str] = {}
    for example in examples:
        with suppress(Unreadable):
            decoded = read(example, image_size)
            uris[example] = thumbnail(decoded.pixels, decoded.width, decoded.height)
    return uris


def read(example: Example, image_size: int, changes: Changes | None = None) -> Decoded:
    """Decode one example, or its copy with one of `changes`.

    Raises Unreadable, and DataError if the file changed since the build began.
    """
    try:
        content = content_of(example.path)
    except OSError as error:
        raise DataError(f"{example.path} could be read when the build began, but not now: {error}") from error
    if hashlib.sha256(content).hexdigest() != example.sha256:
        raise DataError(f"{example.path} changed while the build ran; start again when nothing writes to the data")
    if changes:
        content = changed_copy(content, example.sha256, 2 * image_size, changes)
    return decode(content, (image_size, image_size), DEFAULT_MAX_IMAGE_PIXELS, SECONDS)


def require_readable(readable: Sequence[Example], unreadable: Mapping[Example, Unreadable]) -> None:
    """Raise DataError if all examples are unreadable, with the reason for one of them."""
    if not readable and unreadable:
        example, reason = next(iter(unreadable.items()))
        raise DataError(f"none of {len(unreadable)} pictures can be read, such as {example.path}: {reason}")


class PictureReader:
    """Reads examples, or their changed copies, in batches. Unreadable ones are left out and kept in `unreadable`."""

    def __init__(self, examples: Sequence[Example], image_size: int, changes: Changes | None = None) -> None:
        self.examples = examples
        self.image_size = image_size
        self.changes = changes
        self.unreadable: dict[Example, Unreadable] = {}

    def batches(self, size: int) -> Iterator[tuple[list[Example], np.ndarray]]:
        """At most `size` examples at a time, in order, and their pixels, uint8 [n, S, S, 3] RGB.

        Threads decode while the caller computes: Pillow releases the interpreter lock.
        """
        batch: list[Example] = []
        pixels: list[np.ndarray] = []
        with ThreadPoolExecutor(CORES) as pool:
            source = iter(self.examples)
            pending = deque((example, pool.submit(self._read, example)) for example in islice(source, AHEAD))
            while pending:
                example, future = pending.popleft()
                pending += ((following, pool.submit(self._read, following)) for following in islice(source, 1))
                try:
                    pixels.append(future.result())
                except Unreadable as reason:
                    self.unreadable[example] = reason
                    continue
                batch.append(example)
                if len(batch) == size:
                    yield batch, np.stack(pixels)
                    batch, pixels = [], []
        if batch:
            yield batch, np.stack(pixels)

    def all(self, batch: int) -> tuple[list[Example], np.ndarray]:
        """All readable examples and their pixels. DataError if every example is unreadable."""
        batches = list(self.batches(batch))
        readable = [example for part, _ in batches for example in part]
        require_readable(readable, self.unreadable)
        return readable, np.concatenate([pixels for _, pixels in batches])

    def _read(self, example: Example) -> np.ndarray:
        return read(example, self.image_size, self.changes).pixels
