from pathlib import Path

import numpy as np
import pytest

from labeller.classifier import load_classifier
from model_build.data.dataset import scan
from model_build.features import Features
from model_build.head import train
from model_build.verify import (
    Accuracy,
    SplitAccuracy,
    VerificationError,
    agreement,
    compare_with_baseline,
    require_little_loss,
)
from tests.model_build.test_head import CONFIG, LINEAR


def accuracy(images: int, correct: int) -> Accuracy:
    return Accuracy(images, correct, correct / images, (0.0, 1.0))


def scores(images: int, fp32: int, int8: int) -> SplitAccuracy:
    return SplitAccuracy(accuracy(2 * images, 0), accuracy(images, fp32), accuracy(images, int8))


@pytest.mark.parametrize(
    ("images", "fp32", "int8"),
    [(1000, 960, 955), (1000, 955, 960), (1000, 960, 960), (40, 40, 39)],
    ids=["five of a thousand", "INT8 is better", "the same", "a single picture"],
)
def test_a_loss_of_half_a_point_or_one_image_is_accepted(images: int, fp32: int, int8: int) -> None:
    require_little_loss(scores(images, fp32, int8), 0.005)


@pytest.mark.parametrize(("images", "fp32", "int8"), [(1000, 960, 954), (40, 40, 38)])
def test_a_larger_loss_stops_the_build(images: int, fp32: int, int8: int) -> None:
    with pytest.raises(VerificationError, match=rf"right on {int8} of {images} test images, FP32 on {fp32}"):
        require_little_loss(scores(images, fp32, int8), 0.005)


def test_an_accuracy_comes_with_its_wilson_interval() -> None:
    # 8 of 10, Wilson 95%: (0.4902, 0.9433), as statsmodels' proportion_confint(8, 10, method="wilson").
    assert Accuracy.of([True] * 8 + [False] * 2) == Accuracy(10, 8, 0.8, (0.4902, 0.9433))


def test_baseline_and_head_are_compared_on_the_pictures_where_they_differ() -> None:
    # The head is right on six where the baseline is not, never the other way round: 2 x (1/2)^6 = 0.03125.
    comparison = compare_with_baseline(np.array([True] * 4 + [False] * 6), np.ones(10, bool))
    assert (comparison.correct, comparison.head_correct, comparison.p_value) == (4, 10, 0.0312)


@pytest.mark.slow
def test_a_graph_of_another_head_disagrees(built: Path, drawn_data: Path) -> None:
    """The finished graph cannot agree with a head of random weights."""
    classifier = load_classifier(built, threads=1)
    examples = scan(drawn_data).splits["validation"][:8]
    values = np.random.default_rng(0).uniform(size=(8, 2, 16)).astype(np.float32)
    features = Features(examples, values, np.arange(8) % 2)
    stranger = train(LINEAR, values, features.labels, 2, CONFIG)
    assert agreement(classifier, stranger, 1.0, features) > 0.05
