"""One night: list the test set, score it, compare, look at the day's uploads, publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import fmean
from typing import Any
from zoneinfo import ZoneInfo

from evaluation.comparison import Comparison, compare
from evaluation.drift import UploadRow, Uploads, count_uploads
from evaluation.predictions import Identity, Scored, read_csv, write_csv
from evaluation.processor import this_processor
from evaluation.report import (
    MAX_UNSCORED,
    NIGHTS,
    EarlierReport,
    Model,
    NightlyReport,
    Speed,
    TestSetSummary,
    figures_of,
    to_json,
)
from evaluation.report_page import nights_page, report_page
from evaluation.storage import ReportStorage
from labeller.classifier import Classifier
from labeller.inference import threshold_in_force
from labeller.observability import logger
from labeller.pipeline import Deadline
from labeller.results import Status
from labeller.storage import AwsFailure, Storage
from score.build_figures import BuildFigures
from score.keys import PREDICTIONS, run_key
from score.publishing import ReportFiles, list_nights, publish, read_earlier
from score.scorer import Run, Scorer
from score.settings import ScoreSettings
from score.testset import TESTSET_PREFIX, TestSet, find_test_set

# Seconds of the function's time that are kept back: from the scoring for reading the day's rows, from that for the
# report, which takes some 50 calls to S3 and up to 30 retries.
RESERVED_FOR_UPLOADS = 90.0
RESERVED_FOR_REPORT = 60.0
SECONDS_FOR_A_PICTURE = 7.0  # at the limits of size, on one processor; none is begun later than this before the end


@dataclass(frozen=True, slots=True)
class NightRun:
    """Which night it is, and which run of it."""

    night: date  # in the schedule's time zone
    time: datetime  # when it was to begin, UTC
    run: str

    @classmethod
    def from_event(cls, event: Mapping[str, Any], request_id: str, zone: ZoneInfo) -> NightRun:
        """From the schedule's input, {"scheduled_time": ISO 8601}; now, where that is missing. Raises ValueError."""
        text = event.get("scheduled_time")
        now = datetime.now(UTC)
        time = datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) and text else now
        return cls(time.astimezone(zone).date(), time, f"{now:%Y%m%dT%H%M%SZ}-{request_id[:8]}")


@dataclass(frozen=True, slots=True)
class NightlyJob:
    """All that a night takes, made once for the life of the process."""

    settings: ScoreSettings
    classifier: Classifier
    pictures: Storage
    reports: ReportStorage
    build: BuildFigures | None

    def run(self, scheduled: NightRun, seconds_left: Callable[[], float]) -> NightlyReport:
        """Score and publish; returns what was published. Raises InvalidTestSet, AwsFailure, ModelError."""
        listing = find_test_set(self.reports.bucket, self.reports.list_keys(TESTSET_PREFIX), self.classifier.labels)
        nights = list_nights(self.reports)
        earlier = read_earlier(self.reports, [night for night in nights if night < scheduled.night])
        last = next((each for each in reversed(earlier) if each.night.pictures), None)  # that scored anything
        before = self._answers(last) if last else {}
        compared = (before, self.build.answers) if self.build else (before,)
        scorer = Scorer(self.reports.bucket, self.pictures, self.classifier, self.settings.shared, compared)
        deadline = Deadline.in_seconds(seconds_left() - RESERVED_FOR_UPLOADS, item=SECONDS_FOR_A_PICTURE)
        run = scorer.score(listing.examples, deadline)
        uploads = self._uploads(scheduled, run.scored, lambda: seconds_left() - RESERVED_FOR_REPORT)
        report = self._report(scheduled, listing, run, _against_last_night(last, before, run.scored), uploads)
        self._publish(report, run.scored, earlier, nights)
        return report

    def _answers(self, earlier: EarlierReport) -> dict[Identity, str]:
        """The labels that another night gave; none where they are lost or damaged (logged)."""
        try:
            return read_csv(self.reports.read(earlier.predictions_key) or b"")
        except ValueError as error:
            logger.warning("an earlier night cannot be compared with", key=earlier.predictions_key, error=str(error))
            return {}

    def _uploads(
        self, scheduled: NightRun, scored: tuple[Scored, ...], seconds_left: Callable[[], float]
    ) -> Uploads | None:
        """The whole day before the one in which the night falls, both in UTC, as the index has it.

        None where the rows cannot be read (logged): that is no reason to lose the night's accuracy.
        """
        day = scheduled.time.date() - timedelta(days=1)
        rows: list[UploadRow] = []
        try:
            for row in self._rows(day):
                rows.append(row)
                if seconds_left() <= 0:
                    return count_uploads(day, rows, self.classifier.labels, scored, complete=False)
        except AwsFailure as failure:
            logger.error("the day's rows cannot be read", day=str(day), error=str(failure))
            return None
        return count_uploads(day, rows, self.classifier.labels, scored, complete=True)

    def _rows(self, day: date) -> Iterator[UploadRow]:
        for label in (*self.classifier.labels, Status.UNSURE.value, Status.UNREADABLE.value):
            yield from self.reports.uploads_of_day(label, day)

    def _report(
        self, scheduled: NightRun, listing: TestSet, run: Run, last_night: Comparison | None, uploads: Uploads | None
    ) -> NightlyReport:
        classifier, (processor, vnni) = self.classifier, this_processor()
        return NightlyReport(
            date=scheduled.night,
            run=scheduled.run,
            created_at=datetime.now(UTC),
            model=Model(
                classifier.version,
                classifier.labels,
                classifier.input_size,
                threshold_in_force(classifier.confidence_threshold, self.settings.shared),
            ),
            testset=TestSetSummary(
                self.reports.bucket, TESTSET_PREFIX, len(listing.examples), listing.ignored, listing.per_label
            ),
            figures=figures_of(run.scored, classifier.labels),
            unscored_causes=dict(Counter(each.cause for each in run.unscored)),
            unscored_examples=run.unscored[:MAX_UNSCORED],
            speed=Speed(
                seconds=run.seconds,
                inference_ms=fmean(run.inference_ms) if run.inference_ms else 0.0,
                processor=processor,
                vnni=vnni,
                threads=self.settings.shared.onnx_threads,
            ),
            last_night=last_night,
            build=_against_build(self.build, classifier.version, run.scored),
            uploads=uploads,
            minimum_accuracy=self.settings.minimum_accuracy,
            predictions_key=run_key(scheduled.night, scheduled.run, PREDICTIONS),
        )

    def _publish(
        self, report: NightlyReport, scored: tuple[Scored, ...], earlier: list[EarlierReport], nights: list[date]
    ) -> None:
        trend = [*(other.night for other in earlier), report.night][-NIGHTS:]
        later = read_earlier(self.reports, [night for night in nights if night > report.date])
        files = ReportFiles(
            page=report_page(report, scored, trend).encode(), report=to_json(report), predictions=write_csv(scored)
        )
        index = nights_page(nights, [*trend, *(other.night for other in later)]).encode()
        publish(self.reports, report.date, report.run, files, nights, index)


def _against_last_night(
    last: EarlierReport | None, answers: Mapping[Identity, str], scored: tuple[Scored, ...]
) -> Comparison | None:
    """Tonight compared with the last night that scored any picture."""
    if last is None:
        return None
    night = last.night
    return compare(f"the night of {night.date}", night.model_version, answers, night.correct, night.pictures, scored)


def _against_build(build: BuildFigures | None, version: str, scored: tuple[Scored, ...]) -> Comparison | None:
    """Tonight compared with the test pictures of the model's own build."""
    return compare("its own build", version, build.answers, build.correct, build.pictures, scored) if build else None
