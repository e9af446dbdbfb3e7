"""Verify the exported model on the test images, and stop a build that is not worth shipping. No other stage uses the
test images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from evaluation.metrics import mcnemar_test, wilson_interval
from evaluation.predictions import Scored
from labeller.classifier import Classifier, softmax
from labeller.images import Unreadable
from labeller.results import Prediction
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, Example, require_enough, spread
from model_build.data.reader import PictureReader
from model_build.features import Features, extract
from model_build.head import TrainedHead
from model_build.progress import progress_bar
from model_build.selection import TrainedNetwork


class VerificationError(Exception):
    """The exported model is not what was trained; the message gives both figures."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of right predictions with its 95% Wilson interval, rounded as in report.json; NaN for no images."""

    images: int
    correct: int
    accuracy: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, right: Sequence[bool] | np.ndarray) -> Accuracy:
        """Count `right` [n]."""
        images, correct = len(right), int(np.sum(right))
        interval = wilson_interval(correct, images)
        accuracy = round(correct / images, 4) if images else math.nan
        return cls(images, correct, accuracy, (round(interval.low, 4), round(interval.high, 4)))


@dataclass(frozen=True, slots=True)
class SplitAccuracy:
    """`int8` on all images; `fp32` and `int8_on_fp32_images` on the same sample; None for training."""

    int8: Accuracy
    fp32: Accuracy | None = None
    int8_on_fp32_images: Accuracy | None = None


@dataclass(frozen=True, slots=True)
class BaselineTest(Accuracy):
    """The baseline on test images and the head on the same ones, with the McNemar p-value."""

    head_correct: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for some examples: `logits` float [n, labels]; `labels` int64 [n] are the true ones."""

    examples: tuple[Example, ...]
    logits: np.ndarray
    labels: np.ndarray
    temperature: float

    @property
    def probabilities(self) -> np.ndarray:
        """float64 [n, labels]."""
        return softmax(self.logits, self.temperature)

    @property
    def predicted(self) -> np.ndarray:
        """Index of the likeliest label, int64 [n]."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the likeliest label, float64 [n]."""
        return self.probabilities.max(axis=1)

    @property
    def right(self) -> np.ndarray:
        """Whether the likeliest label is the true one, bool [n]."""
        return np.asarray(self.predicted == self.labels)

    def scored(self, labels: Sequence[str], threshold: float, root: Path) -> list[Scored]:
        """The rows of predictions.csv, with which the nightly report compares itself; keys are paths below `root`."""
        return [
            Scored(
                key=example.path.relative_to(root).as_posix(),
                true=labels[true],
                sha256=example.sha256,
                prediction=Prediction(labels[best], float(row[best]), dict(zip(labels, row.tolist(), strict=True))),
                unsure=bool(row[best] < threshold),
            )
            for example, row, best, true in zip(
                self.examples, self.probabilities, self.predicted, self.labels, strict=True
            )
        ]


@dataclass(frozen=True, slots=True)
class Verification:
    """The figures of the finished model.

    `test` are its predictions for the test images; `accuracy` is by split. `baseline` compares the baseline with the
    head on a sample of the test images, both on FP32 features. `largest_difference` is that of a probability between
    the exported graph and Keras. `unreadable` are the test images left out.
    """

    test: Predictions
    accuracy: dict[str, SplitAccuracy]
    baseline: BaselineTest
    largest_difference: float
    unreadable: Mapping[Example, Unreadable]


