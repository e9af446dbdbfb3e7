"""Drift: a day's uploads compared with the test set."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from evaluation.metrics import confidence_histogram, population_stability_index
from evaluation.predictions import Scored
from labeller.results import Status

BINS = 10
"""Bins of equal width over the confidences, as is usual for the population stability index."""

STABLE, MOVED = 0.1, 0.25
"""Credit scoring reads a population stability index below the first as stable, above the second as a shift."""

FEW_UPLOADS = 100
"""With fewer uploads a day, the index is mostly chance."""


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
    unreadable: int
    histogram: tuple[int, ...]  # confidences of LABELLED and UNSURE, in BINS bins of equal width over 0..1
    testset_histogram: tuple[int, ...]  # the test set's, in the same bins
    stability_index: float | None  # of the confidences against the test set's; None if either has none

    @property
    def total(self) -> int:
        """All uploads of the day that have a result and still exist."""
        return sum(self.labels.values()) + self.unsure + self.unreadable


def count_uploads(
    day: date, rows: Iterable[UploadRow], labels: Sequence[str], scored: Sequence[Scored], complete: bool
) -> Uploads:
    """Count the rows of a day; deleted objects do not count.

    `labels` are the model's. Labels of an earlier model are counted under their own names.
    """
    by_label: Counter[str] = Counter(dict.fromkeys(labels, 0))
    statuses: Counter[Status] = Counter()
    confidences: list[float] = []
    for row in rows:
        statuses[row.status] += 1
        if row.status is Status.LABELLED and row.label is not None:
            by_label[row.label] += 1
        if row.confidence is not None:
            confidences.append(row.confidence)
    testset = confidence_histogram([answer.prediction.confidence for answer in scored], BINS)
    uploaded = confidence_histogram(confidences, BINS)
    return Uploads(
        day=day,
        complete=complete,
        labels=dict(by_label),
        unsure=statuses[Status.UNSURE],
        unreadable=statuses[Status.UNREADABLE],
        histogram=tuple(uploaded.tolist()),
        testset_histogram=tuple(testset.tolist()),
        stability_index=population_stability_index(testset, uploaded) if confidences and scored else None,
    )
