"""Figures, verdict, headline, reasons and report.json. test_metrics.py tests the metrics."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from evaluation.comparison import Outcome, compare_counts, compare_pictures
from evaluation.drift import UploadRow, count_uploads
from evaluation.night import Verdict, read_night
from evaluation.predictions import Scored, Unscored
from evaluation.report import (
    Model,
    NightlyReport,
    Speed,
    TestSetSummary,
    figures_of,
    headline,
    others_of,
    reasons,
    to_json,
)
from labeller.results import Prediction, Status
from tests.support import ROOT

LABELS = ("cats", "dogs")
NIGHT = date(2026, 11, 24)


OTHERS = [Status.LABELLED, *[Status.UNSURE] * 2, *[Status.UNKNOWN] * 7]
ONE_UNSCORED: dict[str, Any] = {"unscored_causes": {"AWS": 1}, "unscored_examples": (Unscored("a", "AWS: x"),)}


def answers(cats_right: int = 19, dogs_right: int = 18, of: int = 20) -> list[Scored]:
    """`of` pictures of each label; right answers have confidence 0.95, wrong ones 0.6, which is UNSURE."""
    scored = []
    for true, right in zip(LABELS, (cats_right, dogs_right), strict=True):
        other = LABELS[1 - LABELS.index(true)]
        for number in range(of):
            label, share = (true, 0.95) if number < right else (other, 0.6)
            scores = {label: share, (other if label == true else true): 1 - share}
            scored.append(
                Scored(
                    f"{true}/{number}.jpg",
                    true,
                    f"{true}{number}",
                    Prediction(label, share, scores),
                    Status.UNSURE if share < 0.9 else Status.LABELLED,
                )
            )
    return scored


def report(scored: list[Scored] | None = None, **changes: Any) -> NightlyReport:
    scored = answers() if scored is None else scored
    members: dict[str, Any] = {
        "date": NIGHT,
        "run": "20261124T030000Z-b7c5d1f0",
        "created_at": datetime(2026, 11, 24, 3, 1, tzinfo=UTC),
        "model": Model("vgg16-1", LABELS, (224, 224), 0.9),
        "testset": TestSetSummary("reports", "testset/", len(scored), 0, dict.fromkeys(LABELS, 20)),
        "figures": figures_of(scored, LABELS),
        "unscored_causes": {},
        "unscored_examples": (),
        "speed": Speed(2.0, 38.0, "AMD EPYC", True, 2),
        "last_night": None,
        "build": None,
        "uploads": count_uploads(
            date(2026, 11, 23),
            [UploadRow(Status.LABELLED, "cats", 0.97), UploadRow(Status.UNREADABLE, None, None)],
            LABELS,
            scored,
            complete=True,
        ),
        "minimum_accuracy": 0.9,
        "predictions_key": "accuracy/2026-11-24/runs/20261124T030000Z-b7c5d1f0/predictions.csv",
    }
    return NightlyReport(**{**members, **changes})


def against(before: list[Scored], now: list[Scored]) -> Any:
    return compare_pictures(
        "the night of 2026-11-23", "vgg16-0", {answer.identity: answer.prediction.label for answer in before}, now
    )


# ---- figures ------------------------------------------------------------------------------------------------


def test_the_figures_by_hand() -> None:
    figures = figures_of(answers(cats_right=19, dogs_right=18), LABELS)
    assert figures is not None
    assert (figures.pictures, figures.correct, figures.accuracy) == (40, 37, 0.925)
    assert figures.confusion == ((19, 1), (2, 18))
    assert (figures.classes[0].recall, figures.classes[0].precision) == (0.95, 19 / 21)
    assert figures.baseline == 0.5
    assert (figures.unsure, figures.accuracy_when_sure) == (3, 1.0)
    # The true label has the probability 0.95 in 37 answers and 0.4 in 3.
    assert figures.log_loss == pytest.approx(-(37 * math.log(0.95) + 3 * math.log(0.4)) / 40)
    assert figures.brier_score == pytest.approx((37 * 2 * 0.05**2 + 3 * 2 * 0.6**2) / 40)
    # Confidence 0.95 with all right is 0.05 off; 0.6 with none right is 0.6 off.
    assert figures.expected_calibration_error == pytest.approx((37 * 0.05 + 3 * 0.6) / 40)


def test_pictures_that_are_unknown_count_neither_as_unsure_nor_as_labelled() -> None:
    right, wrong = answers(cats_right=1, dogs_right=0, of=1)
    figures = figures_of([right, replace(wrong, status=Status.UNKNOWN)], LABELS)

    assert figures is not None
    assert (figures.unsure, figures.unknown, figures.accuracy, figures.accuracy_when_sure) == (0, 1, 0.5, 1.0)


def test_pictures_of_none_of_the_labels_are_counted_by_what_became_of_them() -> None:
    some = [replace(one, true="other", status=status) for one, status in zip(answers(), OTHERS, strict=False)]

    others = others_of(some)

    assert others is not None
    assert (others.pictures, others.labelled, others.unsure, others.unknown) == (10, 1, 2, 7)
    assert others.unlabelled_share == 0.9
    # Wilson's interval of 9 of 10: statsmodels, proportion_confint(9, 10, method="wilson").
    assert (others.interval.low, others.interval.high) == pytest.approx((0.59585, 0.98212), abs=1e-5)
    assert others_of([]) is None
    words = reasons(report(others=others))
    assert "9 of 10 test pictures of none of the labels got no label (90.0%)." in words


def test_a_jump_of_the_share_of_unknown_uploads_is_a_reason() -> None:
    rows = [UploadRow(Status.UNKNOWN, "cats", 0.9)] * 30 + [UploadRow(Status.LABELLED, "cats", 0.9)] * 70
    uploads = count_uploads(date(2026, 11, 23), rows, LABELS, answers(), complete=True, before=(10, 1000))

    words = reasons(report(uploads=uploads))

    assert "30.0% of 100 uploads are UNKNOWN, after 1.0% in the days before, so the alarm fires." in words
    assert json.loads(to_json(report(uploads=uploads)))["uploads"]["unknown_rose"] is True


@pytest.mark.parametrize(("threshold", "share"), [(0.01, 0.25), (None, math.nan)])
def test_only_a_model_that_can_say_unknown_has_a_share_in_the_trend(threshold: float | None, share: float) -> None:
    rows = [UploadRow(Status.UNKNOWN, "cats", 0.9)] + [UploadRow(Status.LABELLED, "cats", 0.9)] * 3
    uploads = count_uploads(date(2026, 11, 23), rows, LABELS, answers(), complete=True)
    written = report(uploads=uploads, model=Model("vgg16-1", LABELS, (224, 224), 0.9, threshold))

    assert read_night(to_json(written)).unknown_share == pytest.approx(share, nan_ok=True)
    assert written.night.unknown_share == pytest.approx(share, nan_ok=True)


def test_the_report_of_a_version_without_unknown_is_read() -> None:
    content = json.loads(to_json(report()))
    del content["model"]["familiarity_threshold"], content["uploads"]["unknown"], content["others"]

    night = read_night(json.dumps(content).encode())

    assert (night.unknown, night.uploads) == (None, 2)


def test_no_answers_give_no_figures() -> None:
    assert figures_of([], LABELS) is None


# ---- verdict ------------------------------------------------------------------------------------------------


def test_without_a_comparison_it_is_the_first_night() -> None:
    assert report().verdict is Verdict.FIRST


def test_equal_answers_are_the_same() -> None:
    assert report(last_night=against(answers(), answers())).verdict is Verdict.SAME


def test_a_significant_drop_is_worse_and_a_rise_is_better() -> None:
    good, bad = answers(20, 20), answers(12, 20)
    assert report(bad, last_night=against(good, bad)).verdict is Verdict.WORSE
    assert report(good, last_night=against(bad, good)).verdict is Verdict.BETTER


def test_two_newly_wrong_are_the_same() -> None:
    assert report(last_night=against(answers(20, 19), answers(19, 18))).verdict is Verdict.SAME


def test_a_slow_decline_shows_in_the_comparison_with_the_build() -> None:
    now = answers(15, 15)
    same_as_yesterday = against(now, now)
    build = compare_counts("its own build", "vgg16-1", 990, 1000, now)
    assert build is not None
    assert build.outcome is Outcome.WORSE
    assert report(now, last_night=same_as_yesterday, build=build).verdict is Verdict.WORSE


def test_a_difference_on_other_pictures_is_reported_and_does_not_count() -> None:
    now = answers(15, 15)
    build = compare_counts("its own build", "vgg16-1", 990, 1000, now, other_pictures=True)
    current = report(now, last_night=against(now, now), build=build)
    assert current.verdict is Verdict.SAME
    assert "on other pictures, so the difference may be due to the pictures" in reasons(current)[-1]


def test_a_night_with_unscored_pictures_is_incomplete() -> None:
    good, bad = answers(20, 20), answers(12, 20)
    partial = report(bad, last_night=against(good, bad), **ONE_UNSCORED)
    assert partial.verdict is Verdict.INCOMPLETE
    assert "worse" in " ".join(reasons(partial))


def test_a_night_that_scored_nothing_says_so() -> None:
    nothing = report(
        [],
        figures=None,
        unscored_causes={"AWS": 40},
        testset=TestSetSummary("b", "testset/", 40, 0, {"cats": 20, "dogs": 20}),
    )
    assert nothing.verdict is Verdict.INCOMPLETE
    assert headline(nothing) == "Incomplete: none of 40 test pictures could be scored"


# ---- words --------------------------------------------------------------------------------------------------


def test_the_headline_is_a_sentence_with_the_figures() -> None:
    assert headline(report()) == "First night with these pictures: 37 of 40 test pictures are right (92.5%)"


def test_the_reasons_name_both_comparisons_and_all_that_needs_attention() -> None:
    now = answers()
    text = reasons(
        report(
            now,
            last_night=against(answers(20, 18), now),
            build=compare_counts("its own build", "vgg16-1", 950, 1000, now),
            minimum_accuracy=0.95,
            testset=TestSetSummary("reports", "testset/", 41, 2, {"cats": 20, "dogs": 20, "foxes": 0}),
            unscored_causes={"TRUNCATED": 1},
            unscored_examples=(Unscored("cats/x.jpg", "TRUNCATED: half a file"),),
        )
    )
    assert text[0] == "The accuracy is below the minimum of 95.0%, so the alarm fires."
    assert "0 newly right, 1 newly wrong, no significant difference (p = 1)" in text[1]
    assert "on the same 40 pictures" in text[1]
    assert text[2].startswith("Compared with its own build (model vgg16-1, 95.0% right): no significant difference")
    assert text[3] == "1 picture has no answer: TRUNCATED (1)."
    assert text[4] == "The test set has no pictures of foxes: their accuracy is unknown."
    assert text[5] == "2 objects of the test set were ignored: hidden, or outside the label folders."


def test_the_causes_of_all_pictures_without_an_answer_are_counted() -> None:
    examples = tuple(Unscored(f"{n}", "DEADLINE: late") for n in range(100))  # as many as a report lists
    current = report(unscored_causes={"AWS": 3, "DEADLINE": 4000}, unscored_examples=examples)
    assert current.unscored == 4003
    assert "4,003 pictures have no answer: DEADLINE (4,000), AWS (3)." in reasons(current)


# ---- report.json --------------------------------------------------------------------------------------------


def schema() -> Draft202012Validator:
    content = json.loads((ROOT / "docs/report.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


def test_verdicts_and_changes_are_those_of_the_schema() -> None:
    properties = schema().schema["properties"]

    assert properties["verdict"]["enum"] == list(Verdict)
    assert properties["last_night"]["properties"]["change"]["enum"] == list(Outcome)


def variants() -> list[NightlyReport]:
    now = answers()
    return [
        report(),
        report(now, last_night=against(answers(20, 20), now), build=compare_counts("b", "m", 95, 100, now)),
        report([], figures=None, uploads=None, **ONE_UNSCORED),
        report(others=others_of(answers()), model=Model("vgg16-1", LABELS, (224, 224), 0.9, 0.01)),
        report(answers(20, 0, of=20)[:20]),  # one label is absent: its recall is not defined
    ]


@pytest.mark.parametrize("number", range(5))
def test_the_file_follows_its_schema_and_has_nothing_else(number: int) -> None:
    content = json.loads(to_json(variants()[number]))
    schema().validate(content)
    content["surprise"] = 1
    assert not schema().is_valid(content)


def test_undefined_figures_are_null() -> None:
    text = to_json(variants()[-1]).decode()
    assert "NaN" not in text
    assert json.loads(text)["figures"]["classes"][1]["recall"] is None


def test_a_later_night_reads_back_what_it_needs() -> None:
    written = report()
    night = read_night(to_json(written))
    assert night.predictions_key == written.predictions_key
    assert (night.date, night.verdict, night.model_version) == (NIGHT, Verdict.FIRST, "vgg16-1")
    assert (night.pictures, night.accuracy) == (40, 0.925)
    assert (night.uploads, night.unsure_share, night.unreadable_share) == (2, 0, 0.5)


def test_tonights_entry_of_the_trend_equals_what_a_later_night_reads() -> None:
    for written in variants():
        read, own = read_night(to_json(written)), written.night
        assert (read.date, read.verdict, read.pictures, read.correct) == (NIGHT, own.verdict, own.pictures, own.correct)
        assert (read.uploads, read.unsure, read.unreadable) == (own.uploads, own.unsure, own.unreadable)
        assert read.interval.low == pytest.approx(own.interval.low, abs=1e-6)
        assert read.stability_index == pytest.approx(own.stability_index, abs=1e-6, nan_ok=True)


def test_a_night_without_figures_can_be_read() -> None:
    night = read_night(to_json(variants()[2]))
    assert night.pictures == 0
    assert math.isnan(night.accuracy)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", json.dumps({"schema_version": 2}).encode(), b'{"schema_version": 1}']
)
def test_a_damaged_report_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"schema|JSON|Expecting|decode"):
        read_night(content)


def test_every_flip_is_counted_and_some_are_listed() -> None:
    now = answers(0, 20)
    content = json.loads(to_json(report(now, last_night=against(answers(20, 20), now))))
    assert content["last_night"]["flipped"] == 20
    assert content["last_night"]["flips"][0] == {
        "key": "cats/0.jpg",
        "true": "cats",
        "before": "cats",
        "now": "dogs",
    }
    assert content["last_night"]["change"] == "WORSE"
