"""Metrics against hand-computed values, scikit-learn and scipy."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from evaluation import metrics

# 4 cats, 6 dogs (true), of which 3 and 5 are right; label 2 is never true and predicted once.
TRUE = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
PREDICTED = [0, 0, 0, 1, 1, 1, 1, 1, 1, 2]
CONFUSION = [[3, 1, 0], [0, 5, 1], [0, 0, 0]]

counts = st.integers(0, 400)
labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def some_predictions(classes: int = 3, pictures: int = 200) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    return random.integers(0, classes, pictures), random.dirichlet(np.full(classes, 0.4), pictures)


# ---- accuracy and interval ----------------------------------------------------------------------------------


def test_accuracy_is_the_share_of_right_labels() -> None:
    assert metrics.accuracy_score(TRUE, PREDICTED) == 0.8


def test_different_numbers_of_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        metrics.accuracy_score([0, 1], [0])


def test_rows_are_true_and_columns_predicted_labels() -> None:
    assert metrics.confusion_matrix(TRUE, PREDICTED, 3).tolist() == CONFUSION


@given(labels)
def test_the_confusion_matrix_equals_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    true, predicted = zip(*pairs, strict=True)
    expected = sklearn_metrics.confusion_matrix(true, predicted, labels=range(4))
    np.testing.assert_array_equal(metrics.confusion_matrix(true, predicted, 4), expected)


def test_the_area_under_the_roc_curve_by_hand() -> None:
    # Of the 3 x 2 pairs, 0.9 is above 0.5 and 0.1, 0.5 above 0.1 and equal to 0.5, 0.3 above 0.1 alone: 4.5 of 6.
    assert metrics.auroc_score([0.9, 0.5, 0.3], [0.5, 0.1]) == 0.75
    assert metrics.auroc_score([2, 3], [1]) == 1
    assert metrics.auroc_score([1], [2, 3]) == 0
    with pytest.raises(ValueError, match="no pictures"):
        metrics.auroc_score([], [1])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_the_area_under_the_roc_curve_equals_scikit_learns(own: list[int], others: list[int]) -> None:
    expected = sklearn_metrics.roc_auc_score([1] * len(own) + [0] * len(others), own + others)
    assert metrics.auroc_score(own, others) == pytest.approx(expected)


def test_the_interval_of_nine_in_ten_by_hand() -> None:
    # z = 1.959964, centre (0.9 + 0.19207) / 1.38415 = 0.78899, half width 0.19314.
    interval = metrics.wilson_interval(9, 10)
    assert (interval.low, interval.high) == pytest.approx((0.59585, 0.98212), abs=1e-5)


@given(counts, counts, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_equals_scipys(correct: int, wrong: int, confidence: float) -> None:
    total = correct + wrong
    if not total:
        return
    expected = stats.binomtest(correct, total).proportion_ci(confidence, method="wilson")
    actual = metrics.wilson_interval(correct, total, confidence)
    assert (actual.low, actual.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= actual.low <= correct / total <= actual.high <= 1


def test_no_pictures_give_the_whole_interval() -> None:
    assert metrics.wilson_interval(0, 0) == metrics.Interval(0, 1)


@pytest.mark.parametrize("wrong", [(2, 1, 0.95), (-1, 1, 0.95), (1, 2, 1.0)])
def test_impossible_counts_are_refused(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="no interval"):
        metrics.wilson_interval(*wrong)


# ---- classes ------------------------------------------------------------------------------------------------


def test_precision_recall_and_f1_by_hand() -> None:
    cats, dogs, foxes = metrics.class_scores(np.array(CONFUSION))
    assert cats == metrics.ClassScores(1.0, 0.75, 6 / 7, 4)
    assert dogs == metrics.ClassScores(5 / 6, 5 / 6, 5 / 6, 6)
    assert (foxes.precision, foxes.f1, foxes.support) == (0, 0, 0)
    assert math.isnan(foxes.recall)  # the test set has no foxes


@given(labels)
def test_class_scores_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    true, predicted = zip(*pairs, strict=True)
    actual = metrics.class_scores(metrics.confusion_matrix(true, predicted, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sklearn_metrics.precision_recall_fscore_support(
            true, predicted, labels=range(4), zero_division=np.nan
        )
    columns = (
        [scores.precision for scores in actual],
        [scores.recall for scores in actual],
        [scores.f1 for scores in actual],
    )
    for column, values in zip(columns, expected, strict=False):
        np.testing.assert_allclose(column, values)
    assert [scores.support for scores in actual] == expected[3].tolist()


def test_the_baseline_predicts_the_most_frequent_label() -> None:
    assert metrics.baseline_score(TRUE) == 0.6


# ---- probabilities ------------------------------------------------------------------------------------------


def test_log_loss_by_hand() -> None:
    assert metrics.log_loss([0, 1], [[0.5, 0.5], [0.75, 0.25]]) == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_a_confident_mistake_has_a_finite_log_loss() -> None:
    # -ln(2 ** -52)
    assert metrics.log_loss([0], [[0.0, 1.0]]) == pytest.approx(52 * math.log(2))


def test_brier_by_hand() -> None:
    # (0.5 - 1)^2 + 0.5^2 = 0.5 and 0.75^2 + (0.25 - 1)^2 = 1.125
    assert metrics.brier_score_loss([0, 1], [[0.5, 0.5], [0.75, 0.25]]) == pytest.approx((0.5 + 1.125) / 2)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_losses_equal_scikit_learns(classes: int) -> None:
    true, probabilities = some_predictions(classes)
    assert metrics.log_loss(true, probabilities) == pytest.approx(
        sklearn_metrics.log_loss(true, probabilities, labels=range(classes)), rel=1e-9
    )
    assert metrics.brier_score_loss(true, probabilities) == pytest.approx(
        sklearn_metrics.brier_score_loss(true, probabilities, labels=range(classes), scale_by_half=False), rel=1e-9
    )


@pytest.mark.parametrize("loss", [metrics.log_loss, metrics.brier_score_loss])
def test_losses_refuse_labels_without_probabilities(loss: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        loss([0, 1], [[1.0, 0.0]])


# ---- calibration --------------------------------------------------------------------------------------------


def test_reliability_bins_by_hand() -> None:
    # Two bins: (0, 0.5] holds 0.4 and 0.5, (0.5, 1] holds 0.8 and 1.
    first, second = metrics.reliability_curve([0.4, 0.5, 0.8, 1.0], [True, False, True, True], bins=2)
    assert first == metrics.ReliabilityBin(0, 0.5, 2, pytest.approx(0.45), 0.5)
    assert second == metrics.ReliabilityBin(0.5, 1, 2, pytest.approx(0.9), 1)
    # 2/4 * 0.05 + 2/4 * 0.1
    error = metrics.expected_calibration_error([0.4, 0.5, 0.8, 1.0], [True, False, True, True], bins=2)
    assert error == pytest.approx(0.075)


def test_the_reliability_curve_equals_scikit_learns() -> None:
    random = np.random.default_rng(9)
    confidence, right = random.random(500), random.random(500) < 0.7
    actual = [bin_ for bin_ in metrics.reliability_curve(confidence, right) if bin_.count]
    accuracies, confidences = calibration_curve(right, confidence, n_bins=15)
    np.testing.assert_allclose([scores.accuracy for scores in actual], accuracies)
    np.testing.assert_allclose([scores.confidence for scores in actual], confidences)
    np.testing.assert_array_equal([scores.count for scores in actual], metrics.confidence_histogram(confidence))


def test_calibrated_answers_have_no_calibration_error() -> None:
    # 100 answers with 70% confidence, 70 of them right; 10 with 100%, all right.
    confidence = [0.7] * 100 + [1.0] * 10
    right = [True] * 70 + [False] * 30 + [True] * 10
    assert metrics.expected_calibration_error(confidence, right) == pytest.approx(0, abs=1e-12)


def test_an_empty_bin_has_no_mean() -> None:
    first, _ = metrics.reliability_curve([0.9], [True], bins=2)
    assert first.count == 0
    assert math.isnan(first.confidence)
    assert math.isnan(first.accuracy)


@given(st.lists(st.floats(0, 1), max_size=50), st.integers(1, 20))
def test_every_confidence_is_in_one_bin_and_within_its_bounds(confidence: list[float], bins: int) -> None:
    curve = metrics.reliability_curve(confidence, [True] * len(confidence), bins)
    for bin_ in curve:
        inside = [value for value in confidence if bin_.low < value <= bin_.high or value == bin_.low == 0]
        assert bin_.count == len(inside)


def test_percentages_are_refused_as_confidences() -> None:
    with pytest.raises(ValueError, match="confidences"):
        metrics.expected_calibration_error([97.0], [True])


# ---- differences --------------------------------------------------------------------------------------------


def test_mcnemar_by_hand() -> None:
    # 1 against 5: 2 * (1 + 6) / 2^6
    assert metrics.mcnemar_test(1, 5) == 14 / 64
    assert metrics.mcnemar_test(0, 0) == 1


@given(counts, counts)
def test_mcnemar_equals_scipys_exact_binomial_test(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1
    assert metrics.mcnemar_test(first, second) == pytest.approx(expected, rel=1e-9)
    assert metrics.mcnemar_test(first, second) == metrics.mcnemar_test(second, first)


def test_mcnemar_is_exact_for_many_pictures() -> None:
    expected = stats.binomtest(5000, 10200).pvalue
    assert metrics.mcnemar_test(5000, 5200) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_the_two_proportion_test_equals_scipys_fisher_test(a: int, b: int, c: int, d: int) -> None:
    expected = stats.fisher_exact([[a, b], [c, d]]).pvalue
    assert metrics.two_proportion_test(a, a + b, c, c + d) == pytest.approx(expected, rel=1e-6)


# ---- drift --------------------------------------------------------------------------------------------------


def test_stability_index_by_hand() -> None:
    # Half a picture is added to each bin of (1, 2) and (2, 1):
    # e = (1.5, 2.5) / 4, a = (2.5, 1.5) / 4: 0.25 ln(5 / 3) + 0.25 ln(5 / 3)
    assert metrics.population_stability_index([1, 2], [2, 1]) == pytest.approx(0.5 * math.log(5 / 3))


def test_stability_index_equals_scipys_symmetric_divergence() -> None:
    expected, actual = np.array([10, 200, 30, 0]), np.array([40, 10, 0, 80])
    e, a = expected + 0.5, actual + 0.5
    divergence = stats.entropy(e, a) + stats.entropy(a, e)
    assert metrics.population_stability_index(expected, actual) == pytest.approx(divergence)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=9))
def test_equal_histograms_have_index_zero_and_others_more(counts_of_bins: list[int]) -> None:
    if not sum(counts_of_bins):
        return
    assert metrics.population_stability_index(counts_of_bins, counts_of_bins) == 0
    assert metrics.population_stability_index(counts_of_bins, counts_of_bins[::-1]) >= 0


def test_histograms_of_different_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="same bins"):
        metrics.population_stability_index([1, 2], [1, 2, 3])


@pytest.mark.parametrize(
    "figure",
    [
        lambda: metrics.accuracy_score([], []),
        lambda: metrics.baseline_score([]),
        lambda: metrics.log_loss([], np.empty((0, 2))),
        lambda: metrics.brier_score_loss([], np.empty((0, 2))),
        lambda: metrics.expected_calibration_error([], []),
        lambda: metrics.population_stability_index([1, 2], [0, 0]),
    ],
)
def test_no_metric_is_defined_for_no_pictures(figure: Callable[[], float]) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        figure()
