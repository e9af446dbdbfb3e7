from datetime import date

import pytest

from evaluation.drift import UploadRow, count_uploads
from evaluation.metrics import population_stability_index
from labeller.results import Status
from tests.evaluation.test_predictions import scored

DAY = date(2026, 11, 23)
LABELLED, UNSURE, UNREADABLE, DELETED = Status.LABELLED, Status.UNSURE, Status.UNREADABLE, Status.DELETED


def test_uploads_are_counted_by_status() -> None:
    rows = [
        UploadRow(LABELLED, "cats", 0.97),
        UploadRow(LABELLED, "cats", 0.91),
        UploadRow(UNSURE, "dogs", 0.55),
        UploadRow(UNREADABLE, None, None),
        UploadRow(DELETED, None, None),
    ]
    uploads = count_uploads(DAY, rows, ["cats", "dogs"], [scored()], complete=True)
    assert (uploads.day, uploads.complete) == (DAY, True)
    assert uploads.labels == {"cats": 2, "dogs": 0}
    assert (uploads.unsure, uploads.unreadable, uploads.total) == (1, 1, 4)
    # 0.55 is in (0.5, 0.6], the sixth bin of ten; the others are in the tenth.
    assert uploads.histogram == (0, 0, 0, 0, 0, 1, 0, 0, 0, 2)


def test_labels_of_an_earlier_model_keep_their_names() -> None:
    uploads = count_uploads(DAY, [UploadRow(LABELLED, "foxes", 0.9)], ["cats", "dogs"], [], complete=True)
    assert uploads.labels == {"cats": 0, "dogs": 0, "foxes": 1}


def test_the_index_compares_the_confidences_with_the_test_sets() -> None:
    tested = [scored(sha256=str(n)) for n in range(100)]  # all with a confidence of 0.9, the ninth bin
    same = count_uploads(DAY, [UploadRow(LABELLED, "cats", 0.9)] * 100, ["cats"], tested, complete=True)
    moved = count_uploads(DAY, [UploadRow(UNSURE, "cats", 0.55)] * 100, ["cats"], tested, complete=True)
    assert same.stability_index == 0
    expected = population_stability_index([0] * 8 + [100, 0], [0] * 5 + [100] + [0] * 4)
    assert moved.stability_index == pytest.approx(expected)
    assert expected > 0.25


def test_unsure_uploads_count_in_the_histogram_and_unreadable_ones_do_not() -> None:
    rows = [UploadRow(UNSURE, "cats", 0.3), UploadRow(UNREADABLE, None, None)]
    uploads = count_uploads(DAY, rows, ["cats"], [scored()], complete=False)
    assert uploads.histogram == (0, 0, 1, 0, 0, 0, 0, 0, 0, 0)
    assert uploads.testset_histogram == (0, 0, 0, 0, 0, 0, 0, 0, 1, 0)
    assert uploads.complete is False


def test_a_day_without_uploads_has_no_index() -> None:
    uploads = count_uploads(DAY, [], ["cats"], [scored()], complete=False)
    assert (uploads.total, uploads.stability_index, uploads.complete) == (0, None, False)
