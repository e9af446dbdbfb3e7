"""Which head is shipped: every candidate is trained on the same features, the best on validation wins. Test is not
looked at here."""

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
"""scikit-learn's C of the baseline, the inverse of its penalty, from strong to weak; on standardised features the best
lies in between."""


@dataclass(frozen=True, slots=True)
class ValidationScore:
    """Right answers and log loss on the validation pictures, temperature 1."""

    correct: int
    images: int
    log_loss: float

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.correct / self.images

    @property
    def rank(self) -> tuple[int, float]:
        """The lower, the better: most right answers, and among those the lowest log loss."""
        return -self.correct, self.log_loss


@dataclass(frozen=True, slots=True)
class EvaluatedHead:
    """A trained candidate and how it fared on validation; `seconds` of training."""

    candidate: HeadCandidate
    trained: TrainedHead
    validation: ValidationScore
    logits: np.ndarray
    seconds: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """The plain classifier that a head must beat: logistic regression on the chosen head's pooled features, its
    penalty chosen on validation."""

    model: LogisticRegression
    pooling: Pooling
    mean: np.ndarray
    deviation: np.ndarray
    validation: ValidationScore

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Label indices [n] for features float32 [n, h, w, C]."""
        return np.asarray(self.model.predict((head.pool(features, self.pooling) - self.mean) / self.deviation))


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
    heads: Sequence[EvaluatedHead]
    head: EvaluatedHead
    baseline: Baseline


def train_heads(training: Features, validation: Features, labels: int, config: BuildConfig) -> list[EvaluatedHead]:
    """Every head of `config.heads`, trained; a line is printed for each as it is done."""
    contenders = []
    for candidate in config.heads:
        start = time.perf_counter()
        trained = head.train(
            candidate,
            training,
            validation,
            labels,
            seed=config.seed,
            batch=config.training_batch,
            patience=config.patience,
        )
        seconds = time.perf_counter() - start
        logits = trained.logits(validation.values)
        contenders.append(EvaluatedHead(candidate, trained, score(logits, validation.labels), logits, seconds))
        print_head(contenders[-1])
    return contenders


def choose_head(contenders: Sequence[EvaluatedHead]) -> EvaluatedHead:
    """The one with most right answers on validation; among those the lowest log loss; then the first."""
    return min(contenders, key=lambda each: each.validation.rank)


def score(logits: np.ndarray, labels: np.ndarray) -> ValidationScore:
    """What logits [n, labels] are worth for the true labels [n]."""
    correct = int((logits.argmax(axis=1) == labels).sum())
    return ValidationScore(correct, len(labels), log_loss(labels, softmax(logits, 1.0)))


def train_baseline(pooling: Pooling, training: Features, validation: Features) -> Baseline:
    """Logistic regression with each of PENALTIES; the one that is best on validation, as in `choose_head`."""
    pooled = head.pool(training.values, pooling)
    mean, deviation = (values.astype(np.float32) for values in head.statistics(pooled))
    pooled = (pooled - mean) / deviation
    unseen = (head.pool(validation.values, pooling) - mean) / deviation
    found = []
    for penalty in PENALTIES:
        model = LogisticRegression(C=penalty, max_iter=200, tol=1e-3).fit(pooled, training.labels)
        probabilities = model.predict_proba(unseen)
        correct = int((model.predict(unseen) == validation.labels).sum())
        scored = ValidationScore(correct, len(unseen), log_loss(validation.labels, probabilities))
        found.append(Baseline(model, pooling, mean, deviation, scored))
    return min(found, key=lambda each: each.validation.rank)


@dataclass(frozen=True, slots=True)
class HeadAccuracy:
    """How many of `images` validation pictures a head gets right, by the features of FP32 and of each quantisation."""

    images: int
    fp32: int
    quantised: tuple[int, ...]


def count_correct(head: EvaluatedHead, quantisations: Sequence[QuantisedBase], reference: Features) -> HeadAccuracy:
    """The head on the features by which the quantisations were compared with FP32, those of `reference`. It was trained
    on those of one of them, so that one has a little advantage."""

    def right(features: np.ndarray) -> int:
        return int((head.trained.logits(features).argmax(axis=1) == reference.labels).sum())

    quantised = tuple(right(each.features) for each in quantisations)
    return HeadAccuracy(len(reference.labels), right(reference.values), quantised)


def print_head(contender: EvaluatedHead) -> None:
    """One line of the comparison."""
    candidate, trained, scored = contender.candidate, contender.trained, contender.validation
    epochs = len(trained.history["loss"])
    print(
        f"      {candidate.name:<12}{candidate.pooling:<9}{trained.parameters:>11,} parameters  "
        f"epoch {trained.epoch:>2} of {epochs:>2}  validation {scored.accuracy:.1%}, log loss {scored.log_loss:.4f}  "
        f"{contender.seconds:5.1f} s",
        flush=True,
    )


def print_choice(chosen: EvaluatedHead, baseline: Baseline) -> None:
    """Which head is taken, and whether it beats the baseline on validation."""
    head, plain = chosen.validation, baseline.validation
    verb = "beats" if head.correct > plain.correct else "does not beat"
    print(
        f"      chosen: {chosen.candidate.name}; on validation it {verb} logistic regression on the same features, "
        f"{head.correct} right against {plain.correct} (C = {baseline.model.C:g}, log loss {plain.log_loss:.4f})",
        flush=True,
    )
