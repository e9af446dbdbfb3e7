"""Choose the head by cross-validation on the training and validation images together. The test images are not used
here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

from labeller.classifier import softmax
from model_build import head
from model_build.config import BuildConfig, HeadCandidate
from model_build.data.shifts import change_of
from model_build.features import Features
from model_build.head import TrainedHead
from model_build.quantize import QuantisedBase

RULE = (
    "the first in the table whose log loss is at most one standard error above the lowest, picture by picture, in a "
    "cross-validation on training and validation pictures together"
)


LARGEST_LOSS = 0.2
"""Accuracy that a change of pictures may cost to count as one that keeps the label: a street by day, darkened, may show
the night. Photographs of cats and dogs at 160 pixels lose at most 0.07."""


@dataclass(frozen=True, slots=True)
class EvaluatedHead:
    """A candidate with the penalty that suits it best, and its logits [n, labels] for every training and validation
    image, each from a head that was trained without the image; `losses` [n] are the log losses, `seconds` the time of
    all training."""

    candidate: HeadCandidate
    logits: np.ndarray
    targets: np.ndarray
    seconds: float

    @property
    def losses(self) -> np.ndarray:
        """float64 [n]: the log loss of each image at temperature 1."""
        return log_losses(self.logits, self.targets)

    @property
    def right(self) -> np.ndarray:
        """bool [n]."""
        return np.asarray(self.logits.argmax(axis=1) == self.targets)


@dataclass(frozen=True, slots=True)
class JudgedCopies:
    """Changed copies of images: the kind of change [m], `logits` [m, labels], the true labels `targets` [m], and bool
    [m] whether the unchanged originals are right."""

    changes: np.ndarray
    logits: np.ndarray
    targets: np.ndarray
    originals_right: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """bool [m]."""
        return np.asarray(self.logits.argmax(axis=1) == self.targets)

    @property
    def counted(self) -> np.ndarray:
        """bool [m]: whether the change leaves labels what they are, so that it costs at most LARGEST_LOSS."""
        lost = self.originals_right.astype(int) - self.right
        return np.array([lost[self.changes == change].mean() <= LARGEST_LOSS for change in self.changes], bool)


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

    `reference` are FP32 features of the validation images on which INT8 is compared with FP32; `features` are the INT8
    features of the training and validation images. `heads` holds every candidate, `head` the chosen one; `trained` is
    that one, and `yardstick` the one to compare it with, trained on `features`.
    """

    fp32: Path
    int8: Path
    reference: Features
    features: Features
    heads: list[EvaluatedHead]
    head: EvaluatedHead
    trained: TrainedHead
    yardstick: TrainedHead


def evaluate_heads(features: Features, labels: int, config: BuildConfig) -> list[EvaluatedHead]:
    """Cross-validate every head of the settings; prints a line for each."""
    heads = [evaluate_head(candidate, features, labels, config) for candidate in (*config.heads, config.yardstick)]
    best = _best(heads)
    for evaluated in heads:
        excess, error = paired_difference(evaluated.losses, best.losses)
        name, penalty = evaluated.candidate.name, evaluated.candidate.l2
        print(
            f"      {name:<22}penalty {penalty:<8.0e}right {evaluated.right.mean():.1%}"
            f"  log loss {evaluated.losses.mean():.4f} (+{excess:.4f} ± {error:.4f})  {evaluated.seconds:5.1f} s",
            flush=True,
        )
    return heads


def evaluate_head(candidate: HeadCandidate, features: Features, labels: int, config: BuildConfig) -> EvaluatedHead:
    """Cross-validate a head; without a Dense layer with each of the settings' penalties, of which the best counts."""
    start = time.perf_counter()
    vectors, targets = head.unit_vectors(features.values, candidate.pooling), features.labels
    penalties = (candidate.l2,) if candidate.units else config.penalties
    logits = np.empty((len(penalties), len(targets), labels), np.float32)
    for known, unseen in _folds(features, config):
        logits[:, unseen] = _logits(
            candidate, penalties, vectors[known], targets[known], vectors[unseen], labels, config.seed
        )
    best = int(np.argmin([log_losses(one, targets).mean() for one in logits]))
    seconds = time.perf_counter() - start
    return EvaluatedHead(replace(candidate, l2=penalties[best]), logits[best], targets, seconds)


