from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from labeller.classifier import load_classifier
from labeller.results import Status, Thresholds
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, Example, scan
from model_build.export import FEATURES, IMAGE
from model_build.features import Features, extract
from model_build.head import train
from model_build.quantize import QuantisationError
from model_build.selection import EvaluatedHead, TrainedNetwork
from model_build.verify import (
    Accuracy,
    Predictions,
    Verification,
    VerificationError,
    agreement,
    beyond_chance,
    compare_with_baseline,
    require_equal_accuracy,
    require_worthy_head,
    verify,
)
from tests.model_build.test_head import CONFIG, LINEAR
from tests.support import colour_network, encoded, plain, write_glance_model, write_model


def right(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Where two networks are right: on so many images both, only the first, only the second, none."""
    counts = [both, first, second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


# Exact McNemar, two-sided: 8 against 0 is 2 / 2^8 = 0.0078, 7 against 0 is 0.0156; 12 against 2 is 212 / 2^14 = 0.0129.
@pytest.mark.parametrize("counts", [(30, 7, 0, 3), (20, 12, 2, 6), (900, 40, 40, 20), (4000, 8, 0, 0), (1592, 8, 0, 0)])
def test_a_difference_that_chance_explains_or_that_is_small_is_accepted(counts: tuple[int, int, int, int]) -> None:
    one, other = right(*counts)
    assert not beyond_chance(one, other, CONFIG)
    require_equal_accuracy(one, other, CONFIG)


def test_a_difference_beyond_chance_stops_the_build_in_both_directions() -> None:
    one, other = right(30, 8, 0, 2)
    with pytest.raises(VerificationError, match=r"INT8 is right on 30 of 40 test images, FP32 on 38.*loses too much"):
        require_equal_accuracy(one, other, CONFIG)
    with pytest.raises(VerificationError, match=r"INT8 is right on 38 of 40 test images, FP32 on 30.*is damaged"):
        require_equal_accuracy(other, one, CONFIG)


def test_a_model_that_logistic_regression_beats_beyond_chance_stops_the_build_but_not_a_better_one() -> None:
    one, other = right(30, 8, 0, 2)
    with pytest.raises(VerificationError, match=r"right on 30 of 40 test images, logistic regression .* on 38"):
        require_worthy_head(one, other, CONFIG)
    require_worthy_head(other, one, CONFIG)


def test_an_accuracy_comes_with_its_wilson_interval() -> None:
    # 8 of 10, Wilson 95%: (0.4902, 0.9433), as statsmodels' proportion_confint(8, 10, method="wilson").
    assert Accuracy.of([True] * 8 + [False] * 2) == Accuracy(10, 8, 0.8, (0.4902, 0.9433))


def test_baseline_and_head_are_compared_on_the_pictures_where_they_differ() -> None:
    # The head is right on six where the baseline is not, never the other way round: 2 x (1/2)^6 = 0.03125.
    comparison = compare_with_baseline(np.array([True] * 4 + [False] * 6), np.ones(10, bool))
    assert (comparison.correct, comparison.head_correct, comparison.p_value) == (4, 10, 0.0312)


@pytest.mark.parametrize("familiarity", [None, [0.9, 0.02]])
def test_a_row_of_predictions_has_the_answer_its_status_and_the_path_in_the_data(
    familiarity: list[float] | None,
) -> None:
    examples = tuple(Example(Path(f"data/test/cat/{name}.jpg"), 0, f"sha-{name}") for name in "ab")
    logits = np.array([[np.log(9), 0.0], [0.0, np.log(3)]])  # 90% cat, 75% dog
    known = None if familiarity is None else np.array(familiarity)
    thresholds = Thresholds(0.8, None if familiarity is None else 0.1)

    first, second = Predictions(examples, logits, np.array([0, 0]), 1.0, known).scored(
        ("cat", "dog"), thresholds, Path("data")
    )

    assert (first.key, first.true, first.sha256, first.status) == ("test/cat/a.jpg", "cat", "sha-a", Status.LABELLED)
    assert first.prediction.scores == pytest.approx({"cat": 0.9, "dog": 0.1})
    assert (second.key, second.true, second.prediction.label) == ("test/cat/b.jpg", "cat", "dog")
    assert second.status is (Status.UNSURE if familiarity is None else Status.UNKNOWN)
    assert [row.prediction.familiarity for row in (first, second)] == (familiarity or [None, None])


GAIN = np.float32([[1, -1], [0, 0], [-1, 1]]) / 25.5  # of the colour network


@dataclass(frozen=True)
class LinearHead:
    """A head on mean colours."""

    weights: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        return features[:, 0] @ self.weights


def mean_colour(path: Path, times: float = 1.0) -> Path:
    """A base for pictures of 8 x 8 pixels: feature maps of one position, the mean colour; with `times` 0, black."""
    nodes = [
        helper.make_node("Cast", [IMAGE], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["times"], value_float=times),
        helper.make_node("Mul", ["floats", "times"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled"], [FEATURES], axes=[1, 2], keepdims=1),
    ]
    maps = [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", 1, 1, 3])]
    image = [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["N", 8, 8, 3])]
    graph = helper.make_graph(nodes, "mean colour", image, maps)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def colours(tmp_path: Path) -> Dataset:
    """Twenty red and blue pictures a split; a blue one among the red test pictures."""
    splits = {}
    for green, split in enumerate(("train", "validation", "test")):  # so that no picture is in two splits
        examples = []
        for number in range(20):
            colour = (250 - number, green, 0) if number < 10 else (0, green, 250 - number)
            path = tmp_path / f"{split}-{number}.png"
            path.write_bytes(encoded(plain((0, 9, 255) if (split, number) == ("test", 0) else colour, 8, 8)))
            examples.append(Example(path, int(number >= 10), hashlib.sha256(path.read_bytes()).hexdigest()))
        splits[split] = tuple(examples)
    return Dataset(tmp_path, ("red", "blue"), splits)


def verified(
    data: Dataset,
    folder: Path,
    head: LinearHead,
    yardstick: LinearHead,
    bases: Mapping[str, Path] = MappingProxyType({}),
    gain: float = 1 / 25.5,
    glance: LinearHead | None = None,
    **settings: float,
) -> Verification:
    """The colour network of that gain, verified as if it were made of that head; `bases` replace `fp32` or `int8`.

    With `glance`, the model of `write_glance_model`, as if its glance network were made of that head.
    """
    config = BuildConfig(folder, image_size=8, cache=folder / "cache", **settings)  # type: ignore[arg-type]
    base = mean_colour(folder / "base.onnx")
    features = extract(base, [*data.splits["train"], *data.splits["validation"]], config)
    judged = EvaluatedHead(LINEAR, head.logits(features.values), features.labels, 0.0)
    heads: Any = (head, yardstick)
    network = TrainedNetwork(base, base, features, features, [judged], judged, *heads)
    validation = Predictions(features.examples, judged.logits, features.labels, 1.0)
    second: Any = None
    if glance is None:
        model = write_model(folder / "model", colour_network((8, 8), gain))
    else:
        model, second = write_glance_model(folder / "model"), (glance, features)
    return verify(load_classifier(model, 1), replace(network, **bases), validation, data, config, second)


def test_a_sound_model_is_judged_on_every_split_and_against_the_yardstick(colours: Dataset, tmp_path: Path) -> None:
    always_red = LinearHead(np.float32([[1, 0], [1, 0], [1, 0]]))
    result = verified(colours, tmp_path, LinearHead(GAIN), always_red)

    test, training = result.accuracy["test"], result.accuracy["train"]
    assert (training.int8.correct, training.int8.images) == (40, 40)
    assert (test.int8.correct, test.int8.images) == (19, 20)
    assert [one.correct for one in (test.fp32, test.int8_on_fp32_images) if one] == [19, 19]
    assert (result.baseline.correct, result.baseline.head_correct, result.baseline.images) == (10, 19, 20)
    assert result.test.labels.tolist() == [0] * 10 + [1] * 10
    assert result.test.predicted.tolist() == [1] + [0] * 9 + [1] * 10
    assert result.largest_difference < 1e-6


def test_a_model_that_is_not_made_of_its_head_is_refused(colours: Dataset, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"the exported graph and Keras differ by up to 1\.0"):
        verified(colours, tmp_path, LinearHead(-GAIN), LinearHead(GAIN))


def test_a_glance_network_that_is_not_made_of_its_head_is_refused(colours: Dataset, tmp_path: Path) -> None:
    thorough = LinearHead(-GAIN)  # of `write_glance_model`; its glance network has the other gain
    result = verified(colours, tmp_path, thorough, LinearHead(GAIN), glance=LinearHead(GAIN))
    assert result.largest_difference < 1e-6
    assert (result.accuracy["test"].int8.correct, result.test.glance) == (19, pytest.approx(np.ones(20, bool)))

    # At its temperature, 2: red has the probability 1 / (1 + exp(-9.8)), not 1 / (1 + exp(9.8)).
    with pytest.raises(VerificationError, match=r"the exported graph and Keras differ by up to 0\.9998"):
        verified(colours, tmp_path, thorough, LinearHead(GAIN), glance=thorough)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ("fp32", "INT8 is right on 19 of 20 test images, FP32 on 10.*is damaged"),
        ("int8", "INT8 is right on 10 of 20 test images, FP32 on 19.*loses too much"),
    ],
)
def test_a_model_whose_base_knows_nothing_in_fp32_or_int8_is_refused(
    colours: Dataset, tmp_path: Path, damaged: str, message: str
) -> None:
    black = {damaged: mean_colour(tmp_path / "black.onnx", 0.0)}
    # The two differ on 11 pictures, 10 against 1: 2 x 12 / 2^11 = 0.0117.
    settings = {"largest_error": math.inf, "significance": 0.012}
    with pytest.raises(VerificationError, match=message):
        verified(colours, tmp_path, LinearHead(GAIN), LinearHead(GAIN), black, **settings)


def test_a_model_whose_int8_features_are_not_those_of_fp32_is_refused_however_often_it_is_right(
    colours: Dataset, tmp_path: Path
) -> None:
    half = {"int8": mean_colour(tmp_path / "half.onnx", 0.5)}  # logistic regression is right as often on half of them
    with pytest.raises(QuantisationError, match=r"features differ from FP32's by \d+%"):
        verified(colours, tmp_path, LinearHead(GAIN), LinearHead(GAIN), half)


def test_a_model_whose_head_answers_the_opposite_is_refused(colours: Dataset, tmp_path: Path) -> None:
    negated = LinearHead(-GAIN)  # the graph agrees with it
    with pytest.raises(VerificationError, match=r"right on 1 of 20 test images, logistic regression .* on 19"):
        verified(colours, tmp_path, negated, negated, gain=-1 / 25.5)


@pytest.mark.parametrize(("damaged", "fp32", "int8"), [("fp32", (10, 10), (20, 19)), ("int8", (20, 19), (10, 10))])
def test_the_figures_of_fp32_and_int8_are_those_of_their_own_bases_on_validation_and_test(
    colours: Dataset, tmp_path: Path, damaged: str, fp32: tuple[int, int], int8: tuple[int, int]
) -> None:
    black = {damaged: mean_colour(tmp_path / "black.onnx", 0.0)}
    tolerant = {"largest_error": math.inf, "accuracy_tolerance": 1.0}
    result = verified(colours, tmp_path, LinearHead(GAIN), LinearHead(GAIN), black, **tolerant)
    splits = [result.accuracy[split] for split in ("validation", "test")]
    assert tuple(one.fp32.correct for one in splits if one.fp32) == fp32
    assert tuple(one.int8_on_fp32_images.correct for one in splits if one.int8_on_fp32_images) == int8
    assert [one.int8.correct for one in splits] == [40, 19]  # of the shipped model, which is sound


@pytest.mark.slow
def test_a_graph_of_another_head_disagrees(built: Path, drawn_data: Path) -> None:
    """The finished graph cannot agree with a head of random weights."""
    classifier = load_classifier(built, threads=1)
    examples = scan(drawn_data).splits["validation"][:8]
    values = np.random.default_rng(0).uniform(size=(8, 2, 16)).astype(np.float32)
    features = Features(examples, values, np.arange(8) % 2)
    stranger = train(LINEAR, values, features.labels, 2, CONFIG)
    assert agreement(classifier.thorough, 64, stranger, features) > 0.05
