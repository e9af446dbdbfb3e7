"""Drift: a day's uploads compared with the test set."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from evaluation.metrics import confidence_histogram, population_stability_index, two_proportion_test
from evaluation.predictions import Scored
from labeller.results import Status

BINS = 10
"""Bins of equal width over the confidences, as is usual for the population stability index."""

STABLE, MOVED = 0.1, 0.25
"""Credit scoring reads a population stability index below the first as stable, above the second as a shift."""

FEW_UPLOADS = 100
"""With fewer uploads a day, the index is mostly chance."""

DAYS_BEFORE = 14
"""Days before that the share of UNKNOWN uploads is compared with: two whole weeks, because weekends differ."""

RISE_FACTOR, RISE_POINTS, RISE_P_VALUE = 2.0, 0.05, 0.001
"""The share of UNKNOWN uploads rose if it is this many times the earlier one, higher by this much, and if chance is
less likely than this (Fisher's exact test). The first two keep small but significant changes from ringing an alarm."""


@dataclass(frozen=True, slots=True)
class UploadRow:
    """The attributes of a results row that drift needs."""

    status: Status
    label: str | None  # the likeliest; None for UNREADABLE
    confidence: float | None  # 0..1


@dataclass(frozen=True, slots=True)
class Uploads:
    """Counts of one day's uploads."""

    day: date  # UTC
    complete: bool  # False if there was no time to read all rows
    labels: dict[str, int]  # LABELLED, by label
    unsure: int
    unknown: int
    unreadable: int
    histogram: tuple[int, ...]  # confidences of LABELLED and UNSURE, in BINS bins of equal width over 0..1
    testset_histogram: tuple[int, ...]  # the test set's, in the same bins
    stability_index: float | None  # of the confidences against the test set's; None if either has none
    unknown_before: int = 0  # UNKNOWN uploads of the DAYS_BEFORE, among `total_before`
    total_before: int = 0

    @property
    def total(self) -> int:
        """All uploads of the day that have a result and still exist."""
        return sum(self.labels.values()) + self.unsure + self.unknown + self.unreadable

    @property
    def unknown_rose(self) -> bool:
        """Whether the share of UNKNOWN uploads is far above that of the days before."""
        if not self.total or not self.total_before:
            return False
        share, before = self.unknown / self.total, self.unknown_before / self.total_before
        return (
            share >= max(RISE_FACTOR * before, before + RISE_POINTS)
            and two_proportion_test(self.unknown, self.total, self.unknown_before, self.total_before) < RISE_P_VALUE
        )


def count_uploads(
    day: date,
    rows: Iterable[UploadRow],
    labels: Sequence[str],
    scored: Sequence[Scored],
    complete: bool,
    before: tuple[int, int] = (0, 0),
) -> Uploads:
    """Count the rows of a day; deleted objects do not count.

    `labels` are the model's. Labels of an earlier model are counted under their own names. `before` has the numbers of
    UNKNOWN and of all uploads of the days before. UNKNOWN pictures do not count in the histograms: their confidence
    means nothing.
    """
    by_label: Counter[str] = Counter(dict.fromkeys(labels, 0))
    statuses: Counter[Status] = Counter()
    confidences: list[float] = []
    for row in rows:
        statuses[row.status] += 1
        if row.status is Status.LABELLED and row.label is not None:
            by_label[row.label] += 1
        if row.confidence is not None and row.status is not Status.UNKNOWN:
            confidences.append(row.confidence)
    tested = [answer.prediction.confidence for answer in scored if answer.status is not Status.UNKNOWN]
    testset = confidence_histogram(tested, BINS)
    uploaded = confidence_histogram(confidences, BINS)
    return Uploads(
        day=day,
        complete=complete,
        labels=dict(by_label),
        unsure=statuses[Status.UNSURE],
        unknown=statuses[Status.UNKNOWN],
        unreadable=statuses[Status.UNREADABLE],
        histogram=tuple(uploaded.tolist()),
        testset_histogram=tuple(testset.tolist()),
        stability_index=population_stability_index(testset, uploaded) if confidences and tested else None,
        unknown_before=before[0],
        total_before=before[1],
    )
