from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeller.classifier import softmax
from model_build.calibration import (
    TEMPERATURES,
    Threshold,
    answers,
    at_bound,
    calibrate,
    choose_threshold,
    fit_temperature,
    strictest,
)
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, Example
from model_build.data.shifts import CHANGES, change_of
from model_build.features import Features
from model_build.progress import Stages
from model_build.selection import EvaluatedHead, JudgedCopies, TrainedNetwork, evaluate_head, judge_copies
from tests.model_build.colours import features_of, pictures, write_base
from tests.model_build.test_head import LINEAR


def log_loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    from sklearn.metrics import log_loss as oracle

    return oracle(labels, softmax(logits, temperature), labels=list(range(logits.shape[1])))


# ---- temperature ----------------------------------------------------------------------------------------


def test_the_temperature_makes_confidence_equal_accuracy() -> None:
    # Every image has the logits (4, 0), and 3 of 4 are right. The loss is minimal at a confidence of 0.75:
    # 1 / (1 + exp(-4 / t)) = 3/4, so exp(4 / t) = 3, so t = 4 / ln 3 = 3.6410.
    logits = np.tile([4.0, 0.0], (8, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1] * 2)) == pytest.approx(4 / np.log(3), rel=1e-3)


@pytest.mark.parametrize("labels", [2, 5])
def test_no_other_temperature_gives_a_lower_loss(labels: int) -> None:
    random = np.random.default_rng(labels)
    logits = random.normal(0, 3, (300, labels))
    true = np.where(random.random(300) < 0.7, logits.argmax(axis=1), random.integers(0, labels, 300))
    minimum = fit_temperature(logits, true)
    losses = [log_loss(logits, true, temperature) for temperature in np.geomspace(*TEMPERATURES, 200)]
    assert log_loss(logits, true, minimum) <= min(losses) + 1e-6


def test_logits_without_a_mistake_get_temperature_1() -> None:
    assert fit_temperature(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 1])) == 1.0


def test_logits_without_information_get_the_highest_temperature() -> None:
    logits = np.tile([[5.0, 0.0], [0.0, 5.0]], (10, 1))
    assert fit_temperature(logits, np.array([1, 0] * 10)) == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize(
    ("leads", "right", "bound"),
    [
        (100.0, 5, True),  # half of the pictures are right with the logits (100, 0): no temperature is high enough
        (0.1, 9, True),  # nine of ten are right with the logits (0.1, 0): the best temperature, 0.1 / ln 9, is 0.046
        (4.0, 9, False),
    ],
)
def test_a_search_that_ends_at_its_bound_is_noticed(leads: float, right: int, bound: bool) -> None:
    temperature = fit_temperature(np.tile([leads, 0.0], (10, 1)), np.array([0] * right + [1] * (10 - right)))
    assert at_bound(temperature) == bound


@pytest.mark.parametrize(
    ("temperature", "bound"), [(0.1, True), (0.10005, True), (0.12, False), (9.9, False), (9.995, True), (10.0, True)]
)
def test_a_thousandth_beside_a_bound_is_at_it(temperature: float, bound: bool) -> None:
    assert at_bound(temperature) == bound


# ---- threshold ------------------------------------------------------------------------------------------


def chosen(*answers: tuple[float, int], precision: float = 0.99) -> Threshold:
    confidence, right = zip(*answers, strict=True)
    return choose_threshold(np.array(confidence), np.array(right, bool), precision)


def test_the_threshold_lies_halfway_above_the_last_mistake_that_is_too_many() -> None:
    assert chosen((0.9, 1), (0.8, 1), (0.6, 0), (0.7, 1)) == Threshold(pytest.approx(0.65), 0.99, reached=True)


def test_mistakes_within_the_precision_are_labelled() -> None:
    # 3 of 4 are right at 0.6 and above, 3 of 5 with the last.
    answers = ((0.9, 1), (0.8, 0), (0.7, 1), (0.6, 1), (0.5, 0))
    assert chosen(*answers, precision=0.75) == Threshold(pytest.approx(0.55), 0.75, reached=True)


