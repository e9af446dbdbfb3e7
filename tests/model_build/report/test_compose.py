import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeller.images import Reason, Unreadable
from labeller.manifest import GoldenExample, Manifest
from labeller.results import Neighbour, Thresholds
from model_build.calibration import Threshold
from model_build.compression.network import Shape
from model_build.config import BuildConfig, HeadCandidate, Pooling, QuantisationCandidate, Ranges
from model_build.data.dataset import Dataset, Example
from model_build.familiarity import Exemplars, Familiarity, Mahalanobis, Scale
from model_build.features import Features
from model_build.glance import GlanceNetwork
from model_build.head import TrainedHead, dense_layers
from model_build.quantize import QuantisedBase
from model_build.report.compose import Decisions, calibration_of, compose, mistakes_of
from model_build.report.report import Mistake, SplitCalibration, plain
from model_build.search import RULE, Network, Race, SearchResult
from model_build.selection import EvaluatedHead, HeadAccuracy, JudgedCopies, TrainedNetwork
from model_build.strangers import METHODS, Comparison, Learnt
from model_build.verify import Accuracy, BaselineTest, Predictions, SplitAccuracy, Verification
from tests.model_build.examples import report_schema

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
    assert mistakes_of(test, Dataset(Path("data"), LABELS, {}), Thresholds(0.8, None)) == [
        Mistake("test/2.jpg", "cat", "dog", 0.95, unsure=False),
        Mistake("test/1.jpg", "dog", "cat", 0.7, unsure=True),
    ]


def test_mistakes_have_their_nearest_training_pictures_and_are_marked_if_unknown() -> None:
    nearest = tuple((Neighbour(f"train/{row}.jpg", "cat", 0.123456),) for row in range(2))
    test = replace(predictions((0.9, 1), (0.7, 1)), familiarity=np.array([0.02, 0.03]), nearest=nearest)
    one, two = mistakes_of(test, Dataset(Path("data"), LABELS, {}), Thresholds(0.5, 0.03))
    assert (one.unknown, one.nearest) == (True, (Neighbour("train/0.jpg", "cat", 0.1235),))
    assert (two.unknown, two.nearest[0].path) == (False, "train/1.jpg")


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


# ---- a whole report -------------------------------------------------------------------------------------------

EVEN = np.zeros((2, 2), np.float32)  # log loss ln 2 of both images
SURE = np.log([[3, 1], [3, 1]]).astype(np.float32)  # ln 4/3 of the first image, ln 4 of the second


def evaluated(name: str, pooling: Pooling, logits: np.ndarray, seconds: float) -> EvaluatedHead:
    return EvaluatedHead(HeadCandidate(name, pooling, l2=1e-4), logits, np.array([0, 1]), seconds)


def base(speedup: float, int8: Path, rank: int | None, size: int) -> Network:
    int8.write_bytes(bytes(size))
    return Network(64, speedup, Shape((4,), (rank,), (True,)), Path("fp32"), int8)


COUNTED = ("validation", "changed", "test")


