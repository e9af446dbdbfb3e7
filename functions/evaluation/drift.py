"""What was uploaded on a day, against what the model is tested with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from evaluation.metrics import confidence_histogram, population_stability_index
from evaluation.predictions import Scored
from labeller.records import Status

BINS = 10
"""Bins of equal width that confidences are counted in, as is usual for the population stability index."""

STABLE, MOVED = 0.1, 0.25
"""Under the one, credit scoring reads a population stability index as stable, above the other as moved."""

FEW_UPLOADS = 100
"""With fewer uploads in a day an index says more about chance than about the uploads."""


@dataclass(frozen=True, slots=True)
class UploadRow:
    """What drift asks of a row of the results table."""

    status: Status
    label: str | None  # the likeliest; None for UNREADABLE
    confidence: float | None  # 0..1


@dataclass(frozen=True, slots=True)
class Uploads:
    """One day's uploads, counted."""

    day: date  # UTC
    complete: bool  # False where there was no time to read all rows
    labels: dict[str, int]  # LABELLED, by label
    unsure: int
    unreadable: int
    histogram: tuple[int, ...]  # confidences, LABELLED and UNSURE, in BINS bins of equal width over 0..1
    testset_histogram: tuple[int, ...]  # those of the test set, in the same bins
    stability_index: float | None  # confidences against the test set's; None where either has none

    @property
    def total(self) -> int:
        """All uploads of the day that were looked at and are still there."""
        return sum(self.labels.values()) + self.unsure + self.unreadable


def count_uploads(
    day: date, rows: Iterable[UploadRow], labels: Sequence[str], scored: Sequence[Scored], complete: bool
) -> Uploads:
    """Count the rows of a day. `labels` are the model's; others, of an earlier model, are counted under their names.

    Deleted objects are no uploads that one could look at.
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
    tested = confidence_histogram([each.prediction.confidence for each in scored], BINS)
    uploaded = confidence_histogram(confidences, BINS)
    return Uploads(
        day=day,
        complete=complete,
        labels=dict(by_label),
        unsure=statuses[Status.UNSURE],
        unreadable=statuses[Status.UNREADABLE],
        histogram=tuple(uploaded.tolist()),
        testset_histogram=tuple(tested.tolist()),
        stability_index=population_stability_index(tested, uploaded) if confidences and scored else None,
    )
