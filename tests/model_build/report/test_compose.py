from pathlib import Path

import numpy as np
import pytest

from model_build.data.dataset import Dataset, Example
from model_build.report.compose import calibration_of, mistakes_of
from model_build.report.report import Mistake, SplitCalibration, plain
from model_build.verify import Predictions

LABELS = ("cat", "dog")


def predictions(*rows: tuple[float, int], temperature: float = 1.0) -> Predictions:
    """Pictures by the calibrated probability of "cat" and the index of the true label."""
    cats, labels = (np.array(column) for column in zip(*rows, strict=True))
    examples = tuple(Example(Path(f"data/test/{index}.jpg"), label, "") for index, (_, label) in enumerate(rows))
    logits = np.log(np.column_stack([cats, 1 - cats])) * temperature
    return Predictions(examples, logits, labels.astype(int), temperature)


def calibration(*rows: tuple[float, int], temperature: float = 1.0, threshold: float = 0.0) -> SplitCalibration:
    return calibration_of(predictions(*rows, temperature=temperature), threshold)


def test_mistakes_are_listed_most_confident_first_and_marked_if_unsure() -> None:
    test = predictions((0.9, 0), (0.7, 1), (0.05, 0), (0.2, 1))
    assert mistakes_of(test, Dataset(Path("data"), LABELS, {}), threshold=0.8) == [
        Mistake("test/2.jpg", "cat", "dog", 0.95, unsure=False),
        Mistake("test/1.jpg", "dog", "cat", 0.7, unsure=True),
    ]


def test_reliability_before_calibration_is_at_temperature_1() -> None:
    # At temperature 2 the odds of 0.8 are 4; at temperature 1 they are 16: 16/17. Both predictions are right.
    result = calibration((0.8, 0), (0.2, 1), temperature=2.0)
    assert result.after.ece == pytest.approx(0.2, abs=1e-5)
    assert result.before.ece == pytest.approx(1 / 17, abs=1e-5)
    assert result.after.log_loss == pytest.approx(-np.log(0.8), abs=1e-5)
    assert result.before.log_loss == pytest.approx(-np.log(16 / 17), abs=1e-5)


def test_the_labelled_pictures_are_those_at_or_above_the_threshold() -> None:
    labelled = calibration(
        (0.9, 0), (0.8, 1), (0.6, 0), (0.4, 0), threshold=predictions((0.8, 1)).confidence[0]
    ).labelled
    assert (labelled.images, labelled.correct, labelled.accuracy, labelled.share) == (2, 1, 0.5, 0.5)


def test_a_threshold_above_every_confidence_labels_nothing() -> None:
    labelled = plain(calibration((0.9, 0), threshold=0.95).labelled)
    assert labelled == {"images": 0, "correct": 0, "accuracy": None, "interval": [0.0, 1.0], "share": 0.0}


def test_empty_bins_are_null_and_not_nan() -> None:
    bins = plain(calibration((0.9, 0)).after.bins)
    assert len(bins) == 15
    assert [one["accuracy"] for one in bins if one["count"]] == [1.0]
    assert bins[0]["accuracy"] is bins[0]["confidence"] is None
