"""Familiarity: how like the training pictures of the labels a picture is.

A network names a label for any picture, also for one that has none of them, often with high confidence. So the model
compares each picture's features with those of some training pictures, the exemplars. The closeness of a vector is the
mean cosine of the NEIGHBOURS nearest of them (Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest
Neighbors", arXiv 2204.06507), each less a share of how close that exemplar's own neighbours are, so that labels whose
pictures are all alike and labels whose pictures differ count the same (as in the local outlier factor, Breunig et al.
2000). The score is the mean closeness of the picture's BEST windows, because what is beside the thing in a picture says
little about it. Familiarity is the share of validation pictures with a lower score. Nothing is chosen on test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, Example
from model_build.features import Features, rows_of

NEIGHBOURS = 5
"""Nearest exemplars whose mean counts. One is a matter of chance, twenty exceed a small label."""

DENSITY = 0.75
"""Share of an exemplar's closeness to its own neighbours that is subtracted. docs/performance.md has the comparison."""

BEST = 3
"""Windows that count, of five: the closest to exemplars. One is a matter of chance, all have the background."""

EXEMPLARS, EXEMPLARS_TO_NAME = 2000, 1000
"""Training pictures to compare with, at most: 1.0 MB in INT8, 200 labels have ten each. With the Mahalanobis distance
they are only named."""

LEVELS = 127
"""Of exemplars in INT8: their largest value has this one."""

SHRINKAGE = 0.01
"""Share of the mean variance that is added to every variance of the Mahalanobis distance."""

EPSILON = 1e-6
"""Added to squared lengths, as in the head: features of zeros have a vector of zeros."""

KNOTS = 128
"""Points of the mapping from scores to shares, at most, half of them among the lowest tenth of the scores."""

CLOSEST = 1e-5
"""Distance of two knots: processors sum in different orders, so that scores differ by about 1e-7."""

FEWEST_OTHERS, FEWEST_FOR_DIRECTION = 10, 50
"""Pictures of `other/` by which the threshold is set, and from which a direction is learnt. A direction learnt from 25
photographs let more photographs of other kinds have a label, not fewer."""

STRENGTHS = (0.3, 1.0)
"""Weights of the direction of `other/` to try, against the score, both in standard deviations. Among photographs of
other kinds than the examples, 3 is worse than 1, though better among the examples."""

SIGNIFICANCE = 1.0
"""Standard errors by which a larger weight must be better, because some dozens of examples could improve by chance."""

FOLDS = 5

FAR = -2.0
"""A cosine below any other."""

BATCH = 500
"""Pictures whose cosines are computed at once."""

