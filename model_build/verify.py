"""Stage 7: the finished file, loaded as Lambda loads it, on pictures it has never seen. Stops a build that is not
worth shipping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from labeller.images import Unreadable
from labeller.model import Classifier
from labeller.scoring import accuracy_score, confusion_matrix
from model_build.config import BuildConfig
from model_build.dataset import Dataset, Example, spread
from model_build.features import Features, extract
from model_build.pictures import PictureReader
from model_build.progress import counting


class VerificationError(Exception):
    """The finished model is not what was trained; the message gives both figures."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification found.

    `accuracy` holds per split the entries `int8` (all its pictures), `fp32` and `int8_on_fp32_images` (the
    same sample, so that the two compare), each with `images`, `correct` and `accuracy`; `confusion` is
    C[true][predicted] on test, INT8; `largest_difference` is that of a probability, joined graph against Keras;
    `unreadable` are the test files that were left out.
    """

    accuracy: dict[str, dict[str, dict[str, float]]]
    confusion: np.ndarray
    largest_difference: float
    unreadable: Mapping[Example, Unreadable]


def agreement(
    classifier: Classifier, head: keras.Model, temperature: float, features: Features, images: int = 32
) -> float:
    """Largest absolute difference of a probability between the finished graph, fed with pixels, and the Keras
    head, fed with the features it was trained on, over some of those pictures."""
    chosen = np.unique(np.linspace(0, len(features.examples) - 1, images).astype(int))
    examples = [features.examples[index] for index in chosen]
    ((_, pixels),) = PictureReader(examples, classifier.input_size[0]).batches(len(examples))
    expected = keras.ops.softmax(head.predict(features.values[chosen], verbose=0) / temperature)
    got = [[prediction.scores[label] for label in classifier.labels] for prediction in classifier.predict(pixels)]
    return float(np.abs(np.array(got) - keras.ops.convert_to_numpy(expected)).max())


def verify(
    classifier: Classifier,
    fp32: Path,
    head: keras.Model,
    temperature: float,
    dataset: Dataset,
    known: dict[str, Features],
    config: BuildConfig,
) -> Verdict:
    """Score the finished model.

    `fp32` is the same graph without quantisation, `known` the INT8 features of train and validation. The test
    pictures go through `classifier`, whole. Raises VerificationError when the graph disagrees with Keras or
    INT8 loses more than the tolerance against FP32 on the same test pictures.
    """
    difference = agreement(classifier, head, temperature, known["validation"])
    if difference > config.graph_tolerance:
        raise VerificationError(
            f"the joined graph and Keras differ by up to {difference:.6f} in probability on the same pictures "
            f"(allowed: {config.graph_tolerance}); the export is wrong"
        )
    predicted: dict[Example, int] = {}
    for features in known.values():
        logits = head.predict(features.values, batch_size=256, verbose=0)
        predicted |= zip(features.examples, logits.argmax(axis=1).tolist(), strict=True)
    reader = PictureReader(dataset.splits["test"], config.image_size)
    test = predict(classifier, reader, config.inference_batch)
    predicted |= test

    affordable = max(1, int(config.fp32_megapixels * 1e6 / config.image_size**2))
    samples = {
        "train": min(config.fp32_sample, affordable),
        "validation": min(config.fp32_sample, affordable),
        "test": affordable,
    }
    accuracy = {}
    for split, count in samples.items():
        readable = [example for example in dataset.splits[split] if example in predicted]
        sample = extract(fp32, spread(readable, count), config)
        accuracy[split] = {
            "int8": _score(readable, predicted),
            "fp32": _score(
                sample.examples,
                dict(zip(sample.examples, sample.values.argmax(axis=1).tolist(), strict=True)),
            ),
            "int8_on_fp32_images": _score(sample.examples, predicted),
        }
    require_little_loss(accuracy["test"], config.int8_tolerance)
    true = np.array([example.label for example in test])
    confusion = confusion_matrix(true, np.array(list(test.values())), len(dataset.labels))
    return Verdict(accuracy, confusion, difference, reader.unreadable)


def predict(classifier: Classifier, reader: PictureReader, batch: int) -> dict[Example, int]:
    """The index of the label that the finished model gives each readable picture."""
    predicted: dict[Example, int] = {}
    with counting(len(reader.examples), "images") as advance:
        for part, pixels in reader.batches(batch):
            for example, prediction in zip(part, classifier.predict(pixels), strict=True):
                predicted[example] = classifier.labels.index(prediction.label)
            advance(len(part))
    return predicted


def require_little_loss(test: dict[str, dict[str, float]], tolerance: float) -> None:
    """Raise VerificationError if INT8 is right on fewer of the same images than FP32 by more than `tolerance`
    (a share of them) and by more than one image."""
    images = test["fp32"]["images"]
    lost = test["fp32"]["correct"] - test["int8_on_fp32_images"]["correct"]
    if lost > max(1, tolerance * images):
        raise VerificationError(
            f"INT8 is right on {test['int8_on_fp32_images']['correct']} of {images} test images, FP32 on "
            f"{test['fp32']['correct']}: {lost / images:.2%} lost, allowed are {tolerance:.2%}"
        )


def _score(examples: Sequence[Example], predicted: dict[Example, int]) -> dict[str, float]:
    true = np.array([example.label for example in examples])
    guess = np.array([predicted[example] for example in examples])
    return {
        "images": len(examples),
        "correct": int((true == guess).sum()),
        "accuracy": round(accuracy_score(true, guess), 4),
    }