def verify(
    classifier: Classifier, network: TrainedNetwork, temperature: float, data: Dataset, config: BuildConfig
) -> Verification:
    """Score the finished model; `network` is what it was exported from.

    Raises VerificationError if the graph disagrees with Keras, or if INT8 loses more than the tolerance against FP32 on
    the same test images; DataError if too few test images of a label can be read.
    """
    head, known = network.trained, network.features
    difference = agreement(classifier, head, temperature, known)
    if difference > config.graph_tolerance:
        raise VerificationError(
            f"the exported graph and Keras differ by up to {difference:.6f} in probability on the same images "
            f"(allowed: {config.graph_tolerance}); the export is wrong"
        )
    reader = PictureReader(data.splits["test"], config.image_size)
    test = predict(classifier, reader, temperature, config.inference_batch)
    require_enough(data, "test", test.examples)
    sample = extract(network.fp32, spread(test.examples, config.affordable(config.fp32_megapixels)), config)

    sample_right = _right(head, sample)
    accuracy = {
        "train": SplitAccuracy(Accuracy.of(_right(head, known))),
        "validation": SplitAccuracy(
            Accuracy.of(network.head.right),
            fp32=Accuracy.of(_right(head, network.reference)),
            int8_on_fp32_images=_accuracy_on(network.reference, known.examples, _right(head, known)),
        ),
        "test": SplitAccuracy(
            Accuracy.of(test.right),
            fp32=Accuracy.of(sample_right),
            int8_on_fp32_images=_accuracy_on(sample, test.examples, test.right),
        ),
    }
    require_little_loss(accuracy["test"], config.int8_tolerance)
    baseline = compare_with_baseline(_right(network.yardstick, sample), sample_right)
    return Verification(test, accuracy, baseline, difference, reader.unreadable)


def agreement(
    classifier: Classifier, head: TrainedHead, temperature: float, features: Features, images: int = 32
) -> float:
    """Largest absolute difference of a probability between the finished graph on pixels and the Keras head on the
    features of the same images."""
    chosen = np.unique(np.linspace(0, len(features.examples) - 1, images).astype(int))
    examples = [features.examples[index] for index in chosen]
    ((_, pixels),) = PictureReader(examples, classifier.input_size[0]).batches(len(examples))
    expected = softmax(head.logits(features.values[chosen]), temperature)
    return float(np.abs(softmax(classifier.logits(pixels), temperature) - expected).max())


def predict(classifier: Classifier, reader: PictureReader, temperature: float, batch: int) -> Predictions:
    """The finished model's predictions for every readable image."""
    examples: list[Example] = []
    logits = [np.empty((0, len(classifier.labels)))]
    with progress_bar(len(reader.examples), "images") as advance:
        for part, pixels in reader.batches(batch):
            examples += part
            logits.append(classifier.logits(pixels))
            advance(len(part))
    labels = np.array([example.label for example in examples], int)
    return Predictions(tuple(examples), np.concatenate(logits), labels, temperature)


def require_little_loss(test: SplitAccuracy, tolerance: float) -> None:
    """Raise VerificationError if INT8 is right on fewer of the same images than FP32 by more than the share `tolerance`
    and by more than one image."""
    fp32, int8 = test.fp32, test.int8_on_fp32_images
    if fp32 is None or int8 is None:
        raise ValueError("INT8 and FP32 must be compared on the same test images first")
    lost = fp32.correct - int8.correct
    if lost > max(1, tolerance * fp32.images):
        raise VerificationError(
            f"INT8 is right on {int8.correct} of {fp32.images} test images, FP32 on {fp32.correct}: "
            f"{lost / fp32.images:.2%} lost, allowed are {tolerance:.2%}"
        )


def compare_with_baseline(baseline: np.ndarray, head: np.ndarray) -> BaselineTest:
    """Compare baseline and head, right or not on the same images, by McNemar's test."""
    p_value = mcnemar_test(int((head & ~baseline).sum()), int((baseline & ~head).sum()))
    return BaselineTest(**asdict(Accuracy.of(baseline)), head_correct=int(head.sum()), p_value=round(p_value, 4))


def _right(trained: TrainedHead, features: Features) -> np.ndarray:
    return np.asarray(trained.logits(features.values).argmax(axis=1) == features.labels)


def _accuracy_on(sample: Features, examples: Sequence[Example], right: np.ndarray) -> Accuracy:
    """Accuracy on the examples of `sample`; `right` has an entry for each of `examples`."""
    by_example = dict(zip(examples, right.tolist(), strict=True))
    return Accuracy.of([by_example[example] for example in sample.examples])