def judge_copies(evaluated: EvaluatedHead, features: Features, copies: Features, config: BuildConfig) -> JudgedCopies:
    """Judge changed copies of some of the images, each by a head trained without the image, in the folds of
    `evaluate_head`."""
    candidate, labels = evaluated.candidate, evaluated.logits.shape[1]
    vectors, changed = (head.unit_vectors(one.values, candidate.pooling) for one in (features, copies))
    row = {example: index for index, example in enumerate(features.examples)}
    originals = np.array([row[example] for example in copies.examples])
    logits = np.empty((len(originals), labels), np.float32)
    for known, unseen in _folds(features, config):
        here = np.isin(originals, unseen)
        targets = features.labels[known]
        logits[here] = _logits(candidate, [candidate.l2], vectors[known], targets, changed[here], labels, config.seed)[
            0
        ]
    changes = np.array([change_of(example.sha256) for example in copies.examples])
    return JudgedCopies(changes, logits, copies.labels, evaluated.right[originals])


def logits_by(candidate: HeadCandidate, known: Features, features: Features, config: BuildConfig) -> np.ndarray:
    """Logits float32 [m, known labels] of `features` by a head trained on `known`, which may lack labels."""
    vectors, unseen = (head.unit_vectors(one.values, candidate.pooling) for one in (known, features))
    present, targets = np.unique(known.labels, return_inverse=True)
    penalty = [candidate.l2]
    return _logits(candidate, penalty, vectors, targets, unseen, len(present), config.seed)[0]


def train_network(
    fp32: Path,
    int8: Path,
    reference: Features,
    features: Features,
    heads: list[EvaluatedHead],
    chosen: EvaluatedHead,
    config: BuildConfig,
) -> TrainedNetwork:
    """Train the chosen head and the yardstick on all features: cross-validation has judged them, so that no image need
    be kept aside."""
    labels = chosen.logits.shape[1]
    trained, yardstick = (
        head.train(candidate, features.values, features.labels, labels, config)
        for candidate in (chosen.candidate, config.yardstick)
    )
    return TrainedNetwork(fp32, int8, reference, features, heads, chosen, trained, yardstick)


def choose_head(heads: Sequence[EvaluatedHead]) -> EvaluatedHead:
    """The head that RULE picks; the table lists the simplest first."""
    best = _best(heads)
    return next(one for one in heads if _within_error(one, best))


def paired_difference(losses: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Mean of losses - others, each [n] of the same images, and its standard error."""
    difference = losses - others
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))


def log_losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 [n]: the log loss of each image, for logits [n, labels] and labels [n]."""
    probabilities = softmax(logits, 1.0)[np.arange(len(targets)), targets]
    return -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


def count_correct(trained: TrainedHead, quantised: Sequence[QuantisedBase], reference: Features) -> HeadAccuracy:
    """Run the head on the features by which the quantisations were compared with FP32, those of `reference`."""

    def correct(features: np.ndarray) -> int:
        return int((trained.logits(features).argmax(axis=1) == reference.labels).sum())

    return HeadAccuracy(
        len(reference.labels), correct(reference.values), tuple(correct(base.features) for base in quantised)
    )


def _folds(features: Features, config: BuildConfig) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of the images to train on and of those to judge, for each part of the images."""
    folds = StratifiedKFold(config.folds, shuffle=True, random_state=config.seed)
    return folds.split(features.values, features.labels)


def _logits(
    candidate: HeadCandidate,
    penalties: Sequence[float],
    vectors: np.ndarray,
    targets: np.ndarray,
    unseen: np.ndarray,
    labels: int,
    seed: int,
) -> np.ndarray:
    """Logits [penalties, m, labels] of `unseen` vectors [m, D] by heads trained on others."""
    if candidate.units:
        return head.run(head.fit(candidate, vectors, targets, labels, seed), unseen)[np.newaxis]
    fitted = head.fit_linear(vectors, targets, labels, penalties)
    return np.stack([unseen @ weights + biases for weights, biases in fitted])


def _best(heads: Sequence[EvaluatedHead]) -> EvaluatedHead:
    return min(heads, key=lambda evaluated: float(evaluated.losses.mean()))


def _within_error(evaluated: EvaluatedHead, best: EvaluatedHead) -> bool:
    excess, error = paired_difference(evaluated.losses, best.losses)
    return excess <= error
