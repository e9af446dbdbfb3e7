"""One night: find the test set, score it, compare, count the day's uploads, publish."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import fmean
from typing import Any, Self
from zoneinfo import ZoneInfo

from evaluation.class_activation import Shade
from evaluation.comparison import Comparison, Reference, compare
from evaluation.drift import DAYS_BEFORE, UploadRow, Uploads, count_uploads
from evaluation.night import NIGHTS, Night
from evaluation.predictions import Scored, read_csv, write_csv
from evaluation.processor import this_processor
from evaluation.report import MAX_UNSCORED, Model, NightlyReport, Speed, TestSetSummary, figures_of, others_of, to_json
from evaluation.report_page import nights_page, report_page, shown_mistakes, shown_others
from evaluation.storage import ReportStorage
from labeller.aws_errors import AwsFailure
from labeller.classifier import Classifier
from labeller.observability import logger
from labeller.pipeline import Deadline
from labeller.results import Status
from labeller.storage import Storage
from score.keys import PAGE, PREDICTIONS, REPORT, run_key
from score.publishing import list_nights, publish, read_earlier
from score.scorer import Scorer, ScoringRun
from score.settings import ScoreSettings
from score.testset import TESTSET_PREFIX, TestSet, find_test_set

# Seconds before the function's timeout at which scoring ends, to leave time for the day's rows, and at which the last
# page of rows is requested, to leave time for the report: about 50 calls, normally 5 s. AWS may let a call hang for
# 50 s (evaluation.storage): the time is enough if the last page, a call of the report and one of its mail do.
RESERVED_FOR_UPLOADS = 200.0
RESERVED_FOR_REPORT = 170.0
SECONDS_FOR_A_PICTURE = 7.0  # at the size limits, on one processor; no picture is begun later than this


@dataclass(frozen=True, slots=True)
class NightRun:
    """One run of one night."""

    date: date  # in the schedule's time zone
    time: datetime  # scheduled start, UTC
    run: str

    @classmethod
    def from_event(cls, event: Mapping[str, Any], request_id: str, zone: ZoneInfo) -> Self:
        """From the schedule's input, {"scheduled_time": ISO 8601}; without it, now. Raises ValueError."""
        text = event.get("scheduled_time")
        now = datetime.now(UTC)
        time = datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) and text else now
        return cls(time.astimezone(zone).date(), time, f"{now:%Y%m%dT%H%M%SZ}-{request_id[:8]}")


