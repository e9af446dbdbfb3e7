"""The test set through the model, on the path of production: fetch, limits, decode, network, threshold."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation.predictions import Identity, Scored, Unscored
from evaluation.thumbnails import thumbnail
from labeller.classifier import Classifier
from labeller.events import ObjectRef
from labeller.images import Decoded, Unreadable
from labeller.inference import decode_fetched, objects_in_flight, threshold_in_force
from labeller.pipeline import Deadline, Lane, OutOfTime, run
from labeller.settings import Settings
from labeller.storage import AwsFailure, Fetched, Gone, Storage
from score.testset import Example

OUT_OF_TIME = "DEADLINE: there was no time left to look at it"


@dataclass(frozen=True, slots=True)
class Run:
    """All answers, and how long they took."""

    scored: tuple[Scored, ...]
    unscored: tuple[Unscored, ...]
    seconds: float
    inference_ms: tuple[float, ...]  # of each scored picture, on one processor


@dataclass(frozen=True, slots=True)
class Scorer:
    """All that an answer takes."""

    bucket: str
    storage: Storage
    classifier: Classifier
    settings: Settings
    before: Sequence[Mapping[Identity, str]]  # labels that tonight is compared with: of another night, of the build

    def score(self, examples: Sequence[Example], deadline: Deadline) -> Run:
        """Ask the model about each of the examples while there is time.

        As in classify, each picture has one processor, and as many are looked at as there are processors, while
        others wait for S3. Pictures that cannot be had or decoded, and those the time did not suffice for, are
        unscored with the reason. Raises ModelError.
        """
        in_flight = objects_in_flight(self.settings.max_image_bytes)
        fetching, looking = Lane(in_flight, "aws"), Lane(self.settings.onnx_threads, "cpu")

        async def work(example: Example) -> tuple[Scored, float]:
            return await looking(self._look, example, await fetching(self._fetch, example))

        begin = time.perf_counter()
        results = asyncio.run(run(examples, work, in_flight=in_flight, deadline=deadline))
        seconds = time.perf_counter() - begin
        answers = [result for result in results if isinstance(result, tuple)]
        failed = [
            Unscored(example.name, _reason(result))
            for example, result in zip(examples, results, strict=True)
            if isinstance(result, Exception)
        ]
        return Run(tuple(one for one, _ in answers), tuple(failed), seconds, tuple(taken for _, taken in answers))

    def _fetch(self, example: Example) -> Fetched:
        ref = ObjectRef(self.bucket, example.key, None, "", "", None, None)
        return self.storage.fetch(ref, self.settings.max_image_bytes)

    def _look(self, example: Example, fetched: Fetched) -> tuple[Scored, float]:
        """The answer, and how many milliseconds the network took for it."""
        decoded = decode_fetched(fetched, self.classifier.input_size, self.settings)
        begin = time.perf_counter()
        (prediction,) = self.classifier.predict(decoded.pixels[np.newaxis])
        taken = 1000 * (time.perf_counter() - begin)
        scored = Scored(
            key=example.name,
            true=example.label,
            sha256=hashlib.sha256(fetched.data or b"").hexdigest(),
            prediction=prediction,
            unsure=prediction.confidence < threshold_in_force(self.classifier.confidence_threshold, self.settings),
        )
        return self._with_thumbnail(scored, decoded), taken

    def _with_thumbnail(self, scored: Scored, decoded: Decoded) -> Scored:
        """For the pictures that the report may show: those that are wrong, and those that were given another label."""
        label = scored.prediction.label
        if scored.right and all(labels.get(scored.identity, label) == label for labels in self.before):
            return scored
        return replace(scored, thumbnail=thumbnail(decoded.pixels, decoded.width, decoded.height))


def _reason(error: Exception) -> str:
    """Why there is no answer: a word, a colon, and the rest. Raises the error if it is none of the picture's own."""
    match error:
        case Unreadable():
            return f"{error.reason}: {error.detail}"
        case Gone():
            return "GONE: it was deleted while the test set was being scored"
        case AwsFailure():
            return f"AWS: {error}"
        case OutOfTime():
            return OUT_OF_TIME
    raise error