def learnt() -> Learnt:
    """The exemplars (1, 0) and (0, 1), a scale on which a score is a share, and ranks of six stand-ins."""
    examples = tuple(Example(Path(f"data/train/{row}.jpg"), row, "") for row in range(2))
    exemplars = Exemplars(examples, 100 * np.eye(2, dtype=np.int8), 0.01, np.zeros(2, np.float32))
    scale = Scale(np.array([0.0, 1.0], np.float32), np.array([0.0, 1.0], np.float32))
    familiarity = Familiarity(exemplars, np.zeros(4, np.float32), scale, 0.25)
    destroyed = {method: np.array([0.0, 0.1, 0.1, 0.2]) for method in METHODS}
    destroyed["energy of the logits"] = np.array([0.2, 0.3, 0.3, 0.4])
    changed = {method: np.array([0.5, 0.7]) for method in METHODS}
    ranks = {"destroyed copies": destroyed, "changed copies": changed}
    return Learnt(familiarity, Comparison(ranks, Mahalanobis(np.eye(2), np.eye(2))))


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """report.json of results made by hand, in which every figure is another one."""
    folder = tmp_path_factory.mktemp("composed")
    test = predictions((0.9, 0), (0.7, 1), (0.05, 0), (0.2, 1), (0.6, 0), temperature=2.0)
    at_a_glance = np.array([True, True, False, False, True])
    test = replace(test, familiarity=np.array([0.9, 0.5, 0.2, 0.6, 0.8]), glance=at_a_glance)
    others = replace(predictions((0.99, 2), (0.9, 2), (0.5, 2)), familiarity=np.array([0.3, 0.1, 0.4]))
    splits = {split: test.examples[:count] for split, count in (("train", 3), ("validation", 2), ("test", 5))}
    data = Dataset(Path("data"), LABELS, splits, left_out={"notes.txt": "no picture"}, split_by_content=True)
    layers = dense_layers((np.zeros((4, 2)), np.zeros(2)))
    heads = [
        evaluated("average", Pooling.AVERAGE, EVEN, 1.234),
        evaluated("maximum", Pooling.MAXIMUM, SURE, 5.678),
    ]
    nothing = Features((), np.zeros((0, 2, 2)), np.zeros(0))
    known = Features(
        tuple(Example(Path(f"data/train/{row}.jpg"), row % 2, "") for row in range(3)),
        np.array([[[1, 0], [1, 0]], [[0, 1], [0, 1]], [[3, 4], [3, 4]]], np.float32),
        np.array([0, 1, 0]),
    )
    trained = TrainedHead(Pooling.AVERAGE, layers, layers)
    network = TrainedNetwork(Path("fp32"), Path("int8"), nothing, known, heads, heads[1], trained, trained)
    quantised = [
        QuantisedBase(QuantisationCandidate(name, ranges, 100), images, error, ms, Path("int8"), np.zeros(0))
        for name, ranges, images, error, ms in (
            ("minmax 100", Ranges.MINMAX, 100, 0.0512345, 60.456),
            ("entropy", Ranges.ENTROPY, 61, math.inf, 54.321),
        )
    ]
    full, small = base(1.0, folder / "full", None, 3000), base(3.0, folder / "small", 1, 1000)
    judged = {full: heads[0], small: heads[1]}
    race = Race(lambda network, images: judged[network], {2: judged})
    copies = JudgedCopies(
        np.array(["blurred", "mirrored", "blurred", "mirrored"]),
        np.log([[0.6, 0.4], [0.9, 0.1], [0.3, 0.7], [0.8, 0.2]]),
        np.array([0, 1, 1, 1]),
        np.array([True, True, False, True]),
    )
    decisions = Decisions(
        quantised,
        quantised[0],
        HeadAccuracy(73, 70, (69, 40)),
        network,
        Threshold(0.65, 0.99, reached=True),
        learnt(),
        SearchResult(small, race, {full: (23.456, 13.456), small: (8.765, 4.567)}, []),
        glance=GlanceNetwork(
            small,
            network.features,
            trained,
            temperature=1.5,
            confidence=0.987654,
            familiarity=learnt().familiarity,
            answered=np.array([True, False]),
            answered_copies=np.array([True, True, False, False]),
            logits=np.zeros((2, 2)),
            copies=copies,
            loss=(-0.0012345, 0.0043212),
            milliseconds=(4.5678, 29.8765),
        ),
        previous=None,
    )
    shares = [Accuracy(5, correct, correct / 5, (0.0, 1.0)) for correct in (4, 3, 2)]
    accuracy = {
        "train": SplitAccuracy(Accuracy.of([True] * 3)),
        "validation": SplitAccuracy(shares[1], shares[2], shares[0], 0.5),
        "test": SplitAccuracy(*shares, 0.25),
    }
    manifest = Manifest(
        LABELS,
        (64, 64),
        temperature=1.0,
        confidence_threshold=0.65,
        model_version="vgg16-ab",
        model_sha256="ab" * 32,
        golden=GoldenExample.of(np.zeros((16, 16, 3), np.uint8), [0, 0]),
        familiarity_threshold=0.25,
        build={"weights": "file", "weights_sha256": "cd" * 32, "packages": {"keras": "3"}},
    )
    report = compose(
        BuildConfig(Path("data"), "random", 64, speedup=3.0, auto_size=True),
        data,
        manifest,
        decisions,
        Verification(test, accuracy, BaselineTest(5, 2, 0.4, (0.1, 0.8), 3, 0.55), 2.4e-7, {}, others),
        {test.examples[4]: Unreadable(Reason.TRUNCATED, "cut off")},
        predictions((0.9, 0), (0.2, 1)),
        copies,
        {"model.onnx": 1000, "same_graph_fp32": 4000},
    )
    return dict(plain(report), seconds={"total": 1.0})


def test_the_report_is_as_its_schema_says(composed: dict[str, Any]) -> None:
    assert [error.message for error in report_schema().iter_errors(composed)] == []
    assert composed["format_version"] == 4


