"""The frozen base's output for every image, pooled. The base never changes, so each image is computed once and then
cached."""

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
from model_build.data import shifts
from model_build.data.dataset import Example
from model_build.data.reader import CORES, PictureReader, decoder_fingerprint, require_readable
from model_build.data.shifts import Changes
from model_build.export import IMAGE
from model_build.progress import progress_bar

WINDOWS = ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5))
"""Parts of a picture, half as high and half as wide: how far down and right, 0 to 1. The corners and the centre."""

SMALLEST_WITH_WINDOWS = 6
"""Positions of a side of the feature map from which on there are windows; below, the whole picture takes their place.
At 128 pixels, a window has 2 x 2 positions, and a screenshot passed for a dog."""


@dataclass(frozen=True, slots=True)
class Features:
    """The pooled output of a base for the readable examples: `values` float32 [n, 2, C] as from `pool`, `windows`
    float32 [n, 5, C] as from `window_means` (None: not computed), and `labels` int64 [n], in the order of `examples`.
    `unreadable` are the examples left out."""

    examples: tuple[Example, ...]
    values: np.ndarray
    labels: np.ndarray
    unreadable: Mapping[Example, Unreadable] = field(default_factory=dict)
    windows: np.ndarray | None = None


def extract(graph: Path, examples: Sequence[Example], config: BuildConfig, changes: Changes | None = None) -> Features:
    """The pooled output of `graph` (image -> feature maps) for the examples, or for their copies with `changes`.

    From the cache where possible; shows progress.

    DataError if no image can be read; `dataset.require_enough` checks whole splits, because a sample may hold a single
    image of a label.
    """
    content = graph.read_bytes()
    key = key_of(
        "features",
        hashlib.sha256(content).hexdigest(),
        config.image_size,
        decoder_fingerprint(),
        source_of(classifier.__file__, __file__, *([shifts.__file__] if changes else [])),
        sorted(changes or ()),
        [version("onnxruntime"), platform.machine()],
    )
    cache = cache_in(config.cache)
    rows = cache.rows(key, [example.sha256 for example in examples])
    missing = [example for example in examples if example.sha256 not in rows]
    with progress_bar(len(examples), "images") as advance:
        advance(len(examples) - len(missing))
        for computed in _run(content, graph, missing, config, changes) if missing else ():
            cache.add_rows(key, computed)
            rows.update(computed)
            advance(len(computed))
    return _features(examples, rows)


def rows_of(features: Features, chosen: np.ndarray) -> Features:
    """The features where `chosen`, bool [n]."""
    examples = tuple(features.examples[row] for row in np.flatnonzero(chosen))
    windows = None if features.windows is None else features.windows[chosen]
    return Features(examples, features.values[chosen], features.labels[chosen], windows=windows)


def joined(one: Features, two: Features) -> Features:
    """Both, in this order; each with its windows or neither."""
    windows = None if one.windows is None or two.windows is None else np.concatenate([one.windows, two.windows])
    return Features(
        (*one.examples, *two.examples),
        np.concatenate([one.values, two.values]),
        np.concatenate([one.labels, two.labels]),
        windows=windows,
    )


def pool(maps: np.ndarray) -> np.ndarray:
    """Mean and maximum of each channel: feature maps float32 [n, h, w, C] -> [n, 2, C]. All heads compute from these
    two; the maps of 3,000 images at 320 pixels would be 0.6 GB."""
    return np.stack([maps.mean(axis=(1, 2)), maps.max(axis=(1, 2))], axis=1)


def window_means(maps: np.ndarray) -> np.ndarray:
    """Mean of each channel in each of the WINDOWS: feature maps float32 [n, h, w, C] -> [n, 5, C]."""
    count, height, width, channels = maps.shape
    return np.asarray(window_weights(height, width) @ maps.reshape(count, height * width, channels))


def window_weights(height: int, width: int) -> np.ndarray:
    """float32 [5, height * width]: the weight of each position in the mean of each of the WINDOWS."""
    weights = np.zeros((len(WINDOWS), height, width), np.float32)
    if min(height, width) < SMALLEST_WITH_WINDOWS:
        weights[:] = 1 / (height * width)
        return weights.reshape(len(WINDOWS), -1)
    rows, columns = -(-height // 2), -(-width // 2)
    for window, (down, right) in enumerate(WINDOWS):
        top, left = int(down * (height - rows)), int(right * (width - columns))
        weights[window, top : top + rows, left : left + columns] = 1 / (rows * columns)
    return weights.reshape(len(WINDOWS), -1)


def _run(
    content: bytes, graph: Path, examples: Sequence[Example], config: BuildConfig, changes: Changes | None
) -> Iterator[list[tuple[str, CachedRow]]]:
    """Batches of rows; the last holds the unreadable images."""
    session = open_session(content, graph, CORES)
    reader = PictureReader(examples, config.image_size, changes)
    for batch, pixels in reader.batches(config.inference_batch):
        (values,) = session.run(None, {IMAGE: pixels})
        rows = np.concatenate([pool(values), window_means(values)], axis=1)
        yield [(example.sha256, row) for example, row in zip(batch, rows, strict=True)]
    yield [(example.sha256, reason) for example, reason in reader.unreadable.items()]


def _features(examples: Sequence[Example], rows: Mapping[str, CachedRow]) -> Features:
    """The rows in the order of the examples, which may hold an image twice."""
    readable: list[Example] = []
    unreadable: dict[Example, Unreadable] = {}
    values: list[np.ndarray] = []
    for example in examples:
        row = rows[example.sha256]
        if isinstance(row, Unreadable):
            unreadable[example] = row
        else:
            readable.append(example)
            values.append(row)
    require_readable(readable, unreadable)
    labels = np.array([example.label for example in readable])
    pooled = np.stack(values)
    return Features(tuple(readable), pooled[:, :2], labels, unreadable, pooled[:, 2:])
