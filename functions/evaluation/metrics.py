"""Metrics of a classifier: accuracy, calibration, intervals and significance tests.

Pure numpy. Labels are integer indices [N]; probabilities are float [N, C] with rows that add up to 1. What is not
defined, such as the precision of a label that was never predicted, is NaN; a mean over no pictures raises ValueError.
As in scikit-learn, a higher `*_score` is better, a lower `*_loss` or `*_error`.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

CALIBRATION_BINS = 15
"""As in Guo et al. 2017, "On Calibration of Modern Neural Networks", so that figures compare with published ones."""


def accuracy_score(true: ArrayLike, predicted: ArrayLike) -> float:
    """Share of pictures whose predicted label is the true one, 0..1."""
    labels, predictions = np.asarray(true), np.asarray(predicted)
    if labels.shape != predictions.shape:
        raise ValueError(f"labels of different shapes: {labels.shape} and {predictions.shape}")
    _require_pictures(labels.size)
    return float((labels == predictions).mean())


def confusion_matrix(true: ArrayLike, predicted: ArrayLike, labels: int) -> NDArray[np.int64]:
    """Counts [labels, labels]: C[i, j] pictures of true label i were predicted as label j."""
    matrix = np.zeros((labels, labels), dtype=np.int64)
    np.add.at(matrix, (np.asarray(true, dtype=np.intp), np.asarray(predicted, dtype=np.intp)), 1)
    return matrix


def auroc_score(scores: ArrayLike, others: ArrayLike) -> float:
    """Area under the ROC curve: the chance that one of `scores` [N] is above one of `others` [M], equal ones counting
    half."""
    own, strange = np.asarray(scores, float), np.sort(np.asarray(others, float))
    _require_pictures(min(own.size, strange.size))
    below = np.searchsorted(strange, own, "left") + np.searchsorted(strange, own, "right")
    return float(below.mean() / 2 / strange.size)


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval within 0..1."""

    low: float
    high: float


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """Two-sided confidence interval of the accuracy, from `correct` of `total` independent pictures.

    Wilson's score interval (1927): unlike p +- z * s, it holds near 0 and 1. (0, 1) for no pictures.
    """
    if not 0 <= correct <= total or not 0 < confidence < 1:
        raise ValueError(f"no interval for {correct} of {total} at confidence {confidence}")
    if total == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = correct / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / weight
    half = z / weight * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # With none or all correct the exact bound is 0 or 1; rounding would miss it by 1e-17.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    return Interval(low, 1.0 if correct == total else min(1.0, centre + half))


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Precision, recall and F1 of one label; NaN where they are not defined."""

    precision: float  # right share of the pictures predicted as this label
    recall: float  # right share of the pictures that have this label
    f1: float  # harmonic mean of both, 2TP / (2TP + FP + FN)
    support: int  # pictures that have this label


def class_scores(confusion: NDArray[np.int64]) -> list[ClassScores]:
    """The scores of each label, in order, from C[true, predicted] of `confusion_matrix`."""
    right = np.diag(confusion)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassScores(_ratio(tp, given), _ratio(tp, having), _ratio(2 * tp, given + having), int(having))
        for tp, having, given in zip(right, support, predicted, strict=True)
    ]


def baseline_score(true: ArrayLike) -> float:
    """Accuracy of always predicting the most frequent label, which a model must beat."""
    labels = np.asarray(true, dtype=np.intp)
    _require_pictures(labels.size)
    return float(np.bincount(labels).max() / labels.size)


def log_loss(true: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of -ln(probability of the true label). 0 is perfect, ln(C) is guessing.

    Probabilities are clipped to float64's epsilon, as in scikit-learn: one confident mistake costs 36, not infinity.
    """
    labels, predicted = _labels_and_probabilities(true, probabilities)
    epsilon = np.finfo(np.float64).eps
    return float(-np.log(np.clip(predicted[np.arange(labels.size), labels], epsilon, 1 - epsilon)).mean())


