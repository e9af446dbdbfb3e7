"""Scoring: the test set through the model, with the download, limits, decoding and threshold of uploads."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from evaluation.class_activation import ClassActivation, Shade
from evaluation.comparison import Reference
from evaluation.predictions import Scored, Unscored
from evaluation.thumbnails import thumbnail
from labeller.aws_errors import AwsFailure, Gone
from labeller.classifier import Classifier
from labeller.events import ObjectRef
from labeller.images import Unreadable
from labeller.inference import decode_fetched, infer
from labeller.manifest import MODEL_FILE, ModelError, read_file
from labeller.observability import logger
from labeller.pipeline import Deadline, OutOfTime, WorkerPool, run
from labeller.results import Status
from labeller.settings import Settings
from labeller.storage import Fetched, Storage
from score.testset import TESTSET_PREFIX, Example

Answer = TypeVar("Answer")

OUT_OF_TIME = "DEADLINE: there was no time left to score it"


@dataclass(frozen=True, slots=True)
class ScoringRun:
    """All answers, and the time they took."""

    scored: tuple[Scored, ...]  # pictures of the labels
    others: tuple[Scored, ...]  # pictures of none of them
    unscored: tuple[Unscored, ...]
    seconds: float
    inference_ms: tuple[float, ...]  # of each scored picture, on one processor


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model with all that it needs to score pictures of a bucket."""

    bucket: str
    storage: Storage
    classifier: Classifier
    settings: Settings
    references: Sequence[Reference] = ()  # what the answers will be compared with

    def score(self, examples: Sequence[Example], deadline: Deadline) -> ScoringRun:
        """Score the examples in order until the deadline.

        Each picture runs on one processor, all processors at once, while others are downloaded, as in classify. A
        picture that cannot be fetched, decoded or reached in time is unscored, with the reason. Raises ModelError.
        """
        start = time.perf_counter()
        results = self._each(examples, self._score_one, deadline)
        seconds = time.perf_counter() - start
        answers = [result for result in results if not isinstance(result, Exception)]
        unscored = [
            Unscored(example.name, _reason(result))
            for example, result in zip(examples, results, strict=True)
            if isinstance(result, Exception)
        ]
        labels = self.classifier.labels
        return ScoringRun(
            tuple(scored for scored, _ in answers if scored.true in labels),
            tuple(scored for scored, _ in answers if scored.true not in labels),
            tuple(unscored),
            seconds,
            tuple(ms for _, ms in answers),
        )

    def explain(self, mistakes: Sequence[Scored], deadline: Deadline) -> dict[str, Shade]:
        """By key, what is laid over each picture to show what speaks for the label that it got.

        The pictures are fetched again, because scoring keeps no pixels. One without an explanation is left out, with
        the reason in the log: a report is worth more than its explanations.
        """
        path = self.settings.model_dir / MODEL_FILE
        try:
            activation = ClassActivation.of(read_file(path), path)
        except ModelError as error:
            logger.info("the report cannot show why: an older model, or no linear head", error=str(error))
            return {}

        by_key = {TESTSET_PREFIX + mistake.key: mistake for mistake in mistakes}

        def shade(example: Example, fetched: Fetched) -> Shade:
            mistake = by_key[example.key]
            if hashlib.sha256(fetched.data or b"").hexdigest() != mistake.sha256:
                raise Gone("it was replaced after it was scored")
            decoded = decode_fetched(fetched, self.classifier.input_size, self.settings)
            label = self.classifier.labels.index(mistake.prediction.label)
            return activation.shade(decoded.pixels, label, decoded.width, decoded.height)

        examples = [Example(key, mistake.true) for key, mistake in by_key.items()]
        shades = {}
        for example, result in zip(examples, self._each(examples, shade, deadline), strict=True):
            if isinstance(result, Exception):
                logger.warning("the report cannot show why", key=example.key, error=repr(result))
            else:
                shades[example.name] = result
        return shades

    def _each(
        self, examples: Sequence[Example], step: Callable[[Example, Fetched], Answer], deadline: Deadline
    ) -> list[Answer | Exception]:
        """step(example, fetched) of each example, or the exception that it or its download raised, in their order."""
        in_flight = self.settings.objects_in_flight
        aws_pool, cpu_pool = WorkerPool(in_flight, "aws"), WorkerPool(self.settings.onnx_threads, "cpu")

        async def work(example: Example) -> Answer:
            return await cpu_pool(step, example, await aws_pool(self._fetch, example))

        return asyncio.run(run(examples, work, in_flight=in_flight, deadline=deadline))

    def _fetch(self, example: Example) -> Fetched:
        return self.storage.fetch(ObjectRef(self.bucket, example.key), self.settings.max_image_bytes)

    def _score_one(self, example: Example, fetched: Fetched) -> tuple[Scored, float]:
        """The answer, and the milliseconds that the network took for it."""
        durations: dict[str, float] = {}
        inference = infer(fetched, self.classifier, self.settings, durations)
        prediction, decoded = inference.prediction, inference.decoded
        identity = (example.label, hashlib.sha256(fetched.data or b"").hexdigest())
        # The report shows only the pictures that are wrong or got another label than before.
        before = [reference.answers.get(identity, prediction.label) for reference in self.references]
        shown = {example.label, *before} != {prediction.label}
        if example.label not in self.classifier.labels:
            shown = inference.result.status is Status.LABELLED
        scored = Scored(
            key=example.name,
            true=example.label,
            sha256=identity[1],
            prediction=prediction,
            status=inference.result.status,
            thumbnail=thumbnail(decoded.pixels, decoded.width, decoded.height) if shown else None,
        )
        return scored, durations["inference_ms"]


def _reason(error: Exception) -> str:
    """The reason as "CAUSE: details". Raises the error if the picture is not the cause."""
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
