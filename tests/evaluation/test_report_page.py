"""The page of a night, by its text: its thresholds on both sides, its lists and their order."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from evaluation.drift import UploadRow, count_uploads
from evaluation.night import Night, Verdict
from evaluation.predictions import Scored
from evaluation.report import NightlyReport, figures_of, others_of
from evaluation.report_page import nights_page, report_page
from labeller.results import Neighbour, Prediction, Status
from tests.evaluation.test_report import LABELS, NIGHT, against, answers, report


def page(current: NightlyReport | None = None, scored: list[Scored] | None = None, **trend: Any) -> str:
    """The page as text with single spaces, without tags."""
    current = current or report()
    text = report_page(current, answers() if scored is None else scored, trend.get("trend", [current.night]))
    return html.unescape(" ".join(re.sub("<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL).split()))


def with_uploads(number: int, complete: bool = True) -> NightlyReport:
    rows = [UploadRow(Status.LABELLED, "cats", 0.97)] * number
    return report(uploads=count_uploads(date(2026, 11, 23), rows, LABELS, answers(), complete=complete))


def mistakes(number: int) -> list[Scored]:
    """Pictures of cats, called dogs: the later, the more confidently."""
    return [
        Scored(
            f"cats/{n:02}.jpg",
            "cats",
            str(n),
            Prediction("dogs", 0.5 + n / 100, {"dogs": 0.5 + n / 100, "cats": 0.5 - n / 100}),
            Status.UNSURE if n < 10 else Status.LABELLED,
        )
        for n in range(number)
    ]


def test_the_stability_index_comes_with_the_limits_that_credit_scoring_uses() -> None:
    # Siddiqi, "Credit Risk Scorecards": below 0.1 no change, above 0.25 a shift.
    assert "Below 0.1 is commonly read as stable, above 0.25 as a shift." in page()


@pytest.mark.parametrize(("uploads", "warned"), [(99, True), (100, False)])
def test_an_index_of_few_uploads_comes_with_a_warning(uploads: int, warned: bool) -> None:
    assert ("With fewer than 100 uploads it is mostly chance." in page(with_uploads(uploads))) is warned


@pytest.mark.parametrize("complete", [True, False])
def test_uploads_that_time_did_not_suffice_for_are_mentioned(complete: bool) -> None:
    missing = "There were more, but there was no time to read all of them."
    assert (missing in page(with_uploads(3, complete))) is not complete


@pytest.mark.parametrize(
    ("number", "words"),
    [(24, "All wrong answers, in order"), (25, "The 24 most confident of 25 wrong answers, in order")],
)
def test_the_most_confident_mistakes_come_first_and_24_at_most(number: int, words: str) -> None:
    scored = mistakes(number)
    text = page(report(scored), scored)
    assert words in text
    shown = re.findall(r"cats/(\d\d)\.jpg", text[text.index("Most confident mistakes") :])
    assert [int(name) for name in shown] == list(range(number))[::-1][:24]
    assert text.count("; UNSURE") == 10 - (number - 24)


def test_a_picture_with_a_wrong_label_names_the_training_pictures_that_are_most_like_it() -> None:
    (wrong,) = mistakes(11)[10:]
    near = (Neighbour("train/dogs/<7>.jpg", "dogs", 0.8149), Neighbour("train/cats/3.jpg", "cats", 0.79))
    wrong = replace(wrong, prediction=replace(wrong.prediction, nearest=near))
    stranger = replace(wrong, key="other/fox.jpg", true="other")
    current = replace(report([wrong]), others=others_of([stranger]))

    text = html.unescape(report_page(current, [wrong], [current.night], others=[stranger]))

    like = "; like train/dogs/<7>.jpg (0.81), train/cats/3.jpg (0.79)"
    assert f"true label: cats{like}" in text
    assert f"none of the labels{like}" in text


def test_a_model_that_names_no_training_pictures_leaves_them_out() -> None:
    scored = mistakes(11)[10:]
    assert "; like" not in page(report(scored), scored)


@pytest.mark.parametrize("number", [24, 25])
def test_24_changed_labels_are_shown_at_most(number: int) -> None:
    now = answers(cats_right=30 - number, dogs_right=30, of=30)
    current = report(now, last_night=against(answers(30, 30, of=30), now))
    text = page(current, now)
    changed = text[text.index("Other answers than the night of 2026-11-23") : text.index("About this report")]
    assert f"{number} pictures got another label" in changed
    assert changed.count("was cats") == 24


def many_labels(number: int) -> tuple[NightlyReport, list[Scored]]:
    """A report in which label n is confused n times with the next one."""
    labels = tuple(f"label {n:02}" for n in range(number))
    scored = [
        Scored(
            f"{true}/{n}",
            true,
            f"{true}{n}",
            Prediction(wrong, 0.9, {**dict.fromkeys(labels, 0.0), wrong: 0.9}),
            Status.LABELLED,
        )
        for index, (true, wrong) in enumerate(zip(labels, (*labels[1:], labels[0]), strict=True))
        for n in range(index)
    ]
    current = replace(report(), figures=figures_of(scored, labels))
    return replace(current, model=replace(current.model, labels=labels)), scored


@pytest.mark.parametrize("number", [20, 21])
def test_more_than_20_labels_have_a_list_of_confusions_instead_of_a_matrix(number: int) -> None:
    text = page(*many_labels(number))
    matrix = text[text.index("Confusion matrix") : text.index("Accuracy, night by night")]
    listed = re.findall(r"label (\d\d) label (\d\d) (\d+)", matrix)
    assert ("The most frequent confusions" in matrix) is (number > 20)
    if number > 20:
        assert listed == [(f"{n:02}", f"{(n + 1) % 21:02}", str(n)) for n in range(20, 0, -1)]


def test_a_list_of_confusions_has_20_lines_at_most() -> None:
    text = page(*many_labels(23))
    matrix = text[text.index("Confusion matrix") : text.index("Accuracy, night by night")]
    assert len(re.findall(r"label \d\d label \d\d \d+", matrix)) == 20


# ---- tones and the list of nights ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "tone"),
    [
        ({}, "good"),
        ({"minimum_accuracy": 0.93}, "bad"),  # the accuracy is 0.925
        ({"minimum_accuracy": 0.925}, "good"),
        (
            {"last_night": against(answers(20, 20), answers(12, 20)), "figures": figures_of(answers(12, 20), LABELS)},
            "bad",
        ),
        ({"unscored_causes": {"AWS": 1}}, "other"),
    ],
)
def test_the_badge_has_the_tone_of_the_night(changes: dict[str, Any], tone: str) -> None:
    current = report(**{"minimum_accuracy": 0.5, **changes})
    assert f'<p class="tone-{tone}"><span class="badge">' in report_page(current, [], [current.night])


def nights(number: int) -> list[Night]:
    return [replace(report().night, date=NIGHT + timedelta(days=n)) for n in range(number)]


def test_the_trend_has_a_place_for_each_of_the_last_30_days() -> None:
    days = [*nights(1), *nights(41)[-1:]]  # forty days apart: only the newest is within the last 30 days
    current = replace(report(), date=days[-1].date)
    text = report_page(current, answers(), days)
    table = text[text.index("Accuracy, night by night") : text.index("Calibration: does")]
    rows = re.findall(r'<th scope="row">(\d\d-\d\d)</th>', table)
    assert (len(rows), rows[0], rows[-1]) == (30, "12-05", "01-03")
    assert table.count("<circle") == 1


def test_the_newest_night_is_first_in_the_list_and_unread_ones_are_dates_alone() -> None:
    known = nights(2)
    text = nights_page([NIGHT - timedelta(days=40)], [replace(known[0], verdict=Verdict.WORSE), known[1]])
    listed = re.findall(r'href="(\d{4}-\d\d-\d\d)/index.html"', text)
    assert listed == ["2026-11-25", "2026-11-24", "2026-10-15"]