def brier_score_loss(true: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean over the pictures of the squared distance between probabilities and the one-hot true label. 0..2.

    Brier's definition (1950), for any number of classes. For two it is twice the one-class form that is often quoted.
    """
    labels, predicted = _labels_and_probabilities(true, probabilities)
    one_hot = np.zeros_like(predicted)
    one_hot[np.arange(labels.size), labels] = 1
    return float(((predicted - one_hot) ** 2).sum(axis=1).mean())


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The pictures whose confidence lies in (low, high]; the first bin includes 0."""

    low: float
    high: float
    count: int
    confidence: float  # mean; NaN for an empty bin
    accuracy: float  # NaN for an empty bin


def confidence_histogram(confidence: ArrayLike, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Counts of the confidences in `bins` bins of equal width over 0..1, (low, high]; the first includes 0."""
    return np.bincount(_bin_of(np.asarray(confidence, dtype=np.float64), bins), minlength=bins).astype(np.int64)


def reliability_curve(confidence: ArrayLike, right: ArrayLike, bins: int = CALIBRATION_BINS) -> list[ReliabilityBin]:
    """Mean confidence and accuracy in each of `bins` bins of equal width, empty ones included.

    `confidence` is the probability of the predicted label [N], `right` whether it is the true one [N].
    """
    values, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if values.shape != hits.shape:
        raise ValueError(f"{values.size} confidences for {hits.size} outcomes")
    members = _bin_of(values, bins)
    counts = np.bincount(members, minlength=bins)
    confidences, accuracies = (np.bincount(members, weights, minlength=bins) for weights in (values, hits))
    return [
        ReliabilityBin(index / bins, (index + 1) / bins, int(count), _ratio(confidence_sum, count), _ratio(hit, count))
        for index, (count, confidence_sum, hit) in enumerate(zip(counts, confidences, accuracies, strict=True))
    ]


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = CALIBRATION_BINS) -> float:
    """Mean over the pictures of |accuracy - confidence| of their bin (Guo et al. 2017). 0..1.

    0 means, for example, that 90% of all answers with 90% confidence are right.
    """
    filled = [bin_ for bin_ in reliability_curve(confidence, right, bins) if bin_.count]
    total = sum(bin_.count for bin_ in filled)
    _require_pictures(total)
    return sum(bin_.count * abs(bin_.accuracy - bin_.confidence) for bin_ in filled) / total


def mcnemar_test(only_first_right: int, only_second_right: int) -> float:
    """p-value of a difference between two classifiers on the same pictures.

    The arguments count the pictures that one classifier got right and the other wrong; pictures on which both agree
    carry no information. Exact and two-sided: twice the binomial tail at 1/2, at most 1.
    """
    if min(only_first_right, only_second_right) < 0:
        raise ValueError(f"counts must not be negative: {only_first_right}, {only_second_right}")
    discordant, fewer = only_first_right + only_second_right, min(only_first_right, only_second_right)
    tail, ways = 0, 1  # integers: floats underflow from about 1,000 pictures on
    for successes in range(fewer + 1):
        tail += ways
        ways = ways * (discordant - successes) // (successes + 1)
    return min(1.0, 2 * tail / 2**discordant)


def two_proportion_test(first_correct: int, first_total: int, second_correct: int, second_total: int) -> float:
    """p-value of a difference between two classifiers, each on its own pictures. 1 if either has no pictures.

    Fisher's exact test, two-sided: the probability of all tables with the same margins that are no likelier than this
    one. It needs only counts; on the same pictures McNemar's test is more sensitive.
    """
    if not (0 <= first_correct <= first_total and 0 <= second_correct <= second_total):
        raise ValueError(f"no shares: {first_correct} of {first_total}, {second_correct} of {second_total}")
    correct, total = first_correct + second_correct, first_total + second_total
    possible = range(max(0, correct - second_total), min(first_total, correct) + 1)
    logs = np.array([_log_comb(first_total, k) + _log_comb(second_total, correct - k) for k in possible])
    logs -= _log_comb(total, correct)
    observed = logs[first_correct - possible.start]
    # Equally likely tables differ by rounding errors; R's and scipy's tests allow for the same 1e-7.
    return min(1.0, float(np.exp(logs[logs <= observed + 1e-7]).sum()))


def population_stability_index(expected: ArrayLike, actual: ArrayLike) -> float:
    """How far the histogram `actual` [B] differs from the histogram `expected` [B]; 0 for equal shares.

    Sum over the bins of (a - e) * ln(a / e), with shares a and e. Half a picture is added to every bin of both sides,
    so that an empty bin costs little and not infinity; with few pictures a bin that pulls the index towards 0.
    """
    before, now = np.asarray(expected, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if before.shape != now.shape or before.ndim != 1 or min(before.min(initial=0), now.min(initial=0)) < 0:
        raise ValueError(f"needs two lists of counts over the same bins, not {before.tolist()} and {now.tolist()}")
    _require_pictures(min(before.sum(), now.sum()))
    before, now = ((counts + 0.5) / (counts + 0.5).sum() for counts in (before, now))
    return float(((now - before) * np.log(now / before)).sum())


def _bin_of(confidence: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    if confidence.size and not (confidence.min() >= 0 and confidence.max() <= 1):
        raise ValueError(f"confidences must lie in 0..1, not in {confidence.min()}..{confidence.max()}")
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")


def _labels_and_probabilities(
    true: ArrayLike, probabilities: ArrayLike
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    labels, predicted = np.asarray(true, dtype=np.intp), np.asarray(probabilities, dtype=np.float64)
    if labels.ndim != 1 or predicted.ndim != 2 or len(labels) != len(predicted):
        raise ValueError(f"needs labels [N] and probabilities [N, C], not {labels.shape} and {predicted.shape}")
    _require_pictures(labels.size)
    return labels, predicted


def _require_pictures(number: float) -> None:
    if not number:
        raise ValueError("not defined for no pictures")


def _log_comb(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
