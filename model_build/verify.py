"""Verify the exported model on the test images, and stop a build that is not worth shipping. No other stage uses the
test images.

A head can learn around a broken base, and both of two networks can be broken alike. So every link from Keras to the
finished files is checked by itself: the exported base (`require_faithful_export`), INT8 (its error, and the accuracy of
a head trained on it), the shipped head (against logistic regression), the joined graphs (`agreement`), the labels and
the golden picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from evaluation.metrics import mcnemar_test, wilson_interval
from evaluation.predictions import Scored
from labeller.classifier import Classifier, Network, softmax
from labeller.images import Unreadable
from labeller.results import Neighbour, Prediction, Thresholds
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, Example, require_enough, spread
from model_build.data.reader import PictureReader
from model_build.features import Features, extract, pool
from model_build.head import TrainedHead, run
from model_build.progress import progress_bar
from model_build.quantize import relative_error, require_small_error
from model_build.selection import TrainedNetwork

LINEAR_C = 0.01
"""scikit-learn's inverse penalty, on standardised features: in the middle of those that suit 100 to 3,000 images."""

AGAIN = "Delete the cache folder and build again; if it stays so, install the versions in requirements/"
"""The way out of an error that sound code on a sound machine cannot give."""


class VerificationError(Exception):
    """The finished model is not what was trained; the message gives both figures and says what to do."""


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
    """`int8` is the finished model on all images, for training its thorough network. `fp32` and
    `int8_on_fp32_images` are linear heads, trained on FP32 and INT8 features of the same images and judged on the same
    sample (`train_on_sample`), with McNemar's p-value; None for training."""

    int8: Accuracy
    fp32: Accuracy | None = None
    int8_on_fp32_images: Accuracy | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class BaselineTest(Accuracy):
    """The baseline on test images and the head on the same ones, with the McNemar p-value."""

    head_correct: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for some examples: `logits` float [n, labels]; `labels` int64 [n] are the true ones; `familiarity`
    float64 [n] and the nearest training pictures of each, if they are known, and `glance` bool [n], those that the
    glance network answered, if there is one."""

    examples: tuple[Example, ...]
    logits: np.ndarray
    labels: np.ndarray
    temperature: float
    familiarity: np.ndarray | None = None
    nearest: tuple[tuple[Neighbour, ...], ...] = ()
    glance: np.ndarray | None = None

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

    def scored(self, labels: Sequence[str], thresholds: Thresholds, root: Path) -> list[Scored]:
        """The rows of predictions.csv, with which the nightly report compares itself; keys are paths below `root`."""
        shares = [None] * len(self.labels) if self.familiarity is None else self.familiarity.tolist()
        scored = []
        for example, row, best, true, share in zip(
            self.examples, self.probabilities, self.predicted, self.labels, shares, strict=True
        ):
            scores = dict(zip(labels, row.tolist(), strict=True))
            prediction = Prediction(labels[best], float(row[best]), scores, share)
            key = example.path.relative_to(root).as_posix()
            scored.append(Scored(key, labels[true], example.sha256, prediction, thresholds.status(prediction)))
        return scored


@dataclass(frozen=True, slots=True)
class Verification:
    """The figures of the finished model.

    `test` are its predictions for the test images; `accuracy` is by split. `baseline` compares the baseline with the
    finished model on a sample of the test images. `largest_difference` is that of a probability between the exported
    graphs and Keras. `unreadable` are the test images left out. `others` are predictions for the test images of the
    folder `other`, which choose nothing either.
    """

    test: Predictions
    accuracy: dict[str, SplitAccuracy]
    baseline: BaselineTest
    largest_difference: float
    unreadable: Mapping[Example, Unreadable]
    others: Predictions | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A base's features for samples of validation and test, and bool [n] where a linear head, trained on its features
    for a sample of the training images, is right."""

    validation: Features
    test: Features
    validation_right: np.ndarray
    test_right: np.ndarray