RANGE = (1.0, 1.5)
FAMILIAR_OTHERS = 0.01
"""How far pictures of `other/` may raise the threshold, and the share of them that may stay familiar."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The mapping from a score to a share: piecewise linear through `scores` [K], ascending, and `shares` [K]."""

    scores: np.ndarray
    shares: np.ndarray

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """The shares [n], 0 to 1, of scores [n]."""
        return np.interp(scores, self.scores, self.shares)

    @classmethod
    def of(cls, scores: np.ndarray) -> Scale:
        """The scale on which the i-th lowest of n validation scores, from 1, is i / (n + 1).

        Below the lowest, shares fall to 0 over the distance from the lowest to the first quartile, which continues a
        normal distribution about as far as n pictures cannot show.
        """
        ordered = np.sort(scores.astype(np.float64))
        count = len(ordered)
        lowest, quartile = ordered[0], np.quantile(ordered, 0.25)
        tail = max(quartile - lowest, 1e-3)
        low = np.linspace(0, count // 10, KNOTS // 2)
        rows = np.unique(np.concatenate([low, np.linspace(0, count - 1, KNOTS // 2 - 1)]).astype(int))
        knots = np.concatenate([[lowest - tail], ordered[rows]]).astype(np.float32)
        shares = np.concatenate([[0.0], (rows + 1) / (count + 1)])
        shares[-1] = 1.0
        # Of scores that processors may round differently, the highest share.
        last = np.append(np.diff(knots) > CLOSEST, True)
        return cls(knots[last], shares[last].astype(np.float32))


@dataclass(frozen=True, slots=True)
class Exemplars:
    """Training pictures to compare with: unit vectors int8 [M, C] to be multiplied by `step`, and `offsets` float32 [M]
    that are subtracted from their cosines."""

    examples: tuple[Example, ...]
    vectors: np.ndarray
    step: float
    offsets: np.ndarray

    def cosines(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [..., M] for unit vectors float32 [..., C]."""
        return vectors @ (self.vectors.astype(np.float32) * np.float32(self.step)).T

    def score(self, features: Features, without: np.ndarray | None = None) -> np.ndarray:
        """float32 [n]; `without` int [n] is the exemplar with which each picture is not compared, -1 for none."""
        windows = unit_windows(features)
        without = np.full(len(windows), -1) if without is None else without
        scores = np.empty(len(windows), np.float32)
        for start in range(0, len(windows), BATCH):  # the cosines of 20,000 pictures would be 0.8 GB
            rows = slice(start, start + BATCH)
            closeness = self.cosines(windows[rows]) - self.offsets
            own = np.flatnonzero(without[rows] >= 0)
            closeness[own, :, without[rows][own]] = FAR
            scores[rows] = _highest(_highest(closeness, NEIGHBOURS).mean(axis=2), BEST).mean(axis=1)
        return scores


@dataclass(frozen=True, slots=True)
class Mahalanobis:
    """The distance to the nearest label's mean, in deviations within the labels (Lee et al. 2018, arXiv 1807.03888):
    `whitening` float32 [C, C] gives unit vectors the mean squared length 1 within a label; `means` float32 [labels, C]
    are whitened."""

    whitening: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, features: Features) -> Mahalanobis:
        """Learn from training pictures. SHRINKAGE makes it work with fewer pictures than channels."""
        vectors = unit_vectors(features.values).astype(np.float64)
        present, rows = np.unique(features.labels, return_inverse=True)
        means = np.stack([vectors[rows == label].mean(axis=0) for label in range(len(present))])
        centred = vectors - means[rows]
        covariance = centred.T @ centred / len(vectors)
        covariance += (SHRINKAGE * np.trace(covariance) / len(covariance) + EPSILON**2) * np.eye(len(covariance))
        values, axes = np.linalg.eigh(covariance)
        whitening = axes / np.sqrt(values * len(values))
        return cls(whitening.astype(np.float32), (means @ whitening).astype(np.float32))

    def score(self, features: Features) -> np.ndarray:
        """float32 [n]: the squared distance, negative."""
        white = unit_vectors(features.values) @ self.whitening
        return -np.min([((white - mean) ** 2).sum(axis=1) for mean in self.means], axis=0)


@dataclass(frozen=True, slots=True)
class Familiarity:
    """What the graph computes familiarity with: the distance of `mahalanobis`, or without it the exemplars.

    `direction` float32 [2 C] is added to the score by its product with the unit vectors of means and maxima; zeros
    without pictures of `other/`. Below `threshold` a picture is UNKNOWN.
    """

    exemplars: Exemplars
    direction: np.ndarray
    scale: Scale
    threshold: float
    mahalanobis: Mahalanobis | None = None

    def score(self, features: Features) -> np.ndarray:
        """float32 [n]."""
        scorer = self.mahalanobis or self.exemplars
        return np.asarray(scorer.score(features) + both_unit_vectors(features.values) @ self.direction)

    def __call__(self, features: Features) -> np.ndarray:
        """The familiarity [n], 0 to 1."""
        return self.scale(self.score(features))


def unit_windows(features: Features) -> np.ndarray:
    """The channels' means in each window, scaled to unit length: float32 [n, W, C]. Without windows, the whole picture
    is the only one."""
    windows = features.values[:, :1] if features.windows is None else features.windows
    return np.asarray(windows / np.sqrt((windows**2).sum(axis=2, keepdims=True) + EPSILON))


def unit_vectors(features: np.ndarray) -> np.ndarray:
    """The channels' means of pooled features float32 [n, 2, C], scaled to unit length: float32 [n, C]."""
    return both_unit_vectors(features)[:, : features.shape[2]]


def both_unit_vectors(features: np.ndarray) -> np.ndarray:
    """The channels' means, and then their maxima, each scaled to unit length: float32 [n, 2 C]."""
    scaled = features / np.sqrt((features**2).sum(axis=2, keepdims=True) + EPSILON)
    return np.asarray(scaled.reshape(len(features), -1))


def choose_exemplars(features: Features, most: int | None = None) -> Exemplars:
    """At most `most` (EXEMPLARS) of the pictures, the same number of each label, drawn by their content."""
    vectors, labels = unit_vectors(features.values), features.labels
    present = np.unique(labels)
    quota = max(1, (most or EXEMPLARS) // len(present))
    by_content = sorted(range(len(labels)), key=lambda row: features.examples[row].sha256)
    rows = np.sort([row for label in present for row in [row for row in by_content if labels[row] == label][:quota]])
    step = float(np.abs(vectors[rows]).max()) / LEVELS
    stored = np.rint(vectors[rows] / step).astype(np.int8)
    own = vectors[rows] @ vectors.T
    own[np.arange(len(rows)), rows] = FAR  # a picture is no neighbour of itself
    offsets = DENSITY * _highest(own, NEIGHBOURS).mean(axis=1)
    return Exemplars(tuple(features.examples[row] for row in rows), stored, step, offsets.astype(np.float32))


def choose_familiarity(
    data: Dataset,
    features: Features,
    others: Features | None,
    config: BuildConfig,
    mahalanobis: Mahalanobis | None = None,
) -> Familiarity:
    """Exemplars from training pictures, the mapping from validation pictures, and what `other/` can teach.

    The threshold is the share of validation pictures that may become UNKNOWN. With pictures of `other/` it is the
    lowest of RANGE times that share at which at most FAMILIAR_OTHERS of them are familiar in cross-validation, else the
    highest. The direction is learnt from exemplars, so that validation pictures judge it.
    """
    training, validation = (part_of(features, data.splits[split]) for split in ("train", "validation"))
    exemplars = choose_exemplars(training, EXEMPLARS_TO_NAME if mahalanobis else EXEMPLARS)
    scorer, lost = mahalanobis or exemplars, round(1 - config.familiar_share, 6)
    own, threshold, direction = scorer.score(validation), lost, np.zeros(2 * validation.values.shape[2])
    if others is not None and len(others.labels) >= FEWEST_OTHERS:
        scores = scorer.score(others)
        if len(others.labels) >= FEWEST_FOR_DIRECTION:
            learnt = _learn_direction(part_of(training, exemplars.examples), others)
            along = both_unit_vectors(validation.values) @ learnt.direction
            weight, own, scores = _best_weight(own, scores, along, learnt.products_of_others)
            direction = weight * learnt.direction
        threshold = _threshold_with_others(Scale.of(own)(scores), lost)
    return Familiarity(exemplars, direction.astype(np.float32), Scale.of(own), threshold, mahalanobis)


def strangest_rows(
    familiarity: Familiarity, features: Features, count: int, named: int = 3
) -> list[tuple[int, float, list[tuple[int, float]]]]:
    """The `count` least familiar of the pictures that familiarity was learnt from, each compared with all exemplars but
    itself: its row, its familiarity, and row and cosine of the `named` nearest exemplars."""
    exemplars, distance = familiarity.exemplars, familiarity.mahalanobis
    row = {example: index for index, example in enumerate(exemplars.examples)}
    itself = np.array([row.get(example, -1) for example in features.examples])
    scores = distance.score(features) if distance else exemplars.score(features, itself)
    scores = scores + both_unit_vectors(features.values) @ familiarity.direction
    found = []
    for index in np.argsort(scores, kind="stable")[:count].tolist():
        nearest = []
        if named:
            cosines = exemplars.cosines(unit_vectors(features.values[index : index + 1]))[0]
            order = [one for one in np.argsort(-cosines, kind="stable").tolist() if one != itself[index]]
            nearest = [(one, float(cosines[one])) for one in order[:named]]
        found.append((index, float(familiarity.scale(scores[index])), nearest))
    return found


def part_of(features: Features, examples: Sequence[Example]) -> Features:
    """The features of those examples that could be read."""
    wanted = set(examples)
    return rows_of(features, np.array([example in wanted for example in features.examples], bool))


@dataclass(frozen=True, slots=True)
class _LearntDirection:
    """A direction [2 C] from pictures of `other/` to training pictures, and the product of each of `other/` with one
    that was learnt without it."""

    direction: np.ndarray
    products_of_others: np.ndarray


def _learn_direction(training: Features, strangers: Features) -> _LearntDirection:
    """Weights of logistic regression between the vectors of both, each group counted alike."""
    known, others = both_unit_vectors(training.values), both_unit_vectors(strangers.values)

    def learn(examples: np.ndarray) -> tuple[np.ndarray, float]:
        model = LogisticRegression(C=100.0, class_weight="balanced", max_iter=300)
        both = np.concatenate([known, examples])
        model.fit(both, np.arange(len(both)) < len(known))
        return model.coef_[0], float(model.intercept_[0])

    direction, offset = learn(others)
    products = np.empty(len(others))
    for learnt, unseen in KFold(FOLDS, shuffle=True, random_state=0).split(others):
        weights, own_offset = learn(others[learnt])
        products[unseen] = others[unseen] @ weights + own_offset - offset
    return _LearntDirection(direction, products)


def _best_weight(
    own: np.ndarray, scores: np.ndarray, along: np.ndarray, along_others: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The weight of the direction, with the scores of validation pictures and others that go with it: the smallest for
    which no larger one has a measurably larger area under the ROC curve, picture by picture of the others."""
    unit = float(own.std() / (along.std() or 1.0))
    best = (0.0, own, scores)
    for weight in (strength * unit for strength in STRENGTHS):
        moved = (weight, own + weight * along, scores + weight * along_others)
        gain = _ranks(best) - _ranks(moved)
        if gain.mean() > SIGNIFICANCE * gain.std() / np.sqrt(len(gain)):
            best = moved
    return best


def _ranks(weighted: tuple[float, np.ndarray, np.ndarray]) -> np.ndarray:
    """The share of validation pictures that are less familiar than each of the others."""
    _, own, scores = weighted
    return np.searchsorted(np.sort(own), scores) / len(own)


def _threshold_with_others(familiarity: np.ndarray, lost: float) -> float:
    shares = np.linspace(*RANGE, 16) * lost
    enough = [share for share in shares if (familiarity >= share).mean() <= FAMILIAR_OTHERS]
    return float(round(enough[0] if enough else shares[-1], 6))


def _highest(values: np.ndarray, count: int) -> np.ndarray:
    """The `count` highest along the last axis, or all if there are fewer."""
    count = min(count, values.shape[-1])
    return -np.partition(-values, count - 1, axis=-1)[..., :count]
