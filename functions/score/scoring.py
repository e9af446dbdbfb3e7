"""The test set through the model, on the path of production: fetch, limits, decode, network, threshold."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from labeller.events import ObjectRef
from labeller.images import Decoded, Reason, Unreadable, decode
from labeller.model import Classifier
from labeller.page import thumbnail
from labeller.predictions import Identity, Scored, Unscored
from labeller.settings import Settings
from labeller.storage import AwsFailure, Gone, Storage
from score.testset import Example

DEADLINE = "DEADLINE: there was no time left to look at it"

FETCHERS = 4
"""Threads that fetch and decode: enough that the network, at some 40 ms a picture on two vCPUs, need not wait."""

AHEAD = 4 * FETCHERS
"""Pictures fetched ahead of the network; bounds the memory whatever the size of the test set."""


@dataclass(frozen=True, slots=True)
class Run:
    """All answers, and how long they took."""

    scored: tuple[Scored, ...]
    unscored: tuple[Unscored, ...]
    seconds: float
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class Looked:
    """A picture as the network is to see it."""

    example: Example
    sha256: str
    decoded: Decoded


def score(
    examples: Sequence[Example],
    bucket: str,
    storage: Storage,
    classifier: Classifier,
    settings: Settings,
    before: Mapping[Identity, str],
    seconds_left: Callable[[], float],
) -> Run:
    """Ask the model about each of the examples, until `seconds_left()` is 0 or less.

    `before` holds the labels of another night; pictures that are wrong now, or were given another label then, keep a
    thumbnail. Pictures that cannot be had or decoded, and those the time did not suffice for, are unscored with the
    reason. Raises ModelError.
    """
    scored, unscored = [], []
    begin, inference = time.perf_counter(), 0.0

    def look(example: Example) -> Looked | Unscored:
        return _look(example, bucket, storage, classifier, settings)

    for looked in _ahead(look, examples, seconds_left):
        if isinstance(looked, Unscored):
            unscored.append(looked)
            continue
        start = time.perf_counter()
        (prediction,) = classifier.predict(looked.decoded.pixels[np.newaxis])
        inference += time.perf_counter() - start
        one = Scored(
            key=looked.example.name,
            true=looked.example.label,
            sha256=looked.sha256,
            prediction=prediction,
            unsure=prediction.confidence < classifier.confidence_threshold,
        )
        scored.append(_with_thumbnail(one, looked.decoded, before))
    return Run(tuple(scored), tuple(unscored), time.perf_counter() - begin, inference)


def _ahead(
    look: Callable[[Example], Looked | Unscored], examples: Sequence[Example], seconds_left: Callable[[], float]
) -> Iterator[Looked | Unscored]:
    """What `look` makes of each example, in order, looked at in threads while the caller works with the last one."""
    source = iter(examples)
    with ThreadPoolExecutor(FETCHERS) as pool:
        waiting = deque((example, pool.submit(look, example)) for example in islice(source, AHEAD))
        while waiting:
            example, future = waiting.popleft()
            if seconds_left() <= 0:
                future.cancel()
                yield Unscored(example.name, DEADLINE)
                continue
            yield future.result()
            waiting.extend((following, pool.submit(look, following)) for following in islice(source, 1))
        yield from (Unscored(example.name, DEADLINE) for example in source)  # none, but after the deadline


def _look(
    example: Example, bucket: str, storage: Storage, classifier: Classifier, settings: Settings
) -> Looked | Unscored:
    ref = ObjectRef(bucket, example.key, None, "", "", None, None)
    try:
        fetched = storage.fetch(ref, settings.max_image_bytes)
        if fetched.data is None:
            return Unscored(example.name, f"{Reason.TOO_LARGE}: {fetched.size} bytes")
        decoded = decode(fetched.data, classifier.input_size, settings.max_image_pixels)
    except Unreadable as error:
        return Unscored(example.name, f"{error.reason}: {error.detail}")
    except Gone:
        return Unscored(example.name, "GONE: it was deleted while the test set was being scored")
    except AwsFailure as failure:
        return Unscored(example.name, f"AWS: {failure}")
    return Looked(example, hashlib.sha256(fetched.data).hexdigest(), decoded)


def _with_thumbnail(scored: Scored, decoded: Decoded, before: Mapping[Identity, str]) -> Scored:
    label = scored.prediction.label
    if scored.right and before.get(scored.identity, label) == label:
        return scored
    return replace(scored, thumbnail=thumbnail(decoded.pixels, decoded.width, decoded.height))
