from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from model_build import head
from model_build.config import BuildConfig, HeadCandidate, Pooling, QuantisationCandidate, Ranges
from model_build.features import Features
from model_build.head import TrainedHead
from model_build.quantize import QuantisedBase
from model_build.selection import (
    PENALTIES,
    EvaluatedHead,
    HeadAccuracy,
    ValidationScore,
    choose_head,
    count_correct,
    score,
    train_baseline,
    train_heads,
)
from tests.model_build.test_head import separable


def evaluated_head(name: str, correct: int, log_loss: float) -> EvaluatedHead:
    trained = TrainedHead(None, {}, 1)  # type: ignore[arg-type]
    return EvaluatedHead(
        HeadCandidate(name, Pooling.AVERAGE), trained, ValidationScore(correct, 100, log_loss), np.empty(0), 0.0
    )


def test_most_right_predictions_win_whatever_the_loss() -> None:
    assert choose_head([evaluated_head("a", 94, 0.1), evaluated_head("b", 95, 0.3)]).candidate.name == "b"


def test_among_equals_the_lower_loss_wins_and_then_the_first() -> None:
    assert choose_head([evaluated_head("a", 95, 0.2), evaluated_head("b", 95, 0.1)]).candidate.name == "b"
    assert choose_head([evaluated_head("a", 95, 0.1), evaluated_head("b", 95, 0.1)]).candidate.name == "a"


def test_a_score_has_right_predictions_and_log_loss() -> None:
    # Softmax of (ln 3, 0) is (3/4, 1/4): a right prediction costs -ln 3/4, the wrong one -ln 1/4.
    scored = score(np.log([[3.0, 1.0], [3.0, 1.0]]), np.array([0, 1]))
    assert (scored.correct, scored.images, scored.accuracy) == (1, 2, 0.5)
    assert scored.log_loss == pytest.approx(-(np.log(3 / 4) + np.log(1 / 4)) / 2)


def test_every_candidate_is_trained_and_scored_on_validation() -> None:
    heads = (
        HeadCandidate("average", Pooling.AVERAGE, units=8, epochs=3, learning_rate=1e-2),
        HeadCandidate("flatten", Pooling.FLATTEN, units=4, epochs=2, learning_rate=1e-2),
    )
    config = replace(BuildConfig(Path("unused")), heads=heads)
    training, validation = separable(60, seed=1), separable(30, seed=2)
    heads = train_heads(training, validation, 2, config)
    assert [evaluated.candidate.name for evaluated in heads] == ["average", "flatten"]
    # 6 channels x 8 + 8, 8 x 2 + 2; 2 x 2 x 6 values x 4 + 4, 4 x 2 + 2
    assert [evaluated.trained.parameters for evaluated in heads] == [74, 110]
    for evaluated in heads:
        answers = evaluated.trained.logits(validation.values).argmax(axis=1)
        assert evaluated.validation.correct == (answers == validation.labels).sum()


def test_the_baseline_is_the_logistic_regression_that_is_best_on_validation() -> None:
    training, validation = separable(60, seed=1), separable(30, seed=2)
    baseline = train_baseline(Pooling.AVERAGE, training, validation)
    pooled = training.values.mean(axis=(1, 2))
    mean, deviation = head.statistics(pooled)
    oracle = LogisticRegression(C=baseline.model.C, max_iter=1000).fit((pooled - mean) / deviation, training.labels)
    unseen = validation.values.mean(axis=(1, 2))
    expected = oracle.predict((unseen - mean) / deviation)
    np.testing.assert_array_equal(baseline.predict(validation.values), expected)
    assert baseline.validation.correct == (expected == validation.labels).sum()


def test_no_other_penalty_of_the_baseline_is_better_on_validation() -> None:
    # The second channel holds the noise of the first. A strong penalty keeps its weight too small to subtract it.
    rng = np.random.default_rng(3)

    def noisy(count: int) -> Features:
        labels = np.arange(count) % 2
        noise = rng.normal(0, 3, count)
        values = np.stack([noise + labels, noise + rng.normal(0, 0.3, count)], axis=1).astype(np.float32)
        return Features((), values[:, None, None], labels)

    training, validation = noisy(400), noisy(200)
    mean, deviation = head.statistics(training.values[:, 0, 0])
    correct = []
    for penalty in PENALTIES:
        model = LogisticRegression(C=penalty, max_iter=1000)
        model.fit((training.values[:, 0, 0] - mean) / deviation, training.labels)
        answers = model.predict((validation.values[:, 0, 0] - mean) / deviation)
        correct.append(int((answers == validation.labels).sum()))
    assert max(correct) > min(correct) + 20  # so the choice matters

    baseline = train_baseline(Pooling.AVERAGE, training, validation)

    assert baseline.validation.correct == max(correct)


def test_the_head_is_run_on_the_features_of_every_quantisation() -> None:
    class FirstValue:
        """Predicts label 1 if the first value is above 0.5."""

        def logits(self, features: np.ndarray) -> np.ndarray:
            return np.column_stack([np.full(len(features), 0.5), features[:, 0, 0, 0]])

    head = replace(evaluated_head("a", 95, 0.1), trained=FirstValue())  # type: ignore[arg-type]
    labels = np.array([0, 1, 1])

    def maps(*values: float) -> np.ndarray:
        return np.array(values, np.float32).reshape(3, 1, 1, 1)

    def quantised(*values: float) -> QuantisedBase:
        return QuantisedBase(QuantisationCandidate("q", Ranges.MINMAX, 1), 1, 0.1, 1.0, Path("q"), maps(*values))

    reference = Features((), maps(0, 1, 1), labels)
    assert count_correct(head, [quantised(0, 1, 0), quantised(1, 0, 0)], reference) == HeadAccuracy(3, 3, (2, 0))