def test_a_dip_below_the_precision_is_allowed_if_more_images_compensate() -> None:
    # From the top: 0/1, 1/2, 2/3, 3/4.
    answers = ((0.9, 0), (0.8, 1), (0.7, 1), (0.6, 1))
    assert chosen(*answers, precision=0.75) == Threshold(0.0, 0.75, reached=True)


def test_exactly_99_of_100_are_enough() -> None:
    answers = [(0.9, 1)] * 99 + [(0.8, 0)] + [(0.7, 0)]
    assert chosen(*answers) == Threshold(pytest.approx(0.75), 0.99, reached=True)


def test_everything_is_labelled_if_everything_is_right() -> None:
    assert chosen((0.6, 1), (0.9, 1)) == Threshold(0.0, 0.99, reached=True)


def test_pictures_of_equal_confidence_stay_together() -> None:
    # Two of the three at 0.8 are right: not enough, so none of them is labelled.
    assert chosen((0.9, 1), (0.8, 1), (0.8, 0), (0.8, 1)) == Threshold(pytest.approx(0.85), 0.99, reached=True)


def test_between_adjacent_floats_the_higher_is_the_threshold() -> None:
    # Halfway between two adjacent floats is rounded to one of them.
    for low in (1 - 2**-52, 1 - 2**-53):
        high = float(np.nextafter(low, 2))
        assert chosen((high, 1), (low, 0)) == Threshold(high, 0.99, reached=True)


def test_an_unreachable_precision_gives_the_best_share() -> None:
    # From the top 0/1, 1/2, 2/3, 2/4: the best is two thirds.
    answers = ((0.9, 0), (0.8, 1), (0.7, 1), (0.6, 0))
    assert chosen(*answers) == Threshold(pytest.approx(0.65), 0.99, reached=False)


def test_if_every_image_is_wrong_all_are_labelled_and_the_precision_is_not_reached() -> None:
    assert chosen((0.9, 0), (0.6, 0)) == Threshold(0.0, 0.99, reached=False)


def test_one_picture_is_enough_and_none_is_an_error() -> None:
    assert chosen((0.7, 1)) == Threshold(0.0, 0.99, reached=True)
    with pytest.raises(ValueError, match="without images"):
        choose_threshold(np.array([]), np.array([], bool), 0.99)


@given(
    answers=st.lists(st.tuples(st.integers(50, 100), st.booleans()), min_size=1, max_size=40),
    precision=st.sampled_from([0.5, 0.75, 0.9, 0.99]),
)
def test_no_smaller_threshold_keeps_the_precision(answers: list[tuple[int, bool]], precision: float) -> None:
    confidence = np.array([each for each, _ in answers]) / 100
    right = np.array([each for _, each in answers])

    def enough(threshold: float) -> bool:
        labelled = right[confidence >= threshold]
        return len(labelled) > 0 and labelled.sum() >= precision * len(labelled)

    minimum = choose_threshold(confidence, right, precision)
    assert minimum.reached == any(enough(value) for value in confidence)
    if minimum.reached:
        assert enough(minimum.value)
        assert not any(enough(value) for value in confidence if value < minimum.value)


def test_the_strictest_threshold_is_the_highest_and_reached_only_if_all_are() -> None:
    low, high, missed = (Threshold(*one) for one in ((0.6, 0.99, True), (0.8, 0.99, True), (0.7, 0.99, False)))
    assert strictest([low, high]) == high
    assert strictest([low, high, missed]) == Threshold(0.8, 0.99, reached=False)


# ---- both, as a build calls them ------------------------------------------------------------------------


@dataclass(frozen=True)
class MemorisedHead:
    """A head that is sure and right about every picture that it learnt from."""

    labels: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        return 9 * np.eye(2)[self.labels[: len(features)]]


