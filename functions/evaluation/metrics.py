"""How right are the predictions, how sure may one be of that, and has it changed.

Pure numpy. Labels are integer indices [N], probabilities float [N, C] with rows that add up to 1. A figure that is
not defined (the precision of a class that was never predicted) is NaN, never a flattering or damning 0; a mean over
no pictures at all is a ValueError. As in scikit-learn, a `*_score` is better when higher, a `*_loss` and an `*_error`
when lower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

CALIBRATION_BINS = 15
"""As in Guo et al. 2017, "On Calibration of Modern Neural Networks", which most published figures follow."""


def accuracy_score(true: ArrayLike, predicted: ArrayLike) -> float:
    """Share of pictures whose predicted label is the true one, 0 to 1."""
    labels, guesses = np.asarray(true), np.asarray(predicted)
    if labels.shape != guesses.shape:
        raise ValueError(f"labels of different shapes: {labels.shape} and {guesses.shape}")
    _require_some(labels.size)
    return float((labels == guesses).mean())


def confusion_matrix(true: ArrayLike, predicted: ArrayLike, labels: int) -> NDArray[np.int64]:
    """Counts [labels, labels]: C[i, j] is the number of pictures of true label i that were given label j.

    Rows are true labels and add up to the pictures of that label, columns are predicted labels, the diagonal is
    what was right.
    """
    matrix = np.zeros((labels, labels), dtype=np.int64)
    np.add.at(matrix, (np.asarray(true, dtype=np.intp), np.asarray(predicted, dtype=np.intp)), 1)
    return matrix


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a share is believed to lie, ends included; both within 0..1."""

    low: float
    high: float


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """The share that `correct` of `total` independent pictures stand for, two-sided, at that confidence.

    Wilson's score interval (1927): unlike the textbook's p +- z * s it holds near 0 and 1, where accuracies are.
    (0, 1) for no pictures: nothing is known.
    """
    if not 0 <= correct <= total or not 0 < confidence < 1:
        raise ValueError(f"no interval for {correct} of {total} at confidence {confidence}")
    if total == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = correct / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / weight
    half = z / weight * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # At the ends the exact bound is the end itself; rounding would miss it by 1e-17.
    return Interval(
        0.0 if correct == 0 else max(0.0, centre - half), 1.0 if correct == total else min(1.0, centre + half)
    )


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How one class fares."""

    precision: float  # of the pictures given this label, the share that have it; NaN if none was given it
    recall: float  # of the pictures that have this label, the share given it; NaN if there are none
    f1: float  # harmonic mean of both, 2TP / (2TP + FP + FN); NaN if the label occurs on neither side
    support: int  # pictures that have this label


def class_scores(confusion: NDArray[np.int64]) -> list[ClassScores]:
    """Precision, recall and F1 of each label, in order, from C[true, predicted] of `confusion_matrix`."""
    right = np.diag(confusion)
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassScores(_ratio(tp, given), _ratio(tp, having), _ratio(2 * tp, given + having), int(having))
        for tp, having, given in zip(right, true, predicted, strict=True)
    ]


def baseline_score(true: ArrayLike) -> float:
    """Accuracy of the best constant answer, the most frequent true label: what a model must beat."""
    labels = np.asarray(true, dtype=np.intp)
    _require_some(labels.size)
    return float(np.bincount(labels).max() / labels.size)


def log_loss(true: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of -ln(probability given to the true label); 0 is perfect, ln(C) is guessing.

    Probabilities are cut at float64's epsilon, as in scikit-learn, so that one confident mistake costs 36 and
    not infinity.
    """
    labels, given = _labels_and_probabilities(true, probabilities)
    epsilon = np.finfo(np.float64).eps
    return float(-np.log(np.clip(given[np.arange(labels.size), labels], epsilon, 1 - epsilon)).mean())