def test_what_the_model_was_built_from_is_in_the_report(composed: dict[str, Any]) -> None:
    assert composed["images"] == {
        "train": {"cat": 2, "dog": 1},
        "validation": {"cat": 1, "dog": 1},
        "test": {"cat": 3, "dog": 2},
    }
    assert composed["unreadable"] == {"test/4.jpg": "TRUNCATED: cut off"}
    assert (composed["left_out"], composed["split_by_content"]) == ({"notes.txt": "no picture"}, True)
    assert composed["bytes"] == {"model.onnx": 1000, "same_graph_fp32": 4000}
    assert (composed["weights"], composed["weights_sha256"], composed["packages"]) == (
        "file",
        "cd" * 32,
        {"keras": "3"},
    )
    settings = composed["settings"]
    assert (settings["weights"], settings["image_size"], settings["speedup"]) == ("file", 64, 3.0)
    assert not {"data", "out", "cache"} & set(settings)  # paths say nothing about the model


def test_what_the_glance_network_answered_is_counted_by_itself(composed: dict[str, Any]) -> None:
    glance = composed["glance"]
    assert glance["network"] == "64 px, 3x faster"
    assert (glance["confidence"], glance["familiarity"]) == (0.9877, 0.1)
    counts = {name: [glance[name][part] for part in ("images", "correct", "share")] for name in COUNTED}
    # Of the copies, the first is right and the second, whose label is 1, is not; of test, the second is wrong.
    assert counts == {"validation": [1, 1, 0.5], "changed": [2, 1, 0.5], "test": [3, 2, 0.6]}
    assert (glance["excess"], glance["excess_error"]) == (-0.00123, 0.00432)
    assert (glance["milliseconds"], glance["thorough_milliseconds"]) == (4.57, 29.88)


def test_the_answers_on_test_are_counted_by_label(composed: dict[str, Any]) -> None:
    assert composed["confusion"] == [[2, 1], [1, 1]]
    assert [(row["images"], row["correct"]) for row in composed["classes"].values()] == [(3, 2), (2, 1)]
    assert [(row["path"], row["unsure"]) for row in composed["mistakes"]] == [
        ("test/2.jpg", False),
        ("test/1.jpg", False),
    ]


def test_heads_are_compared_with_the_one_of_the_least_loss_and_the_chosen_one_is_named(
    composed: dict[str, Any],
) -> None:
    head = composed["head"]
    assert (head["chosen"], head["parameters"]) == ("maximum", 4 * 2 + 2)
    average, maximum = head["candidates"]
    assert average["validation"] == {"images": 2, "correct": 1, "accuracy": 0.5, "log_loss": 0.69315}  # ln 2
    assert maximum["validation"]["log_loss"] == 0.83699  # (ln 4/3 + ln 4) / 2
    assert (average["excess"], average["excess_error"], average["seconds"]) == (0.0, 0.0, 1.23)
    # ln 2/3 and ln 2 above the other: their mean, and their standard deviation ln 3 / 2 by the root of 2.
    assert (maximum["excess"], maximum["excess_error"], maximum["seconds"]) == (0.14384, 0.38842, 5.68)


def test_the_accuracies_of_the_model_of_fp32_and_of_int8_are_kept_apart(composed: dict[str, Any]) -> None:
    names = ("int8", "fp32", "int8_on_fp32_images")
    validation, test = (composed["accuracy"][split] for split in ("validation", "test"))
    assert [validation[name]["correct"] for name in names] == [3, 2, 4]
    assert [test[name]["correct"] for name in names] == [4, 3, 2]
    assert (validation["p_value"], test["p_value"]) == (0.5, 0.25)


def test_quantisations_have_the_images_that_they_were_calibrated_on(composed: dict[str, Any]) -> None:
    quantisation = composed["quantisation"]
    assert (quantisation["chosen"], quantisation["images"], quantisation["fp32_correct"]) == ("minmax 100", 73, 70)
    names = ("name", "images", "error", "correct", "milliseconds")
    assert [tuple(row[name] for name in names) for row in quantisation["candidates"]] == [
        ("minmax 100", 100, 0.05123, 69, 60.46),
        ("entropy", 61, None, 40, 54.32),  # an infinite error has no number in JSON
    ]


def test_networks_have_their_shape_their_size_and_their_time_and_the_fastest_comes_first(
    composed: dict[str, Any],
) -> None:
    search = composed["search"]
    assert (search["chosen"], search["rule"], search["measurably_worse"]) == ("64 px, 3x faster", RULE, False)
    names = ("name", "image_size", "speedup", "channels", "ranks", "multiplications", "bytes", "milliseconds")
    assert [tuple(row[name] for name in names) for row in search["networks"]] == [
        ("64 px, 3x faster", 64, 3.0, [4], [1], 64 * 64 * 3 * (3 * 1 + 1 * 4), 1000, 8.77),
        ("64 px, full", 64, 1.0, [4], [None], 64 * 64 * 9 * 3 * 4, 3000, 23.46),
    ]
    small, full = search["networks"]
    assert (full["validation"]["correct"], full["validation"]["images"]) == (1, 2)
    assert (full["milliseconds_all_cores"], full["excess"], full["excess_error"]) == (13.46, 0.0, 0.0)
    assert (small["excess"], small["excess_error"]) == (0.14384, 0.38842)  # of the heads above


