"""What a build prints at its end, from a report made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model_build.previous import PreviousModel
from model_build.report.report import BuildReport
from model_build.report.summary import print_summary
from tests.model_build.report.example import report


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]):
    def summary(given: BuildReport) -> str:
        print_summary(given, Path("build/model"))
        return capsys.readouterr().out

    return summary


def test_each_split_has_the_accuracies_of_int8_and_fp32(printed) -> None:
    lines = [line.split() for line in printed(report()).splitlines()]
    assert ["learnt", "from", "96.6%", "of", "1000"] in lines
    assert ["test", "96.6%", "of", "1000", "95.7%", "of", "488", "95.5%", "of", "488", "p", "=", "1.00"] in lines


def test_the_head_is_compared_with_a_dense_layer(printed) -> None:
    words = printed(report())
    assert "The head (average) is right on 467 of 488 test images, with a Dense 256 layer on 464" in words
    assert "(p = 0.55)" in words


def test_temperature_and_threshold_are_shown_with_their_effect(printed) -> None:
    words = printed(report())
    assert "Temperature 1.321: calibration error on test 3.40% -> 1.20% (cross-validation 3.40% -> 1.20%)." in words
    assert (
        "Predictions with a confidence below 0.8123 are UNSURE (cross-validation: 99.00% right, 10.0% unsure; "
        "test: 98.40% right, 12.0% unsure)."
    ) in words
    assert "No threshold" not in words


def test_a_threshold_that_labels_nothing_is_said_so(printed) -> None:
    calibration = report().calibration
    nothing = replace(calibration.test.labelled, images=0, correct=0, accuracy=float("nan"), share=0.0)
    words = printed(report(calibration=replace(calibration, test=replace(calibration.test, labelled=nothing))))
    assert "test: none labelled, 100.0% unsure)" in words


def test_a_precision_that_no_threshold_reaches_is_a_reason_to_look_before_deploying(printed) -> None:
    calibration = report().calibration
    missed = replace(calibration, threshold=replace(calibration.threshold, reached=False))
    words = printed(report(calibration=missed))
    assert "No threshold makes 99% of the labelled images right in cross-validation" in words
    assert "Look at the mistakes in report.json before you deploy this model." in words


@pytest.mark.parametrize(("reused", "cache"), [(0, ""), (7, " (7 results from the cache)")])
def test_size_and_duration_are_those_of_the_model(printed, reused: int, cache: str) -> None:
    words = printed(report(reused=reused))
    assert f"build/model/model.onnx: 15.0 MB (FP32: 59.0 MB), built in 42 s{cache}." in words


def test_a_temperature_at_the_bound_of_its_search_is_said_so(printed) -> None:
    calibration = report().calibration
    assert "bound" not in printed(report())
    words = printed(report(calibration=replace(calibration, at_bound=True)))
    assert "The temperature is at a bound of its search, 0.1 to 10.0: confidences are no probabilities." in words


def test_a_measurably_worse_model_is_said_so(printed) -> None:
    previous = PreviousModel("vgg16-old", "WORSE", images=1000, correct_before=973, correct=955, p_value=0.002)
    assert "is right on 973, this one on 955: measurably worse (p = 0.002)." in printed(report(previous=previous))


def test_files_that_were_left_out_are_counted(printed) -> None:
    assert "could not be read" not in printed(report())
    words = printed(report(unreadable={"test/a.jpg": "TRUNCATED", "test/b.jpg": "EMPTY"}))
    assert "2 files could not be read and were left out; report.json lists them." in words