def brier_score_loss(true: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean over the pictures of the sum over all classes of (probability - 1 if true else 0) squared. 0 to 2.

    Brier's own definition (1950), for any number of classes. For two classes it is twice the one-class form
    that is often quoted.
    """
    labels, given = _labels_and_probabilities(true, probabilities)
    wanted = np.zeros_like(given)
    wanted[np.arange(labels.size), labels] = 1
    return float(((given - wanted) ** 2).sum(axis=1).mean())


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The pictures whose confidence lies in (low, high]; the first bin includes 0."""

    low: float
    high: float
    count: int
    confidence: float  # their mean; NaN for an empty bin
    accuracy: float  # share of them that are right; NaN for an empty bin


def confidence_histogram(confidence: ArrayLike, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Number of confidences in each of `bins` bins of equal width over 0..1, (low, high]; the first includes 0."""
    return np.bincount(_bin_of(np.asarray(confidence, dtype=np.float64), bins), minlength=bins).astype(np.int64)


def reliability_curve(confidence: ArrayLike, right: ArrayLike, bins: int = CALIBRATION_BINS) -> list[ReliabilityBin]:
    """Mean confidence against accuracy in each of `bins` bins of equal width; empty bins included.

    `confidence` is the probability of the predicted label [N], `right` whether it was the true one [N].
    """
    values, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if values.shape != hits.shape:
        raise ValueError(f"{values.size} confidences for {hits.size} outcomes")
    members = _bin_of(values, bins)
    counts = np.bincount(members, minlength=bins)
    confidences, accuracies = (np.bincount(members, weights, minlength=bins) for weights in (values, hits))
    return [
        ReliabilityBin(
            low=index / bins,
            high=(index + 1) / bins,
            count=int(counts[index]),
            confidence=_ratio(confidences[index], counts[index]),
            accuracy=_ratio(accuracies[index], counts[index]),
        )
        for index in range(bins)
    ]


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = CALIBRATION_BINS) -> float:
    """Mean over the pictures of |accuracy - confidence| of the bin they are in (Guo et al. 2017). 0 to 1.

    0: of all answers given with 90 % confidence, 90 % are right, and so on.
    """
    filled = [each for each in reliability_curve(confidence, right, bins) if each.count]
    total = sum(each.count for each in filled)
    _require_some(total)
    return sum(each.count * abs(each.accuracy - each.confidence) for each in filled) / total


def mcnemar_test(only_first_right: int, only_second_right: int) -> float:
    """Probability that two equally good classifiers, on the same pictures, differ by at least this much.

    The arguments count the pictures that one of them got right and the other did not; those on which both agree
    say nothing. Exact and two-sided: twice the binomial tail at 1/2, at most 1. Under 0.05 is commonly taken for
    a difference, the rest for noise.
    """
    if min(only_first_right, only_second_right) < 0:
        raise ValueError(f"counts must not be negative: {only_first_right}, {only_second_right}")
    discordant, fewer = only_first_right + only_second_right, min(only_first_right, only_second_right)
    tail, ways = 0, 1  # whole numbers: floats would underflow from about 1,000 pictures on
    for successes in range(fewer + 1):
        tail += ways
        ways = ways * (discordant - successes) // (successes + 1)
    return min(1.0, 2 * tail / 2**discordant)


def two_proportion_test(first_correct: int, first_total: int, second_correct: int, second_total: int) -> float:
    """Probability that two equally good classifiers, each on pictures of its own, differ by at least this much.

    Fisher's exact test, two-sided: over all tables with the same margins, the sum of the probabilities of those
    that are no likelier than this one. For results of which only counts are known; on the same pictures McNemar's
    test sees more. 1 if either has no pictures.
    """
    if not (0 <= first_correct <= first_total and 0 <= second_correct <= second_total):
        raise ValueError(f"no shares: {first_correct} of {first_total}, {second_correct} of {second_total}")
    correct, total = first_correct + second_correct, first_total + second_total
    possible = range(max(0, correct - second_total), min(first_total, correct) + 1)
    logs = np.array([_log_comb(first_total, k) + _log_comb(second_total, correct - k) for k in possible])
    logs -= _log_comb(total, correct)
    observed = logs[first_correct - possible.start]
    # Equally likely tables differ by rounding only; R's and scipy's tests allow for the same 1e-7.
    return min(1.0, float(np.exp(logs[logs <= observed + 1e-7]).sum()))


def population_stability_index(expected: ArrayLike, actual: ArrayLike) -> float:
    """How far the counts `actual` [B] have moved from the counts `expected` [B], bin by bin; 0 is not at all.

    The sum of (a - e) * ln(a / e) over the bins' shares; credit scoring reads under 0.1 as stable and above 0.25
    as moved. Half a picture is added to every bin of both sides, so that an empty one costs little and not
    infinity; with few pictures per bin that pulls the index towards 0.
    """
    before, now = np.asarray(expected, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if before.shape != now.shape or before.ndim != 1 or min(before.min(initial=0), now.min(initial=0)) < 0:
        raise ValueError(f"needs two lists of counts over the same bins, not {before.tolist()} and {now.tolist()}")
    _require_some(min(before.sum(), now.sum()))
    before, now = ((counts + 0.5) / (counts + 0.5).sum() for counts in (before, now))
    return float(((now - before) * np.log(now / before)).sum())


def _bin_of(confidence: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    if confidence.size and not (confidence.min() >= 0 and confidence.max() <= 1):
        raise ValueError(f"confidences must lie in 0..1, not in {confidence.min()}..{confidence.max()}")
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")


def _labels_and_probabilities(
    true: ArrayLike, probabilities: ArrayLike
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    labels, given = np.asarray(true, dtype=np.intp), np.asarray(probabilities, dtype=np.float64)
    if labels.ndim != 1 or given.ndim != 2 or len(labels) != len(given):
        raise ValueError(f"needs labels [N] and probabilities [N, C], not {labels.shape} and {given.shape}")
    _require_some(labels.size)
    return labels, given


def _require_some(pictures: float) -> None:
    if not pictures:
        raise ValueError("this is undefined for no pictures")


def _log_comb(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
