"""The head is chosen by cross-validation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from model_build.config import BuildConfig, HeadCandidate, Pooling, QuantisationCandidate, Ranges
from model_build.features import Features
from model_build.quantize import QuantisedBase
from model_build.selection import (
    EvaluatedHead,
    HeadAccuracy,
    JudgedCopies,
    choose_head,
    count_correct,
    evaluate_head,
    evaluate_heads,
    judge_copies,
    log_losses,
    paired_difference,
    train_network,
)
from tests.model_build.test_head import DENSE, separable

CONFIG = BuildConfig(Path("unused"), image_size=64, yardstick=DENSE)


def evaluated(name: str, losses: np.ndarray) -> EvaluatedHead:
    """A head with these log losses: label 0 with the probability exp(-loss)."""
    logits = np.column_stack([np.zeros(len(losses)), np.log(np.expm1(losses))])
    return EvaluatedHead(HeadCandidate(name, Pooling.AVERAGE), logits, np.zeros(len(losses), int), 0.0)


def test_the_first_head_within_a_standard_error_of_the_lowest_log_loss_wins() -> None:
    # Differences of 0.01 +- 0.05 on 100 images: one standard error is 0.005.
    low = np.full(100, 0.1)
    swing = np.tile([0.05, -0.05], 50)
    best, equal, worse = (
        evaluated(*one) for one in (("b", low), ("e", low + 0.004 + swing), ("w", low + 0.006 + swing))
    )
    assert choose_head([worse, equal, best]).candidate.name == "e"
    assert choose_head([worse, best, equal]).candidate.name == "b"


def test_the_difference_of_two_heads_is_paired_image_by_image() -> None:
    mean, error = paired_difference(np.array([1.0, 3.0, 5.0, 7.0]), np.array([0.0, 2.0, 4.0, 4.0]))
    assert mean == 1.5
    assert error == pytest.approx(np.sqrt(3) / 2 / 2)  # deviations of -0.5 x 3 and 1.5, over the root of 4


def test_log_losses_are_those_of_scikit_learn() -> None:
    logits = np.random.default_rng(1).normal(size=(7, 3)) * 5  # scikit-learn cuts off at 36
    labels = np.array([0, 1, 2, 2, 1, 0, 0])
    expected = [log_loss([label], [softmax(row)], labels=[0, 1, 2]) for row, label in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(log_losses(logits, labels), expected, rtol=1e-4, atol=1e-12)


def test_no_image_is_judged_by_a_head_that_learnt_from_it() -> None:
    # Random labels can be memorised but not predicted.
    known = separable(60, seed=1)
    targets = np.random.default_rng(8).permutation(known.labels)
    random = replace(known, labels=targets, values=np.random.default_rng(9).uniform(size=(60, 2, 40)).astype("f4"))
    judged = evaluate_head(HeadCandidate("a", Pooling.AVERAGE), random, 2, CONFIG)
    assert judged.right.mean() < 0.7
    network = train_network(Path("a"), Path("b"), random, random, [judged], judged, CONFIG)
    assert (network.trained.logits(random.values).argmax(axis=1) == targets).mean() > 0.85


@pytest.mark.parametrize("labels", [2, 5])
def test_every_head_is_judged_with_the_penalty_that_suits_it(labels: int) -> None:
    known = separable(25 * labels, seed=1, labels=labels)
    heads = evaluate_heads(known, labels, replace(CONFIG, penalties=(10.0, 1e-3)))
    assert [one.candidate.name for one in heads] == [*(head.name for head in CONFIG.heads), "dense"]
    for one in heads:
        assert one.logits.shape == (25 * labels, labels)
        assert one.right.mean() > 0.9
        assert one.candidate.l2 == (0.0 if one.candidate.units else 1e-3)


def test_unbalanced_labels_and_few_images_can_be_judged() -> None:
    known = separable(200, seed=1)
    few = np.flatnonzero((known.labels == 0) | (np.arange(200) < 20))  # 100 and 10
    unbalanced = Features(tuple(known.examples[i] for i in few), known.values[few], known.labels[few])
    judged = evaluate_head(HeadCandidate("a", Pooling.AVERAGE), unbalanced, 2, CONFIG)
    assert judged.right[unbalanced.labels == 1].all()


def test_no_other_penalty_has_a_lower_log_loss() -> None:
    # The second channel holds the noise of the first. A strong penalty keeps its weight too small to subtract it.
    source = np.random.default_rng(3)
    targets, noise = np.arange(200) % 2, source.normal(5, 2, 200)
    values = np.stack([noise + targets, noise + source.normal(0, 0.3, 200), np.full(200, 9.0)], axis=1)
    known = Features((), np.stack([values, values], axis=1).astype(np.float32), targets)
    penalties = (1e-1, 1e-3, 1e-5, 1e-9)

    def loss(*tried: float) -> float:
        judged = evaluate_head(HeadCandidate("a", Pooling.AVERAGE), known, 2, replace(CONFIG, penalties=tried))
        return float(judged.losses.mean())

    losses = [loss(l2) for l2 in penalties]
    assert max(losses) > min(losses) + 0.1  # so the choice matters
    assert loss(*penalties) == pytest.approx(min(losses), rel=1e-2)


def test_the_head_is_run_on_the_features_of_every_quantisation() -> None:
    class FirstValue:
        """Predicts label 1 if the first value is above 0.5."""

        def logits(self, features: np.ndarray) -> np.ndarray:
            return np.column_stack([np.full(len(features), 0.5), features[:, 0, 0]])

    labels = np.array([0, 1, 1])

    def pooled(*values: float) -> np.ndarray:
        return np.array(values, np.float32).reshape(3, 1, 1)

    def quantised(*values: float) -> QuantisedBase:
        return QuantisedBase(QuantisationCandidate("q", Ranges.MINMAX, 1), 1, 0.1, 1.0, Path("q"), pooled(*values))

    reference = Features((), pooled(0, 1, 1), labels)
    accuracy = count_correct(FirstValue(), [quantised(0, 1, 0), quantised(1, 0, 0)], reference)  # type: ignore[arg-type]
    assert accuracy == HeadAccuracy(3, 3, (2, 0))


def test_a_copy_is_judged_by_the_head_that_did_not_learn_from_its_original() -> None:
    # Copies that are equal to their originals get the same logits, in any order.
    known = separable(60, seed=1)
    targets = np.random.default_rng(8).permutation(known.labels)  # random labels: each fold has another head
    random = replace(known, labels=targets)
    judged = evaluate_head(HeadCandidate("a", Pooling.AVERAGE), random, 2, replace(CONFIG, penalties=(1e-3,)))
    order = np.random.default_rng(9).permutation(60)[:25]
    copies = Features(tuple(random.examples[i] for i in order), random.values[order], targets[order])
    result = judge_copies(judged, random, copies, CONFIG)
    np.testing.assert_allclose(result.logits, judged.logits[order], atol=1e-5)
    np.testing.assert_array_equal(result.originals_right, judged.right[order])
    np.testing.assert_array_equal(result.right, judged.right[order])


def test_a_change_that_costs_more_than_a_fifth_of_the_accuracy_does_not_count() -> None:
    changes = np.array(["blurred"] * 10 + ["mirrored"] * 10)
    wrong = np.isin(np.arange(20), [0, 1, 10, 11, 12])  # two of ten and three of ten
    logits = np.where(wrong[:, None], [[0.0, 1.0]], [[1.0, 0.0]])
    copies = JudgedCopies(changes, logits, np.zeros(20, int), np.ones(20, bool))
    np.testing.assert_array_equal(copies.counted, changes == "blurred")
