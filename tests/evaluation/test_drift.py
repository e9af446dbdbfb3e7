from datetime import date

import pytest

from evaluation.drift import UploadRow, count_uploads
from evaluation.metrics import population_stability_index
from labeller.results import Status
from tests.evaluation.test_predictions import scored

DAY = date(2026, 11, 23)
LABELLED, UNSURE, UNREADABLE, DELETED = Status.LABELLED, Status.UNSURE, Status.UNREADABLE, Status.DELETED
UNKNOWN = Status.UNKNOWN


def test_uploads_are_counted_by_status() -> None:
    rows = [
        UploadRow(LABELLED, "cats", 0.97),
        UploadRow(LABELLED, "cats", 0.91),
        UploadRow(UNSURE, "dogs", 0.55),
        UploadRow(UNKNOWN, "dogs", 0.99),
        UploadRow(UNREADABLE, None, None),
        UploadRow(DELETED, None, None),
    ]
    uploads = count_uploads(DAY, rows, ["cats", "dogs"], [scored()], complete=True)
    assert (uploads.day, uploads.complete) == (DAY, True)
    assert uploads.labels == {"cats": 2, "dogs": 0}
    assert (uploads.unsure, uploads.unknown, uploads.unreadable, uploads.total) == (1, 1, 1, 5)
    # 0.55 is in (0.5, 0.6], the sixth bin of ten; the others are in the tenth. The confidence of UNKNOWN means nothing.
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


def test_unknown_test_pictures_do_not_count_in_the_histogram() -> None:
    tested = [scored(sha256="01"), scored(sha256="02", status=UNKNOWN)]

    uploads = count_uploads(DAY, [UploadRow(LABELLED, "cats", 0.9)], ["cats"], tested, complete=True)

    assert sum(uploads.testset_histogram) == 1
    assert count_uploads(DAY, [], ["cats"], tested[1:], complete=True).stability_index is None


@pytest.mark.parametrize(
    ("unknown", "before", "rose"),
    [
        (12, (100, 10_000), True),  # 12% after 1%
        (5, (0, 10_000), True),  # 5% after none; Fisher's p is about 8e-11 (1e-2 per 100 to the fifth power)
        (5, (100, 10_000), False),  # 5% after 1% is not 5 points more
        (30, (1_600, 10_000), False),  # 30% after 16% is not twice as much
        (32, (1_600, 10_000), True),
        (2, (0, 20), False),  # chance
        (100, (0, 0), False),  # the first day of a model that can say UNKNOWN
    ],
)
def test_the_share_of_unknown_uploads_rose_if_it_doubled_by_five_points_and_not_by_chance(
    unknown: int, before: tuple[int, int], rose: bool
) -> None:
    rows = [UploadRow(UNKNOWN, "cats", 0.9)] * unknown + [UploadRow(LABELLED, "cats", 0.9)] * (100 - unknown)

    uploads = count_uploads(DAY, rows, ["cats"], [], complete=True, before=before)

    assert uploads.unknown_rose is rose


def test_a_day_without_uploads_has_no_index() -> None:
    uploads = count_uploads(DAY, [], ["cats"], [scored()], complete=False)
    assert (uploads.total, uploads.stability_index, uploads.complete) == (0, None, False)