def test_temperature_and_threshold_are_those_of_heads_that_did_not_learn_from_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_build import build, calibration, selection

    # Cross-validation: 100 pictures with a lead of 4, of which 99 are right, and 25 with a lead of 1, of which 15 are.
    # The lead divided by the temperature gives the confidence; the threshold lies between the two confidences: 114 of
    # 125 are too few. At the best temperature the slope of the log loss, the sum of lead * (right - confidence), is 0.
    leads, right = np.array([4.0] * 100 + [1.0] * 25), np.array([True] * 99 + [False] + [True] * 15 + [False] * 10)
    leading = np.arange(125) % 2
    labels, logits = np.where(right, leading, 1 - leading), leads[:, np.newaxis] * np.eye(2)[leading]
    features = Features((Example(Path("a.jpg"), 0, ""),) * 125, np.zeros((125, 2, 1), np.float32), labels)
    judged = EvaluatedHead(LINEAR, logits, labels, 0.0)
    heads: Any = [MemorisedHead(labels)] * 2
    network = TrainedNetwork(Path("fp32"), Path("int8"), features, features, [judged], judged, *heads)
    all_wrong = JudgedCopies(np.array(["blur"]), np.array([[9.0, 0.0]]), np.array([1]), np.array([True]))  # not counted
    monkeypatch.setattr(calibration, "extract", lambda *_: features)
    monkeypatch.setattr(selection, "judge_copies", lambda *_: all_wrong)

    begun = build.Build(BuildConfig(tmp_path), tmp_path, Stages(1))
    found = build.calibrate(begun, Dataset(tmp_path, ("a", "b"), {"validation": ()}), network)

    confidence = 1 / (1 + np.exp(-leads / found.temperature))
    assert (leads * (right - confidence)).sum() == pytest.approx(0, abs=0.01)
    assert found.threshold.value == pytest.approx((confidence[0] + confidence[-1]) / 2)
    assert found.threshold.reached
    answered = found.validation
    assert (answered.examples, answered.temperature) == (features.examples, found.temperature)
    np.testing.assert_array_equal(answered.logits, logits)
    np.testing.assert_array_equal(answered.labels, labels)


def test_changed_copies_of_the_validation_pictures_count_as_much_and_are_judged_like_them(tmp_path: Path) -> None:
    # The labels have nothing to do with the colours, so the head is wrong about many pictures, and often unsure.
    write_base(tmp_path / "colours.onnx", 64)
    colours = np.random.default_rng(1).integers(40, 216, (80, 3))
    labels = [number % 2 for number in range(80)]
    validation = pictures(tmp_path, "validation", colours[40:], labels[40:])
    features = features_of((*pictures(tmp_path, "train", colours[:40], labels[:40]), *validation), colours)
    config = BuildConfig(tmp_path, image_size=64, cache=tmp_path / "cache", penalties=(1e-3,))
    head, unused = evaluate_head(LINEAR, features, 2, config), Path("unused")
    nothing: Any = None
    network = TrainedNetwork(unused, tmp_path / "colours.onnx", features, features, [head], head, nothing, nothing)

    found = calibrate(network, validation, config)

    assert found.changed.examples == validation
    kinds = np.array([change_of(example.sha256) for example in validation])
    assert set(kinds) == set(CHANGES)
    moved = np.abs(found.changed.values[:, 0] - features.values[40:, 0]).max(axis=1)
    assert moved[kinds == "mirrored"].max() < 3 < moved[kinds == "darker or brighter"].min()
    assert found.copies.changes.tolist() == kinds.tolist()
    expected = judge_copies(head, features, found.changed, config)
    np.testing.assert_array_equal(found.copies.logits, expected.logits)
    logits, targets = answers(head, features, expected)
    assert found.temperature == fit_temperature(logits, targets)
    assert len(targets) == 80 + expected.counted.sum() > 80