@dataclass(frozen=True, slots=True)
class NightlyJob:
    """What every night needs; made once for the life of the process."""

    settings: ScoreSettings
    classifier: Classifier
    pictures: Storage
    reports: ReportStorage
    build: Reference | None  # the figures of the model's own build

    def run(self, night: NightRun, seconds_left: Callable[[], float]) -> NightlyReport:
        """Score, publish and return the report. Raises InvalidTestSet, AwsFailure, ModelError."""
        testset = find_test_set(self.reports.bucket, self.reports.list_keys(TESTSET_PREFIX), self.classifier.labels)
        nights = list_nights(self.reports)
        earlier = read_earlier(self.reports, [other for other in nights if other < night.date])
        last_night = self._last_night(earlier)
        references = [reference for reference in (last_night, self.build) if reference]
        scorer = Scorer(self.reports.bucket, self.pictures, self.classifier, self.settings.shared, references)
        deadline = Deadline.in_seconds(seconds_left() - RESERVED_FOR_UPLOADS, item=SECONDS_FOR_A_PICTURE)
        run = scorer.score(testset.examples, deadline)
        shown = [*shown_mistakes(run.scored), *shown_others(run.others)]
        shades = scorer.explain(shown, deadline) if shown else {}
        days = [one for one in earlier[-DAYS_BEFORE:] if one.unknown is not None]
        before = (sum(one.unknown or 0 for one in days), sum(one.uploads for one in days))
        uploads = self._uploads(night, run.scored, before, lambda: seconds_left() - RESERVED_FOR_REPORT)
        report = self._report(night, testset, run, compare(last_night, run.scored), uploads)
        self._publish(report, run, shades, earlier, nights)
        return report

    def _last_night(self, earlier: Sequence[Night]) -> Reference | None:
        """The last night that scored any picture; without answers if its file is missing or damaged (logged)."""
        night = next((night for night in reversed(earlier) if night.pictures), None)
        if night is None:
            return None
        try:
            answers = read_csv(self.reports.read(night.predictions_key) or b"")
        except ValueError as error:
            logger.warning("earlier predictions cannot be read", key=night.predictions_key, error=str(error))
            answers = {}
        return Reference(f"the night of {night.date}", night.model_version, night.correct, night.pictures, answers)

    def _uploads(
        self,
        night: NightRun,
        scored: Sequence[Scored],
        before: tuple[int, int],
        seconds_left: Callable[[], float],
    ) -> Uploads | None:
        """The uploads of the whole UTC day before the night.

        None if the rows cannot be read (logged), or are not written: the night's accuracy is still worth a report.
        """
        if "row" not in self.settings.shared.write:
            return None
        day = night.time.date() - timedelta(days=1)
        labels = self.classifier.labels
        rows: list[UploadRow] = []
        try:
            for label in (*labels, Status.UNSURE.value, Status.UNKNOWN.value, Status.UNREADABLE.value):
                for row in self.reports.uploads_of_day(label, day):
                    rows.append(row)
                    if seconds_left() <= 0:
                        return count_uploads(day, rows, labels, scored, complete=False, before=before)
        except AwsFailure as failure:
            logger.error("the day's rows cannot be read", day=str(day), error=str(failure))
            return None
        return count_uploads(day, rows, labels, scored, complete=True, before=before)

    def _report(
        self,
        night: NightRun,
        testset: TestSet,
        run: ScoringRun,
        last_night: Comparison | None,
        uploads: Uploads | None,
    ) -> NightlyReport:
        model, settings = self.classifier, self.settings.shared
        processor, vnni = this_processor()
        thresholds = settings.thresholds_in_force(model.thresholds)
        return NightlyReport(
            date=night.date,
            run=night.run,
            created_at=datetime.now(UTC),
            model=Model(
                model.version,
                model.labels,
                model.input_size,
                thresholds.confidence,
                (thresholds.familiarity or None) if model.has_familiarity else None,
            ),
            testset=TestSetSummary(
                self.reports.bucket, TESTSET_PREFIX, len(testset.examples), testset.ignored, testset.per_label
            ),
            figures=figures_of(run.scored, model.labels),
            unscored_causes=dict(Counter(picture.cause for picture in run.unscored)),
            unscored_examples=run.unscored[:MAX_UNSCORED],
            speed=Speed(
                seconds=run.seconds,
                inference_ms=fmean(run.inference_ms) if run.inference_ms else 0.0,
                processor=processor,
                vnni=vnni,
                threads=settings.onnx_threads,
            ),
            last_night=last_night,
            build=compare(self.build, run.scored),
            uploads=uploads,
            minimum_accuracy=self.settings.minimum_accuracy,
            predictions_key=run_key(night.date, night.run, PREDICTIONS),
            others=others_of(run.others),
            writes_rows="row" in settings.write,
        )

    def _publish(
        self,
        report: NightlyReport,
        run: ScoringRun,
        shades: Mapping[str, Shade],
        earlier: list[Night],
        nights: list[date],
    ) -> None:
        trend = [*earlier, report.night][-NIGHTS:]
        later = read_earlier(self.reports, [night for night in nights if night > report.date])
        page = report_page(report, run.scored, trend, run.others, shades).encode()
        files = {PREDICTIONS: write_csv((*run.scored, *run.others)), REPORT: to_json(report), PAGE: page}
        index = nights_page(nights, [*trend, *later]).encode()
        publish(self.reports, report.date, report.run, files, nights, index)
