"""Stage 4: what the frozen base says of every picture. It never changes, so it is run once per picture, ever: the next
build finds in the cache what this one computed."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from labeller import classifier
from labeller.classifier import open_session
from labeller.images import Unreadable
from model_build.cache import CachedRow, cache_in, key_of, source_of
from model_build.config import BuildConfig
from model_build.data.dataset import Example
from model_build.data.reader import CORES, PictureReader, decoder_fingerprint, require_readable
from model_build.export import IMAGE
from model_build.progress import progress_bar


@dataclass(frozen=True, slots=True)
class Features:
    """Outputs of a graph for the readable examples of one split.

    `values` is float32 [n, ...], `labels` int64 [n], both in the order of `examples`. `unreadable` holds those
    that were left out.
    """

    examples: tuple[Example, ...]
    values: np.ndarray
    labels: np.ndarray
    unreadable: Mapping[Example, Unreadable] = field(default_factory=dict)


def extract(graph: Path, examples: Sequence[Example], config: BuildConfig, *, flipped: bool = False) -> Features:
    """What `graph`, image -> anything, says of the examples' pictures, showing progress; `flipped`: of their mirror
    images, left for right. From `config.cache` where it holds it, else computed and kept there.

    DataError if none of the pictures can be read. Whether enough of each label can is `dataset.require_enough`'s to
    say, of a whole split: a sample may hold a single picture of a label.
    """
    content = graph.read_bytes()
    cache, key = cache_in(config.cache), _key(content, config.image_size, flipped)
    rows = cache.rows(key, [example.sha256 for example in examples])
    missing = [example for example in examples if example.sha256 not in rows]
    with progress_bar(len(examples), "images") as advance:
        advance(len(examples) - len(missing))
        for computed in _run(content, graph, missing, config, flipped) if missing else ():
            cache.add_rows(key, computed)
            rows.update(computed)
            advance(len(computed))
    return _gathered(examples, rows)


def _run(
    content: bytes, graph: Path, examples: Sequence[Example], config: BuildConfig, flipped: bool
) -> Iterator[list[tuple[str, CachedRow]]]:
    """The rows of the examples, some at a time, those that cannot be read last."""
    session = open_session(content, graph, CORES)
    reader = PictureReader(examples, config.image_size)
    for part, pixels in reader.batches(config.inference_batch):
        seen = np.ascontiguousarray(pixels[:, :, ::-1]) if flipped else pixels
        (values,) = session.run(None, {IMAGE: seen})
        yield [(example.sha256, row) for example, row in zip(part, values, strict=True)]
    yield [(example.sha256, reason) for example, reason in reader.unreadable.items()]


def _gathered(examples: Sequence[Example], rows: Mapping[str, CachedRow]) -> Features:
    unreadable: dict[Example, Unreadable] = {}
    kept: list[Example] = []
    values: list[np.ndarray] = []
    for example in examples:
        row = rows[example.sha256]
        if isinstance(row, Unreadable):
            unreadable[example] = row
        else:
            kept.append(example)
            values.append(row)
    require_readable(kept, unreadable)
    return Features(tuple(kept), np.stack(values), np.array([example.label for example in kept]), unreadable)


def _key(graph: bytes, image_size: int, flipped: bool) -> str:
    """What the answer for a picture depends on besides its content."""
    return key_of(
        "features",
        hashlib.sha256(graph).hexdigest(),
        image_size,
        flipped,
        decoder_fingerprint(),
        source_of(classifier.__file__, __file__),
        [version("onnxruntime"), platform.machine()],
    )