def verify(
    classifier: Classifier,
    network: TrainedNetwork,
    validation: Predictions,
    data: Dataset,
    config: BuildConfig,
    glance: tuple[TrainedHead, Features] | None,
) -> Verification:
    """Score the finished model; `network` is what it was exported from, `glance` the head and features of its glance
    network, `validation` its answers in the cross-validation.

    Raises VerificationError if the graph disagrees with Keras, the labels are in another order, INT8 and FP32 differ in
    accuracy beyond chance or logistic regression beats the model beyond chance; QuantisationError if the INT8 base
    lost what FP32 computes; DataError if too few test images of a label can be read.
    """
    if classifier.labels != data.labels:
        raise VerificationError(f"the model has the labels {classifier.labels}, the data {data.labels}. {AGAIN}")
    temperature = validation.temperature
    networks = [one for one in (classifier.thorough, classifier.glance) if one]
    heads = [(network.trained, network.features), *([glance] if glance else [])]
    pairs = zip(networks, heads, strict=True)
    difference = max(agreement(graph, config.image_size, *head) for graph, head in pairs)
    require_agreement(difference, config.graph_tolerance, "the exported graph and Keras", "probability")
    reader = PictureReader(data.splits["test"], config.image_size)
    test = predict(classifier, reader, temperature, config.inference_batch)
    require_enough(data, "test", test.examples, reader.unreadable)
    readable = set(network.features.examples)
    known = ([example for example in data.splits[split] if example in readable] for split in ("train", "validation"))
    splits = (*known, test.examples)
    fp32, int8 = (train_on_sample(graph, splits, config) for graph in (network.fp32, network.int8))
    require_small_error(relative_error(int8.validation.values, fp32.validation.values), config.largest_error)
    require_equal_accuracy(fp32.test_right, int8.test_right, config)
    right = dict(zip(test.examples, test.right.tolist(), strict=True))
    shipped = np.array([right[example] for example in int8.test.examples])
    require_worthy_head(int8.test_right, shipped, config)
    accuracy = {
        "train": SplitAccuracy(Accuracy.of(_right(network.trained, network.features))),
        "validation": _split(validation.right, fp32.validation_right, int8.validation_right),
        "test": _split(test.right, fp32.test_right, int8.test_right),
    }
    baseline = compare_with_baseline(_right(network.yardstick, int8.test), shipped)
    strange = PictureReader(data.others.get("test", ()), config.image_size)
    others = predict(classifier, strange, temperature, config.inference_batch) if strange.examples else None
    unreadable = {**reader.unreadable, **strange.unreadable}
    return Verification(test, accuracy, baseline, difference, unreadable, others)