def test_changed_copies_are_counted_by_kind_beside_their_originals(composed: dict[str, Any]) -> None:
    blurred, mirrored = composed["calibration"]["changes"]
    assert (blurred["change"], blurred["images"], blurred["correct"], blurred["originals_correct"]) == (
        "blurred",
        2,
        2,
        1,
    )
    assert (blurred["counted"], blurred["labelled"]["images"], blurred["labelled"]["share"]) == (True, 1, 0.5)
    assert (mirrored["change"], mirrored["correct"], mirrored["originals_correct"]) == ("mirrored", 0, 2)
    assert (mirrored["counted"], mirrored["labelled"]["images"]) == (False, 2)


def test_what_becomes_of_test_pictures_and_of_others_is_counted_by_both_thresholds(composed: dict[str, Any]) -> None:
    familiarity = composed["familiarity"]
    # The third is UNKNOWN and wrong, the fifth has a confidence of 0.6; of the other three, the second is wrong.
    assert familiarity["test"] == {"images": 5, "labelled": 3, "unsure": 1, "unknown": 1}
    assert (familiarity["labelled"]["images"], familiarity["labelled"]["correct"]) == (3, 2)
    assert familiarity["labelled"]["share"] == 0.6
    assert familiarity["other"] == {"images": 3, "labelled": 1, "unsure": 1, "unknown": 1}
    assert (familiarity["threshold"], familiarity["exemplars"]) == (0.25, 2)


def test_the_ways_to_score_familiarity_are_listed_with_their_gain(composed: dict[str, Any]) -> None:
    familiarity = composed["familiarity"]
    assert (familiarity["method"], familiarity["decided_by"]) == ("nearest neighbours", "destroyed copies")
    assert familiarity["stand_ins"] == {"destroyed copies": 4, "changed copies": 2}
    neighbours, _, energy, _ = familiarity["methods"]
    assert neighbours["areas"] == {"destroyed copies": 0.9, "changed copies": 0.4}
    assert (energy["name"], energy["areas"]["destroyed copies"]) == ("energy of the logits", 0.7)
    assert (energy["gain"], energy["gain_error"]) == (-0.2, 0.0)
    assert "With two labels none can be left out." in familiarity["caution"]


def test_roc_curves_join_the_shares_of_strangers_and_test_pictures(composed: dict[str, Any]) -> None:
    other, destroyed = composed["familiarity"]["curves"]
    assert (other["strangers"], other["images"]) == ("other/ (test)", 3)
    # 0.9, 0.5, 0.6 and 0.8 are above all three, 0.2 above 0.1 alone: 13 of 15 pairs.
    assert other["area"] == 0.8667
    assert other["points"][0] == [0.0, 0.0]
    assert [0.0, 0.8] in other["points"]  # at 0.5
    assert other["points"][-2:] == [[0.6667, 1.0], [1.0, 1.0]]  # at 0.2, and below
    assert (destroyed["strangers"], destroyed["area"]) == ("destroyed copies", 0.975)  # one of 20 pairs is equal


def test_the_strangest_pictures_are_compared_with_all_exemplars_but_themselves(composed: dict[str, Any]) -> None:
    # The two exemplars are at right angles; the third picture's cosines with them are 0.6 and 0.8. With itself left
    # out, an exemplar's score is the mean of 0 and -2.
    strangest = composed["familiarity"]["strangest"]
    assert [(one["path"], one["label"]) for one in strangest] == [
        ("train/0.jpg", "cat"),
        ("train/1.jpg", "dog"),
        ("train/2.jpg", "cat"),
    ]
    assert [one["familiarity"] for one in strangest] == [0, 0, 0.7]
    assert [(one["path"], one["similarity"]) for one in strangest[2]["nearest"]] == [
        ("train/1.jpg", 0.8),
        ("train/0.jpg", 0.6),
    ]


def test_reliability_has_loss_score_and_bins_with_five_decimals() -> None:
    after = calibration((0.9, 0), (0.7, 1)).after
    assert after.log_loss == 0.65467  # (-ln 0.9 - ln 0.3) / 2
    assert after.brier == 0.5  # (2 * 0.1 ** 2 + 2 * 0.7 ** 2) / 2
    assert [(bin_.count, bin_.confidence) for bin_ in after.bins if bin_.count] == [(1, 0.7), (1, 0.9)]
