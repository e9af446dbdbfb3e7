"""Choose the head: every candidate is trained on the same features, and the best on validation is shipped. The test
images are not used here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from evaluation.metrics import log_loss
from labeller.classifier import softmax
from model_build import head
from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.features import Features
from model_build.head import TrainedHead
from model_build.quantize import QuantisedBase

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""scikit-learn's C of the baseline, the inverse of its penalty. On standardised features the best lies in between."""


@dataclass(frozen=True, slots=True)
class ValidationScore:
    """Right predictions and log loss on the validation images, at temperature 1."""

    correct: int
    images: int
    log_loss: float

    @property
    def accuracy(self) -> float:
        """Share of right predictions."""
        return self.correct / self.images

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts the best first: most right predictions, among equals the lowest log loss."""
        return -self.correct, self.log_loss


@dataclass(frozen=True, slots=True)
class EvaluatedHead:
    """A trained candidate with its validation logits and score; `seconds` of training."""

    candidate: HeadCandidate
    trained: TrainedHead
    validation: ValidationScore
    logits: np.ndarray
    seconds: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """The simple classifier that a head must beat: logistic regression on the chosen head's pooled features."""

    model: LogisticRegression
    pooling: Pooling
    mean: np.ndarray
    deviation: np.ndarray
    validation: ValidationScore

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Label indices [n] for features float32 [n, h, w, C]."""
        return np.asarray(self.model.predict((head.pool(features, self.pooling) - self.mean) / self.deviation))


@dataclass(frozen=True, slots=True)
class HeadAccuracy:
    """Of `images` validation images, how many a head gets right from FP32 features and from those of each quantisation.

    It was trained on the features of one of them, which gives that one a slight advantage.
    """

    images: int
    fp32: int
    quantised: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A base, in FP32 and INT8, and the head chosen for it.

    `reference` are FP32 features of the validation images on which INT8 is compared with FP32; `training` and
    `validation` are the INT8 features of those splits. `heads` holds every candidate, `head` the chosen one.
    """

    fp32: Path
    int8: Path
    reference: Features
    training: Features
    validation: Features
    heads: list[EvaluatedHead]
    head: EvaluatedHead
    baseline: Baseline


def train_heads(training: Features, validation: Features, labels: int, config: BuildConfig) -> list[EvaluatedHead]:
    """Train every head of `config.heads`; prints a line for each."""
    heads = []
    for candidate in config.heads:
        start = time.perf_counter()
        trained = head.train(candidate, training, validation, labels, config)
        seconds = time.perf_counter() - start
        logits = trained.logits(validation.values)
        result = score(logits, validation.labels)
        heads.append(EvaluatedHead(candidate, trained, result, logits, seconds))
        print(
            f"      {candidate.name:<12}{candidate.pooling:<9}{trained.parameters:>11,} parameters  "
            f"epoch {trained.epoch:>2} of {len(trained.history['loss']):>2}  "
            f"validation {result.accuracy:.1%}, log loss {result.log_loss:.4f}  {seconds:5.1f} s",
            flush=True,
        )
    return heads


def choose_head(heads: Sequence[EvaluatedHead]) -> EvaluatedHead:
    """The head with the most right predictions on validation; among equals the lowest log loss; then the first."""
    return min(heads, key=lambda candidate: candidate.validation.rank)


def score(logits: np.ndarray, labels: np.ndarray) -> ValidationScore:
    """Score logits [n, labels] against the true labels [n]."""
    correct = int((logits.argmax(axis=1) == labels).sum())
    return ValidationScore(correct, len(labels), log_loss(labels, softmax(logits, 1.0)))


def train_baseline(pooling: Pooling, training: Features, validation: Features) -> Baseline:
    """Logistic regression with each of PENALTIES; the best on validation, by the rule of `choose_head`."""
    pooled = head.pool(training.values, pooling)
    mean, deviation = (values.astype(np.float32) for values in head.statistics(pooled))
    pooled = (pooled - mean) / deviation
    unseen = (head.pool(validation.values, pooling) - mean) / deviation
    baselines = []
    for penalty in PENALTIES:
        model = LogisticRegression(C=penalty, max_iter=200, tol=1e-3).fit(pooled, training.labels)
        correct = int((model.predict(unseen) == validation.labels).sum())
        loss = log_loss(validation.labels, model.predict_proba(unseen))
        result = ValidationScore(correct, len(unseen), loss)
        baselines.append(Baseline(model, pooling, mean, deviation, result))
    return min(baselines, key=lambda baseline: baseline.validation.rank)


def count_correct(chosen: EvaluatedHead, quantised: Sequence[QuantisedBase], reference: Features) -> HeadAccuracy:
    """Run the head on the features by which the quantisations were compared with FP32, those of `reference`."""

    def correct(features: np.ndarray) -> int:
        return int((chosen.trained.logits(features).argmax(axis=1) == reference.labels).sum())

    return HeadAccuracy(
        len(reference.labels), correct(reference.values), tuple(correct(base.features) for base in quantised)
    )


def print_choice(chosen: EvaluatedHead, baseline: Baseline) -> None:
    """Print the chosen head and the baseline's result on validation."""
    head, simple = chosen.validation, baseline.validation
    verb = "beats" if head.correct > simple.correct else "does not beat"
    print(
        f"      chosen: {chosen.candidate.name}; on validation it {verb} logistic regression on the same features, "
        f"{head.correct} right against {simple.correct} (C = {baseline.model.C:g}, log loss {simple.log_loss:.4f})",
        flush=True,
    )