def train_on_sample(graph: Path, splits: Sequence[Sequence[Example]], config: BuildConfig) -> Sample:
    """Judge a base, in FP32 or INT8, by logistic regression; `splits` are the training, validation and test images.

    The shipped head cannot judge both: it learnt from INT8 features, so that FP32 would look worse than it is, and a
    broken INT8 base better than FP32. Logistic regression has one solution, so two of them differ by nothing but the
    base, and it shares no code with the shipped head. FP32 is too slow for all training images: both learn from the
    same few, so both are right less often than the shipped model.
    """
    count = config.fp32_images
    labels = sorted({example.label for example in splits[0]})
    by_label = [[example for example in splits[0] if example.label == label] for label in labels]
    known = [example for examples in by_label for example in spread(examples, max(2, count // len(labels)))]
    training, validation, test = (
        extract(graph, examples, config) for examples in (known, *(spread(split, count) for split in splits[1:]))
    )
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=LINEAR_C, max_iter=1000))
    linear.fit(training.values[:, 0], training.labels)
    right = [linear.predict(features.values[:, 0]) == features.labels for features in (validation, test)]
    return Sample(validation, test, *right)


def require_faithful_export(base: keras.Model, exported: Features, config: BuildConfig, images: int = 4) -> None:
    """Raise VerificationError unless the features of the exported base are those that Keras computes from the pixels
    of the same images."""
    chosen = slice(0, None, max(1, len(exported.examples) // images))
    pixels = PictureReader(exported.examples[chosen], config.image_size).all(config.inference_batch)[1]
    expected = pool(run(base, pixels))
    difference = float(np.abs(exported.values[chosen] - expected).max() / np.abs(expected).max())
    require_agreement(difference, config.graph_tolerance, "the exported base and Keras", "feature")


def require_agreement(difference: float, tolerance: float, pair: str, figure: str) -> None:
    """Raise VerificationError if the largest difference of a figure between `pair` is above the tolerance or NaN."""
    if not difference <= tolerance:
        raise VerificationError(
            f"{pair} differ by up to {difference:.6f} in {figure} on the same images (allowed: {tolerance}); the "
            f"export is wrong. {AGAIN}"
        )


def agreement(network: Network, image_size: int, head: TrainedHead, features: Features, images: int = 32) -> float:
    """Largest absolute difference of a probability between a finished graph on pixels and the Keras head on the
    features of the same images."""
    chosen = np.unique(np.linspace(0, len(features.examples) - 1, images).astype(int))
    examples = [features.examples[index] for index in chosen]
    ((_, pixels),) = PictureReader(examples, image_size).batches(len(examples))
    logits = (network.outputs(pixels).logits, head.logits(features.values[chosen]))
    finished, expected = (softmax(one, network.temperature) for one in logits)
    return float(np.abs(finished - expected).max())


def predict(classifier: Classifier, reader: PictureReader, temperature: float, batch: int) -> Predictions:
    """The finished model's predictions for every readable image."""
    examples: list[Example] = []
    nearest: list[tuple[Neighbour, ...]] = []
    logits, shares, at_a_glance = [np.empty((0, len(classifier.labels)))], [np.empty(0)], [np.empty(0, bool)]
    with progress_bar(len(reader.examples), "images") as advance:
        for part, pixels in reader.batches(batch):
            outputs = classifier.outputs(pixels)
            examples += part
            logits.append(outputs.logits)
            nearest += [classifier.neighbours(outputs, index) for index in range(len(part))]
            if outputs.glance is not None:
                at_a_glance.append(outputs.glance)
            if outputs.familiarity is not None:
                shares.append(outputs.familiarity.round(6))  # as in rows
            advance(len(part))
    labels, familiarity = np.array([example.label for example in examples], int), np.concatenate(shares)
    known = familiarity if len(familiarity) == len(examples) else None
    glance = np.concatenate(at_a_glance) if classifier.glance else None
    return Predictions(tuple(examples), np.concatenate(logits), labels, temperature, known, tuple(nearest), glance)


def require_equal_accuracy(fp32: np.ndarray, int8: np.ndarray, config: BuildConfig) -> None:
    """Raise VerificationError if FP32 or INT8, right or not on the same test images, is better beyond chance."""
    figures = (
        f"INT8 is right on {int8.sum()} of {len(int8)} test images, FP32 on {fp32.sum()}, each with a head trained on "
        f"the same images (p = {_p_value(fp32, int8):.2g}): "
    )
    if beyond_chance(fp32, int8, config):
        raise VerificationError(
            f"{figures}quantisation loses too much. Check that the training images, which set the INT8 ranges, are "
            "like the test images; then keep more layers in FP32 (QUANTISATIONS in model_build/config.py)"
        )
    if beyond_chance(int8, fp32, config):
        raise VerificationError(f"{figures}FP32 cannot know less than the INT8 made of it, so it is damaged. {AGAIN}")


def require_worthy_head(baseline: np.ndarray, model: np.ndarray, config: BuildConfig) -> None:
    """Raise VerificationError if the finished model is worse than its baseline beyond chance, as a damaged head is."""
    if beyond_chance(baseline, model, config):
        raise VerificationError(
            f"the model is right on {model.sum()} of {len(model)} test images, logistic regression on the same "
            f"features on {baseline.sum()} (p = {_p_value(baseline, model):.2g}): the head is damaged. {AGAIN}"
        )


def beyond_chance(better: np.ndarray, worse: np.ndarray, config: BuildConfig) -> bool:
    """Whether the first is right on more of the same images, by more than the tolerance and more than chance
    explains."""
    gain = int(better.sum()) - int(worse.sum())
    return gain > config.accuracy_tolerance * len(better) and _p_value(better, worse) < config.significance


def compare_with_baseline(baseline: np.ndarray, head: np.ndarray) -> BaselineTest:
    """Compare baseline and head, right or not on the same images, by McNemar's test."""
    p_value = round(_p_value(baseline, head), 4)
    return BaselineTest(**asdict(Accuracy.of(baseline)), head_correct=int(head.sum()), p_value=p_value)


def _split(all_right: np.ndarray, fp32: np.ndarray, int8: np.ndarray) -> SplitAccuracy:
    p_value = round(_p_value(fp32, int8), 4)
    return SplitAccuracy(Accuracy.of(all_right), Accuracy.of(fp32), Accuracy.of(int8), p_value)


def _p_value(one: np.ndarray, other: np.ndarray) -> float:
    return mcnemar_test(int((one & ~other).sum()), int((other & ~one).sum()))


def _right(trained: TrainedHead, features: Features) -> np.ndarray:
    return np.asarray(trained.logits(features.values).argmax(axis=1) == features.labels)
