"""The model that a build replaces, on the test pictures of both."""

from __future__ import annotations

import hashlib
from dataclasses import astuple
from pathlib import Path

import pytest

from evaluation.predictions import PREDICTIONS_FILE, Scored, write_csv
from labeller.manifest import MANIFEST_FILE
from labeller.results import Prediction, Status
from model_build.previous import PreviousModel, compare_with_previous
from tests.support import write_model

LABELS = ("red", "blue")


def answers(wrong: int, first: int = 0) -> list[Scored]:
    """The answers to ten red pictures, the first `wrong` of them wrong; `first` numbers the pictures."""
    return [
        Scored(
            f"red/{number}.png",
            "red",
            hashlib.sha256(bytes([first + number])).hexdigest(),
            Prediction("blue" if number < wrong else "red", 0.9, {"red": 0.5, "blue": 0.5}),
            Status.LABELLED,
        )
        for number in range(10)
    ]


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """A model that labels all ten pictures right."""
    folder = write_model(tmp_path / "model", model_version="old")
    (folder / PREDICTIONS_FILE).write_bytes(write_csv(answers(wrong=0)))
    return folder


# Exact McNemar: six lost and none won is 2 / 2^6 = 0.0312, five is 0.0625.
@pytest.mark.parametrize(("wrong", "outcome", "p"), [(6, "WORSE", 0.0312), (5, "SAME", 0.0625), (0, "SAME", 1.0)])
def test_the_new_model_is_compared_picture_by_picture(previous: Path, wrong: int, outcome: str, p: float) -> None:
    found = compare_with_previous(previous, LABELS, answers(wrong))
    assert found == PreviousModel("old", outcome, "", 10, 10, 10 - wrong, p)


def test_only_pictures_of_both_count_whatever_their_names(previous: Path) -> None:
    found = compare_with_previous(previous, LABELS, answers(wrong=0, first=7))  # three are the same
    assert found == PreviousModel("old", "SAME", "", 3, 3, 3, 1.0)


def test_other_pictures_or_labels_or_unreadable_files_cannot_be_compared(previous: Path) -> None:
    reasons = [
        compare_with_previous(previous, LABELS, answers(0, first=100)),
        compare_with_previous(previous, ("red", "green"), answers(0)),
    ]
    (previous / PREDICTIONS_FILE).write_bytes(b"no table")
    reasons.append(compare_with_previous(previous, LABELS, answers(0)))
    (previous / MANIFEST_FILE).write_text("no manifest")
    reasons.append(compare_with_previous(previous, LABELS, answers(0)))
    assert [one and astuple(one) for one in reasons] == [
        (name, "INCOMPARABLE", reason, 0, 0, 0, 1.0)
        for name, reason in [
            ("old", "they have no test picture in common"),
            ("old", "it has other labels"),
            ("old", "its manifest or its predictions cannot be read"),
            ("unreadable", "its manifest or its predictions cannot be read"),
        ]
    ]


def test_the_first_model_replaces_none(tmp_path: Path) -> None:
    assert compare_with_previous(tmp_path / "model", LABELS, answers(0)) is None
