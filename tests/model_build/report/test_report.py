from pathlib import Path

import numpy as np
import pytest

from model_build.data.dataset import Dataset, Example
from model_build.report.report import _calibrated, _mistakes
from model_build.verify import Predictions, against, share

LABELS = ("cat", "dog")


def answers(*rows: tuple[float, int]) -> Predictions:
    """Pictures by the probability of "cat" and the index of the true label."""
    cats, labels = (np.array(column) for column in zip(*rows, strict=True))
    examples = tuple(Example(Path(f"data/test/{index}.jpg"), label, "") for index, (_, label) in enumerate(rows))
    return Predictions(examples, np.column_stack([cats, 1 - cats]), labels.astype(int))


def test_mistakes_are_listed_most_confident_first_and_say_whether_their_label_is_kept_back() -> None:
    given = answers((0.9, 0), (0.7, 1), (0.05, 0), (0.2, 1))
    assert _mistakes(given, Dataset(Path("data"), LABELS, {}), threshold=0.8) == [
        {"path": "test/2.jpg", "true": "cat", "predicted": "dog", "confidence": 0.95, "unsure": False},
        {"path": "test/1.jpg", "true": "dog", "predicted": "cat", "confidence": 0.7, "unsure": True},
    ]


def test_calibration_before_is_without_the_temperature() -> None:
    # At temperature 2 the odds of 0.8, 4, were 16 before: 16/17. Both answers are right.
    found = _calibrated(answers((0.8, 0), (0.2, 1)), temperature=2.0, threshold=0.0)
    assert found["after"]["ece"] == pytest.approx(0.2, abs=1e-5)
    assert found["before"]["ece"] == pytest.approx(1 / 17, abs=1e-5)
    assert found["after"]["log_loss"] == pytest.approx(-np.log(0.8), abs=1e-5)
    assert found["before"]["log_loss"] == pytest.approx(-np.log(16 / 17), abs=1e-5)


def test_a_probability_of_nought_stays_one() -> None:
    found = _calibrated(answers((1.0, 0), (0.0, 1)), temperature=0.5, threshold=0.0)
    assert found["before"]["ece"] == found["after"]["ece"] == 0


def test_what_is_labelled_are_the_pictures_at_or_above_the_threshold() -> None:
    found = _calibrated(answers((0.9, 0), (0.8, 1), (0.6, 0), (0.4, 0)), temperature=1.0, threshold=0.8)
    labelled = found["labelled"]
    assert (labelled["images"], labelled["correct"], labelled["accuracy"], labelled["share"]) == (2, 1, 0.5, 0.5)


def test_a_threshold_that_nothing_reaches_labels_nothing() -> None:
    found = _calibrated(answers((0.9, 0)), temperature=1.0, threshold=0.95)
    assert found["labelled"] == {"images": 0, "correct": 0, "share": 0.0}


def test_empty_bins_are_null_not_nan() -> None:
    bins = _calibrated(answers((0.9, 0)), temperature=1.0, threshold=0.0)["after"]["bins"]
    assert len(bins) == 15
    assert [each["accuracy"] for each in bins if each["count"]] == [1.0]
    assert bins[0]["accuracy"] is bins[0]["confidence"] is None


def test_a_share_comes_with_its_wilson_interval() -> None:
    # 8 of 10, Wilson 95 %: (0.4902, 0.9433), as statsmodels' proportion_confint(8, 10, method="wilson").
    assert share([True] * 8 + [False] * 2) == {
        "images": 10,
        "correct": 8,
        "accuracy": 0.8,
        "interval": [0.4902, 0.9433],
    }


def test_baseline_and_head_are_compared_on_the_pictures_where_they_differ() -> None:
    # The head is right on six where the baseline is not, never the other way round: 2 x (1/2)^6 = 0.03125.
    baseline = np.array([True] * 4 + [False] * 6)
    found = against(baseline, np.ones(10, bool))
    assert (found["correct"], found["head_correct"], found["p_value"]) == (4, 10, 0.0312)
